"""Writes down what was read of a ledger, for `ledger_cache` to find."""

from __future__ import annotations

import json
import os
import time
from array import array
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from zlib import crc32

from yoyo.core.ledger_zones import Zone, ZoneMaker
from yoyo.drivers.files.ledger_cache import FORMAT, MAX_HELD, Known, Places, identities
from yoyo.drivers.files.ledger_sections import Sections

if TYPE_CHECKING:
    from yoyo.core.ledger_state import StateRows

# What a killed process left is removed after so long.
_STALE_S = 3600


class Keeper:
    """A `Watch` that writes beside the cache and takes its place at the end.

    What cannot be written is not kept, and no error: the ledger itself says the same.
    """

    def __init__(self, path: Path, sections: Sections, known: Known | None) -> None:
        self._path, self._sections, self._known = path, sections, known
        self._part = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}.part")
        self._maker = ZoneMaker(sections.first_seq if known is None else known.seq + 1)
        if known is not None:
            self._maker.row_hash = known.row_hash
        self._zones: list[Zone] = [] if known is None else list(known.zones)
        self._prints = [b"" if known is None else known.all_prints()]
        self._place = Places(sections)
        self._places = array("Q", b"" if known is None else known.places())
        self._block, self._at, self._seen = b"", 0, 0
        self._file: BinaryIO | None = None
        self._crc = self._told = 0
        self._whole = True  # until a bad row shows
        try:
            path.parent.mkdir(exist_ok=True)
            _tidy(path)
            self._file = self._part.open("xb")
            # The lines are the ledger's: nobody may read them who may not read that.
            os.fchmod(self._file.fileno(), os.fstat(sections.files[-1].fd).st_mode & 0o666)
            for block in known.told() if known is not None else ():
                self._write(b"\n".join(block) + b"\n")
        except OSError:
            self.discard()

    def rows(self, columns: list[list[bytes]]) -> None:
        """Of the rows that are fed."""
        if self._file is not None:
            full = self._maker.rows(columns)
            if full is not None:
                self._zones.append(full[0])
                self._prints.append(full[1])

    def reads(self, number: int, offset: int, block: bytes) -> None:
        """The block that is fed next begins at that offset of the file of that number."""
        self._block, self._at, self._seen = block, self._place.of(number, offset), 0

    def told(self, raw: bytes) -> None:
        """Of a line that came out."""
        self._seen = max(self._block.find(raw, self._seen), 0)
        self._places.append(self._at + self._seen)
        with suppress(OSError):
            self._write(raw + b"\n")
            return
        self.discard()

    def bad(self) -> None:
        """A ledger with a line that is no row is read anew each time."""
        self._whole = False

    def _write(self, data: bytes, *, told: bool = True) -> None:
        if self._file is not None:
            self._file.write(data)
            self._crc = crc32(data, self._crc)
            self._told += len(data) if told else 0

    def finish(self, state: StateRows, verified: object = None) -> None:
        """Put it in its place; `verified` says how far the ledger was verified, and when."""
        too_many = len(state.held) > MAX_HELD
        if too_many or not self._whole or not self._maker.sound or not self._maker.row_hash:
            self.discard()
        if self._file is None:
            return
        try:
            self._finish(state, verified)
            self._file.close()
            self._part.replace(self._path)
            self._file = None
        except OSError:
            self.discard()

    def _finish(self, state: StateRows, verified: object) -> None:
        last = self._maker.end()
        if last is not None:
            self._zones.append(last[0])
            self._prints.append(last[1])
        held = b"".join(raw + b"\n" for raw in state.held)
        self._write(held, told=False)
        self._write(self._places.tobytes(), told=False)
        for each in self._prints:
            self._write(each, told=False)
        about = {
            "format": FORMAT,
            "first_seq": self._sections.first_seq,
            "seq": (self._maker.next_seq or 1) - 1,
            "row_hash": self._maker.row_hash,
            "sealed": identities(self._sections),
            "told": self._told,
            "held": len(held),
            "places": len(self._places) * self._places.itemsize,
            "open_told": [job.decode() for job in state.open_told],
            "zones": self._zones,
            "verified": verified,
        }
        text = json.dumps(about, separators=(",", ":")).encode()
        self._write(text + b"%20d" % len(text), told=False)
        assert self._file is not None  # noqa: S101 - as `finish` saw
        self._file.write(b"%08x\n" % self._crc)

    def discard(self) -> None:
        """Leave no trace, unless it is in its place already."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
            with suppress(OSError):
                self._part.unlink()


def _tidy(path: Path) -> None:
    now = time.time()
    for left in path.parent.glob(f".{path.name}.*.part"):
        with suppress(OSError):
            if left.stat().st_mtime < now - _STALE_S:
                left.unlink()
