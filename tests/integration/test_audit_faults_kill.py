"""`yoyo ledger checkpoint`, `seal`, `rotate` and `prune --apply`, killed a hundred times."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from audit_faults_parts import configure, forked, run_here, yoyo
from audit_parts import ORIGIN, Audited

from yoyo.model.ledger import MONTH_DELETED, Row
from yoyo.model.row_filter import RowFilter
from yoyo.ops.audit.against import held_against, verdict
from yoyo.ops.audit.checkpoint import checkpoint, newest_checkpoint
from yoyo.ops.audit.seal import seal
from yoyo.wiring_audit import make_note_key, notes_at, read_vkey

CALLS = ("open", "write", "pwrite", "fsync", "fchmod", "rename", "replace", "link", "unlink",
         "close", "pread", "mkdir")  # fmt: skip
KILLS = 25  # of each of the four


def die_at(step: int) -> None:
    """Have this process killed in its call of that number since it took the ledger's lock."""
    made = 0

    def counted(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            if made or (name == "open" and str(args[0]).endswith("locks/ledger.lock")):
                made += 1
            if made == step:
                if name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name), name))


def killed_at(home: Path, step: int, *arguments: str) -> bool:
    """Whether the command was killed; False: it had ended before that step."""

    def work() -> int:
        die_at(step)
        return run_here(home, arguments, {}, os.devnull, os.devnull)

    status = forked(work)
    assert status in (0, signal.SIGKILL), status
    return status != 0


def copies_of(home: Path) -> Path:
    return home.with_name(f"{home.name}-copies")


def a_copy(model: Path, home: Path) -> None:
    """The same ledger elsewhere, with a second store of its own."""
    shutil.copytree(model, home)
    shutil.copytree(copies_of(model), copies_of(home))
    path = home / "yoyo.yaml"
    path.write_text(path.read_text().replace(copies_of(model).name, copies_of(home).name))


def steps_of(model: Path, place: Path, *arguments: str) -> int:
    """How many of those calls the command makes: the most that still kills it."""
    low, high = 1, 4096
    while high - low > 1:
        middle = (low + high) // 2
        a_copy(model, place)
        low, high = (middle, high) if killed_at(place, middle, *arguments) else (low, middle)
        shutil.rmtree(place)
        shutil.rmtree(copies_of(place))
    return low


def old_ledger(home: Path, sealing: str) -> Audited:
    """Rows of three months of 2025, signed once, and a yoyo.yaml."""
    house = Audited(home, now=datetime(2025, 1, 10, tzinfo=UTC))
    for month in (1, 2, 3):
        house.clock.at = datetime(2025, month, 10, tzinfo=UTC)
        house.book(4, module=f"m{month}")
    checkpoint(house.ctx)
    house.clock.at = datetime(2025, 4, 2, tzinfo=UTC)
    house.book(2)
    configure(home, copy=f"file://{house.copies}", sealing=sealing)
    return house


def sound(house: Audited, keys: list[str]) -> list[Row]:
    """Every reader sees every row once, the chain holds, and so does all that was signed."""
    ledger = house.ctx.ledger
    rows = [row for row in ledger.rows() if isinstance(row, Row)]
    first = ledger.parts()[0].first_seq
    numbers = list(range(first, rows[-1].seq + 1))
    assert [row.seq for row in rows] == numbers
    every = [row.seq for row in ledger.matching(RowFilter()) if isinstance(row, Row)]
    assert every == numbers
    assert sum(len(block) for block in ledger.lines(first)) == len(numbers)
    assert ledger.tail(1) == rows[-1:]
    assert ledger.row_at(first) == rows[0]
    assert ledger.verify().problems == ()
    for place in (house.home / "ledger.checkpoints", house.copies):
        kept = notes_at(str(place), house.settings)
        found = held_against(
            house.ctx, kept.notes, [read_vkey(str(house.home / key)) for key in keys], kept.keys
        )
        assert verdict(found) is None, found
        assert found.report.agreed
    return [row._replace(line=0) for row in rows]  # which file it is in may change


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model"


def each_kill(model: Path, *arguments: str) -> list[tuple[Audited, int]]:
    """Copies of that ledger, in each of which the command was killed somewhere else."""
    steps = steps_of(model, model.with_name("probe"), *arguments)
    assert steps > KILLS, steps
    spread = random.Random(1707)
    points = sorted([*spread.sample(range(1, steps + 1), KILLS - 2), 1, steps])
    made = []
    for number, step in enumerate(points):
        home = model.with_name(f"at{number}")
        a_copy(model, home)
        assert killed_at(home, step, *arguments), step
        house = Audited(home)
        house.clock.at = datetime.now(UTC) + timedelta(seconds=1)
        made.append((house, step))
    assert len(made) == KILLS
    return made


def test_checkpoints(model: Path) -> None:
    old_ledger(model, "mode: manual")
    for house, step in each_kill(model, "ledger", "checkpoint"):
        before = sound(house, ["key.vkey"])
        assert yoyo(house.home, "ledger", "checkpoint").code == 0, step
        after = sound(house, ["key.vkey"])
        assert after[: len(before)] == before
        newest = newest_checkpoint(house.ctx)
        assert newest is not None
        assert newest[1].head.size == after[-1].seq
        names = {p.name for p in (house.home / "ledger.checkpoints").glob("*.note")}
        assert {p.name for p in house.copies.rglob("*.note")} == names


def test_sealing(model: Path) -> None:
    old_ledger(model, "mode: manual")
    states = set()
    for house, step in each_kill(model, "ledger", "seal"):
        before = sound(house, ["key.vkey"])
        states.add(len(house.ctx.ledger.parts()))
        assert yoyo(house.home, "ledger", "seal").code == 0, step
        after = sound(house, ["key.vkey"])
        assert after[:14] == before[:14]
        assert [part.month for part in house.ctx.ledger.parts()[:3]] == [
            "2025-01", "2025-02", "2025-03"
        ]  # fmt: skip
        assert len([row for row in after if row.entry.job_id == "seal/2025-02"]) == 1
        checkpoint(house.ctx)
        sound(house, ["key.vkey"])
    assert len(states) > 1, "killed both before and after the step that counts"


def test_changes_of_keys(model: Path) -> None:
    old_ledger(model, "mode: manual")
    make_note_key(model / "key-2.pem", ORIGIN, {})
    seen = set()
    for house, step in each_kill(model, "ledger", "rotate", "key-2.pem"):
        sound(house, ["key.vkey"])
        # The timer comes first: it may sign with the old key, or refuse, and break nothing.
        timer = yoyo(house.home, "ledger", "checkpoint")
        seen.add(timer.code)
        sound(house, ["key.vkey"])
        again = yoyo(house.home, "ledger", "rotate", "key-2.pem")
        assert again.code == 0 or "it signs already" in again.err, (step, again)
        sound(house, ["key.vkey"])
        config = house.home / "yoyo.yaml"
        config.write_text(config.read_text().replace("key: key.pem", "key: key-2.pem"))
        assert yoyo(house.home, "ledger", "checkpoint").code == 0, step
        after = sound(house, ["key.vkey"])
        newest = newest_checkpoint(house.ctx)
        assert newest is not None
        assert newest[1].head.size == after[-1].seq
        assert newest[0].endswith(read_vkey(str(house.home / "key-2.vkey")).key_id.hex())
    assert seen == {0, 53}, "killed both before and after the old key was retired"


def test_pruning(model: Path) -> None:
    house = old_ledger(model, "mode: manual, retention_months: 2")
    seal(house.ctx)
    checkpoint(house.ctx)
    states = set()
    for found, step in each_kill(model, "ledger", "prune", "--apply"):
        before = sound(found, ["key.vkey"])
        states.add(found.ctx.ledger.parts()[0].first_seq)
        assert yoyo(found.home, "ledger", "prune", "--apply").code == 0, step
        after = sound(found, ["key.vkey"])
        # What is gone is named by a row, and nothing else is gone.
        gone = {row.entry.job_id for row in after if row.entry.error_code == MONTH_DELETED}
        assert gone == {"delete/2025-01", "delete/2025-02", "delete/2025-03"}
        kept = [row for row in before if row.seq >= after[0].seq]
        assert after[: len(kept)] == kept
        assert found.ctx.ledger.parts()[0].month is None
        checkpoint(found.ctx)
        sound(found, ["key.vkey"])
    assert len(states) > 1, "killed both before and after a month was gone"
