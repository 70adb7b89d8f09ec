"""Downloads by aria2 when something dies: the disk is full, or a process is killed or stopped."""

from __future__ import annotations

import http.server
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aria2_parts import DEADLINE_S, ROOT, SIZE, children, command, finished, logged, remote, until
from nginx_parts import Nginx, Served

from yoyo.drivers.aria2.transfers import Aria2Transfers
from yoyo.errors import SourceFailed


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture
def nginx(tmp_path: Path, data: bytes) -> Iterator[Nginx]:
    with Nginx(tmp_path / "nginx", rate="6m") as made:
        (made.files / "m.gguf").write_bytes(data)
        yield made


@pytest.fixture
def transfers(tmp_path: Path) -> Iterator[Aria2Transfers]:
    made = Aria2Transfers(tmp_path / "aria2")
    yield made
    made.close()
    assert not list((tmp_path / "aria2").glob("*")), "aria2c's files stayed"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "m.gguf.part"


def test_a_transfer_without_a_byte_is_begun_anew(
    nginx: Nginx, target: Path, data: bytes, tmp_path: Path
) -> None:
    transfers = Aria2Transfers(tmp_path / "aria2", stalled_s=0.5)
    assert nginx.process is not None
    workers = children(nginx.process.pid)
    transfer = transfers.start(remote(f"{nginx.url}/slow/m.gguf"), target)
    until(transfer, lambda seen: seen.done > SIZE // 4)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    gid = transfer._gid
    deadline = time.monotonic() + DEADLINE_S
    while transfer._gid == gid:
        # It may be asking the stopped server again, which answers when it goes on.
        transfer.state()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    until(transfer, finished)
    transfer.close()
    assert target.read_bytes() == data


def test_aria2c_killed_alone_is_started_again(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes
) -> None:
    transfer = transfers.start(remote(f"{nginx.url}/slow/m.gguf"), target)
    until(transfer, lambda seen: seen.done > SIZE // 3)
    (pid,) = [pid for pid in children(os.getpid()) if command(pid).startswith(b"aria2c")]
    os.kill(pid, signal.SIGKILL)
    until(transfer, finished)
    transfer.close()
    assert target.read_bytes() == data


def test_the_rpc_secret_is_in_no_argv_and_its_file_is_private(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, tmp_path: Path
) -> None:
    transfer = transfers.start(remote(f"{nginx.url}/slow/m.gguf"), target)
    (conf,) = (tmp_path / "aria2").glob("*.conf")
    assert conf.stat().st_mode & 0o777 == 0o600
    options = dict(line.split("=", 1) for line in conf.read_text().splitlines())
    assert len(options["rpc-secret"]) > 30
    (pid,) = [pid for pid in children(os.getpid()) if command(pid).startswith(b"aria2c")]
    assert options["rpc-secret"].encode() not in command(pid)
    assert b"--rpc" not in command(pid)
    transfer.close()


FULL = """
import sys, time
from pathlib import Path
from yoyo.drivers.aria2.transfers import Aria2Transfers
from yoyo.errors import StoreFull
from yoyo.model.fetch import Address, RemoteFile
url, home, room = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
transfers = Aria2Transfers(home)
transfer = None
try:
    transfer = transfers.start(RemoteFile("m", None, None, (Address(url),)), room / "m.part")
    while not transfer.state().finished:
        time.sleep(0.01)
except StoreFull as error:
    print("full:", error.why)
finally:
    if transfer:
        transfer.close()
    transfers.close()
"""


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_full_disk_is_said_and_left_resumable(nginx: Nginx, tmp_path: Path, share: float) -> None:
    room = tmp_path / "room"
    room.mkdir()
    program = tmp_path / "full.py"
    program.write_text(FULL)
    script = f'mount -t tmpfs -o size={int(SIZE * share)} none "$1" && "$2" "$3" "$4" "$5" "$1"'
    done = subprocess.run(
        [
            "unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(room),
            sys.executable, str(program), f"{nginx.url}/m.gguf", str(tmp_path / "aria2"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )  # fmt: skip
    assert done.stdout == f"full: There is no room left in {room}.\n", done.stderr
    assert done.returncode == 0, done.stderr


FETCH = """
import sys, time
from pathlib import Path
from yoyo.drivers.aria2.transfers import Aria2Transfers
from yoyo.model.fetch import Address, RemoteFile
url, home, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
transfers = Aria2Transfers(home)
print("begun", flush=True)
transfer = transfers.start(RemoteFile("m", None, None, (Address(url),)), target)
while not (state := transfer.state()).finished:
    print(state.done, flush=True)
    time.sleep(0.005)
transfer.close()
print("whole", flush=True)
"""


def fetch(nginx: Nginx, tmp_path: Path, target: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-c", FETCH, f"{nginx.url}/slow/m.gguf", str(tmp_path / "aria2"),
            str(target),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def killed_after(process: subprocess.Popen[str], lines: int) -> int:
    """Kill it when it has said so many lines; how far it said that it was."""
    assert process.stdout is not None
    done = 0
    for line, _ in zip(process.stdout, range(lines), strict=False):
        done = int(line) if line.strip().isdecimal() else done
    process.kill()
    process.wait()
    process.stdout.close()
    return done


def test_a_killed_process_resumes_and_fetches_little_twice(
    nginx: Nginx, tmp_path: Path, target: Path, data: bytes
) -> None:
    process = fetch(nginx, tmp_path, target)
    assert process.stdout is not None
    done = 0
    while done < SIZE * 3 // 4:
        line = process.stdout.readline()
        assert line
        done = int(line) if line.strip().isdecimal() else done
    process.kill()
    process.wait()
    process.stdout.close()
    transfers = Aria2Transfers(tmp_path / "aria2")
    transfer = transfers.start(remote(f"{nginx.url}/m.gguf"), target)
    until(transfer, finished)
    transfer.close()
    assert target.read_bytes() == data
    # The control file is at most a second old: what came in that second is fetched again.
    assert logged(nginx, "/m.gguf") < SIZE * 0.85
    assert not list((tmp_path / "aria2").glob("*"))


@pytest.mark.slow
def test_killed_at_random_moments_the_bytes_are_the_same(
    nginx: Nginx, tmp_path: Path, target: Path, data: bytes
) -> None:
    chance = random.Random()
    for round_number in range(3):
        seeds = []
        for _ in range(4):
            lines = int(chance.random() ** 2 * 120)
            seeds.append((lines, killed_after(fetch(nginx, tmp_path, target), lines)))
        transfers = Aria2Transfers(tmp_path / "aria2")
        transfer = transfers.start(remote(f"{nginx.url}/m.gguf"), target)
        until(transfer, finished)
        transfer.close()
        assert target.read_bytes() == data, (round_number, seeds)
        target.unlink()


def test_aria2c_is_there() -> None:
    assert shutil.which("aria2c"), "aria2c is not installed: sudo apt-get install aria2"


class _BreaksOff(http.server.BaseHTTPRequestHandler):
    """Knows no ranges, promises everything, and hangs up half-way every time."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        self.wfile.write(bytes(SIZE // 2))
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *_: object) -> None:
        """Say nothing."""


def test_a_server_that_always_breaks_off_at_the_same_place_is_given_up(
    transfers: Aria2Transfers, target: Path
) -> None:
    with Served(_BreaksOff) as server:
        transfer = transfers.start(remote(f"{server.url}/m.gguf"), target)
        with pytest.raises(SourceFailed):
            until(transfer, lambda seen: seen.finished)
