"""What a machine driver reports about a machine."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from yoyo.model.engine import Health
from yoyo.model.ids import Secret


class MachineState(StrEnum):
    """The platform's view, without asking the engine."""

    ABSENT = "absent"
    PROVISIONING = "provisioning"  # accepted, no running machine yet
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    UNKNOWN = "unknown"  # the platform gave no usable answer


class StopCause(StrEnum):
    """Why a machine stopped, as the machine itself or its platform recorded it."""

    ORDERED = "ordered"  # somebody asked through yoyo
    LIFETIME = "lifetime"
    DEAD_MAN = "dead-man"
    UNREACHABLE = "unreachable"  # the node's own fault rule: engine gone silent, nobody in charge
    ENGINE_EXITED = "engine-exited"
    SUPERVISOR_LOST = "supervisor-lost"  # nothing recorded the stop; its time is the last heartbeat
    PREEMPTED = "preempted"  # the platform took spot capacity back
    PLATFORM_CAP = "platform-cap"  # the platform's own time limit
    HOST_ERROR = "host-error"  # the platform's hardware failed
    POWERED_OFF = "powered-off"  # from inside the machine, by no guard of ours
    UNKNOWN = "unknown"


class Endpoint(NamedTuple):
    """A base URL and a key at which an engine answers, and what proves that it is that engine."""

    url: str
    key: Secret
    pin: str = ""  # lowercase hex sha256 of the server certificate's DER; "" with http://


class GuardStatus(NamedTuple):
    """One guard as really armed on the platform, not as configured."""

    name: str  # monitor, dead-man, lifetime, platform-cap
    armed: bool
    fires_at: datetime | None
    detail: str = ""


class BootStep(NamedTuple):
    """One step of a machine's bootstrap, as the machine itself reports it: hearsay, not fact."""

    name: str
    state: str  # running, done, skipped, failed
    percent: int
    seconds: int  # since the step began
    message: str = ""


class Storage(NamedTuple):
    """A disk that costs money whether its machine runs or not; from the platform's own record."""

    gigabytes: int
    since: datetime


class Clocks(NamedTuple):
    """Whole seconds that clocks are ahead of the platform's, by which machines are paid.

    None: not measured. Below 0: behind.
    """

    node_s: int | None = None  # the machine's own clock
    here_s: int | None = None  # the clock of the host that asks


class Observation(NamedTuple):
    """A machine as observed just now. Times are the platform's own, None when unknown."""

    state: MachineState
    request_id: str = ""  # the idempotency id it was created with; "" when there is none
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    stop_cause: StopCause | None = None
    endpoint: Endpoint | None = None
    guards: tuple[GuardStatus, ...] = ()
    detail: str = ""  # one line for people
    log_tail: tuple[str, ...] = ()  # last engine lines, when it failed
    steps: tuple[BootStep, ...] = ()  # of a bootstrap under way
    failed: str = ""  # why a start cannot succeed any more, though the machine runs
    model: str = ""  # the model's name, where the driver knows it better than the engine
    awaits_handover: bool = False  # it waits for what only the controller can give it
    storage: Storage | None = None  # None: none, or not asked for
    health: Health | None = None  # the engine's answer, where the driver had to ask it anyway
    clocks: Clocks = Clocks()  # where the platform has a clock of its own

    @property
    def alive(self) -> bool:
        """Whether the platform says that a machine is there and not down yet."""
        return self.state in (
            MachineState.PROVISIONING,
            MachineState.RUNNING,
            MachineState.STOPPING,
        )


class ModelFacts(NamedTuple):
    """What the GGUF header says and the roofline needs."""

    name: str
    path: str
    architecture: str
    file_bytes: int
    weight_bytes: int  # tensor data alone
    layers: int
    kv_bytes_per_token: int | None  # at f16/f16; None where the header does not say
    context_length: int | None  # tokens the model was trained for
    quantisation: str = ""  # the type that most of the weights have, as llama.cpp names it
    vocabulary: int | None = None
    embedding_length: int | None = None
    heads: int | None = None  # of the first layer


class Resource(NamedTuple):
    """One thing that `up` would create."""

    kind: str
    name: str
    detail: str
    labels: tuple[tuple[str, str], ...] = ()
    hourly_usd: Decimal | None = None  # None: free, or unknown


class MachinePlan(NamedTuple):
    """What `create` would do; made without changing anything."""

    resources: tuple[Resource, ...]
    model: ModelFacts | None
    calls: tuple[str, ...] = ()  # the platform's API calls that change something, in order
    phases: tuple[tuple[str, int], ...] = ()  # (phase, seconds it is expected to take)
    notes: tuple[str, ...] = ()


class Leftover(NamedTuple):
    """Something that yoyo made on a platform and that belongs to no live node."""

    kind: str  # instance, disk, snapshot, address, firewall, image
    name: str
    place: str  # zone or region; "global"
    request_id: str  # of the life it was made for; "" when it does not say
    why: str
    monthly_usd: Decimal | None  # None: unknown
    safe: bool  # False: it runs, or it may be somebody's data: not removed without being named
