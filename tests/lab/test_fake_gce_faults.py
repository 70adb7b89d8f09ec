"""The fake GCE when things go wrong: planned faults, quotas, tokens, zones that are gone."""

from __future__ import annotations

import http.client
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_gce import FakeGce
from gce_clients import PROJECT, ZONE, Google, google_and_fake, google_for, gpu_instance
from gce_faults import Faults
from gce_state import Settings
from google.api_core import exceptions
from google.auth import jwt
from google.cloud import compute_v1

Lab = tuple[Google, FakeGce]
ENCODE: Any = jwt.encode
INSERT = "compute.instances.insert"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with google_and_fake(tmp_path) as both:
        yield both


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, exceptions.Unauthorized),
        (403, exceptions.Forbidden),
        (404, exceptions.NotFound),
        (409, exceptions.Conflict),
        (412, exceptions.PreconditionFailed),
        (429, exceptions.TooManyRequests),
        (503, exceptions.ServiceUnavailable),
    ],
)
def test_a_planned_status_comes_as_googles_error(
    lab: Lab, status: int, kind: type[exceptions.GoogleAPICallError]
) -> None:
    google, fake = lab
    # Google's client answers one 401 with a new token and asks again.
    fake.faults.add(INSERT, http=status, reason="planned", times=0)
    with pytest.raises(kind) as caught:
        google.insert(gpu_instance())
    assert caught.value.errors[0]["reason"] == "planned"
    assert fake.paths("instances") == []
    fake.faults.clear()
    google.up(gpu_instance())


@pytest.mark.parametrize("effect", [{"http": 503, "after": True}, {"reset": "after"}])
def test_an_insert_that_failed_may_have_happened(lab: Lab, effect: dict[str, Any]) -> None:
    google, fake = lab
    request_id = str(uuid.uuid4())
    fake.faults.add(INSERT, **effect)
    with pytest.raises((exceptions.ServiceUnavailable, OSError)):
        google.insert(gpu_instance(), request_id=request_id)
    assert len(fake.paths("instances")) == 1
    google.done(google.insert(gpu_instance(), request_id=request_id))
    assert len(fake.paths("instances")) == 1


def test_a_reset_before_the_effect_leaves_nothing(lab: Lab) -> None:
    google, fake = lab
    fake.faults.add(INSERT, reset="before")
    with pytest.raises(OSError, match=r"reset|aborted"):
        google.insert(gpu_instance())
    assert fake.paths("instances") == []


@pytest.mark.parametrize(
    "code",
    [
        "ZONE_RESOURCE_POOL_EXHAUSTED",
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        "REGION_RESOURCE_POOL_EXHAUSTED",
        "GPU_STOCKOUT",
        "UNSUPPORTED_OPERATION",
    ],
)
def test_a_stockout_is_inside_the_operation_and_leaves_nothing(lab: Lab, code: str) -> None:
    google, fake = lab
    fake.faults.add(INSERT, zone="us-central1-*", operation_error=code)
    begun = google.insert(gpu_instance())
    assert begun.status == compute_v1.Operation.Status.PENDING
    ended = google.done(begun)
    assert [error.code for error in ended.error.errors] == [code]
    assert fake.paths("instances") == fake.paths("disks") == []


@pytest.mark.parametrize(
    ("settings", "metric", "dimension"),
    [
        (Settings(quotas={"GPUS_ALL_REGIONS": 1}), "gpus_all_regions", {"global": "global"}),
        (
            Settings(region_quotas={"NVIDIA_L4_GPUS": 1}),
            "nvidia_l4_gpus",
            {"region": "us-central1"},
        ),
    ],
)
def test_one_machine_too_many_for_a_quota(
    tmp_path: Path, settings: Settings, metric: str, dimension: dict[str, str]
) -> None:
    with google_and_fake(tmp_path, settings) as (google, fake):
        google.up(gpu_instance("first"))
        error = google.done(google.insert(gpu_instance("second"))).error.errors[0]
        assert error.code == "QUOTA_EXCEEDED"
        info = error.error_details[0].quota_info
        assert (info.metric_name, dict(info.dimensions)) == (
            f"compute.googleapis.com/{metric}",
            dimension,
        )
        assert len(fake.paths("instances")) == 1
        google.done(google.instances.stop_unary(project=PROJECT, zone=ZONE, instance="first"))
        google.up(gpu_instance("second"))  # a stopped machine uses none


def test_a_start_without_capacity_leaves_the_machine_stopped(lab: Lab) -> None:
    google, fake = lab
    google.up(gpu_instance())
    google.done(google.instances.stop_unary(project=PROJECT, zone=ZONE, instance="node"))
    fake.faults.add("compute.instances.start", operation_error="ZONE_RESOURCE_POOL_EXHAUSTED")
    start = google.instances.start_unary(project=PROJECT, zone=ZONE, instance="node")
    assert google.done(start).error.errors
    assert google.get("node").status == "TERMINATED"


def test_the_platform_cap_may_not_be_armed(lab: Lab) -> None:
    google, fake = lab
    fake.faults.add(INSERT, drop_cap=True)
    found = google.up(
        gpu_instance(
            max_run_duration=compute_v1.Duration(seconds=60), instance_termination_action="STOP"
        )
    )
    assert found.scheduling.max_run_duration.seconds == 60
    assert not found.resource_status.scheduling.termination_timestamp


def test_a_wait_may_come_back_undone(lab: Lab) -> None:
    google, fake = lab
    fake.faults.add(INSERT, operation_s=30)
    fake.faults.add("compute.zoneOperations.wait", undone_wait=True)
    begun = google.insert(gpu_instance())
    waiter = google.client(compute_v1.ZoneOperationsClient)
    for _ in range(2):  # planned, and then by the wait's own limit
        seen = waiter.wait(project=PROJECT, zone=ZONE, operation=begun.name)
        assert seen.status == compute_v1.Operation.Status.RUNNING


def test_an_unreachable_zone_is_a_warning_in_lists_and_503_elsewhere(lab: Lab) -> None:
    google, fake = lab
    google.up(gpu_instance())
    fake.settings.unreachable_zones = {ZONE}
    scopes = dict(google.instances.aggregated_list(project=PROJECT))
    assert scopes[f"zones/{ZONE}"].warning.code == "UNREACHABLE"
    assert scopes["zones/us-east1-b"].warning.code == "NO_RESULTS_ON_PAGE"
    with pytest.raises(exceptions.ServiceUnavailable):
        google.instances.get(project=PROJECT, zone=ZONE, instance="node", retry=None)


def ask(fake: FakeGce, target: str, token: str, verb: str = "GET") -> int:
    """The status of a call as curl would make it."""
    connection = http.client.HTTPConnection("127.0.0.1", fake.port)
    try:
        connection.putrequest(verb, f"/compute/v1/projects/{PROJECT}/{target}")
        connection.putheader("Authorization", f"Bearer {token}")
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def granted(fake: FakeGce) -> str:
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}
    return str(fake.auth.grant(form)[1]["access_token"])


def test_aggregated_lists_may_insist_on_partial_success() -> None:
    settings = Settings(unreachable_zones={ZONE}, partial_lists=False)
    with FakeGce(settings) as fake:
        token = granted(fake)
        assert ask(fake, "aggregated/instances", token) == 503
        assert ask(fake, "aggregated/instances?returnPartialSuccess=true", token) == 200
        assert fake.violations == []


@pytest.mark.parametrize(
    ("verb", "target", "status"),
    [
        ("GET", "zones?colour=red", 400),
        ("GET", "zones?maxResults=many", 400),
        ("GET", "zones/Nowhere", 400),
        ("GET", "zone", 404),
        ("POST", f"zones/{ZONE}/instances/node/stop", 411),
    ],
)
def test_what_the_document_does_not_have_is_refused_and_recorded(
    verb: str, target: str, status: int
) -> None:
    with FakeGce() as fake:
        assert ask(fake, target, granted(fake), verb) == status
        assert bool(fake.violations) == (status != 411)  # refused before the API sees it


@pytest.mark.parametrize("sent", [b"", b'{"name": "half'])
def test_a_call_that_breaks_off_is_none(lab: Lab, sent: bytes) -> None:
    _, fake = lab
    head = (
        f"POST /compute/v1/projects/{PROJECT}/global/firewalls HTTP/1.1\r\n"
        f"Host: lab\r\nAuthorization: Bearer {granted(fake)}\r\nContent-Length: 500\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", fake.port)) as caller:
        caller.sendall(head.encode() + sent)
        caller.shutdown(socket.SHUT_WR)
        assert caller.recv(1000) == b""
    assert fake.violations == []
    assert fake.paths("firewalls") == []


def test_no_token_no_answer(lab: Lab) -> None:
    google, fake = lab
    token = granted(fake)
    assert [ask(fake, "zones", text) for text in (token, "", "ya29.other")] == [200, 401, 401]
    google.up(gpu_instance())
    fake.auth.revoked = True
    with pytest.raises(exceptions.Unauthorized):
        google.get("node")
    assert ask(fake, "zones", token) == 401


def test_only_its_own_key_signs_tokens(tmp_path: Path) -> None:
    with FakeGce() as fake:
        google = google_for(fake, tmp_path)
        google.up(gpu_instance())
        key = google.credentials.signer
        claims = {"iss": fake.auth.email, "exp": time.time() + 60}
        good = ENCODE(key, claims).decode()
        old = ENCODE(key, {**claims, "exp": time.time() - 1}).decode()
        other = ENCODE(key, {**claims, "iss": "somebody"}).decode()
        changed = good[:-8] + ("A" * 8)
        answers = [ask(fake, "zones", token) for token in (good, old, other, changed)]
        assert answers == [200, 401, 401, 401]


def test_rules_strike_at_their_call_and_as_often_as_they_say() -> None:
    faults = Faults()
    faults.add("compute.instances.*", zone="us-*", nth=2, times=2, http=503)
    calls = [faults.choose("compute.instances.get", "us-a", "n").http for _ in range(5)]
    assert calls == [0, 503, 503, 0, 0]
    assert faults.choose("compute.disks.get", "us-a", "n").http == 0
    assert faults.choose("compute.instances.get", "eu-a", "n").http == 0


def test_chance_is_the_same_for_the_same_seed() -> None:
    def row(seed: int) -> list[int]:
        faults = Faults()
        faults.load({"seed": seed, "rules": [{"probability": 0.5, "times": 0, "http": 503}]})
        return [faults.choose("m", "z", "n").http for _ in range(64)]

    assert row(1) == row(1) != row(2)
    assert set(row(1)) == {0, 503}


def test_a_plan_with_an_unknown_word_is_refused() -> None:
    faults = Faults()
    faults.add(http=503)
    with pytest.raises(ValueError, match="htpp"):
        faults.load({"rules": [{"htpp": 503}]})
    assert faults.choose("m", "z", "n").http == 503
