"""The Merkle tree over the ledger's rows: one hash stands for all of them, and proves each.

RFC 6962, section 2.1, and RFC 9162, section 2.1. A leaf is a row's line without its newline.
Everything here reads the rows once, in blocks, and holds O(log n) hashes beside what is asked for.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Final

from yoyo.model.audit import HASH_BYTES, Frontier, InclusionProof, TreeHead

EMPTY_ROOT: Final = sha256(b"").digest()
EMPTY: Final = Frontier(0, (), "")
# More leaves than this are hashed in several steps: it bounds the memory of one step.
_STEP: Final = 8192


class TreeError(ValueError):
    """What was given is no tree, or has fewer rows than were asked about."""


def leaf_hash(line: bytes) -> bytes:
    """SHA-256 over 0x00 and the row's line, without its newline. RFC 9162, section 2.1.1."""
    return sha256(b"\0" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 over 0x01 and both children. RFC 9162, section 2.1.1."""
    return sha256(b"\1" + left + right).digest()


class Tree:
    """A tree that grows: it keeps the roots of its perfect subtrees and nothing else."""

    def __init__(self, frontier: Frontier = EMPTY) -> None:
        """Begin where `frontier` ends.

        Raises:
            TreeError: it has another number of nodes than its size asks for.
        """
        check_frontier(frontier)
        self.size = frontier.size
        nodes = iter(frontier.nodes)
        # By height; b"": no subtree of that height is waiting for its right half.
        self._waiting = [b""] * frontier.size.bit_length()
        for height in _bits_down(frontier.size):
            self._waiting[height] = next(nodes)

    def extend(self, lines: Iterable[bytes]) -> None:
        """Add rows, in their order."""
        source = iter(lines)
        while step := list(islice(source, _STEP)):
            self._grow([sha256(b"\0" + line).digest() for line in step])

    def _grow(self, nodes: list[bytes]) -> None:
        height, waiting = 0, self._waiting
        first, self.size = self.size, self.size + len(nodes)
        while nodes:
            if height == len(waiting):
                waiting.append(b"")
            if left := waiting[height]:
                nodes.insert(0, left)
                first -= 1 << height  # back to where that one begins
            self._made(height, first >> height, nodes)
            waiting[height] = nodes.pop() if len(nodes) % 2 else b""
            nodes = [
                sha256(b"\1" + one + two).digest()
                for one, two in zip(nodes[::2], nodes[1::2], strict=True)
            ]
            height += 1

    def _made(self, height: int, index: int, nodes: list[bytes]) -> None:
        """Perfect subtrees of that height, from `index` on; some may have been seen before."""

    def frontier(self, row_hash: str) -> Frontier:
        """What is needed to go on; `row_hash` is that of the last row, "" without rows."""
        return Frontier(self.size, tuple(filter(None, reversed(self._waiting))), row_hash)

    def head(self) -> TreeHead:
        """Size and root as they are now."""
        return TreeHead(self.size, _fold(tuple(filter(None, reversed(self._waiting)))))


def check_frontier(frontier: Frontier) -> None:
    """Whether it can be one.

    Raises:
        TreeError.
    """
    if frontier.size < 0 or len(frontier.nodes) != frontier.size.bit_count():
        raise TreeError("a tree of that size has another number of perfect subtrees")
    if any(len(node) != HASH_BYTES for node in frontier.nodes):
        raise TreeError(f"a node has not {HASH_BYTES} bytes")


def root_of(frontier: Frontier) -> TreeHead:
    """The head of the tree that ends there.

    Raises:
        TreeError.
    """
    check_frontier(frontier)
    return TreeHead(frontier.size, _fold(frontier.nodes))


class _Collector(Tree):
    """Keeps the roots of those perfect subtrees that the ways up from some nodes pass by."""

    def __init__(
        self,
        size: int,
        ways: Iterable[tuple[int, int]],
        start: Frontier,
        also: Iterable[tuple[int, int]] = (),
    ) -> None:
        """`ways` and `also` are subtrees, as height and index; of `also` the root is kept."""
        wanted: list[set[int]] = [set() for _ in range(size.bit_length() + 1)]
        for height, index in also:
            wanted[height].add(index)
        for way in ways:
            for height, index in _path(*way, size):
                if (index + 1) << height <= size:
                    wanted[height].add(index)
        # Bytes without an object each: a large tenant asks for millions of them.
        self._wanted = [array("Q", sorted(each)) for each in wanted]
        self._found = [bytearray(HASH_BYTES * len(each)) for each in self._wanted]
        self._goal = size
        super().__init__(start)
        for height, node in enumerate(self._waiting):
            if node:
                self._made(height, (start.size >> height) - 1, [node])

    def feed(self, blocks: Iterable[Sequence[bytes]]) -> None:
        """Read the rows after the start; those beyond the tree are left alone.

        Raises:
            TreeError: there are fewer rows than the tree has.
        """
        for block in blocks:
            room = self._goal - self.size
            if room <= 0:
                break
            self.extend(block if len(block) <= room else block[:room])
        if self.size != self._goal:
            raise TreeError(f"there are {self.size} rows, and the tree has {self._goal}")

    def way(self, height: int, index: int) -> tuple[bytes, ...]:
        """The hashes beside the way from that node to the root, from below; after `feed`."""
        return tuple(
            self.node(*beside)
            if (beside[1] + 1) << beside[0] <= self._goal
            else self._ragged(beside[0])
            for beside in _path(height, index, self._goal)
        )

    def node(self, height: int, index: int) -> bytes:
        """The root of a perfect subtree that was kept; after `feed`."""
        at = bisect_left(self._wanted[height], index) * HASH_BYTES
        return bytes(self._found[height][at : at + HASH_BYTES])

    def _ragged(self, height: int) -> bytes:
        """The root over the last rows, which fill no subtree of that height."""
        return _fold(tuple(filter(None, reversed(self._waiting[:height]))))

    def _made(self, height: int, index: int, nodes: list[bytes]) -> None:
        if height >= len(self._wanted):
            return
        wanted = self._wanted[height]
        for at in range(bisect_left(wanted, index), bisect_left(wanted, index + len(nodes))):
            node = nodes[wanted[at] - index]
            self._found[height][at * HASH_BYTES : (at + 1) * HASH_BYTES] = node


class Prover(_Collector):
    """Proves rows to be in the tree of the first `size` rows, after one pass over the rows.

    It holds some 40 bytes a hash: 300 MB for 2.5 million rows of 10 million.
    """

    def __init__(self, size: int, positions: Iterable[int], start: Frontier = EMPTY) -> None:
        """`positions` count from 0. Then `feed` it the rows after `start`.

        Raises:
            TreeError: a position is not in the tree, or lies before `start`.
        """
        asked = list(positions)
        for position in asked:
            if not start.size <= position < size:
                raise TreeError(f"row {position + 1} is not among those that can be proved")
        super().__init__(size, ((0, position) for position in asked), start)

    def proof(self, position: int) -> InclusionProof:
        """The proof of one of the rows that were asked for, after `feed`."""
        return InclusionProof(position, self.way(0, position))


def consistency_proof(
    blocks: Iterable[Sequence[bytes]], old_size: int, new_size: int, start: Frontier = EMPTY
) -> tuple[bytes, ...]:
    """That the tree of `new_size` rows begins with that of `old_size`. RFC 9162, 2.1.4.1.

    Empty where nothing is to be proved: the sizes are equal, or the old tree has no rows.

    Raises:
        TreeError: the old tree is the larger one or ends before `start`, or there are fewer
            than `new_size` rows.
    """
    if not start.size <= old_size <= new_size:
        raise TreeError("the older tree has more rows than the newer, or ends before the first row")
    if old_size in (0, new_size):
        _Collector(new_size, (), start).feed(blocks)
        return ()
    # The path starts at the old tree's last perfect subtree: everything in it is in both.
    height = (old_size & -old_size).bit_length() - 1
    last = (height, (old_size >> height) - 1)
    collector = _Collector(new_size, (last,), start, also=(last,))
    collector.feed(blocks)
    path = collector.way(*last)
    # Alone, that subtree is the old tree, whose root the verifier has.
    return path if last[1] == 0 else (collector.node(*last), *path)


def verify_inclusion(leaf: bytes, proof: InclusionProof, head: TreeHead) -> bool:
    """Whether the path leads from the leaf's hash to the root. RFC 9162, section 2.1.3.2."""
    index, last = proof.position, head.size - 1
    if not 0 <= index <= last:
        return False
    root = leaf
    for node in proof.path:
        if last == 0:
            return False
        if index % 2 or index == last:
            root = node_hash(node, root)
            while not index % 2 and index:
                index, last = index >> 1, last >> 1
        else:
            root = node_hash(root, node)
        index, last = index >> 1, last >> 1
    return last == 0 and root == head.root


def verify_consistency(old: TreeHead, new: TreeHead, path: Sequence[bytes]) -> bool:
    """Whether the newer tree begins with the older one. RFC 9162, section 2.1.4.2."""
    if old.size == new.size:
        return not path and old.root == new.root
    if old.size == 0:
        return not path and old.root == EMPTY_ROOT and new.size > 0
    if not 0 < old.size < new.size or not path:
        return False
    nodes = iter(path if old.size.bit_count() > 1 else (old.root, *path))
    index, last = old.size - 1, new.size - 1
    while index % 2:
        index, last = index >> 1, last >> 1
    was = now = next(nodes)
    for node in nodes:
        if last == 0:
            return False
        if index % 2 or index == last:
            was, now = node_hash(node, was), node_hash(node, now)
            while not index % 2 and index:
                index, last = index >> 1, last >> 1
        else:
            now = node_hash(now, node)
        index, last = index >> 1, last >> 1
    return last == 0 and was == old.root and now == new.root


def _path(height: int, index: int, size: int) -> Iterator[tuple[int, int]]:
    """Height and index of each subtree beside the way from a node to the root, from below.

    The last one of a height without a right neighbour is its own parent, and has none.
    """
    last = (size - 1) >> height
    while last > 0:
        if index % 2 or index < last:
            yield height, index ^ 1
        index, last, height = index >> 1, last >> 1, height + 1


def _fold(nodes: tuple[bytes, ...]) -> bytes:
    """The root over perfect subtrees, the largest first."""
    if not nodes:
        return EMPTY_ROOT
    root = nodes[-1]
    for node in reversed(nodes[:-1]):
        root = node_hash(node, root)
    return root


def _bits_down(size: int) -> list[int]:
    return [height for height in reversed(range(size.bit_length())) if size >> height & 1]
