"""A trace over a real ledger, its proofs and its checkpoints: every link, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sample_node import NODE
from trace_parts import PROMPT, SIGNED, E, Story

from yoyo.core.boot_record import boot_record
from yoyo.drivers.files.checkpoints import FileCheckpoints
from yoyo.errors import TraceNotFound
from yoyo.model.ledger import BadRow, Row
from yoyo.model.row_filter import RowFilter
from yoyo.model.settings import Provided
from yoyo.ops.trace import Trace, TraceContext, trace
from yoyo.ops.trace_form import Facts

MANIFEST = "11" * 32
STORED = NODE._replace(from_store=Provided("qwen-32b", MANIFEST, (("model.gguf", 5, "22" * 32),)))


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def asked(story: Story, thing: str, price: str = "0.72") -> Trace:
    checkpoints = FileCheckpoints(story.path.with_suffix(".checkpoints"))
    prices = {"l4": Decimal(price) if price else None}
    return trace(
        TraceContext(story.ledger, story.proofs, checkpoints, story.clock.at, prices), thing
    )


def one(story: Story, thing: str) -> Facts:
    found = asked(story, thing)
    assert found.total == len(found.found) == 1
    return found.found[0]


def whole(story: Story) -> Row:
    """A life with all that can be known of it; gives the job's last row."""
    staged = f"sha256:{MANIFEST}"
    story.add(E.JOB_START, "stage/weights/qwen-32b", "store")
    story.add(E.JOB_COMPLETE, "stage/weights/qwen-32b", "store", input_hash=staged, operator="sam")
    name = f"register/{SIGNED.name}"
    story.add(E.JOB_START, name, "adapters", input_hash=SIGNED.digest)
    story.add(E.JOB_COMPLETE, name, "adapters", input_hash=SIGNED.digest, operator="rita")
    record = story.proofs.keep(boot_record(STORED, "0.6.0"))
    story.boot("life-1", record=record)
    story.load("life-1")
    done = story.job("job-1", adapter_versions=(SIGNED.name,))
    story.end("life-1")
    FileCheckpoints(story.path.with_suffix(".checkpoints")).keep(
        "00000000000000000012-aabbccdd", b"note"
    )
    return done


def test_the_whole_chain_is_known(story: Story) -> None:
    done = whole(story)
    facts = one(story, "job-1")
    assert facts.job is not None
    assert facts.job.rows == (done.seq - 1, done.seq)
    assert facts.job.seconds == Decimal("2.000")
    (adapter,) = facts.adapters
    assert (adapter.manifest, adapter.weights) == (SIGNED.digest, SIGNED.weights)
    assert adapter.signers == SIGNED.signers
    assert adapter.weighed_in
    assert adapter.registered is not None
    assert adapter.registered.operator == "rita"
    assert facts.life is not None
    assert (facts.life.job_id, facts.life.operator) == ("life-1", "olga")
    assert facts.boot is not None
    assert facts.boot.weights["manifest"] == f"sha256:{MANIFEST}"
    assert facts.weights_staged is not None
    assert facts.weights_staged.operator == "sam"
    assert facts.cost is not None
    assert facts.cost.price is not None
    assert facts.cost.price.version == "yoyo-2026-10"
    assert facts.cost.life_usd == Decimal("0.720000")
    assert facts.cost.job_usd == Decimal("0.000300000")  # 1.5 s of 3600 s that cost 0.72 USD
    assert facts.checkpoint is not None
    assert facts.checkpoint.size == 12
    assert facts.unknown == ("the digest of the engine: not known when the node started",)


@pytest.mark.parametrize("thing", ["event", "#seq", "seq", "input", "sha256", "start"])
def test_every_way_to_name_it_leads_to_the_same_job(story: Story, thing: str) -> None:
    done = whole(story)
    names = {
        "event": done.event_id,
        "#seq": f"#{done.seq}",
        "seq": str(done.seq),
        "input": PROMPT,
        "sha256": PROMPT.removeprefix("sha256:"),
        "start": f"#{done.seq - 1}",
    }
    assert one(story, names[thing]) == one(story, "job-1")


def test_a_life_by_its_id_and_by_any_of_its_rows(story: Story) -> None:
    whole(story)
    life = one(story, "life-1")
    assert life.kind == "life"
    assert life.job is None
    assert life.life is not None
    for seq in life.life.rows:
        assert one(story, f"#{seq}") == life


def test_an_old_ledger_says_what_it_does_not_know(story: Story) -> None:
    story.boot("life-1")
    story.job("job-1", adapter_versions=("demo-old@1.0.0",))
    facts = one(story, "job-1")
    told = " ".join(facts.unknown)
    for what in ("boot record", "demo-old@1.0.0", "the price", "no checkpoint"):
        assert what in told
    assert facts.cost is not None
    assert facts.cost.life_is == "estimate"
    assert facts.cost.job_usd == Decimal("0.000300000")


def test_an_open_life_without_a_price_costs_nobody_knows_what(story: Story) -> None:
    story.boot("life-1")
    story.job("job-1")
    (facts,) = asked(story, "job-1", price="").found
    assert facts.cost is not None
    assert (facts.cost.life_usd, facts.cost.job_usd, facts.cost.life_is) == (None, None, "unknown")


def test_corrections_take_effect_and_are_named(story: Story) -> None:
    story.boot("life-1")
    done = story.job("job-1")
    closing = story.end("life-1")
    story.correct(done, tokens=900, gpu_seconds=Decimal(3))
    story.correct(closing, cost_usd=Decimal("0.9"))
    last = story.correct(closing, cost_usd=Decimal("1.44"), billed=True)
    facts = one(story, "job-1")
    assert facts.job is not None
    assert (facts.job.tokens, facts.job.gpu_seconds) == (900, Decimal(3))
    assert facts.cost is not None
    assert (facts.cost.life_usd, facts.cost.life_is) == (Decimal("1.44"), "billed")
    assert facts.cost.job_usd == Decimal("0.001200000")
    assert [each.in_force for each in facts.corrections] == [True, False, True]
    assert facts.corrections[-1].seq == last.seq
    assert facts.corrections[-1].reason == "the-bill"


def test_a_correction_of_another_rows_hash_changes_nothing(story: Story) -> None:
    story.boot("life-1")
    done = story.job("job-1")
    forged = done._replace(row_hash="f" * 64)
    story.correct(forged, tokens=1)
    facts = one(story, "job-1")
    assert facts.job is not None
    assert facts.job.tokens == 500
    assert facts.corrections[0].problem


def test_several_jobs_of_one_input_are_all_told_newest_last(story: Story) -> None:
    story.boot("life-1")
    for n in range(25):
        story.job(f"job-{n}")
    found = asked(story, PROMPT)
    assert found.total == 25
    assert [f.job.job_id for f in found.found if f.job] == [f"job-{n}" for n in range(5, 25)]
    assert "25 found" in found.notes[0]


def test_two_nodes_do_not_mix(story: Story) -> None:
    story.boot("life-1")
    story.boot("life-2", node="l5")
    story.job("job-1", node="l5")
    story.end("life-1")
    facts = one(story, "job-1")
    assert facts.life is not None
    assert (facts.life.job_id, facts.life.status) == ("life-2", "open")


def test_a_guards_stop_is_named(story: Story) -> None:
    story.boot("life-1")
    story.job("job-1")
    story.end("life-1", kind=E.PREEMPTION)
    facts = one(story, "job-1")
    assert facts.life is not None
    assert facts.life.status == "preempted"


def test_work_on_the_store_has_no_machine_and_says_nothing_of_one(story: Story) -> None:
    whole(story)
    facts = one(story, "stage/weights/qwen-32b")
    assert facts.life is None
    assert facts.cost is None
    assert not any("boot" in each for each in facts.unknown)


def test_a_row_leads_to_the_one_run_of_a_job_that_was_run_again(story: Story) -> None:
    seqs = []
    for _ in range(3):
        seqs.append(story.add(E.JOB_START, "gc", "store").seq)
        story.add(E.JOB_COMPLETE, "gc", "store")
    assert asked(story, "gc").total == 3
    job = one(story, f"#{seqs[1]}").job
    assert job is not None
    assert job.rows == (seqs[1], seqs[1] + 1)


def test_a_proof_that_is_not_the_one_named_counts_as_missing(story: Story) -> None:
    whole(story)
    for path in story.path.with_suffix(".proofs").iterdir():
        path.write_bytes(b"{}")
    facts = one(story, "job-1")
    assert facts.boot is None
    assert facts.cost is not None
    assert facts.cost.price is None
    told = " ".join(facts.unknown)
    assert told.count("no such document") == 3


def test_a_record_of_another_kind_is_said_to_be_unreadable(story: Story) -> None:
    story.boot("life-1", record=story.proof({"_type": "something else"}))
    story.job("job-1")
    facts = one(story, "job-1")
    assert any("the boot record cannot be read" in each for each in facts.unknown)


def test_damage_elsewhere_is_noted_and_does_not_hide_the_job(story: Story) -> None:
    whole(story)
    lines = story.path.read_bytes().splitlines(keepends=True)
    lines[1] = b"damaged\n"
    story.path.write_bytes(b"".join(lines))
    found = asked(story, "job-1")
    assert len(found.found) == 1
    assert "no rows" in found.notes[0]


@pytest.mark.parametrize(
    "thing",
    ["", "#", "#0", "#99", "#x", "job-9", "ab" * 32, "-5", "x" * 5000, "\x1b[31m", "9" * 40],
)
def test_what_is_not_there_is_not_found(story: Story, thing: str) -> None:
    whole(story)
    with pytest.raises(TraceNotFound) as caught:
        asked(story, thing)
    assert caught.value.what.isprintable()
    assert len(caught.value.what) < 300


class Counting:
    """A ledger that counts how often it is read through."""

    def __init__(self, story: Story) -> None:
        self.story, self.passes = story, 0

    def matching(self, wanted: RowFilter) -> Iterator[Row | BadRow]:
        self.passes += 1
        assert not wanted.is_empty
        return self.story.ledger.matching(wanted)


def test_a_job_takes_three_passes_at_most(story: Story) -> None:
    whole(story)
    counted = Counting(story)
    context = TraceContext(counted, story.proofs, None, story.clock.at, {})  # type: ignore[arg-type]
    assert trace(context, "job-1").total == 1
    assert counted.passes == 3
