"""What is wrong in a sealed month is shown with the month's file: its lines begin at 1 again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from yoyo.cli.render_ledger import row_document, row_text, verify_document, verify_text
from yoyo.model.ledger import (
    CORRECTION,
    SESSION,
    BadRow,
    CompletionStatus,
    Entry,
    EventType,
    OpenIntent,
    Row,
    VerifyReport,
)
from yoyo.ops.ledger import verdict

SEALED, LIVE = "ledger-2026-10.csv", BadRow(7, "seq is 9, not 6", b"x")
BAD = BadRow(3, "row_hash does not match", b"x", SEALED)
INTENT = OpenIntent(4, EventType.JOB_START, "l4", "job-1", "2026-10-03T00:00:00.000000Z", SEALED)


def report() -> VerifyReport:
    return VerifyReport(
        rows=8,
        first_time="",
        last_time="",
        head=None,
        problems=(BAD, LIVE),
        problem_count=2,
        open_intents=(INTENT, INTENT._replace(file="")),
        torn_tail_bytes=0,
        clock_steps_back=0,
        expected_head_found=None,
    )


def test_people_read_the_file_beside_the_line() -> None:
    lines = [line.strip() for line in verify_text(Path("ledger.csv"), report()).splitlines()]
    assert f"{SEALED} line 3: row_hash does not match" in lines
    assert "line 7: seq is 9, not 6" in lines
    assert any(line.startswith(f"{SEALED} line 4: JOB_START of l4") for line in lines)
    assert any(line.startswith("line 4: JOB_START of l4") for line in lines)
    error = verdict(report(), None, strict=False)
    assert error is not None
    assert f"the first in {SEALED} line 3." in error.what
    assert row_text(BAD) == f"{SEALED} line 3: BAD ROW: row_hash does not match"


def test_machines_read_it_where_there_is_one() -> None:
    assert row_document(BAD)["file"] == SEALED
    assert "file" not in row_document(LIVE)
    document = verify_document(Path("ledger.csv"), report())
    assert [each.get("file") for each in document["problems"]] == [SEALED, None]
    assert [each.file for each in document["open_intents"]] == [SEALED, ""]


@pytest.mark.parametrize(
    ("since", "said"),
    [
        (timedelta(days=250), "8 months"),
        (timedelta(days=60), "2 months"),
        (timedelta(days=59), "59 days"),
        (timedelta(hours=47, minutes=59), "47 hours"),
        (timedelta(minutes=119), "119 minutes"),
        (timedelta(seconds=90), "just now"),
        (timedelta(seconds=-90), "just now"),
    ],
)
def test_an_open_intent_is_shown_with_its_age(since: timedelta, said: str) -> None:
    now = datetime.fromisoformat(INTENT.timestamp) + since
    text = verify_text(Path("ledger.csv"), report(), now)
    assert text.count(f", since {INTENT.timestamp} ({said})") == 2


@pytest.mark.parametrize(
    ("node", "job", "code", "shown"),
    [
        ("l4", "correct/2552/019b8287-194e-74cb-bff9-75aaf42bbb62", CORRECTION, "correct/2552"),
        ("l4", "correct/12552/019b8287-194e-74cb-bff9-75aaf42bbb62", CORRECTION, "correct/12552"),
        ("ledger", "session/5f0c7f6e-2f0a-4d3a-9f53-6a0c2f6b7a11", SESSION, "session/5f0c"),
        ("l4", "019b8287-194e-74cb-bff9-75aaf42bbb62", "", "75aaf42bbb62"),
        ("adapters", "register/acme-tone@1.0.0", "", "register/acme-tone@1.0.0"),
    ],
)
def test_the_columns_stay_where_the_job_is_long(node: str, job: str, code: str, shown: str) -> None:
    entry = Entry(
        EventType.CHECKPOINT, "acme", node, job, CompletionStatus.SUCCESS, "mira", error_code=code
    )
    row = Row(entry, "id", datetime(2026, 10, 3, tzinfo=UTC), 1, "0" * 64, 2)
    assert f"  acme        {shown:<12}  success" in row_text(row)


def test_whoever_has_a_copy_is_told_who_settles_it() -> None:
    error = verdict(report()._replace(problems=(), problem_count=0), None, strict=True)
    assert error is not None
    assert error.fix.startswith("Run `yoyo status`")
    assert "a copy (--file), the operator settles it." in error.fix
