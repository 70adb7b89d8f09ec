"""The ledger as a real file: written, read from both ends, torn, tampered with, out of room."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yoyo.core.ledger_check import LedgerCheck
from yoyo.core.ledger_format import HEADER
from yoyo.drivers.files import verify
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.errors import LedgerCorrupt, LedgerRowRefused, LedgerUnreadable, LedgerWriteFailed
from yoyo.model.ledger import BadRow, CompletionStatus, Entry, EventType, LedgerHead, Row

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger-v1.csv"
PAGE = Path(__file__).parents[2] / "docs" / "formats" / "ledger.md"
NOTE = Entry(EventType.CHECKPOINT, "team-a", "node-1", "", CompletionStatus.SUCCESS, "someone")


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


def open_ledger(path: Path) -> CsvLedger:
    clock = SystemClock()
    return CsvLedger(path, clock, SystemIds(clock))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


@pytest.fixture
def ledger(path: Path) -> CsvLedger:
    return open_ledger(path)


def jobs(count: int) -> list[Entry]:
    return [replace(NOTE, error_code=f"N{n}") for n in range(count)]


def codes(rows: Iterator[Row | BadRow] | list[Row | BadRow]) -> list[str]:
    return [row.entry.error_code if isinstance(row, Row) else "bad" for row in rows]


def test_what_was_appended_is_there(ledger: CsvLedger, path: Path) -> None:
    full = replace(
        NOTE,
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
        ledger.append(replace(NOTE, operator_id="a\nb"))
    assert not path.exists()
    ledger.append(NOTE)
    before = path.read_bytes()
    with pytest.raises(LedgerRowRefused):
        ledger.append(replace(NOTE, module_id="../up"))
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


# --- bad rows as values ---------------------------------------------------------------------


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


# --- tampering ------------------------------------------------------------------------------


def test_append_refuses_to_build_on_a_broken_tail(ledger: CsvLedger, path: Path) -> None:
    for entry in jobs(4):
        ledger.append(entry)
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    broken = {
        "edited": good.replace(b"N3", b"N9"),
        "hash edited": good[:-3] + b"0\n" + b"",
        "last but one dropped": b"".join([*lines[:3], lines[4]]),
        "swapped": b"".join([*lines[:3], lines[4], lines[3]]),
        "CRLF": good[:-1] + b"\r\n",
        "junk": good + b"junk\n",
        "empty line": good + b"\n",
        "second header": good + HEADER,
        "NUL": good + b"\0" * 10 + b"\n",
        "not a ledger": b"hello\n",
        "not a ledger, unended": b"hello",
        "header edited": good.replace(b"event_id", b"eventid_", 1),
        "a huge line at the end": good + b"x" * 300_000,
    }
    for name, content in broken.items():
        path.write_bytes(content)
        with pytest.raises(LedgerCorrupt) as caught:
            open_ledger(path).append(NOTE)
        assert caught.value.why, name
        assert path.read_bytes() == content, name
        assert not path.with_name("ledger.csv.torn").exists(), name
    path.write_bytes(good)
    assert ledger.append(NOTE).seq == 5


def test_the_same_object_notices_what_others_did_to_the_tail(ledger: CsvLedger, path: Path) -> None:
    for entry in jobs(3):
        ledger.append(entry)
    good = path.read_bytes()
    with path.open("r+b") as file:  # in place: the inode stays
        file.write(good.replace(b"N2", b"N7"))
    with pytest.raises(LedgerCorrupt):
        ledger.append(NOTE)


def test_a_cut_tail_is_seen_against_the_kept_head(ledger: CsvLedger, path: Path) -> None:
    written = [ledger.append(entry) for entry in jobs(3)]
    head = LedgerHead(3, written[-1].row_hash)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert ledger.verify().ok
    assert not ledger.verify(head).ok
    path.write_bytes(b"".join(lines)[:-40])  # mid-row
    report = ledger.verify(head)
    assert report.torn_tail_bytes == len(lines[-1]) - 40
    assert report.expected_head_found is False
    assert report.problem_count == 0


# --- a file large enough for two processes ----------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("large") / "ledger.csv"
    ledger = open_ledger(path)
    for size in (60_000,) * 75 + (10,) * 2000:
        ledger.append(replace(NOTE, operator_id="x" * size))
    return path.read_bytes()


def children() -> str:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


def test_two_processes_find_what_one_does(path: Path, large: bytes) -> None:
    before = children()
    assert len(large) > verify._LARGE_BYTES
    lines = large.splitlines(keepends=True)
    files = {
        "sound": large,
        "edited": large.replace(b",1900,", b",1901,", 1),
        "edited early": large.replace(b"x", b"y", 1),
        "dropped": b"".join(lines[:1500] + lines[1501:]),
        "swapped": b"".join([*lines[:700], lines[701], lines[700], *lines[702:]]),
        "cut": large[:-100],
        "two headers": large + lines[0],
        "no header": b"".join(lines[1:]),
        "another header": large.replace(b"event_id", b"eventid_", 1),
        "CRLF": large.replace(b"\n", b"\r\n"),
        "NUL": large[:-3000] + b"\0" + large[-2999:],
        "line without end": b"".join([*lines[:900], b"z" * 200_000 + b"\n", *lines[900:]]),
    }
    head = LedgerHead(2075, lines[-1][-65:-1].decode())
    for name, content in files.items():
        path.write_bytes(content)
        with path.open("rb") as file:
            fd, end = file.fileno(), len(content)
            alone = verify._check(fd, end, LedgerCheck(head))
            both = verify.verify_file(fd, end, head)
            helped = verify._with_helper(fd, end, head)
        assert both == alone, name
        assert both.ok is (name == "sound"), name
        # a hash that does not match sends all the work to one process
        hashes_match = name in ("sound", "cut", "another header")
        assert helped == (alone if hashes_match else None), name
    assert children() == before


# --- torn tails -----------------------------------------------------------------------------


def cut(path: Path, keep: int) -> bytes:
    content = path.read_bytes()
    path.write_bytes(content[:keep])
    return content[content.rfind(b"\n", 0, keep) + 1 : keep]


def three_rows() -> bytes:
    return b"".join(GOLDEN.read_bytes().splitlines(keepends=True)[:4])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.integers(1, len(three_rows())))
def test_a_file_cut_anywhere_is_recovered(tmp_path: Path, keep: int) -> None:
    path = tmp_path / f"cut-{keep}.csv"
    side = tmp_path / f"cut-{keep}.csv.torn"
    side.unlink(missing_ok=True)
    path.write_bytes(three_rows())
    torn = cut(path, keep)
    ledger = open_ledger(path)
    row = ledger.append(NOTE)
    report = ledger.verify()
    assert report.problem_count == 0
    assert report.torn_tail_bytes == 0
    assert list(ledger.rows())[-1] == row
    if not torn:
        assert not side.exists()
        return
    above = list(ledger.rows())[-2]
    assert isinstance(above, Row)
    assert above.entry.event_type is EventType.CHECKPOINT
    assert above.entry.error_code == "TORN_TAIL_RECOVERED"
    assert above.entry.input_hash == f"sha256:{hashlib.sha256(torn).hexdigest()}"
    assert (above.entry.node_id, above.entry.module_id) == (NOTE.node_id, NOTE.module_id)
    offset = len(three_rows()[:keep]) - len(torn)
    first, rest = side.read_bytes().split(b"\n", 1)
    assert rest == torn + b"\n"
    assert first.startswith(b"# %d bytes torn at offset %d, found " % (len(torn), offset))


def test_a_recovery_that_was_killed_before_its_cut_is_recovered(
    ledger: CsvLedger, path: Path
) -> None:
    ledger.append(NOTE)
    with path.open("ab") as file:
        file.write(b"t" * 2000)
    end = path.stat().st_size - 2000
    ledger.append(NOTE)
    recovered = path.read_bytes()
    checkpoint_end = recovered.index(b"\n", end) + 1
    # as it stands between the write over the torn bytes and the cut behind it
    path.write_bytes(recovered[:checkpoint_end] + b"t" * (2000 - (checkpoint_end - end)))
    open_ledger(path).append(NOTE)
    assert codes(ledger.rows()) == ["", "TORN_TAIL_RECOVERED", "TORN_TAIL_RECOVERED", ""]
    assert ledger.verify().ok


def test_the_longest_torn_tail(ledger: CsvLedger, path: Path) -> None:
    ledger.append(NOTE)
    with path.open("ab") as file:
        file.write(b"\0" * 65_535)
    ledger.append(NOTE)
    assert codes(ledger.rows()) == ["", "TORN_TAIL_RECOVERED", ""]
    assert ledger.verify().ok


def test_long_rows_fit_the_look_at_the_tail(ledger: CsvLedger) -> None:
    for size in (10, 500, 1500, 60_000, 65_000, 65_000, 10):
        ledger.append(replace(NOTE, operator_id="x" * size))
        assert open_ledger(Path(ledger._path)).append(NOTE)
    assert ledger.verify().ok


# --- no room, no permission -----------------------------------------------------------------


def tmpfs_can_be_mounted() -> bool:
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and (
        subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


FILL = """
import resource, sys
from pathlib import Path
from dataclasses import replace
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.errors import LedgerWriteFailed
from yoyo.model.ledger import CompletionStatus, Entry, EventType

path, torn = Path(sys.argv[1]), int(sys.argv[2])
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
clock = SystemClock()
ledger = CsvLedger(path, clock, SystemIds(clock))
note = Entry(EventType.CHECKPOINT, "m", "n", "", CompletionStatus.SUCCESS, "op")
acknowledged = 0
while True:
    before = path.read_bytes() if path.exists() else b""
    try:
        ledger.append(replace(note, operator_id="x" * 1000))
        acknowledged += 1
    except LedgerWriteFailed as error:
        assert path.read_bytes() == before, "the file is not as it was"
        assert error.why and error.fix
        break
if torn:
    # Room for the torn bytes, and not for the row that is to record them.
    room = path.stat().st_size + torn + 50
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    with path.open("ab", buffering=0) as file:
        file.write(b"t" * torn)
    before = path.read_bytes()
    try:
        ledger.append(replace(note, operator_id="y"))
    except LedgerWriteFailed:
        assert path.read_bytes() == before, "the torn bytes are not as they were"
    else:
        raise SystemExit("there was no room for this row")
report = ledger.verify()
assert report.ok and report.rows == acknowledged > 3, report
side = path.with_name(path.name + ".torn")
print(acknowledged, report.torn_tail_bytes, side.exists() and side.stat().st_size)
"""


def fill(*arguments: Path | int, mount: str = "") -> str:
    command = [sys.executable, "-c", FILL, *map(str, arguments)]
    if mount:
        # In a mount namespace of its own, which ends with the process.
        script = f'mount -t tmpfs -o size=64k none "{mount}" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_size_limit_loses_nothing_and_leaves_no_half_row(path: Path) -> None:
    acknowledged, torn, _ = fill(path, 0, 20_000).split()
    assert torn == "0"
    row = open_ledger(path).append(NOTE)  # without the limit it goes on
    assert row.seq == int(acknowledged) + 1


def test_a_limit_amid_a_recovery_puts_the_torn_bytes_back(path: Path) -> None:
    assert fill(path, 100, 20_000).split()[1] == "100"
    open_ledger(path).append(NOTE)
    assert open_ledger(path).verify().ok


# Where no tmpfs can be mounted the limit alone holds the same code to account.
MOUNT = tmpfs_can_be_mounted()


@pytest.mark.parametrize("limit", [20_000] + [0] * MOUNT)
def test_a_full_disk_loses_nothing_and_leaves_no_half_row(tmp_path: Path, limit: int) -> None:
    mount = "" if limit else str(tmp_path)
    assert fill(tmp_path / "ledger.csv", 0, limit, mount=mount).split()[1] == "0"


def test_what_cannot_be_opened_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "file" / "ledger.csv", tmp_path, tmp_path / "fifo"):
        ledger = open_ledger(path)
        with pytest.raises(LedgerWriteFailed) as caught:
            ledger.append(NOTE)
        assert caught.value.fix
        with pytest.raises(LedgerUnreadable):
            list(ledger.rows())
        with pytest.raises(LedgerUnreadable):
            ledger.tail(1)
        with pytest.raises(LedgerUnreadable):
            ledger.verify()


def test_no_descriptor_is_left_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        ledger = open_ledger(path)
        ledger.append(NOTE)
        next(ledger.rows())
        ledger.tail(1)
        ledger.verify()
        del ledger
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# --- the path and the lock ------------------------------------------------------------------


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
                ledger.append(replace(NOTE, operator_id="child"))
        except BaseException:
            os._exit(1)
        os._exit(0)
    for _ in range(60):
        ledger.append(replace(NOTE, operator_id="parent"))
    assert os.waitpid(child, 0)[1] == 0
    report = ledger.verify()
    assert report.ok
    assert report.rows == 121


# --- the format, for ever -------------------------------------------------------------------


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
