"""Every intent and its outcome, and what is said where one lacks the other."""

from __future__ import annotations

import pytest
from ledger_lines import CYCLE, E, entry, ledger, verify

from yoyo.core import ledger_pairing
from yoyo.model.ledger import (
    Entry,
)

PAIRING: list[tuple[str, list[Entry], list[str], list[str]]] = [
    ("boot failed", [entry(E.BOOT_REQUEST), entry(E.TEARDOWN_COMPLETE)], [], []),
    ("boot preempted", [entry(E.BOOT_REQUEST), entry(E.PREEMPTION)], [], []),
    ("up is no open intent", [entry(E.BOOT_REQUEST), entry(E.BOOT_COMPLETE)], [], []),
    (
        "stopped by a guard",
        [entry(E.BOOT_REQUEST), entry(E.BOOT_COMPLETE), entry(E.PREEMPTION)],
        [],
        [],
    ),
    ("unknown machine removed", [entry(E.TEARDOWN_REQUEST), entry(E.TEARDOWN_COMPLETE)], [], []),
    (
        "down while booting",
        [entry(E.BOOT_REQUEST), entry(E.TEARDOWN_REQUEST), entry(E.TEARDOWN_COMPLETE)],
        [],
        [],
    ),
    ("boot open", [entry(E.BOOT_REQUEST)], [], ["BOOT_REQUEST"]),
    ("job open", [entry(E.JOB_START, "j")], [], ["JOB_START"]),
    (
        "teardown open",
        [entry(E.BOOT_REQUEST), entry(E.BOOT_COMPLETE), entry(E.TEARDOWN_REQUEST)],
        [],
        ["TEARDOWN_REQUEST"],
    ),
    ("a second life", [entry(E.BOOT_REQUEST), entry(E.TEARDOWN_COMPLETE)] * 2, [], []),
    (
        "two nodes, one id",
        [entry(E.BOOT_REQUEST), entry(E.BOOT_REQUEST, node="node-2")],
        [],
        ["BOOT_REQUEST", "BOOT_REQUEST"],
    ),
    ("outcome alone", [entry(E.BOOT_COMPLETE)], ["BOOT_COMPLETE of life-1"], []),
    ("end alone", [entry(E.TEARDOWN_COMPLETE)], ["TEARDOWN_COMPLETE of life-1"], []),
    ("preemption alone", [entry(E.PREEMPTION)], ["PREEMPTION of life-1"], []),
    ("job end alone", [entry(E.JOB_COMPLETE, "j")], ["JOB_COMPLETE of j without"], []),
    (
        "second job end",
        [entry(E.JOB_START, "j"), entry(E.JOB_COMPLETE, "j"), entry(E.JOB_COMPLETE, "j")],
        ["JOB_COMPLETE of j without"],
        [],
    ),
    ("second job", [entry(E.JOB_START, "j")] * 2, ["a second JOB_START of j"], ["JOB_START"]),
    (
        "second boot",
        [entry(E.BOOT_REQUEST)] * 2,
        ["BOOT_REQUEST of life-1 on node-1 after BOOT_REQUEST"],
        ["BOOT_REQUEST"],
    ),
    (
        "second boot outcome",
        [entry(E.BOOT_REQUEST), entry(E.BOOT_COMPLETE), entry(E.BOOT_COMPLETE)],
        ["after BOOT_COMPLETE"],
        [],
    ),
    (
        "second teardown request",
        [entry(E.TEARDOWN_REQUEST)] * 2,
        ["after TEARDOWN_REQUEST"],
        ["TEARDOWN_REQUEST"],
    ),
    (
        "teardown nobody asked for",
        [entry(E.BOOT_REQUEST), entry(E.BOOT_COMPLETE), entry(E.TEARDOWN_COMPLETE)],
        ["TEARDOWN_COMPLETE of life-1 on node-1 after BOOT_COMPLETE"],
        [],
    ),
    (
        "these stand alone",
        [entry(kind, "") for kind in (E.CHECKPOINT, E.ADAPTER_LOAD, E.KV_POOL_SYNC)] * 2,
        [],
        [],
    ),
]


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize(
    ("entries", "problems", "still_open"),
    [case[1:] for case in PAIRING],
    ids=[c[0] for c in PAIRING],
)
def test_pairing(
    entries: list[Entry], problems: list[str], still_open: list[str], batch: int
) -> None:
    report = verify(ledger(entries), batch=batch)
    assert len(report.problems) == len(problems)
    for bad, text in zip(report.problems, problems, strict=True):
        assert text in bad.reason
    assert [intent.event_type for intent in report.open_intents] == still_open
    assert report.ok is (not problems)


def test_an_open_intent_says_where_it_stands() -> None:
    (intent,) = verify(ledger([*CYCLE, entry(E.JOB_START, 'a,"b"', "node-9")])).open_intents
    assert (intent.line, intent.node_id, intent.job_id) == (9, "node-9", 'a,"b"')
    assert intent.timestamp == "2026-11-21T12:00:08.000000Z"


def test_open_intents_beyond_the_limit_are_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_pairing, "MAX_OPEN", 10)
    jobs = [f"job-{n}" for n in range(30)]
    entries = [entry(E.JOB_START, job) for job in jobs] + [entry(E.BOOT_REQUEST)]
    entries += [entry(E.JOB_COMPLETE, job) for job in jobs] + [entry(E.BOOT_COMPLETE)]
    for batch in (0, 1):
        report = verify(ledger(entries), batch=batch)
        (bad,) = report.problems
        assert "more than 10 lives and jobs" in bad.reason
        assert bad.line == 12
        assert not report.ok
