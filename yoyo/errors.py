"""The error tree: what happened, why, what to do next, and one exit code each. No I/O.

Exit codes are part of the interface: scripts depend on them, so a released code
never changes its meaning. 0 is success, 2 is a usage error (typer's own),
130 an interrupt. `docs/exit-codes.md` is generated from this file.
"""

from __future__ import annotations

from typing import ClassVar


class YoyoError(Exception):
    """Base of every error that an operator may see.

    `what` is one sentence in the past tense; `why` the cause as far as it is known;
    `fix` the next thing to do, a command where there is one. `details` are extra lines
    (log lines, a list of mistakes), printed as they are after sanitising.
    """

    exit_code: ClassVar[int] = 1
    summary: ClassVar[str] = "an unexpected failure inside yoyo"

    def __init__(
        self, what: str, *, why: str = "", fix: str = "", details: tuple[str, ...] = ()
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.details = details
        self.documented = False  # whether stdout has it already, as a part of another document

    @property
    def code(self) -> str:
        """Stable name for machines: the class name."""
        return type(self).__name__


class ConfigInvalid(YoyoError):
    """Also carries every mistake, one line each, in `details`."""

    exit_code = 10
    summary = "the configuration has mistakes (all of them are listed)"


class ConfigNotFound(YoyoError):
    exit_code = 11
    summary = "no yoyo.yaml was found"


class ConfigExists(YoyoError):
    exit_code = 12
    summary = "`init` would overwrite a file"


class NodeUnknown(YoyoError):
    exit_code = 13
    summary = "the configuration has no node of that name"


class DriverUnavailable(YoyoError):
    exit_code = 14
    summary = "the machine driver is unknown, or its extra is not installed"


class Frozen(YoyoError):
    exit_code = 20
    summary = "the kill switch is on (`yoyo freeze`)"


class OverBudget(YoyoError):
    exit_code = 21
    summary = "today's or this month's spend plus the worst case would pass a cap"


class NodeBusy(YoyoError):
    exit_code = 22
    summary = "the node works, or another yoyo command holds it"


class GuardNotArmed(YoyoError):
    exit_code = 23
    summary = "a guard that should stop the node by itself is not armed"


class BootFailed(YoyoError):
    exit_code = 30
    summary = "the node or its engine died while starting"


class BootTimeout(YoyoError):
    exit_code = 31
    summary = "the engine did not become healthy in time"


class PortTaken(YoyoError):
    exit_code = 32
    summary = "the configured port is in use"


class ModelInvalid(YoyoError):
    exit_code = 33
    summary = "the model file is missing, truncated or not GGUF"


class NodeNotReady(YoyoError):
    exit_code = 34
    summary = "the command needs a ready node and there is none"


class EngineFailed(YoyoError):
    exit_code = 35
    summary = "the engine refused a request or broke off its answer"


class StopFailed(YoyoError):
    exit_code = 36
    summary = "the node did not stop; it may still cost money"


class ForeignNode(YoyoError):
    exit_code = 37
    summary = "a machine of that name exists which this ledger does not know"


class EngineUnavailable(YoyoError):
    exit_code = 38
    summary = "the engine to run is not installed or not executable"


class CloudDenied(YoyoError):
    exit_code = 60
    summary = "the cloud refused the credentials, or they may not do this"


class CloudUnavailable(YoyoError):
    exit_code = 61
    summary = "the cloud's API gave no usable answer: what it did is unknown until it is asked"


class NoCapacity(YoyoError):
    exit_code = 62
    summary = "no zone of the configuration has the machine to spare"


class QuotaExceeded(YoyoError):
    exit_code = 63
    summary = "a quota of the project does not allow the machine"


class CloudRefused(YoyoError):
    exit_code = 64
    summary = "the cloud refused a request as wrong"


class FirewallDrift(YoyoError):
    exit_code = 65
    summary = "a firewall rule of yoyo's name has other content than the configuration asks for"


class SshFailed(YoyoError):
    exit_code = 66
    summary = "no SSH connection to the node, or its host key is not the one it published"


class NotSupported(YoyoError):
    exit_code = 67
    summary = "the node's driver cannot do this"


class BootstrapFailed(YoyoError):
    exit_code = 39
    summary = "a step of the node's bootstrap failed (the error names it)"


class LedgerCorrupt(YoyoError):
    exit_code = 40
    summary = "the ledger's chain or format is broken"


class LedgerWriteFailed(YoyoError):
    exit_code = 41
    summary = "the ledger could not be written (disk full, no permission)"


class LedgerOpenIntents(YoyoError):
    exit_code = 42
    summary = "`ledger verify --strict` found intents without an outcome"


class LedgerRowRefused(YoyoError):
    exit_code = 43
    summary = "a row held something the ledger's format does not allow"


class LedgerHeadMismatch(YoyoError):
    exit_code = 44
    summary = "the ledger does not contain the row it was expected to contain"


class LedgerUnreadable(YoyoError):
    exit_code = 45
    summary = "the ledger exists and cannot be read (no permission, no regular file)"


class StateUnwritable(YoyoError):
    exit_code = 50
    summary = "the state directory cannot be created or written"


class DoctorFailed(YoyoError):
    exit_code = 51
    summary = "`doctor` found at least one failed prerequisite"


class MonitorNotInstallable(YoyoError):
    exit_code = 52
    summary = "the monitor's timer or cron line cannot be expressed or written"


class StoreDenied(YoyoError):
    exit_code = 84
    summary = "the store refused the credentials, or they may not do this"


class StoreUnavailable(YoyoError):
    exit_code = 71
    summary = "the store gave no usable answer"


class StoreConflict(YoyoError):
    exit_code = 72
    summary = "somebody else changed an object of the store in the meantime"


class StoreFull(YoyoError):
    exit_code = 73
    summary = "there is no room for the bytes, here or in the store"


class ArtefactMissing(YoyoError):
    exit_code = 74
    summary = "the store has nothing of that name"


class ArtefactCorrupt(YoyoError):
    exit_code = 75
    summary = "bytes have another digest than they should have"


class ArtefactExists(YoyoError):
    exit_code = 76
    summary = "the name already stands for other bytes"


class ArtefactInUse(YoyoError):
    exit_code = 77
    summary = "what would be removed is pinned, or a node uses it"


class SourceFailed(YoyoError):
    exit_code = 78
    summary = "the source of an artefact is not there, refuses, or breaks off"


class ModelTooLarge(YoyoError):
    exit_code = 79
    summary = "model, context and buffers do not fit into the node's memory"


class EngineTooOld(YoyoError):
    exit_code = 80
    summary = "the engine does not know the model's architecture"


class BuildFailed(YoyoError):
    exit_code = 81
    summary = "the engine could not be built, or its bundle fails the smoke check"


class ManifestInvalid(YoyoError):
    exit_code = 82
    summary = "a manifest or a ModelCache document is malformed, or was changed"


class CacheNotReady(YoyoError):
    exit_code = 83
    summary = "the node's artefacts are not in the store yet (the error says why)"


class RegistryUnavailable(YoyoError):
    exit_code = 85
    summary = "the OCI registry gave no usable answer"


class RegistryDenied(YoyoError):
    exit_code = 86
    summary = "the OCI registry refused the credentials, or they may not do this"


class AdapterInvalid(YoyoError):
    exit_code = 87
    summary = "the adapter's file or artefact is malformed, or does not fit its base model"


class AdapterRefused(YoyoError):
    """Also carries each failed check, one line each, in `details`."""

    exit_code = 88
    summary = "the adapter did not pass verification (every failed check is listed)"


class SigningFailed(YoyoError):
    exit_code = 89
    summary = "the statement could not be signed: no identity, or a service refused"


class AdapterBookInvalid(YoyoError):
    exit_code = 90
    summary = "the adapters' registry file is malformed, or newer than this yoyo"


class AdapterStageWrong(YoyoError):
    exit_code = 91
    summary = "the adapter's stage does not allow this (not registered, no sign-off, ...)"


class AdapterNotLoaded(YoyoError):
    exit_code = 92
    summary = "the engine's adapters are not the ones that were asked for"


class BundleRefused(YoyoError):
    """`reason` is one word for the cause, of REASONS."""

    exit_code = 93
    summary = "a signature bundle did not verify"

    REASONS: ClassVar[tuple[str, ...]] = (
        "malformed", "mode", "identity", "issuer", "certificate", "timestamp", "log", "signature",
        "payload", "untrusted",
    )  # fmt: skip

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(f"The bundle was refused ({reason}).", why=why)
        self.reason = reason


class LedgerMoved(YoyoError):
    exit_code = 46
    summary = "the ledger changed while a month of it was being sealed"


class MonthSealed(YoyoError):
    exit_code = 47
    summary = "a sealed month is there already with other content, or cannot be sealed or deleted"


class CheckpointInvalid(YoyoError):
    exit_code = 48
    summary = "a checkpoint, a key or an extract is malformed, or its signature is not of that key"


class CheckpointMismatch(YoyoError):
    exit_code = 49
    summary = (
        "the ledger is not the one that the checkpoint signs: cut, rewritten, forked or another"
    )


class CheckpointFailed(YoyoError):
    exit_code = 53
    summary = "a checkpoint could not be signed, kept or copied"


class QueryFailed(YoyoError):
    exit_code = 94
    summary = "the SQL is wrong, or asks for more than reading the ledger"


class ReconcileDiffers(YoyoError):
    exit_code = 95
    summary = "ledger and platform do not agree"


class BillingInvalid(YoyoError):
    exit_code = 96
    summary = "a billing export or a price table cannot be read, or is in another currency"


class TraceNotFound(YoyoError):
    exit_code = 97
    summary = "the ledger has no such output, job, event or input"


class Interrupted(YoyoError):
    exit_code = 130
    summary = "interrupted by SIGINT or SIGTERM"
