"""`yoyo engine build`: an engine bundle from llama.cpp's source, tried before it has a name."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

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


def source_of(location: str, *, revision: str = "", sha256: str = "") -> EngineSource:
    """The source that an operator's words mean: with a revision git, with a digest a tarball.

    Raises:
        BuildFailed: neither, and no directory either.
    """
    if revision:
        return EngineSource(GIT, location, revision=revision)
    if sha256:
        return EngineSource(TARBALL, location, sha256=sha256)
    if "://" in location:
        raise BuildFailed(
            "The source is not pinned.",
            why=f"{location.partition('?')[0]} may be something else tomorrow",
            fix="name a commit or tag (--revision), or a tarball's digest (--sha256)",
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
    progress.phase("source", request.source.revision or request.source.location)
    source = builder.fetch(request)
    progress.phase("compile", f"{request.jobs} at once")
    made = builder.compile(request, source, partial(_show, progress))
    path = request.output / bundle.file_name(made)
    part = path.with_name(path.name + ".part")
    progress.phase("pack", path.name)
    try:
        request.output.mkdir(parents=True, exist_ok=True)
        digest, size = builder.pack(request, made, part)
        progress.phase("smoke check")
        smoke = builder.smoke(part, made, model)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StateUnwritable(
            f"The bundle could not be written to {request.output}.",
            why=error.strerror or str(error),
            fix=f"df -h {request.output}",
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return BuiltBundle(path, digest, size, made, smoke)


def _show(progress: Progress, done: int, total: int, seconds: int) -> None:
    share = 100 * done // max(1, total)
    progress.steps((BootStep("compile", "running", share, seconds, f"{done} of {total}"),))


def _check(request: BuildRequest) -> None:
    source = request.source

    def refuse(what: str, why: str, fix: str = "") -> None:
        raise BuildFailed(what, why=why, fix=fix)

    if source.kind not in SOURCE_KINDS:
        refuse("The source is of no known kind.", f"{source.kind!r}")
    if not source.location or source.location.startswith("-"):
        refuse("The source has no location.", "it is empty, or reads like an option")
    parts = urlsplit(source.location) if "://" in source.location else None
    if parts is not None and (parts.password or (parts.scheme != "ssh" and parts.username)):
        refuse(
            "The source's address holds a password or token.",
            "it would stand in process lists and logs",
            "use git's credential helper, or an SSH key",
        )
    if source.kind == GIT and (not _REVISION.match(source.revision) or ".." in source.revision):
        refuse(
            "The revision is no commit or tag.", "letters, digits, '.', '_', '/' and '-' make one"
        )
    if source.kind == TARBALL and not _DIGEST.match(source.sha256):
        refuse("The tarball is not pinned.", "--sha256 is 64 lowercase hexadecimal digits")
    if request.cuda != bool(request.sm):
        refuse(
            "CUDA and its architectures go together.",
            "a bundle with CUDA is built for certain GPUs, one without for none",
            "--sm 89 for an L4",
        )
    for one in request.sm:
        if not bundle.is_sm(one):
            refuse(
                f"{one!r} is no CUDA architecture.", "89 is an L4's, 90 an H100's, 120a an RTX 50's"
            )
    if request.jobs < 0:
        refuse("The number of compilers is negative.", "0 means: as many as fit")
