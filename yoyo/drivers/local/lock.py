"""The lock that says that a supervisor lives.

An open-file-description lock: it belongs to the open file, is inherited with it, and is
free the moment the last process that has it open is dead. Unlike flock(2) it can be asked
about without being taken, so that looking never gets in the way of a start.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

# struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi4x"


def is_locked(path: Path) -> bool:
    """Whether a supervisor holds the lock, found out without taking it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def open_lock(path: Path) -> tuple[int, bool]:
    """The lock file's descriptor, and whether the lock is now ours."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            taken = _try_lock(lock)
        except OSError:
            os.close(lock)
            raise
        # One that `delete` has removed meanwhile is no lock: the next creator makes another.
        if not taken or os.fstat(lock).st_nlink:
            return lock, taken
        os.close(lock)


def _try_lock(descriptor: int) -> bool:
    """Take the lock for this open file description, which children inherit."""
    wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
