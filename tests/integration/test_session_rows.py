"""SESSION and CLOCK_STEP rows in a real ledger, with a host whose clock and boot are given."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from ledger_parts import NOTE, open_ledger

import yoyo
from yoyo.core.session import HostFacts, Stamp
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.files.proofs import FileProofs
from yoyo.drivers.files.session import FileSessionMarker
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.host import SystemHost
from yoyo.drivers.system.ids import SystemIds
from yoyo.errors import LedgerWriteFailed
from yoyo.model.ledger import CLOCK_STEP, SESSION, Row
from yoyo.ops.session import open_session
from yoyo.ports.ledger import Ledger
from yoyo.ports.proofs import Proofs


class GivenHost:
    """A host that says what the test wants."""

    def __init__(self, boot_id: str = "boot-1", offset: str | None = "1000") -> None:
        self.boot_id, self.offset = boot_id, offset

    def stamp(self) -> Stamp:
        return Stamp(self.boot_id, None if self.offset is None else Decimal(self.offset))

    def facts(self) -> HostFacts:
        return HostFacts("box", "Linux 6", "tsc", True)


class FullDisk:
    """Proofs on a disk without room."""

    def keep(self, document: bytes) -> str:
        raise LedgerWriteFailed("No room.")

    def find(self, digest: str) -> bytes | None:
        return None


class Here:
    """One state directory and one ledger; each `command` is a new process' view of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "ledger.csv"
        self.proofs = FileProofs(root / "ledger.proofs")

    def command(self, host: GivenHost, proofs: Proofs | None = None) -> Ledger:
        def opened(inner: CsvLedger) -> None:
            open_session(
                inner,
                proofs or self.proofs,
                FileSessionMarker(self.root / "state", self.path),
                host,
                place=str(self.path),
                operator="me",
                program="0.6",
            )

        clock = SystemClock()
        return CsvLedger(self.path, clock, SystemIds(clock), before_first=opened)

    def rows(self) -> list[Row]:
        return [row for row in open_ledger(self.path).rows() if isinstance(row, Row)]

    def codes(self) -> list[str]:
        return [row.entry.error_code or "note" for row in self.rows()]


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_a_boots_first_row_says_which_host_it_is(here: Here) -> None:
    ledger = here.command(GivenHost())
    for _ in range(3):
        ledger.append(NOTE)
    here.command(GivenHost()).append(NOTE)
    assert here.codes() == [SESSION, "note", "note", "note", "note"]
    document = here.proofs.find(here.rows()[0].entry.input_hash)
    assert document is not None
    record = json.loads(document)
    assert (record["host"], record["boot_id"], record["clock_source"]) == ("box", "boot-1", "tsc")
    assert (record["synchronised"], record["yoyo"]) == ("yes", "0.6")
    assert open_ledger(here.path).verify().ok


def test_reading_opens_no_session(here: Here) -> None:
    ledger = here.command(GivenHost())
    assert list(ledger.rows()) == []
    assert ledger.tail(1) == []
    assert not here.path.exists()
    assert not (here.root / "state").exists()


def test_another_boot_is_another_session(here: Here) -> None:
    for boot in ("boot-1", "boot-1", "boot-2"):
        here.command(GivenHost(boot)).append(NOTE)
    assert here.codes() == [SESSION, "note", "note", SESSION, "note"]


def test_a_clock_that_was_set_is_booked_once(here: Here) -> None:
    for offset in ("1000", "1001.9", "1012.345", "1012.345", "900"):
        here.command(GivenHost(offset=offset)).append(NOTE)
    jobs = [row.entry.job_id for row in here.rows() if row.entry.error_code == CLOCK_STEP]
    assert jobs == ["clock/+12.345", "clock/-112.345"]
    assert here.codes().count(SESSION) == 1


def test_an_offset_that_becomes_known_is_kept(here: Here) -> None:
    for offset in (None, "1000", "1010"):
        here.command(GivenHost(offset=offset)).append(NOTE)
    # The second command could not know whether it was set; the third could.
    assert here.codes() == [SESSION, "note", "note", CLOCK_STEP, "note"]


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"version": 1}'])
def test_a_damaged_or_lost_marker_only_opens_the_session_anew(here: Here, damage: str) -> None:
    here.command(GivenHost()).append(NOTE)
    (marker,) = (here.root / "state").glob("session-*.json")
    marker.write_text(damage)
    here.command(GivenHost()).append(NOTE)
    assert here.codes() == [SESSION, "note", SESSION, "note"]


def test_a_new_ledger_at_the_old_path_begins_with_its_own_session(here: Here) -> None:
    here.command(GivenHost()).append(NOTE)
    here.path.rename(here.root / "old.csv")
    here.command(GivenHost()).append(NOTE)
    assert here.codes() == [SESSION, "note"]


def test_a_ledger_copied_back_from_before_the_session_gets_one(here: Here) -> None:
    open_ledger(here.path).append(NOTE)
    before = here.path.read_bytes()
    here.command(GivenHost()).append(NOTE)
    here.path.write_bytes(before)
    here.command(GivenHost()).append(NOTE)
    assert here.codes() == ["note", SESSION, "note"]


def test_without_room_for_the_record_the_rows_are_written_all_the_same(here: Here) -> None:
    here.command(GivenHost(), FullDisk()).append(NOTE)
    assert here.codes() == [SESSION, "note"]
    assert here.rows()[0].entry.input_hash == ""


def test_a_state_directory_that_cannot_be_written_blocks_nothing(here: Here) -> None:
    (here.root / "state").write_text("a file")
    here.command(GivenHost()).append(NOTE)
    assert here.codes()[-1] == "note"


def test_a_broken_ledger_is_the_commands_own_trouble(here: Here) -> None:
    here.path.mkdir()
    with pytest.raises(LedgerWriteFailed):
        here.command(GivenHost()).append(NOTE)


def test_commands_that_begin_together_write_one_session(here: Here) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from test_session_rows import GivenHost, Here, NOTE\n"
        "sys.stdin.read(1)\n"
        "Here(Path(sys.argv[1])).command(GivenHost()).append(NOTE)\n"
    )
    tests = Path(__file__).parents[1]
    paths = [str(Path(yoyo.__file__).parents[1]), str(tests), str(Path(__file__).parent)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(here.root), *paths],
            stdin=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for each in started:
        assert each.stdin is not None
        each.stdin.close()
    assert [each.wait(timeout=60) for each in started] == [0] * 4
    assert sorted(here.codes()) == sorted([SESSION, *["note"] * 4])
    assert here.codes()[0] == SESSION


def test_this_host_says_what_it_can_and_nothing_else() -> None:
    host = SystemHost()
    first, second = host.stamp(), host.stamp()
    assert first.boot_id == second.boot_id
    assert first.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert first.offset_s is not None
    assert second.offset_s is not None
    assert abs(first.offset_s - second.offset_s) < 1
    assert host.facts().host == os.uname().nodename


def test_what_a_host_cannot_read_is_unknown(tmp_path: Path) -> None:
    host = SystemHost(tmp_path)
    assert host.stamp().boot_id == ""
    assert host.facts().clock_source == ""
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_bytes(b"\xff\xfe\n")
    assert host.stamp().boot_id == ""


class LockSeen(GivenHost):
    """A host that looks, while the record is made, whether the marker is held."""

    def __init__(self, lock: Path) -> None:
        super().__init__("boot-2")
        self._lock = lock
        self.was_held = False

    def facts(self) -> HostFacts:
        with self._lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.was_held = True
        return super().facts()


def test_the_marker_is_held_while_the_row_is_written(here: Here) -> None:
    here.command(GivenHost()).append(NOTE)
    (lock,) = (here.root / "state").glob("session-*.lock")
    host = LockSeen(lock)
    here.command(host).append(NOTE)
    assert host.was_held


class Overtaken(FileSessionMarker):
    """A marker that another command gets hold of first, and uses."""

    def __init__(self, here: Here) -> None:
        super().__init__(here.root / "state", here.path)
        self._here = here

    @contextmanager
    def hold(self) -> Iterator[bool]:
        self._here.command(GivenHost()).append(NOTE)
        with super().hold() as alone:
            yield alone


def test_a_command_that_was_overtaken_writes_no_second_session(here: Here) -> None:
    open_session(
        open_ledger(here.path), here.proofs, Overtaken(here), GivenHost(),
        place=str(here.path), operator="me", program="0.6",
    )  # fmt: skip
    assert here.codes() == [SESSION, "note"]


def test_a_marker_that_another_command_holds_is_waited_for_and_then_passed(here: Here) -> None:
    with FileSessionMarker(here.root / "state", here.path).hold() as alone:
        assert alone
        here.command(GivenHost()).append(NOTE)
    assert here.codes() == [SESSION, "note"]


def test_two_ledgers_of_one_state_directory_each_have_their_session(here: Here) -> None:
    other = Here(here.root)
    other.path = here.root / "other.csv"
    for _ in range(3):
        here.command(GivenHost()).append(NOTE)
        other.command(GivenHost()).append(NOTE)
    assert here.codes() == other.codes() == [SESSION, "note", "note", "note"]
