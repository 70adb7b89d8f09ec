"""The registry file under several writers, and under one that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from yoyo.drivers.files.adapter_book import YamlAdapterBook


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "adapters" / "registry.yaml"


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_adapter_book_file import entered
from yoyo.drivers.files.adapter_book import YamlAdapterBook
book = YamlAdapterBook(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[4])):
    version = f"{sys.argv[2]}.{number}.0"
    book.change(lambda there: entered(there, version))
    print(version, flush=True)
"""


def writer(path: Path, number: int, count: int) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(number), here, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def begin(writers: Sequence[subprocess.Popen[str]]) -> None:
    for each in writers:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in writers:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()


def test_eight_writers_lose_no_entry(path: Path) -> None:
    writers = [writer(path, number, 25) for number in range(8)]
    begin(writers)
    for each in writers:
        each.communicate()
        assert each.returncode == 0
    names = {each.adapter.version for each in YamlAdapterBook(path).read().adapters}
    assert names == {f"{one}.{two}.0" for one in range(8) for two in range(25)}
    assert [each.name for each in path.parent.iterdir()] == ["registry.yaml"]


def test_a_writer_that_is_killed_leaves_a_whole_file(path: Path) -> None:
    for number in range(6):
        one = writer(path, number, 10_000)
        begin([one])
        assert one.stdout is not None
        said = ""
        for _ in range(3 + number):
            said = one.stdout.readline().strip()
        one.send_signal(signal.SIGKILL)
        rest, _ = one.communicate()
        told = [*rest.split(), said]
        there = {each.adapter.version for each in YamlAdapterBook(path).read().adapters}
        # What it reported is on the disk; the lock is free for the next one.
        assert set(told) <= there
