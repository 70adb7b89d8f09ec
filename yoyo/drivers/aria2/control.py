"""aria2's control file, which says what of a half-fetched file is on the disk.

aria2 writes it a second after it began. Killed before that it leaves a file with holes and no word
of them, and takes it at the next start for whole up to its length. So it is written here first.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

# aria2's manual, technical notes, version 1: version, extension, length of the info hash (none
# here), length of a piece, total length, uploaded, length of the bit field; all big-endian.
_HEAD: Final = struct.Struct(">HIIIQQI")
_PIECES_IN_FLIGHT: Final = struct.Struct(">I")
PIECE_BYTES: Final = 1 << 20


def control_of(target: Path) -> Path:
    """Where aria2 keeps the control file of a target."""
    return target.with_name(target.name + ".aria2")


def prepare(target: Path, total: int | None, *, ranges: bool) -> bool:
    """Make target and control file agree, and say whether the target is whole already.

    `total`: bytes of the source, None: unknown. Without `ranges` nothing can go on: what is there
    is removed.

    Raises:
        OSError.
    """
    control = control_of(target)
    if total is None or not ranges:
        control.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        return False
    there = target.stat().st_size if target.is_file() and not target.is_symlink() else None
    if control.exists():
        if there is not None and there <= total == _total(control):
            return False
    elif there == total:
        # aria2 removes the control file when all is there, and not before.
        return True
    target.unlink(missing_ok=True)
    _begin(control, total)
    # After the control file: alone and empty it would be whole where the source is empty.
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return False


def _total(control: Path) -> int | None:
    """Bytes that the control file is about; None: it is torn, or not of our kind."""
    with control.open("rb") as file:
        raw = file.read(_HEAD.size)
    if len(raw) < _HEAD.size:
        return None
    version, _, hash_bytes, piece, total, _, field_bytes = _HEAD.unpack(raw)
    size = control.stat().st_size
    pieces = -(-total // piece) if piece else -1
    good = (
        version == 1
        and hash_bytes == 0
        and field_bytes == -(-pieces // 8)
        and size >= _HEAD.size + field_bytes + _PIECES_IN_FLIGHT.size
    )
    return int(total) if good else None


def _begin(control: Path, total: int) -> None:
    pieces = -(-total // PIECE_BYTES)
    field = bytes(-(-pieces // 8))
    new = control.with_name(control.name + ".new")
    new.write_bytes(
        _HEAD.pack(1, 0, 0, PIECE_BYTES, total, 0, len(field)) + field + _PIECES_IN_FLIGHT.pack(0)
    )
    new.replace(control)
