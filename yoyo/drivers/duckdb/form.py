"""The ledger's format as SQL: whether a job's row is well-formed, and a row as its line."""

from __future__ import annotations

from typing import Final

from yoyo.core.ledger_format import MAX_DIGITS, MAX_JOB_ID_BYTES
from yoyo.core.warehouse import quoted
from yoyo.model.ledger import COLUMNS, CompletionStatus

JOB_TYPES: Final = ("JOB_START", "JOB_COMPLETE")
IS_JOB: Final = f"event_type IN {JOB_TYPES}"
# Columns whose text is free: they alone may hold what needs quotes.
_FREE: Final = ("job_id", "adapter_versions", "error_code", "operator_id")

_HEX: Final = "[0-9a-f]"
_WHOLE: Final = f"(?:0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}})"
_FRACTION: Final = f"[0-9]{{1,{MAX_DIGITS}}}"
_LABEL: Final = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_TEXT: Final = r"[^\x00-\x1f]*"
_ADAPTER: Final = r"[^;@\x00-\x1f]+@[^;@\x00-\x1f]+"
# The forms of docs/formats/ledger.md, as RE2 has them; an empty field is NULL.
_FORMS: Final = {
    "event_id": f"{_HEX}{{8}}-{_HEX}{{4}}-7{_HEX}{{3}}-[89ab]{_HEX}{{3}}-{_HEX}{{12}}",
    "timestamp_utc": "[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3])"
    r":[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z",
    "moduleId": _LABEL,
    "node_id": _LABEL,
    "job_id": _TEXT,
    "row_hash": f"{_HEX}{{64}}",
    "seq": f"[1-9][0-9]{{0,{MAX_DIGITS - 1}}}",
}
_FORMS_OR_EMPTY: Final = {
    "input_hash": f"sha256:{_HEX}{{64}}",
    "adapter_versions": f"{_ADAPTER}(?:;{_ADAPTER})*",
    "cache_hit_ratio": rf"0(?:\.{_FRACTION})?|1(?:\.0{{1,{MAX_DIGITS}}})?",
    "tokens_processed": _WHOLE,
    "gpu_seconds": rf"{_WHOLE}(?:\.{_FRACTION})?",
    "cost_usd": rf"{_WHOLE}(?:\.{_FRACTION})?",
    "error_code": _TEXT,
    "operator_id": _TEXT,
}


def well_formed() -> str:
    """Whether a row of a job is one that `decode_row` takes; NULL where a column is missing."""
    tests = [f"regexp_full_match({name}, {quoted(form)})" for name, form in _FORMS.items()]
    tests += [
        f"({name} IS NULL OR regexp_full_match({name}, {quoted(form)}))"
        for name, form in _FORMS_OR_EMPTY.items()
    ]
    tests += [
        # A date of the calendar that Python has, too; its years begin with 1.
        "TRY_CAST(timestamp_utc AS TIMESTAMP) >= TIMESTAMP '0001-01-01'",
        f"strlen(job_id) <= {MAX_JOB_ID_BYTES}",
        f"completion_status IN {tuple(str(status) for status in CompletionStatus)}",
    ]
    return "coalesce(" + " AND ".join(tests) + ", false)"


def line_bytes() -> str:
    """How long the row's line is with its newline, if it is spelt as it has to be."""
    plain = [f"coalesce(strlen({name}), 0)" for name in COLUMNS]
    extra = [
        f"CASE WHEN {_needs_quotes(name)} THEN 2 + strlen({name})"
        f" - strlen(replace({name}, '\"', '')) ELSE 0 END"
        for name in _FREE
    ]
    return f"{len(COLUMNS)} + " + " + ".join(plain + extra)


def line_text() -> str:
    """The row's line without its newline."""
    fields = [
        f"CASE WHEN {_needs_quotes(name)} THEN '\"' || replace({name}, '\"', '\"\"') || '\"'"
        f" ELSE coalesce({name}, '') END"
        if name in _FREE
        else f"coalesce({name}, '')"
        for name in COLUMNS
    ]
    return " || ',' || ".join(fields)


def _needs_quotes(name: str) -> str:
    return f"(contains({name}, ',') OR contains({name}, '\"'))"
