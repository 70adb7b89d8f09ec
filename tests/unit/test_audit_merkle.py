"""The tree, against the RFC's own definition and against published vectors."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from merkle_parts import heads_at, inclusion_proofs

from yoyo.core.audit.merkle import (
    EMPTY,
    EMPTY_ROOT,
    Prover,
    Tree,
    TreeError,
    consistency_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from yoyo.model.audit import Frontier, InclusionProof, TreeHead

# The inputs and results below are those of github.com/transparency-dev/merkle (testonly).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
N01 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
N12 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
N22 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
N04 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
N67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
N45 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"


# --- the definitions of RFC 9162, sections 2.1.1, 2.1.3.1 and 2.1.4.1, as they stand there


def split(count: int) -> int:
    """The largest power of two below `count`."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], known: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if known else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], known), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def blocks_of(leaves: list[bytes], step: int = 3) -> list[list[bytes]]:
    return [leaves[at : at + step] for at in range(0, len(leaves), step)]


LINES = [b"row %d" % n for n in range(70)]
STEPS = st.integers(1, 9)


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    tree = Tree()
    tree.extend(LEAVES[:size])
    assert tree.head() == TreeHead(size, bytes.fromhex(ROOTS[size]))
    assert heads_at([LEAVES], [size])[size].root.hex() == ROOTS[size]


@pytest.mark.parametrize(
    ("position", "size", "want"),
    [
        (0, 1, []),
        (0, 2, [N01]),
        (1, 2, [ROOTS[1]]),
        (2, 3, [ROOTS[2]]),
        (1, 5, [ROOTS[1], N12, N04]),
        (0, 8, [N01, N12, N22]),
        (5, 8, [N04, N67, ROOTS[4]]),
    ],
)
def test_published_inclusion_proofs(position: int, size: int, want: list[str]) -> None:
    (proof,) = inclusion_proofs([LEAVES], size, [position])
    assert [node.hex() for node in proof.path] == want


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        (1, 1, []),
        (1, 8, [N01, N12, N22]),
        (2, 5, [N12, N04]),
        (6, 8, [N45, N67, ROOTS[4]]),
    ],
)
def test_published_consistency_proofs(old: int, new: int, want: list[str]) -> None:
    assert [node.hex() for node in consistency_proof([LEAVES], old, new)] == want


@given(size=st.integers(0, 70), step=STEPS)
def test_the_root_is_that_of_the_definition(size: int, step: int) -> None:
    tree = Tree()
    for block in blocks_of(LINES[:size], step):
        tree.extend(block)
    assert tree.head() == TreeHead(size, mth(LINES[:size]))
    assert root_of(tree.frontier("x")) == tree.head()


@given(cut=st.integers(0, 70), step=STEPS)
def test_a_tree_goes_on_from_its_frontier(cut: int, step: int) -> None:
    first = Tree()
    first.extend(LINES[:cut])
    later = Tree(first.frontier("x"))
    for block in blocks_of(LINES[cut:], step):
        later.extend(block)
    assert later.head() == TreeHead(70, mth(LINES))


@given(size=st.integers(1, 70), step=STEPS, data=st.data())
def test_inclusion_proofs_are_those_of_the_definition(
    size: int, step: int, data: st.DataObject
) -> None:
    positions = data.draw(st.lists(st.integers(0, size - 1), max_size=12))
    proofs = inclusion_proofs(blocks_of(LINES, step), size, positions)
    assert [proof.position for proof in proofs] == positions
    head = TreeHead(size, mth(LINES[:size]))
    for proof in proofs:
        assert list(proof.path) == path(proof.position, LINES[:size])
        assert verify_inclusion(leaf_hash(LINES[proof.position]), proof, head)


@given(cut=st.integers(0, 69), step=STEPS, data=st.data())
def test_proofs_need_no_rows_before_the_frontier(cut: int, step: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(cut + 1, 70))
    positions = data.draw(st.lists(st.integers(cut, size - 1), min_size=1, max_size=5))
    tree = Tree()
    tree.extend(LINES[:cut])
    start = tree.frontier("x")
    proofs = inclusion_proofs(blocks_of(LINES[cut:], step), size, positions, start)
    assert [list(proof.path) for proof in proofs] == [path(p, LINES[:size]) for p in positions]
    heads = heads_at(blocks_of(LINES[cut:], step), range(72), start)
    assert heads == {n: TreeHead(n, mth(LINES[:n])) for n in range(cut, 71)}


@given(new=st.integers(1, 70), step=STEPS, data=st.data())
def test_consistency_proofs_are_those_of_the_definition(
    new: int, step: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(1, new))
    proof = consistency_proof(blocks_of(LINES, step), old, new)
    assert list(proof) == subproof(old, LINES[:new], True)
    tree = Tree()
    tree.extend(LINES[: data.draw(st.integers(0, old))])
    rest = blocks_of(LINES[tree.size :], step)
    assert consistency_proof(rest, old, new, tree.frontier("x")) == proof
    was, now = (TreeHead(n, mth(LINES[:n])) for n in (old, new))
    assert verify_consistency(was, now, proof)


@given(
    size=st.integers(1, 33), data=st.data(), wrong=st.sampled_from(["leaf", "root", "cut", "more"])
)
def test_a_wrong_inclusion_proof_does_not_verify(
    size: int, data: st.DataObject, wrong: str
) -> None:
    position = data.draw(st.integers(0, size - 1))
    leaf, head = leaf_hash(LINES[position]), TreeHead(size, mth(LINES[:size]))
    nodes = tuple(path(position, LINES[:size]))
    if wrong == "leaf":
        leaf = leaf_hash(b"another row")
    elif wrong == "root":
        head = TreeHead(size, bytes(32))
    elif wrong == "more":
        nodes = (*nodes, bytes(32))
    elif nodes:
        nodes = nodes[:-1]
    else:
        leaf = bytes(32)
    assert not verify_inclusion(leaf, InclusionProof(position, nodes), head)


@given(size=st.integers(2, 33), data=st.data())
def test_a_proof_proves_one_position_only(size: int, data: st.DataObject) -> None:
    position, other = data.draw(
        st.lists(st.integers(-1, size), min_size=2, max_size=2, unique=True).filter(
            lambda pair: 0 <= pair[0] < size
        )
    )
    proof = InclusionProof(other, tuple(path(position, LINES[:size])))
    assert not verify_inclusion(
        leaf_hash(LINES[position]), proof, TreeHead(size, mth(LINES[:size]))
    )


@given(new=st.integers(2, 33), data=st.data())
def test_a_forked_tree_has_no_consistency_proof(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    at = data.draw(st.integers(0, old - 1))
    forked = [*LINES[:at], b"rewritten", *LINES[at + 1 : new]]
    proof = consistency_proof([forked], old, new)
    was, now = TreeHead(old, mth(LINES[:old])), TreeHead(new, mth(forked))
    assert not verify_consistency(was, now, proof)
    assert not verify_consistency(was, now, consistency_proof([LINES], old, new))


def test_consistency_at_the_edges() -> None:
    none, one, two = (TreeHead(n, mth(LINES[:n])) for n in (0, 1, 2))
    assert verify_consistency(none, two, ())
    assert verify_consistency(two, two, ())
    assert not verify_consistency(two, two, (bytes(32),))
    assert not verify_consistency(one, two, ())
    assert not verify_consistency(two, one, (bytes(32),))
    assert not verify_consistency(TreeHead(0, bytes(32)), two, ())
    assert not verify_consistency(TreeHead(-1, EMPTY_ROOT), two, (bytes(32),))
    assert consistency_proof([LINES], 0, 5) == ()


def test_too_few_rows_are_said() -> None:
    with pytest.raises(TreeError, match="there are 70 rows, and the tree has 71"):
        inclusion_proofs([LINES], 71, [0])
    with pytest.raises(TreeError, match="there are 70 rows"):
        consistency_proof([LINES], 71, 71)
    with pytest.raises(TreeError, match="older tree has more rows"):
        consistency_proof([LINES], 3, 2)
    with pytest.raises(TreeError, match="row 6 is not"):
        inclusion_proofs([LINES], 5, [5])
    assert heads_at([LINES], [71]) == {}


def test_a_frontier_that_is_none() -> None:
    for frontier in (
        Frontier(3, (bytes(32),), "x"),
        Frontier(0, (bytes(32),), ""),
        Frontier(1, (bytes(31),), "x"),
        Frontier(-1, (bytes(32),), "x"),
    ):
        with pytest.raises(TreeError):
            Tree(frontier)
        with pytest.raises(TreeError):
            root_of(frontier)
    assert root_of(EMPTY) == TreeHead(0, EMPTY_ROOT)


def test_blocks_larger_than_a_step() -> None:
    lines = [b"%d" % n for n in range(20_001)]
    whole, parts = Tree(), Tree()
    whole.extend(iter(lines))
    for block in blocks_of(lines, 997):
        parts.extend(block)
    assert whole.frontier("") == parts.frontier("")
    prover = Prover(20_001, [0, 12_345, 20_000])
    prover.feed([lines])
    for position in (0, 12_345, 20_000):
        leaf = leaf_hash(lines[position])
        assert verify_inclusion(leaf, prover.proof(position), whole.head())


@given(new=st.integers(2, 33), data=st.data())
def test_a_consistency_proof_is_of_its_sizes_only(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    was, now = (TreeHead(n, mth(LINES[:n])) for n in (old, new))
    proof = consistency_proof([LINES], old, new)
    # Twice as deep a tree, or one that is cut: the same hashes lead to no root there.
    assert not verify_consistency(was, now._replace(size=new * 4), proof)
    assert not verify_consistency(was, now, (*proof, bytes(32)))
    assert not verify_consistency(was, now, proof[:-1])
