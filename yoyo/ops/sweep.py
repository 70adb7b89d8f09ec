"""`yoyo sweep`: what is left on the platform and costs money for nobody."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from yoyo.errors import NotSupported, YoyoError
from yoyo.model.machine import Leftover
from yoyo.model.settings import Settings
from yoyo.ops.context import Context
from yoyo.ops.locking import node_lock
from yoyo.ports.remote import HasSweep


class SweepResult(NamedTuple):
    """What was found, what was removed, and what was not, with the reason."""

    found: tuple[Leftover, ...]
    removed: tuple[Leftover, ...]
    kept: tuple[tuple[Leftover, str], ...]
    monthly_usd: Decimal | None  # of all that was found; None: a part has no known price


def sweep(ctx: Context, settings: Settings, *, apply: bool, force: bool) -> SweepResult:
    """Look through the node's project; with `apply`, remove what is safe to remove.

    `force` removes also what runs: a machine that no open life of this ledger accounts for.
    The ledger decides what lives: a life that is open in it, of any node, is not touched. With
    `apply` it holds the node's lock, so that no start is under way meanwhile.

    Raises:
        NotSupported, CloudDenied, CloudUnavailable, NodeBusy.
    """
    machines = ctx.machines
    if not isinstance(machines, HasSweep):
        raise NotSupported(
            f"Nothing can be swept for {ctx.node.name}.",
            why=f"The driver {ctx.node.driver} leaves nothing outside its state directory.",
            fix="Name a node of another driver with --node.",
        )
    if not apply:
        return _result(_find(ctx, machines, settings), (), ())
    with node_lock(ctx, "sweep", wait_s=0):
        found = _find(ctx, machines, settings)
        removed: list[Leftover] = []
        kept: list[tuple[Leftover, str]] = []
        for each in found:
            if not each.safe and not force:
                kept.append((each, f"{each.why}: --force removes it"))
                continue
            ctx.progress.phase("removing", f"{each.kind} {each.name}")
            try:
                machines.remove(ctx.node, each)
                removed.append(each)
            except YoyoError as error:
                kept.append((each, f"{error.what} {error.why}"))
    return _result(found, tuple(removed), tuple(kept))


def _find(ctx: Context, machines: HasSweep, settings: Settings) -> list[Leftover]:
    book = ctx.book()
    # A life counts as live while it is open: its machine may run, start or stop.
    live = frozenset(
        life.job_id for lives in book.lives.values() for life in lives if life.closed_at is None
    )
    known = frozenset(str(node.name) for node in settings.nodes)
    return machines.leftovers(ctx.node, live, known)


def _result(
    found: list[Leftover],
    removed: tuple[Leftover, ...],
    kept: tuple[tuple[Leftover, str], ...],
) -> SweepResult:
    prices = [each.monthly_usd for each in found]
    known = [price for price in prices if price is not None]
    total = None if len(known) < len(prices) else sum(known, Decimal(0))
    return SweepResult(tuple(found), removed, kept, total)
