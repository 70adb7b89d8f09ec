"""The ledger's lives beside the platform's bill. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from yoyo.core.reconcile.machines import within
from yoyo.core.wording import counted
from yoyo.model.reconcile import (
    Bill,
    BilledLife,
    Booked,
    BookedLife,
    Bounds,
    Finding,
    FindingKind,
    ToBook,
)

# An export is completed over some hours: what ended later than this before its newest line may
# not be in it in full. cloud.google.com/billing/docs/how-to/export-data-bigquery-tables
SETTLED = timedelta(hours=24)
_MICRO = Decimal("0.000001")
_BOOK = "Run `yoyo reconcile --billing FILE --book`: the bill's amount is booked beside it."


class BillComparison(NamedTuple):
    """What came of it."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    compared: frozenset[str]  # request ids
    bookable: tuple[ToBook, ...]


def covered(life: BookedLife, bill: Bill) -> bool:
    """Whether the export holds all of a closed life, so that its sum is final."""
    if life.closing is None or bill.first is None or bill.last is None:
        return False
    return bill.first <= life.started and life.closing.timestamp <= bill.last - SETTLED


def compare_bill(
    booked: Booked,
    lives: tuple[BookedLife, ...],
    bill: Bill,
    nodes: frozenset[str] | None,
    bounds: Bounds,
    window: tuple[datetime | None, datetime | None] = (None, None),
    lost: datetime | None = None,
) -> BillComparison:
    """Every difference, and what can be booked. `lives` are those that were asked for.

    `nodes` narrows what is said of the bill itself; None: every node of it. What began before
    `lost` may have had rows that retention deleted: it is no difference that they are not there.
    """
    known = {life.request_id for life in booked.lives}
    billed = {each.request_id: each for each in bill.lives}
    found: list[Finding] = []
    bookable: list[ToBook] = []
    seen: set[str] = set()
    outside = 0
    for life in lives:
        if life.closing is None:
            continue
        if not covered(life, bill):
            outside += 1
            continue
        seen.add(life.request_id)
        line = billed.get(life.request_id)
        finding = _life(life, line, bounds)
        found += [finding] if finding is not None else []
        if line is not None and line.machine_usd > 0 and _is_bookable(line):
            found_amount = _to_book(life, line)
            bookable += [found_amount] if found_amount is not None else []
    since, until = window
    gone: list[BilledLife] = []
    for line in bill.lives:
        wanted = nodes is None or line.node_id in nodes
        inside = (since is None or line.last >= since) and (until is None or line.first < until)
        if line.request_id not in known and wanted and inside:
            if lost is not None and line.first < lost:
                gone.append(line)
            else:
                found.append(_unknown(line))
    if window == (None, None):
        # A disk outlives lives: where a part of what it was billed for is gone, no sum is its own.
        halved = {line.node_id for line in gone if line.disk_usd}
        found += [
            each for each in _disks(booked, bill, nodes, bounds)
            if each.node_id not in halved or each.request_id
        ]  # fmt: skip
    found += _duplicates(bill)
    return BillComparison(
        tuple(found), (*_deleted(gone), *_notes(bill, outside)), frozenset(seen), tuple(bookable)
    )


def _life(life: BookedLife, line: BilledLife | None, bounds: Bounds) -> Finding | None:
    paid = line.paid_usd if line is not None else Decimal(0)
    name = f"The life of {life.node_id} from {life.started:%Y-%m-%dT%H:%M:%SZ}"
    if line is None or not line.machine_usd:
        if life.usd is None or within(life.usd, Decimal(0), bounds):
            return None  # unknown or next to nothing, and nothing was billed
        return Finding(
            FindingKind.NOT_BILLED, life.node_id, life.request_id,
            f"{name} is booked with {life.usd} USD, and the bill has no line of it.",
            life.usd, Decimal(0), "USD",
            "The export is of another billing account or project, or holds no labels.",
            "Compare the project of the export with `gce.project`.",
        )  # fmt: skip
    if life.usd is None or (not life.usd and not within(life.usd, paid, bounds)):
        how = "with 0.00 USD" if life.usd is not None else "without a cost"
        code = life.closing.entry.error_code if life.closing is not None else ""
        return Finding(
            FindingKind.BOOKED_NOTHING, life.node_id, life.request_id,
            f"{name} is booked {how}, and {paid} USD were billed.",
            life.usd, paid, "USD", _why(line, _why_nothing(life, code)), _fix(line),
            bookable=_is_bookable(line),
        )  # fmt: skip
    if within(life.usd, paid, bounds):
        return None
    return Finding(
        FindingKind.COST_DIFFERS, life.node_id, life.request_id,
        f"{name} is booked with {life.usd} USD, and {paid} USD were billed.",
        life.usd, paid, "USD", _why(line, _why_other(life, line, bounds)), _fix(line),
        bookable=_is_bookable(line),
    )  # fmt: skip


def _is_bookable(line: BilledLife) -> bool:
    """Nobody knows whether lines that are alike are one or several: then no sum is booked."""
    return line.paid_usd >= 0 and not line.duplicates


def _why(line: BilledLife, cause: str) -> str:
    if not line.duplicates:
        return cause
    return f"{line.duplicates} of its lines are in the bill more than once and were counted once."


def _fix(line: BilledLife) -> str:
    if line.duplicates:
        return "Export those days again, once; until then nothing is booked for it."
    return _BOOK


def _why_nothing(life: BookedLife, code: str) -> str:
    if code == "MACHINE_GONE":
        return "The machine was gone when its end was booked, so nobody knew how long it ran."
    if life.usd is None:
        return "No price was configured when its end was booked."
    if code == "NO_CAPACITY":
        return "It was booked as a start that found no capacity, and yet something ran."
    return "It was booked as a machine that never ran: by mistake, or by somebody's hand."


def _why_other(life: BookedLife, line: BilledLife, bounds: Bounds) -> str:
    booked = life.usd or Decimal(0)
    if line.credits_usd and within(booked, line.machine_usd, bounds):
        return f"Credits of {-line.credits_usd} USD; before them, bill and ledger agree."
    if life.billed:
        return "It was booked from an earlier export, and the bill was changed since."
    share = (line.paid_usd - booked) / booked * 100
    if line.paid_usd > booked:
        return (
            f"{share:.1f} % more: the price has risen since it was configured, another capacity "
            "than expected was used, or it ran longer than booked."
        )
    return (
        f"{-share:.1f} % less: a discount, a price that has fallen, spot capacity, or a stop "
        "before the booked one."
    )


def _to_book(life: BookedLife, line: BilledLife) -> ToBook | None:
    paid = line.paid_usd.quantize(_MICRO, ROUND_HALF_UP)
    if life.closing is None or (life.billed and life.usd == paid):
        return None  # booked already
    before = life.closing.entry.gpu_seconds
    seconds = life.gpu_seconds if life.gpu_seconds != before else None
    return ToBook(life.closing, paid, seconds)


def _unknown(line: BilledLife) -> Finding:
    usd = line.paid_usd + line.disk_usd
    return Finding(
        FindingKind.BILLED_WITHOUT_ROWS, line.node_id, line.request_id,
        f"{usd} USD were billed for a machine of {line.node_id or 'an unknown node'} from "
        f"{line.first:%Y-%m-%dT%H:%M:%SZ} on, and the ledger has no row of it.",
        None, usd, "USD",
        "It was started with another ledger, or rows are missing here.",
        "Look for the other ledger; `yoyo ledger verify --against CHECKPOINT` tells whether this "
        "one was cut.",
    )  # fmt: skip


def _disks(
    booked: Booked, bill: Bill, nodes: frozenset[str] | None, bounds: Bounds
) -> Iterator[Finding]:
    """A disk outlives lives, and its rows reach back to the one before: compared by node."""
    lives = {life.request_id: life for life in booked.lives}
    ours = dict(booked.disk_usd)
    totals: dict[str, Decimal] = {}
    for line in bill.lives:
        life = lives.get(line.request_id)
        if not line.disk_usd or life is None or (nodes is not None and life.node_id not in nodes):
            continue
        if life.closing is not None and not line.machine_usd and not life.booted:
            yield _left(life, line)
            continue
        totals[life.node_id] = totals.get(life.node_id, Decimal(0)) + line.disk_usd
    for node, usd in sorted(totals.items()):
        if node not in booked.disk_nodes:
            yield Finding(
                FindingKind.DISK_NOT_BOOKED, node, "",
                f"{usd} USD were billed for disks of {node}, and the ledger never booked any.",
                None, usd, "USD", "No price of its disk is configured.",
                f"Set `nodes.{node}.prices.disk_gb_month_usd`, or use the price table.",
            )  # fmt: skip
        elif not within(ours.get(node, Decimal(0)), usd, bounds):
            mine = ours.get(node, Decimal(0))
            cause = (
                "The disk's price is another one, the disk is larger than configured, or it "
                "rests since the last row that books it."
            )
            yield Finding(
                FindingKind.DISK_COST_DIFFERS, node, "",
                f"{usd} USD were billed for disks of {node}; booked are {mine} USD.",
                mine, usd, "USD", cause,
                f"Run `yoyo status --node {node}`, which books what is due, and check the price.",
            )  # fmt: skip


def _left(life: BookedLife, line: BilledLife) -> Finding:
    code = life.closing.entry.error_code if life.closing is not None else ""
    cause = "Its machine never ran, and its disk stayed."
    if code == "NO_CAPACITY":
        cause = "A start that found no capacity left it behind; nobody ever booked it."
    return Finding(
        FindingKind.DISK_NOT_BOOKED, life.node_id, life.request_id,
        f"{line.disk_usd} USD were billed until {line.last:%Y-%m-%d} for a disk of {life.node_id} "
        "that the ledger has never booked.",
        None, line.disk_usd, "USD", cause, f"Run `yoyo sweep --node {life.node_id} --apply`.",
    )  # fmt: skip


def _duplicates(bill: Bill) -> Iterator[Finding]:
    if bill.duplicates:
        yield Finding(
            FindingKind.DUPLICATE_LINES, "", "",
            f"{bill.duplicates} lines of the bill are there more than once, with "
            f"{bill.duplicate_usd} USD; they count once.",
            None, bill.duplicate_usd, "USD", "Two exports of the same days were joined.",
            "Export those days again, once.",
        )  # fmt: skip


def _deleted(lives: list[BilledLife]) -> Iterator[str]:
    if lives:
        usd = sum((line.paid_usd + line.disk_usd for line in lives), Decimal(0))
        yield (
            f"{counted(len(lives), 'billed life is', 'billed lives are')} of months deleted by "
            f"retention, {usd} USD; not compared."
        )


def _notes(bill: Bill, outside: int) -> Iterator[str]:
    if outside:
        yield (
            f"Not compared with the bill: {counted(outside, 'closed life', 'closed lives')} "
            f"outside it, or of its last {SETTLED.total_seconds() / 3600:.0f} h, which it may not "
            "hold in full."
        )
    if bill.other_usd:
        yield (
            f"{bill.other_usd} USD were billed for network, addresses and the like, which the "
            "ledger does not book."
        )
    if bill.unlabelled_usd:
        yield (
            f"{bill.unlabelled_usd} USD were billed for resources of yoyo's names without the "
            "label yoyo-request; they belong to no life."
        )
    if not bill.ours:
        yield f"None of the bill's {bill.lines} lines is of yoyo's."
