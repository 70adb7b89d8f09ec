"""Hand-made facts for the report's page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from yoyo.core.report.facts import (
    Change,
    Check,
    Integrity,
    NodeStrip,
    OpenItem,
    ReportFacts,
    Spell,
    Stop,
)
from yoyo.model.accounts import CostLine, CostTable

SINCE = datetime(2026, 10, 1, tzinfo=UTC)
UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
ZERO = Decimal(0)
NOTHING = CostLine((), ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, 0, ZERO, ZERO, ZERO, 0, 0)


def line(key: str, gpu: str = "10", disk: str = "1", tokens: int = 1000) -> CostLine:
    return NOTHING._replace(
        key=(key,),
        gpu_usd=Decimal(gpu),
        disk_usd=Decimal(disk),
        idle_usd=Decimal(gpu) / 2,
        boot_usd=Decimal(gpu) / 10,
        gpu_seconds=Decimal(36000),
        work_seconds=Decimal(14400),
        boot_seconds=Decimal(3600),
        tokens=tokens,
        jobs=3,
    )


def table(by: str, lines: list[CostLine], notes: tuple[str, ...] = ()) -> CostTable:
    def add(field: str) -> Decimal:
        return sum((getattr(each, field) for each in lines), Decimal(0))

    total = NOTHING._replace(
        gpu_usd=add("gpu_usd"),
        disk_usd=add("disk_usd"),
        idle_usd=add("idle_usd"),
        boot_usd=add("boot_usd"),
        gpu_seconds=add("gpu_seconds"),
        work_seconds=add("work_seconds"),
        boot_seconds=add("boot_seconds"),
        tokens=sum(each.tokens for each in lines),
        jobs=sum(each.jobs for each in lines),
    )
    return CostTable((by,), SINCE, UNTIL, tuple(lines), total, False, 0, notes)


def facts(word: str = "acme") -> ReportFacts:
    """A month; `word` stands wherever somebody else's text can stand."""
    noon = SINCE + timedelta(days=3, hours=12)
    strip = NodeStrip(
        word,
        (
            Spell(noon, noon + timedelta(minutes=4), True),
            Spell(noon + timedelta(minutes=4), noon + timedelta(hours=20), False),
        ),
        (Stop(noon + timedelta(hours=20), "L", word, word, word, Decimal("3.5")),),
        {"2026-10-04T13": Decimal("0.5")},
        1,
        3,
        Decimal(71760),
        Decimal(240),
    )
    return ReportFacts(
        month="2026-10",
        since=SINCE,
        until=UNTIL,
        made_at=UNTIL + timedelta(days=2),
        version="0.1.0",
        ledger=word,
        by_module=table("module", [line(word), line("globex", "5")], (word,)),
        by_day=table("day", [line("2026-10-04"), line("2026-10-05", "5")]),
        strips=(strip,),
        strips_left_out=0,
        open_items=(OpenItem("JOB_START", word, word, noon),),
        open_count=1,
        changes=(
            Change(
                noon, 7, word, word, word, True, True,
                Decimal(1), Decimal(2), None, None, None,
            ),
        ),
        change_count=1,
        integrity=Integrity(
            9, "2026-10-01", "2026-10-31", f"9:{word}",
            (Check(word, True, word), Check(word, None, word)), (word,), 0,
        ),
        rows_in_month=9,
        bad_rows=0,
    )  # fmt: skip
