"""Checksums of objects as Cloud Storage keeps them: CRC32C, which composes, and MD5."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

import google_crc32c

# The Castagnoli polynomial (RFC 3720, B.4), its highest power in the lowest bit.
POLYNOMIAL = 0x82F63B78
ONE = 1 << 31


class Sums:
    """Of bytes that come piece by piece. Without `md5`, no MD5 is kept: it costs the most."""

    def __init__(self, md5: bool = True) -> None:
        self.size = 0
        self._crc = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    def update(self, piece: bytes) -> None:
        self.size += len(piece)
        self._crc = int(google_crc32c.extend(self._crc, piece))
        if self._md5 is not None:
            self._md5.update(piece)

    def fields(self) -> dict[str, str]:
        """The resource's `crc32c` and `md5Hash`."""
        found = {"crc32c": encoded(self._crc)}
        if self._md5 is not None:
            found["md5Hash"] = base64.b64encode(self._md5.digest()).decode()
        return found


def encoded(crc: int) -> str:
    """A CRC as resources have it: base64 of its big-endian bytes."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def decoded(text: str) -> int:
    return int.from_bytes(base64.b64decode(text), "big")


def combined(parts: Iterable[tuple[str, int]]) -> str:
    """The CRC of the concatenation of parts, from each one's CRC and size.

    A CRC is a remainder in GF(2)[x]: what comes before n bytes counts x^8n times.
    """
    crc = 0
    for text, size in parts:
        crc = _product(_power(8 * size), crc) ^ decoded(text)
    return encoded(crc)


def _product(first: int, second: int) -> int:
    """Of two polynomials, modulo POLYNOMIAL."""
    total = 0
    while first:
        if first & ONE:
            total ^= second
        first = (first << 1) & 0xFFFFFFFF
        second = second >> 1 ^ (POLYNOMIAL if second & 1 else 0)
    return total


def _power(exponent: int) -> int:
    """x to that power, modulo POLYNOMIAL."""
    result, square = ONE, ONE >> 1
    while exponent:
        if exponent & 1:
            result = _product(result, square)
        square = _product(square, square)
        exponent >>= 1
    return result
