"""Implements the builder port with cmake, ninja, gcc and nvcc on this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yoyo.core import bundle
from yoyo.core.manifest_fields import ManifestError
from yoyo.drivers.build import archive, checks, smoke, tools
from yoyo.drivers.build.script import run_step
from yoyo.errors import BuildFailed, StateUnwritable
from yoyo.model.store import EngineBuild
from yoyo.ports.builder import DIRECTORY, BuildRequest, Report, SmokeReport, SourceTree
from yoyo.ports.templates import Templates


class ScriptBuilder:
    """Builds with `templates/engine/build.sh.j2`, in a folder of its own for each request."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        # By the request that `prepare` gave back: hashing a directory takes a while.
        self._places: dict[BuildRequest, tuple[Path, str]] = {}

    def prepare(self, request: BuildRequest) -> BuildRequest:
        """See the port."""
        checks.check_paths(request)
        tools.require_tools(request)
        root = tools.cuda_root(request) if request.cuda else ""
        location = request.source.location
        if "://" not in location and Path(location).exists():
            location = str(Path(location).resolve())
        filled = request._replace(
            source=request.source._replace(location=location),
            cuda_root=root,
            cublas=str(Path(request.cublas).resolve()) if request.cublas else "",
            jobs=tools.jobs_for(request),
        )
        place, digest = _place(filled)
        self._places[filled] = place, digest
        try:
            place.mkdir(parents=True, exist_ok=True)
            self._script(filled, place)
        except OSError as error:
            raise StateUnwritable(
                f"The engine cannot be built in {request.work}.",
                why=error.strerror or str(error),
                fix="make room there, or name another directory with --work",
            ) from error
        return filled

    def fetch(self, request: BuildRequest) -> SourceTree:
        """See the port."""
        place, digest = self._places[request]
        run_step(place / "build.sh", "fetch", place / "fetch.log", _silent)
        source = place / "source"
        table = source / "src/llama-arch.cpp"
        try:
            known = bundle.architectures(table.read_text(errors="replace"))
        except (OSError, ManifestError) as error:
            raise BuildFailed(
                "The source is no llama.cpp that yoyo can build.",
                why=f"src/llama-arch.cpp: {error}",
                fix="name another commit or tag",
            ) from error
        commit = (place / "commit").read_text().strip()
        found = tree_digest(source)
        if digest not in ("", found):
            shutil.rmtree(source)
            raise BuildFailed(
                f"{request.source.location} changed while it was copied.",
                why="the copy is neither the old nor the new state",
                fix="repeat the command when nobody writes there",
            )
        return SourceTree(source, commit, found, known)

    def compile(self, request: BuildRequest, source: SourceTree, report: Report) -> EngineBuild:
        """See the port."""
        place, _ = self._places[request]
        run_step(place / "build.sh", "compile", place / "compile.log", report)
        run_step(place / "build.sh", "collect", place / "collect.log", _silent)
        compiler, cuda, machine = (place / "facts").read_text().splitlines()
        stage = place / "stage"
        libraries = [path.name for path in (stage / "lib").iterdir()]
        return EngineBuild(
            commit=source.commit,
            source_sha256=source.sha256,
            flags=_flags(request),
            compiler=compiler,
            cuda=cuda,
            sm=tuple(sorted(request.sm)) if request.cuda else (),
            glibc=_floor(stage),
            machine=machine,
            architectures=source.architectures,
            licences=bundle.licences(libraries),
        )

    def pack(self, request: BuildRequest, build: EngineBuild, part: Path) -> tuple[str, int]:
        """See the port."""
        return archive.pack(self._places[request][0] / "stage", build, part)

    def smoke(
        self, bundle: Path, build: EngineBuild, model: Callable[[], Path] | None
    ) -> SmokeReport:
        """See the port."""
        return smoke.smoke(bundle, build, model)

    def _script(self, request: BuildRequest, place: Path) -> None:
        values: dict[str, Any] = {
            "work": place,
            "source_kind": request.source.kind,
            "location": request.source.location,
            "revision": request.source.revision,
            "sha256": request.source.sha256,
            "cuda": "yes" if request.cuda else "no",
            "cuda_root": request.cuda_root,
            "cublas": request.cublas,
            "tls": "yes" if request.tls else "no",
            "jobs": request.jobs,
            "flags": _flags(request),
            "epoch": bundle.EPOCH,
        }
        # Renamed, as bash reads a script while it runs: another build may be at it.
        part = place / "build.sh.part"
        part.write_text(self._templates.render("engine/build.sh.j2", b=values))
        part.replace(place / "build.sh")


def _silent(*_: int) -> None:
    pass


def tree_digest(root: Path) -> str:
    """The digest of a source tree, docs/formats/bundle.md."""
    entries = []
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            target = str(path.readlink()).encode("utf-8", "surrogateescape")
            entries.append((f"{name} ->", hashlib.sha256(target).hexdigest()))
        elif path.is_file() and ".git" not in path.relative_to(root).parts:
            with path.open("rb") as file:
                entries.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    return bundle.tree_digest(entries)


def _place(request: BuildRequest) -> tuple[Path, str]:
    """A folder for this source and these options, and a directory's digest.

    What another request left is not mixed in, nor what the directory held before.
    """
    source = request.source
    digest = tree_digest(Path(source.location)) if source.kind == DIRECTORY else ""
    told = (*source, digest, *_flags(request), request.cuda_root, request.cublas)
    folder = hashlib.sha256("\0".join(told).encode()).hexdigest()[:12]
    return request.work.resolve() / folder, digest


def _flags(request: BuildRequest) -> tuple[str, ...]:
    return bundle.flags(request.cuda, request.sm, request.all_cpus, request.tls)


def _floor(stage: Path) -> str:
    files = [*(stage / "bin").iterdir(), *(stage / "lib").iterdir()]
    command = ["readelf", "--version-info", "--wide", *map(str, files)]
    said = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    floor = bundle.glibc_floor(said.stdout)
    if said.returncode != 0 or not floor:
        raise BuildFailed(
            "readelf could not read what was built.",
            why=said.stderr.strip()[-300:] or "it names no version of glibc",
            fix=f"delete {stage.parent} and repeat the command",
        )
    return floor
