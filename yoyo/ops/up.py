"""`yoyo up`: from nothing to a healthy engine with its guards armed, booked at both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yoyo import __version__
from yoyo.core.boot_record import boot_record
from yoyo.core.clocks import skew_entries, skew_notes
from yoyo.core.lives import Book, Life
from yoyo.core.settle import boot_complete
from yoyo.errors import (
    BootstrapFailed,
    BootTimeout,
    Frozen,
    GuardNotArmed,
    Interrupted,
    NoCapacity,
    NodeNotReady,
    QuotaExceeded,
    YoyoError,
)
from yoyo.model.engine import Health
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.machine import GuardStatus, MachineState, Observation
from yoyo.model.status import NodeState
from yoyo.ops.context import Context, require_sound
from yoyo.ops.locking import node_lock
from yoyo.ops.may_start import refuse_cut, refuse_frozen, refuse_start
from yoyo.ops.settle import (
    GONE,
    abandon_boot,
    boot_failed,
    is_healthy,
    refuse_foreign,
    refuse_stranger,
    settle,
    stop_and_wait,
)
from yoyo.ports.machines import NeedsHandover

if TYPE_CHECKING:
    from yoyo.ops.adapters.stack import Stack

# A second `up` waits for the first one; a little longer than the first may take.
_LOCK_SLACK_S = 30
# Looking again after a twentieth of the time waited so far finds readiness at most 5 % late.
_POLL_SHARE, _POLL_LEAST_S, _POLL_MOST_S = 0.05, 0.004, 0.5
# A look at a machine at a distance is a few calls of the platform's, which counts them.
_REMOTE_POLL_LEAST_S = 0.2


class UpResult(NamedTuple):
    """What is there now. `already_up`: this command found it and started nothing."""

    node_id: str
    state: NodeState
    request_id: str
    endpoint: str | None
    already_up: bool
    guards: tuple[GuardStatus, ...]
    seconds: float  # from the command's start to now
    notes: tuple[str, ...]


class _Start(NamedTuple):
    """One start under way."""

    life: Life
    allow_unguarded: bool
    expected_s: int = 0
    stack: Stack | None = None  # None: not known to this command, which found the node starting


def up(ctx: Context, *, wait: bool = True, allow_unguarded: bool = False) -> UpResult:
    """Start the node, or find it started.

    Intent is written before the platform is called and the outcome after; whatever fails or
    is interrupted in between is stopped again and booked. With `wait` False it returns when
    the machine is accepted, and the next command books the boot's outcome.

    Raises:
        Frozen, OverBudget, NodeBusy, ForeignNode, ModelInvalid, PortTaken,
        EngineUnavailable, BootFailed, BootTimeout, GuardNotArmed, StopFailed, Interrupted,
        what `provided` raises for a node that takes from the store,
        CheckpointMismatch, LedgerCorrupt, LedgerWriteFailed, StateUnwritable.
    """
    begun = ctx.clock.monotonic()
    patience = ctx.node.guards.boot_timeout_s + _LOCK_SLACK_S
    with node_lock(ctx, "up", wait_s=patience):
        ctx.progress.phase("checking", "ledger, kill switch, budget, model")
        refuse_frozen(ctx)
        refuse_cut(ctx)
        book, seen, notes = _settled(ctx)
        life = book.current(ctx.node.name)
        if life is not None:
            seen = _join(ctx, life, seen, wait, allow_unguarded)
            notes += _tidy(ctx) if wait and life.booted_at is None else []
            notes += _rejoin(ctx, None, seen) if wait else []
            return _result(ctx, life, seen, notes, begun, already_up=True, waited=wait)
        if ctx.node.takes_from_store:
            from yoyo.ops.provide import provided

            ctx = provided(ctx)
        expected_s = sum(seconds for _, seconds in ctx.machines.plan(ctx.node).phases)
        require_sound(ctx.ledger)
        refuse_stranger(ctx, book, seen)
        refuse_start(ctx, book)
        if ctx.node.taken:
            from yoyo.ops.provide import take

            take(ctx)
        ctx, stack = _with_adapters(ctx)
        start = _Start(_intent(ctx), allow_unguarded, expected_s, stack)
        life = start.life
        try:
            ctx.progress.phase("creating", f"machine on driver {ctx.node.driver}")
            ctx.machines.create(ctx.node, life.job_id)
            seen = ctx.machines.observe(ctx.node)
            if wait:
                seen = _until_ready(ctx, start)
            else:
                refuse_frozen(ctx)
        except BaseException as error:
            raise _undo(ctx, life, error) from error
        notes += [*_tidy(ctx), *_rejoin(ctx, None, seen)] if wait else []
        return _result(ctx, life, seen, notes, begun, already_up=False, waited=wait)


def _with_adapters(ctx: Context) -> tuple[Context, Stack | None]:
    """The node with its adapters: verified, and where it can fetch them. None: it has none."""
    if ctx.on_adapters is None:
        return ctx, None
    from yoyo.ops.adapters.shelve import shelved
    from yoyo.ops.adapters.stack import prepared

    ctx, stack = prepared(ctx)
    return shelved(ctx), stack


def _load(ctx: Context, start: _Start, seen: Observation) -> None:
    """The adapters at their scales in the healthy engine, and booked."""
    if start.stack is None:
        _rejoin(ctx, start.life, seen)
    elif seen.endpoint is not None:
        from yoyo.ops.adapters.load import load

        load(ctx, start.life, seen.endpoint, start.stack)


def _rejoin(ctx: Context, life: Life | None, seen: Observation) -> list[str]:
    """Adapters brought back where they are not what was booked; gives what to know of them.
    `life` None: as the ledger has it by now."""
    if ctx.on_adapters is None or seen.endpoint is None:
        return []
    from yoyo.ops.adapters.rejoin import rejoin

    life = life or ctx.book().current(ctx.node.name)
    return rejoin(ctx, life, seen.endpoint) if life is not None else []


def _settled(ctx: Context) -> tuple[Book, Observation, list[str]]:
    """Ledger and machine in agreement; a teardown that was cut short is finished first."""
    seen = ctx.machines.observe(ctx.node)
    book, notes = settle(ctx, seen, healthy=False)
    life = book.current(ctx.node.name)
    refuse_foreign(ctx, book, seen)
    if life is not None and life.teardown_at is not None and seen.state not in GONE:
        ctx.progress.phase("stopping", "finishing a teardown that was cut short")
        seen = stop_and_wait(ctx, life.job_id)
        book, more = settle(ctx, seen, healthy=False)
        notes += more
    if seen.state is MachineState.UNKNOWN:
        raise NodeNotReady(
            f"The state of node {ctx.node.name} is unknown.",
            why=seen.detail or "The platform gave no usable answer.",
            fix="Nothing was started. Run `yoyo status` again, then `yoyo doctor`.",
        )
    return book, seen, notes


def _join(
    ctx: Context, life: Life, seen: Observation, wait: bool, allow_unguarded: bool
) -> Observation:
    """The node runs or is starting: wait for it, as the command that began it would."""
    if life.booted_at is None and wait:
        try:
            return _until_ready(ctx, _Start(life, allow_unguarded))
        except BaseException as error:
            raise _undo(ctx, life, error) from error
    if life.booted_at is None or is_healthy(ctx, seen):
        return seen
    if isinstance(ctx.machines, NeedsHandover):
        ctx.machines.reconnect(ctx.node)
        seen = ctx.machines.observe(ctx.node)
    if not is_healthy(ctx, seen):
        raise NodeNotReady(
            f"Node {ctx.node.name} runs, but its engine does not answer.",
            why=seen.detail or "No answer from /health.",
            fix=f"See `yoyo logs --node {ctx.node.name}`; restart it with `yoyo down --now` "
            "and `yoyo up`.",
        )
    return seen


def _intent(ctx: Context) -> Life:
    # Before the row that names it, as every proof: a start that cannot be proved is not made.
    record = ctx.proofs.keep(boot_record(ctx.node, __version__)) if ctx.proofs is not None else ""
    row = ctx.ledger.append(
        Entry(
            EventType.BOOT_REQUEST,
            ctx.node.module_id,
            ctx.node.name,
            ctx.ids.new_id(),
            CompletionStatus.PENDING,
            ctx.operator,
            input_hash=record,
        )
    )
    return Life(row.entry.job_id, ctx.node.name, ctx.node.module_id, row.timestamp)


def _until_ready(ctx: Context, start: _Start) -> Observation:
    """Wait for a healthy engine, read the guards back, look at the kill switch once more."""
    seen = _wait_healthy(ctx, start.life, start.expected_s)
    armed = {guard.name for guard in seen.guards if guard.armed}
    missing = [name for name, _ in ctx.machines.caps(ctx.node) if name not in armed]
    if missing and not start.allow_unguarded:
        raise GuardNotArmed(
            f"Node {ctx.node.name} started, but {', '.join(missing)} did not arm.",
            why="A node that nothing stops by itself can cost money unnoticed.",
            fix="See `yoyo doctor`; `yoyo up --allow-unguarded` runs it all the same.",
        )
    refuse_frozen(ctx)
    _load(ctx, start, seen)
    for entry in skew_entries(start.life, seen.clocks, ctx.operator):
        ctx.ledger.append(entry)
    ctx.ledger.append(boot_complete(start.life, ctx.operator))
    return seen


def _tidy(ctx: Context) -> list[str]:
    """Remove what was kept until the node was healthy. It stays up even if that fails."""
    if not isinstance(ctx.machines, NeedsHandover):
        return []
    try:
        ctx.machines.settled_in(ctx.node)
    except YoyoError as error:
        return [f"{error.what} {error.why}: see `yoyo sweep`"]
    return []


def _wait_healthy(ctx: Context, life: Life, expected_s: int) -> Observation:
    begun = ctx.clock.monotonic()
    deadline = begun + ctx.node.guards.boot_timeout_s
    remote = isinstance(ctx.machines, NeedsHandover)
    least = _REMOTE_POLL_LEAST_S if remote else _POLL_LEAST_S
    phase = ""
    while True:
        seen = ctx.machines.observe(ctx.node)
        if seen.state in GONE:
            raise boot_failed(ctx, seen)
        if seen.request_id not in ("", life.job_id):
            refuse_foreign(ctx, ctx.book(), seen)
        if seen.failed:
            raise BootstrapFailed(
                f"Node {ctx.node.name} could not set itself up; it is being stopped.",
                why=seen.failed,
                fix=f"Follow what the step says; `yoyo logs --boot --node {ctx.node.name}` has "
                "the whole log while the node is there.",
                details=seen.log_tail,
            )
        if isinstance(ctx.machines, NeedsHandover) and seen.awaits_handover:
            ctx.machines.hand_over(ctx.node)
        ctx.progress.steps(seen.steps)
        step = "loading" if seen.state is MachineState.RUNNING else "provisioning"
        if step != phase:
            phase = step
            what = "engine and model" if step == "loading" else "machine"
            about = f", roughly {max(1, round(expected_s / 60))} min in all" if expected_s else ""
            ctx.progress.phase(step, what + about)
        if seen.endpoint is not None:
            health = seen.health or ctx.engine.health(seen.endpoint, timeout=1.0)
            if health is Health.OK:
                return seen
        if ctx.clock.monotonic() > deadline:
            raise BootTimeout(
                f"Node {ctx.node.name} was not healthy after "
                f"{ctx.node.guards.boot_timeout_s} s; it is being stopped.",
                why=seen.detail or _silence(ctx, seen),
                fix="Raise `guards.boot_timeout`, or look at `yoyo logs`.",
                details=seen.log_tail,
            )
        waited = ctx.clock.monotonic() - begun
        ctx.clock.sleep(min(max(waited * _POLL_SHARE, least), _POLL_MOST_S))


def _silence(ctx: Context, seen: Observation) -> str:
    """Why a machine's engine is not healthy, as far as it can be asked."""
    if seen.endpoint is not None:
        error = ctx.engine.load(seen.endpoint).error
        if error:
            return f"It is {seen.state}; its engine: {error}."
    return f"It is {seen.state} and the engine does not answer."


def _undo(ctx: Context, life: Life, error: BaseException) -> BaseException:
    """Stop what this start made and book its end; gives the error to raise."""
    failure = {
        BootTimeout: (CompletionStatus.TIMEOUT, "BOOT_TIMEOUT"),
        Frozen: (CompletionStatus.ERROR, "FROZEN"),
        GuardNotArmed: (CompletionStatus.ERROR, "GUARD_NOT_ARMED"),
        BootstrapFailed: (CompletionStatus.ERROR, "BOOTSTRAP_FAILED"),
        NoCapacity: (CompletionStatus.ERROR, "NO_CAPACITY"),
        QuotaExceeded: (CompletionStatus.ERROR, "QUOTA_EXCEEDED"),
        KeyboardInterrupt: (CompletionStatus.ERROR, "INTERRUPTED"),
    }.get(type(error))
    ctx.progress.phase("undoing", "stopping what was started")
    abandon_boot(ctx, life.job_id, failure)
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(
            f"Interrupted: the start of {ctx.node.name} was undone and booked.",
            fix="Run `yoyo up` again when you are ready; `--no-wait` does not wait.",
        )
    return error


def _result(
    ctx: Context,
    life: Life,
    seen: Observation,
    notes: list[str],
    begun: float,
    *,
    already_up: bool,
    waited: bool,
) -> UpResult:
    return UpResult(
        node_id=ctx.node.name,
        state=NodeState.READY if waited or life.booted_at else NodeState.PROVISIONING,
        request_id=life.job_id,
        endpoint=seen.endpoint.url if seen.endpoint else None,
        already_up=already_up,
        guards=seen.guards,
        seconds=ctx.clock.monotonic() - begun,
        # Of a node that was up already they are as old as its start.
        notes=(*notes, *(() if already_up else skew_notes(seen.clocks))),
    )
