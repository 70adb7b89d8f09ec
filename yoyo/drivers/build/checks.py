"""Refuses what cannot be meant before anything is written: source, cuBLAS, work directory."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final

from yoyo.errors import BuildFailed
from yoyo.ports.builder import DIRECTORY, GIT, BuildRequest

_TARBALL = re.compile(r"\.(tar|tgz|txz|tbz2?|tzst|tar\.[a-z0-9]+)\Z", re.IGNORECASE)
_KINDS: Final = "a source is a git address, a tarball or a directory"


def check_paths(request: BuildRequest) -> None:
    """What the request names on this machine is there, and is what the request takes it for.

    Raises:
        BuildFailed.
    """
    source = request.source
    if source.kind == DIRECTORY:
        _check_directory(request)
    elif source.kind == GIT:
        if _is_path(source.location):
            _check_repository(source.location)
    elif "://" not in source.location and stat.S_ISDIR(_mode(source.location)):
        raise BuildFailed(
            f"{source.location} is a directory, and --sha256 is for tarballs.",
            why="a directory is pinned by its content, whose digest yoyo records",
            fix="leave --sha256 out",
        )
    if request.cublas:
        _check_cublas(Path(request.cublas))


def _is_path(location: str) -> bool:
    """As git takes it: a colon before the first slash makes a host of what precedes it."""
    return ":" not in location.partition("/")[0]


def _mode(location: str) -> int:
    try:
        return Path(location).stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BuildFailed(
            f"{location} cannot be read.",
            why=f"{reason}; {_KINDS}",
            fix="look for a misspelt path; a git address begins with https:// or ssh://",
        ) from error


def _check_directory(request: BuildRequest) -> None:
    location = request.source.location
    mode = _mode(location)
    if not stat.S_ISDIR(mode) and _TARBALL.search(location):
        raise BuildFailed(
            f"The tarball {location} is not pinned.",
            why="its content may be another tomorrow",
            fix=f"compare sha256sum {location} with its publisher's, and name it with --sha256",
        )
    if not stat.S_ISDIR(mode):
        raise BuildFailed(
            f"{location} is no directory.",
            why=_KINDS,
            fix="name the directory that holds llama.cpp; for a tarball, also --sha256",
        )
    place, work = Path(location).resolve(), request.work.resolve()
    if work.is_relative_to(place):
        raise BuildFailed(
            "The work directory lies inside the source directory.",
            why=f"{work} would be copied as a part of {place}, and would change its digest",
            fix="name a directory outside of it with --work",
        )
    if not (place / "CMakeLists.txt").is_file():
        raise BuildFailed(
            f"{location} holds no llama.cpp.",
            why="no CMakeLists.txt there",
            fix="name the directory that has llama.cpp's CMakeLists.txt in it",
        )


def _check_repository(location: str) -> None:
    mode, place = _mode(location), Path(location)
    if stat.S_ISDIR(mode):
        if not any((place / name).exists() for name in (".git", "HEAD")):
            raise BuildFailed(
                f"{location} is no git repository, and --revision is for those.",
                why="there is neither .git nor HEAD in it",
                fix="leave --revision out: a directory is pinned by its content",
            )
    elif _TARBALL.search(location):
        raise BuildFailed(
            f"{location} is a tarball, and --revision is for git.",
            why="a tarball is pinned by its digest",
            fix=f"sha256sum {location}, and --sha256 with its result in place of --revision",
        )


def _check_cublas(root: Path) -> None:
    wanted = ("include/cublas_v2.h", "lib/libcublas.so.*", "lib/libcublasLt.so.*")
    missing = [name for name in wanted if not any(root.glob(name))]
    if missing:
        raise BuildFailed(
            f"{root} holds no cuBLAS.",
            why=f"not there: {', '.join(missing)}",
            fix="name, with --cublas, the folder with include and lib in it,"
            " such as nvidia/cu13 of NVIDIA's Python package",
        )
