"""UUID version 7 (RFC 9562, section 5.7): ids that sort by the time they were made. Pure."""

from __future__ import annotations

RANDOM_BYTES = 10
_VERSION = 7 << 76
_VARIANT = 0b10 << 62
_RAND_A = ((1 << 12) - 1) << 64
_RAND_B = (1 << 62) - 1


def uuid7(unix_ms: int, random: bytes) -> str:
    """Return the UUIDv7 of that moment in lowercase canonical form (36 characters).

    `unix_ms` is milliseconds since 1970-01-01 UTC. 74 bits of `random` are used, from
    RANDOM_BYTES bytes: 12 for rand_a and 62 for rand_b.

    Raises:
        ValueError: the time does not fit 48 bits, or `random` is not RANDOM_BYTES long.
    """
    if not 0 <= unix_ms < 1 << 48:
        raise ValueError(f"{unix_ms} ms does not fit the 48 bits of a UUIDv7")
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a UUIDv7 needs {RANDOM_BYTES} random bytes, not {len(random)}")
    bits = int.from_bytes(random, "big")
    value = unix_ms << 80 | _VERSION | bits & _RAND_A | _VARIANT | bits & _RAND_B
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
