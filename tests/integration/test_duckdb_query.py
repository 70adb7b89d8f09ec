"""SQL on the ledger: the right figures, and no way out of reading it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from duckdb_parts import E, S, files, life, lines_of, lives

from yoyo.cli.ledger_query import plain, query_document, query_text
from yoyo.core.corrections import apply, corrections_of
from yoyo.core.cost.window import wanted_for
from yoyo.core.ledger_format import decode_row
from yoyo.drivers.duckdb.query import DuckdbQuery
from yoyo.drivers.files.accounts import PlainAccounts
from yoyo.errors import LedgerUnreadable, QueryFailed
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import BILLED, CORRECTION, DISK_COST, CompletionStatus, Entry, Row
from yoyo.ops.cost import Question, answer
from yoyo.ports.query import QueryLimits, QueryResult

LIMITS = QueryLimits(10_000, 60.0, 1_000_000_000)
ENDLESS = (
    "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range % 7 = b.range % 11"
)
Parts = tuple[LedgerPart, ...]


def ask(parts: Parts, sql: str, limits: QueryLimits = LIMITS) -> QueryResult:
    return DuckdbQuery().query(parts, sql, limits)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return files(tmp_path, lines_of(lives(8)), [30], torn=b"half a line")


def test_every_row_is_there_once_with_its_type(parts: Parts) -> None:
    found = ask(parts, "SELECT count(*), sum(cost_usd), max(timestamp_utc) FROM ledger")
    assert found.rows[0][:2] == (88, Decimal("0.720049") * 8)
    assert found.types[1].startswith("DECIMAL")
    assert found.types[2].startswith("TIMESTAMP")
    shape = ask(parts, "DESCRIBE ledger").rows
    assert [row[0] for row in shape][:3] == ["event_id", "timestamp_utc", "event_type"]
    assert len(shape) == 17


def test_unknown_is_null_and_a_bad_row_is_left_out(tmp_path: Path) -> None:
    lines = lines_of(lives(3))
    lines[4] = lines[4].replace(b"bob", b'"bob"').replace(b"alice", b'"alice"')
    parts = files(tmp_path, lines)
    found = ask(parts, "SELECT count(*), count(cost_usd), count(tokens_processed) FROM ledger")
    assert found.rows == ((32, 6, 6),)
    assert found.bad_rows == 1


def test_a_ledger_without_rows_answers(tmp_path: Path) -> None:
    for parts in (files(tmp_path, []), ()):
        assert ask(parts, "SELECT count(*) FROM ledger").rows == ((0,),)
        assert ask(parts, "SELECT sum(cost_usd) FROM money").rows == ((None,),)


def test_a_part_that_is_gone_is_not_left_out(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnreadable, match="gone"):
        ask((LedgerPart(tmp_path / "ledger-2026-10.csv", 1, "2026-10"),), "SELECT 1")


def corrected() -> list[bytes]:
    """Lives with corrections: good ones, newer ones, and every way not to be one."""
    entries = lives(4)
    rows = [decode_row(line[:-1], 0) for line in lines_of(entries)]
    good = [row for row in rows if isinstance(row, Row)]

    def by(number: int, code: str = CORRECTION, **values: object) -> Entry:
        row = good[number]
        made = Entry(
            E.CHECKPOINT, row.entry.module_id, row.entry.node_id,
            f"correct/{row.seq}/{row.event_id}", CompletionStatus.SUCCESS, "alice",
            error_code=code, input_hash=f"sha256:{row.row_hash}",
        )  # fmt: skip
        return made._replace(**values)  # type: ignore[arg-type]

    ends = [n for n, row in enumerate(good) if row.entry.event_type is E.TEARDOWN_COMPLETE]
    disks = [n for n, row in enumerate(good) if row.entry.error_code == DISK_COST]
    return lines_of([
        *entries,
        by(ends[0], cost_usd=Decimal("9.5")),
        by(ends[0], cost_usd=Decimal("0.5")),
        by(ends[1], BILLED, cost_usd=Decimal("0.25"), gpu_seconds=Decimal(10)),
        by(ends[2], BILLED, gpu_seconds=Decimal(7)),
        by(ends[2], cost_usd=Decimal(3), input_hash="sha256:" + "00" * 32),
        by(ends[2], cost_usd=Decimal(3), tokens_processed=4),
        by(ends[3], cost_usd=Decimal(3), job_id="correct/1/x"),
        by(ends[3], job_id=f"correct/{ends[3] + 1}/{good[ends[3]].event_id}/a-reason",
           cost_usd=Decimal("1.125")),
        by(disks[0], cost_usd=Decimal("0.02")),
        by(disks[1], cost_usd=Decimal("0.02"), gpu_seconds=Decimal(1)),
        by(0, cost_usd=Decimal(5)),
    ])  # fmt: skip


def test_money_has_the_corrections_that_totals_have(tmp_path: Path) -> None:
    lines = corrected()
    parts = files(tmp_path, lines, [25])
    rows = [row for line in lines if isinstance(row := decode_row(line[:-1], 0), Row)]
    applied = corrections_of(rows)
    want = []
    for row in rows:
        kind, code = row.entry.event_type, row.entry.error_code
        if kind is E.TEARDOWN_COMPLETE or code == DISK_COST:
            entry, amounts = apply(row, applied).entry, applied.of(row)
            billed = amounts is not None and amounts.billed
            want.append((row.seq, entry.gpu_seconds, entry.cost_usd, billed, row.entry.cost_usd))
    found = ask(
        parts, "SELECT seq, gpu_seconds, cost_usd, billed, booked_cost_usd FROM money ORDER BY seq"
    )
    assert list(found.rows) == want
    assert {row[2] for row in want} >= {Decimal("0.5"), Decimal("0.25"), Decimal("1.125")}


def test_what_is_in_no_money_row_is_what_cost_says_it_does_not_add(tmp_path: Path) -> None:
    stray = Entry(E.ADAPTER_LOAD, "team-a", "n1", "x", S.SUCCESS, "me", cost_usd=Decimal("0.25"))
    parts = files(tmp_path, lines_of([*life(1, jobs=2), stray, *life(2, jobs=2)]))
    found = ask(parts, "SELECT (SELECT sum(cost_usd) FROM ledger), sum(cost_usd) FROM money")
    ((plainly, money),) = found.rows
    table = answer(
        PlainAccounts().read(parts, wanted_for(())), Question(),
        now=datetime(2027, 1, 1, tzinfo=UTC),
    )  # fmt: skip

    assert (table.total.usd, plainly - money) == (money, Decimal("0.25"))
    assert any(note.startswith("0.250000 USD stand in rows") for note in table.notes)


ESCAPES = [
    "COPY ledger TO '{out}'",
    "COPY (SELECT 1) TO '{live}'",
    "WITH a AS (COPY (SELECT 1 AS x) TO '{out}') SELECT * FROM a",
    "WITH a AS (COPY (SELECT 1 AS x) TO '{cached}') SELECT * FROM a",
    "EXPLAIN ANALYZE WITH a AS (COPY (SELECT 1 AS x) TO '{cached}') SELECT * FROM a",
    "WITH a AS (COPY (SELECT 1 AS x) TO '{cached}' (FORMAT csv, USE_TMP_FILE false)) SELECT 1",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{cached}'",
    "EXPLAIN EXPLAIN ANALYZE COPY (SELECT 1) TO '{cached}'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{cached}'",
    "WITH a AS (INSERT INTO ledger SELECT * FROM ledger RETURNING 1) SELECT * FROM a",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('{live}')",
    "SELECT * FROM read_text('{folder}/../{name}/ledger.csv')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('https://127.0.0.1:9/x')",
    "SELECT * FROM glob('/etc/*')",
    "FROM '/etc/passwd'",
    "FROM 'https://127.0.0.1:9/x.parquet'",
    "SELECT * FROM parts",
    "SELECT * FROM sql",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{out}''')",
    "SELECT * FROM query_table('/etc/passwd')",
    "SELECT getenv('HOME')",
    "ATTACH '{out}' AS x",
    "ATTACH ':memory:' AS x",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET enable_external_access",
    "PRAGMA enable_profiling",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "EXPORT DATABASE '{out}'",
    "IMPORT DATABASE '{folder}'",
    "CREATE TABLE t AS SELECT 1",
    "CREATE MACRO f() AS 1",
    "DROP VIEW ledger",
    "INSERT INTO ledger SELECT * FROM ledger",
    "DELETE FROM ledger",
    "UPDATE ledger SET cost_usd = 0",
    "CHECKPOINT",
    "USE memory",
    "CREATE SECRET s (TYPE http)",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM enable_logging()",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{out}'",
    "SELECT 1) TO '{out}'; --",
    "SELECT * FROM (SELECT 1) a; DROP VIEW ledger",
    "PREPARE p AS SELECT 1",
    "BEGIN",
    "nonsense",
    "SELECT nothing FROM ledger",
    "",
    "-- only a comment",
]


@pytest.mark.parametrize("sql", ESCAPES)
def test_sql_can_do_nothing_but_read(parts: Parts, tmp_path: Path, sql: str) -> None:
    ask(parts, "SELECT 1 FROM ledger")  # so that the cache is there
    cache = tmp_path / "ledger.cache"
    names = {
        "out": tmp_path / "out", "live": parts[-1].path, "cached": cache / "2026-01.parquet",
        "folder": tmp_path, "name": tmp_path.name,
    }  # fmt: skip
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(QueryFailed) as refused:
        ask(parts, sql.format(**names))
    assert refused.value.fix
    assert "root:" not in str(refused.value.why)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_query_that_takes_too_long_is_broken_off(parts: Parts) -> None:
    endless = ENDLESS
    with pytest.raises(QueryFailed, match="longer than") as late:
        ask(parts, endless, LIMITS._replace(timeout_s=0.3))
    assert "--timeout" in late.value.fix


def test_a_query_that_needs_too_much_memory_is_refused(parts: Parts, tmp_path: Path) -> None:
    hungry = (
        "SELECT count(*) FROM (SELECT range, hash(range)::VARCHAR FROM range(50000000) ORDER BY 2)"
    )
    with pytest.raises(QueryFailed, match="needs more than") as refused:
        ask(parts, hungry, LIMITS._replace(memory_bytes=64_000_000))
    assert "--memory" in refused.value.fix


# The second is one task to DuckDB, between whose tasks alone it would look for a signal.
@pytest.mark.parametrize("endless", [ENDLESS, "SELECT sum(hash(range)) FROM range(1000000000000)"])
def test_an_interrupt_ends_a_query(parts: Parts, endless: str) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from yoyo.drivers.duckdb.query import DuckdbQuery\n"
        "from yoyo.model.audit import LedgerPart\nfrom yoyo.ports.query import QueryLimits\n"
        "print('on', flush=True)\n"
        "try:\n"
        "    DuckdbQuery().query((LedgerPart(Path(sys.argv[1]), 31, None),), sys.argv[2],"
        " QueryLimits(1, 3600.0, 10**9))\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(parts[-1].path), endless],
        stdout=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stdout.readline() == "on\n"
        again = threading.Event()
        for _ in range(40):
            if running.poll() is not None or again.wait(0.5):
                break
            os.kill(running.pid, signal.SIGINT)
        else:
            running.kill()
        assert "interrupted" in running.stdout.read()


def test_the_answer_is_cut_and_says_so(parts: Parts) -> None:
    found = ask(parts, "SELECT seq FROM ledger ORDER BY seq DESC", LIMITS._replace(rows=3))
    assert [row[0] for row in found.rows] == [88, 87, 86]
    assert found.cut
    assert not ask(parts, "SELECT 1", LIMITS._replace(rows=1)).cut


@pytest.mark.parametrize("sql", [
    "EXPLAIN SELECT * FROM ledger", "EXPLAIN ANALYZE SELECT count(*) FROM money", "SHOW TABLES",
    "FROM ledger SELECT 1", "VALUES (1)", "SUMMARIZE money", "SELECT 1;", "SELECT 1 -- so",
    "WITH a AS (SELECT 1) SELECT * FROM a", "SELECT 'a;b'", "TABLE ledger",
])  # fmt: skip
def test_what_reads_is_answered(parts: Parts, sql: str) -> None:
    assert ask(parts, sql).rows


def test_a_cached_file_that_was_changed_is_not_believed(parts: Parts, tmp_path: Path) -> None:
    ask(parts, "SELECT 1")
    cached = tmp_path / "ledger.cache" / "2026-01.parquet"
    cached.write_bytes(bytes(b ^ (n % 97 == 50) for n, b in enumerate(cached.read_bytes())))
    assert ask(parts, "SELECT count(*) FROM ledger").rows == ((88,),)


def test_the_ledger_is_left_as_it_is_where_no_cache_can_be_kept(parts: Parts) -> None:
    (parts[-1].path.parent / "ledger.cache").write_text("in the way")
    assert ask(parts, "SELECT count(*) FROM ledger").rows == ((88,),)


def test_output_cannot_act(tmp_path: Path) -> None:
    entry = life(1)[0]._replace(operator_id="=cmd|' /C calc'!A0", error_code="\u202eevil")
    parts = files(tmp_path, lines_of([entry, entry._replace(completion_status=S.SUCCESS)]))
    found = ask(
        parts, "SELECT operator_id, error_code, chr(27) || '[2J' AS x, 1.50 AS y FROM ledger"
    )
    text = query_text(found)
    assert text.splitlines()[0].split() == ["operator_id", "error_code", "x", "y"]
    document = json.loads(json.dumps(query_document(found)))
    assert document["rows"][0][3] == "1.50"
    assert plain(float("nan")) == "nan"
