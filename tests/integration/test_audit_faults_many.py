"""Many at once, and many tenants: who proves a ledger while others write it."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from audit_faults_parts import configure, document, refusal, run_here, yoyo
from audit_parts import ORIGIN, Audited

from yoyo.core.ledger_format import HEADER, encode_entry, encode_row
from yoyo.core.uuid7 import uuid7
from yoyo.model.ledger import GENESIS_HASH, HEARTBEAT, CompletionStatus, Entry, EventType, Row
from yoyo.ops.audit.against import held_against, verdict
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.ops.audit.seal import seal
from yoyo.wiring_audit import notes_at

TENANTS = 10_000


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    made = Audited(tmp_path / "ledger", now=datetime(2025, 1, 10, tzinfo=UTC))
    configure(made.home, copy=f"file://{made.copies}")
    made.book(6)
    made.clock.at = datetime(2025, 2, 10, tzinfo=UTC)
    made.book(3)
    made.clock.at = datetime.now(UTC)
    return made


def begun(home: Path, *arguments: str) -> int:
    """A command that runs beside this process; gives its pid."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = run_here(home, arguments, {}, os.devnull, os.devnull)
        finally:
            os._exit(code)
    return child


def ended(children: list[int]) -> Counter[int]:
    return Counter(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def agrees(house: Audited) -> None:
    assert house.ctx.ledger.verify().problems == ()
    for place in (house.home / "ledger.checkpoints", house.copies):
        kept = notes_at(str(place), house.settings)
        assert verdict(held_against(house.ctx, kept.notes, [house.key], kept.keys)) is None


def test_four_that_sign_at_once_sign_one_after_the_other(house: Audited) -> None:
    assert ended([begun(house.home, "ledger", "checkpoint") for _ in range(4)]) == {0: 4}
    beats = [
        row
        for row in house.ctx.ledger.rows()
        if isinstance(row, Row) and row.entry.error_code == HEARTBEAT
    ]
    assert len(beats) == 4
    assert {int(p.name[:20]) for p in house.copies.rglob("*.note")} == {row.seq for row in beats}
    # Each names the one before it.
    for above, below in itertools.pairwise(beats):
        assert below.entry.job_id == f"checkpoint/{above.seq}"
    agrees(house)


def appending(house: Audited, parent: int) -> int:
    child = os.fork()
    if child == 0:
        try:
            while os.getppid() == parent:
                house.book(1, module="busy")
        finally:
            os._exit(1)
    return child


def test_signing_and_sealing_while_eight_write(house: Audited) -> None:
    writers = [appending(house, os.getpid()) for _ in range(8)]
    try:
        done = ended(
            [begun(house.home, "ledger", "checkpoint") for _ in range(3)]
            + [begun(house.home, "ledger", "seal")]
        )
    finally:
        for child in writers:
            os.kill(child, signal.SIGKILL)
        assert ended(writers) == {-signal.SIGKILL: 8}, "one of them ended by itself"
    assert done == {0: 4}
    house.clock.at = datetime.now(UTC)
    house.book(1)  # takes care of what a killed one left
    assert [part.month for part in house.ctx.ledger.parts()] == ["2025-01", "2025-02", None]
    agrees(house)


def many(house: Audited, tenants: int = TENANTS) -> None:
    """A disk's row of each tenant in January, and one in February."""
    house.path.unlink()
    prev, content = GENESIS_HASH, [HEADER]
    for number in range(tenants + 1):
        late = number == tenants
        at = datetime(2025, 2 if late else 1, 10, 0, 0, 0, number, tzinfo=UTC)
        event_id = uuid7(int(at.timestamp() * 1000), number.to_bytes(10, "big"))
        entry = Entry(
            EventType.CHECKPOINT, f"tenant-{number:05}", "demo", "", CompletionStatus.SUCCESS,
            "op", error_code="DISK_COST", cost_usd=Decimal("0.01"),
        )  # fmt: skip
        line = encode_row(
            encode_entry(entry, event_id), event_id=event_id, timestamp=at, seq=number + 1,
            prev_hash=prev,
        )  # fmt: skip
        prev = line[-65:-1].decode()
        content.append(line)
    house.path.write_bytes(b"".join(content))


def test_ten_thousand_tenants(house: Audited, tmp_path: Path) -> None:
    many(house)
    cost = document(yoyo(house.home, "cost", "--by", "module", "--json"))
    assert len(cost["lines"]) == TENANTS + 1
    assert Decimal(cost["total"]["usd"]) == Decimal("100.01")
    checkpoint(house.ctx)
    seal(house.ctx)
    page = tmp_path / "r.html"
    report = yoyo(house.home, "report", "--month", "2025-01", "-o", str(page), "--json")
    assert document(report)["tenants"] == TENANTS
    assert Decimal(document(report)["usd"]) == 100
    assert page.stat().st_size < 8_000_000
    out = tmp_path / "e.jsonl"
    extract = ("ledger", "extract", "--module", "tenant-07777", "-o", str(out))
    assert document(yoyo(house.home, *extract, "--json"))["rows"] == 1
    assert b"tenant-0777" in out.read_bytes()
    assert out.read_bytes().count(b"tenant-") <= 3  # nobody else's
    check = ("ledger", "verify-extract", str(out), "--key", "key.vkey", "--json")
    assert document(yoyo(house.home, *check))["ok"] is True
    other = tmp_path / "other.jsonl"
    other.write_bytes(out.read_bytes().replace(b"tenant-07777", b"tenant-07778"))
    refusal(house.home, 49, "ledger", "verify-extract", str(other), "--key", "key.vkey")
    asked = "SELECT count(DISTINCT moduleId), sum(cost_usd) FROM money"
    query = document(yoyo(house.home, "ledger", "query", asked, "--json"))
    assert [str(cell) for cell in query["rows"][0]] == ["10001", "100.010000000000000000"]


def test_a_thousand_tenants_have_a_partition_each(house: Audited, tmp_path: Path) -> None:
    many(house, 1000)
    seal(house.ctx)
    out = tmp_path / "parquet"
    said = yoyo(house.home, "ledger", "export", "--to", "parquet", "-o", str(out))
    assert said.out.startswith("2025-01: 1000 row(s), 10.00")
    assert len({path.parent for path in (out / "month=2025-01").rglob("*.parquet")}) == 1000


SQL = (
    "COPY (SELECT 1) TO '{out}'",
    "COPY ledger TO '{out}' (FORMAT parquet)",
    "EXPORT DATABASE '{out}'",
    "ATTACH '{out}' AS x",
    "CREATE TABLE t AS SELECT 1",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM glob('{home}/*')",
    "SELECT getenv('HOME')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    "SET enable_external_access = true",
    "PRAGMA database_list; COPY (SELECT 1) TO '{out}'",
    "SELECT 1; SELECT 2",
    "DELETE FROM ledger",
    "WITH x AS (SELECT 1) INSERT INTO ledger SELECT * FROM x",
    "SELECT * FROM nothing",
    "SELECT",
    "",
    "\x00\x1b[31m",
)


def test_sql_that_does_more_than_read(house: Audited, tmp_path: Path) -> None:
    __import__("duckdb")  # once here, and not in each child
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text("a\nTOP-SECRET\n")
    before = house.path.read_bytes()
    for sql in SQL:
        text = sql.format(secret=secret, out=out, home=house.home)
        said = yoyo(house.home, "ledger", "query", text, "--json")
        assert said.code == 94, (sql, said)
        error = json.loads(said.out)["error"]
        assert (error["exit_code"], bool(error["what"]), bool(error["fix"])) == (94, True, True)
        assert "TOP-SECRET" not in said.out + said.err, sql
        assert "\x1b" not in said.out + said.err, sql
        assert not out.exists(), sql
    assert house.path.read_bytes() == before
    assert secret.read_text() == "a\nTOP-SECRET\n"


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (53, ("ledger", "extract", "--module", "acme", "-o", "e.jsonl")),  # nothing is signed
        (97, ("ledger", "extract", "--module", "No Module", "-o", "e.jsonl")),
        (48, ("ledger", "verify-extract", "ledger.csv", "--key", "key.vkey")),
        (48, ("ledger", "verify-extract", ".", "--key", "key.vkey")),
        (48, ("ledger", "verify-extract", "ledger.csv", "--key", "no key")),
        (48, ("ledger", "verify-extract", "ledger.csv", "--key", "x" * 5000)),
        (48, ("ledger", "verify", "--against", "nothing")),
        (48, ("ledger", "verify", "--against", "key.vkey")),
        (48, ("ledger", "verify", "--against", ".", "--file", "ledger.csv")),
        (43, ("ledger", "verify", "--expect", "1:x")),
        (44, ("ledger", "verify", "--expect", "1:" + "0" * 64)),
        (47, ("ledger", "seal", "soon")),
        (53, ("ledger", "rotate", "nothing.pem")),
        (97, ("ledger", "trace", "nothing")),
        (97, ("ledger", "correct", "99", "--cost", "1", "--reason", "why not")),
        (43, ("ledger", "correct", "1", "--cost", "NaN", "--reason", "why not")),
        (43, ("ledger", "correct", "1", "--cost", "-1", "--reason", "why not")),
        (43, ("ledger", "correct", "1", "--cost", "1 EUR", "--reason", "why not")),
        (96, ("reconcile", "--billing", "key.vkey")),
        (96, ("cost", "--set", "price_table=key.vkey")),
    ],
)
def test_what_cannot_be_done_says_what_and_why_and_what_to_do(
    house: Audited, code: int, arguments: tuple[str, ...]
) -> None:
    before = house.path.read_bytes()
    said = yoyo(house.home, *arguments)
    assert said.code == code, said
    lines = said.err.splitlines()
    assert [line for line in lines if line.startswith("error: ")], said
    assert [line for line in lines if line.startswith("  fix: ")], said
    as_json = yoyo(house.home, *arguments, "--json")
    assert document(as_json)["error"]["exit_code"] == code
    assert house.path.read_bytes() == before
    assert not (house.home / "e.jsonl").exists()


def test_the_origin_stays(house: Audited) -> None:
    checkpoint(house.ctx)
    path = house.home / "yoyo.yaml"
    path.write_text(path.read_text().replace(ORIGIN, "another.example/name"))
    assert "by another key" in refusal(house.home, 53, "ledger", "checkpoint").err
