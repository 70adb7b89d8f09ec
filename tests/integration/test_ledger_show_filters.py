"""`yoyo ledger show`: every filter, three forms, sealed months, and nothing that acts."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cli import Place
from ledger_parts import NOTE
from trace_parts import PROMPT, E, Story

HOSTILE = (
    "\u202eevil",
    "a\x9b31mred",
    "b\u2066c\u2069",
    "\u200fd",
    "<script>alert(1)</script>",
    '=HYPERLINK("http://x")',
    "+1",
    "-1",
    "@sum",
    "x" * 60_000,
)
ACTING = "\x1b\x9b\u202e\u2066\u2069\u200f\x07"


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def two_nodes(story: Story) -> None:
    story.boot("life-1")
    story.boot("life-2", node="l5")
    story.job("job-1")
    story.job("job-2", node="l5", input_hash="sha256:" + "0" * 64)
    story.add(E.JOB_COMPLETE, "job-3", status="error", error_code="ENGINE_FAILED", operator="otto")
    story.end("life-1")


def shown(place: Place, *options: str) -> list[dict[str, Any]]:
    done = place.run("ledger", "show", "--file", "ledger.csv", "--json", *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--node", "l5"], [3, 4, 7, 8]),
        (["--node", "l5", "--node", "l4"], list(range(1, 12))),
        (["--module", "demo", "--type", "PREEMPTION"], []),
        (["--module", "other"], []),
        (["--job", "job-1", "--job", "job-2"], [5, 6, 7, 8]),
        (["--type", "JOB_COMPLETE", "--node", "l4"], [6, 9]),
        (["--type", "boot_request", "--type", "BOOT_COMPLETE"], [1, 2, 3, 4]),
        (["--status", "error"], [9]),
        (["--code", "ENGINE_FAILED"], [9]),
        (["--input", PROMPT], [5, 6]),
        (["--input", "0" * 64], [7, 8]),
        (["--until", "2026-10-30"], []),
        (["--since", "2026-10", "--until", "2026-11"], list(range(1, 12))),
        (["--since", "2026-10-30T12:00:05Z", "--until", "2026-10-30T12:00:08Z"], [3]),
    ],
)
def test_each_filter(place: Place, story: Story, options: list[str], wanted: list[int]) -> None:
    two_nodes(story)
    assert [row["seq"] for row in shown(place, *options)] == wanted


def test_a_sealed_month_is_shown_with_the_rest(place: Place, story: Story) -> None:
    two_nodes(story)
    story.clock.at = datetime(2026, 11, 2, tzinfo=UTC)
    story.job("job-9")
    pieces = story.ledger.complete_months(story.clock.at)
    assert [piece.month for piece in pieces] == ["2026-10"]
    story.ledger.seal(pieces, [NOTE])
    assert (place.root / "ledger-2026-10.csv").exists()
    assert [row["seq"] for row in shown(place)] == list(range(1, 15))
    assert [row["job_id"] for row in shown(place, "--until", "2026-11", "--code", "ENGINE_FAILED")]
    assert [row["seq"] for row in shown(place, "--since", "2026-11")] == [12, 13, 14]
    done = place.run("ledger", "tail", "-n", "4", "--file", "ledger.csv", "--json")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [11, 12, 13, 14]


def test_the_csv_is_safe_to_open_and_says_the_same(place: Place, story: Story) -> None:
    two_nodes(story)
    for number, text in enumerate(HOSTILE):
        story.add(E.CHECKPOINT, f"j{number}", operator=text)
    done = place.run("ledger", "show", "--file", "ledger.csv", "--csv")
    rows = list(csv.DictReader(StringIO(done.stdout.removeprefix("\ufeff"))))
    plain = shown(place)
    assert [int(row["seq"]) for row in rows] == [row["seq"] for row in plain]
    assert [row["event_id"] for row in rows] == [row["event_id"] for row in plain]
    for row in rows:
        assert not any(field.startswith(("=", "+", "-", "@", "\t", "\r")) for field in row.values())
    assert rows[10]["cost_usd"] == "0.720000"
    assert not set(ACTING) & set(done.stdout)


@pytest.mark.parametrize("options", [[], ["--json"], ["--csv"]])
@pytest.mark.parametrize("command", ["show", "tail"])
def test_no_field_acts_on_whoever_reads_it(
    place: Place, story: Story, command: str, options: list[str]
) -> None:
    if command == "tail" and options == ["--csv"]:
        options = ["-n", "5"]
    for number, text in enumerate(HOSTILE):
        story.add(E.CHECKPOINT, f"j{number}", operator=text, error_code=text[:50])
    done = place.run("ledger", command, "--file", "ledger.csv", *options)
    assert not set(ACTING) & set(done.stdout + done.stderr)


def test_json_keeps_every_character_it_makes_safe(place: Place, story: Story) -> None:
    for text in HOSTILE:
        story.add(E.CHECKPOINT, "j", operator=text)
    assert [row["operator_id"] for row in shown(place)] == list(HOSTILE)


def test_a_person_gets_short_lines(place: Place, story: Story) -> None:
    story.add(E.CHECKPOINT, "j", operator="x" * 60_000)
    (line,) = place.run("ledger", "show", "--file", "ledger.csv").stdout.splitlines()
    assert len(line) < 1_000
    assert "60000 characters" in line


def test_a_line_of_ten_megabytes_is_a_bad_row_and_the_rest_is_there(
    place: Place, story: Story
) -> None:
    two_nodes(story)
    with story.path.open("ab") as file:
        file.write(b"\x1b[31m" + b"y" * 10_000_000 + b"\n")
    for options in ([], ["--job", "job-1"], ["--csv"]):
        done = place.run("ledger", "show", "--file", "ledger.csv", *options)
        assert "BAD ROW" in done.stdout + done.stderr
        assert len(done.stdout) + len(done.stderr) < 10_000
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--type", "BOOT"], "BOOT_REQUEST"),
        (["--status", "done"], "preempted"),
        (["--since", "soon"], "2026-10-03"),
        (["--since", "2026-11", "--until", "2026-10"], "--since"),
        (["--input", "12"], "sha256"),
        (["--csv", "--json"], "--csv"),
    ],
)
def test_a_mistake_is_a_usage_error(
    place: Place, story: Story, options: list[str], told: str
) -> None:
    two_nodes(story)
    done = place.run("ledger", "show", "--file", "ledger.csv", *options, code=2)
    assert told in done.stderr
    assert not done.stdout


def test_a_time_that_is_read_in_another_way_is_said(place: Place, story: Story) -> None:
    two_nodes(story)
    done = place.run(
        "ledger", "show", "--file", "ledger.csv", "--json", "--since", "2026-10-30T13:00+01:00"
    )
    assert "2026-10-30T12:00:00Z" in done.stderr
    assert len(done.stdout.splitlines()) == 11


def test_relative_times_count_from_now(place: Place, story: Story) -> None:
    two_nodes(story)
    story.clock.at = datetime.now(UTC) - timedelta(hours=1)
    story.job("job-now", gpu_seconds=Decimal(1))
    assert [row["seq"] for row in shown(place, "--since", "1d")] == [12, 13]
    assert shown(place, "--since", "10m") == []
