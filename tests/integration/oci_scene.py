"""A client, a proxy that can be told to misbehave, and a registry that has one blob."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_registry import FaultyProxy
from oci_parts import described, noise, silent

from yoyo.drivers.oci.registry import HttpRegistry
from yoyo.errors import (
    YoyoError,
)
from yoyo.model.oci import Descriptor, Reference

DATA = noise(2_000_000)
BLOB = described(DATA)
BLOBS = "/blobs/sha256:"
UPLOADS = "/blobs/uploads/"


class Scene:
    """A client that reaches a registry through a proxy, which has no faults yet."""

    def __init__(self, proxy: FaultyProxy, registry: HttpRegistry, name: str, home: Path) -> None:
        self.proxy = proxy
        self.registry = registry
        self.ref = Reference(proxy.host, f"adapters/{name}", "1.0.0")
        self.target = home / "target"
        self.part = home / "target.part"

    def pull(self, blob: Descriptor = BLOB) -> bytes:
        self.registry.pull(self.ref, blob, self.target, silent)
        return self.target.read_bytes()

    def push(self, data: bytes = DATA) -> None:
        self.registry.push(self.ref, described(data), data, silent)

    def refused(self, kind: type[YoyoError], act: Callable[[], object]) -> YoyoError:
        with pytest.raises(kind) as caught:
            act()
        assert not self.target.exists()
        return caught.value
