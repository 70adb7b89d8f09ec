"""The generated year, held against its platform and its bill."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from ledger_parts import open_ledger
from sample_node import NODE
from year_facts import NODES
from year_papers import write_papers
from year_parts import Year
from year_platform import YearPlatform

from yoyo.core.corrections import corrections_of
from yoyo.errors import BillingInvalid, CloudDenied, ReconcileDiffers
from yoyo.model.ids import NodeName
from yoyo.model.ledger import Row
from yoyo.model.machine import MachineState, Observation
from yoyo.model.reconcile import FindingKind, Reconciliation
from yoyo.ops.reconcile import Asked, Means, reconcile, verdict
from yoyo.ports.machines import Machines
from yoyo.wiring_reconcile import billing_for

K = FindingKind
YEAR_NODES = tuple(NODE._replace(name=NodeName.parse(each.name)) for each in NODES)
# What was put into the year, with what finds it.
EXPECTED = {
    K.MACHINE_WITHOUT_ROWS: 1, K.ROWS_WITHOUT_MACHINE: 2, K.DISK_LEFT: 1, K.BOOKED_NOTHING: 2,
    K.COST_DIFFERS: 4, K.BILLED_WITHOUT_ROWS: 1, K.DISK_NOT_BOOKED: 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("year")
    made = Year(rows_per_day=60)
    made.write(place)
    write_papers(made, place)
    return place


@pytest.fixture
def year(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "year"))


def compare(
    year: Path, *, billing: str | None = "billing.csv", platform: Any = None, **asked: Any
) -> Reconciliation:
    file = year / billing if billing else None
    means = Means(
        open_ledger(year / "ledger.csv"),
        lambda node: cast(Machines, platform or YearPlatform(year)),
        billing_for(file) if file else None,
        "ann",
    )
    given = {"nodes": YEAR_NODES, "every_node": True, "billing": file, **asked}
    return reconcile(means, Asked(**given))


def kinds(result: Reconciliation) -> Counter[FindingKind]:
    return Counter(each.kind for each in result.findings)


def test_everything_that_differs_is_found_and_nothing_else(year: Path) -> None:
    result = compare(year)
    assert kinds(result) == EXPECTED
    assert result.agrees is False
    assert not result.unknown
    assert all(each.cause and each.fix for each in result.findings)
    lost = [each for each in result.findings if each.booked == 0]
    assert [each.actual for each in lost] == [Decimal("56.810319")]
    assert isinstance(verdict(result), ReconcileDiffers)


def test_one_node_is_compared_alone(year: Path) -> None:
    result = compare(year, nodes=YEAR_NODES[2:], every_node=False)
    assert {each.node_id for each in result.findings} == {"l4-c"}
    assert kinds(result)[K.BOOKED_NOTHING] == 1


def test_the_platform_is_asked_once_for_nodes_of_one_project(year: Path) -> None:
    platform = YearPlatform(year)
    compare(year, billing=None, platform=platform)
    assert platform.asked == 1


def test_booking_settles_what_the_bill_says_and_is_done_once(year: Path) -> None:
    before = compare(year)
    head = open_ledger(year / "ledger.csv").verify().rows
    done = compare(year, book=True)
    assert done.booked == len(before.bookable) > 1000
    assert Counter(each.kind for each in done.settled) == {K.BOOKED_NOTHING: 2, K.COST_DIFFERS: 4}
    rows = [row for row in open_ledger(year / "ledger.csv").rows() if isinstance(row, Row)]
    corrections = corrections_of(rows)
    assert not corrections.problems
    assert sum(each.amounts.billed for each in corrections.applied) == done.booked
    report = open_ledger(year / "ledger.csv").verify()
    assert report.ok
    assert report.rows == head + done.booked
    again = compare(year, book=True)
    assert again.booked == 0
    assert kinds(again) == {
        kind: count for kind, count in EXPECTED.items()
        if kind not in (K.BOOKED_NOTHING, K.COST_DIFFERS)
    }  # fmt: skip


def test_without_book_nothing_is_written(year: Path) -> None:
    before = (year / "ledger.csv").read_bytes()
    compare(year)
    assert (year / "ledger.csv").read_bytes() == before


@pytest.mark.parametrize("stamp", ["TIMESTAMPTZ", "TIMESTAMP"])
def test_parquet_says_the_same_as_csv(year: Path, stamp: str) -> None:
    import duckdb

    (year / "a[1]*").mkdir()  # no pattern, but a name
    table = year / "a[1]*" / "billing.parquet"
    nested = (
        f"COPY (SELECT {{'description': \"sku.description\", 'id': \"sku.id\"}} AS sku, "
        "{'name': \"resource.name\", 'global_name': \"resource.global_name\"} AS resource, "
        'from_json(labels, \'[{"key":"VARCHAR","value":"VARCHAR"}]\') AS labels, '
        'from_json(credits, \'[{"name":"VARCHAR","amount":"DOUBLE"}]\') AS credits, '
        f"replace(usage_start_time, ' UTC', '+00')::{stamp} AS usage_start_time, "
        f"replace(usage_end_time, ' UTC', '+00')::{stamp} AS usage_end_time, "
        "cost::DOUBLE AS cost, currency, export_time "
        f"FROM read_csv('{year / 'billing.csv'}', all_varchar = true)) "
        f"TO '{table}' (FORMAT parquet)"
    )
    with duckdb.connect() as base:
        base.execute(nested)
    ours, theirs = compare(year), compare(year, billing="a[1]*/billing.parquet")
    assert theirs.findings == ours.findings
    assert theirs.bookable == ours.bookable


def rewrite(year: Path, **changes: str) -> None:
    """Change those fields of the last line that is ours."""
    path = year / "billing.csv"
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    for name, value in changes.items():
        rows[-1][header.index(name.replace("__", "."))] = value
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def test_another_currency_is_refused_and_nothing_is_booked(year: Path) -> None:
    rewrite(year, currency="EUR")
    before = (year / "ledger.csv").read_bytes()
    with pytest.raises(BillingInvalid) as refused:
        compare(year, book=True)
    assert "'EUR'" in refused.value.why
    assert (year / "ledger.csv").read_bytes() == before


def test_lines_exported_twice_are_said_and_count_once(year: Path) -> None:
    lines = (year / "billing.csv").read_text().splitlines(keepends=True)
    (year / "billing.csv").write_text("".join([*lines, *lines[1:4]]))
    result = compare(year)
    assert kinds(result) == {**EXPECTED, K.DUPLICATE_LINES: 1}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column"),
        (b"a,b\n1,2\n", "no column usage_start_time"),
        (b"\xff\xfe\n", "UTF-8"),
        (b"PAR1 and no more", "DuckDB says"),
        (b'"cost\n', "no CSV"),
    ],
)
def test_files_that_are_no_export_are_refused(year: Path, content: bytes, says: str) -> None:
    (year / "billing.csv").write_bytes(content)
    with pytest.raises(BillingInvalid) as refused:
        compare(year)
    assert says in refused.value.why
    assert "docs/guides/reconcile.md" in refused.value.fix


def test_a_missing_export_is_refused(year: Path) -> None:
    with pytest.raises(BillingInvalid):
        compare(year, billing="nowhere.csv")


class Denied(YearPlatform):
    def records(self, node: Any) -> Any:
        raise CloudDenied("Google did not say what there is.", why="403.")


class Silent:
    """A driver without records, whose machine cannot be seen."""

    def observe(self, node: Any) -> Observation:
        return Observation(MachineState.UNKNOWN, detail="no route")


def test_a_platform_that_does_not_answer_is_no_agreement(year: Path) -> None:
    quiet = YearPlatform(year, ("instances: 503",))
    quiet.said = quiet.said._replace(machines=(), disks=())
    for platform, says in ((quiet, "503"), (Denied(year), "403"), (Silent(), "no route")):
        result = compare(year, billing=None, platform=platform)
        assert result.agrees is None, result.findings
        assert says in " ".join(result.unknown)
        trouble = verdict(result)
        assert trouble is not None
        assert "not known" in trouble.what


RUN = "import yoyo.cli.app as a; a.COMMANDS['reconcile'] = 'reconcile:reconcile'; "
RUN += "from yoyo.cli.main import main; main()"


def command(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", RUN, "reconcile", *arguments]
    return subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)


LOCAL = """\
version: 1
operator: ann
nodes:
  l4-a: {moduleId: acme, driver: local, engine: {model: smoke}}
"""


def test_the_command_says_what_differs_and_books_it(year: Path) -> None:
    (year / "yoyo.yaml").write_text(LOCAL)
    window = ("--since", "2026-03-01", "--until", "2026-04-01", "--billing", "billing.csv")
    done = command(year, *window, "--json", "--node", "l4-a")
    document = json.loads(done.stdout)
    assert (done.returncode, document["error"]["exit_code"]) == (95, 95), done.stderr
    assert [each["kind"] for each in document["findings"]] == [
        "booked-nothing",
        "cost-differs",
    ]
    shown = command(year, *window, "--node", "l4-a", "--book", "--dry-run")
    assert "would book" in shown.stdout
    assert command(year, *window, "--node", "l4-a", "--book").returncode == 0
    assert command(year, *window, "--node", "l4-a").stdout.count("agree") == 1


def test_wrong_options_are_refused(year: Path) -> None:
    (year / "yoyo.yaml").write_text(LOCAL)
    assert "--book needs --billing" in command(year, "--book").stderr
    assert "write 1%" in command(year, "--tolerance", "much").stderr
    assert "--since" in command(year, "--since", "yesterday-ish").stderr
