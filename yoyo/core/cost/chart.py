"""A table of cost as a picture: bars, laid out once for SVG, PNG and terminals. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from yoyo.core.unsafe_text import visible
from yoyo.model.accounts import CostLine, CostTable

SEGMENTS: Final = ("work", "boot", "idle", "disk")
# Told apart by readers with any colour vision: Okabe and Ito, "Color Universal Design", 2008.
LIGHT: Final = {
    "work": "#0072b2", "boot": "#cc79a7", "idle": "#e69f00", "disk": "#7f7f7f",
    "text": "#1a1a1a", "faint": "#5c5c5c", "paper": "#ffffff",
}  # fmt: skip
DARK: Final = {
    "work": "#56b4e9", "boot": "#dd9abf", "idle": "#f0b93a", "disk": "#a8a8a8",
    "text": "#f2f2f2", "faint": "#b8b8b8", "paper": "#161616",
}  # fmt: skip

WIDTH: Final = 880
_MARGIN, _ROW, _BAR, _SIZE = 16, 26, 16, 13
_LABELS, _FIGURES = 210, 110  # pixels left and right of the bars
_LABEL_CHARS = 28
# XML 1.0 has no way to write these two, nor most of UNSAFE.
_NO_CHARACTERS = str.maketrans({"\ufffe": "\\ufffe", "\uffff": "\\uffff"})


class Bar(NamedTuple):
    """One group. USD, in the order of SEGMENTS."""

    label: str
    parts: tuple[Decimal, Decimal, Decimal, Decimal]

    @property
    def usd(self) -> Decimal:
        """All of it."""
        return sum(self.parts, Decimal(0))


class Box(NamedTuple):
    """A filled rectangle; `fill` is a name of LIGHT and DARK. Pixels."""

    x: int
    y: int
    width: int
    height: int
    fill: str
    title: str = ""


class Text(NamedTuple):
    """A line of text whose baseline is `y`; `anchor` is start or end. Pixels."""

    x: int
    y: int
    text: str
    anchor: str = "start"
    fill: str = "text"
    bold: bool = False


class Picture(NamedTuple):
    """What is to be drawn."""

    height: int
    title: str
    boxes: tuple[Box, ...]
    texts: tuple[Text, ...]


def bars_of(table: CostTable, limit: int) -> tuple[Bar, ...]:
    """A bar for every line; where there are more than `limit`, one for all the others.

    Of days and months the latest are shown, of other groups those that cost most.
    """
    lines = list(table.lines)
    if len(lines) <= limit:
        return tuple(_bar(line, " / ".join(line.key) or "all") for line in lines)
    if "day" in table.by or "month" in table.by:
        rest, kept = lines[: len(lines) - limit + 1], lines[len(lines) - limit + 1 :]
        return (_others(rest, "earlier"), *(_bar(line, " / ".join(line.key)) for line in kept))
    kept, rest = lines[: limit - 1], lines[limit - 1 :]
    return (*(_bar(line, " / ".join(line.key)) for line in kept), _others(rest, "others"))


def _bar(line: CostLine, label: str) -> Bar:
    work = line.gpu_usd - line.boot_usd - line.idle_usd
    return Bar(drawable(label), (work, line.boot_usd, line.idle_usd, line.disk_usd))


def _others(lines: Sequence[CostLine], word: str) -> Bar:
    parts = [_bar(line, "").parts for line in lines]
    work, boot, idle, disk = (sum(column, Decimal(0)) for column in zip(*parts, strict=True))
    return Bar(f"({len(lines)} {word})", (work, boot, idle, disk))


def drawable(text: str) -> str:
    """`text` with everything that could act, or that XML cannot hold, spelled out."""
    return visible(text).translate(_NO_CHARACTERS)


def shortened(text: str, chars: int) -> str:
    """At most that many characters."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def lengths(bar: Bar, most: Decimal, width: int) -> tuple[int, ...]:
    """How long each segment is where the costliest bar has `width`; together as long as it is."""
    if not most:
        return (0,) * len(bar.parts)
    found, before, so_far = [], 0, Decimal(0)
    for part in bar.parts:
        so_far += part
        here = int((so_far * width / most).to_integral_value())
        found.append(here - before)
        before = here
    return tuple(found)


def draw(table: CostTable, limit: int = 60) -> Picture:
    """Lay the table out: a title, a legend, a bar for each line with its figure."""
    bars = bars_of(table, limit)
    most = max((bar.usd for bar in bars), default=Decimal(0))
    title = title_of(table)
    texts = [Text(_MARGIN, _MARGIN + 14, title, bold=True)]
    boxes = []
    at, y = _MARGIN, _MARGIN + 40
    totals = _others(table.lines, "").parts if table.lines else (Decimal(0),) * 4
    for name, amount in zip(SEGMENTS, totals, strict=True):
        legend = f"{name} {amount:.2f}"
        boxes.append(Box(at, y - 11, 12, 12, name))
        texts.append(Text(at + 18, y, legend, fill="faint"))
        at += 18 + 8 * len(legend) + 22
    y += 18
    room = WIDTH - 2 * _MARGIN - _LABELS - _FIGURES
    for bar in bars:
        texts.append(Text(_MARGIN + _LABELS - 8, y + 13, shortened(bar.label, _LABEL_CHARS), "end"))
        x = _MARGIN + _LABELS
        for name, amount, long in zip(SEGMENTS, bar.parts, lengths(bar, most, room), strict=True):
            if long > 0:
                tip = f"{bar.label}: {name} {amount:f} USD"
                boxes.append(Box(x, y, long, _BAR, name, tip))
                x += long
        texts.append(Text(x + 8, y + 13, f"{bar.usd:.2f}"))
        y += _ROW
    if not bars:
        texts.append(Text(_MARGIN, y + 13, "Nothing was booked in this time.", fill="faint"))
        y += _ROW
    return Picture(y + _MARGIN, title, tuple(boxes), tuple(texts))


def title_of(table: CostTable) -> str:
    """What the picture shows, in one line."""
    by = f" by {', '.join(table.by)}" if table.by else ""
    since = f" from {table.since:%Y-%m-%d %H:%MZ}" if table.since else ""
    until = f" until {table.until:%Y-%m-%d %H:%MZ}" if table.until else ""
    return f"Cost{by}{since}{until}: {table.total.usd:.2f} USD"


def svg(picture: Picture) -> str:
    """The picture as one self-contained SVG document, light or dark as its reader has it."""
    light = "".join(f".{name}{{fill:{colour}}}" for name, colour in LIGHT.items())
    dark = "".join(f".{name}{{fill:{colour}}}" for name, colour in DARK.items())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {picture.height}" '
        f'width="{WIDTH}" height="{picture.height}" role="img">',
        f"<title>{_xml(picture.title)}</title>",
        f"<style>text{{font:{_SIZE}px system-ui,sans-serif}}.b{{font-weight:600}}{light}"
        f"@media (prefers-color-scheme:dark){{{dark}}}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{picture.height}"/>',
    ]
    for box in picture.boxes:
        tip = f"<title>{_xml(box.title)}</title>" if box.title else ""
        lines.append(
            f'<rect class="{box.fill}" x="{box.x}" y="{box.y}" width="{box.width}" '
            f'height="{box.height}">{tip}</rect>'
        )
    for text in picture.texts:
        bold = " b" if text.bold else ""
        lines.append(
            f'<text class="{text.fill}{bold}" x="{text.x}" y="{text.y}" '
            f'text-anchor="{text.anchor}">{_xml(text.text)}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _xml(text: str) -> str:
    return html.escape(drawable(text))
