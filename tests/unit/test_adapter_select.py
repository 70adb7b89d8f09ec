"""Who gets which adapters: never another tenant's, and a reason for each that is left out."""

from __future__ import annotations

import pytest
from adapter_samples import digest, entry_of, version_of
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.adapters.select import select
from yoyo.model.adapter import AdapterBook, Registered, Stage
from yoyo.model.ids import ModuleId

ACME = ModuleId("acme")
BASE = digest(1)


def own(name: str, *tasks: str, stage: Stage = Stage.PROMOTED, base: int = 1) -> Registered:
    return entry_of(version_of(f"acme-{name}", tasks=tasks, base=base), Stage.EVAL_OK, stage)


def shared(name: str, *tasks: str) -> Registered:
    return entry_of(version_of(f"dka-{name}", module_id="dka", tasks=tasks))


def chosen(*entries: Registered, task: str = "", most: int = 3, who: ModuleId = ACME) -> list[str]:
    return [
        each.registered.adapter.id
        for each in select(who, task, BASE, AdapterBook(entries), most).stack
    ]


def test_shared_ones_come_first_then_the_tenants_each_by_identifier() -> None:
    entries = own("b"), shared("z"), own("a")
    assert chosen(*entries) == ["dka-z", "acme-a", "acme-b"]
    assert chosen(*reversed(entries)) == ["dka-z", "acme-a", "acme-b"]


def test_the_tenants_own_stay_when_there_are_too_many() -> None:
    entries = shared("a"), shared("b", "qa"), own("x"), own("y", "qa"), own("z")
    assert chosen(*entries, task="qa") == ["acme-x", "acme-y", "acme-z"]
    assert chosen(*entries, task="qa", most=1) == ["acme-y"]
    assert chosen(*entries[:3], task="qa", most=2) == ["dka-b", "acme-x"]
    assert chosen(*entries, most=99) == ["acme-x", "acme-y", "acme-z"]
    assert chosen(*entries, most=0) == []
    assert chosen(*entries, most=-1) == []
    left_out = dict(select(ACME, "qa", BASE, AdapterBook(entries)).refused)
    assert left_out == dict.fromkeys(
        ("dka-a@1.0.0", "dka-b@1.0.0"), "at most 3 at once, and others come first"
    )


def test_the_shared_tenant_itself_has_the_shared_ones() -> None:
    assert chosen(shared("a"), own("b"), who=ModuleId("dka")) == ["dka-a"]


def test_a_task_takes_what_is_for_it_or_for_any() -> None:
    entries = own("any"), own("qa", "qa", "sum"), own("mail", "mail")
    assert chosen(*entries, task="qa") == ["acme-any", "acme-qa"]
    assert chosen(*entries) == ["acme-any", "acme-mail", "acme-qa"]
    assert chosen(*entries, task="other") == ["acme-any"]


def test_each_chosen_one_has_its_scale_and_reason() -> None:
    entries = shared("a"), entry_of(version_of("acme-b", tasks=("qa",)), scale="0.25")
    found = select(ACME, "qa", BASE, AdapterBook(entries)).stack
    assert [(str(each.scale), each.reason) for each in found] == [
        ("1", "shared, for any task"), ("0.25", "of acme, for qa"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (own("a", stage=Stage.RETIRED), "it is retired, not promoted"),
        (own("a", stage=Stage.EVAL_OK), "it is eval_ok, not promoted"),
        (own("a", base=7), f"it is for the base {digest(7)}, and {BASE} is loaded"),
        (own("a", "qa", "sum"), "it is for qa, sum, not for mail"),
        (own("a")._replace(sign_off=""), "it has no sign-off of an evaluator"),
    ],
)
def test_each_one_left_out_has_its_reason(entry: Registered, why: str) -> None:
    found = select(ACME, "mail", BASE, AdapterBook((entry,)))
    assert found.stack == ()
    assert found.refused == (("acme-a@1.0.0", why),)


def test_an_unknown_base_suits_none() -> None:
    odd = own("a")._replace(adapter=own("a").adapter._replace(base=""))
    found = select(ACME, "", "", AdapterBook((odd,)))
    assert found.stack == ()
    assert "an unknown one is loaded" in found.refused[0][1]


def test_two_promoted_versions_of_one_adapter_are_none() -> None:
    two = entry_of(version_of("acme-a", "2.0.0"))
    found = select(ACME, "", BASE, AdapterBook((own("a"), two)))
    assert found.stack == ()
    assert [why for _, why in found.refused] == ["2 versions of acme-a are promoted at once"] * 2


def test_another_tenants_version_of_the_same_name_takes_nothing_away() -> None:
    mine = entry_of(version_of("a-b-x", module_id="a"))
    other = entry_of(version_of("a-b-x", "2.0.0", "a-b"))
    for who, one in (("a", mine), ("a-b", other)):
        found = select(ModuleId(who), "", BASE, AdapterBook((mine, other)))
        assert [each.registered for each in found.stack] == [one]
        assert found.refused == ()


TENANTS = st.sampled_from(("a", "a-b", "a-b-c", "b", "ab", "dk", "dka", "dkab"))


@st.composite
def an_entry(draw: st.DrawFn) -> Registered:
    module_id = draw(TENANTS)
    adapter = version_of(
        f"{module_id}-{draw(st.sampled_from(('b-x', 'b', 'c', 'x')))}",
        draw(st.sampled_from(("1.0.0", "2.0.0"))), module_id,
        base=draw(st.integers(1, 2)),
        tasks=tuple(draw(st.sets(st.sampled_from(("qa", "sum")), max_size=2))),
    )  # fmt: skip
    return entry_of(adapter, draw(st.sampled_from(list(Stage))))


@settings(max_examples=500)
@given(
    TENANTS.map(ModuleId), st.sampled_from(("", "qa", "mail")), st.lists(an_entry(), max_size=12),
    st.integers(-1, 5),
)  # fmt: skip
def test_another_tenants_adapter_is_never_chosen_nor_named(
    who: ModuleId, task: str, entries: list[Registered], most: int
) -> None:
    """Also where one tenant's name begins as another's, and identifiers look alike."""
    book = AdapterBook(tuple({each.adapter.name: each for each in entries}.values()))
    found = select(who, task, BASE, book, most)
    usable = {each.adapter.name for each in book.adapters if each.adapter.module_id in (who, "dka")}
    for each in found.stack:
        assert each.registered.adapter.module_id in (who, "dka")
        assert each.registered.stage is Stage.PROMOTED
        assert each.registered.adapter.base == BASE
    stack = {each.registered.adapter.name for each in found.stack}
    refused = [name for name, _ in found.refused]
    assert len(found.stack) <= max(0, min(most, 3))
    # Each of the tenant's and the shared ones is told, once; nothing else is.
    assert sorted([*stack, *refused]) == sorted(usable)
    # Whatever others have registered, it changes nothing, not even a word.
    alone = tuple(each for each in book.adapters if each.adapter.name in usable)
    assert found == select(who, task, BASE, AdapterBook(alone), most)
