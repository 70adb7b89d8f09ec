"""Implements the port for files that other programs read."""

from __future__ import annotations

import os
from pathlib import Path

from yoyo.errors import MonitorNotInstallable


class AtomicFileWriter:
    """Writes beside the target and renames over it."""

    def write(self, path: Path, text: str, *, mode: int) -> None:
        """Make or replace `path`; the directory must exist."""
        # The dot and the suffix keep systemd and cron from reading a part.
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(fd, "w", encoding="utf-8", newline="\n") as file:
                    file.write(text)
                    file.flush()
                    os.fchmod(fd, mode)  # the umask must not decide it
                    os.fsync(fd)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise MonitorNotInstallable(
                f"{path} could not be written.",
                why=f"{error.strerror or error}.",
                fix="Write to a directory of your own with --write DIR, and follow the commands "
                "that are printed then.",
            ) from error
