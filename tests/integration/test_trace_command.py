"""`yoyo ledger trace` as a command: from a saved answer to its price, as a tree and as JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli import YOYO, Place, place
from trace_parts import SIGNED, E, Story

ACTING = "\x1b\x9b\u202e\u2066\u2069\u200f\x07"
EVIL = "\u202eevil\x9b31m\u2066<script>"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as found:
        yield found


def test_from_a_saved_answer_back_to_what_made_it(here: Place) -> None:
    here.configure(more="prices: {hourly_usd: 0.71}")
    here.run("up")
    (here.root / "answer.json").write_text(
        here.run("ask", "Why?", "--max-tokens", "4", "--json").stdout
    )
    (running,) = here.json("ledger", "trace", "answer.json")["found"]
    assert running["life"]["status"] == "open"
    assert running["cost"]["life_is"] == "estimate"
    assert running["boot"]["engine"]["from"] == "yoyo itself"
    assert running["boot"]["weights"]["name"] == "smoke"
    here.run("down")
    found = here.json("ledger", "trace", "answer.json")
    (facts,) = found["found"]
    assert facts["life"]["status"] == "success"
    assert facts["cost"]["life_is"] == "booked"
    assert facts["cost"]["price"]["hourly_usd"] == "0.71"
    assert facts["job"]["tokens"] > 0
    tree = here.run("ledger", "trace", facts["job"]["job_id"]).stdout
    for line in ("├─ boot ", "engine      from yoyo itself", "0.71 USD an hour", "└─ not known"):
        assert line in tree
    life = here.json("ledger", "trace", facts["life"]["job_id"])["found"]
    assert [each["kind"] for each in life] == ["life"]


def test_an_answer_from_standard_input(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.boot("life-1")
    story.job("job-1")
    done = subprocess.run(
        [YOYO, "ledger", "trace", "-", "--file", "ledger.csv", "--json"],
        cwd=tmp_path,
        input=json.dumps({"job_id": "job-1"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["found"][0]["job"]["job_id"] == "job-1"


@pytest.mark.parametrize("content", [b"", b"no json", b"{}", b"[" * 100_000, b"\xff\x00"])
def test_a_file_that_is_no_answer_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    Story(tmp_path).job("job-1")
    (tmp_path / "answer.json").write_bytes(content)
    done = Place(tmp_path).run("ledger", "trace", "answer.json", "--file", "ledger.csv", code=97)
    assert "names no job" in done.stderr


@pytest.mark.parametrize("thing", ["#99", "job-9", EVIL, "x" * 3000])
def test_not_found_is_code_97_with_a_next_step(tmp_path: Path, thing: str) -> None:
    Story(tmp_path).job("job-1")
    arguments = ("ledger", "trace", thing, "--file", "ledger.csv")
    done = Place(tmp_path).run(*arguments, code=97)
    assert "fix:" in done.stderr
    assert not set(ACTING) & set(done.stderr)
    document = json.loads(Place(tmp_path).run(*arguments, "--json", code=97).stdout)
    assert document["error"]["code"] == "TraceNotFound"


def _hostile(story: Story) -> None:
    record: dict[str, Any] = {
        "_type": "urn:yoyo:boot:v1",
        "yoyo": EVIL,
        "machine": {"driver": EVIL, EVIL: EVIL},
        "engine": {"from": EVIL, "name": EVIL, "deep": [[EVIL]], "sha256": "\n\u2028" + EVIL},
        "weights": {"from": "x\nnot known\n" + EVIL, "manifest": "no digest"},
    }
    story.boot("life-1", record=story.proof(record))
    signed = SIGNED._replace(signers=(("signature", EVIL), ("sign-off", "a\nb" + EVIL)))
    story.load("life-1", [signed])
    done = story.job(
        "job-1" + EVIL, adapter_versions=(SIGNED.name, f"{EVIL}@1"), error_code=EVIL, operator=EVIL
    )
    closing = story.end("life-1")
    story.correct(done, tokens=1)
    story.correct(closing._replace(row_hash="0" * 64), tokens=1)
    price = {
        "_type": "urn:yoyo:price:v1", "currency": "USD", "hourly_usd": "1",
        "source": EVIL + "\n\n" + EVIL, "version": EVIL, "valid_from": EVIL,
    }  # fmt: skip
    story.add(
        E.TEARDOWN_COMPLETE, "life-1", input_hash=story.proof(price), error_code=EVIL, operator=EVIL
    )


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_nothing_in_rows_or_records_acts_on_whoever_reads(
    tmp_path: Path, options: list[str]
) -> None:
    story = Story(tmp_path)
    _hostile(story)
    for thing in ("job-1" + EVIL, "life-1", "#4", "#9", "#10"):
        done = Place(tmp_path).run("ledger", "trace", thing, "--file", "ledger.csv", *options)
        assert not set(ACTING + "\u2028") & set(done.stdout + done.stderr)
        if options:
            assert json.loads(done.stdout)["total"] == 1
        else:
            # No field makes a line of its own: every line but the first hangs on the tree.
            assert all(line[0] in "├└│ " for line in done.stdout.splitlines()[1:])


def test_a_field_of_any_length_is_one_short_line(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.boot("life-1")
    story.job("job-1", operator="x" * 60_000)
    done = Place(tmp_path).run("ledger", "trace", "job-1", "--file", "ledger.csv")
    assert max(map(len, done.stdout.splitlines())) < 1_000


def test_a_ledger_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    Place(tmp_path).run("ledger", "trace", "job-1", "--file", "none.csv", code=45)
