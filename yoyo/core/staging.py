"""How the ledger speaks of the store: who staged, replaced and removed what, by digest. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from yoyo.model.fetch import Resolved
from yoyo.model.ledger import STORE_NODE, BadRow, CompletionStatus, EventType, Row

REMOVED: Final = "ARTEFACT_REMOVED"
REPLACED: Final = "ARTEFACT_REPLACED"
COLLECTED: Final = "ARTEFACTS_COLLECTED"


def job_id(kind: str, name: str) -> str:
    """The id of the two rows of a staging. One at a time has it: stagings of a name are locked."""
    return f"stage/{kind}/{name}"


def lock_of(kind: str, name: str) -> str:
    """The lock of whoever makes a name stand for something, within what a lock may be called."""
    return "name-" + sha256(f"{kind}/{name}".encode()).hexdigest()[:32]


def recorded(rows: Iterable[Row | BadRow]) -> dict[tuple[str, str], str]:
    """What each (kind, name) stands for by the ledger: the sha256 of its manifest's document."""
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        if isinstance(row, BadRow) or row.entry.node_id != STORE_NODE:
            continue
        entry = row.entry
        action, _, target = entry.job_id.partition("/")
        kind, _, name = target.partition("/")
        if action != "stage":
            continue
        if entry.error_code == REMOVED:
            found.pop((kind, name), None)
        elif (
            entry.event_type is EventType.JOB_COMPLETE
            and entry.completion_status is CompletionStatus.SUCCESS
        ):
            found[(kind, name)] = entry.input_hash.removeprefix("sha256:")
    return found


def session_of(source: Resolved) -> str:
    """The same for every staging of the same bytes of a source: 32 hex digits.

    What a cut-off staging left behind is found by it, here and in the store.
    """
    parts = [source.url, source.revision]
    for file in source.files:
        parts += [file.path, str(file.size), file.sha256 or ""]
    return sha256("\0".join(parts).encode()).hexdigest()[:32]
