"""What a node says is hearsay: a hostile one can neither break nor deceive its controller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gce_parts import FORMER, LIFE, Rig, rig
from hypothesis import example, given
from hypothesis import strategies as st
from light_host import identity
from node_state import encode

from yoyo.drivers.gce import guest
from yoyo.drivers.gce.keys import BadSealKey, seal
from yoyo.model.machine import MachineState, StopCause

KEYS = (
    "request", "seal-key", "cert-sha256", "guards", "phase", "boot-id", "key-sha256",
    "stop-cause", "clock", "step-guards", "step-weights", "step-", "step-../../etc", "tail-weights",
)  # fmt: skip
ANY = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text()))
VALUES = st.one_of(
    st.text(),
    st.sampled_from(
        [
            "failed weights",
            "failed ../../etc/passwd",
            "running 50 3 half",
            "done 999 9999999 \x1b[2J\x1b]0;owned\x07",
            "dead-man=900 lifetime=28800",
            "dead-man=999999999999",
            f"{LIFE} lifetime",
            LIFE,
            "0" * 64,
        ]
    ),
)
STATES = st.one_of(
    st.text(),
    st.dictionaries(st.sampled_from(KEYS), VALUES).map(encode),
    st.lists(st.tuples(st.sampled_from(KEYS), VALUES)).map(
        lambda pairs: "\n".join(f"{key} {value}" for key, value in pairs)
    ),
)
ITEMS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"namespace": st.just("yoyo"), "key": st.just("state"), "value": STATES}
        ),
        st.fixed_dictionaries(
            {"namespace": st.just("hostkeys"), "key": st.text(), "value": st.text()}
        ),
        st.dictionaries(st.sampled_from(("namespace", "key", "value", "x")), ANY),
    ),
    max_size=5,
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def said(**values: str) -> guest.Guest:
    named = {key.replace("_", "-"): value for key, value in values.items()}
    return guest.read([{"namespace": "yoyo", "key": "state", "value": encode(named)}])


def texts(value: Any) -> Iterator[str]:
    """Every text in a reading, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from texts(each)


@given(ITEMS)
def test_whatever_it_says_can_be_read_and_is_bounded(items: list[dict[str, Any]]) -> None:
    read = guest.read(items)
    assert all(len(text) <= 32_768 for text in texts(read))
    assert len(read.steps) <= 32
    for step in read.steps:
        assert step.state in ("running", "done", "skipped", "failed")
        assert 0 <= step.percent <= 100
        assert 0 <= step.seconds < 10_000_000
        assert len(step.message) <= 400
    assert len(read.tail) <= 15
    assert len(read.guards) <= 8
    assert len(read.request_id) <= 64
    for digest in (read.pin, read.key_digest):
        assert digest == "" or len(digest) == 64


@given(st.text(), st.text())
@example("\x1b[2J\x1b]0;owned\x07", "a\rb\u202e\x9b1m")
def test_nothing_that_it_says_can_move_a_terminals_cursor(message: str, tail: str) -> None:
    step = f"failed 40 12 {message}"
    read = said(phase="failed weights", step_weights=step, tail_weights=tail)
    assert read.failed_step == "weights"
    shown = [*read.tail, *(step.message for step in read.steps)]
    for text in shown:
        assert all(letter.isprintable() for letter in text), text


@pytest.mark.parametrize(
    "value",
    [
        "",
        "done",
        "perfect 100 1 fine",
        "done 100",
        "done -1 1 fine",
        "done 1e3 1 fine",
        "DONE 100 1 fine",
    ],
)
def test_a_step_of_another_form_is_none(value: str) -> None:
    assert said(step_gpu=value).steps == ()


@pytest.mark.parametrize("name", ["step-", "step-A", "step-../x", "step-" + "a" * 40, "steps"])
def test_a_step_of_another_name_is_none(name: str) -> None:
    assert said(**{name: "done 100 1 fine"}).steps == ()


def test_a_step_is_read_as_it_is() -> None:
    (step,) = said(step_weights="running 42 17 18 of 43 GB").steps
    assert step == ("weights", "running", 42, 17, "18 of 43 GB")


def test_values_that_are_too_long_are_not_read() -> None:
    huge = f"request {LIFE}\n" + "a" * (10 << 20)
    read = guest.read(
        [
            {"namespace": "yoyo", "key": "state", "value": huge},
            {"namespace": "hostkeys", "key": "ssh-ed25519", "value": huge},
        ]
    )
    assert read == guest.Guest()


def test_only_the_one_attribute_of_ours_is_read() -> None:
    items = [{"namespace": "yoyo", "key": "request", "value": LIFE}]
    items += [{"namespace": "other", "key": "state", "value": f"request {LIFE}"}]
    assert guest.read(items) == guest.Guest()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (f"{LIFE} dead-man", StopCause.DEAD_MAN),
        (f"{FORMER} dead-man", None),
        (f"{LIFE} ordered", None),
        (f"{LIFE} dead-man and more", None),
        ("dead-man", None),
        ("", None),
    ],
)
def test_a_cause_counts_for_the_life_that_it_names(text: str, cause: StopCause | None) -> None:
    assert said(request=LIFE, stop_cause=text).stop_cause is cause


def test_a_cause_without_a_life_counts_for_none() -> None:
    assert said(stop_cause=" dead-man").stop_cause is None


def told(lab: Rig) -> set[str]:
    """The keys of the instance's metadata."""
    return {item["key"] for item in lab.instance()["metadata"]["items"]}


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


def test_a_seal_key_that_must_not_be_used(lab: Rig) -> None:
    weak = pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))
    elliptic = pem(ec.generate_private_key(ec.SECP256R1()))
    good = identity().seal_public_pem
    hostile = [
        weak,
        elliptic,
        "",
        "garbage",
        "\x00",
        good[:200],
        good.replace("M", "A"),
        "a" * 16_000,
    ]
    machines = lab.up()
    for key in hostile:
        with pytest.raises(BadSealKey):
            seal("b" * 64, key, LIFE)
        lab.publish(seal_key=key)
        machines.hand_over(lab.node)
        assert machines.observe(lab.node).state is MachineState.RUNNING
    assert "yoyo-key" not in told(lab)
    lab.publish(seal_key=good)
    machines.hand_over(lab.node)
    assert "yoyo-key" in told(lab)


@given(st.text())
def test_no_text_breaks_the_sealing(text: str) -> None:
    with pytest.raises(BadSealKey):
        seal("b" * 64, text, LIFE)


def test_a_key_is_handed_over_once_a_seal_key(lab: Rig) -> None:
    machines = lab.up()
    lab.publish()
    for _ in range(3):
        machines.hand_over(lab.node)
    assert lab.fake.called("compute.instances.setMetadata") == 1


def test_a_key_is_not_given_to_another_boot(lab: Rig) -> None:
    machines = lab.up()
    lab.publish(FORMER)
    machines.hand_over(lab.node)
    assert lab.fake.called("compute.instances.setMetadata") == 0


def test_an_endpoint_counts_once_the_node_proves_that_it_has_the_key(lab: Rig) -> None:
    machines = lab.up()
    pin = {"cert_sha256": identity().cert_sha256}
    lab.publish(key_sha256="0" * 64, **pin)
    assert machines.observe(lab.node).endpoint is None
    lab.publish(key_sha256="0" * 63, **pin)
    assert machines.observe(lab.node).endpoint is None


def test_a_hostile_node_is_observed_like_any_other(lab: Rig) -> None:
    machines = lab.up()
    noise = {key.replace("-", "_"): "\x1b[31m" + "x" * 2000 for key in KEYS if key != "request"}
    guards = "dead-man=999999999 lifetime=999999999 platform-cap=1 monitor=1"
    lab.publish(**noise | {"guards": guards})
    machines.hand_over(lab.node)
    seen = machines.observe(lab.node)
    assert seen.state is MachineState.RUNNING
    assert {guard.name for guard in seen.guards} == {"dead-man", "lifetime", "platform-cap"}
    assert seen.steps == ()
    assert seen.failed == ""
