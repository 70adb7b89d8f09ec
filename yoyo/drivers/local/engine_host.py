"""The engine's process: the embedded llama.cpp server, or the exec of a llama-server.

Started by the supervisor, with DIR and SUPERVISOR_PID as arguments.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from yoyo.drivers.local.process import identity
from yoyo.drivers.local.records import ENGINE, KEY, MACHINE, read_record, stamp, write_record

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, and check that it has not yet.

    An engine without its supervisor would be an engine without guards. The setting
    survives exec (prctl(2)).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise SystemExit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        raise SystemExit("the supervisor is gone")


def main() -> None:
    """Run the engine that machine.json describes."""
    directory, parent = Path(sys.argv[1]), int(sys.argv[2])
    die_with(parent)
    machine = read_record(directory / MACHINE)
    if machine is None:
        raise SystemExit("machine.json is missing or malformed")
    check_loras(machine["engine"])
    if machine["engine"]["server"] == "embedded":
        run_embedded(directory, machine)
    else:
        exec_server(directory, machine)


def check_loras(engine: dict[str, Any]) -> None:
    """Exit unless each adapter is still the file that was verified: the last look before it runs.

    A record of an older yoyo names none.
    """
    for path, expected in engine.get("loras", ()):
        try:
            with Path(path).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise SystemExit(f"the adapter {path} cannot be read: {error.strerror}") from None
        if found != expected:
            raise SystemExit(f"the adapter {path} was changed since it was verified")


def record(directory: Path, machine: dict[str, Any], url: str) -> None:
    """Write down where the engine answers."""
    write_record(
        directory / ENGINE,
        {
            **identity(os.getpid()),
            "request_id": machine["request_id"],
            "url": url,
            "started_at": stamp(),
        },
    )


def run_embedded(directory: Path, machine: dict[str, Any]) -> None:
    """Serve with the wheel's own server until SIGTERM."""
    import xllamacpp

    from yoyo.drivers.local.embedded import parameters

    key = (directory / KEY).read_text().strip()
    try:
        server = xllamacpp.Server(parameters(machine["engine"], key))
    except RuntimeError as error:
        # Not as a traceback: its lines would push the engine's own reason out of the log's tail.
        raise SystemExit(str(error)) from None
    record(directory, machine, server.listening_address)
    # SIGTERM keeps its default action, while loading too: the grace for running requests is
    # the supervisor's to give, and nothing in this process needs a tidy end.
    while True:
        signal.pause()


def exec_server(directory: Path, machine: dict[str, Any]) -> None:
    """Become the llama-server; its flags are those of tools/server/README.md."""
    engine = machine["engine"]
    port = engine["port"] or _free_port()
    command = [engine["server"], "--host", "127.0.0.1", "--port", str(port)]
    command += ["--api-key-file", str(directory / KEY), "--metrics", "--slots"]
    command += ["-m", engine["model"], "-c", str(engine["ctx"]), "-np", str(engine["parallel"])]
    command += ["-ctk", engine["cache_type_k"], "-ctv", engine["cache_type_v"]]
    command += ["--alias", engine["model"].rpartition("/")[2], *engine["extra_flags"]]
    command += lora_flags([path for path, _ in engine.get("loras", ())])
    record(directory, machine, f"http://127.0.0.1:{port}")
    os.execv(engine["server"], command)  # noqa: S606 - a list, and no shell


def lora_flags(paths: list[str]) -> list[str]:
    """Flags that load adapters and apply none. One flag each: every release takes that, and commas
    in one value only the newer ones."""
    if not paths:
        return []
    # A cache of prompts in memory mixes adapters up (see embedded.py). Not as a flag: a server
    # too old to know it has no such cache, and would end.
    os.environ["LLAMA_ARG_CACHE_RAM"] = "0"
    os.environ["LLAMA_ARG_CACHE_PROMPT"] = "0"
    return [*(word for path in paths for word in ("--lora", path)), "--lora-init-without-apply"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
