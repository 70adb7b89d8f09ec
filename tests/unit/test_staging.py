"""What the ledger says of the store, and how a staging that was cut off is found again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.staging import REMOVED, REPLACED, job_id, recorded, session_of
from yoyo.model.fetch import RemoteFile, Resolved
from yoyo.model.ledger import STORE_NODE, BadRow, CompletionStatus, Entry, EventType, Row

OK, BAD, OPEN = CompletionStatus.SUCCESS, CompletionStatus.ERROR, CompletionStatus.PENDING
START, DONE, NOTE = EventType.JOB_START, EventType.JOB_COMPLETE, EventType.CHECKPOINT
A, B = "a" * 64, "b" * 64


def row(
    kind: EventType,
    status: CompletionStatus = OK,
    *,
    name: str = "m",
    digest: str = "",
    code: str = "",
    node: str = STORE_NODE,
) -> Row:
    entry = Entry(
        kind, "shared", node, job_id("weights", name), status, "op", error_code=code,
        input_hash=f"sha256:{digest}" if digest else "",
    )  # fmt: skip
    return Row(entry, "", datetime(2026, 11, 1, tzinfo=UTC), 1, "", 2)


STAGED = [row(START, OPEN), row(DONE, digest=A)]
REPLACING = [row(START, OPEN), row(NOTE, digest=A, code=REPLACED), row(DONE, digest=B)]


@pytest.mark.parametrize(
    ("rows", "digest"),
    [
        ([], None),
        (STAGED[:1], None),
        (STAGED, A),
        ([*STAGED, *REPLACING[:1]], A),
        ([*STAGED, *REPLACING[:2]], A),
        ([*STAGED, *REPLACING], B),
        ([*STAGED, row(START, OPEN), row(DONE, BAD, code="STAGE_FAILED")], A),
        ([*STAGED, row(NOTE, digest=A, code=REMOVED)], None),
        ([*STAGED, row(NOTE, digest=A, code=REMOVED), *STAGED], A),
        ([*STAGED, row(NOTE, name="other", digest=A, code=REMOVED)], A),
        ([*STAGED, row(DONE, digest=B, node="gpu")], A),
    ],
)
def test_what_a_name_stands_for_by_the_ledger(rows: list[Row], digest: str | None) -> None:
    assert recorded(rows).get(("weights", "m")) == digest


def test_rows_that_are_no_rows_and_other_jobs_are_passed_over() -> None:
    other = row(DONE, digest=B)
    other = other._replace(entry=other.entry._replace(job_id="gc"))
    assert recorded([BadRow(3, "torn", b""), *STAGED, other]) == {("weights", "m"): A}


# No source has a NUL in its names: such paths are refused before.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
FILES = st.lists(
    st.tuples(TEXT, st.none() | st.integers(0, 99), st.none() | st.sampled_from([A, B])).map(
        lambda said: RemoteFile(*said)
    ),
    max_size=3,
).map(tuple)


@given(FILES, FILES, TEXT, TEXT)
def test_a_session_is_the_same_for_the_same_and_only_for_it(
    files: tuple[RemoteFile, ...], others: tuple[RemoteFile, ...], url: str, revision: str
) -> None:
    first = session_of(Resolved(url, revision, "", files))
    assert len(first) == 32
    assert first == session_of(Resolved(url, revision, "any licence", files))
    assert (first == session_of(Resolved(url, revision, "", others))) == (files == others)
    assert first != session_of(Resolved(url + "x", revision, "", files))
