"""What a build needs on this machine, and how much of the machine it may use."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

from yoyo.core import bundle
from yoyo.errors import BuildFailed
from yoyo.ports.builder import GIT, BuildRequest

_PACKAGES: Final = {
    "bash": "bash", "cmake": "cmake", "ninja": "ninja-build", "g++": "g++", "gcc": "gcc",
    "ldd": "libc-bin", "strip": "binutils", "readelf": "binutils", "tar": "tar", "zstd": "zstd",
    "flock": "util-linux", "sha256sum": "coreutils",
}  # fmt: skip
_TLS_HEADER: Final = ("/usr/include/openssl/ssl.h", "/usr/local/include/openssl/ssl.h")


def require_tools(request: BuildRequest) -> None:
    """Every program that the build calls is here.

    Raises:
        BuildFailed: with the command that installs what is missing.
    """
    wanted = dict(_PACKAGES)
    if request.source.kind == GIT:
        wanted["git"] = "git"
    if request.source.location.startswith(("http://", "https://")):
        wanted["curl"] = "curl"
    missing = {tool: package for tool, package in wanted.items() if shutil.which(tool) is None}
    if request.tls and not any(Path(header).exists() for header in _TLS_HEADER):
        missing["OpenSSL's headers"] = "libssl-dev"
    if missing:
        raise BuildFailed(
            "The engine cannot be built here: tools are missing.",
            why=f"not found: {', '.join(sorted(missing))}",
            fix=f"sudo apt-get install {' '.join(sorted(set(missing.values())))}",
        )


def cuda_root(request: BuildRequest) -> str:
    """The CUDA toolkit's directory.

    Raises:
        BuildFailed: there is none.
    """
    candidates = [request.cuda_root] if request.cuda_root else ["/usr/local/cuda"]
    found = shutil.which("nvcc")
    if found and not request.cuda_root:
        candidates.append(str(Path(found).resolve().parents[1]))
    for candidate in candidates:
        if os.access(Path(candidate) / "bin/nvcc", os.X_OK):
            return candidate
    raise BuildFailed(
        "An engine with CUDA cannot be built here: nvcc is missing.",
        why=f"no bin/nvcc in {' or '.join(candidates)}",
        fix="sudo apt-get install cuda-toolkit-13-0 (from NVIDIA's repository), or name the"
        " toolkit's directory with --cuda-root",
    )


def jobs() -> tuple[int, int]:
    """Cores that may be used, and bytes of memory that are free for it."""
    available = _number("/proc/meminfo", r"^MemAvailable:\s+(\d+) kB") * 1024
    return len(os.sched_getaffinity(0)), min(available, _cgroup_room(available))


def jobs_for(request: BuildRequest) -> int:
    """How many compilers may run at once."""
    cpus, available = jobs()
    return request.jobs or bundle.jobs(cpus, available, request.cuda)


def _cgroup_room(otherwise: int) -> int:
    """What the control group still allows; a container sees the whole machine's memory."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
        group = Path("/sys/fs/cgroup") / own.lstrip("/")
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        return otherwise if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        return otherwise


def _number(path: str, pattern: str) -> int:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) if found else 0
