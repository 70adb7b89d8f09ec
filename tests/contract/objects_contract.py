"""What a driver must bring to be held against the objects port: a rig, one per driver."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from fake_gcs import FakeGcs

from yoyo.drivers.files.objects import FileObjects
from yoyo.drivers.gcs.objects import GcsObjects
from yoyo.ports.objects import Objects, Upload

CHUNK = 100_003  # bytes; a prime, so that nothing fits by chance
BUCKET = "yoyo-store"


@dataclass(frozen=True)
class Rig:
    """`objects` makes a driver as a new command would; `code` does so in another process."""

    objects: Callable[[], Objects]
    code: str

    def run(self, script: str, *args: object) -> subprocess.Popen[str]:
        """Another process, in which `objects` is a driver of the same store."""
        return subprocess.Popen(
            [sys.executable, "-c", f"{self.code}\n{script}", *map(str, args)],
            stdout=subprocess.PIPE,
            text=True,
        )


@contextmanager
def file(tmp_path: Path) -> Iterator[Rig]:
    url = f"file://{tmp_path}/a store/it is/"
    code = (
        "from yoyo.drivers.files.objects import FileObjects\n"
        f"def objects(chunk_bytes): return FileObjects({url!r}, chunk_bytes=chunk_bytes)"
    )
    yield Rig(lambda: FileObjects(url, chunk_bytes=CHUNK), code)


@contextmanager
def gcs(tmp_path: Path) -> Iterator[Rig]:
    """Google's own client library, and the lab's fake of the service."""
    url = f"gs://{BUCKET}/some/prefix"
    made: list[GcsObjects] = []
    # Whoever runs the tests may have credentials of Google's.
    without = {"GOOGLE_APPLICATION_CREDENTIALS": "", "CLOUDSDK_CONFIG": str(tmp_path)}
    with FakeGcs(tmp_path / "gcs", md5=False) as fake, patch.dict(os.environ, without):
        fake.add_bucket(BUCKET)

        def objects() -> GcsObjects:
            made.append(GcsObjects(url, endpoint=fake.url, chunk_bytes=CHUNK))
            return made[-1]

        code = (
            "from yoyo.drivers.gcs.objects import GcsObjects\n"
            "def objects(chunk_bytes):\n"
            f"    return GcsObjects({url!r}, endpoint={fake.url!r}, chunk_bytes=chunk_bytes)"
        )
        try:
            yield Rig(objects, code)
        finally:
            for each in made:
                each.close()


RIGS: dict[str, Callable[[Path], AbstractContextManager[Rig]]] = {"file": file, "gcs": gcs}


@dataclass(frozen=True)
class Source:
    """A file with something in it, and its chunks."""

    path: Path
    data: bytes
    chunks: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"artefacts/sha256/aa/{hashlib.sha256(self.data).hexdigest()}"

    def put(self, upload: Upload, index: int) -> None:
        start = index * CHUNK
        length = min(CHUNK, len(self.data) - start)
        upload.put(index, self.path, start, length, self.chunks[index])

    def put_all(self, upload: Upload, threads: int = 1) -> None:
        with ThreadPoolExecutor(threads) as pool:
            order = random.Random(1).sample(range(len(self.chunks)), len(self.chunks))
            for done in [pool.submit(self.put, upload, index) for index in order]:
                done.result()


def source(tmp_path: Path, size: int, seed: int = 0) -> Source:
    data = random.Random(seed).randbytes(size)
    path = tmp_path / f"source-{size}-{seed}"
    path.write_bytes(data)
    pieces = [data[at : at + CHUNK] for at in range(0, size, CHUNK)]
    return Source(path, data, tuple(hashlib.sha256(piece).hexdigest() for piece in pieces))
