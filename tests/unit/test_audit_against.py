"""Each way in which a ledger and its checkpoints can disagree has its name."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from merkle_parts import heads_at

from yoyo.core.audit.against import (
    AgainstReport,
    Finding,
    FindingKind,
    Held,
    findings,
)
from yoyo.core.audit.merkle import Tree
from yoyo.model.audit import Checkpoint, NoteSignature, TreeHead

ORIGIN = "ledger.example/one"
LINES = [b"row %d" % n for n in range(1, 41)]
K = FindingKind


def held(
    size: int,
    lines: list[bytes] = LINES,
    *,
    origin: str = ORIGIN,
    valid: bool = True,
    name: str = "",
) -> Held:
    tree = Tree()
    tree.extend(lines[:size])
    signature = NoteSignature(origin, b"\1\2\3\4", b"")
    head = TreeHead(size, tree.head().root)
    return Held(name or f"n{size}", Checkpoint(origin, head, (), b"", (signature,)), valid)


def sizes_of(notes: Iterable[Held]) -> set[int]:
    return {each.checkpoint.head.size for each in notes}


def report(lines: list[bytes], *notes: Held) -> AgainstReport:
    heads = heads_at([lines], sizes_of(notes))
    return findings(notes, heads, len(lines), ORIGIN)


def only(found: AgainstReport) -> Finding:
    (finding,) = found.findings
    assert not found.ok
    return finding


def changed(at: int, lines: list[bytes] = LINES) -> list[bytes]:
    """With row `at` rewritten."""
    return [*lines[: at - 1], b"rewritten", *lines[at:]]


def test_agreement() -> None:
    found = report(LINES, held(7), held(0), held(40), held(20))
    assert found.ok
    assert (found.agreed, found.agreed_name, found.checked) == (40, "n40", 4)
    nothing = report(LINES)
    assert not nothing.ok
    assert nothing.findings == ()


def test_a_cut_tail() -> None:
    finding = only(report(LINES[:25], held(20), held(30), held(40)))
    assert finding[:5] == (K.CUT, "n40", 40, 26, 40)
    assert "15 are gone" in finding.text
    assert "Rows up to 20 are as they were" in finding.text
    assert only(report([], held(3))).kind == K.CUT


def test_a_rewritten_row_is_placed_between_two_checkpoints() -> None:
    finding = only(report(changed(25), held(10), held(20), held(30), held(40)))
    assert finding[:5] == (K.REWRITTEN, "n30", 30, 21, 30)
    assert "Rows up to 20 are as they were, the difference is in 21..30." in finding.text
    assert "1 later checkpoints differ" in finding.text


def test_a_full_rewrite() -> None:
    finding = only(report(changed(1), held(10), held(40)))
    assert finding[:5] == (K.REWRITTEN, "n10", 10, 1, 10)
    assert "No checkpoint agrees" in finding.text


def test_a_cut_and_a_rewrite_at_once() -> None:
    found = report(changed(15)[:25], held(10), held(20), held(30))
    assert [f.kind for f in found.findings] == [K.REWRITTEN, K.CUT]
    assert "as they were" not in found.findings[1].text
    assert found.agreed == 10


def test_another_ledger_and_another_key() -> None:
    assert only(report(LINES, held(5, origin="other/log"))).kind == K.ANOTHER_LEDGER
    finding = only(report(LINES, held(5, valid=False)))
    assert finding.kind == K.KEY_MISMATCH
    assert "ledger.example/one+01020304" in finding.text
    # It counts for nothing else: whoever can write there could invent a cut.
    assert only(report(LINES, held(5), held(99, LINES * 3, valid=False))).kind == K.KEY_MISMATCH


def test_a_key_that_signed_two_histories() -> None:
    finding = only(report(LINES, held(20, changed(5), name="fork"), held(30)))
    assert finding[:5] == (K.FORKED, "fork", 20, 1, 20)
    same_size = report(LINES, held(20), held(20, changed(5), name="fork"))
    assert only(same_size)[:3] == (K.FORKED, "fork", 20)
    beyond = report(LINES[:10], held(20), held(20, changed(5), name="fork"))
    assert [f.kind for f in beyond.findings] == [K.FORKED, K.CUT]


def test_an_empty_tree_with_a_wrong_root() -> None:
    wrong = held(0)
    head = TreeHead(0, bytes(32))
    finding = only(report(LINES, wrong._replace(checkpoint=wrong.checkpoint._replace(head=head))))
    assert finding[:5] == (K.REWRITTEN, "n0", 0, 0, 0)


def test_checkpoints_of_months_that_are_gone() -> None:
    tree = Tree()
    tree.extend(LINES[:10])
    notes = (held(5), held(20))
    heads = heads_at([LINES[10:]], sizes_of(notes), tree.frontier("x"))
    found = findings(notes, heads, 40, ORIGIN)
    assert found.ok
    assert (found.too_old, found.checked) == (("n5",), 1)


@given(
    rows=st.integers(0, 40),
    at=st.integers(1, 40),
    sizes=st.sets(st.integers(1, 40), min_size=1, max_size=6),
)
def test_the_rows_named_hold_the_difference(rows: int, at: int, sizes: set[int]) -> None:
    """One row rewritten, then the ledger cut: what is named is where it was done."""
    found = report(changed(at)[:rows], *(held(size) for size in sizes))
    kinds = {finding.kind for finding in found.findings}
    seen = any(at <= size <= rows for size in sizes)
    assert (K.REWRITTEN in kinds) == seen
    assert (K.CUT in kinds) == any(size > rows for size in sizes)
    assert kinds <= {K.REWRITTEN, K.CUT}
    for finding in found.findings:
        if finding.kind == K.REWRITTEN:
            assert finding.first_row <= at <= finding.last_row


def test_a_year_of_hourly_checkpoints_is_compared_once_each() -> None:
    """No checkpoint is looked for among the others."""
    looks = 0

    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            return super().__eq__(other)

        __hash__ = str.__hash__

    count, one = 2000, held(1)
    notes = [
        Held(
            Name(f"n{n}"),
            one.checkpoint._replace(head=TreeHead(n, bytes([n % 2]) * 32)),
            valid=True,
        )
        for n in range(1, count + 1)
    ]
    heads = {n: TreeHead(n, bytes(32)) for n in range(1, count + 1)}
    found = findings(notes, heads, count, ORIGIN)
    assert found.checked == count
    assert len(found.findings) == count // 2
    assert looks <= count
