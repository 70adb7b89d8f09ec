"""What a node on Google Compute Engine needs of its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from yoyo.config.load import Flags, load
from yoyo.errors import ConfigInvalid
from yoyo.model.settings import NodeSettings

DIGEST = "ab" * 32
NODE = f"""version: 1
nodes:
  l4:
    moduleId: acme
    driver: gce
    engine: {{model: 'https://example.org/m.gguf'}}
    weights: {{sha256: {DIGEST}}}
    gce: {{project: acme-models}}
"""


def read(tmp_path: Path, text: str, *sets: str) -> NodeSettings:
    (tmp_path / "yoyo.yaml").write_text(text)
    node = load(Flags(sets=sets), {}, tmp_path).node
    assert node is not None
    return node


def mistakes(tmp_path: Path, text: str, *sets: str) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        read(tmp_path, text, *sets)
    return "\n".join(caught.value.details)


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    node = read(tmp_path, NODE)
    assert node.engine.model == "https://example.org/m.gguf"
    assert node.gce is not None
    assert node.gce.zones == ("us-central1-a", "us-central1-b", "us-central1-c")
    assert (node.gce.machine_type, node.gce.traffic) == ("g2-standard-4", "tls")
    assert (node.gce.max_wait_s, node.gce.relocate, node.gce.replace_firewall) == (0, False, False)


def test_a_node_of_another_driver_has_none_of_it(tmp_path: Path) -> None:
    node = read(tmp_path, "version: 1\nnodes: {a: {moduleId: demo, driver: local}}\n")
    assert node.gce is None


def test_lists_and_switches_can_be_given_on_the_command_line(tmp_path: Path) -> None:
    sets = ("nodes.l4.gce.zones=[us-east1-b, us-east1-c]", "nodes.l4.gce.relocate=yes")
    node = read(tmp_path, NODE, *sets, "nodes.l4.gce.max_wait=2h")
    assert node.gce is not None
    assert (node.gce.zones, node.gce.relocate) == (("us-east1-b", "us-east1-c"), True)
    assert node.gce.max_wait_s == 7200


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("gce.project", "A", "a project id"),
        ("gce.zones", "[us-central1]", "a zone such as"),
        ("gce.zones", "[]", "is empty"),
        ("gce.zones", "['us-central1-a\n']", "control character"),
        ("gce.image", "ubuntu", "projects/PROJECT"),
        ("gce.network", "default; rm -rf /", "the name of a network"),
        ("gce.controller", "0.0.0.0/0", "one IPv4 address"),
        ("gce.controller", "10.0.0.0/8", "one IPv4 address"),
        ("gce.controller", "256.1.1.1", "one IPv4 address"),
        ("gce.traffic", "plain", "one of tls, tunnel, vpc"),
        ("gce.service_account", "me@x y", "e-mail"),
        ("gce.api_endpoint", "ftp://x", "http"),
        ("weights.sha256", DIGEST.upper(), "a sha256"),
        ("weights.mirrors", "['file:///etc/passwd']", "https://"),
        ("bundle.url", "https://example.org/`id`", "https://"),
        ("bundle.url", "https://example.org/b.tar.gz", "go together"),
        ("build.commit", "main", "a commit of 40 hex digits"),
        ("engine.model", "smoke", "fetches its model"),
        ("engine.model", "s3://bucket/m.gguf", "gs:// address"),
        ("engine.model", "'https://example.org/a b'", "gs:// address"),
        ("engine.server", "llama-server", "brings its own"),
        ("engine.port", "443", "privileged"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, key: str, value: str, said: str) -> None:
    found = mistakes(tmp_path, NODE, f"nodes.l4.{key}={value}")
    assert f"nodes.l4.{key.split('.', maxsplit=1)[0]}" in found
    assert said in found


@pytest.mark.parametrize("line", ["    weights:", "    gce:"])
def test_what_is_needed_is_asked_for(tmp_path: Path, line: str) -> None:
    text = "\n".join(each for each in NODE.splitlines() if not each.startswith(line))
    assert "is missing" in mistakes(tmp_path, text)
