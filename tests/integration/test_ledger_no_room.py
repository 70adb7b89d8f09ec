"""The ledger without room, without permission, and what it leaves open."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_parts import NOTE, open_ledger

from yoyo.drivers.files.ledger import CsvLedger
from yoyo.errors import LedgerUnreadable, LedgerWriteFailed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


@pytest.fixture
def ledger(path: Path) -> CsvLedger:
    return open_ledger(path)


def tmpfs_can_be_mounted() -> bool:
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and (
        subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


FILL = """
import resource, sys
from pathlib import Path
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
        ledger.append(note._replace(operator_id="x" * 1000))
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
        ledger.append(note._replace(operator_id="y"))
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
