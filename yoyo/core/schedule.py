"""Periods in seconds as cron expressions. Pure."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400

# Cron's steps begin anew each hour or day, so only a divisor of 60 minutes or 24 hours is
# a period; every other step leaves a shorter one at the turn (crontab(5)).
_EVEN = {
    **{m * _MINUTE: f"*/{m} * * * *" for m in range(2, 60) if 60 % m == 0},
    **{h * _HOUR: f"0 */{h} * * *" for h in range(2, 24) if 24 % h == 0},
    _MINUTE: "* * * * *",
    _HOUR: "0 * * * *",
    _DAY: "0 0 * * *",
}


class NotACronPeriod(ValueError):
    """Cron cannot run something every so many seconds; `nearest` (seconds) it can."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"cron cannot express a period of {seconds} s")
        self.seconds = seconds
        # Of two equally near, the shorter: the monitor then looks too often, not too seldom.
        self.nearest = min(_EVEN, key=lambda even: (abs(even - seconds), even))


def cron_expression(seconds: int) -> str:
    """The five fields that fire every `seconds`, evenly.

    Raises:
        NotACronPeriod: unless `seconds` divides an hour or a day evenly in whole minutes.
    """
    if seconds not in _EVEN:
        raise NotACronPeriod(seconds)
    return _EVEN[seconds]


def duration_text(seconds: int) -> str:
    """Whole seconds as yoyo.yaml writes them: `90s`, `1m30s`, `1h`; 0 is `0s`."""
    hours, rest = divmod(seconds, _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
