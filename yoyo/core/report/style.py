"""The report's looks: light and dark, phone and paper, in one style sheet.

Ink on paper has a contrast of at least 4.5 to 1 in both themes, and drawn areas 3 to 1 (WCAG
2.1, AA). Work, idle, boot and disk differ in lightness as well as in hue, so that they are told
apart without seeing colours and on a black-and-white printer.
"""

from __future__ import annotations

from markupsafe import Markup

_LIGHT = """
--paper:#fff;--card:#f6f7f9;--ink:#1b1f24;--soft:#57606a;--line:#d5dae1;--track:#eceff3;
--work:#0b4f94;--idle:#838e9d;--boot:#c2570c;--disk:#3f8f6b;--up:#a9c8ea;
--good:#17653a;--good-bg:#e3f4e9;--bad:#a3211b;--bad-bg:#fde9e7;--warn:#7a4b00;--warn-bg:#fdf1d8;
--link:#0b4f94;color-scheme:light;
"""
_DARK = """
--paper:#0f1318;--card:#181e26;--ink:#e7ebf0;--soft:#a3aebb;--line:#323b47;--track:#1f2731;
--work:#6fb3ff;--idle:#6c7786;--boot:#ff9a4a;--disk:#5fd0a0;--up:#2f5580;
--good:#7fdca2;--good-bg:#143022;--bad:#ff9d94;--bad-bg:#3d1a18;--warn:#f3c46b;--warn-bg:#362a10;
--link:#8cc2ff;color-scheme:dark;
"""
_BODY = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main,header,footer{max-width:72rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .25rem}
h2{font-size:1.25rem;margin:2.5rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.25rem 0 .25rem;overflow-wrap:anywhere}
p{margin:.4rem 0;max-width:46rem}
a{color:var(--link)}
.soft,figcaption,footer{color:var(--soft);font-size:.875rem}
code,.hash{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;
font-size:.85em;overflow-wrap:anywhere}
nav{margin-top:1rem}nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;padding:0;margin:0;
list-style:none;font-size:.9rem}
.badge{display:inline-block;padding:.1rem .6rem;border-radius:1rem;font-size:.875rem;
font-weight:600;background:var(--good-bg);color:var(--good)}
.badge.bad{background:var(--bad-bg);color:var(--bad)}
.badge.warn{background:var(--warn-bg);color:var(--warn)}
dl.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.6rem;
margin:1rem 0}
dl.tiles>div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;
padding:.6rem .8rem;break-inside:avoid}
dl.tiles dt{color:var(--soft);font-size:.8rem}
dl.tiles dd{margin:0;font-size:1.25rem;font-weight:600;font-variant-numeric:tabular-nums}
dl.tiles dd small{display:block;font-size:.75rem;font-weight:400;color:var(--soft);
line-height:1.35}
dl.tiles>div.main{grid-column:span 2;border-left:.3rem solid var(--work)}
dl.tiles>div.main dd{font-size:1.9rem;line-height:1.25}
.scroll{overflow-x:auto;margin:.6rem 0;border:1px solid var(--line);border-radius:.5rem}
.scroll:focus-visible{outline:2px solid var(--link)}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .7rem;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
thead th{border-top:0;background:var(--card);font-weight:600;vertical-align:bottom}
tfoot td,tfoot th{border-top:2px solid var(--line);font-weight:600}
table.figures th:not(:first-child),table.figures td:not(:first-child){text-align:right;
white-space:nowrap}
table.figures th[scope=row]{font-weight:400;min-width:9rem;max-width:22rem;
overflow-wrap:anywhere}
table.figures th:first-child{position:sticky;left:0;background:var(--paper)}
table.figures thead th:first-child{background:var(--card)}
table.figures tfoot th[scope=row]{font-weight:600}
.meter{display:block;height:.4rem;margin-top:.2rem;background:var(--track);border-radius:.2rem}
.meter i{display:block;height:100%;background:var(--work);border-radius:.2rem}
svg{display:block;width:100%;height:auto}
svg text{font:9.5px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;
fill:var(--soft)}
svg .end{text-anchor:end}svg .mid{text-anchor:middle}svg text.day{fill:var(--ink)}
svg .rule{stroke:var(--line);stroke-width:.6;fill:none}
svg .hit{fill:transparent}svg .hit:hover{fill:var(--soft);fill-opacity:.15}
svg .track{fill:var(--track)}svg .up{fill:var(--up)}
.p-work{fill:var(--work);background:var(--work)}.p-idle{fill:var(--idle);background:var(--idle)}
.p-boot{fill:var(--boot);background:var(--boot)}.p-disk{fill:var(--disk);background:var(--disk)}
svg .stop path{fill:var(--paper);stroke:var(--ink);stroke-width:.8}
svg .stop text{text-anchor:middle;font-weight:700;fill:var(--ink);font-size:9.5px}
svg.bars{max-width:42rem}svg.bars text{font-size:8px}
figure{margin:0;break-inside:avoid}
.strips{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));
gap:1.5rem 2rem}
.strips figure{max-width:36rem;min-width:0}
ul.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;padding:0;
margin:.5rem 0;font-size:.875rem}
ul.legend i{display:inline-block;width:.85rem;height:.85rem;margin-right:.4rem;
vertical-align:-.1rem;border-radius:.15rem}
ul.legend i.up{background:var(--up)}
ul.legend b{display:inline-block;min-width:1.25rem;margin-right:.4rem;text-align:center;
border:1px solid var(--ink);border-radius:.15rem;line-height:1.2rem;font-size:.8rem}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--link)}
table.checks td:first-child{white-space:nowrap;font-weight:600}
.yes{color:var(--good)}.no{color:var(--bad)}.unknown{color:var(--warn)}
dl.words{display:grid;grid-template-columns:minmax(9rem,14rem) 1fr;gap:.3rem 1rem;font-size:.9rem}
dl.words dt{font-weight:600;overflow-wrap:anywhere}dl.words dd{margin:0;max-width:46rem}
ul.notes{padding-left:1.2rem;max-width:46rem}
footer{padding-bottom:3rem;margin-top:3rem}
@media (max-width:34rem){
main,header,footer{padding-left:.9rem;padding-right:.9rem}
dl.tiles{grid-template-columns:1fr 1fr}table.figures th[scope=row]{min-width:7rem;max-width:9rem}
dl.words{grid-template-columns:1fr}dl.words dd{margin-bottom:.5rem}
h1{font-size:1.45rem}th,td{padding:.35rem .5rem}
}
"""
_PRINT = """
@page{margin:14mm}
body{font-size:10pt;background:#fff}
main,header,footer{max-width:none;padding:0}
nav,.screen{display:none}
h2{break-after:avoid}h3,summary{break-after:avoid}
tr,figure,dl.words>*,dl.tiles>div{break-inside:avoid}
thead{display:table-header-group}tfoot{display:table-row-group}
details:not([open]){display:none}
.scroll{overflow:visible;border:0}
table{font-size:8.5pt}th,td{padding:.2rem .4rem}
.strips{grid-template-columns:1fr 1fr;gap:8mm}
#nodes{break-before:page}
svg.bars{max-width:150mm}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
a{color:inherit;text-decoration:none}
"""


def style_sheet() -> Markup:
    """The whole sheet. All of it is a literal: nothing of the ledger's is in it."""
    sheet = (
        ":root{" + _LIGHT + "}"
        "@media screen and (prefers-color-scheme:dark){:root{"
        + _DARK
        + "}}"
        + _BODY
        + "@media print{"
        + _PRINT
        + "}"
    )
    return Markup(sheet.replace("\n", ""))  # noqa: S704 - literals alone
