"""A change of keys that was cut off: nothing else is signed until it is finished.

The old key's word counts up to the first heartbeat after its KEY_RETIRED row. A checkpoint of
the old key after that one would look like a thief's, and one of the new key vouches for nothing
before the old one has signed that heartbeat, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.ledger_format import decode_row
from yoyo.errors import CheckpointFailed
from yoyo.model.ledger import HEARTBEAT, KEY_ADDED, KEY_RETIRED, LEDGER_NODE, Row

if TYPE_CHECKING:
    from yoyo.model.audit import Checkpoint
    from yoyo.ops.audit.context import AuditContext

_CODES = (KEY_ADDED, KEY_RETIRED, HEARTBEAT)
_WORDS = tuple(code.encode() for code in _CODES)


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
    for row in _rows_since(ctx, newest.head.size):
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
        fix="Run `yoyo ledger rotate NEW-KEY` again with the same new key.",
    )


def _rows_since(ctx: AuditContext, size: int) -> list[Row]:
    found = []
    for block in ctx.ledger.lines(size + 1):
        for raw in block:
            if any(word in raw for word in _WORDS):
                row = decode_row(raw, 0)
                if (
                    isinstance(row, Row)
                    and row.entry.node_id == LEDGER_NODE
                    and row.entry.error_code in _CODES
                ):
                    found.append(row)
    return found
