"""The year's rows that are of no node: store, registry file, sessions, clocks, corrections."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import year_records
from year_facts import (
    CLOCK_STEP_S,
    MODULES,
    NODES,
    START,
    Event,
    Marked,
    YearLife,
    adapter_digest,
    adapter_of,
    row_text,
    seconds_of,
)


def house(
    chance: random.Random,
    days: int,
    lives: list[YearLife],
    proof: Callable[[bytes], str],
    *,
    heartbeats: bool = True,
) -> Iterator[Event]:
    """What is of no node: store, registry file, sessions, clocks, heartbeats, corrections."""
    yield from _first_day()
    for day in range(days):
        midnight = START + timedelta(days=day)
        if day % 21 == 0:
            boot = chance.randbytes(16).hex()
            boot_id = f"{boot[:8]}-{boot[8:12]}-4{boot[13:16]}-8{boot[17:20]}-{boot[20:]}"
            record = proof(year_records.session(boot_id, midnight))
            text = row_text("CHECKPOINT", "shared,ledger", f"session/{boot_id}", "success",
                            "alice", given=record, code="SESSION")  # fmt: skip
            yield Event(midnight + timedelta(minutes=5), text)
        beat = row_text("CHECKPOINT", "shared,ledger", "", "success", "alice", code="HEARTBEAT")
        if heartbeats:
            yield Event(midnight + timedelta(minutes=10), beat)
        if day == 75:
            yield Event(midnight + timedelta(hours=1), _correction(lives))
        if day == 100:
            if heartbeats:
                # A row just before, so that the clock is seen to go back.
                yield Event(midnight + timedelta(hours=9, minutes=55), beat)
            for hours, sign in ((10, "-"), (13, "+")):
                step = f"clock/{sign}{CLOCK_STEP_S:.3f}"
                text = row_text("CHECKPOINT", "shared,ledger", step, "success", "alice",
                                code="CLOCK_STEP")  # fmt: skip
                yield Event(midnight + timedelta(hours=hours), text)
        if day == 181:
            yield from _adapters(midnight + timedelta(hours=3), "1.1.0")
        if midnight.day == 15:
            at = midnight + timedelta(hours=5)
            yield Event(at, row_text("JOB_START", "shared,store", "gc", "pending", "bob"))
            yield Event(at + timedelta(minutes=2), row_text(
                "JOB_COMPLETE", "shared,store", "gc", "success", "bob", code="ARTEFACTS_COLLECTED",
            ))  # fmt: skip


def _first_day() -> Iterator[Event]:
    for index, name in enumerate(("weights/qwen-32b", "tokenizer/qwen-32b", "engine/b6900")):
        at = START + timedelta(minutes=index)
        job = f"stage/{name}"
        yield Event(at, row_text("JOB_START", "shared,store", job, "pending", "alice"))
        yield Event(at + timedelta(seconds=40), row_text(
            "JOB_COMPLETE", "shared,store", job, "success", "alice",
            given=f"sha256:{adapter_digest(name)}",
        ))  # fmt: skip
    yield from _adapters(START + timedelta(minutes=3, seconds=1), "1.0.0")


def _adapters(at: datetime, version: str) -> Iterator[Event]:
    for module in MODULES:
        if not adapter_of(module, 0):
            continue
        name = f"{module}-tone@{version}"
        for action in ("register", "promote"):
            where, given = f"{module},adapters", f"sha256:{adapter_digest(name)}"
            for kind, status in (("JOB_START", "pending"), ("JOB_COMPLETE", "success")):
                yield Event(at, row_text(kind, where, f"{action}/{name}", status, "carol",
                                         given=given, adapters=name))  # fmt: skip
                at += timedelta(milliseconds=300)


def _correction(lives: list[YearLife]) -> Callable[[dict[str, Marked]], str]:
    def text(marks: dict[str, Marked]) -> str:
        marked = marks["misbooked 0"]
        life = next(
            each for each in lives if each.place is NODES[0] and each.started.day == 31
            and each.booked == 0
        )  # fmt: skip
        assert life.stopped is not None
        return row_text(
            "CHECKPOINT", f"{life.module},{life.place.name}",
            f"correct/{marked.seq}/{marked.event_id}", "success", "alice",
            given=f"sha256:{marked.row_hash}", cost=str(life.real), code="CORRECTION",
            seconds=str(seconds_of(life.stopped - life.started)),
        )  # fmt: skip

    return text
