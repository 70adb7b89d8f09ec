"""What was read of a ledger once, kept beside it: a cache that may be deleted at any time.

`LEDGER.cache/state.rows` has the lines that the state is made of, up to one row, and what each
stretch of rows can hold. It counts while that row still has its hash and the sealed months are
the same files; its lines count while they stand in the ledger, byte for byte. What follows that
row is read from the ledger. ADR 0023 gives the reasons.

The file: the lines, those of open jobs, where each of the first stands, fingerprints of inputs, one
line of JSON about all of these, and the CRC-32 of everything before it.
"""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from yoyo.core.ledger_zones import PRINT_BYTES, Bounds, Zone
from yoyo.drivers.files import ledger_sections
from yoyo.drivers.files.ledger_scan import offset_of
from yoyo.drivers.files.ledger_sections import Section, Sections, is_large, size_of
from yoyo.drivers.files.lines import LineBlocks, line_seq, stored_hash_at

if TYPE_CHECKING:
    from yoyo.drivers.files.ledger_keep import Keeper

FORMAT = "yoyo-state-1"
# With more jobs open at once nothing is kept; each of them is looked up when it is read.
MAX_HELD = 1000
# What comes of content that is not as written here.
_ODD = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
_CRC_BYTES = 9  # eight hex digits and the newline
_BLOCK = 1 << 18


class Identity(NamedTuple):
    """Which file a sealed month is, and that nobody wrote to it."""

    name: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Known(NamedTuple):
    """An open cache that fits the ledger."""

    fd: int
    seq: int  # the newest row that it knows of
    row_hash: str  # of that
    told_bytes: int
    held_bytes: int
    places_bytes: int
    open_told: list[bytes]  # as of `StateRows`
    verified: object  # whatever JSON has there
    zones: list[Zone]
    section: Section  # in which row `seq` stands
    after: int  # the offset in it at which the row after `seq` begins

    def told(self) -> Iterator[list[bytes]]:
        """The lines that the state is made of, in blocks."""
        return _lines(self.fd, 0, self.told_bytes)

    def held(self) -> list[bytes]:
        """The lines of the starts of jobs that were open at that row."""
        blocks = _lines(self.fd, self.told_bytes, self.told_bytes + self.held_bytes)
        return [raw for block in blocks for raw in block]

    def stands(self, sections: Sections) -> bool:
        """Whether all these lines are in the ledger, as they were read."""
        place = Places(sections)
        known = array("Q", self.places())
        at = 0
        for block in self.told():
            for raw in block:
                if at >= len(known) or place.line(known[at], len(raw) + 1) != raw + b"\n":
                    return False
                at += 1
        return at == len(known) and all(_is_there(sections, raw) for raw in self.held())

    def places(self) -> bytes:
        """Where each line of `told` stands, as `Places` counts."""
        return os.pread(self.fd, self.places_bytes, self.told_bytes + self.held_bytes)

    @property
    def _prints_at(self) -> int:
        return self.told_bytes + self.held_bytes + self.places_bytes

    def prints(self, number: int) -> bytes:
        """The fingerprints of the inputs in that zone."""
        at = self._prints_at
        at += PRINT_BYTES * sum(zone.prints for zone in self.zones[:number])
        return os.pread(self.fd, PRINT_BYTES * self.zones[number].prints, at)

    def all_prints(self) -> bytes:
        """Those of all zones."""
        count = sum(zone.prints for zone in self.zones)
        return os.pread(self.fd, PRINT_BYTES * count, self._prints_at)


class Places:
    """Bytes of rows counted over all files, headers left out: sealing changes no row's place."""

    def __init__(self, sections: Sections) -> None:
        self._files: list[tuple[int, Section]] = []
        self._above: list[int] = []
        above = 0
        for section in sections.files:
            start = section.start
            self._files.append((start - above, section))
            self._above.append(above)
            above += section.end - start

    def of(self, number: int, offset: int) -> int:
        """The place of what begins at that offset of the file of that number."""
        return offset - self._files[number][0]

    def line(self, place: int, length: int) -> bytes:
        """So many bytes from there."""
        ahead, section = self._files[bisect_right(self._above, place) - 1]
        return os.pread(section.fd, length, place + ahead)


def _is_there(sections: Sections, raw: bytes) -> bool:
    seq = line_seq((raw, b"\n", b""))
    for section in sections.files:
        if seq is not None and (section.last_seq is None or seq <= section.last_seq):
            at = offset_of(section, seq)
            return at is not None and os.pread(section.fd, len(raw), at) == raw
    return False


def folder_of(path: Path) -> Path:
    """Where what is known of that ledger is kept."""
    return path.with_name(f"{path.stem}.cache")


def cache_path(path: Path) -> Path:
    """The file with the lines that the state is made of."""
    return folder_of(path) / "state.rows"


def identities(sections: Sections) -> list[Identity]:
    """Of the sealed months."""
    found = []
    for section in sections.files:
        if section.month is not None:
            about = os.fstat(section.fd)
            stamps = (about.st_mtime_ns, about.st_ctime_ns)
            found.append(Identity(section.path.name, about.st_ino, about.st_size, *stamps))
    return found


@contextmanager
def opened(path: Path, sections: Sections) -> Iterator[Known | None]:
    """What is known of that ledger; None where nothing is, or what is there does not fit."""
    fd = -1
    if is_large(sections):
        with suppress(OSError):
            fd = os.open(cache_path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    if fd < 0:
        yield None
        return
    try:
        yield _read(fd, sections)
    finally:
        os.close(fd)


def _read(fd: int, sections: Sections) -> Known | None:
    try:
        about = _about(fd, sections)
        if about is None or not _fits(about, sections):
            return None
        zones = [
            Zone(int(first), int(last), Bounds(*times), Bounds(*events), Bounds(*jobs), int(prints))
            for first, last, times, events, jobs, prints in about["zones"]
        ]
        told, held, places = (int(about[name]) for name in ("told", "held", "places"))
        if min(told, held, places) < 0 or places % array("Q").itemsize:
            return None
        prints = PRINT_BYTES * sum(zone.prints for zone in zones)
        if told + held + places + prints != about["body"] or not _cover(zones, about):
            return None
        seq, row_hash = int(about["seq"]), str(about["row_hash"])
        opened_told = [job.encode() for job in about["open_told"]]
        found = row_end(sections, seq, row_hash)
        if found is None:
            return None
        return Known(
            fd, seq, row_hash, told, held, places, opened_told, about["verified"], zones, *found
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ):
        return None


def _about(fd: int, sections: Sections) -> dict[str, Any] | None:
    """The line about it all; None if the file is damaged, or another's than the ledger's."""
    here, owner = os.fstat(fd), os.fstat(sections.files[-1].fd).st_uid
    # Whoever else may write to the folder is not to say what the ledger holds.
    if not stat.S_ISREG(here.st_mode) or here.st_uid not in (owner, os.geteuid()):
        return None
    end = here.st_size - _CRC_BYTES
    crc = 0
    for at in range(0, max(end, 0), _BLOCK):
        crc = crc32(os.pread(fd, min(_BLOCK, end - at), at), crc)
    if end <= 0 or os.pread(fd, _CRC_BYTES, end) != b"%08x\n" % crc:
        return None
    import json

    length = int(os.pread(fd, 20, end - 20))
    about = json.loads(os.pread(fd, length, end - 20 - length))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        return None
    return {**about, "body": end - 20 - length}


def _cover(zones: list[Zone], about: dict[str, Any]) -> bool:
    """Whether every row is in one of the zones."""
    ends = [about["first_seq"] - 1, *(zone.last for zone in zones)]
    follows = all(zone.first == above + 1 for above, zone in zip(ends, zones, strict=False))
    return follows and bool(ends[-1] == about["seq"])


def _fits(about: dict[str, Any], sections: Sections) -> bool:
    """Whether it is of these files: the same first row, and no sealed month that was touched."""
    known = {Identity(*each) for each in about["sealed"]}
    return bool(about["first_seq"] == sections.first_seq and known <= set(identities(sections)))


def row_end(sections: Sections, seq: int, row_hash: str) -> tuple[Section, int] | None:
    """Where the ledger goes on after that row; None: it has another there, or none."""
    for section in sections.files:
        if section.first_seq <= seq and (section.last_seq is None or seq <= section.last_seq):
            at = offset_of(section, seq)
            found = None if at is None else stored_hash_at(section.fd, at, section.end)
            if at is not None and found is not None and found[0] == row_hash:
                return section, found[1]
    return None


def _lines(fd: int, start: int, end: int) -> Iterator[list[bytes]]:
    for block in LineBlocks(fd, start, end):
        yield block.split(b"\n")


@contextmanager
def keeping(
    path: Path, sections: Sections, known: Known | None, *, always: bool = False
) -> Iterator[Keeper | None]:
    """Whoever keeps what is read after `known`; None where that is not worth it, or refused.

    `always`: it is worth it, however little is new.

    Only the ledger's owner keeps anything, so that no auditor leaves files that are not the
    operator's.
    """
    new = size_of(sections)
    if known is not None:
        before = sum(
            each.end for each in sections.files if each.first_seq < known.section.first_seq
        )
        # As much as is written anew with it: so writing never costs more than reading.
        new -= before + known.after + os.fstat(known.fd).st_size
    if (new < ledger_sections.WORTH_BYTES and not always) or os.fstat(
        sections.files[-1].fd
    ).st_uid != os.geteuid():
        yield None
        return
    from yoyo.drivers.files.ledger_keep import Keeper

    keeper = Keeper(cache_path(path), sections, known)
    try:
        yield keeper
    finally:
        keeper.discard()
