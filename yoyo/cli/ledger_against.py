"""What `ledger verify --against` adds: the ledger held against checkpoints."""

import os
from collections.abc import Sequence
from pathlib import Path

from yoyo.cli.session import Session
from yoyo.errors import YoyoError


def hold(
    work: Session, file: Path | None, places: Sequence[str], keys: Sequence[str]
) -> tuple[dict[str, object], str, YoyoError | None]:
    """The findings for machines, for people, and the error that they amount to.

    Raises:
        CheckpointInvalid: no key is trusted, or a place holds no checkpoint.
        StoreUnavailable, StoreDenied, LedgerUnreadable, DriverUnavailable.
    """
    from yoyo.cli.render_prove import against_document, against_text
    from yoyo.model.settings import AuditSettings
    from yoyo.ops.audit.against import held_against, verdict
    from yoyo.wiring_audit import audit_context_for, bare_audit_context, notes_at, trusted_keys

    settings = work.loaded.settings if file is None else None
    ctx = (
        bare_audit_context(file)
        if file is not None
        else audit_context_for(work.loaded.settings, os.environ)
    )
    trusted = trusted_keys(keys, settings.audit if settings is not None else None)
    audit = settings.audit if settings is not None else AuditSettings()
    kept = [notes_at(place, audit) for place in places]
    found = held_against(
        ctx,
        [note for each in kept for note in each.notes],
        trusted,
        [key for each in kept for key in each.keys],
    )
    return {"against": against_document(found)}, against_text(found), verdict(found)
