"""`yoyo ledger tail -f`: new rows at once, none lost or shown twice, and an end without noise."""

from __future__ import annotations

import json
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli import Place
from ledger_parts import NOTE
from trace_parts import E, Story

from yoyo.model.ledger import BadRow, Row
from yoyo.model.row_filter import RowFilter
from yoyo.ops.ledger import follow_rows, last_rows


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


class Ended(Exception):
    """Nobody follows any longer."""


def followed(
    story: Story, wanted: RowFilter, count: int, steps: list[Callable[[], object]]
) -> list[int]:
    """What is shown while the steps happen, one each time that there is nothing new."""
    seen: list[int] = []
    left = iter(steps)

    def sleep() -> None:
        step = next(left, None)
        if step is None:
            raise Ended
        step()

    def show(row: Row | BadRow) -> None:
        assert isinstance(row, Row)
        seen.append(row.seq)

    with pytest.raises(Ended):
        follow_rows(story.ledger, wanted, count, show, sleep)
    return seen


def test_backlog_and_new_rows_follow_each_other(story: Story) -> None:
    for n in range(5):
        story.job(f"job-{n}")
    steps: list[Callable[[], object]] = [lambda: story.job("a"), lambda: story.job("b")]
    assert followed(story, RowFilter(), 3, steps) == [8, 9, 10, 11, 12, 13, 14]


def test_filters_hold_for_both(story: Story) -> None:
    story.job("job-1")
    wanted = RowFilter(types=("JOB_COMPLETE",))
    assert followed(story, wanted, 10, [lambda: story.job("a")]) == [2, 4]


def test_an_empty_ledger_can_be_followed(story: Story) -> None:
    assert followed(story, RowFilter(), 10, [lambda: story.job("a")]) == [1, 2]


def test_a_row_written_between_backlog_and_watch_is_shown_once(story: Story) -> None:
    story.job("job-1")
    late: list[Row] = []

    class Slow:
        """A ledger that grows while its end is read."""

        follow = staticmethod(story.ledger.follow)

        def tail(self, count: int) -> list[Row | BadRow]:
            if count > 1:
                late.append(story.job("late"))
            return story.ledger.tail(count)

    seen: list[int] = []

    def show(row: Row | BadRow) -> None:
        assert isinstance(row, Row)
        seen.append(row.seq)

    def sleep() -> None:
        raise Ended

    with pytest.raises(Ended):
        follow_rows(Slow(), RowFilter(), 10, show, sleep)  # type: ignore[arg-type]
    assert late
    assert seen == [1, 2, 3, 4]


def test_sealing_does_not_break_it_off(story: Story) -> None:
    story.job("job-1")
    story.clock.at = datetime(2026, 11, 2, tzinfo=UTC)

    def seal() -> None:
        story.ledger.seal(story.ledger.complete_months(story.clock.at), [NOTE])

    steps: list[Callable[[], object]] = [lambda: story.job("a"), seal, lambda: story.job("b")]
    assert followed(story, RowFilter(), 1, steps) == [2, 3, 4, 5, 6, 7]


def test_the_last_rows_of_a_filter_come_in_order(story: Story) -> None:
    for n in range(5):
        story.job(f"job-{n}")
    rows = last_rows(story.ledger, RowFilter(types=("JOB_START",)), 2)
    assert [row.seq for row in rows if isinstance(row, Row)] == [7, 9]


def _start(root: Path, *options: str) -> subprocess.Popen[str]:
    """Follow the ledger, with the buffering that users have: what is not flushed does not come."""
    here = Place(root)
    env = {name: value for name, value in here.env().items() if name != "PYTHONUNBUFFERED"}
    return here.start("ledger", "tail", "-f", "--file", "ledger.csv", *options, env=env)


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    while True:
        # Each test waits for one line at a time, so that none is hidden in Python's own buffer.
        assert select.select([process.stdout], [], [], 60)[0], "no row came"
        yield process.stdout.readline()


@pytest.mark.parametrize("options", [["--json"], []])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_rows_come_at_once_and_ctrl_c_ends_it(
    tmp_path: Path, story: Story, options: list[str], number: signal.Signals
) -> None:
    story.job("job-1")
    process = _start(tmp_path, "--type", "JOB_COMPLETE", *options)
    try:
        lines = _lines(process)
        assert "JOB_COMPLETE" in next(lines)
        story.job("job-2")
        assert "JOB_COMPLETE" in next(lines)
        process.send_signal(number)
        left, told = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert not left
    assert "Traceback" not in told
    assert "error" not in told


def test_json_is_one_object_a_line_to_the_end(tmp_path: Path, story: Story) -> None:
    story.add(E.CHECKPOINT, "", operator="\u202e\x9b")
    process = _start(tmp_path, "--json")
    try:
        assert json.loads(next(_lines(process)))["operator_id"] == "\u202e\x9b"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == ""
    finally:
        process.kill()
        process.wait()


def test_a_reader_that_goes_away_ends_it(tmp_path: Path, story: Story) -> None:
    story.job("job-1")
    process = _start(tmp_path)
    try:
        next(_lines(process))
        assert process.stdout is not None
        process.stdout.close()
        story.job("job-2")
        assert process.wait(timeout=60) == 141
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()
    finally:
        process.kill()
        process.wait()
