"""The generated year as it would have been signed: checkpoints, seals, a change of keys, copies.

PLACE/ledger/   what the operator has: yoyo.yaml, ledger, proofs, checkpoints, bill, platform
PLACE/keys/     the private keys, which nobody else sees
PLACE/copies/   the second store
PLACE/auditor/  the verifier key that the auditor was given at the beginning
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from year_facts import START
from year_lines import YearLines
from year_papers import config_text, write_papers
from year_parts import Year

from yoyo.core.ledger_format import HEADER
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.ledger import Row
from yoyo.model.settings import AuditSettings, StoreSettings
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.ops.audit.context import AuditContext
from yoyo.ops.audit.keys import rotate
from yoyo.ops.audit.seal import seal
from yoyo.wiring_audit import audit_context, make_note_key, signer_by

ORIGIN = "ledger.example.org/year"
STEP_DAY = 100  # on which a clock is set back, at ten
FIRST_KEY, SECOND_KEY = "ledger-key.pem", "ledger-key-2.pem"

PROOF_CONFIG = """\
checkpoints:
  origin: {origin}
  key: ../keys/{key}
  copy_to: file://{copies}
"""


class Papers(NamedTuple):
    """Where the parts of a signed year lie."""

    place: Path

    @property
    def ledger(self) -> Path:
        return self.place / "ledger"

    @property
    def keys(self) -> Path:
        return self.place / "keys"

    @property
    def copies(self) -> Path:
        return self.place / "copies"

    @property
    def vkey(self) -> Path:
        """The auditor's: of the first key."""
        return self.place / "auditor" / "ledger-key.vkey"

    @property
    def newest_vkey(self) -> Path:
        """Of the key that signed the newest copy."""
        kept = self.copies / "checkpoints"
        return kept / f"{max(kept.glob('*.note')).stem[-8:]}.vkey"


class YearClock:
    """A clock that stands where the year is; each reading is a millisecond later."""

    at = START

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def sign_year(year: Year, place: Path, origin: str = ORIGIN) -> Papers:
    """Lay the year out, signed. All rows but those about the ledger itself follow from the seed."""
    papers = Papers(place.absolute())
    for directory in (papers.ledger, papers.keys, papers.copies, papers.vkey.parent):
        directory.mkdir(parents=True, exist_ok=True)
    for name in (FIRST_KEY, SECOND_KEY):
        make_note_key(papers.keys / name, origin, {})
    shutil.copy(papers.keys / FIRST_KEY.replace(".pem", ".vkey"), papers.vkey)
    _Signing(year, papers, origin).run()
    year.keep_proofs(papers.ledger)
    write_papers(year, papers.ledger)
    config = config_text().replace("nodes:\n", PROOF_CONFIG + "nodes:\n")
    config = config.replace("{origin}", origin).replace("{key}", SECOND_KEY)
    (papers.ledger / "yoyo.yaml").write_text(config.replace("{copies}", str(papers.copies)))
    return papers


class _Signing:
    def __init__(self, year: Year, papers: Papers, origin: str) -> None:
        self.year, self.papers, self.origin = year, papers, origin
        self.path = papers.ledger / "ledger.csv"
        self.lines, self.clock, self.key = YearLines(year.seed), YearClock(), FIRST_KEY

    def run(self) -> None:
        stops = self._stops()
        waiting: list[bytes] = []
        at, act = next(stops)
        for event in self.year.events(heartbeats=False):
            while event.at >= at:
                self._book(waiting)
                self.clock.at = at
                act()
                self._go_on()
                at, act = next(stops)
            waiting.append(self.lines.line(event))
        self._book(waiting)
        self.year.rows = self.lines.seq

    def _stops(self) -> Iterator[tuple[datetime, Callable[[], object]]]:
        """What is done when. The year's last whole month is left unsealed."""
        begin, end = START + timedelta(hours=2), self.year.end
        stops: list[tuple[datetime, Callable[[], object]]] = [
            (begin + timedelta(weeks=2 * turn, hours=4), self._checkpoint)
            for turn in range(1, self.year.days // 14)
        ]
        days = (START + timedelta(days=day) for day in range(1, self.year.days))
        first = [day for day in days if day.day == 1]
        stops += [(day, self._seal) for day in first[:-1]]
        stops += [
            (begin, self._checkpoint),
            (START + timedelta(days=self.year.days // 2, hours=4), self._rotate),
            (START + timedelta(days=STEP_DAY, hours=9, minutes=55), self._checkpoint),
            (end - timedelta(hours=12), self._checkpoint),
        ]
        yield from sorted(stops, key=lambda stop: stop[0])
        yield datetime.max.replace(tzinfo=UTC), self._checkpoint

    @property
    def _ctx(self) -> AuditContext:
        settings = AuditSettings(
            origin=self.origin,
            key=self.papers.keys / self.key,
            copy_to=StoreSettings(f"file://{self.papers.copies}"),
        )
        made = audit_context(self.path, settings, "alice", self.papers.keys / "state", {})
        ledger = CsvLedger(self.path, self.clock, SystemIds(self.clock))
        return made._replace(ledger=ledger, clock=self.clock)

    def _checkpoint(self) -> None:
        done = checkpoint(self._ctx)
        assert not done.note, done.note

    def _seal(self) -> None:
        assert len(seal(self._ctx)) == 1
        self._checkpoint()

    def _rotate(self) -> None:
        rotate(self._ctx, signer_by(self.papers.keys / SECOND_KEY, self.origin, {}))
        self.key = SECOND_KEY

    def _book(self, waiting: list[bytes]) -> None:
        """What appends would have left: tens of thousands of syncs are what this does without."""
        if not self.path.exists():
            self.path.write_bytes(HEADER)
        with self.path.open("ab") as file:
            file.writelines(waiting)
        waiting.clear()

    def _go_on(self) -> None:
        newest = self._ctx.ledger.tail(1)[-1]
        assert isinstance(newest, Row)
        self.lines.seq, self.lines.prev = newest.seq, newest.row_hash
