"""What nobody needs any more is found in every zone, and only that is removed."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cloud import gce_node
from gce_clients import ZONE
from gce_parts import FORMER, LIFE, NAME, NEXT_LIFE, START, Rig, rig
from gce_state import Settings as CloudSettings
from sample_node import NODE

from yoyo.errors import CloudDenied, CloudUnavailable, NotSupported
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.machine import BootStep, Leftover
from yoyo.model.settings import NodeSettings, PriceSettings, Settings, StoreSettings
from yoyo.ops.context import Context
from yoyo.ops.sweep import SweepResult, sweep
from yoyo.wiring import context_for

HERE = "projects/lab-project"


class Quiet:
    """Progress that nobody watches."""

    def phase(self, name: str, detail: str = "") -> None: ...

    def note(self, text: str) -> None: ...

    def steps(self, steps: tuple[BootStep, ...]) -> None: ...


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


STORE = StoreSettings("file:///nowhere")


def settings_for(lab: Rig, *nodes: NodeSettings) -> Settings:
    place = lab.place / "one"
    return Settings(lab.place / "yoyo.yaml", place, place / "ledger.csv", "ann", None, nodes, STORE)


def context(lab: Rig, node: NodeSettings, live: str = "") -> Context:
    """What the command line would make; `live` is a life that is open in the ledger."""
    ctx = context_for(settings_for(lab, node), node, Quiet())
    if live:
        ctx.ledger.append(
            Entry(
                EventType.BOOT_REQUEST, node.module_id, node.name, live, CompletionStatus.PENDING,
                "ann",
            )
        )  # fmt: skip
    return ctx


def put(lab: Rig, path: str, **fields: Any) -> None:
    """Something that is there, however it came to be."""
    with lab.fake.cloud.changed:
        lab.fake.cloud.put(f"{HERE}/{path}", fields)


def put_one_of_each(lab: Rig, life: str = FORMER) -> None:
    labels = {"yoyo-node": "gone", "yoyo-module": "demo", "yoyo-request": life}
    put(lab, f"zones/{ZONE}/disks/yoyo-gone", kind="compute#disk", sizeGb="100", labels=labels)
    put(lab, "global/snapshots/yoyo-gone-move", kind="compute#snapshot", labels=labels)
    put(lab, "regions/us-east1/addresses/yoyo-gone", kind="compute#address", labels=labels)
    rule = {"kind": "compute#firewall", "allowed": [{"IPProtocol": "tcp"}]}
    put(lab, "global/firewalls/yoyo-engine-8443", **rule)
    put(lab, "global/firewalls/default-allow-ssh", **rule)
    put(lab, f"zones/{ZONE}/disks/photos", kind="compute#disk", sizeGb="10")
    put(lab, "global/snapshots/photos", kind="compute#snapshot", labels={"mine": "yes"})


def found(lab: Rig, *live: str, known: tuple[str, ...] = ("l4",)) -> list[Leftover]:
    return lab.machines().leftovers(lab.node, frozenset(live), frozenset(known))


def kinds(rows: tuple[Leftover, ...] | list[Leftover]) -> set[str]:
    return {f"{row.kind} {row.name} {row.place}" for row in rows}


def test_one_of_every_kind_is_found_and_nothing_of_others(lab: Rig) -> None:
    put_one_of_each(lab)
    rows = found(lab)
    assert kinds(rows) == {
        f"disk yoyo-gone {ZONE}",
        "snapshot yoyo-gone-move global",
        "address yoyo-gone us-east1",
        "firewall yoyo-engine-8443 global",
    }
    assert all(row.safe and row.why for row in rows)
    assert {row.request_id for row in rows} == {FORMER, ""}


def test_what_they_cost_a_month(lab: Rig) -> None:
    put_one_of_each(lab)
    priced = lab.node._replace(prices=PriceSettings(Decimal("0.71"), Decimal("0.10")))
    rows = lab.machines().leftovers(priced, frozenset(), frozenset())
    assert {row.kind: row.monthly_usd for row in rows} == {
        "disk": Decimal("10.00"),
        "snapshot": None,
        "address": None,
        "firewall": Decimal(0),
    }


def test_a_live_node_is_none_and_one_at_rest_neither(lab: Rig) -> None:
    lab.up()
    assert found(lab, LIFE) == []
    lab.down()
    assert found(lab) == []


def test_a_machine_that_no_open_life_accounts_for(lab: Rig) -> None:
    lab.up()
    (row,) = found(lab)
    assert (row.kind, row.request_id, row.safe) == ("instance", LIFE, False)
    assert "runs" in row.why


def test_a_machine_at_rest_whose_node_left_the_configuration(lab: Rig) -> None:
    lab.up()
    lab.down()
    (row,) = found(lab, known=("other",))
    assert (row.kind, row.safe) == ("instance", True)
    lab.machines().remove(lab.node, row)
    assert lab.zones() == lab.zones("disks") == []


def test_somebody_elses_machine_with_our_way_of_naming_is_none(lab: Rig) -> None:
    lab.foreign(purpose="training")
    assert found(lab, known=()) == []


def test_what_a_move_needs_is_none_while_it_is_under_way(lab: Rig) -> None:
    lab.up()
    lab.down()
    lab.fake.faults.add(START, zone=ZONE, operation_error="GPU_STOCKOUT", times=0)
    lab.machines().create(lab.but(relocate=True), NEXT_LIFE)
    assert [row for row in found(lab, NEXT_LIFE) if row.safe] == []


def test_an_old_place_that_a_move_left_is_found_but_not_called_safe(lab: Rig) -> None:
    lab.up()
    lab.down()
    lab.fake.faults.add(START, zone=ZONE, operation_error="GPU_STOCKOUT", times=0)
    lab.machines().create(lab.but(relocate=True), NEXT_LIFE)
    (row,) = [row for row in found(lab, NEXT_LIFE) if row.kind == "instance"]
    assert (row.place, row.safe) == (ZONE, False)
    assert "moved" in row.why
    lab.machines().remove(lab.node, row)
    assert ZONE not in lab.zones() + lab.zones("disks")


def test_somebody_elses_machine_in_another_zone_is_no_old_place(lab: Rig) -> None:
    lab.up()
    lab.foreign("us-east1-b")
    path = f"{HERE}/zones/us-east1-b/instances/{NAME}"
    with lab.fake.cloud.changed:
        lab.fake.cloud.resources[path]["status"] = "TERMINATED"
    assert found(lab, LIFE) == []


def test_a_hundred_zones_are_asked_in_one_call_a_kind(tmp_path: Path) -> None:
    zones = tuple(f"region{n}-{letter}" for n in range(25) for letter in "abcd")
    with rig(tmp_path, CloudSettings(zones=zones)) as lab:
        labels = {"yoyo-node": "gone", "yoyo-request": FORMER}
        for zone in zones:
            put(lab, f"zones/{zone}/disks/yoyo-gone", kind="compute#disk", labels=labels)
        before = len(lab.fake.calls)
        rows = found(lab)
        assert {row.place for row in rows} == set(zones)
        assert len(lab.fake.calls) - before == 5


def test_more_than_a_page_is_found_whole(lab: Rig) -> None:
    for number in range(620):
        put(lab, f"global/snapshots/yoyo-{number:03}", kind="compute#snapshot")
    assert len(found(lab)) == 620


@pytest.mark.parametrize(
    ("effect", "kind"),
    [({"http": 503, "times": 0}, CloudUnavailable), ({"http": 403}, CloudDenied)],
)
@pytest.mark.parametrize("collection", ["disks", "snapshots", "firewalls"])
def test_what_cannot_be_asked_for_leaves_nothing_certain(
    lab: Rig, collection: str, effect: dict[str, Any], kind: type[Exception]
) -> None:
    put_one_of_each(lab)
    lab.fake.faults.add(f"compute.{collection}.*ist", **effect)
    with pytest.raises(kind):
        found(lab)


# Through the command's use case.


def run(lab: Rig, ctx: Context, *, apply: bool = False, force: bool = False) -> SweepResult:
    return sweep(ctx, settings_for(lab, lab.node), apply=apply, force=force)


def test_without_apply_nothing_changes(lab: Rig) -> None:
    put_one_of_each(lab)
    before = dict(lab.fake.cloud.resources)
    result = run(lab, context(lab, lab.node))
    assert len(result.found) == 4
    assert (result.removed, result.kept) == ((), ())
    assert lab.fake.cloud.resources == before


def test_apply_removes_what_is_safe_and_force_the_rest(lab: Rig) -> None:
    lab.up(FORMER)
    put_one_of_each(lab)
    result = run(lab, context(lab, lab.node), apply=True)
    assert kinds(result.removed) == {
        f"disk yoyo-gone {ZONE}",
        "snapshot yoyo-gone-move global",
        "address yoyo-gone us-east1",
    }
    ((kept, why),) = result.kept
    assert (kept.kind, kept.request_id) == ("instance", FORMER)
    assert "--force" in why
    assert lab.instance()["status"] == "RUNNING"
    result = run(lab, context(lab, lab.node), apply=True, force=True)
    assert lab.zones() == []
    run(lab, context(lab, lab.node), apply=True)
    left = {path.rsplit("/", 1)[-1] for kind in ("disks", "snapshots") for path in
            lab.fake.paths(kind)}  # fmt: skip
    assert left == {"photos"}
    assert [p.rsplit("/", 1)[-1] for p in lab.fake.paths("firewalls")] == ["default-allow-ssh"]


def test_apply_never_touches_an_open_life_of_any_node(lab: Rig) -> None:
    ctx = context(lab, lab.node, live=LIFE)
    lab.up()
    second = gce_node(lab.fake, "other")
    lab.machines().create(second, NEXT_LIFE)
    context(lab, second, live=NEXT_LIFE)
    before = dict(lab.fake.cloud.resources)
    assert run(lab, ctx, apply=True, force=True).found == ()
    assert lab.fake.cloud.resources == before


def test_a_zone_that_is_silent_ends_it_before_anything_is_removed(lab: Rig) -> None:
    put_one_of_each(lab)
    lab.fake.settings.unreachable_zones = {"europe-west4-b"}
    with pytest.raises(CloudUnavailable):
        run(lab, context(lab, lab.node), apply=True, force=True)
    assert len(lab.fake.paths("disks")) == 2


def test_what_cannot_be_removed_is_told_and_the_rest_goes_on(lab: Rig) -> None:
    put_one_of_each(lab)
    lab.fake.faults.add("compute.disks.delete", http=403, reason="forbidden")
    result = run(lab, context(lab, lab.node), apply=True)
    ((kept, why),) = result.kept
    assert (kept.kind, kept.name) == ("disk", "yoyo-gone")
    assert "not removed" in why
    assert len(result.removed) == 3


def test_what_somebody_else_removed_meanwhile_counts_as_removed(lab: Rig) -> None:
    put_one_of_each(lab)
    for kind in ("disks", "snapshots", "addresses", "firewalls"):
        lab.fake.faults.add(f"compute.{kind}.delete", http=404, after=True)
    assert run(lab, context(lab, lab.node), apply=True).kept == ()


def test_a_local_node_has_nothing_to_sweep(lab: Rig) -> None:
    with pytest.raises(NotSupported):
        run(lab, context(lab, NODE))
