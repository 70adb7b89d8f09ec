"""The registry file's text: what it means, what is refused and where, and its older forms."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from adapter_samples import digest, entry_of, ref_of, version_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yoyo.core.adapters.book import BookError, parse_book, parse_document
from yoyo.core.adapters.book_form import EMPTY, entry_text, scalar_text
from yoyo.core.adapters.book_text import MAX_BYTES, read_plain, read_yaml
from yoyo.core.adapters.lora import MAX_RANK
from yoyo.model.adapter import AdapterBook, AdapterVersion, Change, Registered, Stage
from yoyo.model.ids import ModuleId

RELEASED = Path(__file__).parents[1] / "data" / "registry"


def book_text(*entries: Registered) -> str:
    return EMPTY + "".join(entry_text(each) for each in entries)


GOOD = book_text(entry_of(version_of(tasks=("support", "triage")), notes="by hand"))


def mistakes_of(text: str) -> tuple[str, ...]:
    with pytest.raises(BookError) as caught:
        parse_book(text)
    assert all(each.startswith("line ") for each in caught.value.mistakes), caught.value.mistakes
    return caught.value.mistakes


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def line_of(part: str, text: str = GOOD) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_every_released_form_means_the_same_for_ever() -> None:
    first = parse_document((RELEASED / "schema-1.yaml").read_text())
    assert first.schema == 1
    tone, support = first.book.adapters
    assert tone == Registered(
        AdapterVersion(
            "dka-tone", "1.2.0", ModuleId("dka"), "sha256:" + "1".rjust(64, "0"),
            "sha256:" + "12".rjust(64, "0"), (), 8, Decimal(16), "llama",
        ),
        "registry.example.com/adapters/dka-tone@sha256:" + "11".rjust(64, "0"),
        Stage.PROMOTED,
        (Change(Stage.PROMOTED, datetime(2026, 3, 2, 8, 15, tzinfo=UTC), "dora"),),
        "sha256:" + "13".rjust(64, "0"),
    )  # fmt: skip
    assert support.stage is Stage.EVAL_PENDING
    assert support.history[0].by == "Ärne Öst"
    assert support.adapter.alpha == Decimal("32.5")
    assert support.notes == "waits for the evaluator: ask Ms Wu"

    second = parse_document((RELEASED / "schema-2.yaml").read_text())
    assert second.schema == 2
    tone, support = second.book.adapters
    assert tone.scale == Decimal("0.75")
    assert [str(step.stage) for step in tone.history] == ["eval_pending", "eval_ok", "promoted"]
    assert support.adapter.tasks == ("support", "triage")
    assert second.lines == (8, 30)


def test_the_documents_examples_are_registry_files() -> None:
    document = (Path(__file__).parents[2] / "docs" / "formats" / "registry.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    assert [parse_document(each).schema for each in examples] == [2, 1]
    assert len(parse_book(examples[0]).adapters) == 2


def test_the_largest_rank_of_an_artefact_can_be_registered() -> None:
    (entry,) = parse_book(changed("rank: 16", f"rank: {MAX_RANK}")).adapters
    assert entry.adapter.rank == MAX_RANK


def test_an_empty_file_of_each_schema() -> None:
    for schema in (1, 2):
        assert parse_book(f"schema: {schema}\nadapters: []\n") == AdapterBook()


def text_in(low: int, high: int) -> st.SearchStrategy[str]:
    return st.text(
        st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=low, max_size=high
    )


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
MOMENT = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda when: when.replace(tzinfo=UTC)
)
PRINTABLE = text_in(1, 40).map(
    lambda text: "".join(char for char in text if not 0x7F <= ord(char) <= 0x9F) or "x"
)


@st.composite
def entries(draw: st.DrawFn) -> Registered:
    module_id = draw(LABEL.filter(lambda label: label != "dka" and not label.startswith("dka-")))
    version = AdapterVersion(
        f"{module_id}-{draw(LABEL)}",
        draw(st.sampled_from(("0.0.1", "1.10.0", "2.0.0-rc.1", "1.0.0-1e5"))),
        ModuleId(module_id),
        digest(draw(st.integers(0, 99))), digest(draw(st.integers(0, 99))),
        tuple(sorted(draw(st.sets(LABEL, max_size=3)))),
        draw(st.integers(1, 512)),
        draw(st.decimals("0.5", 99, places=2)),
        draw(st.sampled_from(("llama", "qwen3moe", "gpt-oss"))),
    )  # fmt: skip
    times = sorted(draw(st.lists(MOMENT, min_size=1, max_size=4)))
    stages = [draw(st.sampled_from(list(Stage))) for _ in times]
    history = tuple(
        Change(stage, when, draw(PRINTABLE)) for stage, when in zip(stages, times, strict=True)
    )
    return Registered(
        version, ref_of(draw(st.integers(0, 99))), stages[-1], history, digest(5),
        draw(st.decimals(-10, 10, places=3).filter(bool)), draw(st.just("") | PRINTABLE),
    )  # fmt: skip


@given(st.lists(entries(), max_size=4, unique_by=lambda each: each.adapter.id))
def test_what_is_written_is_read_again_by_both_readers(written: list[Registered]) -> None:
    text = book_text(*written) if written else EMPTY + "  []\n"
    assert parse_book(text).adapters == tuple(written)
    plain = read_plain(text)
    if plain is not None:
        assert plain == read_yaml(text)


def test_yoyos_own_form_goes_the_short_way() -> None:
    """Otherwise a listing takes three times as long, and only that would show."""
    assert read_plain(GOOD) is not None
    assert read_plain((RELEASED / "schema-2.yaml").read_text()) is not None


PIECES = st.sampled_from((
    "a", "x: y", ": ", " #", "# c", "'", '"', '""', "[", "]", "{}", "&a ", "*a", "!t ", "|", ">",
    "- ", "-", "?", "%", "@", "`", "\\", "\t", "\r", "\n", "\n\n", "  ", "    ", " ", "é", "\x85",
    "\u2028", "\x00", "\ufeff", "...", "---", "null", "<<: ", "(", ",", "\ud800", "adapters:",
    "  - id: acme-b\n", "    history:\n", "      - stage: promoted\n", "selection:\n",
))  # fmt: skip


@settings(max_examples=600)
@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), PIECES), min_size=1, max_size=3
    )
)
def test_the_short_way_means_what_yaml_means(edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for at, cut, piece in edits:
        text = text[:at] + piece + text[at + cut :]
    plain = read_plain(text)
    if plain is not None:
        assert plain == read_yaml(text)


@pytest.mark.parametrize(
    "text",
    [
        "selection:\n  mode: stack\nschema: 2\n  most: 3\nadapters: []\n",
        GOOD.replace("schema: 2\n", "") + "schema: 2\n    version: 1.0.0\n",
        GOOD.replace("schema: 2\n", "") + "schema: 2\n  - id: acme-b\n",
        GOOD + "        by: dora\n",
        GOOD + "      - stage: retired\n",
        GOOD + "  most: 3\n",
        "schema: 2\nadapters:\n",
        "schema: 2\nadapters:\nselection:\n  mode: stack\n",
        "    rank: 16\n",
        "",
    ],
)
def test_lines_in_the_wrong_place_do_not_go_the_short_way(text: str) -> None:
    assert read_plain(text) is None


@settings(max_examples=300)
@given(st.text(max_size=200) | st.lists(PIECES, max_size=30).map("".join))
@example("schema: 2\nadapters: [" + "[" * 50)
def test_any_text_is_a_book_or_a_book_error(text: str) -> None:
    for candidate in (text, GOOD + text, "schema: 2\nadapters:\n" + text):
        try:
            parse_book(candidate)
        except BookError as error:
            assert all(each.startswith(("line ", "... ")) for each in error.mistakes)  # noqa: PT017


@given(st.text(max_size=60))
def test_quoted_text_is_itself(text: str) -> None:
    if text.isprintable():
        assert read_yaml(f"a: {scalar_text(text)}\n") == ({"a": (text, 1)}, 1)


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "an alias": (lambda: changed("rank: 16", "rank: *r"), "aliases"),
    "an anchor": (lambda: changed("rank: 16", "rank: &r 16"), "anchors"),
    "a merge key": (lambda: changed("    rank: 16", "    <<: {a: b}\n    rank: 16"), "merge keys"),
    "a tag": (lambda: changed("rank: 16", "rank: !!int 16"), "tag"),
    "a key twice": (lambda: changed("    rank: 16", "    rank: 16\n    rank: 16"), "there twice"),
    "no YAML": (lambda: changed("rank: 16", "rank: [16"), "not YAML"),
    "a tab": (lambda: changed("    rank: 16", "\trank: 16"), "not YAML"),
    "a control character": (lambda: changed("by hand", "by\x07hand"), "none of YAML's"),
    "half a character": (lambda: changed("by hand", "by \ud800"), "half a character"),
    "too deep": (lambda: changed("rank: 16", "rank: [[[[[[[[[]]]]]]]]]"), "nested deeper"),
    "two documents": (lambda: GOOD + "---\nschema: 2\n", "second document"),
    "empty": (lambda: "# nothing\n", "empty"),
    "a list": (lambda: "- a\n", "not an object"),
    "a key that is a list": (lambda: "[a]: b\n", "a key is a list"),
    "no schema": (lambda: "adapters: []\n", "`schema`"),
    "schema of another type": (lambda: "schema: two\nadapters: []\n", "`schema`"),
    "a newer schema": (lambda: "schema: 3\nadapters: []\nmore: 1\n", "newer than this yoyo"),
    "no adapters": (lambda: "schema: 2\n", "`adapters` must be a list"),
    "adapters of another type": (lambda: "schema: 2\nadapters: {}\n", "`adapters` must be a list"),
    "an unknown key above": (lambda: changed("schema: 2", "schema: 2\ncolour: red"), "'colour'"),
    "an unknown key": (lambda: changed("    rank", "    colour: red\n    rank"), "'colour'"),
    "routed": (lambda: changed("mode: stack", "mode: routed"), "not in this yoyo yet"),
    "an unknown mode": (lambda: changed("mode: stack", "mode: all"), "mode is 'all'"),
    "another most": (lambda: changed("most: 3", "most: 7"), "only 3"),
    "an unknown key of selection": (lambda: changed("most: 3", "least: 3"), "'least'"),
    "selection of another type": (
        lambda: "schema: 2\nselection: stack\nadapters: []\n", "`selection` is not an object"),
    "selection in schema 1": (
        lambda: "schema: 1\nselection: {mode: stack}\nadapters: []\n", "'selection'"),
    "an entry of another type": (lambda: "schema: 2\nadapters: [a]\n", "entry of `adapters`"),
    "a missing key": (lambda: changed("    rank: 16\n", ""), "no `rank`"),
    "an id of another tenant": (lambda: changed("moduleId: acme", "moduleId: acm"), "begin with"),
    "a shared name of a tenant": (
        lambda: changed("id: acme-support", "id: dka-x").replace("moduleId: acme", "moduleId: dk"),
        "begin with"),
    "an id that is none": (lambda: changed("id: acme-support", "id: acme-../x"), "valid name"),
    "a moduleId that is none": (lambda: changed("moduleId: acme", "moduleId: Acme"), "valid name"),
    "a version that is none": (lambda: changed('"1.0.0"', "1.0"), "no version"),
    "a tag for a digest": (lambda: changed("adapters@sha256:", "adapters:v1-"), "ref is"),
    "a tag and a digest": (lambda: changed("adapters@sha256:", "adapters:v1@sha256:"), "has a tag"),
    "no registry": (
        lambda: changed("ref: registry.example.com/", "ref: "), "names no registry"),
    "a traversal in the reference": (
        lambda: changed("example.com/adapters@", "example.com/../adapters@"), "ref is"),
    "a digest cut short": (lambda: changed(digest(2), digest(2)[:-1]), "data is"),
    "an upper-case digest": (lambda: changed(digest(2), "sha256:" + "A" * 64), "data is"),
    "a task that is none": (lambda: changed("[support, triage]", "[Support]"), "valid name"),
    "a task twice": (lambda: changed("[support, triage]", "[a, a]"), "one task twice"),
    "tasks of another type": (lambda: changed("[support, triage]", "support"), "tasks is not"),
    "a rank of 0": (lambda: changed("rank: 16", "rank: 0"), "rank is"),
    "a rank above an artefact's": (
        lambda: changed("rank: 16", f"rank: {MAX_RANK + 1}"), f"from 1 to {MAX_RANK}"),
    "an absurd rank": (lambda: changed("rank: 16", "rank: 65537"), "rank is"),
    "a rank in words": (lambda: changed("rank: 16", "rank: many"), "rank is"),
    "an alpha of 0": (lambda: changed("alpha: 32", "alpha: 0.0"), "change nothing"),
    "an alpha that is none": (lambda: changed("alpha: 32", "alpha: .nan"), "alpha is"),
    "a huge alpha": (lambda: changed("alpha: 32", "alpha: 1e400"), "alpha is"),
    "a hugely negative scale": (lambda: changed("scale: 1", "scale: -10.1"), "scale is"),
    "a scale of 0": (lambda: changed("scale: 1", "scale: 0"), "scale is 0"),
    "a scale of 0 in other words": (lambda: changed("scale: 1", "scale: -0.00"), "never weigh in"),
    "a scale in powers": (lambda: changed("scale: 1", "scale: 1e-400"), "scale is"),
    "a huge scale": (lambda: changed("scale: 1", "scale: 10.1"), "scale is"),
    "an architecture that is none": (lambda: changed("e: llama", "e: ll ama"), "architecture is"),
    "an unknown stage": (lambda: changed("    stage: promoted\n    h", "    stage: live\n    h"),
                         "stage is 'live'"),
    "promoted without sign-off": (
        lambda: changed(f"    sign_off: {digest(4)}\n", ""), "needs the evaluator"),
    "an empty sign-off": (lambda: changed(f"sign_off: {digest(4)}", 'sign_off: ""'), "needs the"),
    "a history that ends elsewhere": (
        lambda: changed("    stage: promoted\n    h", "    stage: eval_ok\n    h"), "last step"),
    "a last step of another stage": (
        lambda: changed("      - stage: promoted", "      - stage: retired"), "last step"),
    "an empty history": (
        lambda: GOOD[: GOOD.index("    history")] + "    history: []\n", "at least one step"),
    "a history of another type": (
        lambda: GOOD[: GOOD.index("    history")] + "    history: [a]\n", "not an object"),
    "a step without a name": (lambda: GOOD[: GOOD.rindex("        by")], "without 'by'"),
    "a step with more": (
        lambda: changed("    notes:", "        why: x\n    notes:"), "unknown key 'why'"),
    "a time without zone": (lambda: changed("T08:16:00Z", "T08:16:00"), "not a time"),
    "a time of no calendar": (
        lambda: changed("2026-11-02T08:16", "2026-02-30T08:16"), "no calendar"),
    "a history back in time": (lambda: changed("2026-11-02T08:16", "2026-11-01T08:16"), "back in"),
    "notes that turn the writing around": (lambda: changed("by hand", "a\u202eb"), "control"),
    "an operator without a name": (
        lambda: GOOD.replace("by: dora", 'by: ""'), "a name of 1 to"),
    "one version twice": (
        lambda: book_text(*[entry_of(version_of(), Stage.RETIRED)] * 2), "already"),
    "one identifier of two tenants": (
        lambda: book_text(
            entry_of(version_of("a-b-x", module_id="a")),
            entry_of(version_of("a-b-x", "2.0.0", "a-b"), Stage.RETIRED)),
        "is of a-b, and above of a"),
    "two promoted versions": (
        lambda: book_text(entry_of(version_of()), entry_of(version_of(version="2.0.0"))),
        "second promoted"),
    "too large": (lambda: GOOD + "#" * MAX_BYTES, "larger than"),
    "too many": (lambda: "schema: 2\nadapters: [" + "a," * 20_001 + "]\n", "more than 20000"),
    "a line break of another world": (lambda: changed("by hand", '"a\u2028b"'), "control"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_its_line(name: str) -> None:
    make, reason = REFUSED[name]
    assert any(reason in each for each in mistakes_of(make())), mistakes_of(make())


def test_the_line_is_the_mistakes_own() -> None:
    for old, new in (("rank: 16", "rank: 0"), ("most: 3", "most: 4"), ("by hand", "a\u202eb"),
                     ("mode: stack", "mode: routed"), ("rank: 16", "rank: !!int 16")):  # fmt: skip
        (mistake,) = mistakes_of(changed(old, new))
        assert mistake.startswith(f"line {line_of(old)}: "), mistake


def test_all_mistakes_are_told_at_once_but_not_without_end() -> None:
    text = changed("rank: 16", "rank: 0").replace("alpha: 32", "alpha: x")
    assert len(mistakes_of(text)) == 2
    many = "schema: 2\nadapters:\n" + "".join(f"  - no{at}\n" for at in range(50))
    with pytest.raises(BookError) as caught:
        parse_book(many)
    assert len(caught.value.mistakes) == 21
    assert caught.value.mistakes[-1] == "... and 30 more"


@pytest.mark.parametrize("key", ["changed_by", "changed_at"])
def test_schema_1_is_read_strictly_too(key: str) -> None:
    text = (RELEASED / "schema-1.yaml").read_text()
    lines = [line for line in text.splitlines(keepends=True) if f"{key}:" not in line]
    assert mistakes_of("".join(lines)) == (
        f"line 5: the entry has no `{key}`",
        f"line 19: the entry has no `{key}`",
    )
    for newer in ("scale: 1", "history: []"):
        told = mistakes_of(text.replace("    rank: 8\n", f"    rank: 8\n    {newer}\n"))
        assert "schema 1" in told[0]


def test_a_bomb_of_aliases_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + at)}: &{chr(98 + at)} [{', '.join([f'*{chr(97 + at)}'] * 9)}]\n"
        for at in range(12)
    )
    assert mistakes_of(bomb)[0].startswith("line 1: ")


def test_a_thousand_versions_by_the_short_way_take_less_time_than_by_yaml() -> None:
    """The listing's budget hangs on it; a ratio, as this machine's speed is nobody's promise."""
    text = book_text(*(
        entry_of(version_of(f"acme-a{at}"), Stage.EVAL_PENDING, Stage.EVAL_OK, Stage.PROMOTED)
        for at in range(1000)
    ))  # fmt: skip
    taken: dict[str, list[float]] = {"short": [], "yaml": []}
    for _ in range(5):
        for name, read in (("short", read_plain), ("yaml", read_yaml)):
            begun = time.perf_counter()
            read(text)
            taken[name].append(time.perf_counter() - begun)
    assert min(taken["short"]) < min(taken["yaml"])


def test_a_moment_in_another_zone_is_written_in_utc() -> None:
    entry = entry_of(version_of())
    zone = timezone(timedelta(hours=5, minutes=30))
    moved = entry._replace(
        history=tuple(step._replace(at=step.at.astimezone(zone)) for step in entry.history)
    )
    assert entry_text(moved) == entry_text(entry)
