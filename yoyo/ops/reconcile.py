"""`yoyo reconcile`: the ledger beside what the platform says, and beside its bill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from yoyo.core.corrections import Amounts, correction_entry
from yoyo.core.reconcile.bill import BillTally
from yoyo.core.reconcile.bills import BillComparison, compare_bill
from yoyo.core.reconcile.booked import TYPES, read_booked
from yoyo.core.reconcile.machines import compare_machines, compared
from yoyo.core.wording import counted
from yoyo.errors import ReconcileDiffers, YoyoError
from yoyo.model.ledger import BadRow, Row
from yoyo.model.machine import MachineState
from yoyo.model.reconcile import (
    Bill,
    Booked,
    BookedLife,
    Bounds,
    Finding,
    FindingKind,
    PlatformMachine,
    PlatformRecords,
    Reconciliation,
    ToBook,
)
from yoyo.model.row_filter import RowFilter
from yoyo.model.settings import NodeSettings
from yoyo.ops.kept import deleted
from yoyo.ports.billing import BillingReader
from yoyo.ports.ledger import Ledger
from yoyo.ports.machines import Machines
from yoyo.ports.platform_records import HasRecords


class Asked(NamedTuple):
    """What the operator wants compared."""

    nodes: tuple[NodeSettings, ...]
    every_node: bool  # of the configuration: then strangers count, too
    since: datetime | None = None  # lives that ended before it are left out
    until: datetime | None = None  # and those that began at it or after
    billing: Path | None = None
    bounds: Bounds = Bounds()
    book: bool = False


class Means(NamedTuple):
    """What it is compared with."""

    ledger: Ledger
    machines: Callable[[NodeSettings], Machines]
    reader: BillingReader | None
    operator: str


def reconcile(means: Means, asked: Asked) -> Reconciliation:
    """Compare; with `book`, append a BILLED row for every life whose bill is complete.

    What the platform did not say is in `unknown`, and nothing is concluded from it. Done again
    with the same bill it books nothing.

    Raises:
        BillingInvalid, LedgerUnreadable, DriverUnavailable; with `book` what `append` raises.
    """
    bill = _bill(means.reader, asked.billing)
    rows = _rows(means.ledger)
    booked = read_booked(rows, bill.first if bill else None, bill.last if bill else None)
    names = frozenset(str(node.name) for node in asked.nodes)
    wanted = tuple(life for life in booked.lives if _is_wanted(life, asked, names))
    gone = deleted(means.ledger)
    lost = gone.until if gone is not None else None
    said, answered = _platform(means, asked)
    said = said._replace(
        runs=tuple(run for run in said.runs if lost is None or run.started_at >= lost)
    )
    unknown = list(said.unanswered)
    silent = {life.node_id for life in wanted if life.closing is None} - names
    unknown += [
        f"{name} has an open life in the ledger and is not in the configuration"
        for name in sorted(silent)
    ]
    if booked.bad_rows:
        unknown.append(
            f"{counted(booked.bad_rows, 'row is', 'rows are')} damaged in the ledger: "
            "see `yoyo ledger verify`"
        )
    found = compare_machines(booked.lives, said, answered, asked.bounds)
    seen = compared(wanted, said)
    result = _with_bill(booked, wanted, bill, None if asked.every_node else names, asked, lost)
    ids = {life.request_id for life in wanted}
    everything = {life.request_id for life in booked.lives}
    chosen = [
        each
        for each in (*found, *result.findings)
        if each.request_id in ids or each.request_id not in everything
    ]
    settled: list[Finding] = []
    count = 0
    if asked.book:
        count = sum(1 for _ in _book(means, result.bookable))
        settled = [each for each in chosen if each.bookable]
        chosen = [each for each in chosen if not each.bookable]
    return Reconciliation(
        findings=tuple(dict.fromkeys(_once(chosen))),
        unknown=tuple(unknown),
        notes=result.notes,
        compared_lives=len(seen | result.compared),
        bookable=() if asked.book else result.bookable,
        booked=count,
        settled=tuple(settled),
    )


def verdict(result: Reconciliation) -> ReconcileDiffers | None:
    """What the command ends with."""
    if result.agrees:
        return None
    if result.agrees is None:
        return ReconcileDiffers(
            "It is not known whether ledger and platform agree.",
            why=f"No answer about {counted(len(result.unknown), 'thing')}; what was compared "
            "agrees.",
            fix="Run the same command again once the platform answers.",
            details=result.unknown,
        )
    apart = [
        abs(each.actual - (each.booked or Decimal(0)))
        for each in result.findings
        if each.unit == "USD"
        and each.actual is not None
        # Of what the bill says twice nothing is booked, and nothing is missing.
        and each.kind is not FindingKind.DUPLICATE_LINES
    ]
    usd = sum(apart, Decimal(0))
    can = sum(each.bookable for each in result.findings)
    return ReconcileDiffers(
        f"Ledger and platform differ in {counted(len(result.findings), 'point')}"
        + (
            f"; the differences of {counted(len(apart), 'amount')}, each without its sign, add up "
            f"to {usd:.2f} USD."
            if usd
            else "."
        ),
        why=result.findings[0].what,
        fix=f"--book settles {can} of them; the others say what to do."
        if can
        else "Each difference says what to do.",
    )


def _bill(reader: BillingReader | None, path: Path | None) -> Bill | None:
    if reader is None or path is None:
        return None
    tally = BillTally()
    for line in reader.lines(path):
        tally.take(line)
    return tally.bill()


def _rows(ledger: Ledger) -> Iterator[Row | BadRow]:
    return ledger.matching(RowFilter(types=TYPES))


def _is_wanted(life: BookedLife, asked: Asked, names: frozenset[str]) -> bool:
    if not asked.every_node and life.node_id not in names:
        return False
    if asked.until is not None and life.started >= asked.until:
        return False
    ended = life.closing.timestamp if life.closing is not None else None
    return asked.since is None or ended is None or ended >= asked.since


def _with_bill(
    booked: Booked,
    wanted: tuple[BookedLife, ...],
    bill: Bill | None,
    names: frozenset[str] | None,
    asked: Asked,
    lost: datetime | None,
) -> BillComparison:
    if bill is None:
        return BillComparison((), (), frozenset(), ())
    window = (asked.since, asked.until)
    return compare_bill(booked, wanted, bill, names, asked.bounds, window, lost)


def _platform(means: Means, asked: Asked) -> tuple[PlatformRecords, frozenset[str]]:
    """All that the platforms say, and the nodes of which they said whether they are there."""
    total, answered = PlatformRecords(), set()
    scopes: dict[str, PlatformRecords] = {}
    for node in asked.nodes:
        machines = means.machines(node)
        if not isinstance(machines, HasRecords):
            said = _observed(machines, node)
        else:
            scope = machines.records_scope(node)
            if scope in scopes:
                if not scopes[scope].unanswered:
                    answered.add(str(node.name))
                continue
            said = scopes[scope] = _asked(machines, node, scope)
        if not said.unanswered:
            answered.add(str(node.name))
        total = PlatformRecords(
            total.machines + said.machines, total.disks + said.disks,
            total.runs + said.runs, total.unanswered + said.unanswered,
        )  # fmt: skip
    if asked.every_node:
        return _in_window(total, asked), frozenset(answered)
    names = {str(node.name) for node in asked.nodes}
    ours = PlatformRecords(
        tuple(each for each in total.machines if each.node_id in names),
        tuple(each for each in total.disks if each.node_id in names),
        tuple(each for each in total.runs if each.node_id in names),
        total.unanswered,
    )
    return _in_window(ours, asked), frozenset(answered)


def _in_window(said: PlatformRecords, asked: Asked) -> PlatformRecords:
    runs = tuple(
        run
        for run in said.runs
        if (asked.since is None or run.stopped_at >= asked.since)
        and (asked.until is None or run.started_at < asked.until)
    )
    return said._replace(runs=runs)


def _asked(machines: HasRecords, node: NodeSettings, scope: str) -> PlatformRecords:
    try:
        said = machines.records(node)
    except YoyoError as error:
        return PlatformRecords(unanswered=(f"{scope}: {error.what} {error.why}".strip(),))
    told = tuple(f"{scope}: {each}" for each in said.unanswered)
    return said._replace(unanswered=told)


def _observed(machines: Machines, node: NodeSettings) -> PlatformRecords:
    """Of a driver without records of its own: the one machine that it can see."""
    seen = machines.observe(node)
    if seen.state is MachineState.UNKNOWN:
        return PlatformRecords(unanswered=(f"{node.name}: {seen.detail or 'no answer'}",))
    if not seen.request_id:
        return PlatformRecords()
    name = str(node.name)
    machine = PlatformMachine(
        name, "", name, seen.request_id, seen.alive, seen.started_at, seen.stopped_at
    )  # fmt: skip
    return PlatformRecords((machine,))


def _once(found: list[Finding]) -> Iterator[Finding]:
    """A run in the log and its machine say the same of one life."""
    said: set[tuple[str, str]] = set()
    for each in found:
        key = (str(each.kind), each.request_id)
        if not each.request_id or key not in said:
            yield each
        said.add(key)


def _book(means: Means, wanted: tuple[ToBook, ...]) -> Iterator[Row]:
    for each in wanted:
        amounts = Amounts(gpu_seconds=each.gpu_seconds, cost_usd=each.usd, billed=True)
        yield means.ledger.append(correction_entry(each.closing, amounts, "", means.operator))
