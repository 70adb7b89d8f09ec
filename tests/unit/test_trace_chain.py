"""The two passes of a trace: what was asked about, and which life it belongs to."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_lines import NOON, entry

from yoyo.core.boot_record import flat, read_boot_record
from yoyo.core.manifest_fields import ManifestError
from yoyo.core.trace import (
    MAX_SUBJECTS,
    Subject,
    as_digest,
    covering,
    gather,
    job_of_output,
    link,
    target_of,
)
from yoyo.core.uuid7 import uuid7
from yoyo.model.ledger import CORRECTION, BadRow, Entry, EventType, Row

E = EventType


def row(seq: int, item: Entry) -> Row:
    at = NOON + timedelta(seconds=seq)
    event_id = uuid7(int(at.timestamp() * 1000), seq.to_bytes(10, "big"))
    return Row(item, event_id, at, seq, f"{seq:064x}", seq + 1)


def rows(*items: Entry) -> list[Row]:
    return [row(seq, item) for seq, item in enumerate(items, 1)]


def test_both_rows_of_a_job_are_one_subject() -> None:
    found = gather(rows(entry(E.JOB_START, "j"), entry(E.JOB_COMPLETE, "j")))
    assert found.total == 1
    (job,) = found.subjects
    assert job.start is not None
    assert job.complete is not None
    assert (job.kind, job.anchor, job.last_seq) == ("job", 1, 2)


def test_a_job_id_that_is_used_again_is_another_job() -> None:
    pair = (entry(E.JOB_START, "stage/x"), entry(E.JOB_COMPLETE, "stage/x"))
    found = gather(rows(*pair, *pair))
    assert [each.last_seq for each in found.subjects] == [2, 4]
    assert [each.last_seq for each in gather(rows(*pair, *pair), holding=3).subjects] == [4]


def test_a_life_is_one_subject_however_many_rows_it_has() -> None:
    found = gather(rows(entry(E.BOOT_REQUEST), entry(E.BOOT_COMPLETE), entry(E.TEARDOWN_REQUEST)))
    assert [(each.kind, each.job_id) for each in found.subjects] == [("life", "life-1")]


def test_bad_rows_are_counted_and_the_rest_still_found() -> None:
    bad = BadRow(2, "no row", b"x")
    found = gather([*rows(entry(E.JOB_START, "j")), bad])
    assert (found.total, found.bad_rows) == (1, 1)


def test_of_many_the_newest_are_kept_in_constant_memory() -> None:
    def many(count: int) -> Iterator[Row]:
        for n in range(count):
            yield row(2 * n + 1, entry(E.JOB_START, f"job-{n}"))
            yield row(2 * n + 2, entry(E.JOB_COMPLETE, f"job-{n}"))

    def peak(count: int) -> int:
        tracemalloc.start()
        found = gather(many(count))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.total == count
        assert [each.job_id for each in found.subjects] == [
            f"job-{n}" for n in range(count - MAX_SUBJECTS, count)
        ]
        assert all(each.complete is not None for each in found.subjects)
        return top

    peak(5_000)  # what Python itself keeps for later is there from now on
    assert peak(20_000) < 2 * peak(5_000)


def test_a_job_belongs_to_the_life_that_was_open_and_to_its_load_until_then() -> None:
    done = rows(
        entry(E.BOOT_REQUEST, "life-1"),
        entry(E.ADAPTER_LOAD, "life-1"),
        entry(E.JOB_START, "a"),
        entry(E.ADAPTER_LOAD, "life-1"),
        entry(E.TEARDOWN_REQUEST, "life-1"),
        entry(E.TEARDOWN_COMPLETE, "life-1"),
        entry(E.JOB_START, "between"),
        entry(E.BOOT_REQUEST, "life-2"),
        entry(E.JOB_START, "b"),
    )
    subjects = [s for s in gather(done).subjects if s.kind == "job"]
    chains = {each.subject.job_id: each for each in link(subjects, done)}
    first, between, second = chains["a"], chains["between"], chains["b"]
    assert first.life is not None
    assert first.life.job_id == "life-1"
    assert first.life.closing is not None
    assert first.life.closing.seq == 6
    assert first.load is not None
    assert first.load.seq == 2
    assert between.life is None
    assert second.life is not None
    assert second.life.job_id == "life-2"
    assert second.load is None


def test_corrections_of_its_rows_come_along_and_no_others() -> None:
    def fix(seq: int) -> Entry:
        event = row(seq, entry(E.JOB_START)).event_id
        return entry(E.CHECKPOINT, f"correct/{seq}/{event}/why")._replace(error_code=CORRECTION)

    done = rows(
        entry(E.BOOT_REQUEST),
        entry(E.JOB_START, "a"),
        entry(E.JOB_COMPLETE, "a"),
        entry(E.JOB_START, "b"),
        entry(E.JOB_COMPLETE, "b"),
        entry(E.TEARDOWN_COMPLETE),
        fix(3),
        fix(5),
        fix(6),
        fix(1),
    )
    subject = next(s for s in gather(done).subjects if s.job_id == "a")
    (chain,) = link([subject], done)
    assert [each.seq for each in chain.corrections] == [7, 9]


Act = tuple[str, int]  # what happens, on which node


@given(st.lists(st.tuples(st.sampled_from(["boot", "end", "job", "load"]), st.integers(0, 1))))
def test_every_job_gets_the_life_that_a_naive_reader_gives_it(acts: list[Act]) -> None:
    items: list[Entry] = []
    life = ["", ""]
    wanted: dict[str, tuple[str, int]] = {}
    loaded = [0, 0]
    for number, (act, place) in enumerate(acts, 1):
        node = f"node-{place}"
        if act == "boot" and not life[place]:
            life[place], loaded[place] = f"life-{number}", 0
            items.append(entry(E.BOOT_REQUEST, life[place], node))
        elif act == "end" and life[place]:
            items.append(entry(E.PREEMPTION, life[place], node))
            life[place] = ""
        elif act == "load" and life[place]:
            items.append(entry(E.ADAPTER_LOAD, life[place], node))
            loaded[place] = len(items)
        else:
            items.append(entry(E.JOB_START, f"job-{number}", node))
            wanted[f"job-{number}"] = (life[place], loaded[place] if life[place] else 0)
    done = rows(*items)
    found = gather(done, most=1_000)
    subjects = [each for each in found.subjects if each.kind == "job"]
    got = {
        chain.subject.job_id: (
            chain.life.job_id if chain.life is not None else "",
            chain.load.seq if chain.load is not None else 0,
        )
        for chain in link(subjects, done)
    }
    assert got == wanted


def test_a_subject_of_a_life_gets_the_whole_life() -> None:
    done = rows(entry(E.BOOT_REQUEST), entry(E.BOOT_COMPLETE), entry(E.PREEMPTION))
    (chain,) = link([Subject("life", "node-1", "life-1", 2)], done)
    assert chain.life is not None
    assert chain.life.request is not None
    assert chain.life.closing is not None


@pytest.mark.parametrize(
    ("names", "seq", "wanted"),
    [
        ([], 1, None),
        (["00000000000000000005-aabbccdd"], 5, 5),
        (["00000000000000000005-aabbccdd"], 6, None),
        (["00000000000000000009-00000000", "00000000000000000007-ffffffff"], 6, 7),
        (["tree.json", "7-aabbccdd", "00000000000000000007-AABBCCDD"], 6, None),
    ],
)
def test_the_smallest_checkpoint_that_covers(
    names: list[str], seq: int, wanted: int | None
) -> None:
    found = covering(names, seq)
    assert (found[1] if found is not None else None) == wanted


def test_digests_with_and_without_their_prefix() -> None:
    assert as_digest("ab" * 32) == as_digest("sha256:" + "ab" * 32) == "sha256:" + "ab" * 32
    for text in ("", "ab" * 31, "AB" * 32, "sha512:" + "ab" * 32, "ab" * 32 + "\nx"):
        assert as_digest(text) is None


def test_the_job_of_a_saved_answer() -> None:
    assert job_of_output(json.dumps({"job_id": "j-1", "completion": {}}).encode()) == "j-1"
    for document in (b"", b"[1]", b"{}", b'{"job_id": 3}', b'{"job_id": ""}', b"\xff", b"[" * 9999):
        assert job_of_output(document) is None
    assert job_of_output(json.dumps({"job_id": "x" * 9999}).encode()) is None


def test_only_corrections_name_a_target() -> None:
    plain = row(3, entry(E.CHECKPOINT, "correct/1/" + "0" * 36))
    assert target_of(plain) is None


@given(st.binary(max_size=200))
def test_a_hostile_boot_record_is_refused_and_nothing_else(document: bytes) -> None:
    with pytest.raises(ManifestError):
        read_boot_record(document)


def test_a_record_keeps_no_nested_and_no_long_values() -> None:
    assert flat({"a": 1, "b": "x", "c": None, "d": [1], "e": "y" * 5000}) == {
        "a": 1,
        "b": "x",
        "c": None,
    }
    assert flat([1]) == {}
