"""Moves months that are over into files of their own, so that the live file stays small.

The months' files are on the disk before the live file is replaced, in one step, by one that
begins after them. Killed before that step, all rows are still in the live file, and readers
take no notice of what was written; killed after it, all is done.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from yoyo.core.ledger_format import HEADER, BadLine, encode_entry, encode_row
from yoyo.core.ledger_months import MonthsOver
from yoyo.drivers.files.ledger_live import LiveFile, Tail, hash_of
from yoyo.drivers.files.ledger_sections import Sections, sealed_path
from yoyo.drivers.files.lines import LineBlocks
from yoyo.drivers.files.state import sync_dir
from yoyo.errors import LedgerCorrupt, LedgerMoved, LedgerWriteFailed, MonthSealed
from yoyo.model.audit import LedgerPart, MonthPiece
from yoyo.model.ledger import Entry, Row
from yoyo.ports.clock import Clock
from yoyo.ports.ids import Ids

_COPY_BYTES = 1024 * 1024


def months_over(sections: Sections, before: datetime) -> tuple[MonthPiece, ...]:
    """The months of the live file that are before that time's own.

    Raises:
        LedgerCorrupt: a line is damaged, or one is missing.
        OSError.
    """
    if not sections.files:
        return ()
    *sealed, live = sections.files
    newest = sealed[-1].month if sealed else None
    months = MonthsOver(f"{before.astimezone(UTC):%Y-%m}", newest)
    found: list[MonthPiece] = []
    try:
        for block in LineBlocks(live.fd, live.start, live.end):
            found += months.take(block)
            if months.is_done:
                break
        found += months.rest()
    except BadLine as error:
        raise LedgerCorrupt(
            f"The ledger {live.path} is not sound; no month of it can be sealed.",
            why=f"{error}.",
            fix="Run `yoyo ledger verify` to see every problem, and restore the file from a copy.",
        ) from error
    return tuple(found)


def delete_month(path: Path, part: LedgerPart) -> None:
    """Remove a sealed month of that ledger; not there: nothing is done.

    Raises:
        LedgerWriteFailed: it is the live file or another's, or cannot be removed.
    """
    if part.month is None or part.path != sealed_path(path, part.month):
        raise LedgerWriteFailed(
            f"{part.path} was not removed.",
            why=f"It is no sealed month of {path}.",
            fix="Run `yoyo ledger verify` to see which months there are.",
        )
    try:
        part.path.unlink(missing_ok=True)
        sync_dir(path.parent)
    except OSError as error:
        raise LedgerWriteFailed(
            f"The sealed month {part.path} could not be removed.",
            why=f"{error.strerror or error}.",
            fix="Make its directory writable for you, then run the command again.",
        ) from error


class Sealer:
    """Seals the months of one live file."""

    def __init__(self, path: Path, live: LiveFile, clock: Clock, ids: Ids) -> None:
        self._path = path
        self._live = live
        self._clock = clock
        self._ids = ids

    def seal(self, pieces: Sequence[MonthPiece], entries: Sequence[Entry]) -> list[Row]:
        """Give each piece a file of its own, and go on with a live file without them.

        Raises:
            ValueError: no piece, or no entry: the live file has to keep the chain's end.
            LedgerMoved: the live file does not begin with those pieces.
            MonthSealed: there is a file of that month with other bytes, or the ledger is a link.
            LedgerCorrupt: the live file's tail is not sound.
            LedgerRowRefused: an entry has not the format.
            LedgerWriteFailed: the disk is full, or a file may not be written.
        """
        if not pieces or not entries:
            raise ValueError("sealing takes at least one month and one row that says so")
        if self._path.is_symlink():
            # The link alone would be replaced, and whoever writes by the other name would go on
            # with a ledger of their own.
            raise MonthSealed(
                f"No month of {self._path} was sealed; nothing was changed.",
                why="It is a symbolic link.",
                fix=f"Name the file itself: `ledger: {self._path.resolve()}` in yoyo.yaml.",
            )
        texts = [(entry, self._ids.new_id()) for entry in entries]
        ready = [(entry, new_id, encode_entry(entry, new_id)) for entry, new_id in texts]
        try:
            fd, size = self._live.lock()
            try:
                tail = self._live.tail(fd, size)
                if tail.torn:
                    tail = self._live.recover(fd, tail, entries[0])
                cuts = self._cuts(fd, tail.end, pieces)
                for piece, start, end in cuts:
                    self._write_month(fd, piece, start, end)
                sync_dir(self._path.parent)  # the months first: they are not to go with the rows
                return self._replace(fd, cuts[-1][2], tail, ready, pieces[-1].last_seq)
            finally:
                self._live.close()  # and its lock
        except OSError as error:
            raise self._live.write_failed(error) from error

    def _cuts(
        self, fd: int, end: int, pieces: Sequence[MonthPiece]
    ) -> list[tuple[MonthPiece, int, int]]:
        """Each piece with its place in the live file, where its bytes are found to be."""
        found, at = [], len(HEADER)
        for piece in pieces:
            stop = at + piece.size - len(HEADER)
            if stop > end or _digest(fd, at, stop, HEADER) != piece.sha256:
                raise LedgerMoved(
                    f"The month {piece.month} was not sealed; nothing was changed.",
                    why=f"The ledger {self._path} does not begin with its rows any more.",
                    fix="Run `yoyo ledger seal` again.",
                )
            found.append((piece, at, stop))
            at = stop
        return found

    def _write_month(self, fd: int, piece: MonthPiece, start: int, end: int) -> None:
        path = sealed_path(self._path, piece.month)
        if self._is_there(fd, piece, start, path):
            return

        def fill(new: int) -> None:
            _write_all(new, HEADER)
            _copy(fd, start, end, new)
            os.fsync(new)
            os.fchmod(new, 0o444)

        self._in_place(path, fill)

    def _is_there(self, fd: int, piece: MonthPiece, start: int, path: Path) -> bool:
        try:
            there = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        try:
            size = os.fstat(there).st_size
            digest = _digest(there, 0, size)
            if size == piece.size and digest == piece.sha256:
                os.fchmod(there, 0o444)
                os.fsync(there)
                return True
            stop = start + size - len(HEADER)
            if len(HEADER) <= size < piece.size and digest == _digest(fd, start, stop, HEADER):
                # A sealing was cut off before its last step, and rows of a clock behind
                # ours came after it. The live file has all that this one has.
                return False
        finally:
            os.close(there)
        raise MonthSealed(
            f"The month {piece.month} was not sealed; nothing was changed.",
            why=f"{path} is there with other bytes than the ledger's rows of that month.",
            fix=f"Find out where {path.name} comes from, move it elsewhere, then run "
            "`yoyo ledger verify` and `yoyo ledger seal` again.",
        )

    def _replace(
        self,
        fd: int,
        rest: int,
        tail: Tail,
        ready: Sequence[tuple[Entry, str, str]],
        sealed_seq: int,
    ) -> list[Row]:
        rows: list[Row] = []
        content, seq, prev = b"", tail.seq, tail.row_hash
        for entry, event_id, text in ready:
            now, seq = self._clock.now(), seq + 1
            line = encode_row(text, event_id=event_id, timestamp=now, seq=seq, prev_hash=prev)
            prev = hash_of(line)
            content += line
            rows.append(Row(entry, event_id, now, seq, prev, seq - sealed_seq + 1))
        old = os.fstat(fd)

        def fill(new: int) -> None:
            # Locked until the directory is on the disk: a row that another process adds to
            # this file is not to be reported while the old one may come back.
            fcntl.flock(new, fcntl.LOCK_EX)
            _write_all(new, HEADER)
            _copy(fd, rest, tail.end, new)
            _write_all(new, content)
            if (os.geteuid(), os.getegid()) != (old.st_uid, old.st_gid):
                _try_to_give(new, old.st_uid, old.st_gid)
            os.fchmod(new, old.st_mode & 0o7777)
            os.fsync(new)

        self._in_place(self._path, fill, sync=True)
        return rows

    def _in_place(self, path: Path, fill: Callable[[int], None], *, sync: bool = False) -> None:
        """Make a file under another name and give it its name in one step."""
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)  # of a sealing that was cut off; it may be read-only
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        new = os.open(part, flags, 0o600)
        try:
            try:
                fill(new)
                part.replace(path)
            except OSError:
                part.unlink(missing_ok=True)
                raise
            if sync:
                self._confirm()
        finally:
            os.close(new)

    def _confirm(self) -> None:
        try:
            sync_dir(self._path.parent)
        except OSError as error:
            raise LedgerWriteFailed(
                f"Months of {self._path} were sealed, and the disk did not confirm it.",
                why=f"{error.strerror or error}: after a power cut they may be unsealed again.",
                fix="Check the disk, then run `yoyo ledger verify`.",
            ) from error


def _try_to_give(fd: int, user: int, group: int) -> None:
    try:
        os.fchown(fd, user, group)
    except PermissionError:
        pass  # not root: whoever may replace the file has it now


def _digest(fd: int, start: int, end: int, head: bytes = b"") -> str:
    digest = sha256(head)
    for at in range(start, end, _COPY_BYTES):
        digest.update(os.pread(fd, min(_COPY_BYTES, end - at), at))
    return digest.hexdigest()


def _copy(source: int, start: int, end: int, target: int) -> None:
    for at in range(start, end, _COPY_BYTES):
        _write_all(target, os.pread(source, min(_COPY_BYTES, end - at), at))


def _write_all(fd: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]
