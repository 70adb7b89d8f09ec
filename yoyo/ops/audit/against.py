"""`yoyo ledger verify --against`: the ledger held against checkpoints that were kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.audit.about import KEY_CODES, about_ledger
from yoyo.core.audit.against import AgainstReport, Finding, FindingKind, findings
from yoyo.core.audit.merkle import consistency_proof, root_of, verify_consistency
from yoyo.core.audit.trust import follow_keys
from yoyo.errors import CheckpointInvalid, CheckpointMismatch, LedgerUnreadable
from yoyo.model.audit import Checkpoint, Frontier, TreeHead, VerifierKey
from yoyo.model.ledger import HEARTBEAT, KEY_ADDED, Row
from yoyo.ops.audit.checkpoint import key_job, parsed
from yoyo.ops.audit.tree import first_frontier, grown

if TYPE_CHECKING:
    from yoyo.ops.audit.context import AuditContext


class Consistency(NamedTuple):
    """That the tree of the ledger as it is begins with the one that was signed. RFC 9162."""

    old: TreeHead
    new: TreeHead
    path: tuple[bytes, ...]


class HeldAgainst(NamedTuple):
    """What the comparison found."""

    report: AgainstReport
    rows: int  # that the ledger has, deleted months counted
    trusted: tuple[VerifierKey, ...]  # in the order in which they came to be trusted
    consistency: Consistency | None  # with the largest checkpoint that agrees
    damaged: tuple[str, ...]  # notes that cannot be read, with the reason


def held_against(
    ctx: AuditContext,
    notes: Iterable[tuple[str, bytes]],
    keys: Sequence[VerifierKey],
    successors: Iterable[bytes] = (),
) -> HeldAgainst:
    """Hold the ledger against these notes, trusting `keys` and what they vouch for in turn.

    A key that a row names (KEY_ADDED) is trusted once a checkpoint over that row holds, by a key
    that is trusted already; after its KEY_RETIRED row it signs nothing.

    Raises:
        CheckpointInvalid: there is nothing to hold it against, or the key is of another ledger.
        LedgerUnreadable.
    """
    checkpoints, damaged = _read(notes)
    if not checkpoints or not keys:
        raise CheckpointInvalid(
            "There is nothing to hold the ledger against.",
            why=damaged[0] if damaged else "No checkpoint, or no verifier key, was found.",
            fix="Give --against a checkpoint, or a directory or store of them, and --key.",
        )
    origin = keys[0].name
    about = ctx.ledger.matching(about_ledger(*KEY_CODES, HEARTBEAT))
    told = [row for row in about if isinstance(row, Row)]
    _refuse_strange_keys(checkpoints, keys, told)
    start = first_frontier(ctx)
    # Counted, as the seq of a last row may be whatever somebody wrote there.
    rows = start.size + sum(len(block) for block in ctx.ledger.lines(start.size + 1))
    sizes = {each.head.size for _, each in checkpoints if start.size <= each.head.size <= rows}
    trees = grown(ctx, start, tuple({*sizes, rows} - {0}))
    heads = {size: root_of(tree) for size, tree in trees.items()}
    if 0 in sizes:
        heads[0] = root_of(start)
    texts = (*ctx.checkpoints.keys(), *successors)
    known, held = follow_keys(checkpoints, keys, heads, told, texts, ctx.verifier())
    # Where months were deleted, nothing but a checkpoint that agrees vouches for the tree over
    # them: no other tree of that size has its root.
    report = findings(held, heads, rows, origin)
    return HeldAgainst(
        report,
        rows,
        known,
        _consistency(ctx, report, heads, start, trees.get(rows)),
        tuple(damaged),
    )


def _refuse_strange_keys(
    checkpoints: Sequence[tuple[str, Checkpoint]], keys: Sequence[VerifierKey], told: Sequence[Row]
) -> None:
    """Ask whether it is the right key where neither a note nor a row of the ledger knows it.

    Raises:
        CheckpointInvalid.
    """
    names, origins = {key.name for key in keys}, {each.origin for _, each in checkpoints}
    announced = {row.entry.job_id for row in told if row.entry.error_code == KEY_ADDED}
    # With a row that names the key, it is the checkpoints that are another ledger's: a finding.
    if names & origins or announced & {key_job(key) for key in keys}:
        return
    theirs = ", ".join(sorted(origins)[:3])[:200]
    raise CheckpointInvalid(
        f"The key is of another ledger ({', '.join(sorted(names))[:200]}) than these checkpoints "
        f"({theirs}): is it the right key?",
        why="No checkpoint has the key's name, and no row of the ledger names that key.",
        fix="Ask whoever signs the ledger for its verifier key, and give that one with --key.",
    )


def own_notes(ctx: AuditContext) -> list[tuple[str, bytes]]:
    """The checkpoints beside the ledger: whoever can write the ledger can write these, too."""
    return [(name, ctx.checkpoints.read(name)) for name in ctx.checkpoints.names()]


def verdict(found: HeldAgainst) -> CheckpointMismatch | CheckpointInvalid | None:
    """The error that it amounts to, the gravest first; None when the ledger is the signed one."""
    first = next(iter(sorted(found.report.findings, key=_gravity)), None)
    if first is None and not found.report.agreed:
        old = ", ".join(found.report.too_old[-4:])
        return CheckpointMismatch(
            "Nothing is proved: no checkpoint covers rows that are still here.",
            why=f"All that is signed was deleted by what the ledger says: {old}."
            if old
            else "No checkpoint signs a row.",
            fix="Ask for the months that a row says were deleted, or for a checkpoint of later "
            "rows that was kept elsewhere. Without either this may be another history.",
        )
    if first is None and found.damaged:
        return CheckpointInvalid(
            "A checkpoint is damaged.",
            why=found.damaged[0],
            fix="Take it from the second store.",
        )
    if first is None:
        return None
    return CheckpointMismatch(
        f"The ledger is not what was signed: {first.kind}.",
        why=first.text,
        fix="Keep all files as they are, and compare with the copies; docs/guides/audit.md says "
        "what each finding means.",
    )


_ORDER = (
    FindingKind.CUT,
    FindingKind.REWRITTEN,
    FindingKind.FORKED,
    FindingKind.KEY_MISMATCH,
    FindingKind.ANOTHER_LEDGER,
)


def _gravity(finding: Finding) -> int:
    return _ORDER.index(finding.kind)


def _read(notes: Iterable[tuple[str, bytes]]) -> tuple[list[tuple[str, Checkpoint]], list[str]]:
    good, damaged = [], []
    for name, note in notes:
        try:
            good.append((name, parsed(name, note)))
        except CheckpointInvalid as error:
            damaged.append(f"{error.what} {error.why}")
    return sorted(good, key=lambda each: each[1].head.size), damaged


def _consistency(
    ctx: AuditContext,
    report: AgainstReport,
    heads: dict[int, TreeHead],
    start: Frontier,
    now: Frontier | None,
) -> Consistency | None:
    if now is None or not report.agreed or report.agreed < start.size:
        return None
    path = consistency_proof(ctx.ledger.lines(start.size + 1), report.agreed, now.size, start)
    proof = Consistency(heads[report.agreed], root_of(now), path)
    if not verify_consistency(*proof):
        raise LedgerUnreadable(
            "The ledger was changed while it was read.",
            why="The proof that it goes on from what was signed does not hold.",
            fix="Run this again.",
        )
    return proof
