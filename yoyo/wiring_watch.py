"""The part of the composition root that a look at the nodes needs: since when nobody signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from yoyo.errors import YoyoError

if TYPE_CHECKING:
    from yoyo.model.settings import Settings


def ledger_watch(settings: Settings) -> Callable[[], str] | None:
    """What says that nobody has signed for too long; None: nobody is to sign. It never fails."""
    if settings.audit.key is None and not settings.audit.signer_command:
        return None

    def look() -> str:
        from yoyo.ops.audit.age import unsigned_note
        from yoyo.wiring_audit import audit_context_for

        try:
            return unsigned_note(audit_context_for(settings, {}))
        except YoyoError:
            return ""  # what is wrong with the ledger itself, the command says by itself

    return look
