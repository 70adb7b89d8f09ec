"""Disks that fill up on the way: what is there stays, the ledger is sound, and it can go on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nginx_parts import Nginx
from store_parts import (
    MIB,
    Place,
    Quiet,
    ask,
    cheap,
    context,
    digest,
    in_child,
    outcome,
    rows,
    strict,
)

from yoyo.errors import StoreFull
from yoyo.model.store import CHUNK_BYTES
from yoyo.ops import shelf
from yoyo.ops.weights_stage import stage

SIZE = CHUNK_BYTES + 6 * MIB
# What a transfer asks to be free beside its own size, and some air.
ROOM = SIZE + 256 * MIB + 8 * MIB
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS of sched.h


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("web"), rate="16m") as served:
        yield served


@pytest.fixture(scope="module")
def sha256(web: Nginx) -> str:
    return cheap(web.files / "file.bin", SIZE)


def mount(where: Path, size: int) -> None:
    """A small disk, in a mount namespace of this process alone. Needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(_NEW_MOUNTS) == 0, os.strerror(ctypes.get_errno())
    where.mkdir(parents=True)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    options = ["-t", "tmpfs", "-o", f"size={size}"]
    subprocess.run(["mount", *options, "none", str(where)], check=True)


class Filling(Quiet):
    """Somebody else fills the disk when that share of the transfer is done."""

    def __init__(self, filler: Path, share: float) -> None:
        super().__init__()
        self._filler, self._share = filler, share

    def bytes(self, name: str, done: int, total: int | None) -> None:
        if not self._filler.exists() and done >= self._share * SIZE:
            with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(MIB)):
                    continue


def full_then_roomy(place: Place, disk: Path, url: str, sha256: str, share: float) -> None:
    mount(disk, ROOM)
    filler = disk / "filler"
    ctx = context(place, progress=Filling(filler, share))
    with pytest.raises(StoreFull) as caught:
        stage(ctx, ask("file", url, sha256=sha256))
    assert caught.value.fix
    assert rows(ctx)[-1] == "JOB_COMPLETE stage/bytes/file error STAGE_FAILED"
    assert list(shelf.names(ctx.store)) == []
    strict(ctx)
    filler.unlink()
    ctx = context(place)
    stage(ctx, ask("file", url, sha256=sha256))
    assert digest(place.artefact(sha256)) == sha256
    assert place.leftovers() == []
    strict(ctx)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_where_the_transfer_comes_in(web: Nginx, sha256: str, tmp_path: Path, share: float) -> None:
    place, url = Place(tmp_path), f"{web.url}/slow/file.bin"
    # At the very end aria2 may have written all it needs: then nothing is left to fail here.
    share = min(share, 0.95)
    assert (
        outcome(in_child(lambda: full_then_roomy(place, tmp_path / "state", url, sha256, share)))
        == 0
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_where_the_store_is(web: Nginx, sha256: str, tmp_path: Path, share: float) -> None:
    place, url = Place(tmp_path), f"{web.url}/slow/file.bin"
    share = min(share, 0.9)  # the last chunk is 6 MiB of 70
    assert (
        outcome(in_child(lambda: full_then_roomy(place, tmp_path / "store", url, sha256, share)))
        == 0
    )


@pytest.mark.parametrize("which", ["state", "store"])
def test_too_little_room_is_said_before_the_first_byte(
    web: Nginx, sha256: str, tmp_path: Path, which: str
) -> None:
    def work() -> None:
        mount(tmp_path / which, SIZE // 2)
        place = Place(tmp_path)
        ctx = context(place)
        before = sum(each.sent for each in web.requests("/file.bin"))
        with pytest.raises(StoreFull) as caught:
            stage(ctx, ask("file", f"{web.url}/file.bin", sha256=sha256))
        assert "free" in caught.value.why
        assert sum(each.sent for each in web.requests("/file.bin")) - before < CHUNK_BYTES
        assert place.artefacts() == []
        strict(ctx)

    assert outcome(in_child(work)) == 0
