"""The report's sections on what is open, what was corrected, and what was checked. Pure."""

from __future__ import annotations

from decimal import Decimal

from markupsafe import Markup

from yoyo.core.report.facts import Change, Integrity, ReportFacts
from yoyo.core.report.markup import NOTHING, age, html, joined, moment, name, usd, whole

_RESULTS = {True: ("yes", "holds"), False: ("no", "fails"), None: ("unknown", "not checked")}


def open_items(facts: ReportFacts) -> Markup:
    """Intents without an outcome, oldest first."""
    if not facts.open_items:
        body: Markup = html("<p>None: every intent before the month's end has its outcome.</p>")
    else:
        rows = joined(
            html(
                "<tr><td>{}<td>{}<td>{}<td>{}<td><code>{}</code></tr>\n",
                age(facts.made_at - item.since),
                moment(item.since),
                item.kind,
                name(item.node),
                name(item.job_id),
            )
            for item in sorted(facts.open_items, key=lambda item: item.since)
        )
        more = facts.open_count - len(facts.open_items)
        body = html(
            '<div class="scroll" tabindex="0" role="region" aria-label="Open items"><table><thead>'
            "<tr><th scope=col>Age<th scope=col>Since, UTC<th scope=col>What<th scope=col>Node"
            "<th scope=col>Id</tr></thead><tbody>{}</tbody></table></div>{}",
            rows,
            html("<p>{} more are not listed.</p>", whole(more)) if more > 0 else NOTHING,
        )
    return html(
        '<section id="open"><h2>Open items</h2><p class="soft">Intents without an outcome when '
        "this report was made. One that is long open was lost, or its outcome was.</p>{}"
        "</section>",
        body,
    )


def changes(facts: ReportFacts) -> Markup:
    """Corrections that concern the month."""
    if not facts.changes:
        body: Markup = html("<p>None.</p>")
    else:
        more = facts.change_count - len(facts.changes)
        body = html(
            '<div class="scroll" tabindex="0" role="region" aria-label="Corrections"><table>'
            "<thead><tr><th scope=col>Made, UTC<th scope=col>Row<th scope=col>Node<th scope=col>"
            "Tenant<th scope=col>By<th scope=col>What<th scope=col>Change</tr></thead><tbody>{}"
            "</tbody></table></div>{}",
            joined(_change(change) for change in facts.changes),
            html("<p>{} more are not listed.</p>", whole(more)) if more > 0 else NOTHING,
        )
    return html(
        '<section id="changes"><h2>Differences and corrections</h2><p class="soft">Rows that '
        "correct a row of this month, or were written in it. The figures above use them; "
        "<code>yoyo cost --as-booked</code> shows what was known before.</p>{}</section>",
        body,
    )


def _change(change: Change) -> Markup:
    said = []
    if change.new_usd is not None:
        said.append(f"{usd(change.old_usd)} → {usd(change.new_usd)} USD")
    if change.new_seconds is not None:
        said.append(f"{_seconds(change.old_seconds)} → {_seconds(change.new_seconds)} GPU s")
    if change.tokens is not None:
        said.append(f"{whole(change.tokens)} tokens")
    what = "billed" if change.billed else "corrected"
    return html(
        "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>\n",
        moment(change.at),
        f"#{change.seq}",
        name(change.node),
        name(change.module),
        name(change.operator),
        what if change.in_force else f"{what}, not in force",
        "; ".join(said),
    )


def _seconds(value: Decimal | None) -> str:
    return "unknown" if value is None else f"{value:,f}"


def integrity(facts: ReportFacts) -> Markup:
    """What was checked, what was not, and what a reader can check without us."""
    found = facts.integrity
    rows = joined(
        html(
            '<tr><td class="{}">{}<td>{}<td>{}</tr>\n',
            *_RESULTS[check.result],
            check.what,
            check.detail,
        )
        for check in found.checks
    )
    problems = NOTHING
    if found.problem_count:
        more = found.problem_count - len(found.problems)
        problems = html(
            "<h3>Problems</h3><ul>{}</ul>{}",
            joined(html("<li>{}</li>", problem) for problem in found.problems),
            html("<p>{} more are not listed.</p>", whole(more)) if more > 0 else NOTHING,
        )
    return html(
        '<section id="integrity"><h2>Integrity statement</h2><p>{} {} The statement is about the '
        "whole ledger, {} row(s) from {} to {}, as it was when this report was made.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Checks"><table class="checks">'
        "<thead><tr><th scope=col>Result<th scope=col>Check<th scope=col>Detail</tr></thead>"
        "<tbody>{}</tbody></table></div>{}"
        '<p>Head: <span class="hash">{}</span></p>'
        '<p class="soft">This page proves nothing by itself. With the ledger at hand, '
        "<code>yoyo ledger verify --expect HEAD</code> says whether it still holds the head above, "
        "and <code>--against CHECKPOINT</code> whether it is the one that was signed.</p>"
        "</section>",
        badge(found),
        _verdict(found),
        whole(found.rows),
        found.first_time or "—",
        found.last_time or "—",
        rows,
        problems,
        found.head or "none, as there are no rows",
    )


def badge(found: Integrity) -> Markup:
    """The statement in two words."""
    if not found.holds:
        return html('<span class="badge bad">Integrity: fails</span>')
    if any(check.result is None for check in found.checks):
        return html('<span class="badge warn">Integrity: holds, not all checked</span>')
    return html('<span class="badge">Integrity: holds</span>')


def _verdict(found: Integrity) -> str:
    if not found.holds:
        return "At least one check failed: do not rely on the figures of this page."
    if any(check.result is None for check in found.checks):
        return "All that was checked holds; what was not checked is named."
    return "All checks hold."
