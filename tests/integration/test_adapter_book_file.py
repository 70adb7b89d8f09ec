"""The registry file on a disk: people's own text around it, and what is refused."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.adapters.book import parse_document
from yoyo.core.adapters.book_form import EMPTY, entry_text
from yoyo.core.adapters.stages import promote, register, retire
from yoyo.drivers.files import adapter_book_edit
from yoyo.drivers.files.adapter_book import YamlAdapterBook
from yoyo.errors import AdapterBookInvalid, AdapterStageWrong, StateUnwritable
from yoyo.model.adapter import AdapterBook, AdapterVersion, Registered, Stage
from yoyo.model.ids import ModuleId

RELEASED = Path(__file__).parents[1] / "data" / "registry"
AT = datetime(2026, 11, 2, 8, 15, tzinfo=UTC)


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def entered(
    book: AdapterBook, version: str = "1.0.0", name: str = "acme-support", scale: str = "1"
) -> list[Registered]:
    adapter = AdapterVersion(
        name, version, ModuleId("acme"), digest(1), digest(2), ("qa",), 16, Decimal(32), "llama"
    )
    return register(
        book, adapter, f"registry.example.com/a@{digest(3)}", sign_off=digest(4), result="passed",
        at=AT, by="dora", scale=Decimal(scale),
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "adapters" / "registry.yaml"


def test_there_is_no_file_yet(path: Path) -> None:
    assert YamlAdapterBook(path).read() == AdapterBook()
    assert YamlAdapterBook(path).change(lambda _: []) == AdapterBook()
    assert not path.exists()


def test_the_first_entry_makes_the_file(path: Path) -> None:
    book = YamlAdapterBook(path)
    told = book.change(entered)
    assert told == book.read()
    assert [each.adapter.name for each in told.adapters] == ["acme-support@1.0.0"]
    assert path.read_text().startswith("# The LoRA adapters")
    assert [each.name for each in path.parent.iterdir()] == ["registry.yaml"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


OWN = f"""\
# Our adapters. Ask Dora before you touch this!
schema: 2

selection: {{mode: stack, most: 3}}   # as ever

adapters:
    # ---- support ----
    - id: 'acme-support'   # the good one
      "version": 1.0.0
      # where it comes from
      base: {digest(1)}
      data: {digest(2)}
      moduleId: acme
      ref: >-
        registry.example.com/a@{digest(3)}
      alpha:   32.0
      rank: 16
      architecture: llama

      stage: "eval_ok"  # since Monday
      sign_off: {digest(4)}   # Eva's
      history:
        # the only step
        - {{by: "Dora", at: 2026-11-02T08:15:00Z, stage: eval_ok}}  # herself
      # nobody has written notes yet

    # ---- mail ----
    - id: acme-mail
      version: 1.0.0
      moduleId: acme
      base: {digest(1)}
      data: {digest(2)}
      ref: registry.example.com/a@{digest(3)}
      alpha: 8
      rank: 8
      architecture: llama
      stage: eval_pending
      history: [{{stage: eval_pending, at: 2026-11-02T08:15:00Z, by: Dora}}]
# The end.
"""


def test_a_change_touches_the_lines_of_its_entry_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(OWN)
    YamlAdapterBook(path).change(
        lambda book: promote(book, "acme-support@1.0.0", at=AT.replace(day=3), by="Ed: x")
    )
    expected = OWN
    for old, new in (
        ("alpha:   32.0", "alpha: 32.0"),  # what the round trip does not keep
        ('"eval_ok"  # since', '"promoted" # since'),
        (
            "stage: eval_ok}  # herself\n",
            "stage: eval_ok}  # herself\n"
            '        - {stage: promoted, at: 2026-11-03T08:15:00Z, by: "Ed: x"}\n',
        ),
    ):
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert path.read_text() == expected


def test_a_comment_behind_the_history_stays_behind_it(path: Path) -> None:
    book = YamlAdapterBook(path)
    book.change(entered)
    text = path.read_text().rstrip("\n") + "  # herself\n    # hold it back\n    notes: new\n"
    path.write_text(text)
    book.change(lambda b: promote(b, "acme-support@1.0.0", at=AT.replace(day=3), by="dora"))
    expected = text.replace("stage: eval_ok\n    history", "stage: promoted\n    history").replace(
        "  # herself\n",
        "  # herself\n      - stage: promoted\n        at: 2026-11-03T08:15:00Z\n"
        "        by: dora\n",
    )
    assert path.read_text() == expected


def test_a_new_entry_is_added_in_the_files_own_indentation(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(OWN)
    YamlAdapterBook(path).change(lambda book: entered(book, "2.0.0"))
    text = path.read_text()
    head, tail = OWN.removesuffix("# The end.\n"), text[len(OWN) - len("# The end.\n") :]
    assert text.startswith(head)
    assert tail.startswith('    - id: acme-support\n      version: "2.0.0"\n')
    assert tail.endswith("\n# The end.\n")


def as_braces(entry: Registered) -> str:
    from yoyo.core.adapters.book_form import fields_of

    def flow(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key}: {flow(each)}" for key, each in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(flow, value)) + "]"
        return f'"{value}"'

    return flow(fields_of(entry))


@pytest.mark.parametrize("form", ["braces", "a document marker", "left-most", "no newline",
                                  "a wide dash", "an empty list"])  # fmt: skip
def test_other_styles_are_changed_too(path: Path, form: str) -> None:
    (entry,) = entered(AdapterBook())
    text = EMPTY + entry_text(entry)
    if form == "braces":
        text = f"# mine\nschema: 2\nadapters: [{as_braces(entry)}]  # all\n"
    elif form == "a document marker":
        text = f"---\n{text}...\n"
    elif form == "left-most":
        text = EMPTY + entry_text(entry, 0).replace("  - stage", "- stage").replace(
            "    at:", "  at:").replace("    by:", "  by:")  # fmt: skip
    elif form == "no newline":
        text = text.rstrip("\n")
    elif form == "a wide dash":
        text = text.replace("  - id", "  -   id").replace("\n    ", "\n      ")
    else:
        text = "# mine\nschema: 2\nadapters: []  # none yet\n"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    book = YamlAdapterBook(path)
    there = len(book.read().adapters)
    assert there == (form != "an empty list")
    book.change(lambda b: entered(b, "2.0.0"))
    book.change(lambda b: promote(b, "acme-support@2.0.0", at=AT, by="dora"))
    told = book.read()
    assert [str(each.stage) for each in told.adapters] == ["eval_ok"] * there + ["promoted"]
    assert told.adapters[:there] == (entry,) * there
    if "# mine" in text:
        assert path.read_text().startswith("# mine\n")
    book.change(lambda b: retire(b, "acme-support@2.0.0", at=AT, by="dora"))
    assert path.read_text().count("retired") == 2


def test_a_file_of_the_first_schema_is_lifted_when_it_is_written(path: Path) -> None:
    path.parent.mkdir(parents=True)
    old = (RELEASED / "schema-1.yaml").read_text()
    path.write_text(old)
    book = YamlAdapterBook(path)
    before = book.read()
    assert book.change(lambda _: []) == before
    assert path.read_text() == old
    after = book.change(lambda b: retire(b, "dka-tone@1.2.0", at=AT, by="dora"))
    text = path.read_text()
    assert parse_document(text).schema == 2
    assert book.read() == after
    assert after.adapters[1] == before.adapters[1]
    assert "changed_" not in text
    for line in old.splitlines():
        if "#" in line:
            assert "#" + line.partition("#")[2] in text
    assert text.index("# A tenant's") < text.index("id: acme-support")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12), st.booleans()), max_size=8),
    st.sampled_from(("retire", "add", "sign-off", "sign-off alone")),
    st.sampled_from((0, 2, 4)),
)
def test_no_comment_is_lost_wherever_it_stands(
    comments: list[tuple[int, int, bool]], step: str, indent: int
) -> None:
    book = AdapterBook()
    for version in ("1.0.0", "2.0.0"):
        book = AdapterBook((*book.adapters, *entered(book, version)))
    (pending,) = register(
        book, book.adapters[0].adapter._replace(version="3.0.0"), "example.com/a@" + digest(9),
        sign_off="", result="", at=AT, by="dora",
    )  # fmt: skip
    book = AdapterBook((*book.adapters, pending))
    lines = (EMPTY + "".join(entry_text(each, indent) for each in book.adapters)).split("\n")[:-1]
    for number, (place, column, inline) in enumerate(comments):
        at = place % len(lines)
        if inline and lines[at].strip() and not lines[at].strip().startswith("#"):
            lines[at] += f"  # note {number}."
        else:
            lines.insert(at, " " * column + f"# note {number}.")
    text = "\n".join(lines) + "\n"
    before = parse_document(text)
    assert before.book == book
    if step == "retire":
        changed = retire(book, "acme-support@1.0.0", at=AT, by="dora")
    elif step == "add":
        changed = entered(book, "4.0.0")
    else:
        changed = register(
            book, pending.adapter, pending.ref, sign_off=digest(8), result="passed", at=AT,
            by="dora", notes="new" if step == "sign-off" else "",
        )  # fmt: skip
    by_name = {each.adapter.name: each for each in (*book.adapters, *changed)}
    new = adapter_book_edit.spliced(text, before, changed)
    assert parse_document(new).book == AdapterBook(tuple(by_name.values()))
    for number in range(len(comments)):
        assert new.count(f"# note {number}.") == 1
    new = adapter_book_edit.rewritten(text, tuple(by_name.values()))
    assert parse_document(new).book == AdapterBook(tuple(by_name.values()))
    for number in range(len(comments)):
        assert new.count(f"# note {number}.") == 1


def test_what_decide_raises_leaves_the_file_untouched(path: Path) -> None:
    book = YamlAdapterBook(path)
    book.change(entered)
    before = path.stat()
    with pytest.raises(AdapterStageWrong):
        book.change(lambda b: promote(b, "acme-other@1.0.0", at=AT, by="dora"))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_what_no_file_may_say_is_not_written(path: Path) -> None:
    book = YamlAdapterBook(path)
    book.change(entered)
    before = path.read_text()
    (bad,) = entered(AdapterBook(), "2.0.0")
    with pytest.raises(AdapterBookInvalid):
        book.change(lambda _: [bad._replace(notes="a\u202eb")])
    with pytest.raises(AdapterBookInvalid):
        book.change(lambda _: [bad._replace(stage=Stage.PROMOTED)])
    assert path.read_text() == before


def test_a_round_trip_that_would_say_something_else_is_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = YamlAdapterBook(path)
    book.change(entered)
    before = path.read_text()
    wrong = before.replace("rank: 16", "rank: 17")
    monkeypatch.setattr(adapter_book_edit, "spliced", lambda *_: wrong)
    monkeypatch.setattr(adapter_book_edit, "rewritten", lambda *_: wrong)
    with pytest.raises(AdapterBookInvalid, match="not changed"):
        book.change(lambda b: promote(b, "acme-support@1.0.0", at=AT, by="dora"))
    assert path.read_text() == before


def test_mode_and_links_stay(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "adapters.yaml"
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    book = YamlAdapterBook(path)
    book.change(entered)
    real.chmod(0o640)
    book.change(lambda b: entered(b, "2.0.0"))
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in real.parent.iterdir()] == [real.name]


@pytest.mark.parametrize("kind", ["a directory", "a fifo", "too large", "no UTF-8", "a circle",
                                  "newer", "a bomb"])  # fmt: skip
def test_what_is_no_registry_file_is_refused(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True)
    if kind == "a directory":
        path.mkdir()
    elif kind == "a fifo":
        os.mkfifo(path)
    elif kind == "a circle":
        path.symlink_to(path)
    else:
        path.write_bytes({
            "too large": b"#" * (8 * 1024 * 1024 + 1),
            "no UTF-8": b"schema: 2\nadapters: \xff\n",
            "newer": b"schema: 9\n",
            "a bomb": b"a: &a [x]\nb: [*a, *a]\n",
        }[kind])  # fmt: skip
    for act in (YamlAdapterBook(path).read, lambda: YamlAdapterBook(path).change(entered)):
        with pytest.raises(AdapterBookInvalid) as caught:
            act()
        assert caught.value.why
        assert caught.value.fix


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StateUnwritable, AdapterBookInvalid)):
        YamlAdapterBook(tmp_path / "file" / "registry.yaml").change(entered)


def test_a_part_that_was_left_is_no_hindrance(path: Path) -> None:
    path.parent.mkdir(parents=True)
    (path.parent / ".registry.yaml.part").write_text("schema: torn")
    YamlAdapterBook(path).change(entered)
    assert [each.name for each in path.parent.iterdir()] == ["registry.yaml"]


def test_a_holder_that_does_not_end_is_named_as_the_reason(path: Path) -> None:
    YamlAdapterBook(path).change(entered)
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(StateUnwritable) as caught:
            YamlAdapterBook(path, wait_s=0.1).change(lambda b: entered(b, "2.0.0"))
        assert "Another process" in caught.value.why
        assert len(YamlAdapterBook(path).read().adapters) == 1  # readers do not wait
    finally:
        os.close(fd)
