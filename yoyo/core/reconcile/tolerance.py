"""Reads how far two figures may lie apart. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_FORM: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\Z", re.ASCII)


class BadShare(ValueError):
    """The text is no share; the message says what one is."""


def parse_share(text: str) -> Decimal:
    """Read `1%` or `0.5%` as a share of 1.

    Raises:
        BadShare: another form, or above 100%.
    """
    found = _FORM.match(text.strip())
    if found is None or Decimal(found[1]) > 100:
        raise BadShare(f"{text[:40]!a} is no share; write 1% or 0.5%")
    return Decimal(found[1]) / 100
