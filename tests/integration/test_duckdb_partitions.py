"""What a warehouse loads has the ledger's figures."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from duckdb_parts import files, life, lines_of, lives

from yoyo.core.warehouse import column_list, quoted
from yoyo.drivers.duckdb.partitions import DuckdbPartitions
from yoyo.drivers.duckdb.query import DuckdbQuery
from yoyo.errors import StateUnwritable
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import COLUMNS
from yoyo.ports.query import QueryLimits

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "ledger-at-scale.md"
BLOCKS = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
LIMITS = QueryLimits(10_000, 60.0, 1_000_000_000)


def view_of(folder: str) -> str:
    """The partitions under the name and with the columns that a warehouse has."""
    where = folder.rstrip("/") + "/*/*/*.parquet"
    return (
        f"CREATE OR REPLACE VIEW ledger AS\nSELECT {column_list()}\n"
        f"FROM read_parquet({quoted(where)}, hive_partitioning=true,\n"
        "  hive_types={'month': 'VARCHAR', 'moduleId': 'VARCHAR'});\n"
    )


def loaded(folder: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(":memory:") as warehouse:
        warehouse.execute(view_of(str(folder)))
        return warehouse.execute(sql).fetchall()


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


@pytest.fixture
def parts(tmp_path: Path) -> tuple[LedgerPart, ...]:
    return files(tmp_path, lines_of(lives(9, jobs=4)), [40, 80])


def test_the_partitions_hold_every_row_as_it_is(
    parts: tuple[LedgerPart, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out's"
    done = DuckdbPartitions().write(parts, out)
    assert [(each.month, each.written) for each in done] == [
        ("2026-01", True), ("2026-02", True), ("live", True)
    ]  # fmt: skip
    rows = f"SELECT {', '.join(COLUMNS)} FROM ledger ORDER BY seq"
    asked = DuckdbQuery().query(parts, rows, LIMITS)
    assert loaded(out, rows) == list(asked.rows)
    assert sum(each.rows for each in done) == len(asked.rows) == 117
    assert sum((each.cost_usd for each in done), Decimal(0)) == Decimal("0.720049") * 9
    assert (out / "month=2026-01" / "moduleId=team-0").is_dir()


@pytest.mark.parametrize("sql", [block for block in BLOCKS if "FROM ledger" in block])
def test_the_guides_queries_give_the_same_figures_on_both_sides(
    parts: tuple[LedgerPart, ...], tmp_path: Path, sql: str
) -> None:
    DuckdbPartitions().write(parts, tmp_path / "out")
    ours = DuckdbQuery().query(parts, sql, LIMITS).rows
    assert ours
    assert loaded(tmp_path / "out", sql) == list(ours)


@pytest.mark.parametrize("sql", BLOCKS)
def test_the_guides_queries_run(parts: tuple[LedgerPart, ...], sql: str) -> None:
    assert DuckdbQuery().query(parts, sql, LIMITS).rows


def test_again_writes_nothing_and_what_was_harmed_is_written_again(
    parts: tuple[LedgerPart, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    DuckdbPartitions().write(parts[:2], out)
    before = tree(out)
    assert not any(each.written for each in DuckdbPartitions().write(parts[:2], out))
    assert tree(out) == before
    (out / "_yoyo" / "2026-02.json").unlink()  # as after a kill between folder and note
    again = DuckdbPartitions().write(parts[:2], out)
    assert [each.written for each in again] == [False, True]
    assert loaded(out, "SELECT count(*), min(seq), max(seq) FROM ledger") == [(80, 1, 80)]
    assert sorted(path.name for path in out.iterdir()) == [
        "_yoyo", "month=2026-01", "month=2026-02"
    ]  # fmt: skip


def test_a_bad_row_is_left_out_and_counted(tmp_path: Path) -> None:
    lines = lines_of(lives(4))
    lines[5] = lines[5].replace(b"team-", b"TEAM-")
    done = DuckdbPartitions().write(files(tmp_path, lines, [30]), tmp_path / "out")
    assert [(each.rows, each.bad_rows) for each in done] == [(29, 1), (14, 0)]


def test_thousands_of_tenants(tmp_path: Path) -> None:
    entries = [e for n in range(1_500) for e in life(n, jobs=0, module=f"t-{n}")[:2]]
    parts = files(tmp_path, lines_of(entries, timedelta(minutes=1)))
    out = tmp_path / "out"
    DuckdbPartitions().write(parts, out)
    assert len(list((out / "month=live").iterdir())) == 1_500
    assert len(list(out.rglob("*.parquet"))) == 1_500
    assert loaded(out, "SELECT count(*), count(DISTINCT moduleId) FROM ledger") == [(3_000, 1_500)]


def test_a_folder_that_cannot_be_written_is_said(
    parts: tuple[LedgerPart, ...], tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StateUnwritable):
        DuckdbPartitions().write(parts, tmp_path / "out")
