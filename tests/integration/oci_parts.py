"""What the tests of the registry driver share: a clock that does not wait, blobs, a client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from yoyo.core.oci_manifest import EMPTY_BYTES, build_manifest, digest_of
from yoyo.drivers.oci.credentials import Credentials
from yoyo.drivers.oci.registry import HttpRegistry
from yoyo.drivers.oci.session import Session
from yoyo.model.oci import EMPTY_CONFIG, IMAGE_MANIFEST, Descriptor, Reference

KIND = "application/vnd.example.thing"
CONFIG = Descriptor(EMPTY_CONFIG, digest_of(EMPTY_BYTES), len(EMPTY_BYTES))


class HastyClock:
    """Real time, and sleeps of a hundredth of what was asked, which are written down."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        time.sleep(seconds / 100)


@contextmanager
def client(home: Path, clock: HastyClock | None = None) -> Iterator[HttpRegistry]:
    """A registry client without credentials, with a session of its own."""
    clock = clock or HastyClock()
    env = {"HOME": str(home)}
    with Session(
        credentials=Credentials(env=env), clock=clock.monotonic, sleep=clock.sleep
    ) as session:
        yield HttpRegistry(session, locks=home / "locks", clock=clock)


def described(data: bytes, media_type: str = KIND) -> Descriptor:
    return Descriptor(media_type, digest_of(data), len(data))


def noise(size: int) -> bytes:
    return os.urandom(size)


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


def put(registry: HttpRegistry, ref: Reference, data: bytes) -> tuple[Descriptor, Descriptor]:
    """An artefact with one layer; the descriptors of its manifest and of the layer."""
    layer = described(data)
    registry.push(ref, layer, data, silent)
    registry.push(ref, CONFIG, EMPTY_BYTES, silent)
    document = build_manifest(artifact_type=KIND, config=CONFIG, layers=(layer,))
    return registry.put_manifest(ref, document, IMAGE_MANIFEST), layer


def referring(subject: Descriptor, note: str) -> bytes:
    """A manifest without content of its own that refers to another."""
    return build_manifest(
        artifact_type=KIND,
        config=CONFIG,
        layers=(CONFIG,),
        subject=subject,
        annotations=(("note", note),),
    )
