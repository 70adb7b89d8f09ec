"""Rows of the ledger and their proof, for people, for machines and for spreadsheets."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from yoyo.cli.output import Output, json_line
from yoyo.cli.render import moment
from yoyo.core.unsafe_text import visible
from yoyo.model.ledger import (
    ADAPTERS_NODE,
    CORRECTIONS,
    RESERVED_NODES,
    SESSION,
    BadRow,
    OpenIntent,
    Row,
    VerifyReport,
)

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN_CHARS = 400  # of one field in a line for people; no field that yoyo writes is as long
_BAD_ROWS_NOTED = 20
_JOB_CHARS = 12  # the width of the jobs' column
_AGES = (("month", 30 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60))  # in seconds


def one_line(text: str, limit: int = _SHOWN_CHARS) -> str:
    """One field for people: nothing in it acts on a terminal, and it stays one short line."""
    if len(text) > limit:
        text = f"{text[:limit]}... ({len(text)} characters)"
    return visible(text)


def row_document(row: Row | BadRow) -> dict[str, Any]:
    """A row with the file's own column names; a bad one says what is wrong.

    All values are what `json` can write: ten million rows leave no time to look at each.
    """
    if isinstance(row, BadRow):
        raw = row.raw.decode("utf-8", "backslashreplace")
        place = {"file": row.file} if row.file else {}  # no key: the live file
        return {**place, "line": row.line, "bad": row.reason, "raw": raw}
    entry = row.entry
    return {
        "line": row.line,
        "event_id": row.event_id,
        "timestamp_utc": row.timestamp.isoformat(timespec="microseconds")[:26] + "Z",
        "event_type": entry.event_type,
        "moduleId": entry.module_id,
        "node_id": entry.node_id,
        "job_id": entry.job_id,
        "input_hash": entry.input_hash,
        "adapter_versions": list(entry.adapter_versions),
        "cache_hit_ratio": _decimal(entry.cache_hit_ratio),
        "tokens_processed": entry.tokens_processed,
        "gpu_seconds": _decimal(entry.gpu_seconds),
        "cost_usd": _decimal(entry.cost_usd),
        "completion_status": entry.completion_status,
        "error_code": entry.error_code,
        "operator_id": entry.operator_id,
        "seq": row.seq,
        "row_hash": row.row_hash,
    }


def _decimal(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def _place(found: BadRow | OpenIntent) -> str:
    return f"{found.file} line {found.line}" if found.file else f"line {found.line}"


def _job(row: Row) -> str:
    """What names a row's job to people, as short as it can be told from others."""
    entry = row.entry
    if entry.error_code in CORRECTIONS:
        return "/".join(entry.job_id.split("/")[:2])  # correct/SEQ: the number says which row
    if entry.error_code == SESSION:
        return entry.job_id[:_JOB_CHARS]
    # The first 8 digits of a UUIDv7 are its time: the last 12 tell ids apart. Others are words.
    words = entry.node_id in RESERVED_NODES or "/" in entry.job_id
    return entry.job_id if words else entry.job_id[-_JOB_CHARS:]


def _age(since: str, now: datetime) -> str:
    """How long ago that was, in one unit of which there are at least two; a month is 30 days."""
    left = (now - datetime.fromisoformat(since)).total_seconds()
    for name, size in _AGES:
        if left >= 2 * size:
            return f"{left // size:.0f} {name}s"
    return "just now"


def row_text(row: Row | BadRow) -> str:
    """One line for people."""
    if isinstance(row, BadRow):
        return f"{_place(row)}: BAD ROW: {one_line(row.reason)}"
    entry = row.entry
    figures = []
    if entry.tokens_processed is not None:
        figures.append(f"{entry.tokens_processed} tokens")
    if entry.gpu_seconds is not None:
        figures.append(f"{entry.gpu_seconds} s")
    if entry.cost_usd is not None:
        figures.append(f"{entry.cost_usd} USD")
    if entry.adapter_versions and entry.node_id != ADAPTERS_NODE:
        figures.append(one_line(" ".join(entry.adapter_versions)))
    status = str(entry.completion_status)
    if entry.error_code:
        status += f" {one_line(entry.error_code)}"
    job = one_line(_job(row))
    return (
        f"{row.seq:>5}  {moment(row.timestamp)}  {entry.event_type:<17}  {entry.node_id:<10}  "
        f"{entry.module_id:<10}  {job:<12}  {status:<9}  {one_line(entry.operator_id)}"
        + (f"  {', '.join(figures)}" if figures else "")
    )


def row_head(out: Output) -> None:
    """The columns' names, for people, beside the data."""
    if not out.json:
        out.note(
            f"{'seq':>5}  {'time (UTC)':<20}  {'event':<17}  {'node':<10}  {'module':<10}  "
            f"{'job':<12}  {'status':<9}  operator, figures"
        )


def print_row(out: Output, row: Row | BadRow, *, flush: bool = True) -> None:
    """One row, handed on at once for whoever waits for it."""
    if out.json:
        out.stdout.write(json_line(row_document(row)))
    else:
        out.stdout.write(row_text(row) + "\n")
    if flush:
        out.stdout.flush()


def print_rows(out: Output, rows: Iterable[Row | BadRow]) -> None:
    """Stream rows, one a line."""
    row_head(out)
    for row in rows:
        print_row(out, row, flush=False)
    out.stdout.flush()


def print_csv(out: Output, rows: Iterable[Row | BadRow]) -> None:
    """Stream rows as a CSV that a spreadsheet may open; bad rows are named on stderr."""
    from yoyo.core.export import sheet

    out.stdout.write(sheet.header())
    bad = 0
    for row in rows:
        if isinstance(row, Row):
            out.stdout.write(sheet.line(row))
            continue
        bad += 1
        if bad <= _BAD_ROWS_NOTED:
            out.note(row_text(row))
    out.stdout.flush()
    if bad:
        out.note(f"{bad} bad row(s) are not in this CSV: `yoyo ledger show` has them")


def verify_document(path: "Path", report: VerifyReport) -> dict[str, Any]:
    """The proof for machines."""
    return {
        "file": path,
        "ok": report.ok,
        "rows": report.rows,
        "first_time": report.first_time or None,
        "last_time": report.last_time or None,
        "head": str(report.head) if report.head else None,
        "problem_count": report.problem_count,
        "problems": [row_document(bad) for bad in report.problems],
        "open_intents": report.open_intents,
        "torn_tail_bytes": report.torn_tail_bytes,
        "clock_steps_back": report.clock_steps_back,
        "expected_head_found": report.expected_head_found,
    }


def verify_text(path: "Path", report: VerifyReport, now: datetime | None = None) -> str:
    """The proof for people; open intents with their age at `now`, by default the wall clock's."""
    now = now or datetime.now(UTC)
    lines = [f"ledger    {path}", f"rows      {report.rows}"]
    if report.rows:
        lines.append(f"from      {report.first_time}")
        lines.append(f"to        {report.last_time}")
    chain = "intact" if report.problem_count == 0 else f"{report.problem_count} PROBLEM(S)"
    lines.append(f"chain     {chain}")
    lines += [f"  {_place(bad)}: {one_line(bad.reason)}" for bad in report.problems[:20]]
    if report.problem_count > 20:
        lines.append(f"  ... and {report.problem_count - 20} more")
    lines.append(f"unpaired  {len(report.open_intents)} open intent(s)")
    lines += [
        f"  {_place(o)}: {o.event_type} of {o.node_id}, job {o.job_id}, since {o.timestamp} "
        f"({_age(o.timestamp, now)})"
        for o in report.open_intents[:20]
    ]
    if report.torn_tail_bytes:
        lines.append(
            f"torn      {report.torn_tail_bytes} byte(s) after the last row: never acknowledged; "
            "the next write sets them aside and records it"
        )
    if report.clock_steps_back:
        lines.append(f"clock     went back {report.clock_steps_back} time(s) between rows")
    if report.expected_head_found is not None:
        lines.append(f"expected  {'found' if report.expected_head_found else 'NOT FOUND'}")
    if report.head is not None:
        lines.append(f"head      {report.head}")
    return "\n".join(lines)
