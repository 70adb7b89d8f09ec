"""The data dictionary at the report's end: each figure, and how it was computed."""

from __future__ import annotations

FIGURES = (
    ("Spend", "Machines and disks: the sum of cost_usd over the rows of the month that book "
     "money, with corrections. Money counts in the month in which its row was written."),
    ("Machines", "The part of the spend that rows closing a machine's life book "
     "(TEARDOWN_COMPLETE, PREEMPTION). Work, idle and boot are parts of it."),
    ("Disks", "The part of the spend in CHECKPOINT rows of code DISK_COST: what a node's disk "
     "costs while the node runs and while it rests."),
    ("Boot", "The part of Machines from the boot's request to a healthy engine."),
    ("Idle", "The part of Machines for seconds that were neither boot nor spent on jobs."),
    ("Effective utilisation", "Seconds that the engine spent on jobs, divided by the GPU "
     "seconds of the machines."),
    ("GPU hours", "gpu_seconds of the rows that close a life, divided by 3600: the node's time "
     "by the platform's own start and stop. A machine with several accelerators counts once."),
    ("Tokens", "Sum of tokens_processed over completed jobs, prompt and completion together. "
     "Jobs that do not know theirs add nothing."),
    ("USD per million tokens", "Spend divided by tokens, times 1,000,000; idle, boot and disk "
     "are in it."),
    ("Billed", "The part of the spend that the platform's bill confirmed (rows of code BILLED)."),
    ("Estimated", "The part of the spend that rests on a price list."),
    ("Unpriced", "Lives that ended without a known cost. They are in no sum: the true spend is "
     "higher."),
    ("Running", "What machines that still run have cost up to now, at today's price. In no "
     "other figure."),
    ("Forecast", "The spend by the month's end, at the pace that it had until the report was "
     "made."),
)  # fmt: skip

COLUMNS = (
    ("event_id", "Identity of the row, a UUIDv7."),
    ("timestamp_utc", "When the row was written, UTC."),
    ("event_type", "What happened, one of ten types."),
    ("moduleId", "The tenant or project that pays."),
    ("node_id", "The node; store, adapters and ledger are no machines."),
    ("job_id", "Id of the machine's life, or of the job."),
    ("input_hash", "sha256 of what went in; in rows that book money, of the price record."),
    ("adapter_versions", "LoRA adapters that weighed in."),
    ("cache_hit_ratio", "Share of prompt tokens found in the KV cache."),
    ("tokens_processed", "Prompt and completion tokens of the job."),
    ("gpu_seconds", "Of a life: the node's seconds. Of a job: the engine's, a part of those."),
    ("cost_usd", "US dollars, only in rows that book money."),
    ("completion_status", "pending for an intent, else how it ended."),
    ("error_code", "Why, in a stable word; which guard."),
    ("operator_id", "Who ran the command, or which guard acted."),
    ("seq", "Row number, without a gap."),
    ("row_hash", "Chains the row to the one above it."),
)
