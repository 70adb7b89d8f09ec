"""The report's pictures: SVG that scales with the page and follows its colours. Pure.

Coordinates are drawn for a width of 400, close to that of a phone, so that letters stay
readable there. Each kind of mark is one path: a busy month of a node stays some 20 KB.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from markupsafe import Markup

from yoyo.core.report.facts import NodeStrip, Spell
from yoyo.core.report.markup import NOTHING, hours, html, joined, moment, usd, whole
from yoyo.core.report.strips import STOPS
from yoyo.model.accounts import CostLine

_WIDTH = 400
_DAY, _HOUR, _SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)

# The bars: left edge, top and height of the plot, and the room below it for dates.
_PLOT_X, _PLOT_Y, _PLOT_H, _BELOW = 34, 8, 118, 16
# The strip: left edge, width of a day, height and pitch of its row, room above for the hours.
_STRIP_X, _STRIP_W, _ROW_H, _PITCH, _ABOVE = 24, 372, 9, 12, 14

PARTS = (("work", "work"), ("idle", "idle"), ("boot", "boot"), ("disk", "disk"))


def day_bars(lines: Sequence[CostLine], since: datetime, days: int) -> Markup:
    """Cost by day, stacked: what did work, idle, boot and disk."""
    by_day = {line.key[0]: line for line in lines}
    top = nice_top(max((line.usd for line in lines), default=Decimal(0)))
    step = Decimal(_WIDTH - _PLOT_X - 4) / days
    paths: dict[str, list[str]] = {part: [] for part, _ in PARTS}
    titles = []
    for number in range(days):
        key = (since + number * _DAY).strftime("%Y-%m-%d")
        line = by_day.get(key)
        if line is None or not line.usd:
            continue
        x = _PLOT_X + step * number
        base = Decimal(_PLOT_Y + _PLOT_H)
        for part, amount in _parts(line):
            height = max(amount, Decimal(0)) / top * _PLOT_H
            if height:
                base -= height
                paths[part].append(_box(x + step / 8, base, step * 3 / 4, height))
        titles.append(
            html(
                '<rect class="hit" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
                _n(x), _PLOT_Y, _n(step), _PLOT_H, f"{key}: {usd(line.usd)} USD",
            )
        )  # fmt: skip
    drawn = joined(
        html('<path class="p-{}" d="{}"/>', part, "".join(paths[part])) for part, _ in PARTS
    )
    return html(
        '<svg class="bars" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}{}</svg>',
        _WIDTH,
        _PLOT_Y + _PLOT_H + _BELOW,
        _bars_label(lines),
        _axis(top),
        _dates(since, days, step),
        drawn,
        joined(titles),
    )


def nice_top(most: Decimal) -> Decimal:
    """The top of an axis: 1, 2, 2.5 or 5 times a power of ten, not below `most`."""
    if most <= 0:
        return Decimal(1)
    power = Decimal(1).scaleb(most.adjusted())
    return next(
        power * factor
        for factor in (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))
        if power * factor >= most
    )


def _parts(line: CostLine) -> tuple[tuple[str, Decimal], ...]:
    work = line.gpu_usd - line.idle_usd - line.boot_usd
    return (
        ("work", work),
        ("idle", line.idle_usd),
        ("boot", line.boot_usd),
        ("disk", line.disk_usd),
    )


def _bars_label(lines: Sequence[CostLine]) -> str:
    if not lines:
        return "Cost by day: nothing was booked."
    most = max(lines, key=lambda line: line.usd)
    return (
        f"Cost by day, stacked by work, idle, boot and disk. Highest: {usd(most.usd)} USD on "
        f"{most.key[0]}. The table below has every day."
    )


def _axis(top: Decimal) -> Markup:
    found = []
    for quarter in (0, 2, 4):
        y = _PLOT_Y + _PLOT_H - _PLOT_H * quarter // 4
        found.append(
            html(
                '<path class="rule" d="M{} {}H{}"/><text x="{}" y="{}" class="end">{}</text>',
                _PLOT_X, y, _WIDTH - 4, _PLOT_X - 4, y + 3, _short(top * quarter / 4),
            )
        )  # fmt: skip
    return joined(found)


def _dates(since: datetime, days: int, step: Decimal) -> Markup:
    y = _PLOT_Y + _PLOT_H + 12
    shown = [number for number in range(days) if number % 5 == 0 and number < 30]
    return joined(
        html(
            '<text x="{}" y="{}" class="mid">{}</text>',
            _n(_PLOT_X + step * number + step / 2), y, (since + number * _DAY).day,
        )
        for number in shown
    )  # fmt: skip


def _short(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def node_strip(strip: NodeStrip, since: datetime, days: int, number: int) -> Markup:
    """One node's month: a row for each day, its hours from left to right."""
    height = _ABOVE + days * _PITCH + 2
    told = f"strip-{number}"
    return html(
        '<svg class="strip" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-t {}-d">'
        '<title id="{}-t">{}</title><desc id="{}-d">{}</desc>{}'
        '<path class="up" d="{}"/><path class="p-boot" d="{}"/><path class="p-work" d="{}"/>{}'
        "</svg>",
        _WIDTH, height, told, told,
        told, f"Node {strip.node}, {days} days by the hour",
        told, summary_of(strip),
        _grid(since, days),
        _bars(strip.spells, since, is_boot=False),
        _bars(strip.spells, since, is_boot=True),
        _load(strip, since, days),
        _stops(strip, since, days),
    )  # fmt: skip


def summary_of(strip: NodeStrip) -> str:
    """The drawing in a sentence."""
    ends: dict[str, int] = {}
    for stop in strip.stops:
        ends[stop.mark] = ends.get(stop.mark, 0) + 1
    by = ", ".join(f"{count} by {STOPS[mark]}" for mark, count in sorted(ends.items()))
    return (
        f"{whole(strip.boots)} boot(s), up {hours(strip.up_seconds)} h, booting "
        f"{hours(strip.boot_seconds)} h, {whole(strip.jobs)} job(s), "
        f"{whole(len(strip.stops))} stop(s){': ' + by if by else ''}."
    )


def _grid(since: datetime, days: int) -> Markup:
    tracks = "".join(
        _box(Decimal(_STRIP_X), Decimal(_row(day)), Decimal(_STRIP_W), Decimal(_ROW_H))
        for day in range(days)
    )
    labels = joined(
        html(
            '<text x="{}" y="{}" class="end{}">{}</text>',
            _STRIP_X - 4, _row(day) + 8,
            "" if (since + day * _DAY).weekday() >= 5 else " day",
            (since + day * _DAY).strftime("%d"),
        )
        for day in range(days)
    )  # fmt: skip
    ticks = joined(
        html(
            '<text x="{}" y="9" class="{}">{}</text>',
            _STRIP_X + _STRIP_W * hour // 24,
            "mid" if 0 < hour < 24 else ("end" if hour else ""),
            f"{hour:02d} h" if hour == 0 else f"{hour:02d}",
        )
        for hour in (0, 6, 12, 18, 24)
    )
    lines = "".join(
        f"M{_STRIP_X + _STRIP_W * hour // 24} {_ABOVE - 2}V{_row(days)}" for hour in (6, 12, 18)
    )
    return html(
        '<path class="track" d="{}"/>{}{}<path class="rule" d="{}"/>', tracks, labels, ticks, lines
    )


def _row(day: int) -> int:
    return _ABOVE + day * _PITCH


def _bars(spells: Sequence[Spell], since: datetime, *, is_boot: bool) -> str:
    """Spells cut at midnight; a boot of seconds is still drawn as wide as a line."""
    found = []
    for spell in spells:
        if spell.is_boot is not is_boot:
            continue
        start = spell.start
        while start < spell.end:
            day = (start - since) // _DAY
            end = min(spell.end, since + (day + 1) * _DAY)
            x, width = _at(start - since - day * _DAY), _at(end - start)
            least = Decimal("1.5") if is_boot else Decimal("0.4")
            width = max(width, least)
            x = min(x, _STRIP_W - width)
            found.append(_box(_STRIP_X + x, Decimal(_row(day)), width, Decimal(_ROW_H)))
            start = end
    return "".join(found)


def _load(strip: NodeStrip, since: datetime, days: int) -> str:
    """The share of each hour that jobs took, as a bar from the row's foot.

    Only as wide as the node was up in that hour: beside a gap it would look like work in it.
    """
    found = []
    wide = Decimal(_STRIP_W) / 24
    up = _up_in_hours(strip.spells, since)
    for number in range(days * 24):
        share = strip.load.get((since + number * _HOUR).strftime("%Y-%m-%dT%H"))
        if share:
            begin, end = up.get(number, (Decimal(0), Decimal(1)))
            height = max(share * _ROW_H, Decimal("0.8"))
            foot = Decimal(_row(number // 24) + _ROW_H)
            x = _STRIP_X + wide * (number % 24 + begin)
            width = max(wide * (end - begin), Decimal("0.4"))
            found.append(_box(x, foot - height, width, height))
    return "".join(found)


def _up_in_hours(spells: Sequence[Spell], since: datetime) -> dict[int, tuple[Decimal, Decimal]]:
    """Hour of the period -> first and last moment up in it, as shares of the hour."""
    found: dict[int, tuple[Decimal, Decimal]] = {}
    for spell in spells:
        if spell.is_boot:
            continue
        for number in range((spell.start - since) // _HOUR, -(-(spell.end - since) // _HOUR)):
            hour = since + number * _HOUR
            begin = Decimal((max(spell.start, hour) - hour) // _SECOND) / 3600
            end = Decimal((min(spell.end, hour + _HOUR) - hour) // _SECOND) / 3600
            low, high = found.get(number, (begin, end))
            found[number] = (min(low, begin), max(high, end))
    return found


def _stops(strip: NodeStrip, since: datetime, days: int) -> Markup:
    found = []
    for stop in strip.stops:
        day = (stop.at - since) // _DAY
        if not 0 <= day < days:
            continue
        x = _STRIP_X + min(_at(stop.at - since - day * _DAY), Decimal(_STRIP_W - 5))
        y = _row(day)
        found.append(
            html(
                '<g class="stop"><title>{}</title><path d="{}"/><text x="{}" y="{}">{}</text></g>',
                f"{moment(stop.at)}: {STOPS[stop.mark]}",
                _box(x - 5, Decimal(y) - 1, Decimal(10), Decimal(_ROW_H + 2)),
                _n(x), y + 8, stop.mark,
            )
        )  # fmt: skip
    return joined(found) if found else NOTHING


def _at(span: timedelta) -> Decimal:
    return Decimal(span // _SECOND) * _STRIP_W / 86_400


def _box(x: Decimal, y: Decimal, width: Decimal, height: Decimal) -> str:
    return f"M{_n(x)} {_n(y)}h{_n(width)}v{_n(height)}h-{_n(width)}z"


def _n(value: Decimal | int) -> str:
    text = f"{Decimal(value):.2f}"
    return text.rstrip("0").rstrip(".")
