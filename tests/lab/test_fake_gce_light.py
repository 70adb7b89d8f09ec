"""The light host: it publishes what nodes publish, and yoyo's client talks to its engine."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fake_gce import FakeGce
from gce_clients import PROJECT, ZONE, Google, google_for, gpu_instance
from gce_guest import metadata_tree
from google.cloud import compute_v1
from light_host import LightHost
from node_state import decode

from yoyo.drivers.llamacpp.client import LlamaServerClient
from yoyo.model.engine import Completion, Health
from yoyo.model.ids import Secret
from yoyo.model.machine import Endpoint

REQUEST = "0190f0e0-0000-7000-8000-000000000001"
KEY = "k" * 64
Lab = tuple[Google, FakeGce, LightHost]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    host = LightHost()
    with FakeGce(host=host) as fake:
        yield google_for(fake, tmp_path), fake, host
        assert fake.violations == []


def attributes(fake: FakeGce) -> dict[str, str]:
    with fake.cloud.changed:
        found = fake.cloud.vms[fake.cloud.instance_path("node")].attributes
        return decode(found.get("yoyo/state", ""))


def wait_for(fake: FakeGce, name: str, value: str) -> dict[str, str]:
    with fake.cloud.changed:
        assert fake.cloud.changed.wait_for(lambda: attributes(fake).get(name) == value, 30), (
            attributes(fake)
        )
    return attributes(fake)


def sealed(key: str, public_pem: str, request: str = REQUEST) -> str:
    public = serialization.load_pem_public_key(public_pem.encode())
    assert isinstance(public, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), request.encode())
    return base64.b64encode(public.encrypt(key.encode(), oaep)).decode()


def give_key(google: Google, fake: FakeGce, key: str, request: str = REQUEST) -> None:
    found = google.get("node")
    metadata = {item.key: item.value for item in found.metadata.items}
    metadata["yoyo-key"] = sealed(key, attributes(fake)["seal-key"], request)
    wanted = compute_v1.Metadata(
        fingerprint=found.metadata.fingerprint,
        items=[compute_v1.Items(key=k, value=v) for k, v in metadata.items()],
    )
    google.done(
        google.instances.set_metadata_unary(
            project=PROJECT, zone=ZONE, instance="node", metadata_resource=wanted
        )
    )


def endpoint(google: Google, fake: FakeGce, key: str = KEY) -> Endpoint:
    address = google.get("node").network_interfaces[0].access_configs[0].nat_i_p
    return Endpoint(f"https://{address}:8443", Secret(key), attributes(fake)["cert-sha256"])


def up(google: Google, fake: FakeGce) -> None:
    google.up(gpu_instance(metadata={"yoyo-request": REQUEST}))
    wait_for(fake, "step-key", "running 0 0 waiting for the key")


def test_a_node_comes_up_serves_and_is_stopped(lab: Lab) -> None:
    google, fake, _ = lab
    up(google, fake)
    assert attributes(fake)["phase"] == "running"
    give_key(google, fake, KEY)

    found = wait_for(fake, "phase", "ready")

    assert found["request"] == REQUEST
    assert found["guards"] == "dead-man=900 lifetime=28800"
    assert found["key-sha256"] == hashlib.sha256(KEY.encode()).hexdigest()
    der = ssl.PEM_cert_to_DER_cert(found["cert"])
    assert found["cert-sha256"] == hashlib.sha256(der).hexdigest()
    at, client = endpoint(google, fake), LlamaServerClient()
    assert client.health(at) is Health.OK
    assert client.model_name(at) == "light"
    load = client.load(at)
    assert (load.processing, load.deferred, load.error) == (0, 0, "")
    *pieces, end = client.complete(at, "How are you", max_tokens=16, timeout=30)
    assert isinstance(end, Completion)
    assert end.text == "".join(str(piece) for piece in pieces)
    assert (end.prompt_tokens, end.completion_tokens) == (3, 4)
    assert "401" in client.load(endpoint(google, fake, "w" * 64)).error
    serial = google.instances.get_serial_port_output(project=PROJECT, zone=ZONE, instance="node")
    assert "yoyo: step engine done" in serial.contents

    google.done(google.instances.stop_unary(project=PROJECT, zone=ZONE, instance="node"))

    assert client.health(at) is Health.UNREACHABLE


def test_a_new_key_takes_the_place_of_the_old_one(lab: Lab) -> None:
    google, fake, _ = lab
    up(google, fake)
    give_key(google, fake, KEY)
    wait_for(fake, "phase", "ready")
    give_key(google, fake, "n" * 64)
    wait_for(fake, "key-sha256", hashlib.sha256(b"n" * 64).hexdigest())
    client = LlamaServerClient()
    assert client.load(endpoint(google, fake, "n" * 64)).error == ""
    assert "401" in client.load(endpoint(google, fake)).error


def test_a_key_sealed_for_another_life_is_not_taken(lab: Lab) -> None:
    google, fake, _ = lab
    up(google, fake)
    give_key(google, fake, KEY, request="0190f0e0-0000-7000-8000-000000000002")
    wait_for(fake, "phase", "failed key")


def test_a_node_started_again_has_a_boot_id_of_its_own(lab: Lab) -> None:
    google, fake, _ = lab
    up(google, fake)
    give_key(google, fake, KEY)
    first = wait_for(fake, "phase", "ready")["boot-id"]
    google.done(google.instances.stop_unary(project=PROJECT, zone=ZONE, instance="node"))
    google.done(google.instances.start_unary(project=PROJECT, zone=ZONE, instance="node"))
    with fake.cloud.changed:
        assert fake.cloud.changed.wait_for(
            lambda: attributes(fake)["boot-id"] != first and attributes(fake)["phase"] == "ready",
            30,
        )
    assert LlamaServerClient().health(endpoint(google, fake)) is Health.OK


def test_an_engine_that_still_loads(lab: Lab) -> None:
    google, fake, host = lab
    host.engine_ready = lambda _: False
    up(google, fake)
    give_key(google, fake, KEY)
    wait_for(fake, "step-unit", "done 100 0 ok")
    assert LlamaServerClient().health(endpoint(google, fake)) is Health.LOADING
    assert attributes(fake)["phase"] == "running"


def test_the_metadata_tree_is_googles(lab: Lab) -> None:
    google, fake, _ = lab
    up(google, fake)
    with fake.cloud.changed:
        path = fake.cloud.instance_path("node")
        tree = json.loads(json.dumps(metadata_tree(fake.cloud, fake.cloud.resources[path])))
    assert tree["instance"]["zone"] == f"projects/123456789012/zones/{ZONE}"
    assert tree["instance"]["attributes"] == {"yoyo-request": REQUEST}
    assert str(tree["instance"]["id"]) == str(google.get("node").id)
    assert tree["project"]["projectId"] == PROJECT
