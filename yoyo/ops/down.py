"""`yoyo down`: drain, stop, wait until it is really down, book what it cost."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from yoyo.core.lives import Book, Life
from yoyo.core.settle import closing
from yoyo.errors import NodeBusy, NodeNotReady, YoyoError
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.machine import MachineState, Observation
from yoyo.model.status import NodeState
from yoyo.ops.book import booked
from yoyo.ops.context import Context
from yoyo.ops.locking import node_lock
from yoyo.ops.settle import GONE, book_disk, refuse_foreign, refuse_stranger, settle, stop_and_wait

_LOCK_WAIT_S = 30.0
_DRAIN_POLL_S = 0.25


class DownResult(NamedTuple):
    """What is there now. `already_down`: this command found it so and stopped nothing."""

    node_id: str
    state: NodeState
    already_down: bool
    deleted: bool
    gpu_seconds: Decimal | None
    cost_usd: Decimal | None
    disk_cost_usd: Decimal | None  # booked by this command, beside `cost_usd`
    notes: tuple[str, ...]


def down(
    ctx: Context, *, delete: bool = False, now: bool = False, operator: str = ""
) -> DownResult:
    """Stop the node. Twice is the same as once.

    Without `now`, waits up to `guards.drain_timeout` for running requests and refuses to
    stop a node that still works; with it, also a start that is under way is cut off. A
    ledger that cannot be written does not keep a machine running: it is stopped first and
    the ledger's error raised after; the next command books.

    Raises:
        NodeBusy, ForeignNode, NodeNotReady (its state is unknown, and no life of it is open),
        StopFailed, LedgerCorrupt, LedgerWriteFailed, StateUnwritable.
    """
    operator = operator or ctx.operator

    def break_in() -> None:
        # A start under way holds the node, perhaps for minutes. With the machine stopped
        # under it, it books the failed boot itself and lets go.
        if now:
            ctx.machines.stop(ctx.node)

    with node_lock(ctx, "down", wait_s=_LOCK_WAIT_S, operator=operator, when_busy=break_in):
        seen = ctx.machines.observe(ctx.node)
        trouble: YoyoError | None = None
        notes: list[str] = []
        book = Book()
        try:
            book, notes = settle(ctx, seen, healthy=False)
        except YoyoError as error:
            trouble = error
        life = book.current(ctx.node.name)
        already_down = seen.state in GONE
        end: Entry | None = None
        disk: Decimal | None = None
        if not already_down:
            if not now:
                refuse_foreign(ctx, book, seen)
                _refuse_unknown(ctx, life, seen)
                drain(ctx, seen)
            end, disk, trouble = _stop(ctx, life, seen, operator, trouble)
        elif delete and not now:
            refuse_stranger(ctx, book, seen)
        if delete:
            ctx.progress.phase("deleting", "machine and what was made for it")
            ctx.machines.delete(ctx.node)
            if ctx.node.takes_from_store:
                notes += _forget(ctx)
        if trouble is not None:
            raise trouble
        return DownResult(
            node_id=ctx.node.name,
            state=NodeState.ABSENT if delete else _state(ctx),
            already_down=already_down,
            deleted=delete,
            gpu_seconds=end.gpu_seconds if end else None,
            cost_usd=end.cost_usd if end else None,
            disk_cost_usd=disk,
            notes=tuple(notes),
        )


def _forget(ctx: Context) -> list[str]:
    from yoyo.ops.provide import forget

    try:
        forget(ctx)
    except YoyoError as error:
        return [f"the store still keeps what the node ran from: {error.what}"]
    return []


def _stop(
    ctx: Context,
    life: Life | None,
    seen: Observation,
    operator: str,
    trouble: YoyoError | None,
) -> tuple[Entry | None, Decimal | None, YoyoError | None]:
    """Intent, stop, outcome; a ledger error is carried along rather than raised."""
    unknown = seen.state is MachineState.UNKNOWN
    meant = seen.request_id or (life.job_id if life is not None else "")
    if life is None or (life.job_id != seen.request_id and not unknown):
        # A machine this ledger never booted: its end is booked under the id it carries.
        life = Life(
            seen.request_id or ctx.ids.new_id(),
            ctx.node.name,
            ctx.node.module_id,
            seen.started_at or ctx.clock.now(),
            booted_at=seen.started_at,
        )
    try:
        if trouble is None and life.teardown_at is None:
            life = _request_teardown(ctx, life, operator)
    except YoyoError as error:
        trouble = error
    ctx.progress.phase("stopping", f"up to {ctx.node.guards.stop_grace_s} s")
    seen = stop_and_wait(ctx, meant)
    if trouble is not None:
        return None, None, trouble
    end = closing(life, seen, node=ctx.node, operator=operator)
    disk = None
    try:
        booked(ctx, end)
        disk = book_disk(ctx, ctx.book(), seen)
    except YoyoError as error:
        trouble = error
    return end, disk, trouble


def _refuse_unknown(ctx: Context, life: Life | None, seen: Observation) -> None:
    """Nothing is stopped on a guess: without an open life there is none of ours to stop.

    Raises:
        NodeNotReady.
    """
    if seen.state is MachineState.UNKNOWN and life is None:
        raise NodeNotReady(
            f"The state of node {ctx.node.name} is unknown.",
            why=seen.detail or "The platform gave no usable answer.",
            fix="This ledger has no open life of it, so nothing was stopped. Run `yoyo status` "
            "again; `yoyo down --now` stops whatever runs under that name.",
        )


def _request_teardown(ctx: Context, life: Life, operator: str) -> Life:
    """Book the intent to stop."""
    row = ctx.ledger.append(
        Entry(
            EventType.TEARDOWN_REQUEST,
            life.module_id,
            life.node_id,
            life.job_id,
            CompletionStatus.PENDING,
            operator,
        )
    )
    return life._replace(teardown_at=row.timestamp)


def drain(ctx: Context, seen: Observation) -> None:
    """Wait until no request is in work.

    An engine that does not answer has nothing that could be waited for.

    Raises:
        NodeBusy: requests are still in work after `guards.drain_timeout`.
    """
    if seen.state is not MachineState.RUNNING or seen.endpoint is None:
        return
    deadline = ctx.clock.monotonic() + ctx.node.guards.drain_timeout_s
    announced = False
    while True:
        load = ctx.engine.load(seen.endpoint)
        work = (load.processing or 0) + (load.deferred or 0)
        if work == 0 and not (load.slots and load.slots.busy):
            return
        if not announced:
            ctx.progress.phase("draining", f"{work} request(s) in work")
            announced = True
        if ctx.clock.monotonic() > deadline:
            raise NodeBusy(
                f"Node {ctx.node.name} still works on {work} request(s) after "
                f"{ctx.node.guards.drain_timeout_s} s.",
                why="`down` waits for running requests and does not cut them off by itself.",
                fix=f"Wait, or stop it at once with `yoyo down --node {ctx.node.name} --now`.",
            )
        ctx.clock.sleep(_DRAIN_POLL_S)


def _state(ctx: Context) -> NodeState:
    state = ctx.machines.observe(ctx.node).state
    return NodeState.ABSENT if state is MachineState.ABSENT else NodeState.STOPPED
