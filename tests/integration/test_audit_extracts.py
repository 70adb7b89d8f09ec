"""Extracts end to end: a tenant's rows, provable, and nothing of anybody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_parts import Audited

from yoyo.core.audit.extract import ExtractReport
from yoyo.errors import CheckpointFailed, CheckpointInvalid, CheckpointMismatch, TraceNotFound
from yoyo.model.audit import VerifierKey
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.ops.audit.extract import extract, module_named, verdict, verify_extract
from yoyo.wiring_audit import make_note_key, note_verifier, whole_lines, written_whole


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    made = Audited(tmp_path / "ledger")
    for module, count in (("acme", 3), ("rival", 2), ("acme", 2), ("third", 1)):
        made.book(count, module, code=f"OF_{module.upper()}")
    checkpoint(made.ctx)
    return made


@pytest.fixture
def acme(house: Audited) -> Path:
    out = house.home / "acme.jsonl"
    with written_whole(out) as write:
        extract(house.ctx, "acme", write)
    return out


def checked(path: Path, key: VerifierKey) -> ExtractReport:
    with whole_lines(path) as lines:
        return verify_extract(lines, [key], note_verifier())


def test_it_holds_and_has_nothing_of_anybody_else(house: Audited, acme: Path) -> None:
    report = checked(acme, house.key)
    assert (report.ok, report.rows, report.module) == (True, 5, "acme")
    assert report.others == report.checkpoint.head.size - 5
    text = acme.read_text()
    assert "rival" not in text.lower()
    assert "third" not in text.lower()
    assert text.count("OF_ACME") == 5


def test_rows_after_the_checkpoint_are_not_in_it(house: Audited) -> None:
    house.book(4, "acme")
    out = house.home / "later.jsonl"
    with written_whole(out) as write:
        done = extract(house.ctx, "acme", write)
    assert done.rows == 5


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (",0.25,", ",0.05,", "not in the signed tree"),
        (",acme,", ",rival,", "of another module"),
        ('"seq":2', '"seq":3', "seq"),
    ],
)
def test_a_changed_row_is_found(
    house: Audited, acme: Path, old: str, new: str, reason: str
) -> None:
    lines = acme.read_text().splitlines(keepends=True)
    assert old in lines[2]
    lines[2] = lines[2].replace(old, new)
    acme.write_text("".join(lines))
    report = checked(acme, house.key)
    assert not report.ok
    assert any(reason in each.reason for each in report.problems)
    assert isinstance(verdict(report), CheckpointMismatch)


def test_a_dropped_row_is_found(house: Audited, acme: Path) -> None:
    lines = acme.read_text().splitlines(keepends=True)
    acme.write_text("".join(lines[:3] + lines[4:]))
    assert not checked(acme, house.key).ok


def test_another_key_proves_nothing(acme: Path, tmp_path: Path) -> None:
    stranger = make_note_key(tmp_path / "x.pem", "ledger.example.org/gpu", {})
    with pytest.raises(CheckpointInvalid, match="proves nothing"):
        checked(acme, stranger)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}", b'{"format":"x"}\n', b"\xff\xfe", b"[" * 100_000, b"x" * 2_000_000],
)
def test_what_is_no_extract_is_refused_in_words(house: Audited, content: bytes) -> None:
    path = house.home / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(CheckpointInvalid):
        checked(path, house.key)


def test_a_ledger_that_was_changed_gives_no_extract(house: Audited) -> None:
    lines = house.lines()
    house.write([*lines[:2], *lines[3:]])
    out = house.home / "none.jsonl"
    with pytest.raises(CheckpointMismatch), written_whole(out) as write:
        extract(house.ctx, "acme", write)
    assert not out.exists()
    assert not list(house.home.glob("*.part"))


def test_a_module_without_rows_gives_an_empty_extract(house: Audited) -> None:
    out = house.home / "none.jsonl"
    with written_whole(out) as write:
        assert extract(house.ctx, "nobody", write).rows == 0
    assert checked(out, house.key).ok


def test_without_a_checkpoint_there_is_nothing_to_prove_against(tmp_path: Path) -> None:
    bare = Audited(tmp_path / "bare")
    bare.book(1)
    with pytest.raises(CheckpointFailed, match="no checkpoint"):
        extract(bare.ctx, "acme", bytes)


@pytest.mark.parametrize("text", ["", "A", "a b", "-a", "a" * 64, "\x1b[31m", "../x"])
def test_what_is_no_module_is_refused(text: str) -> None:
    with pytest.raises(TraceNotFound):
        module_named(text)


def test_one_of_two_thousand_tenants(tmp_path: Path) -> None:
    house = Audited(tmp_path / "many")
    lines = list(_many(house))
    assert len(lines) == 2001
    checkpoint(house.ctx)
    out = house.home / "one.jsonl"
    with written_whole(out) as write:
        assert extract(house.ctx, "t7", write).rows == 1
    assert checked(out, house.key).ok


def _many(house: Audited) -> Iterator[bytes]:
    for number in range(2000):
        house.book(1, f"t{number}")
    return iter(house.lines())
