"""The registry file's quick reader: it may give up on anything, but never says something else."""

from __future__ import annotations

import pytest
from adapter_samples import entry_of, version_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_adapter_book import GOOD, PIECES, RELEASED, book_text, entries

from yoyo.core.adapters import book
from yoyo.core.adapters.book import BookError, parse_document
from yoyo.core.adapters.book_quick import read_quick
from yoyo.model.adapter import Registered, Stage

SIGNED = book_text(
    entry_of(version_of(tasks=("support", "triage")), notes="by hand"),
    entry_of(version_of("acme-tone"), Stage.EVAL_OK, Stage.PROMOTED, Stage.RETIRED, artefact=7),
    entry_of(version_of("acme-plain"), Stage.EVAL_PENDING, sign_off=None, artefact=8),
)


def same(text: str) -> bool:
    """Whether the quick reader took it; what it says is what the careful one says."""
    quick = book._quick(text)
    if quick is None:
        return False
    assert quick == book._careful(text)
    return True


def test_yoyos_own_form_goes_the_quick_way() -> None:
    for text in (GOOD, SIGNED, (RELEASED / "schema-2.yaml").read_text()):
        assert same(text)


def test_comments_between_entries_do_not_slow_it_down() -> None:
    text = SIGNED.replace("  - id: acme-tone", "\n  # asked for by dora\n  - id: acme-tone")
    assert text != SIGNED
    assert same(text + "# the end\n")


WEIGHING_IN = entries().filter(lambda each: bool(each.scale))


@given(st.lists(WEIGHING_IN, min_size=1, max_size=4, unique_by=lambda each: each.adapter.id))
def test_what_is_written_is_read_again(written: list[Registered]) -> None:
    text = book_text(*written)
    same(text)
    assert parse_document(text).book.adapters == tuple(written)


@settings(max_examples=600)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SIGNED)), st.integers(0, 12), PIECES), min_size=1, max_size=2
    )
)
def test_it_says_what_the_careful_reader_says_or_nothing(edits: list[tuple[int, int, str]]) -> None:
    text = SIGNED
    for at, cut, piece in edits:
        text = text[:at] + piece + text[at + cut :]
    same(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rank: 16", "rank: 65537"),
        ("scale: 1\n", "scale: 10.5\n"),
        ("alpha: 32", "alpha: 0"),
        ("moduleId: acme", "moduleId: other"),
        ("[support, triage]", "[support, support]"),
        ("    stage: promoted", "    stage: retired"),
        ("- stage: eval_ok", "- stage: eval_no"),
        ("by: dora", 'by: ""'),
        ("by: dora", "by: dora: ana"),
        ("by: dora", "by: dora #1"),
        ("schema: 2", "schema: 1"),
        ("schema: 2", "schema: 3"),
        ("most: 3", "most: 4"),
        ("mode: stack", "mode: routed"),
        ("  - id: acme-tone", "  - id: acme-support"),
        ("    history:", "    history: # of its stages"),
    ],
)
def test_what_is_wrong_or_unusual_is_left_to_the_careful_reader(old: str, new: str) -> None:
    text = SIGNED.replace(old, new)
    assert text != SIGNED
    assert book._quick(text) is None


def test_mistakes_are_told_with_their_lines() -> None:
    text = SIGNED.replace("rank: 16", "rank: 0")
    with pytest.raises(BookError) as caught:
        parse_document(text)
    assert [each.partition(":")[0] for each in caught.value.mistakes] == [
        f"line {number}" for number, line in enumerate(text.split("\n"), 1) if "rank: 0" in line
    ]


@pytest.mark.parametrize("number", range(1, 2001, 333))
def test_each_entry_begins_where_it_says(number: int) -> None:
    text = "# first\n" * number + SIGNED
    found = read_quick(text)
    assert found is not None
    lines = text.split("\n")
    for each in found:
        assert lines[each.line - 1] == f"  - id: {each.registered.adapter.id}"
        assert lines[each.stage_line - 1] == f"    stage: {each.registered.stage}"
