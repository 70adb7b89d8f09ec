"""The warehouse's schema has the ledger's columns, and its statements cannot be broken out of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.ledger_format import MAX_DIGITS
from yoyo.core.warehouse import (
    TYPES,
    bigquery_ddl,
    ledger_view,
    money_view,
    quoted,
    read_csv,
    typed_columns,
)
from yoyo.errors import QueryFailed
from yoyo.model.ledger import COLUMNS
from yoyo.ops.export_parquet import bigquery_table


def test_every_column_is_in_every_form() -> None:
    assert set(TYPES) <= set(COLUMNS)
    ddl = bigquery_ddl("finance.ledger", "gs://bucket/ledger/")
    assert sorted(re.findall(r"^  `(\w+)`", ddl, re.MULTILINE)) == sorted([*COLUMNS, "month"])
    for text in (typed_columns(), read_csv("x"), ledger_view(("t",))):
        assert all(name in text for name in COLUMNS)
    assert "CREATE VIEW money" in money_view()


def test_amounts_hold_all_that_the_format_allows() -> None:
    for name in ("gpu_seconds", "cost_usd"):
        assert TYPES[name] == f"DECIMAL({2 * MAX_DIGITS},{MAX_DIGITS})"


def test_partitions_are_keys_and_no_columns() -> None:
    columns, keys = bigquery_ddl("d.t", "gs://b/p").split("WITH PARTITION COLUMNS")
    assert "moduleId" not in columns
    assert "`month` STRING" in keys
    assert "'gs://b/p/*'" in keys


@given(st.text())
def test_a_literal_ends_where_it_ends(text: str) -> None:
    literal = quoted(text)
    assert literal[1:-1].replace("''", "") == text.replace("'", "")
    assert literal[0] == literal[-1] == "'"
    assert literal[1:-1].count("'") == 2 * text.count("'")


@pytest.mark.parametrize(
    ("table", "uri"),
    [
        ("finance.ledger", "s3://bucket/x"),
        ("finance.ledger", "gs://bucket/x' OR '1"),
        ("finance.ledger", "gs://bucket/x\n"),
        ("ledger", "gs://bucket/x"),
        ("finance.`ledger", "gs://bucket/x"),
        ("", ""),
    ],
)
def test_what_is_no_place_or_table_is_refused(table: str, uri: str) -> None:
    with pytest.raises(QueryFailed, match="No table can be made"):
        bigquery_table(table, uri)


def test_the_guide_shows_what_is_there() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "ledger-at-scale.md"
    assert bigquery_table("finance.ledger", "gs://my-bucket/ledger").startswith("CREATE OR REPLACE")
    assert "--table finance.ledger --uri gs://my-bucket/ledger" in guide.read_text()
