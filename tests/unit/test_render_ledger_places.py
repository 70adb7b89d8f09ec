"""What is wrong in a sealed month is shown with the month's file: its lines begin at 1 again."""

from __future__ import annotations

from pathlib import Path

from yoyo.cli.render_ledger import row_document, row_text, verify_document, verify_text
from yoyo.model.ledger import BadRow, EventType, OpenIntent, VerifyReport
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
