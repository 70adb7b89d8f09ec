"""RFC 9562: version, variant, time and order of a UUIDv7."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.uuid7 import RANDOM_BYTES, uuid7
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds

MOMENTS = st.integers(0, 2**48 - 1)
RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


def test_the_example_of_the_rfc() -> None:
    # RFC 9562, appendix A.6: rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F, 2022-02-22T19:22:22Z
    random = ((0xCC3 << 64) | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert uuid7(0x017F22E279B0, random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(MOMENTS, RANDOM)
def test_it_is_a_version_7_of_that_time(unix_ms: int, random: bytes) -> None:
    made = uuid.UUID(uuid7(unix_ms, random))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == unix_ms
    assert str(made) == uuid7(unix_ms, random)


@given(MOMENTS, MOMENTS, RANDOM, RANDOM)
def test_text_order_is_time_order(a: int, b: int, x: bytes, y: bytes) -> None:
    if a < b:
        assert uuid7(a, x) < uuid7(b, y)


@pytest.mark.parametrize(
    ("unix_ms", "random"), [(-1, b"0" * 10), (2**48, b"0" * 10), (0, b"0" * 9), (0, b"0" * 11)]
)
def test_what_does_not_fit_is_refused(unix_ms: int, random: bytes) -> None:
    with pytest.raises(ValueError, match="UUIDv7"):
        uuid7(unix_ms, random)


def test_ids_of_the_system_carry_its_time_and_differ() -> None:
    clock = SystemClock()
    before = clock.now()
    made = [SystemIds(clock).new_id() for _ in range(100)]
    after = clock.now()
    assert len(set(made)) == 100
    for text in made:
        ms = uuid.UUID(text).int >> 80
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
        assert before - timedelta(milliseconds=1) <= at <= after
