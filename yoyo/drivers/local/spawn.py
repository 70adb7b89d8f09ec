"""Starting the supervisor of a local node."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from yoyo.drivers.local import records
from yoyo.drivers.local.process import start_code
from yoyo.errors import BootFailed

# Variables the engine may need. A list of what is let in: the rest may hold secrets, and
# LLAMA_ARG_* would change flags behind the configuration's back.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_ENVIRONMENT_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "GGML_", "OMP_", "HIP_", "ROCR_")


def spawn_supervisor(directory: Path, lock: int) -> None:
    """Start the supervisor in a session of its own, holding the lock from its first breath.

    Raises:
        BootFailed.
    """
    # -I and -S: no site packages and nothing from the environment; it needs the standard
    # library alone and starts in half the time.
    code = start_code("yoyo.agent")
    log = os.open(
        directory / records.SUPERVISOR_LOG,
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC,
        0o600,
    )
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.set_inheritable(lock, True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    try:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", code, str(directory), str(lock), "supervisor"],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
        )
    except OSError as error:
        raise BootFailed(
            f"The supervisor of {directory.name} could not be started.",
            why=error.strerror or str(error),
            fix="Check memory and process limits (ulimit -u), then run `yoyo up` again.",
        ) from error
    finally:
        os.set_inheritable(lock, False)
        os.close(log)
        os.close(nothing)
