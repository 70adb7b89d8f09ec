"""The options that choose rows: one filter, and mistakes that say what is valid."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import typer

from yoyo.cli.row_options import row_filter
from yoyo.cli.session import Session
from yoyo.model.ledger import CompletionStatus, EventType
from yoyo.model.row_filter import RowFilter

WORK = Session(json=False)


def test_nothing_given_passes_every_row() -> None:
    assert row_filter(WORK).is_empty


def test_every_option_becomes_its_condition() -> None:
    found = row_filter(
        WORK,
        since="2026-10",
        until="2026-11",
        node=["l4", "l5"],
        module=["acme"],
        job=["j"],
        kind=["job_complete", "PREEMPTION"],
        status=["ERROR"],
        code=["DISK_COST"],
        inputs=["ab" * 32],
    )
    assert found == RowFilter(
        since=datetime(2026, 10, 1, tzinfo=UTC),
        until=datetime(2026, 11, 1, tzinfo=UTC),
        nodes=("l4", "l5"),
        modules=("acme",),
        jobs=("j",),
        types=("JOB_COMPLETE", "PREEMPTION"),
        statuses=("error",),
        codes=("DISK_COST",),
        inputs=("sha256:" + "ab" * 32,),
    )


def test_an_unknown_type_or_status_lists_the_valid_ones() -> None:
    with pytest.raises(typer.BadParameter) as caught:
        row_filter(WORK, kind=["BOOT\x1b[31m"])
    assert all(each.value in str(caught.value) for each in EventType)
    assert str(caught.value).isprintable()
    with pytest.raises(typer.BadParameter) as caught:
        row_filter(WORK, status=["fine"])
    assert all(each.value in str(caught.value) for each in CompletionStatus)


@pytest.mark.parametrize(
    "given",
    [
        {"since": "tomorrow"},
        {"until": "2026-10-03T10:00 CET"},
        {"inputs": ["abc"]},
        {"since": "2026-11", "until": "2026-10"},
        {"since": "2026-11", "until": "2026-11"},
    ],
)
def test_what_means_nothing_is_a_usage_error(given: dict[str, str]) -> None:
    with pytest.raises(typer.BadParameter):
        row_filter(WORK, **given)  # type: ignore[arg-type]


def test_how_a_local_time_was_read_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    row_filter(Session(json=True), since="2026-10-03T10:00+02:00")
    told = capsys.readouterr()
    assert "--since" in told.err
    assert "2026-10-03T08:00:00Z" in told.err
    assert not told.out
