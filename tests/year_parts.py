"""A year in the life of three nodes and forty tenants, as rows: seeded, and larger if asked.

Every figure follows from the seed. `Year.write` streams, so that ten million rows need no memory.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from heapq import merge
from pathlib import Path

import year_records
from year_facts import (
    DISK_GB,
    DISK_GB_MONTH,
    MICRO,
    MODULES,
    NODES,
    NOVEMBER_DAYS,
    OPERATORS,
    START,
    Event,
    Place,
    YearLife,
    adapter_of,
    row_text,
    seconds_of,
)
from year_house import house
from year_lines import YearLines

from yoyo.core.ledger_format import HEADER
from yoyo.core.uuid7 import uuid7

LOST_DAY, CUT_DAY, STUCK_DAY, LEFT_DISK_DAY = 133, 300, 200, 40
MISBOOKED = {(0, 60): "corrected", (2, 250): "not corrected"}  # (node, day)
OVERBILLED = {(1, 180), (0, 181), (2, 182)}  # billed eight in a hundred more than booked
CREDITED = {(0, 150)}
SPECIAL = {*MISBOOKED, *OVERBILLED, *CREDITED, (0, LOST_DAY), (2, STUCK_DAY)}
SIX_CAUSES = (
    ("PREEMPTION", "preempted", "GUARD_LIFETIME", "guard:lifetime"),
    ("PREEMPTION", "preempted", "GUARD_DEAD_MAN", "guard:dead-man"),
    ("PREEMPTION", "preempted", "GUARD_PLATFORM_CAP", "guard:platform-cap"),
    ("PREEMPTION", "error", "HOST_ERROR", "alice"),
    ("PREEMPTION", "error", "ENGINE_EXITED", "alice"),
    ("PREEMPTION", "preempted", "STOPPED_OUTSIDE", "alice"),
)


class Year:
    """`write` gives ledger and proofs; afterwards `lives` says what the platform knows."""

    def __init__(self, seed: int = 7, rows_per_day: int = 260, days: int = 365) -> None:
        self.seed, self.days = seed, days + NOVEMBER_DAYS
        # Two lives a node and day, of two rows a job and some eight of their own.
        self.jobs_a_life = max(1, (rows_per_day // 6 - 8) // 2)
        self.lives: list[YearLife] = []
        self.left_disk: tuple[str, Place, datetime] | None = None
        self.proofs: dict[str, bytes] = {}
        self.rows = 0

    @property
    def end(self) -> datetime:
        """When the last day ends."""
        return START + timedelta(days=self.days)

    def write(self, directory: Path, rows: int | None = None) -> Path:
        """Write ledger.csv and ledger.proofs; at most that many rows."""
        directory.mkdir(parents=True, exist_ok=True)
        path, lines = directory / "ledger.csv", YearLines(self.seed)
        with path.open("wb", buffering=1 << 20) as file:
            file.write(HEADER)
            for event in self.events():
                if lines.seq == rows:
                    break
                file.write(lines.line(event))
        self.keep_proofs(directory)
        self.rows = lines.seq
        return path

    def events(self, *, heartbeats: bool = True) -> Iterator[Event]:
        """All rows to be, in the order of time; once. Whoever signs writes heartbeats himself."""
        chance = random.Random(f"{self.seed} house")
        rest = house(chance, self.days, self.lives, self.proof, heartbeats=heartbeats)
        sources = [_Node(self, index).events() for index in range(len(NODES))]
        return merge(*sources, rest, key=lambda event: event.at)

    def keep_proofs(self, directory: Path) -> None:
        """Write the documents that the rows name, once the rows are made."""
        proofs = directory / "ledger.proofs"
        proofs.mkdir(exist_ok=True)
        for name, document in self.proofs.items():
            (proofs / f"{name}.json").write_bytes(document)

    def proof(self, document: bytes) -> str:
        """Keep it beside the ledger; gives what a row names it by."""
        name = hashlib.sha256(document).hexdigest()
        self.proofs[name] = document
        return f"sha256:{name}"

    def price(self, place: Place, day: int) -> tuple[Decimal, str]:
        """USD an hour, and the record of the price; dearer from May on."""
        old = day < 181
        hourly = place.hourly if old else (place.hourly * Decimal("1.03")).quantize(MICRO)
        return hourly, self.proof(year_records.machine_price(place, hourly, day))

    @cached_property
    def disk_price(self) -> str:
        """The record of the disk's price."""
        return self.proof(year_records.disk_price())


class _Node:
    def __init__(self, year: Year, index: int) -> None:
        self.year, self.index, self.place = year, index, NODES[index]
        self.chance = random.Random(f"{year.seed} node {index}")
        self.disk_since: datetime | None = None

    def events(self) -> Iterator[Event]:
        """All rows of this node, in the order of time."""
        day = 0
        while day < self.year.days:
            skipped = 1
            weekend = (START + timedelta(days=day)).weekday() > 4
            for shift in range(1 if weekend else 2):
                module = MODULES[(day * 7 + shift * 3 + self.index * 13) % len(MODULES)]
                begin = START + timedelta(days=day, hours=7.5 + 6 * shift)
                begin += timedelta(seconds=self.chance.uniform(0, 1800))
                hours = self.chance.uniform(2.5, 4.9)
                if (self.index, day) in MISBOOKED:
                    hours, skipped = 70.6, 4
                yield from self._life(day, shift, module, begin, timedelta(hours=hours))
                if self.index == 0 and day == LOST_DAY:
                    skipped = 4
                if skipped > 1:
                    break
            day += skipped

    def _life(
        self, day: int, shift: int, module: str, begin: datetime, span: timedelta
    ) -> Iterator[Event]:
        chance, where = self.chance, f"{module},{self.place.name}"
        life = uuid7(int(begin.timestamp() * 1000), chance.randbytes(10))
        operator = chance.choice(OPERATORS)
        hourly, price = self.year.price(self.place, day)

        def row(kind: str, status: str, **more: str) -> str:
            return row_text(kind, where, life, status, more.pop("operator", operator), **more)

        boot = self.year.proof(year_records.boot(self.place, module))
        yield Event(begin, row("BOOT_REQUEST", "pending", given=boot))
        if self.index == 1 and day == CUT_DAY and not shift:
            return  # the command was killed, and so was its ledger's memory of the machine
        left = self.index == 1 and day == LEFT_DISK_DAY and not shift
        here = (self.index, day)
        if left or (chance.random() < 0.025 and here not in SPECIAL):
            if left:
                self.year.left_disk = (life, self.place, begin)
            at = begin + timedelta(seconds=chance.uniform(20, 90))
            yield Event(at, row("TEARDOWN_COMPLETE", "error", code="NO_CAPACITY",
                                seconds="0.000", cost="0.000000", given=price))  # fmt: skip
            return
        started = begin + timedelta(seconds=chance.uniform(8, 40))
        up = started + timedelta(seconds=chance.uniform(80, 400))
        yield Event(up, row("BOOT_COMPLETE", "success"))
        adapter = adapter_of(module, day)
        if adapter:
            record = self.year.proof(year_records.load(self.place.name, adapter))
            at = up + timedelta(seconds=0.5)
            yield Event(at, row("ADAPTER_LOAD", "success", given=record, adapters=adapter))
        stop = begin + span
        yield from self._jobs(where, adapter, operator, up + timedelta(seconds=5), stop)
        known = YearLife(life, self.place, module, started, None, Decimal(0), None)
        if day == self.year.days - 1 and shift == (1 if self.index == 0 else 9):
            self.year.lives.append(known)  # it runs while the year is looked at
            return
        yield from self._end(day, shift, known, stop, hourly, price, row)

    def _end(
        self, day: int, shift: int, life: YearLife, stop: datetime, hourly: Decimal, price: str,
        row: Callable[..., str],
    ) -> Iterator[Event]:  # fmt: skip
        chance, here = self.chance, (self.index, day)
        asked, stopped = stop, stop + timedelta(seconds=chance.uniform(15, 70))
        closed = stopped + timedelta(seconds=chance.uniform(1, 20))
        seconds = seconds_of(stopped - life.started)
        real = booked = (seconds * hourly / 3600).quantize(MICRO)
        credits = Decimal(0)
        lost = self.index == 0 and day == LOST_DAY
        money = {"seconds": str(seconds), "cost": str(booked), "given": price}
        mark = ""
        if here in MISBOOKED:
            money |= {"seconds": "0.000", "cost": "0.000000", "operator": "mallory"}
            booked, mark = Decimal("0.000000"), f"misbooked {self.index}"
        elif here in OVERBILLED and not shift:
            real = (booked * Decimal("1.08")).quantize(MICRO)
        elif here in CREDITED and not shift:
            credits = (booked * Decimal("-0.20")).quantize(MICRO)
        cause = chance.random()
        if lost:
            closed += timedelta(days=3)
            yield Event(closed, row("PREEMPTION", "error", code="MACHINE_GONE"))
            life = life._replace(stopped=stopped, real=real, booked=None)
            self.year.lives.append(life)
            return
        if self.index == 2 and day == STUCK_DAY and not shift:
            yield Event(asked, row("TEARDOWN_REQUEST", "pending"))
            self.year.lives.append(life._replace(stopped=stopped, real=real))
            return
        if not mark and self.place.spot and cause < 0.12:
            yield Event(closed, row("PREEMPTION", "preempted", code="SPOT_PREEMPTED", **money))
        elif not mark and cause < 0.17:
            kind, status, code, by = chance.choice(SIX_CAUSES)
            more = {"operator": by} if by.startswith("guard:") else {}
            yield Event(closed, row(kind, status, code=code, **money, **more))
        else:
            who: dict[str, str] = {"operator": "guard:monitor"} if cause > 0.6 else {}
            yield Event(asked, row("TEARDOWN_REQUEST", "pending", **who))
            yield Event(closed, row("TEARDOWN_COMPLETE", "success", **(who | money)), mark)
        self.year.lives.append(
            life._replace(stopped=stopped, real=real, booked=booked, credits=credits)
        )
        yield self._disk(life, closed + timedelta(seconds=1), row)

    def _disk(self, life: YearLife, at: datetime, row: Callable[..., str]) -> Event:
        since = self.disk_since or life.started
        self.disk_since = at
        cost = (DISK_GB_MONTH * DISK_GB * seconds_of(at - since) / (730 * 3600)).quantize(MICRO)
        text = row("CHECKPOINT", "success", code="DISK_COST", cost=str(cost),
                   given=self.year.disk_price)  # fmt: skip
        return Event(at, text)

    def _jobs(
        self, where: str, adapter: str, operator: str, begin: datetime, end: datetime
    ) -> Iterator[Event]:
        chance, count = self.chance, self.year.jobs_a_life
        slot = (end - begin).total_seconds() / count
        rate = max(300.0, 9000 / (slot * 0.65))  # tokens a second, so that no two jobs overlap
        for index in range(count):
            at = begin + timedelta(seconds=slot * (index + chance.random() * 0.3))
            job = uuid7(int(at.timestamp() * 1000), chance.randbytes(10))
            given, tokens = f"sha256:{chance.randbytes(32).hex()}", chance.randrange(20, 9000)
            seconds = f"{tokens / rate:.3f}"
            who = operator if chance.random() < 0.8 else OPERATORS[tokens % 4]
            yield Event(at, row_text("JOB_START", where, job, "pending", who, given=given))
            if self.index == 0 and index == count - 1 and self._is_lost(end):
                return  # the controller was lost while it waited for this one
            at += timedelta(seconds=float(seconds))
            if chance.random() < 0.01:
                yield Event(at, row_text("JOB_COMPLETE", where, job, "error", who, given=given,
                                         code="ENGINE_DISCONNECTED"))  # fmt: skip
                continue
            yield Event(at, row_text(
                "JOB_COMPLETE", where, job, "success", who, given=given, adapters=adapter,
                ratio=f"0.{chance.randrange(10_000):04d}", tokens=str(tokens), seconds=seconds,
            ))  # fmt: skip

    @staticmethod
    def _is_lost(end: datetime) -> bool:
        return (end - START).days == LOST_DAY
