"""What must hold before a local node can start, found out without changing anything."""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import socket
import stat
import sys
from pathlib import Path

from yoyo.core.gguf import GgufError, model_facts, parse_header
from yoyo.drivers.local.embedded import FlagRefused, apply_flags
from yoyo.errors import (
    AdapterRefused,
    EngineUnavailable,
    ModelInvalid,
    PortTaken,
    StateUnwritable,
    YoyoError,
)
from yoyo.model.machine import MachinePlan, ModelFacts, Resource
from yoyo.model.settings import EMBEDDED_SERVER, SMOKE_MODEL, EngineSettings, LoraFile, NodeSettings

_EXTRA = "pip install 'yoyo[local]'"
_PROMPT_CACHE = ("-cram", "--cache-ram")
_FREE_BYTES = 64 << 20  # room for the smoke model, logs and records


def plan(node: NodeSettings, state_dir: Path, directory: Path) -> MachinePlan:
    """See the port.

    Raises:
        ModelInvalid, EngineUnavailable, PortTaken, StateUnwritable, AdapterRefused.
    """
    check_engine(node.engine)
    check_port(node)
    _check_writable(state_dir)
    facts = check_model(node, state_dir)
    check_loras(node)
    engine = node.engine
    port = str(engine.port) if engine.port else "a free port"
    return MachinePlan(
        resources=(
            Resource("process", "supervisor", "holds the guards; the engine dies with it"),
            Resource(
                "process",
                f"engine ({engine.server})",
                f"127.0.0.1, {port}; {engine.ctx} tokens in {engine.parallel} slot(s)",
            ),
            Resource("file", str(directory / "key"), "the endpoint's key, mode 0600"),
            Resource("file", str(directory / "engine.log"), "the engine's log"),
            *(
                Resource("adapter", each.name, f"{each.path}, scale {each.scale:f}")
                for each in node.loras
            ),
        ),
        model=facts,
    )


def check_engine(engine: EngineSettings) -> None:
    """Raise EngineUnavailable unless the server can be run with these flags."""
    if engine.server == EMBEDDED_SERVER:
        if not _installed("xllamacpp"):
            raise EngineUnavailable(
                "The embedded engine is not installed.",
                why="There is no package xllamacpp in this Python's path.",
                fix=f"Run: {_EXTRA}",
            )
        try:
            apply_flags(None, engine.extra_flags)
        except FlagRefused as error:
            raise EngineUnavailable(
                "An extra flag cannot be used.",
                why=f"{error}.",
                fix="Remove it from `engine.extra_flags`, or set `engine.server` to a real "
                "llama-server, which takes them all.",
            ) from None
        return
    if shutil.which(engine.server) is None:
        raise EngineUnavailable(
            f"There is no engine {engine.server!r}.",
            why="It is neither an executable file nor a name on PATH.",
            fix="Install llama.cpp's llama-server, give its path as `engine.server`, or use "
            "`embedded`.",
        )


def check_port(node: NodeSettings) -> None:
    """Raise PortTaken when a fixed port is in use."""
    port = node.engine.port
    if port == 0:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(
                f"Port {port} on 127.0.0.1 cannot be used.",
                why=error.strerror or str(error),
                fix=f"Stop what uses it (`ss -ltnp sport = :{port}` names it), or set "
                "`engine.port: 0` for a free one.",
            ) from None


def check_model(node: NodeSettings, state_dir: Path) -> ModelFacts:
    """What the model's header says; for one of the store, its manifest.

    Raises:
        ModelInvalid: missing, not GGUF, or cut short.
    """
    engine, stored = node.engine, node.from_store
    if engine.model == SMOKE_MODEL:
        from yoyo.drivers.local.smoke_model import NAME, smoke_facts

        return smoke_facts(state_dir / "models" / NAME)
    path = Path(engine.model)
    if stored is not None and stored.model is not None:
        return stored.model  # its bytes are fetched, or mended, before the start
    try:
        # Without waiting: opening a pipe of that name would block until somebody writes.
        found = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(found, "rb") as file:
            status = os.fstat(file.fileno())
            size = status.st_size
            if not stat.S_ISREG(status.st_mode):
                raise GgufError("it is not a regular file")
            if size == 0:
                raise GgufError("the file is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                header = parse_header(view)
        return model_facts(header, path=str(path), file_bytes=size)
    except (OSError, GgufError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelInvalid(
            f"The model {path} cannot be used.",
            why=f"{why or error}".rstrip(".") + ".",
            fix="Give the path of a whole GGUF file as `engine.model` (a download that broke "
            "off must be repeated), or `smoke` for a trial.",
        ) from None


def check_loras(node: NodeSettings) -> None:
    """Raise unless each adapter that was selected is there, and is what was verified.

    Raises:
        AdapterRefused: a file is missing, or differs from its digest or its name.
        EngineUnavailable: an extra flag would mix the adapters' cached prompts up.
    """
    if not node.loras:
        return
    names = [word.partition("=")[0].replace("_", "-") for word in node.engine.extra_flags]
    if any(name in _PROMPT_CACHE for name in names):
        raise EngineUnavailable(
            "A cache of prompts in memory cannot be used with adapters.",
            why="The engine does not keep apart what was read with different adapters.",
            fix="Take --cache-ram out of `engine.extra_flags`, or set the node's `adapters: none`.",
        )
    for lora in node.loras:
        wrong = _wrong_with(lora, node.engine.server == EMBEDDED_SERVER)
        if wrong:
            raise AdapterRefused(
                f"The adapter {lora.name} cannot be loaded from {lora.path}.",
                why=f"{wrong}.",
                fix="Remove that file, and run `yoyo up` again: it is fetched and verified anew.",
            )


def _wrong_with(lora: LoraFile, embedded: bool) -> str:
    """What is wrong with an adapter's file; "" when it is the one that was verified."""
    path = Path(lora.path)
    # The engine calls an adapter by its file's name, and so do the checks of what it runs.
    if path.name != f"{lora.name}.gguf":
        return "Its file is not called by its id and version"
    if not embedded and any(sign in lora.path for sign in ',"'):
        return "A llama-server takes a comma or a quote in a path for the end of it"
    try:
        found = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(found, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return "It is not a regular file"
            if status.st_size != lora.size:
                return f"It has {status.st_size} bytes, and {lora.size} were verified"
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error.strerror or str(error)
    return "" if digest == lora.sha256 else f"Its sha256 is {digest}, and not {lora.sha256}"


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _check_writable(state_dir: Path) -> None:
    place = _existing(state_dir)
    if not os.access(place, os.W_OK | os.X_OK) or not place.is_dir():
        raise StateUnwritable(
            f"The state directory {state_dir} cannot be made or written.",
            why=f"{place} is not writable for this user.",
            fix="Make it writable, or set `state_dir:` to another place.",
        )


def prerequisites(node: NodeSettings, state_dir: Path) -> list[tuple[str, bool, str, str]]:
    """See the port."""
    found = [
        (
            "python",
            sys.version_info >= (3, 11),
            f"Python {sys.version_info.major}.{sys.version_info.minor}",
            "install Python 3.11 or newer",
        ),
        ("platform", hasattr(os, "pidfd_open"), sys.platform, "Linux 5.3 or newer is needed"),
    ]
    for name, check in (
        ("engine", lambda: check_engine(node.engine)),
        ("model", lambda: check_model(node, state_dir)),
        ("state", lambda: _check_writable(state_dir)),
        *((("adapters", lambda: check_loras(node)),) if node.loras else ()),
    ):
        try:
            check()
            found.append((name, True, "fine", ""))
        except YoyoError as error:
            found.append((name, False, f"{error.what} {error.why}", error.fix))
    if node.engine.model == SMOKE_MODEL and not _installed("gguf"):
        found.append(("gguf", False, "the writer of the smoke model is missing", f"run: {_EXTRA}"))
    found.append(_space(state_dir))
    return [(name, ok, finding, "" if ok else remedy) for name, ok, finding, remedy in found]


def _installed(package: str) -> bool:
    # A look at the file system; find_spec would import importlib.util for the same answer.
    return any((Path(entry) / package).is_dir() for entry in sys.path)


def _space(state_dir: Path) -> tuple[str, bool, str, str]:
    place = _existing(state_dir)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return ("disk", False, f"{place}: {error.strerror}", "look at the file system")
    fine = free >= _FREE_BYTES
    return ("disk", fine, f"{free / 1e9:.1f} GB free", f"free some space under {place}")
