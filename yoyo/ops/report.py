"""`yoyo report`: everything that the page of a month says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.clocks import clocks_of
from yoyo.core.corrections import corrections_of
from yoyo.core.cost.window import wanted_for
from yoyo.core.report.facts import Change, Check, Integrity, NodeStrip, OpenItem, ReportFacts
from yoyo.core.report.strips import strips_of
from yoyo.errors import (
    CheckpointInvalid,
    CheckpointMismatch,
    DriverUnavailable,
    LedgerCorrupt,
    LedgerRowRefused,
    YoyoError,
)
from yoyo.model.ledger import CORRECTIONS, Row, VerifyReport
from yoyo.ops.cost import Question, answer
from yoyo.ops.kept import Deleted, deleted

if TYPE_CHECKING:
    from yoyo.model.audit import VerifierKey
    from yoyo.model.settings import NodeSettings
    from yoyo.ops.audit.against import HeldAgainst
    from yoyo.ops.audit.context import AuditContext
    from yoyo.ports.accounts import AccountsReader

# What is listed in full; the page says how many more there are.
MAX_LISTED = 200
MAX_STRIPS = 24
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])\Z")


class ReportQuestion(NamedTuple):
    """What the report is about, and what it is told by whoever asks."""

    since: datetime  # the month's first moment, UTC
    until: datetime  # that of the month after it
    now: datetime
    version: str
    ledger_name: str
    nodes: tuple[NodeSettings, ...] = ()  # configured: today's prices and caps
    keys: tuple[VerifierKey, ...] = ()  # trusted for checkpoints
    keys_from: str = ""  # the configuration's key that they are from


def month_span(text: str) -> tuple[datetime, datetime]:
    """First moment of a month and of the one after it, UTC.

    Raises:
        LedgerRowRefused: the text is not YYYY-MM.
    """
    found = _MONTH.match(text)
    if found is None or not 1 <= int(found[1]) <= 9998:
        raise LedgerRowRefused(
            f"{text[:40]!r} is no month.",
            why="A month is a year and a number from 01 to 12.",
            fix="Give it as 2026-10.",
        )
    since = datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC)
    return since, (since + timedelta(days=32)).replace(day=1)


def last_month(now: datetime) -> str:
    """The newest month that is over, YYYY-MM."""
    first = now.astimezone(UTC).replace(day=1)
    return (first - timedelta(days=1)).strftime("%Y-%m")


def gather(
    ctx: AuditContext,
    reader: AccountsReader,
    asked: ReportQuestion,
    progress: Callable[[str, float], None] | None = None,
) -> ReportFacts:
    """Verify the ledger, and read it as money and as hours: two passes; jobs are never held.

    Raises:
        LedgerUnreadable, DriverUnavailable.
    """

    def share(step: str) -> Callable[[float], None] | None:
        return None if progress is None else lambda done: progress(step, done)

    ledger, since, until = ctx.ledger, asked.since, asked.until
    verified = ledger.verify(progress=share("verifying"))
    parts = ledger.parts()
    accounts = reader.read(parts, wanted_for(("module",)), share("adding up"))
    tables = [
        answer(
            accounts,
            Question((by,), since, until),
            now=asked.now,
            nodes=asked.nodes,
            fetch=ledger.row_at,
        )
        for by in ("module", "day")
    ]
    first, end = since.strftime("%Y-%m-%dT%H"), until.strftime("%Y-%m-%dT%H")
    hourly = [sums for sums in accounts.jobs if first <= sums.period < end]
    gone = deleted(ledger, accounts.rows)
    if gone is not None and gone.touches(since):
        tables = [table._replace(notes=(gone.text(), *table.notes)) for table in tables]
    strips = strips_of(accounts.rows, hourly, since, min(until, max(asked.now, since)))
    opened = _open_items(verified, until)
    changed = _changes(ctx, accounts.rows, since, until)
    return ReportFacts(
        month=since.strftime("%Y-%m"),
        since=since,
        until=until,
        made_at=asked.now,
        version=asked.version,
        ledger=asked.ledger_name,
        by_module=tables[0],
        by_day=tables[1],
        strips=_busiest(strips),
        strips_left_out=max(len(strips) - MAX_STRIPS, 0),
        open_items=tuple(opened[:MAX_LISTED]),
        open_count=len(opened),
        changes=tuple(changed[:MAX_LISTED]),
        change_count=len(changed),
        integrity=_integrity(ctx, verified, asked, gone, accounts.rows),
        rows_in_month=sum(since <= row.timestamp < until for row in accounts.rows),
        bad_rows=accounts.bad_rows,
    )


def _busiest(strips: list[NodeStrip]) -> tuple[NodeStrip, ...]:
    chosen = sorted(strips, key=lambda strip: (-strip.up_seconds, strip.node))[:MAX_STRIPS]
    return tuple(sorted(chosen, key=lambda strip: strip.node))


def _open_items(verified: VerifyReport, until: datetime) -> list[OpenItem]:
    """Oldest first. What was begun after the month is of no interest to its report."""
    found = [
        OpenItem(
            str(each.event_type), each.node_id, each.job_id, datetime.fromisoformat(each.timestamp)
        )
        for each in verified.open_intents
    ]
    return sorted((item for item in found if item.since < until), key=lambda item: item.since)


def _changes(
    ctx: AuditContext, rows: Sequence[Row], since: datetime, until: datetime
) -> list[Change]:
    written = [row for row in rows if row.entry.error_code in CORRECTIONS]
    in_force = {each.row.seq for each in corrections_of(written, ctx.ledger.row_at).applied}
    found = []
    for row in written:
        seq = _target(row)
        target = ctx.ledger.row_at(seq) if seq else None
        times = [row.timestamp] if target is None else [row.timestamp, target.timestamp]
        if not any(since <= when < until for when in times):
            continue
        entry, old = row.entry, None if target is None else target.entry
        found.append(
            Change(
                at=row.timestamp,
                seq=seq,
                node=entry.node_id,
                module=entry.module_id,
                operator=entry.operator_id,
                billed=entry.error_code == CORRECTIONS[1],
                in_force=row.seq in in_force,
                old_usd=None if old is None else old.cost_usd,
                new_usd=entry.cost_usd,
                old_seconds=None if old is None else old.gpu_seconds,
                new_seconds=entry.gpu_seconds,
                tokens=entry.tokens_processed,
            )
        )
    return found


def _target(row: Row) -> int:
    """The seq that a correction names; 0: it names none."""
    parts = row.entry.job_id.split("/")
    number = parts[1] if len(parts) > 1 else ""
    return int(number) if number.isascii() and number.isdigit() and len(number) <= 18 else 0


def trouble(integrity: Integrity) -> YoyoError | None:
    """What the command ends with once the page is written; None: nothing failed."""
    if integrity.problem_count:
        return LedgerCorrupt(
            f"The report is written, and the ledger is not intact: {integrity.problem_count} "
            "problem(s).",
            why=f"The first: {integrity.problems[0]}." if integrity.problems else "",
            fix="Run `yoyo ledger verify`; keep the file as it is for whoever looks into it.",
        )
    failed = next((check for check in integrity.checks if check.result is False), None)
    if failed is None:
        return None
    return CheckpointMismatch(
        "The report is written, and the ledger is not what was signed.",
        why=failed.detail,
        fix="Run `yoyo ledger verify --against` with the copies; docs/guides/audit.md says what "
        "each finding means.",
    )


def _integrity(
    ctx: AuditContext,
    verified: VerifyReport,
    asked: ReportQuestion,
    gone: Deleted | None,
    rows: Sequence[Row],
) -> Integrity:
    in_month = [row for row in rows if asked.since <= row.timestamp < asked.until]
    return Integrity(
        rows=verified.rows,
        first_time=verified.first_time,
        last_time=verified.last_time,
        head="" if verified.head is None else str(verified.head),
        checks=(
            *_own_checks(verified, gone),
            *_clock_checks(verified, in_month),
            *_checkpoint_checks(ctx, verified, asked),
        ),
        problems=tuple(
            f"{bad.file} line {bad.line}: {bad.reason}".lstrip() for bad in verified.problems[:20]
        ),
        problem_count=verified.problem_count,
    )


def _own_checks(verified: VerifyReport, gone: Deleted | None) -> Iterable[Check]:
    yield Check(
        "Form, chain, sequence and pairing",
        verified.problem_count == 0,
        f"{verified.rows:,} row(s) were read: one spelling each, seq without a gap, each row_hash "
        f"over the row and the one above it, every outcome with its intent. "
        f"{verified.problem_count:,} problem(s), {len(verified.open_intents):,} intent(s) open.",
    )
    if gone is not None:
        yield Check("Deleted months", None, gone.text())
    if verified.torn_tail_bytes:
        yield Check(
            "Torn tail",
            True,
            f"{verified.torn_tail_bytes:,} byte(s) after the last row were never acknowledged; "
            "the next append puts them aside and books that.",
        )


def _clock_checks(verified: VerifyReport, in_month: Sequence[Row]) -> Iterable[Check]:
    if verified.clock_steps_back:
        yield Check(
            "Times",
            True,
            f"The clock went back before {verified.clock_steps_back:,} row(s). That is no "
            "problem of the chain, which orders the rows by itself.",
        )
    clocks = clocks_of(row.entry for row in in_month)
    if clocks.steps or clocks.measured:
        yield Check("Clocks", True, clocks.text())


def _checkpoint_checks(
    ctx: AuditContext, verified: VerifyReport, asked: ReportQuestion
) -> Iterable[Check]:
    from yoyo.ops.audit.against import held_against, own_notes

    what = "Signed checkpoints beside the ledger"
    keys: Sequence[VerifierKey] = asked.keys
    vouched = f"configured as {asked.keys_from}" if asked.keys_from else "configured"
    try:
        notes = own_notes(ctx)
        if not notes:
            yield Check(
                what,
                None,
                "There are none. A chain alone shows neither rows cut off at the end nor a file "
                "that was rewritten from its first row on.",
            )
            return
        if not keys:
            keys, vouched = _keys_beside(ctx), "found beside the ledger, and vouched for by nobody"
        if not keys:
            yield Check(what, None, f"{len(notes):,} checkpoint(s), and no key to check them with.")
            return
        held = held_against(ctx, notes, keys)
    except DriverUnavailable as error:
        yield Check(what, None, f"{error.what} {error.why} {error.fix}")
        return
    except CheckpointInvalid as error:
        yield Check(what, False, f"{error.what} {error.why}")
        return
    yield _held(ctx, held, verified, what, vouched)
    yield Check(
        "Copies of the checkpoints elsewhere",
        None,
        "They were not read. Whoever can rewrite the ledger can rewrite what lies beside it: hold "
        "it against the copies with yoyo ledger verify --against.",
    )


def _held(
    ctx: AuditContext, held: HeldAgainst, verified: VerifyReport, what: str, vouched: str
) -> Check:
    from yoyo.ops.audit.against import verdict

    report, error = held.report, verdict(held)
    names = ", ".join(f"{key.name}+{key.key_id.hex()}" for key in held.trusted)
    if error is not None:
        # The gravest first, as `ledger verify --against` ends with it.
        more = len(report.findings) + len(held.damaged) - 1
        said = error.why if more >= 0 else f"{error.what} {error.why}"
        said += f" And {more:,} more." if more > 0 else ""
        return Check(what, False, f"{said} Key: {names} ({vouched}).")
    if report.agreed is None:
        return Check(what, None, f"No checkpoint could be compared. Key: {names} ({vouched}).")
    row = ctx.ledger.row_at(report.agreed)
    when = "" if row is None else f", written {row.timestamp:%Y-%m-%d %H:%M} UTC"
    later = max(verified.rows and verified.head.seq - report.agreed if verified.head else 0, 0)
    return Check(
        what,
        True,
        f"{report.checked:,} compared. The newest that agrees signs rows 1 to {report.agreed:,}"
        f"{when}; {later:,} later row(s) are under no signature yet. Key: {names} ({vouched}).",
    )


def _keys_beside(ctx: AuditContext) -> tuple[VerifierKey, ...]:
    from yoyo.core.audit.note import NoteError, parse_vkey

    found = []
    for text in ctx.checkpoints.keys():  # noqa: SIM118 - no dict
        try:
            found.append(parse_vkey(text.decode().strip()))
        except (NoteError, UnicodeDecodeError):
            continue
    return tuple(found)
