"""The one word for a node's state, from ledger and observation. Pure."""

from __future__ import annotations

from datetime import datetime

from yoyo.core.lives import Life
from yoyo.model.ledger import CompletionStatus
from yoyo.model.machine import MachineState, Observation
from yoyo.model.status import NodeState


def node_state(
    life: Life | None, seen: Observation, *, healthy: bool
) -> tuple[NodeState, datetime | None]:
    """State and since when. `life` is the newest one, open or closed.

    A running machine whose booted engine does not answer is `unknown`: silence is neither
    idleness nor a stop.
    """
    is_open = life is not None and life.closed_at is None
    state: NodeState
    since = seen.started_at
    match seen.state:
        case MachineState.UNKNOWN:
            state, since = NodeState.UNKNOWN, None
        case MachineState.STOPPING:
            state, since = NodeState.STOPPING, life.teardown_at if life else None
        case MachineState.PROVISIONING:
            state, since = NodeState.PROVISIONING, life.started if life and is_open else None
        case MachineState.RUNNING if healthy:
            state = NodeState.READY
            since = life.booted_at or since if life and is_open else since
        case MachineState.RUNNING if is_open and life is not None and life.booted_at is None:
            state = NodeState.BOOTING
        case MachineState.RUNNING:
            state = NodeState.UNKNOWN
        case _ if is_open and life is not None and life.booted_at is None:
            # Intent written, nothing there: a start under way, or one that was killed.
            state, since = NodeState.PROVISIONING, life.started
        case _ if life is not None and life.status is CompletionStatus.ERROR:
            state, since = NodeState.FAILED, life.closed_at
        case _ if life is not None and life.status is CompletionStatus.TIMEOUT:
            state, since = NodeState.FAILED, life.closed_at
        case MachineState.STOPPED:
            state, since = NodeState.STOPPED, seen.stopped_at
        case _:
            state, since = NodeState.ABSENT, None
    if state is NodeState.READY and life is not None and is_open and life.teardown_at:
        state, since = NodeState.STOPPING, life.teardown_at
    return state, since
