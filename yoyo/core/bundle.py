"""What an engine bundle says of itself, which node it runs on, and which of several to take.

`docs/formats/bundle.md` is the format. No I/O: reading, packing and trying are a driver's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final, NamedTuple

from yoyo.core import manifest_facts
from yoyo.core.manifest import check_path
from yoyo.core.manifest_fields import ManifestError, exact_keys, integer, parsed, shown, text
from yoyo.model.store import ENGINE, EngineBuild, Manifest

SCHEMA: Final = 1
DOCUMENT: Final = "bundle.json"
SERVER: Final = "bin/llama-server"
SUFFIX: Final = ".tar.zst"
FOLDERS: Final = ("bin", "lib", "licences")
MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
# Unpacked. cuBLAS alone has 0.6 GB; a bundle for every architecture stays below 4 GB.
MAX_BYTES: Final = 16 * 2**30
MAX_FILES: Final = 10_000
# 1980-01-01, the earliest time that every archive format can hold.
EPOCH: Final = 315_532_800

GIB: Final = 2**30

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){0,2}\Z", re.ASCII)
_SM = re.compile(r"([1-9]\d?)(\d)([af]?)\Z", re.ASCII)
_FLOOR = re.compile(r"\bGLIBC_(\d+\.\d+(?:\.\d+)?)\b", re.ASCII)
_ARCHITECTURES = re.compile(r"\bLLM_ARCH_NAMES\s*=\s*\{(.*?)\n\};", re.DOTALL)
_ARCHITECTURE = re.compile(r'\{\s*LLM_ARCH_\w+\s*,\s*"([^"\n]+)"\s*\}', re.ASCII)
_NO_MODELS = ("(unknown)", "clip")  # names of that table that no model file may have

_LICENCES: Final = (
    (("libstdc++.", "libgcc_s.", "libgomp."), "GPL-3.0-or-later WITH GCC-exception-3.1"),
    (("libssl.", "libcrypto."), "Apache-2.0"),
    (("libcudart.", "libcublas.", "libcublasLt.", "libnvJitLink."), "NVIDIA CUDA EULA"),
)


class BundleFile(NamedTuple):
    """One file of a bundle."""

    path: str  # in one of FOLDERS
    size: int  # bytes
    sha256: str
    executable: bool


class BundleDocument(NamedTuple):
    """What `bundle.json` holds."""

    engine: EngineBuild
    files: tuple[BundleFile, ...]  # by path; all but bundle.json itself


class Choice(NamedTuple):
    """The bundle to take, or why there is none."""

    chosen: Manifest | None
    refused: tuple[tuple[str, tuple[str, ...]], ...]  # (name, reasons) of each that does not match


def encode(document: BundleDocument) -> bytes:
    """The one form of that document.

    Raises:
        ManifestError: it breaks a rule of the format.
    """
    _check(document)
    fields = {
        "engine": manifest_facts.engine_out(document.engine),
        "files": [file._asdict() for file in document.files],
        "schema": SCHEMA,
    }
    written = json.dumps(fields, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
    return written.encode() + b"\n"


def decode(data: bytes) -> BundleDocument:
    """The document in `bundle.json`.

    Raises:
        ManifestError: it is none, or not in the one form that `encode` gives it.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ManifestError(f"a document of {len(data)} bytes, at most {MAX_DOCUMENT_BYTES}")
    fields = exact_keys(parsed(data, "bundle.json"), ("engine", "files", "schema"), "the document")
    if type(fields["schema"]) is not int or fields["schema"] != SCHEMA:
        raise ManifestError(f"schema {shown(fields['schema'])}, this version reads {SCHEMA}")
    if not isinstance(fields["files"], list):
        raise ManifestError("files is not a list")
    document = BundleDocument(
        manifest_facts.engine_in(fields["engine"]),
        tuple(
            BundleFile(**exact_keys(entry, BundleFile._fields, "a file"))
            for entry in fields["files"][: MAX_FILES + 1]
        ),
    )
    if encode(document) != data:
        raise ManifestError("not written in the one form that bundle.json has")
    return document


def check_member(path: str) -> str:
    """Give the path back if a bundle may hold a file there.

    Raises:
        ManifestError.
    """
    check_path(path)
    if path != DOCUMENT and (path.count("/") != 1 or path.partition("/")[0] not in FOLDERS):
        raise ManifestError(f"{shown(path)} is not in one of {', '.join(FOLDERS)}")
    return path


def file_name(build: EngineBuild) -> str:
    """What a bundle's file is called: source, CUDA, architectures and machine."""
    source = build.commit or build.source_sha256
    cuda = f"cuda{build.cuda}-sm{'-'.join(build.sm)}" if build.sm else "cpu"
    return f"llama-server-{source[:12]}-{cuda}-{build.machine}{SUFFIX}"


def matches(
    build: EngineBuild, *, machine: str, sm: str, glibc: str, architecture: str
) -> tuple[str, ...]:
    """Why the bundle does not serve a node; () if it does.

    `sm` is the node's CUDA architecture, "" for a node without a GPU; `glibc` the node's, ""
    where it is not known yet; `architecture` the model's, "" for any.
    """
    reasons = []
    if build.machine != machine:
        reasons.append(f"built for {build.machine}, the node is {machine}")
    if sm and not build.sm:
        reasons.append("built without CUDA, the node has a GPU")
    elif build.sm and not sm:
        reasons.append("built for CUDA, the node has no GPU")
    elif sm and not any(runs_on(built, sm) for built in build.sm):
        reasons.append(f"built for SM {', '.join(build.sm)}, the node's GPU is SM {sm}")
    if glibc and version(build.glibc) > version(glibc):
        reasons.append(f"needs glibc {build.glibc}, the node has {glibc}")
    if architecture and architecture not in build.architectures:
        reasons.append(f"does not know the model architecture {architecture}")
    return tuple(reasons)


def newest(
    manifests: Iterable[Manifest], *, machine: str, sm: str, glibc: str, architecture: str
) -> Choice:
    """The bundle made last of those that match; of two made at once, the later name."""
    fit: list[Manifest] = []
    refused = []
    for manifest in manifests:
        if manifest.kind != ENGINE or manifest.engine is None:
            continue
        reasons = matches(
            manifest.engine, machine=machine, sm=sm, glibc=glibc, architecture=architecture
        )
        if reasons:
            refused.append((manifest.name, reasons))
        else:
            fit.append(manifest)
    chosen = max(fit, key=lambda manifest: (manifest.created, manifest.name), default=None)
    return Choice(chosen, tuple(sorted(refused)))


def runs_on(built: str, wanted: str) -> bool:
    """Whether machine code for one CUDA architecture runs on another.

    Code for X.y runs on X.z with z >= y (NVIDIA, CUDA C++ Programming Guide, "Binary
    Compatibility"); code for an architecture-specific target (90a) on that one alone, and for a
    family (120f) within it.
    """
    if built == wanted:
        return True
    code, gpu = _SM.match(built), _SM.match(wanted)
    if code is None or gpu is None or code[3] == "a":
        return False
    return code[1] == gpu[1] and int(code[2]) <= int(gpu[2])


def is_sm(value: str) -> bool:
    """Whether that is how a CUDA architecture is written, such as 89 or 120a."""
    return _SM.match(value) is not None


def version(value: str) -> tuple[int, ...]:
    """A version for comparing: 2.34 is (2, 34).

    Raises:
        ManifestError.
    """
    if not _VERSION.match(value):
        raise ManifestError(f"{shown(value)} is no version such as 2.34")
    return tuple(int(part) for part in value.split("."))


def glibc_floor(symbols: str) -> str:
    """The highest GLIBC version in what `readelf --version-info` says of files; "" for none."""
    return max(_FLOOR.findall(symbols), key=version, default="")


def architectures(source: str) -> tuple[str, ...]:
    """The model architectures that llama.cpp knows, sorted, from its `src/llama-arch.cpp`.

    Raises:
        ManifestError: the table is not where it was.
    """
    table = _ARCHITECTURES.search(source)
    names = _ARCHITECTURE.findall(table[1]) if table else []
    if not names:
        raise ManifestError("src/llama-arch.cpp has no LLM_ARCH_NAMES")
    return tuple(sorted({text(name, "architecture") for name in names} - set(_NO_MODELS)))


def tree_digest(entries: Iterable[tuple[str, str]]) -> str:
    """The digest of a source tree, from (path, sha256) of each of its files."""
    lines = sorted(f"{path}\0{digest}" for path, digest in entries)
    whole = sha256()
    for line in lines:
        path, digest = line.split("\0")
        whole.update(f"{digest}  {path}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def jobs(cpus: int, available_bytes: int, cuda: bool) -> int:
    """How many compilers may run at once.

    A share is what one compiler may need at worst: 2 GiB, with CUDA 4 GiB. One share is left for
    everything else, so that a machine of 16 GB gets `-j 2` with CUDA (docs/formats/bundle.md).
    """
    share = 4 * GIB if cuda else 2 * GIB
    return max(1, min(cpus, available_bytes // share - 1))


def flags(cuda: bool, sm: tuple[str, ...], all_cpus: bool, tls: bool) -> tuple[str, ...]:
    """The options of llama.cpp's CMake project, sorted. Paths are not among them."""

    def switch(on: bool) -> str:
        return "ON" if on else "OFF"

    options = {
        "BUILD_SHARED_LIBS": "ON",
        "CMAKE_BUILD_TYPE": "Release",
        # A part for the GPU that is loaded, not linked: the server starts without a driver.
        "GGML_BACKEND_DL": "ON",
        "GGML_CCACHE": "OFF",
        "GGML_CPU_ALL_VARIANTS": switch(all_cpus),
        "GGML_CUDA": switch(cuda),
        "GGML_NATIVE": "OFF",
        "LLAMA_BUILD_APP": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_UI": "OFF",
        "LLAMA_OPENSSL": switch(tls),
        "LLAMA_USE_PREBUILT_UI": "OFF",  # it would come from a hub, while building
    }
    if cuda:
        # -real: machine code only. PTX would be compiled at the first start, for minutes.
        options["CMAKE_CUDA_ARCHITECTURES"] = ";".join(f"{one}-real" for one in sm)
        options["GGML_CUDA_NCCL"] = "OFF"
    return tuple(f"-D{name}={value}" for name, value in sorted(options.items()))


def licences(libraries: Iterable[str]) -> tuple[str, ...]:
    """What the licences of a bundle are, from the names of the files in `lib/`."""
    named = {"MIT (llama.cpp)"}
    for library in libraries:
        known = (f"{name} ({begin.rstrip('.')})" for begins, name in _LICENCES for begin in begins
                 if library.startswith(begin))  # fmt: skip
        if not library.startswith(("libllama", "libggml", "libmtmd")):
            named.add(next(known, f"unknown ({library})"))
    return tuple(sorted(named))


def _check(document: BundleDocument) -> None:
    engine, files = document.engine, document.files
    manifest_facts.check_engine(engine)
    if not _DIGEST.match(engine.source_sha256):
        raise ManifestError("engine.source_sha256 is not 64 lowercase hexadecimal digits")
    version(engine.glibc)
    if bool(engine.cuda) != bool(engine.sm):
        raise ManifestError(
            "a CUDA version and CUDA architectures are there together or not at all"
        )
    for one in engine.sm:
        if not is_sm(one):
            raise ManifestError(f"{shown(one)} is no CUDA architecture such as 89")
    if len(files) > MAX_FILES:
        raise ManifestError(f"more than {MAX_FILES} files")
    for file in files:
        if check_member(text(file.path, "path")) == DOCUMENT:
            raise ManifestError(f"{DOCUMENT} does not list itself")
        integer(file.size, "size", MAX_BYTES)
        if not _DIGEST.match(text(file.sha256, "sha256")):
            raise ManifestError(f"{shown(file.path)}: a digest is 64 lowercase hexadecimal digits")
        if type(file.executable) is not bool:
            raise ManifestError(f"{shown(file.path)}: executable is true or false")
    paths = [file.path for file in files]
    if sorted(set(paths)) != paths:
        raise ManifestError("the files are not in the order of their paths, each once")
    if sum(file.size for file in files) > MAX_BYTES:
        raise ManifestError(f"more than {MAX_BYTES} bytes")
    if not any(file.path == SERVER and file.executable for file in files):
        raise ManifestError(f"no executable {SERVER}")
