"""The record of a boot: what it says of engine and weights, and what it must never hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sample_node import ENGINE, NODE

from yoyo.core.boot_record import boot_record, read_boot_record
from yoyo.model.settings import BundleSettings, GceSettings, NodeSettings, Provided, WeightsSettings

STORED = Provided(
    "qwen-32b", "11" * 32, (("model.gguf", 5, "22" * 32), ("tokenizer.json", 1, "33" * 32))
)
BUNDLE = Provided("b6900-sm89", "sha256:" + "44" * 32, (("bundle.tar", 7, "55" * 32),))
GCE = GceSettings(
    "project", ("europe-west4-a",), "g2-standard-4", "image", 50, "pd-ssd", "net", None, "tls",
    "auto", "", "controller", "spot", None, 0, False, False, None,
)  # fmt: skip


def facts(node: NodeSettings) -> Any:
    return read_boot_record(boot_record(node, "0.6.0"))


def test_what_comes_with_yoyo_is_named_as_such() -> None:
    found = facts(NODE)
    assert found.yoyo == "0.6.0"
    assert found.engine["from"] == found.weights["from"] == "yoyo itself"
    assert found.weights["name"] == "smoke"
    assert (found.engine["ctx"], found.engine["server"]) == (4096, "embedded")


def test_what_comes_from_the_store_is_pinned_by_its_manifest() -> None:
    node = NODE._replace(from_store=STORED, engine_from_store=BUNDLE, gce=GCE, driver="gce")
    found = facts(node)
    assert found.weights["name"] == "qwen-32b"
    assert found.weights["manifest"] == "sha256:" + "11" * 32
    assert found.weights["sha256"] == "sha256:" + "22" * 32
    assert found.engine["manifest"] == "sha256:" + "44" * 32
    assert found.machine["machine_type"] == "g2-standard-4"
    document = json.loads(boot_record(node, "0.6.0"))
    assert [file["path"] for file in document["weights"]["files"]] == [
        "model.gguf",
        "tokenizer.json",
    ]


@pytest.mark.parametrize(
    ("bundle", "wanted"),
    [
        (BundleSettings("https://user:pw@host/b.tar?token=s3cret#x", "66" * 32), "address"),
        (BundleSettings(name="none"), "built on the node"),
    ],
)
def test_where_the_engine_comes_from(bundle: BundleSettings, wanted: str) -> None:
    assert facts(NODE._replace(gce=GCE, bundle=bundle)).engine["from"] == wanted


def test_no_secret_of_an_address_or_a_flag_is_kept() -> None:
    engine = ENGINE._replace(
        model="https://user:pw@host:8443/m.gguf?token=s3cret",
        extra_flags=("--hf-token=s3cret", "--api-key", "s3cret", "--no-warmup"),
    )
    bundle = BundleSettings("gs://user:pw@bucket/b?sig=s3cret#s3cret", "66" * 32)
    node = NODE._replace(engine=engine, gce=GCE, bundle=bundle, weights=WeightsSettings("77" * 32))
    document = boot_record(node, "0.6.0")
    assert b"s3cret" not in document
    assert b"pw" not in document
    found = read_boot_record(document)
    assert found.weights["address"] == "https://host:8443/m.gguf"
    assert found.weights["sha256"] == "sha256:" + "77" * 32
    assert found.engine["address"] == "gs://bucket/b"


def test_the_same_settings_give_the_same_bytes_and_others_do_not() -> None:
    assert boot_record(NODE, "1") == boot_record(NODE, "1")
    assert boot_record(NODE, "1") != boot_record(NODE, "2")
    assert boot_record(NODE._replace(from_store=STORED), "1") != boot_record(NODE, "1")
