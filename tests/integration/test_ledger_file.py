"""The ledger as a real file: written, read from both ends, and its path and lock."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from ledger_parts import GOLDEN, NOTE, codes, jobs, open_ledger

from yoyo.core.ledger_format import HEADER
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.errors import LedgerRowRefused
from yoyo.model.ledger import BadRow, EventType, LedgerHead, Row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


@pytest.fixture
def ledger(path: Path) -> CsvLedger:
    return open_ledger(path)


PAGE = Path(__file__).parents[2] / "docs" / "formats" / "ledger.md"


class SteppedClock:
    """A clock that shows given times, then goes on by seconds."""

    def __init__(self, *times: datetime) -> None:
        self._times = list(times)
        self._last = datetime(2026, 11, 21, tzinfo=UTC)

    def now(self) -> datetime:
        self._last = self._times.pop(0) if self._times else self._last + timedelta(seconds=1)
        return self._last

    def monotonic(self) -> float:
        return self._last.timestamp()

    def sleep(self, seconds: float) -> None:
        self._last += timedelta(seconds=seconds)


def test_what_was_appended_is_there(ledger: CsvLedger, path: Path) -> None:
    full = NOTE._replace(
        event_type=EventType.JOB_COMPLETE,
        job_id="j,1",
        operator_id='O"Hara',
        adapter_versions=("a@1", "b@2"),
        cache_hit_ratio=Decimal("0.5"),
        tokens_processed=12,
        gpu_seconds=Decimal("1.250"),
        cost_usd=Decimal("0.000001"),
    )
    written = [ledger.append(entry) for entry in (NOTE, full, NOTE)]
    assert list(ledger.rows()) == written == ledger.tail(3)
    assert [row.seq for row in written] == [1, 2, 3]
    assert [row.line for row in written] == [2, 3, 4]
    assert written[1].entry == full
    report = ledger.verify(LedgerHead(2, written[1].row_hash))
    assert report.problem_count == 1  # a JOB_COMPLETE without its JOB_START
    assert report.expected_head_found is True
    assert path.read_bytes().startswith(HEADER)


def test_a_missing_or_empty_ledger_has_no_rows(ledger: CsvLedger, path: Path) -> None:
    for _ in range(2):
        assert list(ledger.rows()) == ledger.tail(5) == []
        assert ledger.verify().ok
        assert ledger.verify(LedgerHead(1, "0" * 64)).expected_head_found is False
        path.touch()


def test_directories_are_made_and_the_mode_is_0644(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "ledger.csv"
    before = os.umask(0o022)
    try:
        open_ledger(path).append(NOTE)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_refused_row_leaves_no_trace(ledger: CsvLedger, path: Path) -> None:
    with pytest.raises(LedgerRowRefused):
        ledger.append(NOTE._replace(operator_id="a\nb"))
    assert not path.exists()
    ledger.append(NOTE)
    before = path.read_bytes()
    with pytest.raises(LedgerRowRefused):
        ledger.append(NOTE._replace(module_id="../up"))
    assert path.read_bytes() == before


def test_the_tail_is_read_from_the_end(ledger: CsvLedger) -> None:
    for entry in jobs(9):
        ledger.append(entry)
    everything = list(ledger.rows())
    for count in (0, 1, 4, 9, 10, 1000):
        assert ledger.tail(count) == everything[max(9 - count, 0) :]


def test_the_clock_may_go_back(path: Path) -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    system = SystemClock()
    times = [noon, noon - timedelta(days=3), noon]
    ledger = CsvLedger(path, SteppedClock(*times), SystemIds(system))
    assert [ledger.append(NOTE).timestamp for _ in range(3)] == times
    report = ledger.verify()
    assert report.ok
    assert report.clock_steps_back == 1


def spoil(path: Path, line: int, raw: bytes) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = raw
    path.write_bytes(b"\n".join(lines))


def test_bad_rows_are_values_and_good_ones_load(ledger: CsvLedger, path: Path) -> None:
    for entry in jobs(6):
        ledger.append(entry)
    spoil(path, 3, b"nonsense")
    spoil(path, 5, b"x" * 300_000)
    rows = list(ledger.rows())
    assert codes(rows) == ["N0", "bad", "N2", "bad", "N4", "N5"]
    assert [row.line for row in rows] == [2, 3, 4, 5, 6, 7]
    assert rows == ledger.tail(100)
    assert [row.line for row in ledger.tail(3)] == [5, 6, 7]
    bad = ledger.tail(3)[0]
    assert isinstance(bad, BadRow)
    assert "longer than" in bad.reason
    assert len(bad.raw) == 65_536
    report = ledger.verify()
    assert [item.line for item in report.problems][:2] == [3, 4]
    assert report.rows == 4


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_line_without_end_is_not_read_into_memory(path: Path, where: str) -> None:
    ledger = open_ledger(path)
    for entry in jobs(3):
        ledger.append(entry)
    header, *rows = path.read_bytes().splitlines(keepends=True)
    huge = b"x" * 40_000_000 + b"\n"
    parts = {
        "start": [huge, header, *rows],
        "middle": [header, rows[0], huge, *rows[1:]],
        "end": [header, *rows, huge[:-1]],
    }[where]
    path.write_bytes(b"".join(parts))
    del huge, parts
    tracemalloc.start()
    try:
        found = codes(ledger.rows())
        last = codes(ledger.tail(2))
        report = ledger.verify()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [code for code in found if code != "bad"] == ["N0", "N1", "N2"]
    assert last == ["N1", "N2"]
    assert report.rows == 3
    assert report.torn_tail_bytes == (40_000_000 if where == "end" else 0)
    assert peak < 4_000_000


def wait_until_somebody_waits_for(fd: int) -> None:
    inode = f":{os.fstat(fd).st_ino} "
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        locks = Path("/proc/locks").read_text().splitlines()
        if any("->" in line and inode in line for line in locks):
            return
    raise AssertionError("nobody waits for the lock")


def test_a_path_given_to_another_file_meanwhile(path: Path) -> None:
    open_ledger(path).append(NOTE)
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    writer = threading.Thread(target=lambda: open_ledger(path).append(NOTE))
    writer.start()
    try:
        wait_until_somebody_waits_for(fd)
        old = path.read_bytes()
        path.with_name("new.csv").write_bytes(GOLDEN.read_bytes())
        path.with_name("new.csv").rename(path)
    finally:
        os.close(fd)
        writer.join()
    assert path.read_bytes().startswith(GOLDEN.read_bytes())
    assert open_ledger(path).verify().rows == 15
    assert len(old.splitlines()) == 2


def test_a_ledger_object_follows_its_path(ledger: CsvLedger, path: Path) -> None:
    ledger.append(NOTE)
    path.rename(path.with_name("old.csv"))
    assert ledger.append(NOTE).seq == 1
    assert path.exists()


def test_a_forked_child_does_not_share_the_lock(ledger: CsvLedger) -> None:
    ledger.append(NOTE)
    child = os.fork()
    if child == 0:
        try:
            for _ in range(60):
                ledger.append(NOTE._replace(operator_id="child"))
        except BaseException:
            os._exit(1)
        os._exit(0)
    for _ in range(60):
        ledger.append(NOTE._replace(operator_id="parent"))
    assert os.waitpid(child, 0)[1] == 0
    report = ledger.verify()
    assert report.ok
    assert report.rows == 121


def test_the_golden_file_loads_for_ever(tmp_path: Path) -> None:
    content = GOLDEN.read_bytes()
    assert hashlib.sha256(content).hexdigest() == (
        "e5c6b1c505d92232a095b19e5acdbe7387e78ecc50c06011b78ee6d2b1866bdc"
    )
    ledger = open_ledger(GOLDEN)
    rows = [row for row in ledger.rows() if isinstance(row, Row)]
    assert len(rows) == 14
    assert {row.entry.event_type for row in rows} == set(EventType)
    job = rows[4].entry
    assert job.operator_id == 'O\'Hara, "Jo" '
    assert job.adapter_versions == ("billing@1.4.0",)
    assert (job.tokens_processed, job.gpu_seconds) == (1536, Decimal("12.034"))
    assert rows[0].timestamp == datetime(2026, 11, 21, 7, 0, 37, 1, tzinfo=UTC)
    assert sum(row.entry.cost_usd or 0 for row in rows) == Decimal("0.710049")
    report = ledger.verify(
        LedgerHead(14, "c49adf5533df8132f9244c53c1b34c3be4501921cf2ca0f8386e7d81d534ae27")
    )
    assert report.ok
    assert not report.open_intents
    assert report.clock_steps_back == 1
    copy = tmp_path / "ledger.csv"
    copy.write_bytes(content)
    assert open_ledger(copy).append(NOTE).seq == 15


def checkers() -> dict[str, list[str]]:
    page = PAGE.read_text()
    python, shell = (
        re.findall(rf"```{lang}\n(.*?)```", page, re.DOTALL)[0] for lang in ("python", "sh")
    )
    return {"python": [sys.executable, "-c", python], "sh": ["sh", "-c", shell]}


@pytest.mark.parametrize("which", ["python", "sh"])
def test_the_checkers_of_the_format_page_agree(path: Path, which: str) -> None:
    command = checkers()[which]
    if which == "python":
        assert len([line for line in command[2].splitlines() if line]) <= 12
        command = [*command, "ledger.csv"]
    content = GOLDEN.read_bytes()
    lines = content.splitlines(keepends=True)
    tampered = {
        "sound": content,
        "edited": content.replace(b"0.710049", b"0.110049"),
        "dropped": b"".join(lines[:4] + lines[5:]),
        "swapped": b"".join([*lines[:4], lines[5], lines[4], *lines[6:]]),
    }
    for name, changed in tampered.items():
        path.write_bytes(changed)
        report = open_ledger(path).verify()
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is report.ok is (name == "sound"), (name, done)
        if name == "sound":
            assert done.stdout.strip() == str(report.head)
