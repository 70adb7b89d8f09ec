"""The fake GCE under Google's own client: instances from insert to delete."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_gce import FakeGce
from gce_clients import PROJECT, ZONE, Google, google_and_fake, google_for, gpu_instance
from gce_state import Settings
from google.api_core import exceptions
from google.cloud import compute_v1

Lab = tuple[Google, FakeGce]
NODE: Any = {"project": PROJECT, "zone": ZONE, "instance": "node"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with google_and_fake(tmp_path) as both:
        yield both


def seconds_until(text: str, begin: str) -> float:
    return (datetime.fromisoformat(text) - datetime.fromisoformat(begin)).total_seconds()


def test_insert_gives_a_running_machine_with_what_google_adds(lab: Lab) -> None:
    google, _ = lab
    begun = google.insert(gpu_instance(labels={"yoyo": "a"}, metadata={"k": "v"}))
    assert begun.status == compute_v1.Operation.Status.PENDING
    assert (begun.operation_type, begun.error.errors) == ("insert", [])

    google.done(begun)

    found = google.get("node")
    assert found.status == "RUNNING"
    assert str(found.id) == str(begun.target_id)
    assert found.labels == {"yoyo": "a"}
    assert [(item.key, item.value) for item in found.metadata.items] == [("k", "v")]
    assert found.guest_accelerators[0].accelerator_type.endswith("/nvidia-l4")
    assert found.scheduling.provisioning_model == "STANDARD"
    assert found.network_interfaces[0].access_configs[0].nat_i_p
    assert datetime.fromisoformat(found.last_start_timestamp).utcoffset() == timedelta(hours=-8)
    disk = google.disks.get(project=PROJECT, zone=ZONE, disk="node")
    assert (disk.status, disk.size_gb, list(disk.users)) == ("READY", 100, [found.self_link])


def test_stop_keeps_the_disk_and_gives_up_the_external_address(lab: Lab) -> None:
    google, _ = lab
    google.up(gpu_instance())
    stop = google.instances.stop_unary(**NODE)
    google.done(stop)
    found = google.get("node")
    assert found.status == "TERMINATED"
    assert not found.network_interfaces[0].access_configs[0].nat_i_p
    assert seconds_until(found.last_stop_timestamp, found.last_start_timestamp) >= 0
    assert google.disks.get(project=PROJECT, zone=ZONE, disk="node").status == "READY"

    google.done(google.instances.start_unary(**NODE))

    again = google.get("node")
    assert again.status == "RUNNING"
    assert again.network_interfaces[0].network_i_p == found.network_interfaces[0].network_i_p
    assert seconds_until(again.last_start_timestamp, found.last_stop_timestamp) >= 0


def test_delete_of_a_running_machine_removes_its_disks(lab: Lab) -> None:
    google, fake = lab
    google.up(gpu_instance())
    google.done(google.instances.delete_unary(**NODE))
    with pytest.raises(exceptions.NotFound):
        google.get("node")
    assert fake.paths("disks") == []


def test_a_disk_without_auto_delete_outlives_its_machine(lab: Lab) -> None:
    google, _ = lab
    instance = gpu_instance()
    instance.disks[0].auto_delete = False
    google.up(instance)
    google.done(google.instances.delete_unary(**NODE))
    disk = google.disks.get(project=PROJECT, zone=ZONE, disk="node")
    assert list(disk.users) == []
    google.done(google.disks.delete_unary(project=PROJECT, zone=ZONE, disk="node"))


def test_the_same_request_id_has_one_effect(lab: Lab) -> None:
    google, fake = lab
    request_id = str(uuid.uuid4())
    first = google.insert(gpu_instance(), request_id=request_id)
    second = google.insert(gpu_instance(), request_id=request_id)
    assert first.name == second.name
    google.done(first)
    assert len(fake.paths("instances")) == 1
    assert [o["operationType"] for o in fake.operations("node")] == ["insert"]
    with pytest.raises(exceptions.BadRequest, match="used for another request"):
        google.insert(gpu_instance("other"), request_id=request_id)


@pytest.mark.parametrize("text", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_a_request_id_must_be_a_uuid(lab: Lab, text: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="requestId"):
        lab[0].insert(gpu_instance(), request_id=text)


def test_a_name_is_taken_once(lab: Lab) -> None:
    google, _ = lab
    google.up(gpu_instance())
    with pytest.raises(exceptions.Conflict) as caught:
        google.insert(gpu_instance())
    assert caught.value.errors[0]["reason"] == "alreadyExists"


def test_metadata_and_labels_need_the_current_fingerprint(lab: Lab) -> None:
    google, _ = lab
    found = google.up(gpu_instance(metadata={"k": "1"}, labels={"a": "1"}))
    wanted = compute_v1.Metadata(
        fingerprint=found.metadata.fingerprint, items=[compute_v1.Items(key="k", value="2")]
    )
    google.done(google.instances.set_metadata_unary(**NODE, metadata_resource=wanted))
    with pytest.raises(exceptions.PreconditionFailed) as caught:
        google.instances.set_metadata_unary(**NODE, metadata_resource=wanted)
    assert caught.value.errors[0]["reason"] == "conditionNotMet"
    labels = compute_v1.InstancesSetLabelsRequest(
        label_fingerprint=found.label_fingerprint, labels={"a": "2"}
    )
    resource: Any = {"instances_set_labels_request_resource": labels}
    google.done(google.instances.set_labels_unary(**NODE, **resource))
    with pytest.raises(exceptions.PreconditionFailed):
        google.instances.set_labels_unary(**NODE, **resource)
    after = google.get("node")
    assert [item.value for item in after.metadata.items] == ["2"]
    assert after.labels == {"a": "2"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"scheduling": compute_v1.Scheduling()}, "live migration"),
        ({"labels": {"Upper": "x"}}, "format constraints"),
        ({"name": "Upper"}, "must be a match of regex|Must be a match"),
        ({"machine_type": "zones/us-central1-a/machineTypes/g9"}, "does not exist"),
        ({"machine_type": "zones/us-east1-b/machineTypes/g2-standard-4"}, "another zone"),
        ({"disks": []}, "boot disk"),
    ],
)
def test_what_google_refuses_is_refused(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    with FakeGce() as fake:
        google = google_for(fake, tmp_path)
        instance = gpu_instance()
        for name, value in change.items():
            setattr(instance, name, value)
        with pytest.raises(exceptions.BadRequest, match=f"(?i){why}"):
            google.insert(instance)
        assert fake.paths("instances") == fake.paths("disks") == []


def test_the_old_name_of_the_accelerator_is_not_found(lab: Lab) -> None:
    instance = gpu_instance()
    instance.guest_accelerators = [
        compute_v1.AcceleratorConfig(
            accelerator_type=f"zones/{ZONE}/acceleratorTypes/nvidia-tesla-l4", accelerator_count=1
        )
    ]
    with pytest.raises(exceptions.NotFound, match="nvidia-tesla-l4"):
        lab[0].insert(instance)


def test_a_run_time_limit_is_read_back_and_ends_the_machine(tmp_path: Path) -> None:
    with google_and_fake(tmp_path, Settings(min_run_duration_s=1)) as (google, fake):
        limited = gpu_instance(
            max_run_duration=compute_v1.Duration(seconds=1), instance_termination_action="STOP"
        )
        found = google.up(limited)
        fires = found.resource_status.scheduling.termination_timestamp
        assert seconds_until(fires, found.last_start_timestamp) == pytest.approx(1, abs=0.1)
        stopped = fake.wait_for("node", "TERMINATED")
        assert "terminationTimestamp" not in stopped["resourceStatus"]["scheduling"]
        assert fake.operations("node")[-1]["user"] == "system"


def test_no_limit_no_termination_timestamp(lab: Lab) -> None:
    found = lab[0].up(gpu_instance())
    assert not found.resource_status.scheduling.termination_timestamp


@pytest.mark.parametrize("seconds", [29, 120 * 24 * 3600 + 1])
def test_a_run_time_limit_has_limits(lab: Lab, seconds: int) -> None:
    limit = compute_v1.Duration(seconds=seconds)
    with pytest.raises(exceptions.BadRequest, match="maxRunDuration"):
        lab[0].insert(gpu_instance(max_run_duration=limit, instance_termination_action="STOP"))


def test_preemption_host_error_and_power_off_leave_their_operation(lab: Lab) -> None:
    google, fake = lab
    spot: Any = {"provisioning_model": "SPOT", "instance_termination_action": "STOP"}
    google.up(gpu_instance("taken", **spot))
    google.up(gpu_instance("broken", automatic_restart=False))
    google.up(gpu_instance("off"))
    fake.preempt("taken")
    fake.host_error("broken")
    fake.power_off("off")
    for name, kind in (
        ("taken", "compute.instances.preempted"),
        ("broken", "compute.instances.hostError"),
        ("off", "compute.instances.guestTerminate"),
    ):
        stopped = fake.wait_for(name, "TERMINATED")
        operations = google.client(compute_v1.ZoneOperationsClient).list(
            compute_v1.ListZoneOperationsRequest(
                project=PROJECT, zone=ZONE, filter=f"targetId={stopped['id']}"
            )
        )
        last = list(operations)[-1]
        assert (last.operation_type, last.user) == (kind, "system")


def test_a_broken_host_restarts_what_wants_it(lab: Lab) -> None:
    google, fake = lab
    first = google.up(gpu_instance(automatic_restart=True)).last_start_timestamp
    fake.host_error("node")
    with fake.cloud.changed:
        assert fake.cloud.changed.wait_for(
            lambda: (
                len(fake.operations("node")) == 3
                and fake.operations("node")[-1]["status"] == "DONE"
            ),
            30,
        )
    assert fake.operations("node")[-1]["operationType"] == "compute.instances.automaticRestart"
    again = google.get("node")
    assert again.status == "RUNNING"
    assert again.last_start_timestamp != first


def test_guest_attributes_by_folder_and_by_key(lab: Lab) -> None:
    google, fake = lab
    google.up(gpu_instance())

    def ask(**query: str) -> compute_v1.GuestAttributes:
        request = compute_v1.GetGuestAttributesInstanceRequest(**NODE, **query)
        return google.instances.get_guest_attributes(request)

    with pytest.raises(exceptions.NotFound, match="of type 'Guest Attribute'"):
        ask(query_path="yoyo/")
    fake.put_guest_attribute("node", "yoyo", "phase", "ready")
    fake.put_guest_attribute("node", "hostkeys", "ssh-ed25519", "AAAA")
    items = ask(query_path="yoyo/").query_value.items
    assert [(i.namespace, i.key, i.value) for i in items] == [("yoyo", "phase", "ready")]
    assert ask(variable_key="yoyo/phase").variable_value == "ready"


def test_serial_output_goes_on_where_it_was_left(lab: Lab) -> None:
    google, fake = lab
    google.up(gpu_instance())
    fake.write_serial("node", "one\n")
    first = google.instances.get_serial_port_output(**NODE)
    fake.write_serial("node", "two\n")
    request = compute_v1.GetSerialPortOutputInstanceRequest(**NODE, start=first.next_)
    second = google.instances.get_serial_port_output(request)
    assert (first.contents, second.contents) == ("one\n", "two\n")
    fake.write_serial("node", "x" * (1 << 20))
    late = google.instances.get_serial_port_output(**NODE)
    assert (late.start, len(late.contents)) == (8, 1 << 20)


def test_operations_on_one_machine_run_in_the_order_they_came(lab: Lab) -> None:
    google, fake = lab
    fake.faults.add("compute.instances.insert", operation_s=0.2)  # the delete would be done first
    begun = google.insert(gpu_instance())
    ended = google.instances.delete_unary(**NODE)
    assert not google.done(begun).error.errors
    assert not google.done(ended).error.errors
    assert fake.paths("instances") == fake.paths("disks") == []
