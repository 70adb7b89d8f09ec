"""What Google keeps on record of nodes, read back and held against the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest
from gce_clients import ZONE, gpu_instance
from gce_parts import FORMER, LIFE, NAME, STOP, Rig, rig
from gce_state import Settings as CloudSettings
from ledger_parts import open_ledger

from yoyo.drivers.gce.memory import parse_time
from yoyo.drivers.gce.records import runs_of
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.reconcile import FindingKind, Reconciliation
from yoyo.ops.reconcile import Asked, Means, reconcile
from yoyo.ports.machines import Machines
from yoyo.ports.platform_records import HasRecords

K = FindingKind
LABELS = {"yoyo-node": "l4", "yoyo-module": "demo", "yoyo-request": FORMER}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def compare(lab: Rig) -> Reconciliation:
    means = Means(
        open_ledger(lab.place / "ledger.csv"),
        lambda node: cast(Machines, lab.machines()),
        None,
        "ann",
    )
    return reconcile(means, Asked((lab.node,), every_node=True))


def write(lab: Rig, kind: EventType, life: str = LIFE, **more: object) -> None:
    pending = kind in (EventType.BOOT_REQUEST, EventType.TEARDOWN_REQUEST)
    status = CompletionStatus.PENDING if pending else CompletionStatus.SUCCESS
    entry = Entry(kind, "demo", "l4", life, status, "ann")
    open_ledger(lab.place / "ledger.csv").append(entry._replace(**more))  # type: ignore[arg-type]


def kinds(result: Reconciliation) -> list[FindingKind]:
    return [each.kind for each in result.findings]


def test_a_node_that_is_up_in_both_agrees(lab: Rig) -> None:
    write(lab, EventType.BOOT_REQUEST)
    lab.up()
    result = compare(lab)
    assert result.agrees is True, result
    assert result.compared_lives == 1


def test_the_driver_has_the_ability(lab: Rig) -> None:
    lab.google.up(gpu_instance("web-1", ZONE, labels={}), ZONE)
    machines = lab.machines()
    assert isinstance(machines, HasRecords)
    assert machines.records_scope(lab.node).startswith("project lab-project")
    lab.up()
    said = machines.records(lab.node)
    [machine] = said.machines
    assert (machine.name, machine.place, machine.node_id) == (NAME, ZONE, "l4")
    assert (machine.request_id, machine.runs, machine.stopped_at) == (LIFE, True, None)
    assert machine.started_at == parse_time(lab.instance()["lastStartTimestamp"])
    [disk] = said.disks
    assert (disk.name, disk.in_use, disk.request_id) == (NAME, True, LIFE)


def test_a_machine_without_rows_is_found(lab: Rig) -> None:
    lab.up()
    assert kinds(compare(lab)) == [K.MACHINE_WITHOUT_ROWS]


def test_an_open_life_whose_machine_was_removed_is_found(lab: Rig) -> None:
    write(lab, EventType.BOOT_REQUEST)
    write(lab, EventType.BOOT_COMPLETE)
    assert kinds(compare(lab)) == [K.ROWS_WITHOUT_MACHINE]


def closed(lab: Rig, seconds: int) -> None:
    """The node ran that long by Google's word; the ledger says an hour."""
    write(lab, EventType.BOOT_REQUEST)
    lab.up()
    lab.down()
    stopped = parse_time(lab.instance()["lastStopTimestamp"])
    assert stopped is not None
    lab.alter(lastStartTimestamp=(stopped - timedelta(seconds=seconds)).isoformat())
    write(lab, EventType.TEARDOWN_COMPLETE, gpu_seconds=Decimal(3600))


def test_times_as_google_has_them_agree(lab: Rig) -> None:
    closed(lab, 3600)
    # What the machine itself says goes before the log, whose start is the real one here.
    assert compare(lab).agrees is True


def test_times_that_differ_are_found_once(lab: Rig) -> None:
    closed(lab, 7200)
    found = compare(lab).findings
    assert [each.kind for each in found] == [K.TIMES_DIFFER]
    assert found[0].actual == 7200


def test_starts_and_stops_in_the_log_make_runs(lab: Rig) -> None:
    lab.up()
    lab.down()
    [run] = lab.machines().records(lab.node).runs
    assert run.node_id == "l4"
    assert run.started_at <= run.stopped_at
    assert STOP in {call.method for call in lab.fake.calls}


def test_a_disk_that_was_left_behind_is_found(lab: Rig) -> None:
    with lab.fake.cloud.changed:
        lab.fake.cloud.put(
            f"projects/lab-project/zones/{ZONE}/disks/yoyo-l4-left",
            {"kind": "compute#disk", "sizeGb": "100", "labels": LABELS},
        )
        lab.fake.cloud.put(
            f"projects/lab-project/zones/{ZONE}/disks/photos",
            {"kind": "compute#disk", "sizeGb": "10"},
        )
    [finding] = compare(lab).findings
    assert finding.kind is K.DISK_LEFT
    assert "yoyo-l4-left" in finding.what


def test_a_zone_that_does_not_answer_is_no_agreement(tmp_path: Path) -> None:
    settings = CloudSettings(unreachable_zones={ZONE})
    with rig(tmp_path, settings) as lab:
        write(lab, EventType.BOOT_REQUEST)
        result = compare(lab)
    assert result.agrees is None
    assert result.findings == ()
    assert any("instances" in each for each in result.unknown)


def operation(kind: str, at: str, name: str = NAME, **more: object) -> dict[str, object]:
    target = f"https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/{name}"
    return {"operationType": kind, "targetLink": target, "endTime": at, **more}


def test_only_operations_that_happened_make_runs() -> None:
    first, second = "2026-10-01T08:00:00-07:00", "2026-10-01T16:00:00Z"
    runs = runs_of([
        operation("compute.instances.preempted", second),
        operation("insert", "2026-10-01T15:10:00Z", error={"errors": [{"code": "STOCKOUT"}]}),
        operation("insert", first),
        operation("setLabels", "2026-10-01T15:30:00Z"),
        operation("insert", "2026-10-01T14:00:00Z", "web-1"),
        operation("stop", "2026-10-01T17:00:00Z"),
        operation("start", "2026-10-01T18:00:00Z"),
    ])  # fmt: skip
    assert [(run.node_id, run.started_at, run.stopped_at) for run in runs] == [
        ("l4", parse_time(first), parse_time(second))
    ]
