"""Rows that are no rows, rows that would act, and rows of an older yoyo, in every command."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from audit_faults_parts import Said, configure, document, documents, refusal, yoyo
from audit_parts import Audited, rechained

from yoyo.core.ledger_format import HEADER
from yoyo.model.ledger import CompletionStatus, Entry, EventType

GOLDEN = Path(__file__).parents[1] / "golden"
HASH = "sha256:" + "ab" * 32
COST = 7  # the line of the first life's end, the header counted
PENDING, SUCCESS = CompletionStatus.PENDING, CompletionStatus.SUCCESS


def live(house: Audited, name: str, operator: str = "op", code: str = "") -> None:
    """A life with one job, and a disk: 1.75 USD."""
    ledger = house.ctx.ledger

    def add(kind: EventType, job: str, status: CompletionStatus = SUCCESS, **more: Any) -> None:
        house.clock.sleep(60)
        entry = Entry(kind, "acme", "demo", job, status, operator, error_code=code)
        ledger.append(entry._replace(**more))

    life, job = f"life-{name}", f"job-{name}"
    add(EventType.BOOT_REQUEST, life, PENDING, error_code="")
    add(EventType.BOOT_COMPLETE, life)
    add(EventType.JOB_START, job, PENDING, input_hash=HASH)
    add(EventType.JOB_COMPLETE, job, input_hash=HASH, tokens_processed=100,
        gpu_seconds=Decimal(5), adapter_versions=(f"{re.sub('[;@]', '!', name)}@1",))  # fmt: skip
    add(EventType.TEARDOWN_REQUEST, life, PENDING)
    add(EventType.TEARDOWN_COMPLETE, life, gpu_seconds=Decimal(3600), cost_usd=Decimal("1.25"))
    add(EventType.CHECKPOINT, "", error_code="DISK_COST", cost_usd=Decimal("0.5"))


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    made = Audited(tmp_path / "ledger", now=datetime(2026, 9, 1, 8, tzinfo=UTC))
    configure(made.home, copy=f"file://{made.copies}")
    return made


BAD = {
    "NaN": "cost_usd is not a plain decimal",
    "inf": "cost_usd is not a plain decimal",
    "1e400": "cost_usd is not a plain decimal",
    "-1.25": "cost_usd is not a plain decimal",
    "9" * 19: "cost_usd is not a plain decimal",
    '"1,25"': "cost_usd is not a plain decimal",  # a decimal comma
    "1.25 EUR": "cost_usd is not a plain decimal",
    "€1.25": "cost_usd is not a plain decimal",
}


def with_cost(house: Audited, text: str) -> None:
    """Two lives; the first one's cost is that text, and the chain holds all the same."""
    live(house, "a")
    live(house, "b")
    lines = house.lines()
    lines[COST - 1] = lines[COST - 1].replace(b",1.25,", f",{text},".encode())
    house.write(rechained(lines))


@pytest.mark.parametrize("text", BAD)
def test_a_cost_that_is_none_is_in_no_total_and_is_named(house: Audited, text: str) -> None:
    with_cost(house, text)
    said = yoyo(house.home, "ledger", "verify")
    assert (said.code, BAD[text] in said.err, f"line {COST}" in said.err) == (40, True, True)
    cost = document(yoyo(house.home, "cost", "--json"))
    assert Decimal(cost["total"]["usd"]) == Decimal("2.25")
    assert cost["total"]["unpriced"] == 1
    assert "1 row is damaged and in no figure" in cost["notes"][0]


def test_every_command_says_that_a_row_is_bad(house: Audited, tmp_path: Path) -> None:
    with_cost(house, "NaN")
    out = tmp_path / "out"
    for words, arguments in {
        "BAD ROW": ("ledger", "show"),
        "1 bad row(s)": ("ledger", "show", "--csv"),
        "\"bad\": \"cost_usd": ("ledger", "tail", "-n", "100", "--json"),
        "1 row is damaged": ("cost", "--by", "module"),
        "1 bad row left out": ("ledger", "query", "SELECT sum(cost_usd) FROM money"),
        "bad row(s) are in no record": ("ledger", "export", "--to", "focus", "-o", str(out)),
        "1 bad row(s) are in no record": ("ledger", "export", "--to", "spreadsheet"),
        "1 bad row(s) are in no partition": (
            "ledger", "export", "--to", "parquet", "--live", "-o", str(tmp_path / "parquet")
        ),
        "are no rows": ("ledger", "trace", "life-a"),
        "the ledger has 1 bad row(s)": ("status",),
    }.items():  # fmt: skip
        said = yoyo(house.home, *arguments)
        assert (said.code, words in said.out + said.err) == (0, True), (arguments, said)
    assert "damaged" in yoyo(house.home, "reconcile").out
    report = refusal(house.home, 40, "report", "--month", "2026-09", "-o", str(out) + ".html")
    assert "FAILS" in report.out
    assert "The ledger has 1 problem(s)" in refusal(house.home, 40, "up").err
    query = yoyo(house.home, "ledger", "query", "SELECT sum(cost_usd) FROM ledger", "--json")
    assert document(query)["rows"] == [["2.250000000000000000"]]


def test_a_job_that_is_bad_is_named_by_the_spans_of_jobs(house: Audited) -> None:
    live(house, "a")
    house.write(rechained([line.replace(b",100,5,", b",100,NaN,") for line in house.lines()]))
    said = yoyo(house.home, "ledger", "export", "--to", "otel")
    assert (said.code, said.out) == (0, "")
    assert "1 bad row(s) are in no record" in said.err


@pytest.mark.parametrize("zone", ["+02:00", "", "-00:00"])
def test_a_time_of_a_local_zone_is_a_bad_row(house: Audited, zone: str) -> None:
    live(house, "a")
    lines = house.lines()
    event, stamp, rest = lines[COST - 1].split(b",", 2)
    lines[COST - 1] = b",".join((event, stamp[:-1] + zone.encode(), rest))
    house.write(rechained(lines))
    assert f"line {COST}" in refusal(house.home, 40, "ledger", "verify").err
    assert Decimal(document(yoyo(house.home, "cost", "--json"))["total"]["usd"]) == Decimal("0.5")


def test_times_that_are_asked_for_with_a_zone_are_taken_as_utc(house: Audited) -> None:
    live(house, "a")
    for since in ("2026-09-01T10:06:30+02:00", "2026-09-01T08:06:30Z"):
        said = yoyo(house.home, "ledger", "show", "--since", since, "--json")
        assert len(list(documents(said))) == 1, said
    said = yoyo(house.home, "cost", env={"TZ": "America/Los_Angeles"})
    assert said.out == yoyo(house.home, "cost", env={"TZ": "Asia/Tokyo"}).out


# What the ledger's format lets through in text: no C0, and all else.
HOSTILE = (
    "\x9b31m\x9d0;owned\x9c",
    "\u202egnp.exe\u2066",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    '=HYPERLINK("http://x.example","x")',
    "@SUM(A1)",
    "-1+1",
    "+1",
    "\u2028\u200b\ufeff",
    "%0d%0a{{7*7}}",
)
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
MARKUP = re.compile("<script>alert|<img src=x", re.IGNORECASE)


def hostile(house: Audited) -> None:
    """Each of them in each field that takes text, and a line that is none and holds the rest."""
    for number, text in enumerate(HOSTILE):
        live(house, text[:40], text, HOSTILE[-number])
    lines = house.lines()
    lines[COST - 1] = (
        b"\x1b]0;owned\x07\xff<script>alert(2)</script>,=1+1,\xc2\x9b31m\xe2\x80\xae," + b"0" * 64
    )
    house.write(rechained(lines))


def cells(text: str) -> Iterator[str]:
    for row in csv.reader(StringIO(text.removeprefix("\ufeff"))):
        yield from row


def test_nothing_in_a_row_acts_in_any_output(house: Audited, tmp_path: Path) -> None:
    hostile(house)
    place = house.home
    assert yoyo(place, "ledger", "checkpoint").code == 0
    html, svg, focus = tmp_path / "r.html", tmp_path / "c.svg", tmp_path / "f.csv"
    sheet, spans, extract = tmp_path / "s.csv", tmp_path / "o.jsonl", tmp_path / "e.jsonl"
    texts: list[tuple[tuple[str, ...], Said]] = []
    for arguments in (
        ("ledger", "show"),
        ("ledger", "show", "--json"),
        ("ledger", "tail", "-n", "200"),
        ("ledger", "verify"),
        ("ledger", "verify", "--json"),
        ("ledger", "trace", HASH),
        ("ledger", "trace", HASH, "--json"),
        ("ledger", "trace", f"life-{HOSTILE[0]}"),
        ("ledger", "trace", "\x1b[31m\u202e"),
        ("ledger", "show", "--job", "\x1b[31m\u202e"),
        ("ledger", "query", "SELECT * FROM ledger"),
        ("ledger", "query", "SELECT * FROM ledger", "--json"),
        ("ledger", "query", "SELECT '\x1b[31m\u202e' AS \"\x9b<script>\""),
        ("cost", "--by", "operator"),
        ("cost", "--by", "adapter", "--json"),
        ("cost", "--by", "guard", "--plot"),
        ("cost", "--by", "operator", "--plot-to", str(svg)),
        ("report", "--month", "2026-09", "-o", str(html)),
        ("ledger", "export", "--to", "focus", "-o", str(focus)),
        ("ledger", "export", "--to", "otel", "-o", str(spans)),
        ("ledger", "export", "--to", "spreadsheet", "-o", str(sheet)),
        ("ledger", "extract", "--module", "acme", "-o", str(extract)),
        ("ledger", "verify-extract", str(extract), "--key", "key.vkey"),
        ("reconcile",),
        ("reconcile", "--json"),
        ("status",),
        ("up",),
    ):
        texts.append((arguments, yoyo(place, *arguments)))
    for asked, said in texts:
        for text in (said.out, said.err):
            assert not ACTING.search(text), (asked, ACTING.search(text))
    for path in (html, svg, focus, spans, sheet, extract):
        assert not ACTING.search(path.read_text().removeprefix("\ufeff")), path
    assert not MARKUP.search(html.read_text())
    tags = {element.tag.rpartition("}")[2] for element in ET.parse(svg).getroot().iter()}
    assert tags == {"svg", "title", "style", "rect", "text"}
    for arguments in (("ledger", "show"), ("ledger", "query", "SELECT * FROM ledger")):
        said = yoyo(place, *arguments, "--csv")
        text = said.out.removeprefix("\ufeff").replace("\r\n", "\n")
        assert not ACTING.search(text + said.err), arguments
        assert not [cell for cell in cells(said.out) if cell.startswith(("=", "+", "-", "@"))]
    # Records for machines keep their text (docs/formats/exports.md); a spreadsheet's do not.
    found = list(cells(sheet.read_text()))
    assert len(found) > 100
    assert not [cell for cell in found if cell.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize("kind", ["one file", "sealed months"])
def test_a_ledger_of_the_first_version_loads_in_every_command(tmp_path: Path, kind: str) -> None:
    house = Audited(tmp_path / "ledger")
    if kind == "one file":
        shutil.copy(GOLDEN / "ledger-v1.csv", house.path)
    else:
        shutil.copytree(GOLDEN / "ledger-sealed-v1", house.home, dirs_exist_ok=True)
    configure(house.home, copy=f"file://{house.copies}")
    out = str(tmp_path / "out")
    month = "2026-11" if kind == "one file" else "2026-10"
    rows = list(documents(yoyo(house.home, "ledger", "show", "--json")))
    assert len(rows) > 3
    for arguments in (
        ("ledger", "verify"),
        ("ledger", "tail"),
        ("ledger", "trace", f"#{rows[0]['seq']}"),
        ("cost", "--by", "module", "--json"),
        ("report", "--month", month, "-o", out),
        ("ledger", "query", "SELECT count(*) FROM ledger"),
        ("ledger", "export", "--to", "focus"),
        ("ledger", "export", "--to", "otel"),
        ("ledger", "export", "--to", "spreadsheet"),
        ("status",),
        ("ledger", "checkpoint"),
        ("ledger", "seal"),
        ("ledger", "verify", "--against", f"file://{house.copies}"),
        ("ledger", "extract", "--module", rows[0]["moduleId"], "-o", out + "2"),
        ("ledger", "verify-extract", out + "2", "--key", "key.vkey"),
    ):
        said = yoyo(house.home, *arguments)
        assert said.code == 0, (arguments, said)
    after = list(documents(yoyo(house.home, "ledger", "show", "--json")))
    assert [row["row_hash"] for row in after[: len(rows)]] == [row["row_hash"] for row in rows]


def test_a_field_of_ten_megabytes_is_one_bad_row(house: Audited, tmp_path: Path) -> None:
    live(house, "a")
    huge = b"x" * 10_000_000
    content = house.path.read_bytes()
    house.path.write_bytes(content + huge + b"\n")
    said = yoyo(house.home, "ledger", "verify", "--json")
    assert said.code == 40
    assert len(said.out) < 128 * 1024
    assert len(yoyo(house.home, "ledger", "show").out) < 64 * 1024
    assert Decimal(document(yoyo(house.home, "cost", "--json"))["total"]["usd"]) == Decimal("1.75")
    count = yoyo(house.home, "ledger", "query", "SELECT count(*) FROM ledger", "--json")
    assert document(count)["rows"] == [[7]]
    # Nothing is appended to it, so nothing more is signed.
    assert refusal(house.home, 40, "ledger", "checkpoint").err.count("\n") < 8
    sink = tmp_path / "e.jsonl"
    sink.write_bytes(b"{" + huge + b"\n" + HEADER)
    refusal(house.home, 48, "ledger", "verify-extract", str(sink), "--key", "key.vkey")
    note = house.home / "big.note"
    note.write_bytes(huge)
    refusal(house.home, 48, "ledger", "verify", "--against", str(note))
    note.write_bytes(b"{" * 100_000)
    refusal(
        house.home, 48, "ledger", "verify", "--against", str(note), "--key", huge[:200].decode()
    )
