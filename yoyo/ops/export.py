"""`yoyo ledger export`: the ledger in the words of other tools, streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from yoyo.model.ledger import CORRECTIONS, BadRow, EventType, Row
from yoyo.model.row_filter import RowFilter

if TYPE_CHECKING:
    from yoyo.core.export.focus import NodeFacts
    from yoyo.model.settings import NodeSettings
    from yoyo.ports.ledger import Ledger

Write = Callable[[str], object]


class ExportWanted(NamedTuple):
    """What is exported: charges, jobs and rows by the time of the row that closes them."""

    since: datetime | None = None  # inclusive, aware
    until: datetime | None = None  # exclusive, aware
    modules: tuple[str, ...] = ()


class Exported(NamedTuple):
    """What was written, and what was left out and why."""

    records: int  # charges, spans or rows
    bad_rows: int
    notes: tuple[str, ...]


def export_focus(
    ledger: Ledger,
    wanted: ExportWanted,
    write: Write,
    *,
    account: str,
    nodes: Mapping[str, NodeFacts],
    old_names: bool = False,
) -> Exported:
    """One FOCUS charge for each machine's life and each disk row, as CSV with a header.

    `old_names` adds the five columns by the names that focus-validator 1.0.0 asks for.

    Raises:
        LedgerUnreadable.
    """
    from yoyo.core.corrections import corrections_of
    from yoyo.core.export.cells import csv_line
    from yoyo.core.export.focus import COLUMNS, OLD_NAMES, ROW_TYPES, FocusCharges

    corrected = RowFilter(types=(str(EventType.CHECKPOINT),), codes=CORRECTIONS)
    # Corrections come after what they correct, so they are read first; they are few.
    changes = corrections_of(ledger.matching(corrected), ledger.row_at)
    charges = FocusCharges(
        account, nodes, changes, since=wanted.since, until=wanted.until, modules=wanted.modules
    )
    columns = (*COLUMNS, *OLD_NAMES) if old_names else COLUMNS
    write(csv_line(columns))
    rows = _Good(ledger.matching(RowFilter(until=wanted.until, types=ROW_TYPES)))
    for row in rows:
        charge = charges.take(row)
        if charge is not None:
            charge.update({old: charge[new] for old, new in OLD_NAMES.items()})
            write(csv_line(charge.get(name, "") for name in columns))
    notes = []
    if charges.unpriced:
        notes.append(
            f"{charges.unpriced} charge(s) left out: their cost is unknown, and FOCUS has no "
            "place for an unknown cost. `yoyo cost` counts them as unpriced."
        )
    if charges.tokens_outside:
        notes.append(
            f"{charges.tokens_outside} token(s) in no charge: their jobs ran in no life that the "
            "ledger knows, in one whose end is not booked up to there, or in one whose charge is "
            "not in this file."
        )
    return Exported(charges.charges, rows.bad, tuple(notes))


def export_otel(ledger: Ledger, wanted: ExportWanted, write: Write, *, version: str) -> Exported:
    """One span for each finished job, as lines of OTLP JSON.

    Raises:
        LedgerUnreadable.
    """
    from yoyo.core.export.otel import MAX_OPEN, ROW_TYPES, JobSpans

    spans = JobSpans(version, since=wanted.since, until=wanted.until, modules=wanted.modules)
    rows = _Good(ledger.matching(RowFilter(until=wanted.until, types=ROW_TYPES)))
    for row in rows:
        text = spans.take(row)
        if text is not None:
            write(text)
    write(spans.rest() or "")
    notes = []
    if spans.forgotten:
        notes.append(
            f"More than {MAX_OPEN:,} jobs were open at once: the {spans.forgotten} oldest of them "
            "were given up and have no span."
        )
    if spans.unfinished:
        notes.append(f"{spans.unfinished} job(s) without an outcome have no span.")
    if spans.without_start:
        notes.append(f"{spans.without_start} job(s) without a start have no span.")
    return Exported(spans.spans, rows.bad, tuple(notes))


def export_sheet(ledger: Ledger, wanted: ExportWanted, write: Write) -> Exported:
    """Every row with every column, as CSV that is safe to open in a spreadsheet.

    Raises:
        LedgerUnreadable.
    """
    from yoyo.core.export.sheet import header, line

    write(header())
    rows = _Good(
        ledger.matching(RowFilter(since=wanted.since, until=wanted.until, modules=wanted.modules))
    )
    count = 0
    for row in rows:
        write(line(row))
        count += 1
    return Exported(count, rows.bad, ())


def focus_nodes(nodes: tuple[NodeSettings, ...]) -> dict[str, NodeFacts]:
    """What the configuration knows about its nodes and the ledger does not."""
    from yoyo.core.export.focus import NodeFacts

    return {
        node.name: NodeFacts("Google Cloud", node.gce.machine_type)
        if node.gce is not None
        else NodeFacts("yoyo", "")
        for node in nodes
    }


class _Good:
    """The good rows; the bad ones are counted."""

    def __init__(self, rows: Iterator[Row | BadRow]) -> None:
        self.bad = 0
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            if isinstance(row, BadRow):
                self.bad += 1
            else:
                yield row
