"""Pictures of cost: bars in a terminal, and files."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.cli.result_file import write_result
from yoyo.core.cost.chart import (
    LIGHT,
    SEGMENTS,
    WIDTH,
    Picture,
    bars_of,
    draw,
    lengths,
    shortened,
    svg,
    title_of,
)
from yoyo.errors import DriverUnavailable
from yoyo.model.accounts import CostTable

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_LIMIT = 40  # bars that one looks at in a terminal
_FILLS, _PLAIN_FILLS = "█▓▒░", "#%=."
_SCALE = 2  # a PNG has no vectors: twice the pixels stay sharp where they are shown small


def bars_text(table: CostTable, width: int, encoding: str | None) -> str:
    """The table as bars of at most `width` characters a line, each kind with a shade of its own."""
    bars = bars_of(table, _LIMIT)
    fills = _FILLS if _can_show(_FILLS, encoding) else _PLAIN_FILLS
    most = max((bar.usd for bar in bars), default=Decimal(0))
    figures = [f"{bar.usd:.2f}" for bar in bars]
    wide = max(map(len, figures), default=0)
    names = min(max((len(bar.label) for bar in bars), default=0), max(width // 3, 8))
    room = max(width - names - wide - 4, 10)
    legend = "   ".join(f"{fill} {name}" for fill, name in zip(fills, SEGMENTS, strict=True))
    lines = [title_of(table), legend]
    for bar, figure in zip(bars, figures, strict=True):
        drawn = "".join(
            fill * max(long, 0) for fill, long in zip(fills, lengths(bar, most, room), strict=True)
        )
        lines.append(f"{shortened(bar.label, names):<{names}}  {figure:>{wide}}  {drawn}".rstrip())
    if not bars:
        lines.append("nothing was booked in this time")
    return "\n".join(lines)


def _can_show(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def write_plot(table: CostTable, path: Path) -> None:
    """Draw the table into that file, SVG or PNG by its name; whole or not at all.

    Raises:
        DriverUnavailable: a PNG without the extra that draws it.
        StateUnwritable.
    """
    picture = draw(table)
    data = svg(picture).encode() if path.suffix.lower() == ".svg" else _png(picture)
    write_result(path, data, "--plot-to")


def _png(picture: Picture) -> bytes:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError as error:
        raise DriverUnavailable(
            "A PNG cannot be drawn.",
            why=f"The module {error.name} is not installed.",
            fix="Run: pip install 'yoyo[plot]', or name a file that ends in .svg.",
        ) from error
    from io import BytesIO

    size = (WIDTH * _SCALE, picture.height * _SCALE)
    image = Image.new("RGB", size, LIGHT["paper"])
    pen = ImageDraw.Draw(image)
    font: FreeTypeFont | ImageFont.ImageFont = ImageFont.load_default(13 * _SCALE)
    for box in picture.boxes:
        left, top = box.x * _SCALE, box.y * _SCALE
        # The far corner is part of Pillow's rectangle.
        right, bottom = left + box.width * _SCALE - 1, top + box.height * _SCALE - 1
        pen.rectangle((left, top, right, bottom), fill=LIGHT[box.fill])
    for text in picture.texts:
        anchor = "ls" if text.anchor == "start" else "rs"
        at = (text.x * _SCALE, text.y * _SCALE)
        heavy = 1 if text.bold else 0
        colour = LIGHT[text.fill]
        pen.text(at, text.text, fill=colour, font=font, anchor=anchor, stroke_width=heavy)
    data = BytesIO()
    image.save(data, "PNG", optimize=True)
    return data.getvalue()
