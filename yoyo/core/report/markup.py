"""Text that goes into the page, escaped unless it is markup already. Pure.

The page is built by plain Python and not by a template: the core reads no files, and half of
the page is drawings. Escaping stays the default all the same: `html` is the only way in, and
it escapes whatever is not `Markup`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from markupsafe import Markup

from yoyo.core.unsafe_text import visible

_CENT = Decimal("0.01")
_SMALL = Decimal("0.000001")
_HOUR = Decimal(3600)
NOTHING = Markup("")


def html(template: str, *parts: object, **named: object) -> Markup:
    """`template`, which is a literal of ours, with `{}` filled by escaped text or by markup."""
    safe = {key: _safe(part) for key, part in named.items()}
    return Markup(template).format(*map(_safe, parts), **safe)  # noqa: S704 - literals alone


def joined(parts: Iterable[Markup]) -> Markup:
    """Pieces of markup, one after the other."""
    return NOTHING.join(parts)


def name(text: str) -> Markup:
    """A name that somebody chose: its direction must not turn the text around it."""
    return html("<bdi>{}</bdi>", text or "—")


def usd(amount: Decimal | None) -> str:
    """Dollars to the cent, and to the millionth where a cent would show nothing."""
    if amount is None:
        return "unknown"
    digits = _SMALL if 0 < abs(amount) < _CENT else _CENT
    return f"{amount.quantize(digits, ROUND_HALF_UP):,f}"


def whole(count: int) -> str:
    """A count with separators."""
    return f"{count:,}"


def hours(seconds: Decimal) -> str:
    """Seconds as hours, to the tenth."""
    return f"{(seconds / _HOUR).quantize(Decimal('0.1'), ROUND_HALF_UP):,f}"


def percent(share: Decimal | None) -> str:
    """A share as a percentage, to the tenth."""
    if share is None:
        return "—"
    return f"{(share * 100).quantize(Decimal('0.1'), ROUND_HALF_UP):f} %"


def moment(when: datetime | None) -> str:
    """UTC to the minute."""
    return "never" if when is None else when.strftime("%Y-%m-%d %H:%M")


def age(span: timedelta) -> str:
    """Days and hours, or hours and minutes."""
    minutes = max(int(span.total_seconds()), 0) // 60
    days, hour, minute = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hour} h"
    return f"{hour} h {minute} min" if hour else f"{minute} min"


def _safe(part: object) -> object:
    return part if isinstance(part, Markup) or not isinstance(part, str) else visible(part)
