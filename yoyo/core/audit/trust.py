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
    before that does neither. A key whose own announcement was deleted with its month is trusted by
    the checkpoint that it signed together with the key that followed it.

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
    follower.look_back(agreeing, rows)
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
            key = _parsed(text) if row.entry.error_code == KEY_ADDED and text is not None else None
            if key is not None and self._is_new(key):
                self.keys.append(key)

    def look_back(self, agreeing: Sequence[Checkpoint], rows: Sequence[Row]) -> None:
        """Trust retired keys whose KEY_ADDED row is gone, each up to the end that rows give it.

        A checkpoint that agrees, by a trusted key and by the retired one, over the KEY_RETIRED
        row: whatever the retired key signed of this history up to there is part of what the
        trusted key signed, so that believing it proves nothing more.
        """
        read = (_parsed(text) for text in self._texts.values())
        unknown = [key for key in read if key is not None and self._is_new(key)]
        for each in reversed(agreeing):
            if not unknown:
                return
            size = each.head.size
            new = self._among(each, unknown)
            if not new or not any(size <= self.until(key) for key in self.signers(each)):
                continue
            ends = _ends(in_force(row for row in rows if row.seq <= size), size)
            for key in new:
                if self._is_new(key) and size <= ends.get(_job(key), 0):
                    self._until[_job(key)] = min(float(size), self.until(key))
                    self.keys.append(key)
            unknown = [key for key in unknown if self._is_new(key)]

    def _among(self, checkpoint: Checkpoint, keys: Sequence[VerifierKey]) -> list[VerifierKey]:
        """Those of the keys whose signature on it holds."""
        return [
            key
            for key in keys
            for line in checkpoint.signatures
            if (line.name, line.key_id) == (key.name, key.key_id)
            and self.is_signed(key, checkpoint.body, line.signature)
        ]

    def _is_new(self, key: VerifierKey) -> bool:
        # Two keys of one name and id could not be told apart in a note.
        return all((key.name, key.key_id) != (each.name, each.key_id) for each in self.keys)


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


def _parsed(text: bytes) -> VerifierKey | None:
    try:
        return parse_vkey(text.decode())
    except (NoteError, UnicodeDecodeError):
        return None


def _job(key: VerifierKey) -> str:
    return f"key/{key.key_id.hex()}"
