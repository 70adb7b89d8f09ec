"""The kill switch and the monitor's samples as real files, good and spoilt."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yoyo.drivers.files.killswitch import FileKillSwitch
from yoyo.drivers.files.samples import FileSampleStore
from yoyo.errors import StateUnwritable
from yoyo.model.freeze import Freeze
from yoyo.model.samples import Sample

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FREEZE = Freeze('a "reason"\nof two lines', "ann", "2026-11-21T12:00:00Z")
SHARED_DIR = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_freeze_and_thaw(tmp_path: Path) -> None:
    state = tmp_path / "state"
    switch = FileKillSwitch(state)
    assert switch.state() is None
    switch.thaw()
    assert not state.exists()
    switch.freeze(FREEZE)
    assert FileKillSwitch(state).state() == FREEZE
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "frozen.json").stat().st_mode & 0o777 == 0o600
    other = Freeze("another", "bob", "later")
    switch.freeze(other)
    assert switch.state() == other
    assert [entry.name for entry in state.iterdir()] == ["frozen.json"]
    switch.thaw()
    assert switch.state() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"frozen"',
        b'{"reason": "x"}',
        b'{"reason": 1, "operator": "a", "since": "b"}',
        b"\xff\xfe",
        b"[" * 60_000,
        b" " * 100_000,
    ],
)
def test_a_malformed_file_counts_as_frozen(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "frozen.json").write_bytes(content)
    found = FileKillSwitch(tmp_path).state()
    assert found is not None
    assert "counts as frozen" in found.reason
    assert str(tmp_path / "frozen.json") in found.reason


def test_what_cannot_be_read_counts_as_frozen_and_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "frozen.json").symlink_to(tmp_path / "nowhere")
    switch = FileKillSwitch(tmp_path)
    found = switch.state()
    assert found is not None
    assert "leads nowhere" in found.reason
    switch.freeze(FREEZE)
    assert switch.state() == FREEZE
    switch.thaw()
    (tmp_path / "frozen.json").mkdir()
    assert switch.state() is not None
    with pytest.raises(StateUnwritable):
        switch.thaw()
    with pytest.raises(StateUnwritable):
        switch.freeze(FREEZE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["frozen.json"]


def test_a_state_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    switch = FileKillSwitch(tmp_path / "file")
    assert switch.state() is not None
    with pytest.raises(StateUnwritable) as caught:
        switch.freeze(FREEZE)
    assert caught.value.fix
    with pytest.raises(StateUnwritable):
        FileSampleStore(tmp_path / "file").add("node-1", sample(0), keep_after=NOON)
    assert FileSampleStore(tmp_path / "file").load("node-1") == []


def sample(minutes: int, error: str = "") -> Sample:
    return Sample(
        at=NOON + timedelta(minutes=minutes),
        boot="life-1",
        reachable=not error,
        processing=None if error else 0,
        deferred=0,
        slots_busy=1,
        tokens_total=10**12,
        open_jobs=2,
        error=error,
    )


def test_samples_come_back_in_order_of_time(tmp_path: Path) -> None:
    store = FileSampleStore(tmp_path / "state")
    assert store.load("node-1") == []
    for minutes in (0, 10, 5):
        store.add("node-1", sample(minutes, "no\nanswer" * (minutes == 5)), keep_after=NOON)
    expected = [sample(0), sample(5, "no\nanswer"), sample(10)]
    assert FileSampleStore(tmp_path / "state").load("node-1") == expected
    assert store.load("node-2") == []
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in (tmp_path / "state" / "samples").iterdir()] == ["node-1.jsonl"]


def test_old_samples_are_dropped(tmp_path: Path) -> None:
    store = FileSampleStore(tmp_path)
    for minutes in range(5):
        store.add("node-1", sample(minutes), keep_after=NOON)
    store.add("node-1", sample(5), keep_after=NOON + timedelta(minutes=3))
    assert store.load("node-1") == [sample(3), sample(4), sample(5)]


BROKEN: dict[str, list[object]] = {
    "at": ["yesterday", 1, None, "2026-11-21T12:00:00"],
    "boot": [None, 1],
    "reachable": [None, 1, "yes"],
    "processing": ["0", 0.0, False, []],
    "tokens_total": [True],
    "open_jobs": [None, True, "0"],
    "error": [None],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BROKEN.items() for value in values]
)
def test_a_sample_of_the_wrong_types_is_left_out(tmp_path: Path, field: str, value: object) -> None:
    store = FileSampleStore(tmp_path)
    store.add("node-1", sample(0), keep_after=NOON)
    path = tmp_path / "samples" / "node-1.jsonl"
    good = json.loads(path.read_text())
    with path.open("a") as file:
        file.write(json.dumps({**good, field: value}) + "\n")
        file.write(json.dumps({name: good[name] for name in good if name != field}) + "\n")
        file.write("{\n\n[" * 3)
    assert store.load("node-1") == [sample(0)]
    store.add("node-1", sample(1), keep_after=NOON)
    assert len(path.read_text().splitlines()) == 2


@SHARED_DIR
@given(st.binary(max_size=200))
def test_no_bytes_make_the_store_raise(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "samples").mkdir(exist_ok=True)
    (tmp_path / "samples" / "node-1.jsonl").write_bytes(content)
    assert FileSampleStore(tmp_path).load("node-1") == []
    (tmp_path / "frozen.json").write_bytes(content)
    assert FileKillSwitch(tmp_path).state() is not None


def test_a_part_left_by_a_killed_writer_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / f".frozen.json.{os.getpid()}.part").write_text("half")
    switch = FileKillSwitch(tmp_path)
    switch.freeze(FREEZE)
    assert switch.state() == FREEZE
