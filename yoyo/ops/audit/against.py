"""`yoyo ledger verify --against`: the ledger held against checkpoints that were kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.audit.against import AgainstReport, Finding, FindingKind, Held, findings
from yoyo.core.audit.against import wanted_sizes as sizes_of
from yoyo.core.audit.merkle import consistency_proof, root_of
from yoyo.core.audit.note import NoteError, check_note, format_vkey, parse_vkey
from yoyo.errors import CheckpointInvalid, CheckpointMismatch
from yoyo.model.audit import Checkpoint, Frontier, TreeHead, VerifierKey
from yoyo.model.ledger import HEARTBEAT, KEY_ADDED, KEY_RETIRED, Row
from yoyo.model.row_filter import RowFilter
from yoyo.ops.audit.checkpoint import digest_of, key_job, parsed
from yoyo.ops.audit.tree import first_frontier, grown

if TYPE_CHECKING:
    from yoyo.ops.audit.context import AuditContext
    from yoyo.ports.notary import NoteVerifier


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


class _KeyRow(NamedTuple):
    seq: int
    code: str
    job_id: str
    digest: str


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
        CheckpointInvalid: there is nothing to hold it against.
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
    start = first_frontier(ctx)
    # Counted, as the seq of a last row may be whatever somebody wrote there.
    rows = start.size + sum(len(block) for block in ctx.ledger.lines(start.size + 1))
    sizes = {each.head.size for _, each in checkpoints if start.size <= each.head.size <= rows}
    trees = grown(ctx, start, tuple({*sizes, rows} - {0}))
    heads = {size: root_of(tree) for size, tree in trees.items()}
    if 0 in sizes:
        heads[0] = root_of(start)
    texts = (*ctx.checkpoints.keys(), *successors)
    known, held = _trusted(ctx, checkpoints, list(keys), heads, texts)
    # Rows that were deleted by retention cannot be held against anything.
    within = [each for each in held if each.checkpoint.head.size >= start.size]
    report = findings(
        within, {s: heads[s] for s in sizes_of(within, origin) if s in heads}, rows, origin
    )
    return HeldAgainst(
        report,
        rows,
        tuple(known),
        _consistency(ctx, report, heads, start, trees.get(rows)),
        tuple(damaged),
    )


def own_notes(ctx: AuditContext) -> list[tuple[str, bytes]]:
    """The checkpoints beside the ledger: whoever can write the ledger can write these, too."""
    return [(name, ctx.checkpoints.read(name)) for name in ctx.checkpoints.names()]


def verdict(found: HeldAgainst) -> CheckpointMismatch | CheckpointInvalid | None:
    """The error that it amounts to, the gravest first; None when the ledger is the signed one."""
    first = next(iter(sorted(found.report.findings, key=_gravity)), None)
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


def _trusted(
    ctx: AuditContext,
    checkpoints: list[tuple[str, Checkpoint]],
    known: list[VerifierKey],
    heads: dict[int, TreeHead],
    texts: tuple[bytes, ...],
) -> tuple[list[VerifierKey], list[Held]]:
    """Who is trusted in the end, and which checkpoints hold by them. Follows the rotations."""
    rows = _key_rows(ctx)
    verifier = ctx.verifier()
    while True:
        held = [Held(name, each, _holds(each, known, verifier, rows)) for name, each in checkpoints]
        proved = max(
            (e.checkpoint.head.size for e in held if e.valid
             and heads.get(e.checkpoint.head.size) == e.checkpoint.head),
            default=0,
        )  # fmt: skip
        new = [key for key in dict.fromkeys(_announced(texts, rows, proved)) if key not in known]
        if not new:
            return known, held
        known += new


def _holds(
    checkpoint: Checkpoint,
    known: list[VerifierKey],
    verifier: NoteVerifier,
    rows: list[_KeyRow],
) -> bool:
    try:
        signers = check_note(checkpoint, known, verifier)
    except NoteError:
        return False
    size = checkpoint.head.size
    return any(size <= _signs_until(key, rows) for key in signers)


def _signs_until(key: VerifierKey, rows: list[_KeyRow]) -> float:
    """The last size that the key's word counts for: that of the change to the key after it."""
    retired = min(
        (r.seq for r in rows if r.code == KEY_RETIRED and r.job_id == key_job(key)), default=None
    )
    if retired is None:
        return inf
    return min((r.seq for r in rows if r.code == HEARTBEAT and r.seq > retired), default=inf)


def _key_rows(ctx: AuditContext) -> list[_KeyRow]:
    rows = ctx.ledger.matching(
        RowFilter(types=("CHECKPOINT",), codes=(KEY_ADDED, KEY_RETIRED, HEARTBEAT))
    )
    return [
        _KeyRow(row.seq, row.entry.error_code, row.entry.job_id, row.entry.input_hash)
        for row in rows
        if isinstance(row, Row)
    ]


def _announced(texts: tuple[bytes, ...], rows: list[_KeyRow], proved: int) -> list[VerifierKey]:
    digests = {row.digest for row in rows if row.code == KEY_ADDED and row.seq <= proved}
    found = []
    for text in texts:
        if digest_of(text) in digests:
            try:
                found.append(parse_vkey(text.decode()))
            except (NoteError, UnicodeDecodeError):
                continue
    return found


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
    return Consistency(heads[report.agreed], root_of(now), path)


def keys_text(keys: Iterable[VerifierKey]) -> list[str]:
    """Verifier keys as their texts."""
    return [format_vkey(key) for key in keys]
