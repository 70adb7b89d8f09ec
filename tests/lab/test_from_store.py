"""From an empty store to a first token, with the source of the weights switched off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_commands import LabPlace
from nginx_parts import Nginx
from store_lab import StoreLab, lab_bundle

from yoyo.drivers.local.smoke_model import ensure
from yoyo.errors import (
    ArtefactMissing,
    CacheNotReady,
    EngineTooOld,
    EngineUnavailable,
    ManifestInvalid,
)

OTHER = "other"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreLab]:
    with StoreLab(tmp_path_factory.mktemp("store-lab")) as made:
        yield made


@pytest.fixture
def place(lab: StoreLab) -> Iterator[LabPlace]:
    made = LabPlace(lab)
    lab.configure()
    yield made
    made.clean_up()


def error(place: LabPlace, *arguments: str) -> Any:
    return place.json(*arguments, code=None)["error"]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_from_an_empty_store_to_a_first_token(
    lab: StoreLab, place: LabPlace, tmp_path: Path
) -> None:
    assert error(place, "up")["code"] == ArtefactMissing.__name__
    with Nginx(tmp_path / "hub") as hub:
        model = ensure(hub.files)
        source, sha256 = f"{hub.url}/{model.name}", sha256_of(model)
        staged = place.json("weights", "stage", "tiny", source, "--sha256", sha256)
        assert staged["manifest"]["files"][0]["sha256"] == sha256

    # The hub is gone from here on.
    refused = error(place, "up")
    assert refused["code"] == EngineUnavailable.__name__
    too_old = lab_bundle(tmp_path, architectures=("qwen3",), commit="a" * 40)
    place.json("engine", "publish", str(too_old))
    assert error(place, "up")["code"] == EngineTooOld.__name__
    bundle = place.json("engine", "publish", str(lab_bundle(tmp_path)))["manifest"]

    plan = place.json("plan")
    assert [each["name"] for each in plan["from_store"]] == ["tiny", bundle["name"]]
    assert plan["fit"]["fits"] is True
    assert plan["roofline"]["tokens_per_second"] is not None
    up = place.json("up")
    assert up["state"] == "ready"
    answer = place.json("ask", "Say something", "--max-tokens", "8")
    assert answer["completion"]["completion_tokens"] == 8
    assert place.instance()["status"] == "RUNNING"

    # What the node runs from stays, also when its name is gone from the configuration.
    assert error(place, "weights", "rm", "tiny")["code"] == "ArtefactInUse"
    lab.model = OTHER
    lab.configure()
    assert error(place, "weights", "rm", "tiny")["code"] == "ArtefactInUse"
    place.json("engine", "rm", f"llama-server-{'a' * 12}-cuda13.0-sm89-x86-64")
    swept = place.json("weights", "gc", "--apply", "--older-than", "0")
    assert len(swept["waste"]) == 1
    assert swept["kept"] == 2
    lab.model = "tiny"
    lab.configure()

    # A second boot reads what is on its disk.
    place.run("down")
    before = lab.storage.sent("xml.get", "artefacts")
    assert place.json("up")["state"] == "ready"
    assert lab.storage.sent("xml.get", "artefacts") == before
    place.run("down", "--delete")
    place.run("ledger", "verify", "--strict")
    rows = place.run("ledger", "show", "--node", "store", "--json").stdout
    assert staged["manifest"]["digest"] in rows
    assert bundle["digest"] in rows


def test_a_stopped_node_comes_back_with_the_other_model(
    lab: StoreLab, place: LabPlace, tmp_path: Path
) -> None:
    """Not for a moment with the one before, which is still on its disk and intact."""
    model = ensure(lab.directory / "models")
    longer = tmp_path / "longer.gguf"
    longer.write_bytes(model.read_bytes() + bytes(4096))
    digests = [
        place.json("weights", "stage", name, path.as_uri())["manifest"]["digest"]
        for name, path in (("before", model), ("after", longer))
    ]
    place.json("engine", "publish", str(lab_bundle(tmp_path)), "--replace")
    for name, digest in zip(("before", "after"), digests, strict=True):
        lab.model = name
        lab.configure()
        assert place.json("up")["state"] == "ready"
        running = place.run("exec", "--", "pgrep", "-af", "llama-server").stdout
        assert f"/models/{digest}/" in running
        if name == "before":
            place.run("down")
    kept = place.run("exec", "--", "ls", "/var/lib/yoyo/models").stdout.split()
    assert sorted(kept) == [digests[1], f"{digests[1]}.state"]
    place.run("ledger", "verify", "--strict")


def test_a_manifest_that_was_changed_is_not_booted(lab: StoreLab, place: LabPlace) -> None:
    lab.model = "forged"
    lab.configure()
    model = ensure(lab.directory / "models")
    place.json("weights", "stage", "forged", model.as_uri())
    key = "names/weights/forged.json"
    document = b"".join(lab.objects.read(key))
    lab.objects.put(key, document.replace(b"tester", b"nobody"))
    assert error(place, "up")["code"] == ManifestInvalid.__name__
    assert place.instance() is None


def test_a_cache_that_is_not_ready_is_not_booted(lab: StoreLab, place: LabPlace) -> None:
    lab.model = "declared"
    lab.configure()
    document = lab.directory / "cache.yaml"
    document.write_text(
        "apiVersion: yoyo.dev/v1alpha1\nkind: ModelCache\nmetadata: {name: declared}\n"
        "spec:\n  artifact:\n    kind: Weights\n    source:\n"
        f"      http: {{url: 'http://127.0.0.1:9/x.gguf', sha256: '{'0' * 64}'}}\n"
    )
    place.run("weights", "apply", "-f", str(document), code=CacheNotReady.exit_code)
    refused = error(place, "up")
    assert refused["code"] == CacheNotReady.__name__
    assert place.instance() is None
