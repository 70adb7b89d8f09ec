"""`yoyo ledger trace`: from an output back to everything that made it, and what that cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core import trace as core
from yoyo.errors import TraceNotFound
from yoyo.model.ledger import BadRow, EventType, Row
from yoyo.model.row_filter import RowFilter
from yoyo.ops.trace_facts import Sources, facts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yoyo.ops.trace_form import Facts
    from yoyo.ports.checkpoints import Checkpoints
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.proofs import Proofs

_EVENT_ID_CHARS = 36


class TraceContext(NamedTuple):
    """A ledger with what lies beside it."""

    ledger: Ledger
    proofs: Proofs
    checkpoints: Checkpoints | None
    now: datetime  # aware
    hourly_usd: Mapping[str, Decimal | None]  # by node: today's price, for a life that is open


class Trace(NamedTuple):
    """The answer: the newest things found, oldest first."""

    asked: str
    total: int  # how many there are in all
    found: tuple[Facts, ...]
    notes: tuple[str, ...]


def trace(ctx: TraceContext, asked: str) -> Trace:
    """Find a job, a machine's life, an event or an input, and what stands behind each.

    `asked` is a job's or life's id, an event_id, `#SEQ`, or a digest with or without `sha256:`.
    Two or three passes over the ledger's bytes in constant memory; of a large ledger, over those
    that can hold such rows.

    Raises:
        TraceNotFound, LedgerUnreadable.
    """
    asked = asked.strip()
    found = _found(ctx.ledger, asked)
    if not found.subjects:
        raise TraceNotFound(
            f"The ledger has nothing of {asked[:140]!a}.",
            why=_unsure(found) or "No job, life, event or input of it is booked in this ledger.",
            fix="See `yoyo ledger tail` for ids; an answer's job stands in `yoyo ask --json`.",
        )
    nodes = tuple(sorted({each.node_id for each in found.subjects}))
    rows = ctx.ledger.matching(RowFilter(types=tuple(map(str, core.LINK_TYPES)), nodes=nodes))
    chains = core.link(found.subjects, rows)
    sources = Sources(ctx.proofs, _names(ctx.checkpoints), ctx.now, ctx.hourly_usd)
    facts = facts_of(chains, sources, ctx.ledger)
    notes = [_unsure(found)] if found.bad_rows else []
    if found.total > len(facts):
        notes.append(f"{found.total} found: these are the newest {len(facts)}")
    return Trace(asked, found.total, facts, tuple(notes))


def _unsure(found: core.Found) -> str:
    if not found.bad_rows:
        return ""
    return (
        f"{found.bad_rows} line(s) of the ledger are no rows, so that what they held is unknown: "
        "`yoyo ledger verify` names them"
    )


def _names(checkpoints: Checkpoints | None) -> tuple[str, ...]:
    return checkpoints.names() if checkpoints is not None else ()


def _found(ledger: Ledger, asked: str) -> core.Found:
    digest = core.as_digest(asked)
    if digest is not None:
        return core.gather(ledger.matching(RowFilter(inputs=(digest,))))
    if asked.startswith("#") or not asked:
        return _at(ledger, asked[1:])
    found = core.gather(ledger.matching(RowFilter(jobs=(asked,))))
    if found.subjects:
        return found
    if asked.isascii() and asked.isdigit():
        return _at(ledger, asked)
    if len(asked) == _EVENT_ID_CHARS:
        for row in ledger.matching(RowFilter(events=(asked,))):
            if isinstance(row, Row):
                return _around(ledger, row)
    return found


def _at(ledger: Ledger, seq: str) -> core.Found:
    if not (seq.isascii() and seq.isdigit() and len(seq) <= 18):
        return core.Found((), 0, 0)
    row = ledger.row_at(int(seq))
    return core.Found((), 0, 0) if row is None else _around(ledger, row)


def _around(ledger: Ledger, row: Row) -> core.Found:
    """The job that the row belongs to, with both its rows; its life; or the row alone."""
    rows: list[Row | BadRow] = [row]
    if row.entry.event_type not in (EventType.JOB_START, EventType.JOB_COMPLETE):
        return core.gather(rows)
    wanted = RowFilter(jobs=(row.entry.job_id,), nodes=(row.entry.node_id,))
    return core.gather(ledger.matching(wanted), holding=row.seq)
