"""`yoyo engine build`: an engine bundle from llama.cpp's source, tried before it has a name."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from yoyo.core import bundle
from yoyo.errors import BuildFailed, StateUnwritable
from yoyo.model.machine import BootStep
from yoyo.ports.builder import (
    DIRECTORY,
    GIT,
    SOURCE_KINDS,
    TARBALL,
    Builder,
    BuildRequest,
    BuiltBundle,
    EngineSource,
)
from yoyo.ports.progress import Progress

_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^/?#]*@)?"
    r"(?P<host>[A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?P<port>:\d*)?(?P<path>/[^?#]*)?(?P<rest>[?#].*)?",
    re.DOTALL,
)
# Git's short form of an SSH address: a colon before any slash.
_SHORT = re.compile(r"(?:(?P<user>[^/]*)@)?(?P<host>[^/@:]+):(?P<path>.*)", re.DOTALL)
_SCHEMES: Final = {GIT: ("https", "http", "ssh", "git", "file"), TARBALL: ("https", "http")}
MAX_JOBS: Final = 1024


def address_shown(location: str) -> str:
    """The location without user, password and query; what is no address is shown as it is."""
    if "://" in location:
        parts = _ADDRESS.fullmatch(location)
        if parts is None:
            return location.partition("://")[0].rpartition("@")[2] + "://..."
        # An unescaped slash in a password makes a path of what follows it.
        path = parts["path"] or ""
        return f"{parts['scheme']}://{parts['host']}{parts['port'] or ''}" + (
            "/..." if "@" in path else path
        )
    parts = _SHORT.fullmatch(location)
    if parts is None:
        return location.rpartition("@")[2] if _has_password(location) else location
    return f"{parts['host']}:{parts['path'].partition('?')[0].rpartition('@')[2]}"


def _has_password(location: str) -> bool:
    """Of the short form, or of an address without its scheme."""
    before, at, _ = location.partition("@")
    return bool(at) and ":" in before and "/" not in before.partition(":")[0]


def source_of(location: str, *, revision: str = "", sha256: str = "") -> EngineSource:
    """The source that an operator's words mean: with a revision git, with a digest a tarball.

    Raises:
        BuildFailed: neither, and no directory either; both; an address with a secret in it.
    """
    if revision and sha256:
        raise BuildFailed(
            "A source is pinned by --revision or by --sha256, not by both.",
            why="the one is for git, the other for tarballs",
            fix="leave one of them out",
        )
    kind = GIT if revision else TARBALL if sha256 else DIRECTORY
    _check_secrets(location)
    if kind != DIRECTORY:
        return EngineSource(kind, location, revision=revision, sha256=sha256)
    if "://" in location:
        raise BuildFailed(
            "The source is not pinned.",
            why=f"{address_shown(location)} may be something else tomorrow",
            fix="name a commit or tag (--revision), or a tarball's digest (--sha256)",
        )
    if _SHORT.fullmatch(location) and not Path(location).exists():
        raise BuildFailed(
            "The source is not pinned.",
            why=f"{address_shown(location)} is git's short form of an SSH address",
            fix="name a commit or tag (--revision)",
        )
    return EngineSource(DIRECTORY, location)


def build(
    request: BuildRequest,
    builder: Builder,
    progress: Progress,
    model: Callable[[], Path] | None = None,
) -> BuiltBundle:
    """Build, pack and try a bundle; it gets its name in `request.output` when all has passed.

    `model` gives the path of a model small enough for one completion. A build that was broken off
    goes on when it is asked for again; a file under the final name is always whole.

    Raises:
        BuildFailed, StateUnwritable.
    """
    _check(request)
    request = builder.prepare(request)
    with _writing(request.output, "--output"):
        _probe(request.output)
    source_ = request.source
    progress.phase("source", source_.revision or address_shown(source_.location))
    with _writing(request.work, "--work"):
        source = builder.fetch(request)
        progress.phase("compile", f"{request.jobs} at once")
        made = builder.compile(request, source, partial(_show, progress))
    path = request.output / bundle.file_name(made)
    part = path.with_name(path.name + ".part")
    progress.phase("pack", path.name)
    with _writing(request.output, "--output"):
        try:
            digest, size = builder.pack(request, made, part)
            progress.phase("smoke check")
            smoke = builder.smoke(part, made, model)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return BuiltBundle(path, digest, size, made, smoke)


def _probe(directory: Path) -> None:
    """Found now rather than when all is compiled: a file in its place, no right to write."""
    directory.mkdir(parents=True, exist_ok=True)
    probe = directory / ".yoyo-probe"
    probe.write_bytes(b"x")
    probe.unlink(missing_ok=True)


@contextmanager
def _writing(directory: Path, option: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # of whoever reads the progress
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        place = f": {error.filename}" if error.filename else ""
        raise StateUnwritable(
            f"The engine could not be written to {directory}.",
            why=(error.strerror or str(error)) + place,
            fix=f"make room (df -h {directory}), or name another directory with {option}"
            if full
            else f"name a directory that you may write to with {option}",
        ) from error


def _show(progress: Progress, done: int, total: int, seconds: int) -> None:
    share = 100 * done // max(1, total)
    progress.steps((BootStep("compile", "running", share, seconds, f"{done} of {total}"),))


def _refuse(what: str, why: str, fix: str) -> None:
    raise BuildFailed(what, why=why, fix=fix)


def _check(request: BuildRequest) -> None:
    _check_source(request.source)
    if request.cuda != bool(request.sm):
        _refuse(
            "CUDA and its architectures go together.",
            "a bundle with CUDA is built for certain GPUs, one without for none",
            "--sm 89 for an L4",
        )
    for one in request.sm:
        if not bundle.is_sm(one):
            _refuse(
                f"{one!r} is no CUDA architecture.",
                "89 is an L4's, 90 an H100's, 120a an RTX 50's",
                "nvidia-smi --query-gpu=compute_cap --format=csv, on the node; without the dot",
            )
    if request.cublas and not request.cuda:
        _refuse(
            "--cublas is for an engine with CUDA.",
            "without --sm the engine is built for the CPU",
            "name the GPU's architecture (--sm 89 for an L4), or leave --cublas out",
        )
    if not 0 <= request.jobs <= MAX_JOBS:
        _refuse(
            f"{request.jobs} compilers at once cannot be.",
            f"--jobs is at most {MAX_JOBS}; 0 means as many as cores and memory allow",
            "leave --jobs out",
        )


def _check_source(source: EngineSource) -> None:
    _check_secrets(source.location)
    if source.kind not in SOURCE_KINDS:
        _refuse(
            "The source is of no known kind.",
            f"{source.kind!r} is none of {', '.join(SOURCE_KINDS)}",
            "name a git address, a tarball or a directory",
        )
    if not source.location or source.location.startswith("-"):
        _refuse(
            "The source has no location.",
            "it is empty, or reads like an option",
            "name an address or a path; ./-x for a path that begins with '-'",
        )
    parts = _ADDRESS.fullmatch(source.location)
    allowed = _SCHEMES.get(source.kind, ())
    if parts is not None and parts["scheme"] not in allowed:
        _refuse(
            f"{address_shown(source.location)} cannot be fetched.",
            f"a {source.kind}'s address begins with one of: {', '.join(allowed) or 'none'}",
            "name such an address, or a path",
        )
    if source.kind == GIT and (not _REVISION.match(source.revision) or ".." in source.revision):
        _refuse(
            "The revision is no commit or tag.",
            "letters, digits, '.', '_', '/' and '-' make one",
            f"git ls-remote {address_shown(source.location)} lists the tags",
        )
    if source.kind == TARBALL and not _DIGEST.match(source.sha256):
        _refuse(
            "The tarball is not pinned.",
            "--sha256 is 64 lowercase hexadecimal digits",
            "sha256sum FILE gives them; compare with what the publisher says",
        )


def _check_secrets(location: str) -> None:
    """Before anything shows the location, or writes it down.

    Raises:
        BuildFailed: it holds a password, a token or a query; or it cannot be told.
    """
    parts = _ADDRESS.fullmatch(location)
    if parts is None and "://" in location and not location.startswith(("/", ".")):
        _refuse(
            f"{address_shown(location)} is no address that can be read.",
            "a host, a port or a path in it is malformed; it is not shown, as it may hold a secret",
            "https://HOST/PATH, without user and password",
        )
    user = (parts["user"] or "") if parts is not None else ""
    path = (parts["path"] or "") if parts is not None else ""
    ssh = parts is not None and parts["scheme"].lower() == "ssh"
    if (
        (user and (not ssh or ":" in user))
        or "@" in path
        or (parts is None and _has_password(location))
    ):
        _refuse(
            "The source's address holds a password or token.",
            f"it would stand in process lists and logs: {address_shown(location)}",
            "use git's credential helper, or an SSH key",
        )
    short = _SHORT.fullmatch(location) if parts is None else None
    if (parts is not None and parts["rest"]) or (short is not None and "?" in short["path"]):
        _refuse(
            "The source's address has a query.",
            f"a token in it would stand in process lists and logs: {address_shown(location)}",
            "for git, leave it out and use git's credential helper or an SSH key; a tarball,"
            " download it and name its path",
        )
