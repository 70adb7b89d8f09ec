"""The answer to `yoyo cost`: pieces, added up by whatever was asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, localcontext

from yoyo.core.cost.amounts import Effective, Fetch, effective
from yoyo.core.cost.forecast import forecast
from yoyo.core.cost.pieces import Facts, Labels, Piece, Remarks, cut, work_done
from yoyo.core.cost.spells import spells_of
from yoyo.core.cost.window import Window, span_of, wanted_for, whole
from yoyo.core.cost.work import lay_out
from yoyo.core.money import month_start
from yoyo.core.wording import counted
from yoyo.model.accounts import GROUPS, Accounts, CostLine, CostTable, JobSums
from yoyo.model.ledger import (
    CLOSING,
    CORRECTIONS,
    DISK_COST,
    RESERVED_NODES,
    Entry,
    EventType,
)

# Sums of 36-digit decimals stay exact.
PRECISION = 60
_MICRO, _ZERO = Decimal("0.000001"), Decimal(0)


def costs(
    accounts: Accounts,
    by: Sequence[str],
    *,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    hourly_prices: Mapping[str, Decimal | None] | None = None,
    caps: Sequence[Decimal | None] = (),
    nodes: Sequence[str] = (),
    as_booked: bool = False,
    fetch: Fetch | None = None,
    grain: str = "hour",
) -> CostTable:
    """Group what machines and disks cost, and what they did for it.

    `accounts` were read with `wanted_for(by, grain)`. `hourly_prices` are today's, by node, for
    what still runs; `caps` the nodes' monthly ones; `nodes` the only ones that count (none: all).
    `fetch` finds corrected job rows. The total is the same whatever it is grouped by.

    Raises:
        ValueError: one of `by` is none of GROUPS.
    """
    wanted = wanted_for(by, grain)
    window = whole(since, until, grain)
    with localcontext() as context:
        context.prec = PRECISION
        corrected = effective(accounts, wanted, fetch, as_booked=as_booked)
        if nodes:
            accounts = _only(accounts, frozenset(nodes))
        jobs = [job for job in (*accounts.jobs, *corrected.jobs) if _counts(job, nodes)]
        spells = spells_of(accounts.rows)
        work = lay_out(jobs, spells.spells, now, grain)
        facts = Facts(
            spells, jobs, work, corrected.money, hourly_prices or {}, window, now,
            adapters="adapter" in by,
        )  # fmt: skip
        remarks = Remarks()
        lines, total = _added(cut(facts, remarks), work_done(facts, remarks), by)
        ahead = None
        if window.holds(now):
            month = facts._replace(window=Window(month_start(now), None), adapters=False)
            _, spent = _added(cut(month, Remarks()), (), ())
            ahead = forecast(spent.usd + (spent.running_usd or _ZERO), now, caps)
        notes = _notes(accounts, total, corrected, remarks, window)
        if window != Window(since, until):
            notes += (f"Jobs are summed by the {grain}: the window was widened to whole {grain}s.",)
    return CostTable(
        tuple(by), window.since, window.until, lines, total, as_booked,
        remarks.corrected, notes, ahead,
    )  # fmt: skip


def _only(accounts: Accounts, nodes: frozenset[str]) -> Accounts:
    rows = tuple(row for row in accounts.rows if row.entry.node_id in nodes)
    jobs = tuple(job for job in accounts.jobs if job.node_id in nodes)
    return accounts._replace(rows=rows, jobs=jobs)


def _counts(job: JobSums, nodes: Sequence[str]) -> bool:
    """Whether it is a prompt's; staging and the registry file have jobs of their own."""
    return job.node_id not in RESERVED_NODES and (not nodes or job.node_id in nodes)


class _Line:
    """One group while it is being added up."""

    def __init__(self) -> None:
        self.usd = [_ZERO] * 5  # gpu, disk, idle, boot, billed
        self.seconds = [_ZERO] * 3  # gpu, work, boot
        self.running: Decimal | None = _ZERO
        self.unpriced = self.tokens = self.jobs = 0

    def add(self, piece: Piece) -> None:
        """Count that piece."""
        amounts = (piece.gpu_usd, piece.disk_usd, piece.idle_usd, piece.boot_usd, piece.billed_usd)
        self.usd = [old + new for old, new in zip(self.usd, amounts, strict=True)]
        spans = (piece.gpu_seconds, piece.work_seconds, piece.boot_seconds)
        self.seconds = [old + new for old, new in zip(self.seconds, spans, strict=True)]
        self.unpriced += piece.unpriced
        if piece.running is not None:
            more = piece.running[0]
            unknown = more is None or self.running is None
            self.running = None if unknown else (self.running or _ZERO) + (more or _ZERO)

    def add_all(self, other: _Line) -> None:
        """Count all that another one counted."""
        self.usd = [old + new for old, new in zip(self.usd, other.usd, strict=True)]
        self.seconds = [old + new for old, new in zip(self.seconds, other.seconds, strict=True)]
        self.unpriced += other.unpriced
        self.tokens += other.tokens
        self.jobs += other.jobs
        unknown = other.running is None or self.running is None
        self.running = None if unknown else (self.running or _ZERO) + (other.running or _ZERO)

    def line(self, key: tuple[str, ...]) -> CostLine:
        """The sum of all pieces."""
        gpu, disk, idle, boot, billed = map(_exact, self.usd)
        seconds, work, booting = map(_exact, self.seconds)
        running = None if self.running is None else _exact(self.running)
        return CostLine(
            key, gpu, disk, idle, boot, billed, running, self.unpriced,
            seconds, work, booting, self.tokens, self.jobs,
        )  # fmt: skip


def _exact(amount: Decimal) -> Decimal:
    """To the millionth, or finer where the ledger is: lines add up to the total."""
    exponent = amount.as_tuple().exponent
    coarse = isinstance(exponent, int) and exponent >= -6
    return amount.quantize(_MICRO) if coarse else amount


def _added(
    pieces: Iterable[Piece], done: Iterable[tuple[Labels, int, int]], by: Sequence[str]
) -> tuple[tuple[CostLine, ...], CostLine]:
    places = [GROUPS.index(name) for name in by]
    found: dict[tuple[str, ...], _Line] = {}
    for piece in pieces:
        key = tuple([piece.labels[place] for place in places])
        line = found.get(key)
        if line is None:
            line = found[key] = _Line()
        line.add(piece)
    for labels, tokens, jobs in done:
        key = tuple([labels[place] for place in places])
        line = found.get(key)
        if line is None:
            line = found[key] = _Line()
        line.tokens += tokens
        line.jobs += jobs
    total = _Line()
    for line in found.values():
        total.add_all(line)
    lines = [line.line(key) for key, line in found.items()]
    if "day" in by or "month" in by:
        lines.sort(key=lambda line: line.key)
    else:
        lines.sort(key=lambda line: (-line.usd, line.key))
    return tuple(lines), total.line(())


def _notes(
    accounts: Accounts, total: CostLine, corrected: Effective, remarks: Remarks, window: Window
) -> tuple[str, ...]:
    """What the reader should know about the figures, gravest first."""
    notes: list[str] = []

    def note(count: object, text: str) -> None:
        if count:
            notes.append(text)

    note(
        accounts.bad_rows,
        f"{counted(accounts.bad_rows, 'row is', 'rows are')} damaged and in no figure: "
        "see `yoyo ledger verify`.",
    )
    note(
        corrected.ignored,
        f"{counted(corrected.ignored, 'correction applies', 'corrections apply')} to no row of "
        "this ledger: left out.",
    )
    note(
        total.unpriced,
        f"{counted(total.unpriced, 'machine life has', 'machine lives have')} no known cost, in "
        "no sum: see `yoyo reconcile` and `yoyo ledger correct`.",
    )
    note(
        remarks.superseded,
        f"{counted(remarks.superseded, 'of them was', 'of them were')} never closed, and the node "
        "went on with another.",
    )
    if remarks.oldest_open is not None:
        known = "unknown" if total.running_usd is None else f"about {total.running_usd:f} USD"
        since = remarks.oldest_open.strftime("%Y-%m-%d %H:%M:%SZ")
        notes.append(
            f"Machines run, the oldest since {since}: {known}, booked when they end and in no "
            "other figure."
        )
    note(
        remarks.unsplit,
        f"{counted(remarks.unsplit, 'life has', 'lives have')} a cost and no seconds: it is not "
        "told apart into work, boot and idle.",
    )
    note(
        remarks.side_by_side,
        f"In {counted(remarks.side_by_side, 'life', 'lives')} jobs ran side by side: their seconds "
        "are scaled down to what the machine had.",
    )
    note(
        remarks.outside_seconds,
        f"{_exact(remarks.outside_seconds):f} s of jobs ran while the ledger knows of no machine.",
    )
    elsewhere = _elsewhere(accounts, window)
    note(
        elsewhere,
        f"{_exact(elsewhere):f} USD stand in rows that book no machine and no disk: not added.",
    )
    return tuple(notes)


def _elsewhere(accounts: Accounts, window: Window) -> Decimal:
    """Cost in rows that should have none; a plain sum over the column would hold it."""
    rows = (
        row.entry.cost_usd
        for row in accounts.rows
        if row.entry.cost_usd and not _books(row.entry) and window.holds(row.timestamp)
    )
    jobs = (job.cost_usd for job in accounts.jobs if window.holds(span_of(job.period)[0]))
    return sum(jobs, _ZERO) + sum(rows, _ZERO)


def _books(entry: Entry) -> bool:
    """Whether its cost is a machine's or a disk's, or takes the place of one."""
    if entry.event_type is EventType.CHECKPOINT:
        return entry.error_code in (DISK_COST, *CORRECTIONS)
    return entry.event_type in CLOSING
