"""The kill switch as one small file; what cannot be read counts as thrown."""

from __future__ import annotations

import os
from pathlib import Path

from yoyo.drivers.files.state import private_dir, sync_dir, unwritable, write_atomically
from yoyo.model.freeze import Freeze

_MOST_BYTES = 65_536  # a reason is a sentence; more than this was not written by yoyo


class FileKillSwitch:
    """`<state_dir>/frozen.json`; no file, not frozen."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "frozen.json"

    def state(self) -> Freeze | None:
        """None: not frozen. A file that is unreadable or malformed is a Freeze that says so."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                content = os.read(fd, _MOST_BYTES)
            finally:
                os.close(fd)
        except FileNotFoundError:
            # A link that leads nowhere is there and cannot be read.
            return self._doubtful("it leads nowhere") if self._path.is_symlink() else None
        except OSError as error:
            return self._doubtful(error.strerror or str(error))
        import json  # only a frozen yoyo pays for it

        try:
            found = json.loads(content)
            fields = (found["reason"], found["operator"], found["since"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._doubtful("it is malformed")
        if not all(isinstance(field, str) for field in fields):
            return self._doubtful("it is malformed")
        return Freeze(*fields)

    def _doubtful(self, why: str) -> Freeze:
        return Freeze(
            reason=f"{self._path} cannot be read ({why}), which counts as frozen",
            operator="",
            since="",
        )

    def freeze(self, freeze: Freeze) -> None:
        """Throw it, durably; the newest reason stands.

        Raises:
            StateUnwritable.
        """
        import json

        content = json.dumps(
            {"reason": freeze.reason, "operator": freeze.operator, "since": freeze.since}, indent=2
        )
        try:
            private_dir(self._path.parent)
            write_atomically(self._path, content.encode() + b"\n", durable=True)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def thaw(self) -> None:
        """Release it, durably. Not thrown: returns silently.

        Raises:
            StateUnwritable.
        """
        try:
            self._path.unlink()
            sync_dir(self._path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise unwritable(self._path, error) from error
