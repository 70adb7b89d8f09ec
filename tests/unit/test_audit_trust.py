"""Whose word counts on which checkpoint, by the rows about keys."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.audit.about import in_force, refusal_of
from yoyo.core.audit.note import format_vkey, verifier_key
from yoyo.core.audit.trust import Trust, follow_keys
from yoyo.model.audit import Checkpoint, NoteSignature, TreeHead, VerifierKey
from yoyo.model.ledger import (
    HEARTBEAT,
    KEY_ADDED,
    KEY_REFUSED,
    KEY_RETIRED,
    LEDGER_NODE,
    SHARED,
    CompletionStatus,
    Entry,
    EventType,
    Row,
)

ORIGIN = "ledger.example/one"
A, B, C = (verifier_key(ORIGIN, bytes([n]) * 32) for n in (1, 2, 3))
TEXTS = [format_vkey(key).encode() for key in (B, C)]


class Counting:
    """Believes each signature that is its key's public half twice; counts the looks."""

    def __init__(self) -> None:
        self.looks = 0

    def is_signed(self, key: VerifierKey, body: bytes, signature: bytes) -> bool:
        self.looks += 1
        return signature == key.public * 2


def row(seq: int, code: str, job: str, digest: str = "") -> Row:
    entry = Entry(
        EventType.CHECKPOINT, SHARED, LEDGER_NODE, job, CompletionStatus.SUCCESS, "op",
        error_code=code, input_hash=digest,
    )  # fmt: skip
    return Row(entry, f"e{seq}", datetime(2026, 10, 1, tzinfo=UTC), seq, f"{seq:064x}", seq + 1)


def added(seq: int, key: VerifierKey) -> Row:
    text = format_vkey(key).encode()
    return row(seq, KEY_ADDED, f"key/{key.key_id.hex()}", f"sha256:{sha256(text).hexdigest()}")


def retired(seq: int, key: VerifierKey) -> Row:
    return row(seq, KEY_RETIRED, f"key/{key.key_id.hex()}")


def beat(seq: int) -> Row:
    return row(seq, HEARTBEAT, "checkpoint/0")


def refused(seq: int, other: Row) -> Row:
    return row(seq, KEY_REFUSED, *refusal_of(other))


def note(size: int, *keys: VerifierKey, root: bytes = b"r") -> tuple[str, Checkpoint]:
    lines = tuple(NoteSignature(key.name, key.key_id, key.public * 2) for key in keys)
    return f"n{size}", Checkpoint(ORIGIN, TreeHead(size, root * 32), (), b"%d" % size, lines)


def followed(rows: list[Row], *notes: tuple[str, Checkpoint]) -> Trust:
    heads = {n: TreeHead(n, b"r" * 32) for n in range(1, 100)}
    return follow_keys(notes, [A], heads, rows, TEXTS, Counting())


def valid(found: Trust) -> list[bool]:
    return [each.valid for each in found.held]


CHANGE = [beat(5), added(8, B), retired(9, A), beat(10), beat(20)]


def test_a_change_of_keys() -> None:
    found = followed(CHANGE, note(5, A), note(10, A, B), note(20, B))
    assert (found.keys, valid(found)) == ((A, B), [True, True, True])


def test_the_old_key_counts_up_to_the_change_and_not_after() -> None:
    found = followed(CHANGE, note(5, A), note(10, A, B), note(15, A), note(20, A))
    assert valid(found) == [True, True, False, False]
    # Also where the checkpoint of the change is not among them.
    assert valid(followed(CHANGE, note(5, A), note(20, A))) == [True, False]
    # And for a history that is not this one.
    assert valid(followed(CHANGE, note(10, A, B), note(20, A, root=b"x"))) == [True, False]


def test_a_retired_key_vouches_for_no_other() -> None:
    found = followed([*CHANGE[:4], added(15, C), beat(20)], note(10, A, B), note(20, A))
    assert (found.keys, valid(found)) == ((A, B), [True, False])


def test_a_key_that_no_checkpoint_announces_is_nobodys() -> None:
    assert valid(followed(CHANGE, note(5, A), note(20, B))) == [True, False]
    assert followed(CHANGE, note(5, A)).keys == (A,)


def test_a_row_that_was_refused_before_it_was_signed_counts_for_nothing() -> None:
    planted, gone = added(6, B), retired(7, A)
    rows = [beat(5), planted, gone, beat(8), refused(9, planted), refused(10, gone), beat(11)]
    found = followed(rows, note(5, A), note(11, A), note(20, A), note(21, B))
    assert (found.keys, valid(found)) == ((A,), [True, True, True, False])


def test_what_was_signed_is_not_taken_back_later() -> None:
    rows = [*CHANGE[:4], refused(12, CHANGE[1]), refused(13, CHANGE[2]), beat(14)]
    found = followed(rows, note(10, A, B), note(14, B), note(20, A))
    assert (found.keys, valid(found)) == ((A, B), [True, True, False])


def test_a_refusal_names_the_very_row() -> None:
    planted = added(6, B)
    other = planted._replace(row_hash="f" * 64)
    found = followed([planted, refused(7, other), beat(8)], note(8, A))
    assert found.keys == (A, B)


@given(st.lists(st.booleans(), max_size=8))
def test_a_refusal_may_be_refused(kept: list[bool]) -> None:
    rows, last = [added(1, B)], added(1, B)
    for seq, _ in enumerate(kept, 2):
        last = refused(seq, last)
        rows.append(last)
    assert (rows[0] in in_force(rows)) == (len(kept) % 2 == 0)


def test_a_year_of_hourly_checkpoints_is_gone_through_once() -> None:
    count, verifier = 3000, Counting()
    heads = {n: TreeHead(n, b"r" * 32) for n in range(1, count + 1)}
    notes = [note(n, A) for n in range(1, count + 1)]
    found = follow_keys(notes, [A], heads, [beat(n) for n in heads], [], verifier)
    assert all(each.valid for each in found.held)
    assert verifier.looks == count
