"""What an operator is told about an export that cannot be read."""

from __future__ import annotations

from pathlib import Path

from yoyo.errors import BillingInvalid

MOST_MISTAKES = 20


def invalid(path: Path, why: str, details: tuple[str, ...] = ()) -> BillingInvalid:
    """The error, with every mistake that was found in `details`."""
    return BillingInvalid(
        f"The billing export {path} cannot be read.",
        why=f"{why[:1].upper()}{why[1:]}.",
        fix="Export it again as docs/guides/reconcile.md says; nothing was booked.",
        details=details,
    )
