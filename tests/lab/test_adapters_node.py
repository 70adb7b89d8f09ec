"""Adapters on a node at a distance: out of a registry that it cannot reach, through the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from adapters_lab import AdapterPlace, AdaptersLab, key_of
from guard_parts import LabNode

from yoyo.core import store_keys
from yoyo.errors import AdapterNotLoaded, BootstrapFailed

TONE, LEGAL, OTHER = "acme-tone@1.0.0", "acme-legal@1.0.0", "acme-other@1.0.0"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdaptersLab]:
    with AdaptersLab(tmp_path_factory.mktemp("adapters-lab")) as made:
        yield made


@pytest.fixture
def place(lab: AdaptersLab) -> Iterator[AdapterPlace]:
    made = AdapterPlace(lab)
    lab.configure()
    yield made
    made.clean_up()


def fetched(lab: AdaptersLab) -> int:
    """How often anybody has read bytes of the store by now."""
    return lab.storage.sent("xml.get", "artefacts")


def test_from_a_registry_to_a_node_that_cannot_reach_it(
    lab: AdaptersLab, place: AdapterPlace
) -> None:
    tone = place.promoted(TONE, seed=1, scale="0.5")
    assert place.json("up")["state"] == "ready"
    assert lab.objects.stat(key_of(tone)) is not None
    assert place.node_has() == {tone}
    engine = place.engine_command()
    assert f"/{TONE}.gguf --lora-init-without-apply" in engine

    shown = place.active()
    assert shown.keys() == {TONE}
    assert shown[TONE]["scale"] == 0.5
    assert shown[TONE]["weights"] == f"sha256:{tone}"
    assert len(shown[TONE]["signers"]) == 3
    with_tone = place.json("ask", "Say something", "--max-tokens", "8")
    assert with_tone["adapters"] == [TONE]
    job = place.rows("JOB_COMPLETE")[-1]
    assert job["adapter_versions"] == [TONE]
    load = place.rows("ADAPTER_LOAD")[-1]
    assert (load["adapter_versions"], load["completion_status"]) == ([TONE], "success")

    # An engine that was started anew by itself uses none of them: nothing is answered until they
    # are set again.
    LabNode(place).inside("systemctl", "restart", "yoyo-engine.service")
    place.wait_until_ready()
    assert place.active()[TONE]["scale"] == 0.0
    lost = place.json("ask", "Say something", code=None)["error"]
    assert lost["code"] == AdapterNotLoaded.__name__
    assert "does not use acme-tone@1.0.0 any more" in lost["what"]
    assert not place.json("adapters", "activate")["restarted"]
    assert place.json("ask", "Say something", "--max-tokens", "8")["adapters"] == [TONE]

    # A second boot reads what is on its disk.
    place.run("down")
    before = fetched(lab)
    assert place.json("up")["state"] == "ready"
    assert fetched(lab) == before
    assert place.active()[TONE]["scale"] == 0.5

    # Another file has to be loaded at a start, which is only done where it was asked for.
    legal = place.promoted(LEGAL, seed=2, task="summaries")
    assert place.json("adapters", "activate", code=None)["error"]["code"] == (
        AdapterNotLoaded.__name__
    )
    assert place.active().keys() == {TONE}
    restarted = place.json("adapters", "activate", "--restart")
    assert restarted["restarted"]
    assert place.node_has() == {tone, legal}
    assert {name: each["scale"] for name, each in place.active().items()} == {TONE: 0.5, LEGAL: 1.0}

    # What is retired weighs in no more, and the node need not be started anew for that.
    place.run("adapters", "retire", TONE)
    place.run("adapters", "retire", LEGAL)
    assert not place.json("adapters", "activate")["restarted"]
    assert {each["scale"] for each in place.active().values()} == {0.0}
    assert place.json("ask", "Say something", "--max-tokens", "8")["adapters"] == []
    assert place.rows("JOB_COMPLETE")[-1]["adapter_versions"] == []

    # The store keeps what the node was started with for as long as the node may start again.
    swept = place.json("weights", "gc", "--apply", "--older-than", "0")
    assert swept["waste"] == []
    assert lab.objects.stat(key_of(tone)) is not None
    place.run("down", "--delete")
    swept = place.json("weights", "gc", "--apply", "--older-than", "0")
    assert {each["key"] for each in swept["waste"]} == {key_of(tone), key_of(legal)}
    place.run("ledger", "verify", "--strict")


def test_bytes_that_were_changed_in_the_store_never_reach_the_engine(
    lab: AdaptersLab, place: AdapterPlace
) -> None:
    sha256 = place.promoted(OTHER, seed=3)
    key, good = key_of(sha256), (place.root / f"{OTHER}.gguf").read_bytes()
    lab.objects.put(key, good[:-1] + bytes([good[-1] ^ 1]))
    refused = place.json("up", code=None)["error"]
    assert refused["code"] == BootstrapFailed.__name__
    assert f"of {OTHER}.gguf in {OTHER} is damaged" in refused["why"]
    assert f"remove {key} from" in refused["why"]
    assert place.rows("TEARDOWN_COMPLETE")[-1]["error_code"] == "BOOTSTRAP_FAILED"
    assert OTHER not in place.loaded()
    assert place.instance()["status"] == "TERMINATED"

    # What can be seen to be wrong from here is stored anew before a machine is paid for. The
    # first one has the manifest already.
    place.run("down", "--delete")
    lab.objects.put(key, good[:-1])
    documents = [
        each.key
        for each in lab.objects.list(store_keys.DOCUMENTS)
        if sha256.encode() in b"".join(lab.objects.read(each.key))
    ]
    assert len(documents) == 1
    lab.objects.put(documents[0], b"{}")
    assert place.json("up")["state"] == "ready"
    assert place.active()[OTHER]["scale"] == 1.0
    assert place.node_has() == {sha256}
    place.run("ledger", "verify", "--strict")


def test_a_start_that_nobody_waited_for_gets_its_adapters(place: AdapterPlace) -> None:
    place.promoted("acme-late@1.0.0", seed=4)
    place.run("up", "--no-wait")
    assert place.json("up")["state"] == "ready"
    assert place.active()["acme-late@1.0.0"]["scale"] == 1.0
    assert place.rows("ADAPTER_LOAD")[-1]["adapter_versions"] == ["acme-late@1.0.0"]
