"""Retired keys whose own announcement was deleted: trusted backwards, up to their end."""

from __future__ import annotations

from test_audit_trust import (
    CHANGE,
    ORIGIN,
    TEXTS,
    A,
    B,
    C,
    Counting,
    added,
    beat,
    note,
    refused,
    retired,
)

from yoyo.core.audit.against import AgainstReport, findings
from yoyo.core.audit.note import format_vkey
from yoyo.core.audit.trust import Trust, follow_keys
from yoyo.model.audit import Checkpoint, TreeHead, VerifierKey
from yoyo.model.ledger import Row

ALL = [format_vkey(A).encode(), *TEXTS]


def followed(
    keys: list[VerifierKey], rows: list[Row], *notes: tuple[str, Checkpoint], first: int = 1
) -> Trust:
    heads = {n: TreeHead(n, b"r" * 32) for n in range(first, 100)}
    return follow_keys(notes, keys, heads, rows, ALL, Counting())


def report(found: Trust, first: int, rows: int = 99) -> AgainstReport:
    heads = {n: TreeHead(n, b"r" * 32) for n in range(first, rows + 1)}
    return findings(found.held, heads, rows, ORIGIN)


def valid(found: Trust) -> list[bool]:
    return [each.valid for each in found.held]


NOTES = (note(5, A), note(7, A), note(10, A, B), note(20, B))


def test_the_new_key_vouches_for_the_one_that_it_followed() -> None:
    found = followed([B], CHANGE[1:], *NOTES, first=6)  # rows 1 to 5 are gone
    assert (found.keys, valid(found)) == ((B, A), [True, True, True, True])
    said = report(found, 6)
    assert (said.findings, said.too_old, said.agreed) == ((), ("n5",), 20)


def test_over_several_changes() -> None:
    rows = [*CHANGE[1:], added(28, C), retired(29, B), beat(30)]
    found = followed([C], rows, *NOTES, note(30, B, C), note(40, C), first=6)
    assert set(found.keys) == {A, B, C}
    assert all(valid(found))


def test_the_old_key_does_not_count_after_its_end() -> None:
    found = followed([B], CHANGE[1:], *NOTES, note(25, A), first=6)
    assert valid(found) == [True, True, True, True, False]
    found = followed([B], CHANGE[1:], *NOTES, note(20, A, B), first=6)
    assert A in found.keys
    assert valid(followed([B], CHANGE[1:], note(7, A), note(20, A, B), first=6)) == [False, True]


def test_its_end_stays_where_a_later_row_takes_it_back() -> None:
    rows = [*CHANGE[1:4], refused(12, CHANGE[2]), beat(14), added(28, C), retired(29, B), beat(30)]
    notes = (note(7, A), note(10, A, B), note(15, A), note(30, B, C))
    found = followed([C], rows, *notes, first=6)
    assert valid(found) == [True, True, False, True]


def test_without_the_row_or_the_old_keys_signature_it_is_nobodys() -> None:
    no_row = [row for row in CHANGE[1:] if row.entry.error_code != "KEY_RETIRED"]
    assert followed([B], no_row, *NOTES, first=6).keys == (B,)
    lost = (note(7, A), note(10, B), note(20, B))
    assert followed([B], CHANGE[1:], *lost, first=6).keys == (B,)
    alone = (note(7, A), note(10, A), note(20, B))  # a thief of A retires it
    assert followed([B], CHANGE[1:], *alone, first=6).keys == (B,)
    forged = (note(7, A), note(10, A, B, root=b"x"), note(20, B))
    assert followed([B], CHANGE[1:], *forged, first=6).keys == (B,)


def test_a_note_of_deleted_months_is_too_old_whoever_signed_it() -> None:
    found = followed([B], [beat(20)], note(3, A), note(7, A), note(20, B), first=6)
    said = report(found, 6)
    assert said.too_old == ("n3",)
    assert [(each.kind.value, each.name) for each in said.findings] == [("key-mismatch", "n7")]
