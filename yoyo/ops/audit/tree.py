"""The ledger's Merkle tree: grown from the cache where that is of this ledger, else anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from yoyo.core.audit.documents import DocumentError
from yoyo.core.audit.merkle import EMPTY, Tree, TreeError, check_frontier, root_of
from yoyo.core.audit.seal_record import parse_seal_record
from yoyo.errors import CheckpointMismatch, LedgerUnreadable
from yoyo.model.audit import Frontier, TreeHead
from yoyo.model.ledger import MONTH_DELETED, Row
from yoyo.model.row_filter import RowFilter

if TYPE_CHECKING:
    from yoyo.ops.audit.context import AuditContext

_HASH_CHARS = 64


def first_frontier(ctx: AuditContext) -> Frontier:
    """The tree over the rows that are no longer here: empty, unless months were deleted.

    Raises:
        LedgerUnreadable: months are gone, and no record says what the tree was.
    """
    parts = ctx.ledger.parts()
    missing = parts[0].first_seq - 1 if parts else 0
    if not missing:
        return EMPTY
    for row in ctx.ledger.matching(RowFilter(codes=(MONTH_DELETED,))):
        document = ctx.proofs.find(row.entry.input_hash) if isinstance(row, Row) else None
        if document is None:
            continue
        try:
            record = parse_seal_record(document)
        except DocumentError:
            continue
        if record.frontier.size == missing:
            return record.frontier
    raise LedgerUnreadable(
        f"The ledger's first {missing} rows are not here, and nothing says what their tree was.",
        why="The record of the sealed month is missing in the proofs beside the ledger.",
        fix="Restore the ledger's directory whole, proofs and sealed months with it.",
    )


def known_frontier(ctx: AuditContext) -> Frontier:
    """The cached tree if row `size` is still the row it was kept with; else the first one."""
    cached = ctx.checkpoints.cached_frontier()
    if cached is not None and cached.size and _is_whole(cached):
        row = ctx.ledger.row_at(cached.size)
        if row is not None and row.row_hash == cached.row_hash:
            return cached
    return first_frontier(ctx)


def _is_whole(frontier: Frontier) -> bool:
    try:
        check_frontier(frontier)
    except TreeError:
        return False
    return True


def grown(ctx: AuditContext, start: Frontier, sizes: tuple[int, ...]) -> dict[int, Frontier]:
    """The trees at these sizes, all beyond `start`, in one pass. Sizes past the end are left out.

    Raises:
        LedgerUnreadable.
    """
    tree, at, found = Tree(start), start.size, {}
    wanted = sorted(set(sizes))
    if start.size in wanted:
        found[start.size] = start
        wanted.remove(start.size)
    lines: Iterator[list[bytes]] = ctx.ledger.lines(start.size + 1)
    for block in lines:
        rest = block
        while wanted and wanted[0] - at <= len(rest):
            cut = wanted.pop(0) - at
            tree.extend(rest[:cut])
            at += cut
            found[at] = tree.frontier(rest[cut - 1][-_HASH_CHARS:].decode(errors="replace"))
            rest = rest[cut:]
        if not wanted:
            break
        tree.extend(rest)
        at += len(rest)
    return found


def frontier_at(ctx: AuditContext, size: int, signed: TreeHead | None) -> Frontier:
    """The tree over the first `size` rows, which must hold what was signed before.

    Raises:
        CheckpointMismatch: the newest checkpoint signs other rows.
        LedgerUnreadable.
    """
    start = known_frontier(ctx)
    if start.size > size or (signed is not None and start.size > signed.size):
        start = first_frontier(ctx)
    sizes = (size,) if signed is None or signed.size < start.size else (signed.size, size)
    trees = grown(ctx, start, sizes)
    if signed is not None and signed.size in sizes:
        then = trees.get(signed.size)
        if then is None or root_of(then).root != signed.root:
            raise mismatch(signed.size, cut=then is None)
    if size not in trees:
        raise LedgerUnreadable(
            f"The ledger has no row {size} any more.",
            why="It was shortened while it was read.",
            fix="Run `yoyo ledger verify --against CHECKPOINT` with a copy kept elsewhere.",
        )
    return trees[size]


def mismatch(size: int, *, cut: bool) -> CheckpointMismatch:
    """The refusal to sign what was signed differently before."""
    why = (
        f"The newest checkpoint signs {size} rows, and the ledger has fewer."
        if cut
        else f"Its first {size} rows are not the ones that the newest checkpoint signs."
    )
    return CheckpointMismatch(
        "The ledger is not the one that was signed before; nothing was signed.",
        why=why,
        fix="Keep all files as they are, run `yoyo ledger verify --against` with the copies of "
        "the checkpoints, and restore the ledger that they sign.",
    )
