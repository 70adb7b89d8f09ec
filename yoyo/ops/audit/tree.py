"""The ledger's Merkle tree: grown from the cache where that is of this ledger, else anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from yoyo.core.audit.about import about_ledger
from yoyo.core.audit.documents import DocumentError
from yoyo.core.audit.merkle import EMPTY, Tree, TreeError, root_of
from yoyo.core.audit.seal_record import parse_seal_record
from yoyo.errors import CheckpointFailed, CheckpointMismatch, LedgerUnreadable
from yoyo.model.audit import Frontier, TreeHead
from yoyo.model.ledger import MONTH_DELETED, Row

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
    for row in ctx.ledger.matching(about_ledger(MONTH_DELETED)):
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


def known_frontier(ctx: AuditContext, signed: TreeHead | None) -> Frontier:
    """The cached tree if it is the signed one, whose last row is still there; else the first.

    Its root is what vouches for its nodes: no other tree has it. Whoever can write the cache
    cannot have another tree signed.
    """
    cached = ctx.checkpoints.cached_frontier()
    if cached is not None and cached.size and _head(cached) == signed:
        row = ctx.ledger.row_at(cached.size)
        if row is not None and row.row_hash == cached.row_hash:
            return cached
    return first_frontier(ctx)


def _head(frontier: Frontier) -> TreeHead | None:
    try:
        return root_of(frontier)
    except TreeError:
        return None


def grown(ctx: AuditContext, start: Frontier, sizes: tuple[int, ...]) -> dict[int, Frontier]:
    """The trees at these sizes, in one pass. Sizes past the end are left out.

    Raises:
        CheckpointFailed: a size is smaller than `start`'s.
        LedgerUnreadable.
    """
    tree, at, found = Tree(start), start.size, {}
    wanted = sorted(set(sizes))
    if wanted and wanted[0] < start.size:
        raise deleted_since(wanted[0], start.size)
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
    """The tree over the first `size` rows. As `frontiers_at` otherwise."""
    return frontiers_at(ctx, (size,), signed)[size]


def frontiers_at(
    ctx: AuditContext, sizes: tuple[int, ...], signed: TreeHead | None
) -> dict[int, Frontier]:
    """The trees at these sizes of a ledger that holds what was signed before.

    `signed` is of a checkpoint whose signature was verified: the rest is compared with it.

    Raises:
        CheckpointMismatch: the newest checkpoint signs other rows.
        CheckpointFailed: it ends in months that were deleted, so that nothing can be compared.
        LedgerUnreadable.
    """
    start = known_frontier(ctx, signed)
    if start.size > min(sizes):
        start = first_frontier(ctx)
    trees = grown(ctx, start, sizes if signed is None else (*sizes, signed.size))
    if signed is not None:
        then = trees.get(signed.size)
        if then is None or root_of(then) != signed:
            raise mismatch(signed.size, cut=then is None)
    for size in sizes:
        if size not in trees:
            raise LedgerUnreadable(
                f"The ledger has no row {size} any more.",
                why="It was shortened while it was read.",
                fix="Run `yoyo ledger verify --against CHECKPOINT` with a copy kept elsewhere.",
            )
    return trees


def deleted_since(size: int, first: int) -> CheckpointFailed:
    """The refusal to go on from a checkpoint of which no row is left."""
    return CheckpointFailed(
        "The newest checkpoint ends in months that were deleted; nothing was signed.",
        why=f"It signs {size} rows, and the first {first} are not here: whether the rest follows "
        "them cannot be told.",
        fix="Restore the deleted months from a copy and sign before they are deleted again. Where "
        "there is no copy, move the notes out of LEDGER.checkpoints: signing begins anew, and "
        "those notes prove nothing of what is here.",
    )


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
