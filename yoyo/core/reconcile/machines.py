"""The ledger's lives beside the platform's machines, disks and operations. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from yoyo.core.money import seconds_between
from yoyo.model.reconcile import (
    BookedLife,
    Bounds,
    Finding,
    FindingKind,
    PlatformDisk,
    PlatformMachine,
    PlatformRecords,
    PlatformRun,
)

# A stop is asked for, happens, and is booked a little later; nothing of another life is as near.
_NEAR = timedelta(minutes=10)


def compare_machines(
    lives: tuple[BookedLife, ...], said: PlatformRecords, nodes: frozenset[str], bounds: Bounds
) -> list[Finding]:
    """Every difference. `nodes` are those that the platform was asked about and answered for.

    A life on a node that is not among them is compared with nothing: nobody looked.
    """
    known = {life.request_id: life for life in lives}
    found = [finding for each in said.machines for finding in _machine(each, known, bounds)]
    there = {each.request_id for each in said.machines if each.runs}
    stopped = {each.request_id: each for each in said.machines if not each.runs}
    newest = {life.node_id: life.request_id for life in sorted(lives, key=_begun)}
    for life in lives:
        if life.closing is None and life.node_id in nodes and life.request_id not in there:
            is_newest = newest[life.node_id] == life.request_id
            found.append(_gone(life, stopped.get(life.request_id), is_newest=is_newest))
    told = {each.request_id for each in said.machines if each.started_at is not None}
    for run in said.runs:
        found += _run(run, lives, told, bounds)
    for disk in said.disks:
        found += _disk(disk, known)
    return found


def compared(lives: tuple[BookedLife, ...], said: PlatformRecords) -> set[str]:
    """The request ids of lives that the platform had something to say about."""
    ids = {each.request_id for each in said.machines}
    found = {life.request_id for life in lives if life.request_id in ids}
    for run in said.runs:
        found |= {life.request_id for life in _of(run, lives)}
    return found


def _machine(
    machine: PlatformMachine, known: dict[str, BookedLife], bounds: Bounds
) -> Iterator[Finding]:
    life = known.get(machine.request_id)
    where = f"{machine.name} in {machine.place}" if machine.place else machine.name
    if life is None:
        state = "runs" if machine.runs else "is there, stopped"
        yield Finding(
            FindingKind.MACHINE_WITHOUT_ROWS, machine.node_id, machine.request_id,
            f"{where} {state}, and the ledger has no row of it.", None, None, "",
            "It was started with another ledger, or this ledger was cut, or replaced by an "
            "older copy.",
            "Look for the other ledger; `yoyo ledger verify --against CHECKPOINT` tells whether "
            "this one was cut. `yoyo sweep` lists what may be removed.",
        )  # fmt: skip
        return
    if machine.runs and life.closing is not None:
        yield Finding(
            FindingKind.RUNS_THOUGH_CLOSED, machine.node_id, machine.request_id,
            f"{where} runs, and the ledger closed its life at {_when(life.closing.timestamp)}.",
            None, None, "",
            "Somebody started the machine without yoyo, or its stop was not carried out.",
            f"Run `yoyo down --node {life.node_id} --now`.",
        )  # fmt: skip
        return
    if life.closing is not None and not machine.runs:
        yield from _times(life, machine.started_at, machine.stopped_at, bounds)


def _times(
    life: BookedLife, start: datetime | None, stop: datetime | None, bounds: Bounds
) -> Iterator[Finding]:
    real = seconds_between(start, stop)
    if real is None or life.gpu_seconds is None:
        return  # the platform does not know, or the ledger says that it does not
    if abs(real - life.gpu_seconds) <= max(bounds.seconds, bounds.share * real):
        return
    code = life.closing.entry.error_code if life.closing is not None else ""
    if not life.gpu_seconds:
        cause = "The ledger took it for a machine that never ran."
    elif code == "SUPERVISOR_LOST":
        cause = "Nothing recorded the stop; the ledger has the last heartbeat."
    elif real > life.gpu_seconds:
        cause = "It ran on after it was booked, or its clock was set meanwhile."
    else:
        cause = "It stopped before it was booked as stopped, or its clock was set meanwhile."
    yield Finding(
        FindingKind.TIMES_DIFFER, life.node_id, life.request_id,
        f"{life.node_id} ran {real} s from {_when(start)}; booked are {life.gpu_seconds} s.",
        life.gpu_seconds, real, "s", cause, _correct(life, f"--gpu-seconds {real}"),
    )  # fmt: skip


def _begun(life: BookedLife) -> datetime:
    return life.started


def _gone(life: BookedLife, stopped: PlatformMachine | None, *, is_newest: bool) -> Finding:
    if stopped is not None:
        what, cause = "is stopped", "A guard or the platform stopped it, and nobody looked since."
    elif life.booted:
        what = "is gone"
        cause = "The machine was deleted, or the command that stopped it was killed."
    else:
        what = "is not there"
        cause = "The command that started it was killed, or is at work right now."
    fix = f"Run `yoyo status --node {life.node_id}`: the next command books what it finds."
    if not is_newest:
        fix = "A later life of the node has begun, so that no command closes it: note why."
    return Finding(
        FindingKind.ROWS_WITHOUT_MACHINE, life.node_id, life.request_id,
        f"The life of {life.node_id} since {_when(life.started)} is open, and its machine {what}.",
        None, None, "", cause,
        fix,
    )  # fmt: skip


def _of(run: PlatformRun, lives: tuple[BookedLife, ...]) -> list[BookedLife]:
    """The lives of that node that overlap the run, closed ones by their closing row's time."""
    return [
        life
        for life in lives
        if life.node_id == run.node_id
        and life.started - _NEAR <= run.stopped_at
        and (life.closing is None or life.closing.timestamp + _NEAR >= run.started_at)
    ]


def _run(
    run: PlatformRun, lives: tuple[BookedLife, ...], told: set[str], bounds: Bounds
) -> Iterator[Finding]:
    """A machine that is there says more exactly how long its last life took than the log."""
    overlapping = _of(run, lives)
    if not overlapping:
        yield Finding(
            FindingKind.RUN_WITHOUT_ROWS, run.node_id, "",
            f"{run.node_id} ran from {_when(run.started_at)} to {_when(run.stopped_at)}, and the "
            "ledger has no life of that time.",
            None, seconds_between(run.started_at, run.stopped_at), "s",
            "It was started without yoyo or with another ledger, or rows are missing here.",
            "`yoyo ledger verify --against CHECKPOINT` tells whether rows are missing.",
        )  # fmt: skip
    nearest = [
        life for life in overlapping if abs(life.started - run.started_at) <= _NEAR
    ]  # what else overlaps began at another time: a run says for no life by name
    if len(nearest) == 1 and nearest[0].request_id not in told:
        yield from _times(nearest[0], run.started_at, run.stopped_at, bounds)


def _disk(disk: PlatformDisk, known: dict[str, BookedLife]) -> Iterator[Finding]:
    if disk.in_use:
        return
    life = known.get(disk.request_id)
    if life is not None and life.closing is None:
        return  # a start or a move is under way
    since = f" since {_when(disk.since)}" if disk.since is not None else ""
    code = life.closing.entry.error_code if life is not None and life.closing is not None else ""
    if code == "NO_CAPACITY":
        cause = "It was left behind by a start that found no capacity."
    elif life is None:
        cause = "It belongs to a life that this ledger does not know."
    else:
        cause = "Its machine was removed, and it was not."
    yield Finding(
        FindingKind.DISK_LEFT, disk.node_id, disk.request_id,
        f"Disk {disk.name} in {disk.place}, {disk.gigabytes} GB, is used by nothing{since}, "
        "and is billed.",
        None, None, "", cause, f"Run `yoyo sweep --node {disk.node_id}`.",
    )  # fmt: skip


def _correct(life: BookedLife, what: str) -> str:
    seq = life.closing.seq if life.closing is not None else 0
    return f"Run `yoyo ledger correct {seq} {what} --reason reconciled`."


def _when(at: datetime | None) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at is not None else "an unknown time"


def within(value: Decimal, other: Decimal, bounds: Bounds) -> bool:
    """Whether a booked amount lies near enough to the billed one, `other`. USD."""
    return abs(value - other) <= max(bounds.usd, bounds.share * abs(other))
