"""The transfers port on aria2: what it reports, and what is done when an address fails.

aria2 is not told the digest: after a wrong one it leaves the file and gives no message. The caller
checks, piece by piece, while the bytes arrive.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from yoyo.drivers.aria2 import control
from yoyo.drivers.aria2.daemon import Daemon, Gone, Refused
from yoyo.drivers.aria2.settle import Settled, Unusable, host_of, settle
from yoyo.errors import SourceFailed, StoreFull, YoyoError
from yoyo.model.fetch import RemoteFile, TransferState

STALLED_S: Final = 30.0  # without a byte, after which a transfer is begun anew
_LONGEST_WAIT_S: Final = 60.0  # of a Retry-After that is honoured
_TRIES: Final = 5  # of one address, without a byte in between
_KEYS: Final = [
    "status",
    "totalLength",
    "completedLength",
    "downloadSpeed",
    "pieceLength",
    "bitfield",
    "errorCode",
    "errorMessage",
]
# aria2's manual, exit status. Its texts hold whole addresses with their queries: not shown.
_REASONS: Final = {
    "2": "it stopped answering",
    "3": "it has no such file",
    "4": "it has no such file",
    "5": "it sends too slowly",
    "6": "the connection failed or was cut off",
    "8": "it does not resume",
    "19": "its name is not known (DNS)",
    "22": "it refused, or its answer was not HTTP",
    "23": "too many redirects",
    "24": "it refused access",
    "29": "it is overloaded",
}
# Each connection takes the first span that nobody fetches yet, so that the front is whole early.
# A span ends in a cut connection: spans of 16 MiB made servers send 1.13 times the file, of 32 MiB
# 1.03 times (2 GiB, four connections, loopback). Small files are cut in eight, for all of them.
_SPAN_MIB: Final = 32
_DISK_FULL: Final = "9"
_DISK_CODES: Final = ("9", "13", "14", "15", "16", "17", "18")


class Aria2Transfers:
    """Downloads by one aria2c, which runs while there is a transfer.

    `directory`: where its options and locks lie, one for all processes that fetch into the same
    places. `connections`: to one server at once. `stalled_s`: seconds without a byte after which
    a transfer is begun anew.
    """

    def __init__(
        self, directory: Path, connections: int = 4, *, stalled_s: float = STALLED_S
    ) -> None:
        self._daemon = Daemon(directory, connections)
        self._stalled_s = stalled_s

    def start(self, file: RemoteFile, target: Path) -> Aria2Transfer:
        """Begin to fetch into `target`, or go on where a transfer into it was cut off.

        Raises:
            SourceFailed, StoreFull, DriverUnavailable.
        """
        if not file.addresses:
            raise ValueError("only files with addresses are transferred")
        self._daemon.acquire()
        transfer = Aria2Transfer(self._daemon, file, target, self._stalled_s)
        try:
            transfer.state()
        except BaseException:
            transfer.close()
            raise
        return transfer

    def close(self) -> None:
        """End aria2c, whatever it does; what was fetched stays."""
        self._daemon.stop()


class Aria2Transfer:
    """One file on its way. Addresses are tried in order, each until it fails for good."""

    def __init__(self, daemon: Daemon, file: RemoteFile, target: Path, stalled_s: float) -> None:
        self._daemon = daemon
        self._file = file
        self._target = target.absolute()
        self._stalled_s = stalled_s
        self._guard = threading.Lock()
        self._state = TransferState(0, file.size, 0, False, 0, b"")
        self._at = 0  # which address
        self._tries = 0
        self._farthest = 0  # bytes that any try has brought
        self._reasons: list[str] = []
        self._gid: str | None = None
        self._not_before = 0.0
        self._moved = 0.0  # when a byte came last
        self._failure: YoyoError | None = None
        self._closed = False

    def state(self) -> TransferState:
        """How far it is; what an address did wrong is answered here, so ask at least every second.

        Raises:
            SourceFailed, StoreFull, DriverUnavailable.
        """
        with self._guard:
            if self._failure is not None:
                raise self._failure
            if self._closed or self._state.finished:
                return self._state
            try:
                if self._gid is None:
                    self._begin()
                else:
                    self._ask(self._gid)
            except YoyoError as error:
                self._failure = error
                raise
            return self._state

    def close(self) -> None:
        """Stop it if it runs; what is there stays, with aria2's account of it."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            try:
                self._remove()
            finally:
                self._daemon.release()

    def _begin(self) -> None:
        """Give aria2 the first address that works, or wait for the time that one asked for."""
        while time.monotonic() >= self._not_before:
            if self._at == len(self._file.addresses):
                raise self._exhausted()
            try:
                settled = settle(self._file.addresses[self._at])
                self._check_size(settled)
            except Unusable as error:
                self._failed(str(error), passes=error.passes, retry_after=error.retry_after)
                continue
            self._add(settled)
            return

    def _add(self, settled: Settled) -> None:
        try:
            whole = control.prepare(self._target, settled.size, ranges=settled.ranges)
            if settled.size == 0:
                self._target.touch()
                control.control_of(self._target).unlink(missing_ok=True)
                whole = True
        except OSError as error:
            raise self._unwritable(error.strerror or type(error).__name__) from None
        if whole:
            size = settled.size or 0
            self._state = TransferState(size, size, 0, True, 0, b"")
            return
        if not settled.ranges:
            self._state = TransferState(0, settled.size, 0, False, 0, b"")
        options = {
            "dir": str(self._target.parent),
            "out": self._target.name,
            "header": [f"{name}: {value}" for name, value in settled.address.headers],
            "min-split-size": f"{max(1, min(_SPAN_MIB, (settled.size or 0) >> 23))}M",
        }
        if not settled.ranges:
            options["split"] = "1"
        try:
            self._daemon.ensure()
            self._gid = str(self._daemon.call("add_uri", [settled.address.url], options))
        except (Gone, Refused) as error:
            self._failed(str(error), passes=True)
            return
        self._moved = time.monotonic()

    def _ask(self, gid: str) -> None:
        try:
            said = self._daemon.call("tell_status", gid, _KEYS)
        except (Gone, Refused) as error:
            self._gid = None
            self._failed(str(error), passes=True)
            return
        before = self._state
        self._state = self._read(said)
        now = time.monotonic()
        if self._state.done > before.done:
            self._moved = now
        # Past the farthest point, not past the last look: a server without ranges begins anew at
        # each try, and would be tried for ever.
        if self._state.done > self._farthest:
            self._farthest, self._tries = self._state.done, 0
        status = said.get("status")
        host = host_of(self._file.addresses[self._at].url)
        if status == "complete":
            self._finish(host)
        elif status in ("error", "removed"):
            self._remove()
            self._judge(host, str(said.get("errorCode", "")), str(said.get("errorMessage", "")))
        elif now - self._moved > self._stalled_s:
            self._remove()
            self._failed(f"{host}: sent nothing for {self._stalled_s:.0f} s", passes=True)

    def _read(self, said: Mapping[str, Any]) -> TransferState:
        total = int(said.get("totalLength", 0)) or self._state.total
        pieces = bytes.fromhex(said.get("bitfield") or "")
        old = self._state
        return TransferState(
            done=int(said.get("completedLength", 0)),
            total=total,
            speed=int(said.get("downloadSpeed", 0)),
            finished=False,
            piece_bytes=int(said.get("pieceLength", 0)) or old.piece_bytes,
            pieces=pieces or old.pieces,
        )

    def _finish(self, host: str) -> None:
        self._remove()
        size = self._target.stat().st_size
        if self._state.total not in (None, size):
            self._failed(f"{host}: sent {size} bytes of {self._state.total}", passes=True)
            return
        self._state = self._state._replace(done=size, total=size, speed=0, finished=True)

    def _judge(self, host: str, code: str, message: str) -> None:
        if code in _DISK_CODES:
            raise self._unwritable("no room" if code == _DISK_FULL else "it cannot be written")
        found = re.search(r"\bstatus[= ](\d{3})\b", message)
        reason = f"it answered {found[1]}" if found else _REASONS.get(code, "it broke off")
        self._failed(f"{host}: {reason}", passes=True)

    def _failed(self, reason: str, *, passes: bool, retry_after: float | None = None) -> None:
        """Count a failure: the same address again, later, or the next one."""
        self._tries += 1
        pause = min(2.0 ** (self._tries - 1), 10.0) if retry_after is None else retry_after
        if passes and self._tries < _TRIES and pause <= _LONGEST_WAIT_S:
            self._not_before = time.monotonic() + pause
            self._state = self._state._replace(speed=0)
            return
        asked = "" if retry_after is None else f", and asks to wait {retry_after:.0f} s"
        self._reasons.append(reason + asked)
        self._at += 1
        self._tries = 0

    def _check_size(self, settled: Settled) -> None:
        if None not in (self._file.size, settled.size) and self._file.size != settled.size:
            raise Unusable(
                f"{host_of(settled.address.url)} has {settled.size} bytes instead of "
                f"{self._file.size}",
                passes=False,
            )

    def _remove(self) -> None:
        """Make aria2 forget it, once it has closed the file."""
        gid, self._gid = self._gid, None
        if gid is None:
            return
        try:
            self._daemon.call("force_remove", gid)
        except Gone:
            return
        except Refused:  # it ended by itself
            pass
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                self._daemon.call("remove_download_result", gid)
            except Refused:
                time.sleep(0.01)
            except Gone:
                return
            else:
                return

    def _exhausted(self) -> SourceFailed:
        return SourceFailed(
            f"{self._file.path[:200]!a} could not be fetched.",
            why="; ".join(self._reasons) + ".",
            fix="Check the address and the token, or name a mirror; the same command goes on "
            "where this one was.",
        )

    def _unwritable(self, reason: str) -> YoyoError:
        try:
            room = os.statvfs(self._target.parent)
            free = room.f_bavail * room.f_frsize
        except OSError:
            free = None
        if reason == "no room" or (free is not None and free < control.PIECE_BYTES):
            return StoreFull(
                "The disk became full while a file was fetched.",
                why=f"There is no room left in {self._target.parent}.",
                fix="Make room there; the same command goes on where this one was.",
            )
        return SourceFailed(
            "A file that is being fetched could not be written.",
            why=f"{self._target}: {reason}.",
            fix="Check the folder and its permissions, then run the command again.",
        )
