"""Heads, proofs and extracts of rows that are all in memory, as tests have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from yoyo.core.audit.extract import header_line, row_line
from yoyo.core.audit.merkle import EMPTY, Prover, Tree
from yoyo.model.audit import Frontier, InclusionProof, TreeHead


def heads_at(
    blocks: Iterable[Sequence[bytes]], sizes: Iterable[int], start: Frontier = EMPTY
) -> dict[int, TreeHead]:
    """The heads of the trees over the first so many rows; `blocks` begin after `start`."""
    lines = [line for block in blocks for line in block]
    tree, heads = Tree(start), dict[int, TreeHead]()
    for size in sorted(set(sizes)):
        if start.size <= size <= start.size + len(lines):
            tree.extend(lines[tree.size - start.size : size - start.size])
            heads[size] = tree.head()
    return heads


def inclusion_proofs(
    blocks: Iterable[Sequence[bytes]],
    size: int,
    positions: Iterable[int],
    start: Frontier = EMPTY,
) -> list[InclusionProof]:
    """A proof for each position, which counts from 0."""
    asked = list(positions)
    prover = Prover(size, asked, start)
    prover.feed(blocks)
    return [prover.proof(position) for position in asked]


def build_extract(
    note: bytes, module: str, rows: Sequence[tuple[bytes, InclusionProof]]
) -> Iterator[bytes]:
    """All lines of an extract."""
    yield header_line(note, module, len(rows))
    for line, proof in rows:
        yield row_line(line, proof)
