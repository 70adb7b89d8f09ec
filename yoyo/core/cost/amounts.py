"""What rows' figures are once later rows have corrected them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from yoyo.core.corrections import Amounts, corrections_of, merged
from yoyo.model.accounts import Accounts, JobSums, Wanted
from yoyo.model.ledger import CORRECTIONS, EventType, Row

# Finds a row by its seq; None: there is no such good row.
Fetch = Callable[[int], Row | None]

_JOBS = (EventType.JOB_START, EventType.JOB_COMPLETE)
_CHARS = {"": 0, "hour": 13, "day": 10, "month": 7}


class Counted(NamedTuple):
    """A row's money as it counts now. None: unknown."""

    gpu_seconds: Decimal | None
    cost_usd: Decimal | None
    billed: bool  # cost_usd is what the platform billed


class Effective(NamedTuple):
    """The figures that corrections put in the place of others."""

    money: Mapping[int, Counted]  # by seq, of the rows that were corrected
    jobs: tuple[JobSums, ...]  # differences to job rows, to be added to the sums
    ignored: int  # that apply to no row


def effective(
    accounts: Accounts, wanted: Wanted, fetch: Fetch | None, *, as_booked: bool
) -> Effective:
    """Read the corrections that apply.

    `fetch` finds corrected job rows, which the accounts hold only as sums; without it their
    corrections are ignored, and counted so.
    """
    if as_booked:
        return Effective({}, (), 0)
    rows = [row for row in accounts.rows if row.entry.error_code in CORRECTIONS]
    named = {row.entry.job_id.split("/")[1] for row in rows if "/" in row.entry.job_id}
    known: dict[int, Row | None] = {}
    if named:
        known.update((row.seq, row) for row in accounts.rows if str(row.seq) in named)

    def find(seq: int) -> Row | None:
        found = known.get(seq)
        if found is None and fetch is not None:
            found = known[seq] = fetch(seq)
        return found

    corrections = corrections_of(rows, find)
    money: dict[int, Counted] = {}
    jobs: list[JobSums] = []
    for each in corrections.applied:
        row = known[each.seq]
        if row is None:
            continue
        if row.entry.event_type in _JOBS:
            jobs.append(_difference(row, each.amounts, wanted))
        else:
            after = merged(row.entry, each.amounts)
            billed = each.amounts.billed and each.amounts.cost_usd is not None
            money[each.seq] = Counted(after.gpu_seconds, after.cost_usd, billed)
    return Effective(money, tuple(jobs), len(corrections.problems))


def period_of(moment: datetime, period: str) -> str:
    """That moment's period in UTC, as `JobSums.period` has it."""
    return moment.astimezone(UTC).isoformat()[: _CHARS[period]]


def _difference(row: Row, change: Amounts, wanted: Wanted) -> JobSums:
    old = row.entry
    tokens, seconds, zero = 0, Decimal(0), Decimal(0)
    if change.tokens is not None:
        tokens = change.tokens - (old.tokens_processed or 0)
    if change.gpu_seconds is not None:
        seconds = change.gpu_seconds - (old.gpu_seconds or 0)
    adapters = ";".join(old.adapter_versions) if wanted.adapters else ""
    operator = old.operator_id if wanted.operators else ""
    return JobSums(
        period_of(row.timestamp, wanted.period), old.module_id, old.node_id, adapters, operator,
        0, 0, 0, tokens, 0, seconds, zero,
    )  # fmt: skip
