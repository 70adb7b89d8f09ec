"""The report's sections on money and machines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from markupsafe import Markup

from yoyo.core.report.drawing import PARTS, day_bars, node_strip, summary_of
from yoyo.core.report.facts import NodeStrip, ReportFacts
from yoyo.core.report.markup import (
    NOTHING,
    hours,
    html,
    joined,
    moment,
    name,
    percent,
    usd,
    whole,
)
from yoyo.core.report.strips import STOPS
from yoyo.model.accounts import CostLine

TOP = 20  # tenants shown before the rest is added up
_STOPS_LISTED = 200

_MONEY_HEADS = (
    "USD", "Machines", "Idle", "Boot", "Disks", "GPU h", "Utilisation", "Tokens",
    "USD / M tokens",
)  # fmt: skip


def headline(facts: ReportFacts) -> Markup:
    """The figures that everybody asks for first."""
    total, forecast = facts.by_module.total, facts.by_module.forecast
    machines = total.gpu_usd or None
    tiles = [
        _tile("Spend, USD", usd(total.usd), f"booked in {facts.month}", "main"),
        _tile("Machines", usd(total.gpu_usd), _share(total.gpu_usd, total.usd)),
        _tile("Disks", usd(total.disk_usd), _share(total.disk_usd, total.usd)),
        _tile("Idle", usd(total.idle_usd), _share(total.idle_usd, machines, "of machines")),
        _tile("Boot", usd(total.boot_usd), _share(total.boot_usd, machines, "of machines")),
        _tile(
            "Effective utilisation",
            percent(total.utilisation),
            f"{hours(total.work_seconds)} of {hours(total.gpu_seconds)} GPU h",
        ),
        _tile("Tokens", whole(total.tokens), f"{whole(total.jobs)} jobs"),
        _tile(
            "USD per million tokens",
            "—" if total.usd_per_million_tokens is None else usd(total.usd_per_million_tokens),
            "idle, boot and disk included",
        ),
        _tile("Billed", usd(total.billed_usd), "confirmed by the platform's bill"),
        _tile("Estimated", usd(total.estimated_usd), "by price list"),
        _tile("Unpriced lives", whole(total.unpriced), "their cost is unknown, in no sum"),
    ]
    if total.running_usd is None or total.running_usd:
        tiles.append(_tile("Running", usd(total.running_usd), "not booked yet, in no sum"))
    if forecast is not None and forecast.month == facts.month:
        cap = "no cap" if forecast.cap_usd is None else f"cap {usd(forecast.cap_usd)}"
        if forecast.cap_reached is not None:
            cap += f", reached {moment(forecast.cap_reached)}"
        tiles.append(_tile("Forecast", usd(forecast.expected_usd), f"by the month's end; {cap}"))
    return html(
        '<section id="figures"><h2>Headline figures</h2><dl class="tiles">{}</dl>{}</section>',
        joined(tiles),
        notes(facts.by_module.notes),
    )


def notes(lines: Sequence[str]) -> Markup:
    """What the reader should know about figures; nothing where there is nothing to know."""
    if not lines:
        return NOTHING
    return html('<ul class="notes">{}</ul>', joined(html("<li>{}</li>", line) for line in lines))


def _tile(head: str, figure: str, below: str, kind: str = "") -> Markup:
    return html(
        '<div class="{}"><dt>{}</dt><dd>{}<small>{}</small></dd></div>', kind, head, figure, below
    )


def _share(part: Decimal, of: Decimal | None, words: str = "of the spend") -> str:
    return f"{percent(part / of)} {words}" if of else ""


def tenants(facts: ReportFacts) -> Markup:
    """Cost by moduleId: the dearest, the rest as one line, and all of them folded away."""
    lines = sorted(facts.by_module.lines, key=lambda line: (-line.usd, line.key))
    shown = lines[:TOP]
    if not lines:
        return _empty("tenants", "Cost by tenant", "Nothing was booked in this month.")
    most = max((line.usd for line in shown), default=Decimal(0))
    rows = [_money_row(line, name(line.key[0]), most) for line in shown]
    rest = NOTHING
    if len(lines) > TOP:
        rest = html(
            "<details><summary>All {} tenants</summary>{}</details>",
            whole(len(lines)),
            _table("Tenant", (_money_row(line, name(line.key[0])) for line in lines), NOTHING),
        )
        others = sum((line.usd for line in lines[TOP:]), Decimal(0))
        label = html("<em>{} others</em>", whole(len(lines) - TOP))
        rows.append(_rest_row(label, lines[TOP:], others))
    foot = html("<tfoot>{}</tfoot>", _money_row(facts.by_module.total, Markup("All")))
    return html(
        '<section id="tenants"><h2>Cost by tenant</h2>{}{}</section>',
        _table("Tenant", rows, foot),
        rest,
    )


def days(facts: ReportFacts) -> Markup:
    """Cost by day, drawn and listed."""
    count = (facts.until - facts.since).days
    lines = sorted(facts.by_day.lines, key=lambda line: line.key)
    if not lines:
        return _empty("days", "Cost by day", "Nothing was booked in this month.")
    foot = html("<tfoot>{}</tfoot>", _money_row(facts.by_day.total, Markup("All")))
    legend = joined(html('<li><i class="p-{}"></i>{}</li>', part, words) for part, words in PARTS)
    return html(
        '<section id="days"><h2>Cost by day</h2><figure>{}<figcaption>USD by the day (UTC) on '
        "which it was booked: a machine counts when it stops.</figcaption></figure>"
        '<ul class="legend">{}</ul><details><summary>Every day as a table</summary>{}</details>'
        "</section>",
        day_bars(lines, facts.since, count),
        legend,
        _table("Day", (_money_row(line, html("{}", line.key[0])) for line in lines), foot),
    )


def _table(head: str, rows: Iterable[Markup], foot: Markup) -> Markup:
    return html(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table class="figures">'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody>{}</table></div>",
        f"Cost by {head.lower()}",
        joined(html("<th scope=col>{}</th>", each) for each in (head, *_MONEY_HEADS)),
        joined(rows),
        foot,
    )


def _money_row(line: CostLine, label: Markup, most: Decimal = Decimal(0)) -> Markup:
    meter = NOTHING
    if most > 0:
        share = f"{max(line.usd, Decimal(0)) / most * 100:.1f}"
        meter = html('<span class="meter"><i style="width:{}%"></i></span>', share)
    per_million = line.usd_per_million_tokens
    return html(
        "<tr><th scope=row>{}{}</th><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>\n",
        label,
        meter,
        usd(line.usd),
        usd(line.gpu_usd),
        usd(line.idle_usd),
        usd(line.boot_usd),
        usd(line.disk_usd),
        hours(line.gpu_seconds),
        percent(line.utilisation),
        whole(line.tokens),
        "—" if per_million is None else usd(per_million),
    )


def _rest_row(label: Markup, lines: Sequence[CostLine], spent: Decimal) -> Markup:
    def add(field: str) -> Decimal:
        return sum((getattr(line, field) for line in lines), Decimal(0))

    tokens = sum(line.tokens for line in lines)
    seconds, work = add("gpu_seconds"), add("work_seconds")
    return html(
        "<tr><th scope=row>{}</th><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>\n",
        label,
        usd(spent),
        usd(add("gpu_usd")),
        usd(add("idle_usd")),
        usd(add("boot_usd")),
        usd(add("disk_usd")),
        hours(seconds),
        percent(work / seconds if seconds else None),
        whole(tokens),
        usd(spent * 1_000_000 / tokens) if tokens else "—",
    )


def nodes(facts: ReportFacts) -> Markup:
    """What every node did, hour by hour."""
    if not facts.strips:
        return _empty("nodes", "Nodes, hour by hour", "No node did anything in this month.")
    count = (facts.until - facts.since).days
    marks = sorted({stop.mark for strip in facts.strips for stop in strip.stops})
    legend = joined(
        [
            Markup('<li><i class="p-boot"></i>boot</li><li><i class="up"></i>up</li>'
                   '<li><i class="p-work"></i>jobs: share of the hour, in the hour in which '
                   "they ended</li>"),
            *(html("<li><b>{}</b>{}</li>", mark, STOPS[mark]) for mark in marks),
        ]
    )  # fmt: skip
    figures = joined(
        html(
            "<figure><h3>{}</h3>{}<figcaption>{}</figcaption>{}</figure>",
            name(strip.node),
            node_strip(strip, facts.since, count, number),
            summary_of(strip),
            _stop_list(strip),
        )
        for number, strip in enumerate(facts.strips)
    )
    left = NOTHING
    if facts.strips_left_out:
        left = html(
            "<p>{} more node(s) are not drawn: those with the fewest hours up.</p>",
            whole(facts.strips_left_out),
        )
    return html(
        '<section id="nodes"><h2>Nodes, hour by hour</h2><p class="soft">One row is one day, '
        "UTC. A boxed letter is a stop, and says who or what stopped the node.</p>"
        '<ul class="legend">{}</ul><div class="strips">{}</div>{}</section>',
        legend,
        figures,
        left,
    )


def _stop_list(strip: NodeStrip) -> Markup:
    if not strip.stops:
        return NOTHING
    rows = joined(
        html(
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>\n",
            moment(stop.at),
            STOPS[stop.mark],
            stop.code,
            name(stop.operator),
            usd(stop.cost_usd),
        )
        for stop in strip.stops[:_STOPS_LISTED]
    )
    more = len(strip.stops) - _STOPS_LISTED
    return html(
        '<details><summary>{} stop(s) as a table</summary><div class="scroll" tabindex="0" '
        'role="region" aria-label="Stops"><table><thead><tr><th scope=col>UTC<th scope=col>'
        "Stopped by<th scope=col>Code<th scope=col>Operator<th scope=col>USD</tr></thead><tbody>"
        "{}</tbody></table></div>{}</details>",
        whole(len(strip.stops)),
        rows,
        html("<p>{} more are not listed.</p>", whole(more)) if more > 0 else NOTHING,
    )


def _empty(anchor: str, head: str, words: str) -> Markup:
    return html('<section id="{}"><h2>{}</h2><p>{}</p></section>', anchor, head, words)
