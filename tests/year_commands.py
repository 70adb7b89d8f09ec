"""Every command that reads or proves a ledger, as it is run on the signed year."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from year_signed import Papers

ROOT = Path(__file__).parents[1]
# Commands that write take this for now: the year ends on the evening before.
NOW = "2026, 11, 21, 12, tzinfo=d.UTC"
_AS_IT_IS = "from yoyo.cli.main import main; main()"
_THEN = (
    "import datetime as d, yoyo.drivers.system.clock as c; "
    f"c.SystemClock.now = lambda self: d.datetime({NOW}); {_AS_IT_IS}"
)
# The platform does not answer, and nobody asks the network for credentials.
_NO_CLOUD = {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/credentials.json"}
WRITES = ("seal", "prune", "checkpoint", "correct")
GROUPS = ("module", "node", "day", "month", "adapter", "operator", "guard")
SQL_USD = "SELECT sum(cost_usd) AS usd FROM money"


class Command(NamedTuple):
    """Words after `yoyo`, and the exit code that is right."""

    words: tuple[str, ...]
    code: int = 0


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One `yoyo` in that directory."""
    program = _THEN if set(words[:2]) & {*WRITES} else _AS_IT_IS
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=place, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, **_NO_CLOUD, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if "Traceback" in done.stderr or done.returncode == 70:
        raise AssertionError(f"yoyo {' '.join(words)}\n{done.stderr}")
    return done


def document(place: Path, *words: str, code: int = 0) -> Any:
    """The one JSON document that it prints."""
    done = run(place, *words, "--json")
    assert done.returncode == code, f"yoyo {' '.join(words)}: {done.returncode}\n{done.stderr}"
    return json.loads(done.stdout)


def a_job(place: Path) -> dict[str, Any]:
    """The newest answer in which an adapter weighed in."""
    shown = run(place, "ledger", "show", "--type", "JOB_COMPLETE", "--status", "success", "--json")
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    found = [row for row in rows if row["adapter_versions"]][-1]
    assert isinstance(found, dict)
    return found


def reading(papers: Papers, out: Path) -> Iterable[Command]:
    """Commands that change nothing but files in `out`."""
    job = a_job(papers.ledger)
    (out / "answer.json").write_text(json.dumps({"job_id": job["job_id"], "text": "So."}))
    against = ("--against", str(papers.copies), "--key", str(papers.vkey))
    say = [
        "ledger show --since 2026-10 --until 2026-11 --module acme --type JOB_COMPLETE",
        f"ledger show --node l4-b --status preempted --job {job['job_id']}",
        f"ledger show --code HEARTBEAT --input {job['input_hash']}",
        "ledger show --since 2026-11-20 --csv",
        "ledger tail -n 3",
        "ledger tail -n 3 --code SESSION",
        f"ledger trace {job['job_id']}",
        f"ledger trace {job['input_hash'].removeprefix('sha256:')}",
        f"ledger trace {out / 'answer.json'}",
        f"ledger trace #{job['seq']}",
        "cost",
        *(f"cost --by {group}" for group in GROUPS),
        "cost --by module,month --as-booked --csv",
        "cost --since 2026-10 --until 2026-11 --by day --plot",
        f"cost --by month --plot-to {out / 'cost.svg'}",
        f"report --month 2026-10 -o {out / 'report.html'}",
        f"ledger export --to focus -o {out / 'focus.csv'}",
        f"ledger export --to otel -o {out / 'spans.jsonl'}",
        f"ledger export --to spreadsheet -o {out / 'sheet.csv'}",
        f"ledger export --to parquet --live -o {out / 'parquet'}",
        "ledger export --to bigquery-ddl --uri gs://bucket/ledger",
        "ledger verify",
        f"ledger extract --module acme -o {out / 'acme.jsonl'}",
        f"ledger verify-extract {out / 'acme.jsonl'} --key {papers.newest_vkey}",
        "ledger prune",
        "ledger correct 1 --cost 1 --reason never --dry-run",
    ]
    bad = {"ledger correct 1 --cost 1 --reason never --dry-run": 43}
    for each in say:
        yield Command(tuple(each.split()), bad.get(each, 0))
    yield Command(("ledger", "query", SQL_USD))
    yield Command(("ledger", "verify", *against))
    yield Command(("ledger", "verify", "--strict"), 42)
    yield Command(("reconcile", "--billing", "billing.csv"), 95)


def writing(papers: Papers, dear: int) -> Iterable[Command]:
    """Commands that add rows or move them; `dear` is the number of a row with a cost."""
    against = f"ledger verify --against {papers.copies} --key {papers.vkey}"
    for each in (
        "ledger seal",
        "ledger seal",
        f"ledger correct {dear} --cost 0.500000 --billed --reason billed-less",
        "ledger checkpoint",
        "ledger verify",
        against,
        "ledger prune --set sealing.retention_months=6",
        "ledger prune --apply --set sealing.retention_months=6 --set sealing.legal_hold=on",
        "ledger prune --apply --set sealing.retention_months=6",
        "ledger checkpoint",
        "ledger verify",
        against,
    ):
        yield Command(tuple(each.split()), 47 if "legal_hold" in each else 0)


def told(
    place: Path, commands: Iterable[Command], say: Callable[[str], object]
) -> list[tuple[Command, int]]:
    """Run them all; gives those that ended with another code than they should."""
    wrong = []
    for command in commands:
        done = run(place, *command.words)
        say(f"{done.returncode:>4}  yoyo {' '.join(command.words)}")
        if done.returncode != command.code:
            say(done.stderr)
            wrong.append((command, done.returncode))
    return wrong
