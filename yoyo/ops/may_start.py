"""Whether a node may be started now: kill switch, budget, and what it would be started without."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.disk_cost import plus_disk
from yoyo.core.money import Spend, day_start, month_start, over_budget, spend, worst_case
from yoyo.errors import AdapterBookInvalid, CheckpointMismatch, Frozen, OverBudget

if TYPE_CHECKING:
    from yoyo.core.lives import Book
    from yoyo.ops.context import Context

HARD_CAPS = ("lifetime", "platform-cap")


class Outlook(NamedTuple):
    """Spend and worst case before a start."""

    today: Spend
    month: Spend
    worst: Decimal | None
    refusal: str | None


def outlook(ctx: Context, book: Book) -> Outlook:
    """What was spent and what one more boot may cost at the most."""
    now, hourly = ctx.clock.now(), ctx.node.prices.hourly_usd
    lives = book.of(ctx.node.name)
    disk = book.disk_costs.get(ctx.node.name, [])
    today = plus_disk(spend(lives, day_start(now), now, hourly), disk, day_start(now))
    month = plus_disk(spend(lives, month_start(now), now, hourly), disk, month_start(now))
    # Only a cap that holds without anybody's help bounds the cost: the dead-man spares a
    # busy node, so it is none.
    hard = (s for name, s in ctx.machines.caps(ctx.node) if name in HARD_CAPS)
    worst = worst_case(hourly, hard)
    return Outlook(today, month, worst, over_budget(ctx.node.budget, today, month, worst))


def refuse_frozen(ctx: Context) -> None:
    """Raise Frozen while the kill switch is on."""
    freeze = ctx.killswitch.state()
    if freeze is not None:
        raise Frozen(
            "Starts are frozen.",
            why=f"{freeze.operator} froze them at {freeze.since}: {freeze.reason}",
            fix="Clear it with them, then run `yoyo thaw`.",
        )


def refuse_cut(ctx: Context) -> None:
    """Refuse to spend on a ledger that is not the one that was signed last.

    Cheap: sizes and one row are compared, no signature and no tree. `recheck` finds what was
    changed in between.

    Raises:
        CheckpointMismatch: rows are gone, or the last row that was signed is another one.
    """
    checkpoints = ctx.on_checkpoints() if ctx.on_checkpoints is not None else None
    if checkpoints is None or not checkpoints.names():
        return
    from yoyo.ops.audit.age import differs

    why = differs(checkpoints, ctx.ledger)
    if why:
        raise CheckpointMismatch(
            "The ledger is not the one that was signed last; nothing was started.",
            why=why,
            fix="Keep all files, run `yoyo ledger verify --against` with the copies of the "
            "checkpoints, and restore the ledger that they sign. One that is meant to be new "
            "needs a name of its own (`ledger:` in yoyo.yaml).",
        )


def lacks_registry_file(ctx: Context) -> bool:
    """Whether the node is to have what is promoted, and there is no file that says what that is."""
    return ctx.on_adapters is None and ctx.node.adapters != "none"


def no_registry_file(node: str) -> AdapterBookInvalid:
    """Where the file is missing a node would answer with the base alone, and look healthy."""
    return AdapterBookInvalid(
        "There is no registry file of adapters.",
        why="What `adapters.registry` names is not there, and the ledger knows of adapters.",
        fix=f"Check it out, or correct the path; the base alone: --set nodes.{node}.adapters=none",
    )


def refuse_start(ctx: Context, book: Book) -> None:
    """Raise what would keep the node from being started now.

    Raises:
        Frozen, OverBudget.
        AdapterBookInvalid: there is no registry file, though adapters were promoted.
    """
    refuse_frozen(ctx)
    if book.has_promoted and lacks_registry_file(ctx):
        raise no_registry_file(ctx.node.name)
    refusal = outlook(ctx, book).refusal
    if refusal is not None:
        raise OverBudget(
            f"Starting {ctx.node.name} could pass its budget.",
            why=refusal,
            fix="Raise the cap under `budget`, shorten `guards.lifetime`, or wait.",
        )
