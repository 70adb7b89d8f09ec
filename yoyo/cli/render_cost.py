"""What things cost, for people, for machines and for spreadsheets."""

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from yoyo.cli.render import moment
from yoyo.cli.render_ledger import one_line
from yoyo.core.export.cells import sheet_line
from yoyo.core.wording import counted
from yoyo.model.accounts import CostLine, CostTable, Forecast

_SIX = Decimal("0.000001")
FIGURES = (
    "usd", "gpu_usd", "disk_usd", "idle_usd", "boot_usd", "billed_usd", "estimated_usd",
    "running_usd", "unpriced", "gpu_seconds", "work_seconds", "boot_seconds", "utilisation",
    "tokens", "usd_per_million_tokens", "jobs",
)  # fmt: skip
_KEY_CHARS = 48
# What goes first where a window is too narrow; what is not here stays.
_SPARED = ("(boot)", "GPU h", "tokens", "jobs", "estimated", "disk", "GPU", "USD/Mtok")

Drawn = list[list[str]]


def cost_document(table: CostTable) -> dict[str, Any]:
    """The answer for machines; money and seconds are decimals as text, unknown is null."""
    return {
        "by": table.by,
        "since": table.since,
        "until": table.until,
        "as_booked": table.as_booked,
        "corrections": table.corrections,
        "lines": [
            {**dict(zip(table.by, line.key, strict=True)), **_figures(line)} for line in table.lines
        ],
        "total": _figures(table.total),
        "notes": table.notes,
        "forecast": table.forecast,
    }


def _figures(line: CostLine) -> dict[str, Any]:
    figures = {name: getattr(line, name) for name in FIGURES}
    for name in ("utilisation", "usd_per_million_tokens"):
        if figures[name] is not None:
            figures[name] = figures[name].quantize(_SIX, ROUND_HALF_UP)
    return figures


def cost_csv(table: CostTable) -> str:
    """The lines for a spreadsheet: no total, and nothing that it would take for a formula."""
    lines = [sheet_line((*table.by, *FIGURES))]
    for line in table.lines:
        names = (one_line(part, len(part)) for part in line.key)
        cells = ("" if each is None else f"{each:f}" if isinstance(each, Decimal) else str(each)
                 for each in _figures(line).values())  # fmt: skip
        lines.append(sheet_line((*names, *cells)))
    return "".join(lines)


def cost_text(table: CostTable, width: int | None = None) -> str:
    """The answer for people: a table, its total, what to know about it, and where it leads.

    `width`: characters of a line; columns that do not fit are left out and named. None: any.
    """
    drawn, left_out = _fitting(table, width)
    lines = [_span(table), *_drawn(drawn, len(table.by))]
    if left_out:
        lines.append(f"no room for: {', '.join(left_out)}; a wider window or --csv has them")
    if table.as_booked:
        lines.append("as booked: corrections are left out")
    elif table.corrections:
        are = "is" if table.corrections == 1 else "are"
        lines.append(f"{counted(table.corrections, 'correction')} {are} in these figures")
    lines += [f"note: {one_line(each)}" for each in table.notes]
    if table.forecast is not None:
        lines.append(forecast_text(table.forecast))
    return "\n".join(lines)


def _fitting(table: CostTable, width: int | None) -> tuple[Drawn, list[str]]:
    """Head, lines and total as cells, and the columns that are left out for lack of room."""
    every = (*table.lines, table.total) if table.by else (table.total,)
    keys: Drawn = [[], []]
    if table.by:
        total = ["total", *[""] * (len(table.by) - 1)]
        keys = [[*table.by], *map(_keys, table.lines), total]
    cells = {name: [name, *map(cell, every)] for name, cell in _columns(table)}
    left_out: list[str] = []
    for name in (*_SPARED, None):
        rows = zip(*cells.values(), strict=True)
        drawn = [[*key, *row] for key, row in zip(keys, rows, strict=True)]
        if width is None or sum(_wide(drawn)) + 2 * (len(drawn[0]) - 1) <= width:
            break
        if name in cells:
            del cells[name]
            left_out.append(name)
    return drawn, left_out


def _wide(drawn: Drawn) -> list[int]:
    return [max(map(len, column)) for column in zip(*drawn, strict=True)]


def _drawn(drawn: Drawn, keys: int) -> Iterator[str]:
    wide = _wide(drawn)
    for number, row in enumerate(drawn):
        cells = [
            f"{cell:<{width}}" if place < keys else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, wide, strict=True))
        ]
        if keys and number == len(drawn) - 1:
            yield "-" * (sum(wide) + 2 * (len(wide) - 1))
        yield "  ".join(cells).rstrip()


def _keys(line: CostLine) -> list[str]:
    return [one_line(part, _KEY_CHARS) for part in line.key]


def _span(table: CostTable) -> str:
    first = "the first row" if table.first_kept <= 1 else "the first row that is kept"
    since = moment(table.since) if table.since else first
    until = moment(table.until) if table.until else "now"
    return f"cost in USD, from {since} to {until}"


def _columns(table: CostTable) -> Iterator[tuple[str, Any]]:
    """Names and cells; what is nowhere is no column."""
    total = table.total
    places = 2 if total.usd >= 1 or not total.usd else 6

    def money(name: str) -> Any:
        def cell(line: CostLine) -> str:
            amount = getattr(line, name)
            return "unknown" if amount is None else f"{amount:.{places}f}"

        return cell

    yield "USD", money("usd")
    yield "GPU", money("gpu_usd")
    yield "(idle)", money("idle_usd")
    yield "(boot)", money("boot_usd")
    yield "disk", money("disk_usd")
    if total.billed_usd:
        yield "billed", money("billed_usd")
        yield "estimated", money("estimated_usd")
    if total.running_usd is None or total.running_usd:
        yield "running", money("running_usd")
    if total.unpriced:
        yield "unpriced", lambda line: str(line.unpriced or "")
    yield "GPU h", lambda line: f"{line.gpu_seconds / 3600:.1f}"
    yield "used", lambda line: "-" if line.utilisation is None else f"{line.utilisation:.1%}"
    yield "jobs", lambda line: str(line.jobs)
    yield "tokens", lambda line: str(line.tokens)
    yield "USD/Mtok", _per_million


def _per_million(line: CostLine) -> str:
    price = line.usd_per_million_tokens
    # Where nothing was booked a price of 0 would say that it was free.
    return "-" if not price else f"{price:.2f}"


def _usd(amount: Decimal) -> str:
    """In cents; less than a dollar to the millionth, so that a small sum is not shown as none."""
    return f"{amount:.2f}" if amount >= 1 or not amount else f"{amount:.6f}"


def forecast_text(ahead: Forecast) -> str:
    """Where the month is going, and whether a cap is in the way."""
    text = (
        f"forecast for {ahead.month}: {_usd(ahead.expected_usd)} USD at this pace, "
        f"{_usd(ahead.spent_usd)} USD until now"
    )
    if ahead.cap_usd is None:
        return f"{text}; not every node has a monthly cap"
    if ahead.cap_reached is None:
        return f"{text}; the cap of {ahead.cap_usd:f} USD is not reached"
    return f"{text}; THE CAP of {ahead.cap_usd:f} USD is reached on {moment(ahead.cap_reached)}"
