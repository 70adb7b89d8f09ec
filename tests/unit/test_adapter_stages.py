"""The stages of an adapter's version: any order of steps, and never one in use without sign-off."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest
from adapter_samples import START, digest, entry_of, ref_of, version_of
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from yoyo.core.adapters.book import parse_book
from yoyo.core.adapters.book_form import EMPTY, entry_text
from yoyo.core.adapters.stages import promote, register, reject, retire, rollback
from yoyo.errors import AdapterStageWrong
from yoyo.model.adapter import AdapterBook, Registered, Stage

ONE, TWO, THREE = (version_of(version=text) for text in ("1.0.0", "2.0.0", "3.0.0"))
AT = START + timedelta(days=1)


def merged(book: AdapterBook, changed: Sequence[Registered]) -> AdapterBook:
    found = {each.adapter.name: each for each in book.adapters}
    found.update({each.adapter.name: each for each in changed})
    return AdapterBook(tuple(found.values()))


def stages(book: AdapterBook) -> dict[str, str]:
    return {each.adapter.version: str(each.stage) for each in book.adapters}


def evaluated(*versions: int) -> AdapterBook:
    book = AdapterBook()
    for number in versions:
        adapter = version_of(version=f"{number}.0.0")
        book = merged(book, register(
            book, adapter, ref_of(number), sign_off=digest(90 + number), result="passed", at=AT,
            by="dora",
        ))  # fmt: skip
    return book


def in_use(*versions: int) -> AdapterBook:
    """Promoted one after the other."""
    book = evaluated(*sorted(set(versions)))
    for number in versions:
        book = merged(book, promote(book, f"acme-support@{number}.0.0", at=AT, by="dora"))
    return book


@pytest.mark.parametrize(
    ("result", "stage"),
    [("", Stage.EVAL_PENDING), ("passed", Stage.EVAL_OK), ("failed", Stage.REJECTED)],
)
def test_a_new_version_stands_where_its_evaluation_puts_it(result: str, stage: Stage) -> None:
    sign_off = digest(9) if result else ""
    (entry,) = register(
        AdapterBook(), ONE, ref_of(3), sign_off=sign_off, result=result, at=AT, by="dora",
        notes="new", scale=Decimal("0.5"),
    )  # fmt: skip
    assert entry.stage is stage
    assert [(step.stage, step.at, step.by) for step in entry.history] == [(stage, AT, "dora")]
    assert (entry.sign_off, entry.notes, entry.scale) == (sign_off, "new", Decimal("0.5"))
    assert entry.digest == digest(3)


def test_a_sign_off_that_comes_later_moves_it_on_and_keeps_the_rest() -> None:
    book = AdapterBook((entry_of(
        ONE, Stage.EVAL_PENDING, sign_off=None, scale="0.5", notes="kept"),))  # fmt: skip
    (entry,) = register(book, ONE, ref_of(3), sign_off=digest(9), result="passed", at=AT, by="eva")
    assert entry.stage is Stage.EVAL_OK
    assert [str(step.stage) for step in entry.history] == ["eval_pending", "eval_ok"]
    assert (entry.sign_off, entry.scale, entry.notes) == (digest(9), Decimal("0.5"), "kept")
    again = register(
        AdapterBook((entry,)), ONE, ref_of(3), sign_off=digest(9), result="passed", at=AT, by="eva"
    )
    assert again == []


@pytest.mark.parametrize("stage", [s for s in Stage if s is not Stage.REJECTED])
def test_a_failed_evaluation_rejects_it_wherever_it_stands(stage: Stage) -> None:
    book = AdapterBook((entry_of(ONE, stage),))
    (entry,) = register(book, ONE, ref_of(3), sign_off=digest(9), result="failed", at=AT, by="e")
    assert (entry.stage, entry.sign_off) == (Stage.REJECTED, digest(9))


@pytest.mark.parametrize("stage", [Stage.EVAL_OK, Stage.PROMOTED, Stage.RETIRED, Stage.REJECTED])
def test_another_statement_does_not_replace_the_one_that_counted(stage: Stage) -> None:
    book = AdapterBook((entry_of(ONE, stage),))
    with pytest.raises(AdapterStageWrong) as caught:
        register(book, ONE, ref_of(3), sign_off=digest(9), result="passed", at=AT, by="eva")
    assert digest(4) in caught.value.why


def test_a_version_never_stands_for_another_artefact() -> None:
    book = AdapterBook((entry_of(ONE, Stage.EVAL_PENDING, sign_off=None),))
    with pytest.raises(AdapterStageWrong) as caught:
        register(book, ONE, ref_of(77), sign_off="", result="", at=AT, by="dora")
    assert digest(3) in caught.value.why
    assert digest(77) in caught.value.why
    with pytest.raises(AdapterStageWrong):
        register(book, version_of(base=55), ref_of(3), sign_off="", result="", at=AT, by="dora")


def test_an_identifier_belongs_to_one_tenant() -> None:
    book = AdapterBook((entry_of(version_of("a-b-x", module_id="a")),))
    with pytest.raises(AdapterStageWrong) as caught:
        register(
            book, version_of("a-b-x", "2.0.0", "a-b"), ref_of(5), sign_off="", result="", at=AT,
            by="dora",
        )  # fmt: skip
    assert "another tenant" in caught.value.why


def test_another_registry_with_the_same_artefact_is_only_another_address() -> None:
    book = AdapterBook((entry_of(ONE),))
    ref = f"mirror.example.com/adapters@{digest(3)}"
    (entry,) = register(book, ONE, ref, sign_off="", result="", at=AT, by="dora")
    assert entry == book.adapters[0]._replace(ref=ref)
    assert register(book, ONE, ref_of(3), sign_off="", result="", at=AT, by="dora") == []


@pytest.mark.parametrize(("sign_off", "result"), [("", "passed"), ("x", ""), ("x", "maybe")])
def test_a_result_and_its_statement_belong_together(sign_off: str, result: str) -> None:
    with pytest.raises(ValueError, match="statement"):
        register(AdapterBook(), ONE, ref_of(3), sign_off=sign_off, result=result, at=AT, by="d")


def test_promoting_retires_the_one_before() -> None:
    book = in_use(1, 2)
    assert stages(book) == {"1.0.0": "retired", "2.0.0": "promoted"}
    assert promote(book, TWO.name, at=AT, by="dora") == []


@pytest.mark.parametrize("stage", [Stage.EVAL_PENDING, Stage.REJECTED])
def test_only_what_was_evaluated_is_promoted(stage: Stage) -> None:
    book = AdapterBook((entry_of(ONE, stage),))
    with pytest.raises(AdapterStageWrong) as caught:
        promote(book, ONE.name, at=AT, by="dora")
    assert str(stage) in caught.value.why
    assert caught.value.fix


@pytest.mark.parametrize("stage", [Stage.EVAL_OK, Stage.RETIRED])
def test_nothing_is_promoted_on_the_word_of_the_stage_alone(stage: Stage) -> None:
    book = AdapterBook((entry_of(ONE, stage, sign_off=None),))
    with pytest.raises(AdapterStageWrong) as caught:
        promote(book, ONE.name, at=AT, by="dora")
    assert caught.value.why == f"It is {stage}, and no sign-off is registered for it."
    # Neither `rollback` nor `register` would take it: the way out must not name them.
    with pytest.raises(AdapterStageWrong):
        rollback(book, ONE.id, at=AT, by="dora")
    with pytest.raises(AdapterStageWrong) as again:
        register(book, ONE, ref_of(3), sign_off=digest(9), result="passed", at=AT, by="dora")
    assert "yoyo adapters" not in caught.value.fix + again.value.fix


def test_a_rollback_can_be_undone() -> None:
    book = in_use(1, 2)
    book = merged(book, rollback(book, ONE.id, at=AT, by="dora"))
    book = merged(book, promote(book, TWO.name, at=AT, by="dora"))
    assert stages(book) == {"1.0.0": "retired", "2.0.0": "promoted"}
    # And again: the way back is as it was.
    book = merged(book, rollback(book, ONE.id, at=AT, by="dora"))
    assert stages(book) == {"1.0.0": "promoted", "2.0.0": "retired"}


def test_what_was_retired_before_it_was_ever_in_use_can_be_promoted() -> None:
    book = in_use(1)
    book = merged(book, [entry_of(TWO, Stage.EVAL_OK, Stage.RETIRED, artefact=8)])
    book = merged(book, promote(book, TWO.name, at=AT, by="dora"))
    assert stages(book) == {"1.0.0": "retired", "2.0.0": "promoted"}


def test_no_way_out_leads_in_a_circle() -> None:
    """Where rolling back is refused, promoting what its fix names is not."""
    book = in_use(1, 2, 1)
    with pytest.raises(AdapterStageWrong) as caught:
        rollback(book, ONE.id, at=AT, by="dora")
    assert f"yoyo adapters promote {ONE.id}@VERSION" in caught.value.fix
    book = merged(book, promote(book, TWO.name, at=AT, by="dora"))
    assert stages(book) == {"1.0.0": "retired", "2.0.0": "promoted"}


def test_what_is_not_registered_has_no_stage() -> None:
    for step in (promote, retire, reject):
        with pytest.raises(AdapterStageWrong, match="not registered"):
            step(AdapterBook(), ONE.name, at=AT, by="dora")
    with pytest.raises(AdapterStageWrong, match="not rolled back"):
        rollback(AdapterBook(), "acme-support", at=AT, by="dora")


def test_retiring_and_rejecting() -> None:
    for stage in (Stage.PROMOTED, Stage.EVAL_OK):
        (entry,) = retire(AdapterBook((entry_of(ONE, stage),)), ONE.name, at=AT, by="dora")
        assert entry.stage is Stage.RETIRED
        assert retire(AdapterBook((entry,)), ONE.name, at=AT, by="dora") == []
    for stage in (Stage.EVAL_PENDING, Stage.REJECTED):
        with pytest.raises(AdapterStageWrong):
            retire(AdapterBook((entry_of(ONE, stage),)), ONE.name, at=AT, by="dora")
    for stage in Stage:
        told = reject(AdapterBook((entry_of(ONE, stage),)), ONE.name, at=AT, by="dora")
        assert [str(each.stage) for each in told] == ["rejected"] * (stage is not Stage.REJECTED)


def test_rolling_back_goes_back_and_never_forward() -> None:
    book = in_use(1, 2, 3)
    for expected in ("2.0.0", "1.0.0"):
        book = merged(book, rollback(book, "acme-support", at=AT, by="dora"))
        assert [v for v, stage in stages(book).items() if stage == "promoted"] == [expected]
    with pytest.raises(AdapterStageWrong) as caught:
        rollback(book, "acme-support", at=AT, by="dora")
    assert "before the present one" in caught.value.why


def test_rolling_back_passes_by_what_was_rejected() -> None:
    book = in_use(1, 2, 3)
    book = merged(book, reject(book, TWO.name, at=AT, by="dora"))
    book = merged(book, rollback(book, "acme-support", at=AT, by="dora"))
    assert stages(book) == {"1.0.0": "promoted", "2.0.0": "rejected", "3.0.0": "retired"}


def test_rolling_back_brings_back_what_was_retired_by_mistake() -> None:
    book = in_use(1, 2)
    book = merged(book, retire(book, TWO.name, at=AT, by="dora"))
    book = merged(book, rollback(book, "acme-support", at=AT, by="dora"))
    assert stages(book) == {"1.0.0": "retired", "2.0.0": "promoted"}


def test_another_adapter_is_left_alone() -> None:
    other = entry_of(version_of("acme-other"))
    book = merged(AdapterBook((other,)), in_use(1, 2).adapters)
    for changed in (
        rollback(book, "acme-support", at=AT, by="dora"),
        retire(book, TWO.name, at=AT, by="dora"),
    ):
        assert other.adapter.name not in [each.adapter.name for each in changed]


def test_a_clock_that_was_put_back_does_not_mix_up_who_came_first() -> None:
    book = evaluated(1, 2)
    book = merged(book, promote(book, ONE.name, at=AT, by="dora"))
    book = merged(book, promote(book, TWO.name, at=AT - timedelta(hours=1), by="dora"))
    book = merged(book, rollback(book, "acme-support", at=AT - timedelta(days=1), by="dora"))
    assert stages(book) == {"1.0.0": "promoted", "2.0.0": "retired"}
    assert parse_book(EMPTY + "".join(map(entry_text, book.adapters))) == book


IDS = st.sampled_from(("acme-a", "acme-b"))
VERSIONS = st.sampled_from(("1.0.0", "1.1.0", "2.0.0"))


class Stages(RuleBasedStateMachine):
    """Any order of any steps, with a clock that runs as it likes."""

    book = AdapterBook()
    before = AdapterBook()

    @initialize()
    def begin(self) -> None:
        self.book = self.before = AdapterBook()

    def take(self, changed: Sequence[Registered]) -> None:
        self.before, self.book = self.book, merged(self.book, changed)

    @rule(
        id_=IDS, version=VERSIONS, artefact=st.integers(1, 2), statement=st.integers(8, 9),
        result=st.sampled_from(("", "passed", "failed")), minutes=st.integers(0, 5),
    )  # fmt: skip
    def enter(
        self, id_: str, version: str, artefact: int, statement: int, result: str, minutes: int
    ) -> None:
        adapter = version_of(id_, version)
        try:
            self.take(register(
                self.book, adapter, ref_of(artefact), result=result, by="dora",
                sign_off=digest(statement) if result else "", at=START + timedelta(minutes=minutes),
            ))  # fmt: skip
        except AdapterStageWrong:
            pass

    @rule(
        step=st.sampled_from((promote, retire, reject)), id_=IDS, version=VERSIONS,
        minutes=st.integers(0, 5),
    )  # fmt: skip
    def move(self, step: object, id_: str, version: str, minutes: int) -> None:
        assert callable(step)
        at = START + timedelta(minutes=minutes)
        try:
            self.take(step(self.book, f"{id_}@{version}", at=at, by="dora"))
        except AdapterStageWrong:
            pass

    @rule(id_=IDS, minutes=st.integers(0, 5))
    def back(self, id_: str, minutes: int) -> None:
        at = START + timedelta(minutes=minutes)
        try:
            changed = rollback(self.book, id_, at=at, by="dora")
        except AdapterStageWrong:
            return
        came = changed[-1]
        assert came.stage is Stage.PROMOTED
        assert Stage.PROMOTED in {step.stage for step in came.history[:-1]}
        self.take(changed)
        for left in changed[:-1]:
            undone = promote(self.book, left.adapter.name, at=at, by="dora")
            assert [(each.adapter, each.stage) for each in undone] == [
                (came.adapter, Stage.RETIRED), (left.adapter, Stage.PROMOTED),
            ]  # fmt: skip

    @invariant()
    def at_most_one_is_in_use(self) -> None:
        promoted = [each.adapter.id for each in self.book.adapters if each.stage is Stage.PROMOTED]
        assert len(promoted) == len(set(promoted))

    @invariant()
    def nothing_is_in_use_without_an_evaluation(self) -> None:
        for each in self.book.adapters:
            if each.stage is Stage.PROMOTED:
                assert each.sign_off
                assert Stage.EVAL_OK in {step.stage for step in each.history}

    @invariant()
    def history_only_grows(self) -> None:
        for each in self.before.adapters:
            now = self.book.find(each.adapter.name)
            assert now is not None
            assert now.history[: len(each.history)] == each.history
            assert now.digest == each.digest

    @invariant()
    def whatever_has_its_sign_off_can_be_promoted(self) -> None:
        for each in self.book.adapters:
            able = each.stage in (Stage.EVAL_OK, Stage.RETIRED) and bool(each.sign_off)
            if able or each.stage is Stage.PROMOTED:
                assert able == bool(promote(self.book, each.adapter.name, at=START, by="dora"))
                continue
            with pytest.raises(AdapterStageWrong) as caught:
                promote(self.book, each.adapter.name, at=START, by="dora")
            assert "rollback" not in caught.value.fix

    @invariant()
    def what_was_rejected_stays_so(self) -> None:
        for each in self.book.adapters:
            steps = [step.stage for step in each.history]
            assert Stage.REJECTED not in steps[:-1]

    @invariant()
    def the_file_could_hold_it(self) -> None:
        if self.book.adapters:
            assert parse_book(EMPTY + "".join(map(entry_text, self.book.adapters))) == self.book


TestStages = Stages.TestCase
