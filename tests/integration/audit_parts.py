"""A ledger with a clock of its own, a key and a second store: what tests of proofs begin with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.audit import VerifierKey
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.settings import AuditSettings, StoreSettings
from yoyo.ops.audit.context import AuditContext
from yoyo.wiring_audit import audit_context, make_note_key, read_vkey

ORIGIN = "ledger.example.org/gpu"


class SetClock:
    """A clock that a test sets; each reading is a millisecond after the one before."""

    def __init__(self, now: datetime) -> None:
        self.at = now

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Audited:
    """One ledger in a directory, and what its operator and its auditor do with it."""

    def __init__(self, home: Path, *, now: datetime | None = None) -> None:
        home.mkdir(exist_ok=True)
        self.home = home
        self.path = home / "ledger.csv"
        self.copies = home.with_name(home.name + "-copies")
        self.clock = SetClock(now or datetime(2026, 10, 1, 8, tzinfo=UTC))
        key = home / "key.pem"
        self.key: VerifierKey = (
            read_vkey(str(home / "key.vkey")) if key.exists() else make_note_key(key, ORIGIN, {})
        )
        self.settings = AuditSettings(
            origin=ORIGIN, key=key, copy_to=StoreSettings(f"file://{self.copies}")
        )

    @property
    def ctx(self) -> AuditContext:
        made = audit_context(self.path, self.settings, "mira@host", self.home / "state", {})
        ledger = CsvLedger(self.path, self.clock, SystemIds(self.clock))
        return made._replace(ledger=ledger, clock=self.clock)

    def book(self, count: int, module: str = "acme", code: str = "") -> None:
        """Append rows of a module, a minute apart."""
        ledger = self.ctx.ledger
        for number in range(count):
            self.clock.sleep(60)
            ledger.append(
                Entry(
                    EventType.CHECKPOINT,
                    module,
                    "demo",
                    f"row/{number}",
                    CompletionStatus.SUCCESS,
                    "mira@host",
                    error_code=code,
                    cost_usd=Decimal("0.25"),
                )
            )

    def lines(self) -> list[bytes]:
        """The live file's lines, header first."""
        return self.path.read_bytes().split(b"\n")[:-1]

    def write(self, lines: list[bytes]) -> None:
        """Put other lines in their place, as somebody does who may write the file."""
        self.path.write_bytes(b"".join(line + b"\n" for line in lines))


def rechained(lines: list[bytes]) -> list[bytes]:
    """The same rows with hashes that fit: what a forger does who knows the format."""
    from yoyo.core.ledger_format import row_hash

    made, above = [lines[0]], "0" * 64
    for line in lines[1:]:
        prefix = line.rpartition(b",")[0]
        above = row_hash(above, prefix)
        made.append(prefix + b"," + above.encode())
    return made
