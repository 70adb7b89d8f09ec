"""The builder port: what turns llama.cpp's source into an engine bundle on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from yoyo.model.store import EngineBuild

GIT, TARBALL, DIRECTORY = "git", "tarball", "directory"
SOURCE_KINDS: Final = (GIT, TARBALL, DIRECTORY)


class EngineSource(NamedTuple):
    """Where llama.cpp's source is."""

    kind: str  # one of SOURCE_KINDS
    location: str  # git URL; path or http(s) URL of a tarball; path of a directory
    revision: str = ""  # commit or tag, of git
    sha256: str = ""  # of the tarball


class BuildRequest(NamedTuple):
    """What to build, and where."""

    source: EngineSource
    output: Path  # directory that the bundle is put into
    work: Path  # directory for source and objects; kept, so that a broken off build goes on
    cuda: bool = False
    sm: tuple[str, ...] = ()  # CUDA architectures, such as 89
    jobs: int = 0  # compilers at once; 0: as many as cores and memory allow
    cuda_root: str = ""  # of the CUDA toolkit; "": /usr/local/cuda, or nvcc's
    cublas: str = ""  # folder with include/ and lib/ of cuBLAS where the toolkit has none
    all_cpus: bool = False  # a CPU part for each kind of processor instead of x86-64-v3 alone
    tls: bool = True  # the server can serve TLS


class SourceTree(NamedTuple):
    """A source that is here."""

    path: Path
    commit: str  # "" unknown
    sha256: str  # of the tree, docs/formats/bundle.md
    architectures: tuple[str, ...]  # of models, sorted


class SmokeReport(NamedTuple):
    """What a bundle was tried with. What failed was raised."""

    passed: tuple[str, ...]
    left_out: tuple[str, ...]  # with the reason


class BuiltBundle(NamedTuple):
    """A bundle, whole and tried."""

    path: Path
    sha256: str  # of the file
    size: int  # bytes
    build: EngineBuild
    smoke: SmokeReport


# How far the compiler is: steps done, steps in all, and seconds since it began.
Report = Callable[[int, int, int], None]


class Builder(Protocol):
    """Steps of a build, in this order. Each may be repeated; a repeated one goes on.

    Every step raises BuildFailed, with the reason and what to do.
    """

    def prepare(self, request: BuildRequest) -> BuildRequest:
        """Check that the tools are here; give the request back with its open values filled in."""
        ...

    def fetch(self, request: BuildRequest) -> SourceTree:
        """The source, complete and of the digest asked for."""
        ...

    def compile(self, request: BuildRequest, source: SourceTree, report: Report) -> EngineBuild:
        """Compile, and lay the bundle's content out."""
        ...

    def pack(self, request: BuildRequest, build: EngineBuild, part: Path) -> tuple[str, int]:
        """Write the bundle to `part`, on the disk when this returns: its sha256 and size."""
        ...

    def smoke(
        self, bundle: Path, build: EngineBuild, model: Callable[[], Path] | None
    ) -> SmokeReport:
        """Unpack it elsewhere and try it: libraries, version, and one completion with `model`."""
        ...
