"""Rows about keys that are not signed yet: a change that was cut off, or somebody else's rows.

The old key's word counts up to the first heartbeat after its KEY_RETIRED row. A checkpoint of
the old key after that one would look like a thief's, and one of the new key vouches for nothing
before the old one has signed that heartbeat, too.

Whoever verifies trusts a key that a signed row announces. So nobody signs over such a row unless
the command at hand wrote it, or would have: a row that was planted is refused by another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.audit.about import (
    KEY_CODES,
    about_ledger,
    in_force,
    is_about_ledger,
    refusal_of,
)
from yoyo.core.ledger_format import decode_row
from yoyo.errors import CheckpointFailed
from yoyo.model.ledger import HEARTBEAT, KEY_ADDED, KEY_REFUSED, KEY_RETIRED, Row

if TYPE_CHECKING:
    from yoyo.model.audit import Checkpoint
    from yoyo.ops.audit.context import AuditContext

_CODES = (*KEY_CODES, HEARTBEAT)
_WORDS = tuple(code.encode() for code in _CODES)

KeyRow = tuple[str, str, str]  # error_code, job_id and input_hash of a row about a key


class CutOff(NamedTuple):
    """A change of keys whose rows are there, and whose checkpoint is not."""

    added: frozenset[str]  # digests of the keys that its rows announce
    beat: int | None  # seq of the heartbeat that both keys were to sign; None: not written yet


def cut_off(ctx: AuditContext, newest: Checkpoint) -> CutOff | None:
    """The change of keys that was begun after the newest checkpoint, if one was.

    Raises:
        LedgerUnreadable.
    """
    added: set[str] = set()
    is_retired = False
    for row in in_force(_rows_since(ctx, newest.head.size)):
        entry = row.entry
        if entry.error_code == KEY_ADDED:
            added.add(entry.input_hash)
        elif entry.error_code == KEY_RETIRED:
            is_retired |= entry.job_id == f"key/{newest.signatures[-1].key_id.hex()}"
        elif is_retired:
            return CutOff(frozenset(added), row.seq)
    return CutOff(frozenset(added), None) if is_retired else None


def refuse_amid_rotation(ctx: AuditContext, newest: Checkpoint) -> None:
    """Refuse to sign anything else before a change of keys is finished.

    Raises:
        CheckpointFailed, LedgerUnreadable.
    """
    if cut_off(ctx, newest) is None:
        return
    raise CheckpointFailed(
        "Nothing was signed: a change of keys was cut off and has to be finished first.",
        why="The ledger says that the key of the newest checkpoint is retired, and no checkpoint "
        "of both keys is there.",
        fix="Run `yoyo ledger rotate NEW-KEY` again with the same new key. If nobody of yours "
        "began that: `yoyo ledger checkpoint --refuse-keys`.",
    )


def key_row(row: Row) -> KeyRow:
    """What a row says about a key."""
    return row.entry.error_code, row.entry.job_id, row.entry.input_hash


def key_rows(ctx: AuditContext) -> list[Row]:
    """The rows about keys that count, in the ledger's order.

    Raises:
        LedgerUnreadable.
    """
    rows = ctx.ledger.matching(about_ledger(*KEY_CODES))
    return in_force(row for row in rows if isinstance(row, Row))


def strangers(
    ctx: AuditContext, newest: tuple[str, Checkpoint] | None, own: frozenset[KeyRow]
) -> list[Row]:
    """The rows about keys, not signed yet, that the command at hand would not have written.

    Raises:
        LedgerUnreadable.
    """
    since = _rows_since(ctx, newest[1].head.size if newest is not None else 0)
    rows = [row for row in since if row.entry.error_code in KEY_CODES]
    good, to_refuse = set[Row](), set[tuple[str, str]]()
    for row in rows:
        said = key_row(row)
        # To refuse a stranger's row is right, whoever does it; any other refusal is a stranger's.
        if said in own or (said[0] == KEY_REFUSED and said[1:] in to_refuse):
            good.add(row)
        else:
            to_refuse.add(refusal_of(row))
    return [row for row in in_force(rows) if row not in good]


def refuse_strangers(
    ctx: AuditContext, newest: tuple[str, Checkpoint] | None, own: frozenset[KeyRow]
) -> None:
    """Refuse to sign over rows about keys that somebody else wrote.

    Raises:
        CheckpointFailed, LedgerUnreadable.
    """
    for row in strangers(ctx, newest, own):
        code, job, _ = key_row(row)
        raise CheckpointFailed(
            f"Nothing was signed: somebody else wrote row {row.seq} ({code} {job}).",
            why="Whoever verifies would follow it. Only `yoyo ledger rotate` writes such rows, and "
            "signs them at once.",
            fix="Find out who can write the ledger. `yoyo ledger checkpoint --refuse-keys` writes "
            "rows by which such rows count for nothing, and signs.",
        )


def _rows_since(ctx: AuditContext, size: int) -> list[Row]:
    if not size:  # all there are: months may be gone, and this is the faster way
        every = ctx.ledger.matching(about_ledger(*_CODES))
        return [row for row in every if isinstance(row, Row)]
    found = []
    for block in ctx.ledger.lines(size + 1):
        for raw in block:
            if any(word in raw for word in _WORDS):
                row = decode_row(raw, 0)
                if isinstance(row, Row) and is_about_ledger(row) and key_row(row)[0] in _CODES:
                    found.append(row)
    return found
