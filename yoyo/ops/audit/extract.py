"""`yoyo ledger extract` and `verify-extract`: a tenant's rows, proved without anybody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.audit.extract import (
    ExtractError,
    ExtractReport,
    check_extract,
    header_line,
    module_of,
    row_line,
)
from yoyo.core.audit.merkle import Prover, TreeError
from yoyo.errors import CheckpointFailed, CheckpointInvalid, CheckpointMismatch, TraceNotFound
from yoyo.model.ids import InvalidLabel, ModuleId
from yoyo.model.ledger import SHARED
from yoyo.ops.audit.checkpoint import newest_checkpoint
from yoyo.ops.audit.tree import deleted_since, first_frontier

if TYPE_CHECKING:
    from yoyo.model.audit import VerifierKey
    from yoyo.ops.audit.context import AuditContext
    from yoyo.ports.notary import NoteVerifier


class Extracted(NamedTuple):
    """An extract that was written."""

    module_id: str
    rows: int
    checkpoint: str  # the note's name
    size: int  # rows that the checkpoint signs


def extract(ctx: AuditContext, module: str, write: Callable[[bytes], object]) -> Extracted:
    """Write that module's rows with their proofs against the newest checkpoint.

    The ledger is read three times: which rows, their proofs, and the lines themselves. Memory
    grows with the module's rows, not with the ledger's.

    Raises:
        CheckpointFailed: there is no checkpoint.
        CheckpointMismatch: the ledger is not what that checkpoint signs.
        CheckpointInvalid, LedgerUnreadable.
    """
    newest = newest_checkpoint(ctx)
    if newest is None:
        raise CheckpointFailed(
            "Nothing was extracted: there is no checkpoint to prove rows against.",
            fix="Run `yoyo ledger checkpoint`.",
        )
    name, signed = newest
    size, start = signed.head.size, first_frontier(ctx)
    if start.size > size:
        raise deleted_since(size, start.size)
    positions = [at for at, line in _rows(ctx, start.size, size) if module_of(line) == module]
    note = ctx.checkpoints.read(name)
    try:
        prover = Prover(size, positions, start)
        prover.feed(_up_to(ctx, start.size, size))
        if prover.head() != signed.head:
            raise TreeError(f"the first {size} rows are not those that {name} signs")
        write(header_line(note, module, len(positions)))
        wanted = iter(positions)
        at = next(wanted, -1)
        for position, line in _rows(ctx, start.size, size):
            if position == at:
                write(row_line(line, prover.proof(position)))
                at = next(wanted, -1)
    except (ExtractError, TreeError) as error:
        raise CheckpointMismatch(
            "The extract was not made.",
            why=f"{error}.",
            fix="Run `yoyo ledger verify --against` with the copies of the checkpoints.",
        ) from error
    return Extracted(module, len(positions), name, size)


def no_rows(ctx: AuditContext, done: Extracted) -> TraceNotFound:
    """The error for an extract without a row, with the modules whose names are nearest.

    Raises:
        LedgerUnreadable.
    """
    from difflib import get_close_matches

    start = first_frontier(ctx).size
    known = {module_of(line) for _, line in _rows(ctx, start, done.size)} - {SHARED, None}
    near = get_close_matches(done.module_id, sorted(map(str, known)), 3)
    return TraceNotFound(
        f"There is no row of {done.module_id!r} up to the newest checkpoint; nothing was written.",
        why=f"It signs {done.size} rows."
        + (f" Names like it there: {', '.join(near)}." if near else ""),
        fix="Check the name, run `yoyo ledger checkpoint` if its rows are newer, or give "
        "--allow-empty.",
    )


def module_named(text: str) -> str:
    """A moduleId as it was given.

    Raises:
        TraceNotFound: it is none.
    """
    try:
        module = ModuleId.parse(text)
        if module == SHARED:
            raise InvalidLabel(f"{SHARED!r} stands in rows that are everybody's, and no tenant's")
    except InvalidLabel as error:
        raise TraceNotFound(
            f"{text[:100]!r} is no moduleId.",
            why=f"{error}.",
            fix="Name a module as it stands in the ledger.",
        ) from error
    return module


def verify_extract(
    document: Iterable[bytes], keys: Sequence[VerifierKey], verifier: NoteVerifier
) -> ExtractReport:
    """Check an extract; it needs nothing of the ledger.

    Raises:
        CheckpointInvalid: it is malformed, or no key of `keys` signed its checkpoint.
    """
    try:
        return check_extract(document, keys, verifier)
    except ExtractError as error:
        raise CheckpointInvalid(
            "The extract proves nothing.",
            why=f"{error}.",
            fix="Ask for it again, and for the verifier key by another way.",
        ) from error


def verdict(report: ExtractReport) -> CheckpointMismatch | None:
    """The error that the report amounts to; None when every row is proved."""
    if report.ok:
        return None
    first = report.problems[0]
    return CheckpointMismatch(
        f"The extract does not hold: {report.problem_count} problem(s), the first in line "
        f"{first.number}.",
        why=f"{first.reason}.",
        fix="Keep it as it is, and ask for it again.",
    )


def _up_to(ctx: AuditContext, first: int, size: int) -> Iterator[list[bytes]]:
    left = size - first
    for block in ctx.ledger.lines(first + 1):
        yield block[:left]
        left -= len(block)
        if left <= 0:
            return


def _rows(ctx: AuditContext, first: int, size: int) -> Iterator[tuple[int, bytes]]:
    position = first
    for block in _up_to(ctx, first, size):
        yield from enumerate(block, position)
        position += len(block)
