"""Runs the build script, step by step, and says why a step failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from yoyo.errors import BuildFailed
from yoyo.ports.builder import Report

BUSY: Final = 75
# The request or the machine must change first: the step's last line says what to do.
WRONG: Final = 65
_TAIL_LINES: Final = 15
_POLL_S: Final = 0.5
_TAIL_BYTES: Final = 64 * 1024

_REPEAT: Final = {
    "fetch": "look at address and revision, and repeat the command",
    "compile": "repeat the command: it goes on where it was",
}
_PROGRESS = re.compile(rb"^\[(\d+)/(\d+)\]", re.MULTILINE)
# gcc's driver, nvcc, the linker, and the compiler itself when it is refused memory.
_NO_MEMORY = re.compile(
    rb"Killed signal terminated program|died due to signal 9|ld terminated with signal 9"
    rb"|virtual memory exhausted|out of memory allocating|Cannot allocate memory|std::bad_alloc"
)


def run_step(script: Path, step: str, log: Path, report: Report) -> None:
    """Run one step; what it says goes to `log`. Interrupted: all its processes are ended.

    Raises:
        BuildFailed: with its last lines.
    """
    command = ["bash", str(script), step]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, log, report)
    finally:
        _end(process)
    if process.returncode != 0:
        raise _failure(process.returncode, step, log)


def _wait(process: subprocess.Popen[bytes], log: Path, report: Report) -> None:
    said, begun = (b"", b""), time.monotonic()
    while True:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            at = _PROGRESS.findall(_tail(log))
            if at and at[-1] != said:
                said = at[-1]
                report(int(said[0]), int(said[1]), int(time.monotonic() - begun))
            continue
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    """No compiler goes on by itself: the next build would meet it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _failure(status: int, step: str, log: Path) -> BuildFailed:
    tail = _tail(log)
    lines = tail.decode(errors="replace").splitlines()
    if status == BUSY:
        return BuildFailed(
            "Another build of the same engine is running here.",
            why=f"it holds {log.parent / 'lock'}",
            fix="wait for it, or end it, and repeat the command",
        )
    if _NO_MEMORY.search(tail):
        return BuildFailed(
            "The engine could not be compiled: a compiler ran out of memory.",
            why="this machine has too little memory for so many compilers at once",
            fix="repeat the command with --jobs 1; it goes on where it was",
            details=tuple(lines[-_TAIL_LINES:]),
        )
    if status == WRONG and len(lines) > 1:
        return BuildFailed(
            f"The engine could not be built: the step {step} failed.",
            why=lines[-2],
            fix=lines[-1],
            details=tuple(lines[-_TAIL_LINES:-1]),
        )
    errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
    return BuildFailed(
        f"The engine could not be built: the step {step} failed.",
        why=(errors or lines or [f"exit status {status}"])[-1],
        fix=f"see {log}; then {_REPEAT.get(step, 'repeat the command')}",
        details=tuple(lines[-_TAIL_LINES:]),
    )


def _tail(log: Path) -> bytes:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read()
