"""A month that is deleted while the ledger is read is never left out without a word."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from audit_parts import Audited

from yoyo.drivers.duckdb.partitions import DuckdbPartitions
from yoyo.errors import LedgerUnreadable
from yoyo.model.accounts import Wanted
from yoyo.model.audit import LedgerPart
from yoyo.ops.audit.seal import seal
from yoyo.wiring_audit import accounts_reader


def sealed(root: Path) -> tuple[LedgerPart, ...]:
    house = Audited(root, now=datetime(2026, 8, 2, 8, tzinfo=UTC))
    house.book(5)
    house.clock.at = datetime(2026, 9, 2, 8, tzinfo=UTC)
    house.book(2)
    seal(house.ctx)
    return house.ctx.ledger.parts()


@pytest.mark.parametrize("period", ["hour", "day"])
@pytest.mark.parametrize("choice", ["plain", "duckdb"])
@pytest.mark.parametrize("gone", [0, 1])
def test_a_part_that_is_gone_is_an_error(
    tmp_path: Path, choice: str, period: str, gone: int
) -> None:
    parts = sealed(tmp_path / "house")
    reader, wanted = accounts_reader(choice, parts), Wanted(period, modules=True)
    assert reader.read(parts, wanted).rows_read > 7  # and the cache, where there is one, is warm
    parts[gone].path.unlink()

    with pytest.raises(LedgerUnreadable) as refused:
        reader.read(parts, wanted)
    assert parts[gone].path.name in refused.value.what
    assert "again" in refused.value.fix


def test_nor_is_it_left_out_of_partitions(tmp_path: Path) -> None:
    parts = sealed(tmp_path / "house")
    parts[0].path.unlink()
    with pytest.raises(LedgerUnreadable):
        DuckdbPartitions().write(parts, tmp_path / "out")
