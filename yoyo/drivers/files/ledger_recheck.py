"""Verifies a large ledger before money is spent, and not again what was verified the same day."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from yoyo.core.ledger_check import is_saved
from yoyo.core.ledger_state import StateRows
from yoyo.drivers.files.ledger_cache import Known, keeping, opened, row_end
from yoyo.drivers.files.ledger_known import new_state_rows
from yoyo.drivers.files.ledger_sections import Sections, is_large
from yoyo.drivers.files.verify import check_after, check_sections, verify_sections
from yoyo.model.ledger import VerifyReport

# After a day all is read again, so that an edited row of a job is noticed, too.
GOOD_FOR_S = 86_400


def recheck(path: Path, sections: Sections, now: datetime) -> VerifyReport:
    """As `verify`, but rows that were verified within a day are not read again.

    That holds while every row that the state is made of stands in the ledger as it did then.

    Raises:
        OSError: a file cannot be read.
    """
    if sections.fault or not is_large(sections):
        return verify_sections(sections, None)
    with opened(path, sections) as found:
        known = found if found is not None and found.stands(sections) else None
        saved = None if known is None else _saved(known, now)
        place = None if saved is None else row_end(sections, saved["seq"], saved["row_hash"])
        with keeping(path, sections, known, always=place is None) as keeper:
            state = StateRows(keeper)
            if keeper is not None:
                # First read, then verified: what is kept was in the ledger that was found sound.
                for _ in new_state_rows(sections, known, state, keeper):
                    pass
            if saved is not None and place is not None:
                report, check = check_after(sections, saved, *place)
            else:
                report, check = check_sections(sections)
            verified = check.saved() if report.ok else None
            if keeper is not None and verified is not None:
                since = now.timestamp() if saved is None or place is None else saved["at"]
                keeper.finish(state, {**verified, "at": since})
    return report


def _saved(known: Known, now: datetime) -> dict[str, Any] | None:
    """The check to go on from; None: there is none, or not of the last day."""
    saved = known.verified
    if not isinstance(saved, dict) or not is_saved(saved):
        return None
    since = saved.get("at")
    if not isinstance(since, int | float) or not 0 <= now.timestamp() - since < GOOD_FOR_S:
        return None
    return saved
