"""The live file's writer: the only code that adds a row to a ledger.

`docs/formats/ledger.md` gives the format and the append protocol, ADR 0001 the reasons.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import NamedTuple

from yoyo.core.ledger_format import (
    HASH_CHARS,
    HEADER,
    MAX_LINE_BYTES,
    BadLine,
    encode_entry,
    encode_row,
    row_hash,
    seq_of,
)
from yoyo.drivers.files.ledger_sections import hash_before, sealed_paths
from yoyo.drivers.files.lines import first_row_seq
from yoyo.drivers.files.state import sync_dir
from yoyo.errors import LedgerCorrupt, LedgerWriteFailed
from yoyo.model.ledger import GENESIS_HASH, CompletionStatus, Entry, EventType, Row
from yoyo.ports.clock import Clock
from yoyo.ports.ids import Ids

# A row is some 300 bytes: the first look nearly always holds the last row and the hash
# above it. The second holds the longest rows there can be, with a torn one behind them.
_LOOKS = (1024, 3 * MAX_LINE_BYTES)


class Tail(NamedTuple):
    """How a live file ends: what the next row is chained to."""

    end: int  # bytes up to and including the last newline
    seq: int  # of the last row; 0: none yet
    row_hash: str
    torn: bytes  # what stands after the last newline


class LiveFile:
    """The file that rows are added to. Any number of processes; an object, one thread."""

    def __init__(self, path: Path, clock: Clock, ids: Ids) -> None:
        self._path = path
        self._name = os.fspath(path)
        self._clock = clock
        self._ids = ids
        self._fd: int | None = None
        self._opened_by = 0  # process id
        self._identity = (0, 0)  # device and inode
        self._first_seq = 0  # of the file; 0: not looked yet

    def append(self, entry: Entry) -> Row:
        """Write one row and return it once it is on the disk (fdatasync done).

        A torn tail is recovered first: its bytes go to `<ledger>.torn` and a CHECKPOINT row
        records it.

        Raises:
            LedgerRowRefused: a field holds CR, LF or NUL, or has the wrong form.
            LedgerCorrupt: the tail's chain is broken; nothing was written.
            LedgerWriteFailed: disk full, no permission; the file is as it was before. Only
                when the disk fails at the very end is it unknown whether the row is there.
        """
        event_id = self._ids.new_id()
        text = encode_entry(entry, event_id)  # what can be done before the lock, is
        try:
            fd, size = self.lock()
            try:
                tail = self.tail(fd, size)
                if tail.torn:
                    tail = self.recover(fd, tail, entry)
                now = self._clock.now()
                line = encode_row(
                    text,
                    event_id=event_id,
                    timestamp=now,
                    seq=tail.seq + 1,
                    prev_hash=tail.row_hash,
                )
                self._write(fd, line if tail.end else HEADER + line, tail.end)
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
            self._sync(fd)
        except OSError as error:
            raise self.write_failed(error) from error
        # The line's number counts on every line above being a row.
        number = tail.seq - self._first_seq + 3
        return Row(entry, event_id, now, tail.seq + 1, hash_of(line), number)

    def lock(self) -> tuple[int, int]:
        """The file, open and locked against every other process, and its length."""
        while True:
            fd = self._open()
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                # While we waited the path may have been given to another file.
                size = self._size_if_current()
            except BaseException:
                self.close()  # which frees the lock
                raise
            if size is not None:
                return fd, size
            self.close()

    def _size_if_current(self) -> int | None:
        try:
            there = os.stat(self._name)  # noqa: PTH116 (on the way of every append)
        except FileNotFoundError:
            return None
        return there.st_size if (there.st_dev, there.st_ino) == self._identity else None

    def _open(self) -> int:
        # Kept open: opening anew costs a tenth of an append. Not across a fork, where
        # parent and child would share one lock.
        if self._fd is not None and self._opened_by == os.getpid():
            return self._fd
        self.close()
        try:
            fd = _open_for_append(self._path)
        except FileNotFoundError:
            _make_durable_dir(self._path.parent)
            fd = _open_for_append(self._path)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise OSError("it is no regular file")
        self._fd, self._opened_by, self._first_seq = fd, os.getpid(), 0
        self._identity = (found.st_dev, found.st_ino)
        return fd

    def close(self) -> None:
        """Let the file go, and its lock."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self) -> None:
        self.close()

    def tail(self, fd: int, size: int) -> Tail:
        """The end of the locked file, after a look at its last row's form and hash.

        Raises:
            LedgerCorrupt: it is not sound.
        """
        if not self._first_seq:
            start_of_file = os.pread(fd, len(HEADER), 0)
            if start_of_file != HEADER:
                return self._without_header(start_of_file, size)
            self._first_seq = first_row_seq(fd, size) or 1
        for look in _LOOKS:
            start = max(size - look, 0)
            above, *rest = os.pread(fd, size - start, start).rsplit(b"\n", 2)
            if start == 0 or (len(rest) == 2 and len(above) >= HASH_CHARS):
                break
        else:
            raise self.corrupt(f"The last {_LOOKS[-1]} bytes hold no two ends of a line")
        torn = rest[-1]
        if len(rest) == 1:
            self._refuse_after_sealed()
            return Tail(size - len(torn), 0, GENESIS_HASH, torn)  # the header alone
        last = rest[0]
        if start + len(above) + 1 == len(HEADER):
            prev = self._hash_before_first()
        else:
            prev = above[-HASH_CHARS:].decode(errors="replace")
        digest = row_hash(prev, last[: -HASH_CHARS - 1])
        if last[-HASH_CHARS - 1 :] != f",{digest}".encode():
            raise self.corrupt("The last row's hash does not match it and the row above")
        try:
            return Tail(size - len(torn), seq_of(last), digest, torn)
        except BadLine as error:
            raise self.corrupt(f"The last row is broken: {error}") from error

    def _hash_before_first(self) -> str:
        if self._first_seq == 1:
            return GENESIS_HASH
        found = hash_before(self._path, self._first_seq)
        if found is None:
            raise self.corrupt(f"No sealed month beside it ends with row {self._first_seq - 1}")
        return found

    def _refuse_after_sealed(self) -> None:
        """A live file without rows next to sealed months has lost rows: sealing leaves some."""
        for _, path in sealed_paths(self._path):
            raise self.corrupt(f"It has no row, though {path.name} is there, which is older")

    def _without_header(self, start_of_file: bytes, size: int) -> Tail:
        if len(start_of_file) < size or not HEADER.startswith(start_of_file):
            raise self.corrupt("Line 1 is not the ledger's header")
        self._refuse_after_sealed()
        self._first_seq = 1
        if not size:
            # Before the first byte, so that no row is ever in a file that may vanish.
            sync_dir(self._path.parent)
        return Tail(0, 0, GENESIS_HASH, start_of_file)

    def recover(self, fd: int, tail: Tail, entry: Entry) -> Tail:
        """Put the torn bytes aside and their record in their place."""
        from hashlib import sha256

        record = Entry(
            EventType.CHECKPOINT,
            entry.module_id,
            entry.node_id,
            "",
            CompletionStatus.SUCCESS,
            entry.operator_id,
            error_code="TORN_TAIL_RECOVERED",
            input_hash="sha256:" + sha256(tail.torn).hexdigest(),
        )
        event_id = self._ids.new_id()
        line = encode_row(
            encode_entry(record, event_id),
            event_id=event_id,
            timestamp=self._clock.now(),
            seq=tail.seq + 1,
            prev_hash=tail.row_hash,
        )
        content = line if tail.end else HEADER + line
        self._keep_aside(tail)
        # Written over the torn bytes and cut afterwards: killed at any point, either they
        # still stand as a torn tail or their record does.
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_APPEND)
        try:
            _write_whole(fd, content, tail.end)
        except OSError:
            _write_whole(fd, tail.torn, tail.end)  # where they stood there is room for them
            os.ftruncate(fd, tail.end + len(tail.torn))
            raise
        os.ftruncate(fd, tail.end + len(content))
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
        return Tail(tail.end + len(content), tail.seq + 1, hash_of(line), b"")

    def _keep_aside(self, tail: Tail) -> None:
        path = self._path.with_name(self._path.name + ".torn")
        now = self._clock.now().isoformat(timespec="seconds")
        record = f"# {len(tail.torn)} bytes torn at offset {tail.end}, found {now}\n".encode()
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            end = os.fstat(fd).st_size
            try:
                _write_whole(fd, record + tail.torn + b"\n", end)
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, end)
                raise
        finally:
            os.close(fd)
        sync_dir(path.parent)

    def _write(self, fd: int, content: bytes, end: int) -> None:
        try:
            written = os.write(fd, content)
            if written < len(content):
                raise OSError(f"only {written} of {len(content)} bytes found room")
        except OSError as error:
            try:
                os.ftruncate(fd, end)
            except OSError:
                pass  # a torn tail then, which the next append recovers
            raise self.write_failed(error) from error

    def _sync(self, fd: int) -> None:
        try:
            os.fdatasync(fd)
        except OSError as error:
            raise LedgerWriteFailed(
                f"The row was written to {self._path}, and the disk did not confirm it.",
                why=f"{error.strerror or error}: the row may or may not be durable.",
                fix="Check the disk, then run `yoyo ledger tail` and `yoyo ledger verify`.",
            ) from error

    def write_failed(self, error: OSError) -> LedgerWriteFailed:
        """The error for a file that the system would not write."""
        return LedgerWriteFailed(
            f"The ledger {self._path} could not be written; no row was added.",
            why=f"{error.strerror or error}.",
            fix="Make room on its disk or give yourself permission to write it, then run the "
            "command again.",
        )

    def corrupt(self, why: str) -> LedgerCorrupt:
        """The error for a file that must not be built on."""
        return LedgerCorrupt(
            f"The end of the ledger {self._path} is not sound; nothing was written.",
            why=f"{why}.",
            fix="Run `yoyo ledger verify` to see every problem, and restore the file from a copy.",
        )


def _open_for_append(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # Reading the tail would else date the file anew each time: a tenth of an append.
        return os.open(path, flags | os.O_NOATIME, 0o644)
    except PermissionError:
        return os.open(path, flags, 0o644)  # only the owner may ask for that


def hash_of(line: bytes) -> str:
    """The row_hash of a line that was just made, newline included."""
    return line[-HASH_CHARS - 1 : -1].decode()


def _write_whole(fd: int, content: bytes, at: int) -> None:
    written = os.pwrite(fd, content, at)
    if written < len(content):
        raise OSError(f"only {written} of {len(content)} bytes found room")


def _make_durable_dir(path: Path) -> None:
    if path.is_dir():
        return
    _make_durable_dir(path.parent)
    path.mkdir(exist_ok=True)
    sync_dir(path.parent)
