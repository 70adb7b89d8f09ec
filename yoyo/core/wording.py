"""How counts and amounts are put into a sentence, the same everywhere. Pure."""

from __future__ import annotations

from decimal import Decimal

_PLACES = 6  # of a dollar: what the ledger books


def counted(count: int, one: str, many: str = "") -> str:
    """`1 life`, `3 lives`; `many` is for nouns that do more than take an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def amount_text(amount: Decimal) -> str:
    """Every digit of it, but no zeros past the sixth place: they are a column's, not its own."""
    text = f"{amount:f}"
    whole, point, digits = text.partition(".")
    kept = digits[:_PLACES] + digits[_PLACES:].rstrip("0")
    return f"{whole}{point}{kept}"
