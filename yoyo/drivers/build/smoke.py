"""Tries a bundle the way a node will use it, before anyone relies on it."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from yoyo.core.bundle import DOCUMENT, SERVER
from yoyo.drivers.build import archive
from yoyo.errors import BuildFailed, YoyoError
from yoyo.model.store import EngineBuild
from yoyo.ports.builder import SmokeReport

# The smoke model loads in milliseconds; a busy machine with two cores still has minutes.
START_S: Final = 120.0
ANSWER_S: Final = 60.0
_OTHER: Final = "build another commit or tag; this one does not run here"
_REPORT: Final = "report it; until then, build on a machine that does not have that library"
_DRIVER: Final = "libcuda.so.1"
# glibc's own parts: they come with every Linux, and must be the node's.
_SYSTEM = re.compile(
    r"(linux-vdso|ld-linux[\w-]*|lib(c|m|dl|rt|pthread|resolv|util|anl|mvec|nsl))\.so(\.\d+)?\Z"
)
_LINE = re.compile(r"^\s*(\S+)(?: => (\S.*?))?(?: \(0x[0-9a-f]+\))?$", re.MULTILINE)


def smoke(bundle: Path, build: EngineBuild, model: Callable[[], Path] | None) -> SmokeReport:
    """Unpack, resolve every library, run the server; with `model`, have it answer.

    Raises:
        BuildFailed: it would not run on a node.
    """
    passed, left_out = [], []
    with tempfile.TemporaryDirectory(prefix="yoyo-smoke-") as name:
        root = Path(name).resolve() / "bundle"
        document = archive.unpack(bundle, root)
        if document.engine != build:
            raise BuildFailed(
                f"The bundle's {DOCUMENT} is not the one of this build.",
                why="another program wrote to it",
                fix="repeat the command",
            )
        passed.append("unpacked, every digest right")
        driver = _check_libraries(root)
        passed.append("every library found, inside the bundle or of glibc")
        _version(root)
        passed.append("llama-server --version")
        if build.sm and not driver:
            left_out.append("CUDA: no NVIDIA driver on this machine")
        elif build.sm:
            left_out.append("CUDA: not measured here; a node's first start shows it")
        if model is None:
            left_out.append("a completion: no model was given")
        else:
            _answer(root, Path(name) / "s.sock", model)
            passed.append("one completion with the smoke model")
    return SmokeReport(tuple(passed), tuple(left_out))


def _check_libraries(root: Path) -> bool:
    """Whether the driver's library is on this machine, should the bundle ask for it."""
    driver = True
    # What is in lib/ is found by whoever asks for it, so that it is judged with its asker.
    for file in sorted((root / "bin").iterdir()):
        command = ["ldd", str(file)]
        said = subprocess.run(
            command, capture_output=True, text=True, check=False, env=_environment(root)
        )
        if "statically linked" in said.stdout:
            continue
        if said.returncode != 0:
            raise BuildFailed(
                f"{file.relative_to(root)} of the bundle cannot be loaded.",
                why=(said.stderr or said.stdout).strip()[-300:],
                fix=_OTHER,
            )
        for name, place in _LINE.findall(said.stdout):
            if name == _DRIVER:
                driver = driver and place != "not found"
            elif place == "not found":
                raise BuildFailed(
                    f"The bundle lacks {name}.",
                    why=f"{file.relative_to(root)} needs it",
                    fix=_REPORT,
                )
            elif not _SYSTEM.match(Path(name).name) and not _inside(place or name, root):
                raise BuildFailed(
                    f"The bundle lacks {name}.",
                    why=f"{file.relative_to(root)} takes it from {place or name}, which a node may"
                    " not have",
                    fix=_REPORT,
                )
    return driver


def _inside(place: str, root: Path) -> bool:
    return Path(place).resolve().is_relative_to(root)


def _version(root: Path) -> None:
    try:
        said = subprocess.run(
            [str(root / SERVER), "--version"], stdin=subprocess.DEVNULL, capture_output=True,
            check=False, env=_environment(root), timeout=START_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(
            "The bundle's llama-server does not run.", why=str(error), fix=_OTHER
        ) from error
    if said.returncode != 0:
        raise BuildFailed(
            f"The bundle's llama-server --version ended with status {said.returncode}.",
            why=said.stderr.decode(errors="replace").strip()[-300:],
            fix=_OTHER,
        )


def _answer(root: Path, address: Path, model: Callable[[], Path]) -> None:
    """One completion, over a socket in the file system: no port can be taken."""
    command = [str(root / SERVER), "--model", str(model()), "--host", str(address),
               "--ctx-size", "256", "--parallel", "1", "--threads", "2"]  # fmt: skip
    log = address.with_name("log")
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env=_environment(root), start_new_session=True,
        )  # fmt: skip
    try:
        _until_healthy(server, address)
        status, answer = _ask(address, "POST", "/completion", {"prompt": "a", "n_predict": 4})
        text = json.loads(answer).get("content") if status == http.client.OK else None
        if not isinstance(text, str) or not text:
            raise BuildFailed(
                "The bundle's llama-server gave no completion.",
                why=f"HTTP status {status}",
                fix=_OTHER,
            )
    except YoyoError as error:
        error.details = tuple(log.read_text(errors="replace").splitlines()[-10:])
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BuildFailed(
            "The bundle's llama-server broke off its answer.",
            why=str(error),
            fix=_OTHER,
            details=tuple(log.read_text(errors="replace").splitlines()[-10:]),
        ) from error
    finally:
        server.kill()
        server.wait()


def _until_healthy(server: subprocess.Popen[bytes], address: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise BuildFailed(
                "The bundle's llama-server died while it started.",
                why=f"exit status {server.returncode}",
                fix=_OTHER,
            )
        try:
            if _ask(address, "GET", "/health", None)[0] == http.client.OK:
                return
        except OSError:
            pass  # not listening yet
        try:
            server.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise BuildFailed(
        f"The bundle's llama-server was not healthy after {START_S:.0f} s.",
        why="it runs, and does not answer",
        fix="repeat the command when the machine has less to do; else " + _OTHER,
    )


def _ask(address: Path, method: str, path: str, body: object) -> tuple[int, bytes]:
    with _connection(address) as connection:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(1024 * 1024)


@contextmanager
def _connection(address: Path) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("localhost", timeout=ANSWER_S)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(ANSWER_S)
        connection.sock.connect(str(address))
        yield connection
    finally:
        connection.close()


def _environment(root: Path) -> dict[str, str]:
    """Nothing that could lend the bundle a library, or the server an option."""
    return {"LC_ALL": "C", "HOME": str(root), "PATH": os.environ.get("PATH", os.defpath)}
