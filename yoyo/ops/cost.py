"""`yoyo cost`: what machines and disks cost, for whom, and what they did for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from yoyo.core.cost.table import costs
from yoyo.core.cost.window import grain_of, wanted_for
from yoyo.model.accounts import Accounts, CostTable
from yoyo.model.ledger import Row
from yoyo.ops.kept import deleted

if TYPE_CHECKING:
    from yoyo.model.settings import NodeSettings
    from yoyo.ports.accounts import AccountsReader
    from yoyo.ports.ledger import Ledger


@runtime_checkable
class _Telling(Protocol):
    """A reader that says which files it had to leave to a slower one."""

    line_by_line: tuple[str, ...]


class Question(NamedTuple):
    """What is asked. Times are aware; `nodes`: only those (none: all)."""

    by: tuple[str, ...] = ()  # of model.accounts.GROUPS
    since: datetime | None = None  # inclusive
    until: datetime | None = None  # exclusive
    nodes: tuple[str, ...] = ()
    as_booked: bool = False  # corrections left out: what was known then


def cost(
    ledger: Ledger,
    reader: AccountsReader,
    question: Question,
    *,
    now: datetime,
    nodes: Sequence[NodeSettings] = (),
    progress: Callable[[float], None] | None = None,
) -> CostTable:
    """Read the ledger once, and answer. `nodes` are the configured ones: today's prices and caps.

    Raises:
        ValueError: a group that there is not.
        LedgerUnreadable, DriverUnavailable.
    """
    grain = grain_of(question.since, question.until, now)
    wanted = wanted_for(question.by, grain)
    accounts = reader.read(ledger.parts(), wanted, progress)
    table = answer(accounts, question, now=now, nodes=nodes, fetch=ledger.row_at, grain=grain)
    gone = deleted(ledger, accounts.rows)
    if gone is not None:
        table = table._replace(first_kept=gone.rows + 1)
        if gone.touches(question.since):
            table = table._replace(notes=(gone.text(), *table.notes))
    slow = reader.line_by_line if isinstance(reader, _Telling) else ()
    if slow:
        note = f"DuckDB could not take {', '.join(slow)}: read line by line, which takes longer."
        table = table._replace(notes=(*table.notes, note))
    return table


def answer(
    accounts: Accounts,
    question: Question,
    *,
    now: datetime,
    nodes: Sequence[NodeSettings] = (),
    fetch: Callable[[int], Row | None] | None = None,
    grain: str = "hour",
) -> CostTable:
    """The same from accounts that were read before, with `wanted_for(question.by, grain)`.

    Raises:
        ValueError: a group that there is not.
    """
    chosen = [node for node in nodes if not question.nodes or node.name in question.nodes]
    prices: dict[str, Decimal | None] = {node.name: node.prices.hourly_usd for node in nodes}
    return costs(
        accounts,
        question.by,
        now=now,
        since=question.since,
        until=question.until,
        hourly_prices=prices,
        caps=[node.budget.month_usd for node in chosen],
        nodes=question.nodes,
        as_booked=question.as_booked,
        fetch=fetch,
        grain=grain,
    )
