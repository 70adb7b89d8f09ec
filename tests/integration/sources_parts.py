"""What the tests of sources share: some bytes, and sources without a hub."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from yoyo.drivers.sources.resolve import WeightSources
from yoyo.errors import SourceFailed

DATA = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(DATA).hexdigest()


def sources(
    env: dict[str, str] | None = None,
    *,
    endpoint: str | None = None,
    credentials: Path | None = None,
) -> WeightSources:
    return WeightSources(
        hub=None,
        hub_mirrors=(),
        storage_endpoint=endpoint,
        storage_credentials=credentials,
        env=env or {},
    )


def refused(
    source: str, *, sha256: str | None = None, mirrors: tuple[str, ...] = ()
) -> SourceFailed:
    with pytest.raises(SourceFailed) as caught:
        sources().resolve(source, sha256=sha256, mirrors=mirrors)
    error = caught.value
    assert error.why
    assert error.fix
    assert "secret" not in f"{error} {error.why} {error.fix} {error.details}"
    return error
