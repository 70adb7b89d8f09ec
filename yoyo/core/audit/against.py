"""What it means when a ledger and the checkpoints that were signed of it do not agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from yoyo.model.audit import Checkpoint, TreeHead


class FindingKind(StrEnum):
    """The name of a finding; a released one never changes its meaning."""

    CUT = "cut"  # rows at the end are gone
    REWRITTEN = "rewritten-or-forked"  # rows are others than those that were signed
    FORKED = "forked"  # the key signed two histories: the notes alone prove it
    ANOTHER_LEDGER = "another-ledger"  # the checkpoint has another origin
    KEY_MISMATCH = "key-mismatch"  # none of the known keys signed it, or its signature is false


class Held(NamedTuple):
    """A checkpoint that the ledger is held against."""

    name: str  # of its file, for the reader
    checkpoint: Checkpoint
    valid: bool  # whether a known key's signature holds


class Finding(NamedTuple):
    """One disagreement. The rows from first to last, both counted, hold it; 0: it is in none."""

    kind: FindingKind
    name: str
    size: int  # rows that the checkpoint signs
    first_row: int
    last_row: int
    text: str  # for people, one sentence or two


class AgainstReport(NamedTuple):
    """What was found; without findings the ledger is the signed one, up to `agreed`."""

    findings: tuple[Finding, ...]
    agreed: int | None  # the size of the largest checkpoint that the ledger agrees with
    agreed_name: str
    checked: int  # checkpoints that were compared: validly signed, and of this ledger's origin
    too_old: tuple[str, ...]  # names: they end before the first row that is still there

    @property
    def ok(self) -> bool:
        """Whether a checkpoint agrees with rows that are here, and nothing differs."""
        return not self.findings and bool(self.agreed)


def findings(
    held: Iterable[Held], heads: Mapping[int, TreeHead], rows: int, origin: str
) -> AgainstReport:
    """Hold the ledger against the checkpoints.

    `heads` are the ledger's own at the checkpoints' sizes, as far as its rows reach and are not
    deleted; `rows` is the seq of its last row; `origin` the ledger's name.
    """
    everything = sorted(held, key=lambda each: (each.checkpoint.head.size, each.name))
    found: list[Finding] = []
    cut: list[Held] = []
    same: list[Held] = []
    other: list[Held] = []
    old: list[str] = []
    for each in everything:
        size, there = each.checkpoint.head.size, heads.get(each.checkpoint.head.size)
        # Of these nothing can be said, whoever signed them: rows about their keys are gone, too.
        if each.checkpoint.origin == origin and there is None and size <= rows:
            old.append(each.name)
        elif not _ours(each, origin):
            found.append(_stranger(each, origin))
        elif there is None:
            cut.append(each)
        else:
            (same if there == each.checkpoint.head else other).append(each)
    agreed = same[-1].checkpoint.head.size if same else None
    found += _differing(other, [each.checkpoint.head.size for each in same])
    found += _twice(cut)
    if cut:
        found.append(_cut(cut, rows, agreed, bool(other)))
    last = same[-1].name if same else ""
    checked = len(cut) + len(same) + len(other)
    return AgainstReport(tuple(found), agreed, last, checked, tuple(old))


def _ours(held: Held, origin: str) -> bool:
    return held.valid and held.checkpoint.origin == origin


def _stranger(held: Held, origin: str) -> Finding:
    name, size = held.name, held.checkpoint.head.size
    if held.checkpoint.origin != origin:
        text = f"{name} is of the ledger {held.checkpoint.origin}, and this one is {origin}."
        return Finding(FindingKind.ANOTHER_LEDGER, name, size, 0, 0, text)
    signers = ", ".join(f"{s.name}+{s.key_id.hex()}" for s in held.checkpoint.signatures[:4])
    text = f"{name} is signed by {signers}, and no signature of a known key on it holds."
    return Finding(FindingKind.KEY_MISMATCH, name, size, 0, 0, text)


def _differing(other: list[Held], agreeing: list[int]) -> list[Finding]:
    """A fork for each that lies before one that agrees, and one finding for all the others."""
    highest = max(agreeing, default=-1)
    forked = [each for each in other if each.checkpoint.head.size <= highest]
    later = [each for each in other if each.checkpoint.head.size > highest]
    found = []
    for each in forked:
        size = each.checkpoint.head.size
        text = (
            f"{each.name} signs {size} rows that are not the first {size} of this ledger, and a "
            f"checkpoint of {highest} rows agrees with it: the same key signed two histories."
        )
        found.append(Finding(FindingKind.FORKED, each.name, size, 1, size, text))
    if later:
        found.append(_rewritten(later, max(highest, 0)))
    return found


def _rewritten(later: list[Held], before: int) -> Finding:
    name, size = later[0].name, later[0].checkpoint.head.size
    more = f" {len(later) - 1} later checkpoints differ, too." if len(later) > 1 else ""
    if size == 0:
        where = "It signs an empty tree with a root that no empty tree has."
        return Finding(FindingKind.REWRITTEN, name, 0, 0, 0, f"{name}: {where}{more}")
    if before:
        where = f"Rows up to {before} are as they were, the difference is in {before + 1}..{size}."
    else:
        where = (
            f"No checkpoint agrees: the difference is in 1..{size}, or this is another ledger of "
            "the same name."
        )
    text = f"{name} signs other rows. {where}{more}"
    return Finding(FindingKind.REWRITTEN, name, size, before + 1, size, text)


def _twice(cut: list[Held]) -> list[Finding]:
    """Two notes of one size and different roots, where the ledger has no row to decide it."""
    found = []
    for one, two in pairwise(cut):
        size = two.checkpoint.head.size
        if one.checkpoint.head.size == size and one.checkpoint.head != two.checkpoint.head:
            text = f"{one.name} and {two.name} sign {size} rows each, with different roots."
            found.append(Finding(FindingKind.FORKED, two.name, size, 1, size, text))
    return found


def _cut(cut: list[Held], rows: int, agreed: int | None, differs: bool) -> Finding:
    name, size = cut[-1].name, cut[-1].checkpoint.head.size
    text = f"{name} signs {size} rows, and the ledger ends with row {rows}: {size - rows} are gone."
    if agreed and not differs:
        text += f" Rows up to {agreed} are as they were."
    return Finding(FindingKind.CUT, name, size, rows + 1, size, text)
