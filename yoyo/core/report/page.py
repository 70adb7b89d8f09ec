"""Puts the report's page together: one file, no script, nothing from elsewhere. Pure."""

from __future__ import annotations

from datetime import timedelta

from markupsafe import Markup

from yoyo.core.report import words
from yoyo.core.report.facts import ReportFacts
from yoyo.core.report.markup import NOTHING, html, joined, moment, name, whole
from yoyo.core.report.proof import badge, changes, integrity, open_items
from yoyo.core.report.sections import days, headline, nodes, tenants
from yoyo.core.report.style import style_sheet

# The browser is told to run and fetch nothing at all, so that even a name that had slipped
# through the escaping could not act.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)

_SECTIONS = (
    ("figures", "Figures"),
    ("tenants", "Tenants"),
    ("days", "Days"),
    ("nodes", "Nodes"),
    ("open", "Open items"),
    ("changes", "Corrections"),
    ("integrity", "Integrity"),
    ("words", "Dictionary"),
)
_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="yoyo {version}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{period} <span class="soft">UTC · ledger {ledger} · made {made} UTC by yoyo {version}</span></p>
<p>{badge}{running}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
<footer><p>Amounts are US dollars, rounded here; <code>yoyo cost --json</code> has every digit.
Folded tables print when they are open.</p></footer>
</body>
</html>
"""


def page(facts: ReportFacts) -> str:
    """The whole page as text."""
    last = facts.until - timedelta(days=1)
    sections = (headline, tenants, days, nodes, open_items, changes, integrity, dictionary)
    return str(
        html(
            _FRAME,
            policy=POLICY,
            title=f"Ledger report {facts.since:%B %Y}",
            style=style_sheet(),
            version=facts.version,
            period=f"{facts.since:%Y-%m-%d} to {last:%Y-%m-%d}",
            ledger=name(facts.ledger),
            made=moment(facts.made_at),
            badge=badge(facts.integrity),
            running=_running(facts),
            links=joined(html('<li><a href="#{}">{}</a></li>', *each) for each in _SECTIONS),
            body=joined(section(facts) for section in sections),
        )
    )


def _running(facts: ReportFacts) -> Markup:
    said = []
    if facts.made_at < facts.since:
        said.append("This month has not begun: there is nothing in it.")
    elif facts.made_at < facts.until:
        said.append("This month is not over: figures will grow.")
    if facts.bad_rows:
        said.append(f"{whole(facts.bad_rows)} line(s) of the ledger are no rows and in no figure.")
    return html(' <span class="badge warn">{}</span>', " ".join(said)) if said else NOTHING


def dictionary(_facts: ReportFacts) -> Markup:
    """Each figure, how it was computed; each column of the ledger."""
    return html(
        '<section id="words"><h2>Data dictionary</h2><h3>Figures</h3><dl class="words">{}</dl>'
        '<h3>Columns of the ledger</h3><dl class="words">{}</dl></section>',
        *(
            joined(html("<dt>{}</dt><dd>{}</dd>", head, said) for head, said in part)
            for part in (words.FIGURES, words.COLUMNS)
        ),
    )
