"""Whose signatures count on which checkpoints: the changes of keys, followed row by row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from math import inf
from typing import NamedTuple

from yoyo.core.audit.about import in_force
from yoyo.core.audit.against import Held
from yoyo.core.audit.note import NoteError, Verifies, check_note, parse_vkey
from yoyo.model.audit import Checkpoint, TreeHead, VerifierKey
from yoyo.model.ledger import HEARTBEAT, KEY_ADDED, KEY_RETIRED, Row


class Trust(NamedTuple):
    """Who is trusted in the end, and which checkpoints hold by them."""

    keys: tuple[VerifierKey, ...]  # in the order in which they came to be trusted
    held: tuple[Held, ...]


def follow_keys(
    checkpoints: Sequence[tuple[str, Checkpoint]],
    keys: Sequence[VerifierKey],
    heads: Mapping[int, TreeHead],
    rows: Sequence[Row],
    texts: Iterable[bytes],
    verifier: Verifies,
) -> Trust:
    """Go from the smallest checkpoint that agrees with the ledger to the largest.

    The first that holds over a KEY_ADDED row makes that key trusted, and the first over a
    KEY_RETIRED row is the last that the old key counts for. A row that KEY_REFUSED takes back
    before that does neither.

    `checkpoints` by size; `rows` are those about keys and heartbeats; `texts` verifier keys that
    may be announced.
    """
    follower = _Follower(keys, texts, verifier)
    seqs = [row.seq for row in rows]
    agreeing = [each for _, each in checkpoints if heads.get(each.head.size) == each.head]
    done = covered = 0
    for size, group in groupby(agreeing, key=lambda each: each.head.size):
        signers = {key for each in group for key in follower.signers(each)}
        if not signers:
            continue
        end = bisect_right(seqs, size)
        told = in_force(rows[done:end])
        ends = _ends(told, size)
        if any(size <= min(follower.until(key), ends.get(_job(key), inf)) for key in signers):
            follower.take(told, ends)
            done, covered = end, size
    held = []
    for name, each in checkpoints:
        size = each.head.size
        # Beyond the last that held, every one that agrees was looked at with the same keys.
        looked_at = size > covered and heads.get(size) == each.head
        valid = not looked_at and any(size <= follower.until(k) for k in follower.signers(each))
        held.append(Held(name, each, valid))
    return Trust(tuple(follower.keys), tuple(held))


class _Follower:
    """Who is trusted so far, and until which size."""

    def __init__(
        self, keys: Sequence[VerifierKey], texts: Iterable[bytes], verifier: Verifies
    ) -> None:
        self.keys = list(keys)
        self._texts = {f"sha256:{sha256(text).hexdigest()}": text for text in texts}
        self._verifier = verifier
        self._known: dict[tuple[VerifierKey, bytes, bytes], bool] = {}
        self._until: dict[str, float] = {}

    def is_signed(self, key: VerifierKey, body: bytes, signature: bytes) -> bool:
        """As the verifier says, which is asked once."""
        asked = (key, body, signature)
        if asked not in self._known:
            self._known[asked] = self._verifier.is_signed(key, body, signature)
        return self._known[asked]

    def signers(self, checkpoint: Checkpoint) -> tuple[VerifierKey, ...]:
        """The trusted keys whose signature holds."""
        try:
            return check_note(checkpoint, self.keys, self)
        except NoteError:
            return ()

    def until(self, key: VerifierKey) -> float:
        """The largest size that the key's word counts for."""
        return self._until.get(_job(key), inf)

    def take(self, told: Iterable[Row], ends: Mapping[str, float]) -> None:
        """Believe these rows."""
        for job, end in ends.items():
            self._until[job] = min(end, self._until.get(job, inf))
        for row in told:
            text = self._texts.get(row.entry.input_hash)
            if row.entry.error_code != KEY_ADDED or text is None:
                continue
            try:
                key = parse_vkey(text.decode())
            except (NoteError, UnicodeDecodeError):
                continue
            # Two keys of one name and id could not be told apart in a note.
            if all((key.name, key.key_id) != (each.name, each.key_id) for each in self.keys):
                self.keys.append(key)


def _ends(told: Sequence[Row], size: int) -> dict[str, float]:
    """By the job_id of each retirement, the size of the checkpoint that it ends with."""
    ends: dict[str, float] = {}
    waiting: list[str] = []
    for row in told:
        if row.entry.error_code == KEY_RETIRED:
            waiting.append(row.entry.job_id)
        elif row.entry.error_code == HEARTBEAT:
            ends = dict.fromkeys(waiting, float(row.seq)) | ends
            waiting.clear()
    return dict.fromkeys(waiting, float(size)) | ends


def _job(key: VerifierKey) -> str:
    return f"key/{key.key_id.hex()}"
