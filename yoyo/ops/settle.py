"""Bring ledger and machine into agreement before anything new begins."""

from __future__ import annotations

from decimal import Decimal

from yoyo.core.clocks import skew_entries
from yoyo.core.disk_cost import disk_entry
from yoyo.core.lives import Book, Life
from yoyo.core.settle import closing, closing_without_machine, settle_jobs, settle_life
from yoyo.errors import BootFailed, ForeignNode, NodeBusy, StopFailed, YoyoError
from yoyo.model.engine import Health
from yoyo.model.ledger import CLOCK_SKEW, CompletionStatus, EventType
from yoyo.model.machine import MachineState, Observation
from yoyo.ops.book import booked
from yoyo.ops.context import Context

GONE = (MachineState.STOPPED, MachineState.ABSENT)


def is_healthy(ctx: Context, seen: Observation) -> bool:
    """Whether a running machine's engine answers that it is well."""
    return (
        seen.state is MachineState.RUNNING
        and seen.endpoint is not None
        and (seen.health or ctx.engine.health(seen.endpoint)) is Health.OK
    )


def settle(ctx: Context, seen: Observation, *, healthy: bool) -> tuple[Book, list[str]]:
    """Book what crashed commands, guards or the platform left open. Needs the node's lock.

    Returns the ledger as it is then, and one line for people per row booked.

    Raises:
        LedgerCorrupt, LedgerWriteFailed.
    """
    book = ctx.book()
    now = ctx.clock.now()
    life = book.current(ctx.node.name)
    entry = settle_life(life, seen, healthy=healthy, node=ctx.node, operator=ctx.operator)
    entries = [] if entry is None else [entry]
    if life is not None and entry is not None and entry.event_type is EventType.BOOT_COMPLETE:
        entries = [*skew_entries(life, seen.clocks, ctx.operator), entry]
    entries += settle_jobs(book, ctx.node.name, now, ctx.node.guards.job_lease_s, ctx.operator)
    notes = []
    for item in entries:
        booked(ctx, item)
        if item.error_code == CLOCK_SKEW:
            continue  # nothing that was left open
        what = item.error_code or item.completion_status
        notes.append(f"settled: {item.event_type} of {item.job_id} ({what})")
    rested = seen.state is MachineState.STOPPED and book_disk(ctx, book, seen) is not None
    return (ctx.book() if notes or rested else book), notes


def book_disk(ctx: Context, book: Book, seen: Observation) -> Decimal | None:
    """Book what the disk of a stopped machine has cost since it was booked last; the amount.

    Raises:
        LedgerCorrupt, LedgerWriteFailed.
    """
    entry = disk_entry(book, seen.storage, ctx.node, ctx.clock.now(), ctx.operator)
    if entry is None:
        return None
    booked(ctx, entry)
    return entry.cost_usd


def settle_if_free(ctx: Context, seen: Observation, *, healthy: bool) -> tuple[Book, list[str]]:
    """Settle unless another command holds the node: then that command is at work on it.

    Reads the ledger once and does no more when there is nothing to book, so that looking
    stays cheap. Returns as `settle` does.
    """
    book = ctx.book()
    life = book.current(ctx.node.name)
    due = settle_life(life, seen, healthy=healthy, node=ctx.node, operator=ctx.operator)
    stale = settle_jobs(
        book, ctx.node.name, ctx.clock.now(), ctx.node.guards.job_lease_s, ctx.operator
    )
    if due is None and not stale:
        return book, []
    try:
        with ctx.locks.hold(ctx.node.name, operator=ctx.operator, command="settle", wait_s=0):
            seen = ctx.machines.observe(ctx.node)
            return settle(ctx, seen, healthy=is_healthy(ctx, seen))
    except NodeBusy:
        return book, []


def refuse_foreign(ctx: Context, book: Book, seen: Observation) -> None:
    """Refuse to touch a live machine that is not of this ledger's open life.

    Raises:
        ForeignNode.
    """
    life = book.current(ctx.node.name)
    if seen.alive and (life is None or life.job_id != seen.request_id):
        raise _foreign(ctx, life, seen)


def refuse_stranger(ctx: Context, book: Book, seen: Observation) -> None:
    """Refuse to start or delete a machine at rest that no life of this ledger was of.

    Raises:
        ForeignNode.
    """
    known = {each.job_id for each in book.of(ctx.node.name)}
    if seen.state is MachineState.STOPPED and seen.request_id not in {"", *known}:
        raise _foreign(ctx, book.current(ctx.node.name), seen)


def _foreign(ctx: Context, life: Life | None, seen: Observation) -> ForeignNode:
    return ForeignNode(
        f"There is a machine named {ctx.node.name} that this ledger does not know.",
        why=f"It carries the request id {seen.request_id or '(none)'}; the ledger's open "
        f"life of this node is {life.job_id if life else 'none'}.",
        fix="Use the ledger it was started with. If it is yours all the same, "
        f"`yoyo down --node {ctx.node.name} --now` stops it and books its end here (with "
        "--delete: removes it).",
    )


def stop_and_wait(ctx: Context, request_id: str) -> Observation:
    """Stop that life's machine ("": whichever has the name) and wait until it is down.

    Raises:
        StopFailed: it still runs after its grace, or the platform gives no answer.
        ForeignNode: it is not of that life.
    """
    ctx.machines.stop(ctx.node, request_id)
    deadline = ctx.clock.monotonic() + ctx.machines.stop_bound_s(ctx.node)
    delay = 0.005
    while True:
        seen = ctx.machines.observe(ctx.node)
        if seen.state in GONE:
            return seen
        if ctx.clock.monotonic() > deadline:
            raise StopFailed(
                f"Node {ctx.node.name} did not stop: it is still {seen.state}.",
                why=seen.detail or "The platform accepted the stop and nothing happened.",
                fix=f"Run `yoyo down --node {ctx.node.name} --now` again; it may still cost "
                "money until `yoyo status` says stopped.",
            )
        ctx.clock.sleep(delay)
        delay = min(delay * 1.5, 0.5)


def abandon_boot(
    ctx: Context, request_id: str, failure: tuple[CompletionStatus, str] | None
) -> None:
    """Undo a boot that must not go on: stop its machine, then book the end of its life.

    A machine that carries another request id is somebody else's and is left alone.

    Raises:
        StopFailed: then the life stays open in the ledger and the next command goes on.
    """
    seen = ctx.machines.observe(ctx.node)
    ours = seen.request_id == request_id
    if seen.state is MachineState.UNKNOWN or (ours and seen.state not in GONE):
        try:
            seen = stop_and_wait(ctx, request_id)
        except ForeignNode:
            seen = Observation(MachineState.ABSENT)  # of ours there is none
        ours = seen.request_id == request_id
    life = ctx.book().current(ctx.node.name)
    if life is None or life.job_id != request_id:
        return
    end = (
        closing(life, seen, node=ctx.node, operator=ctx.operator, failure=failure)
        if ours
        else closing_without_machine(life, ctx.node, ctx.operator, failure)
    )
    booked(ctx, end)


def boot_failed(ctx: Context, seen: Observation) -> YoyoError:
    """The error for a machine that stopped before its engine was healthy."""
    return BootFailed(
        f"Node {ctx.node.name} died while starting.",
        why=seen.failed
        or seen.detail
        or (f"It stopped: {seen.stop_cause}." if seen.stop_cause else ""),
        fix=f"Read the lines above, or all of them with `yoyo logs --node {ctx.node.name}`; "
        "then correct the engine settings and run `yoyo up` again.",
        details=seen.log_tail,
    )
