"""Stagings that are killed: at any moment, and between any two writes. The next one ends it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from nginx_parts import Nginx
from store_parts import (
    Fatal,
    Place,
    ask,
    cheap,
    children,
    consistent,
    context,
    digest,
    in_child,
    outcome,
    put,
    rows,
    strict,
)

from yoyo.core.staging import recorded
from yoyo.errors import ArtefactMissing
from yoyo.model.store import CHUNK_BYTES
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_gc import collect, remove
from yoyo.ops.weights_stage import stage
from yoyo.ops.weights_verify import verify

KILLS = int(os.environ.get("YOYO_CRASH_KILLS_STAGE", "200"))
SIZE = CHUNK_BYTES + 1_000_003
KILLED = -signal.SIGKILL


class Told:
    """An upload that writes down which chunks it was given, and which it has acknowledged."""

    def __init__(self, real: Any, log: Path) -> None:
        self._real, self._log = real, log
        self.done, self.abandon = real.done, real.abandon
        self.finish = real.finish

    def put(self, index: int, source: Path, start: int, length: int, sha256: str) -> None:
        self._say(f"sent {index}")
        self._real.put(index, source, start, length, sha256)
        self._say(f"held {index}")

    def _say(self, line: str) -> None:
        with self._log.open("a") as file:
            file.write(line + "\n")


class Telling:
    """A store with such uploads."""

    def __init__(self, real: Any, log: Path) -> None:
        self._real, self._log = real, log

    def upload(self, session: str, size: int) -> Told:
        return Told(self._real.upload(session, size), self._log)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def staging(place: Place, name: str, source: str, sha256: str | None, log: Path) -> None:
    ctx = context(place)
    telling: Any = Telling(ctx.store, log)
    stage(ctx._replace(store=telling), ask(name, source, sha256=sha256))


def kill_after(pid: int, seconds: float) -> bool:
    """Kill the child and all that it started after that time: a power cut. Whether it lived."""
    done = threading.Event()

    def cut() -> None:
        if not done.wait(seconds):
            for each in (*children(pid), pid):
                try:
                    os.kill(each, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    thread = threading.Thread(target=cut)
    thread.start()
    # Not reaped before the thread has ended, so that its number stays its own.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    done.set()
    thread.join()
    code = outcome(pid)
    assert code in (0, KILLED)
    return code == KILLED


def sent_once(log: Path) -> None:
    """Fail where a chunk was sent again after the store had acknowledged it."""
    held: set[str] = set()
    for line in log.read_text().splitlines() if log.exists() else ():
        what, index = line.split()
        assert what == "held" or index not in held, log.read_text()
        if what == "held":
            held.add(index)


class Moments:
    """When to kill: at any time that an undisturbed staging takes, and a little after it."""

    def __init__(self, draw: random.Random, most: int) -> None:
        self._draw, self.left = draw, most
        self._whole: dict[bool, float] = {}

    def next(self, wire: bool) -> float:
        """Seconds from the start."""
        return self._draw.uniform(0, 1.1 * self._whole.get(wire, 60)) if self.left else 3600

    def took(self, wire: bool, seconds: float) -> None:
        """One went through to its end in that time."""
        self._whole[wire] = min(seconds, self._whole.get(wire, seconds))


def one_round(place: Place, name: str, url: str, path: Path, moments: Moments) -> None:
    """Stage that file, killed at those moments until one comes too late."""
    sha256, log = digest(path), place.root / f"{name}.log"
    wire = url.startswith("http")
    expected = sha256 if wire else None
    begun = time.monotonic()
    while kill_after(
        in_child(lambda: staging(place, name, url, expected, log)), moments.next(wire)
    ):
        moments.left -= 1
        consistent(context(place), place)
        begun = time.monotonic()
    moments.took(wire, time.monotonic() - begun)
    sent_once(log)
    ctx = context(place)
    assert digest(place.artefact(sha256)) == sha256
    assert shelf.need(ctx.store, "bytes", name).manifest.files[0].sha256 == sha256
    assert verify(ctx, "bytes", name, deep=False).problems == ()
    assert place.leftovers() == []
    strict(ctx)


@pytest.fixture
def quick() -> Iterator[Path]:
    """A directory in memory where there is one: a killed process leaves there what it would leave
    on a disk, and two hundred of them wait for none.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as made:
        yield Path(made)


def test_killed_at_random_moments(quick: Path) -> None:
    """The seed is random, and told where the test fails."""
    tmp_path = quick
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    moments = Moments(random.Random(seed), KILLS)
    place = Place(tmp_path / "place")
    with Nginx(tmp_path / "web", rate="24m") as web:
        for number in count():
            path = web.files / "file.bin"
            cheap(path, SIZE, number)
            # Some of them go over the wire, which takes longest.
            wire = number % 6 == 0
            url = f"{web.url}/slow/file.bin?{number}" if wire else path.as_uri()
            one_round(place, f"n{number}", url, path, moments)
            if not moments.left:
                break
            ctx = context(place)
            remove(ctx, "bytes", f"n{number}")
            collect(ctx, apply=True, grace=timedelta(0))


def fatal(place: Place, at: int) -> StoreContext:
    """The real parts, which die before or after the n-th write of store or ledger."""
    ctx, counter = context(place), count()
    writes: tuple[str, ...] = ("put", "upload", "delete")
    return ctx._replace(
        store=Fatal(ctx.store, writes, counter, at),
        ledger=Fatal(ctx.ledger, ("append",), counter, at),
    )


def at_every_step(
    tmp_path: Path, before: Callable[[StoreContext], None], work: Callable[[StoreContext], None]
) -> int:
    """Kill that work at each of its writes, and do it again: as if it were done once."""
    for at in count():
        place = Place(tmp_path / str(at))
        before(context(place))
        code = outcome(in_child(lambda place=place, at=at: work(fatal(place, at))))  # type: ignore[misc]
        assert code in (0, KILLED)
        if code == 0:
            return at
        consistent(context(place), place)
        work(context(place))
        ctx = context(place)
        consistent(ctx, place)
        strict(ctx)
        assert place.leftovers() == []
        said = recorded(ctx.ledger.rows())
        names = [each for each in shelf.names(ctx.store) if isinstance(each, shelf.Named)]
        assert said == {(each.kind, each.name): each.digest for each in names}, rows(ctx)
    raise AssertionError


def test_a_first_staging_killed_at_every_step(tmp_path: Path) -> None:
    def work(ctx: StoreContext) -> None:
        put(ctx, "name", "some bytes")

    assert at_every_step(tmp_path, lambda ctx: None, work) >= 10


def test_a_replacement_killed_at_every_step(tmp_path: Path) -> None:
    def work(ctx: StoreContext) -> None:
        put(ctx, "name", "two", replace=True)

    assert at_every_step(tmp_path, lambda ctx: void(put(ctx, "name", "one")), work) >= 12


def test_a_removal_killed_at_every_step(tmp_path: Path) -> None:
    def work(ctx: StoreContext) -> None:
        try:
            remove(ctx, "bytes", "name")
        except ArtefactMissing:
            assert recorded(ctx.ledger.rows()) == {}

    assert at_every_step(tmp_path, lambda ctx: void(put(ctx, "name", "one")), work) >= 4


def test_a_collection_killed_at_every_step(tmp_path: Path) -> None:
    def before(ctx: StoreContext) -> None:
        for name in ("one", "two", "three"):
            put(ctx, name, name)
        for name in ("one", "two"):
            remove(ctx, "bytes", name)

    def work(ctx: StoreContext) -> None:
        collect(ctx, apply=True, grace=timedelta(0))

    assert at_every_step(tmp_path, before, work) >= 8


def void(_: object) -> None:
    return


def test_the_same_bytes_under_another_source_after_a_kill(tmp_path: Path) -> None:
    """What a killed staging left in the ledger does not keep the name from anything else."""
    place = Place(tmp_path)
    assert outcome(in_child(lambda: void(put(fatal(place, 3), "name", "one")))) == KILLED
    ctx = context(place)
    put(ctx, "name", "two")
    strict(ctx)
    assert "JOB_COMPLETE stage/bytes/name error INTERRUPTED" in rows(ctx)


@pytest.mark.parametrize("number", [signal.SIGKILL])
def test_a_part_of_another_size_is_not_trusted(tmp_path: Path, number: int) -> None:
    """A source that changed between kill and resume is another transfer."""
    place, path = Place(tmp_path / "place"), tmp_path / "file.bin"
    cheap(path, SIZE, 1)
    pid = in_child(lambda: staging(place, "name", path.as_uri(), None, tmp_path / "log"))
    kill_after(pid, 0.15)
    now = cheap(path, SIZE, 2)
    ctx = context(place)
    result = stage(ctx, ask("name", path.as_uri(), replace=True))
    assert result.manifest.files[0].sha256 == now == digest(place.artefact(now))
    strict(ctx)
