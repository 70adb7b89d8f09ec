"""What the startup script of a node on Google Compute Engine is given of its adapters."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_startup import ADAPTERS, STORE, render

from yoyo.config.load import Flags, load
from yoyo.config.templates import template_text
from yoyo.drivers.gce import script
from yoyo.drivers.jinja.templates import JinjaTemplates
from yoyo.errors import ConfigInvalid
from yoyo.model.settings import NodeSettings, Provided, StoreSettings

CONFIG = f"""version: 1
nodes:
  l4:
    moduleId: acme
    driver: gce
    engine: {{model: 'https://example.org/m.gguf'}}
    weights: {{sha256: {"ab" * 32}}}
    gce: {{project: acme-models}}
"""


@pytest.fixture
def node(tmp_path: Path) -> NodeSettings:
    """Weights and engine from elsewhere: the adapters alone need the store."""
    (tmp_path / "yoyo.yaml").write_text(CONFIG)
    found = load(Flags(), {}, tmp_path).node
    assert found is not None
    return found._replace(
        store=StoreSettings("gs://artefacts/team"), adapters_from_store=ADAPTERS.adapters
    )


def test_they_are_passed_on_in_order_and_the_store_with_them(node: NodeSettings) -> None:
    values = script.values_of(node)
    assert values.adapters == ADAPTERS.adapters
    assert values.store_url == "gs://artefacts/team"
    assert script.values_of(node._replace(adapters_from_store=())).store_url == ""
    text = script.render(node, JinjaTemplates(template_text))
    first, second = (text.index(f"/{each.files[0][0]} ") for each in ADAPTERS.adapters)
    assert first < second < text.index("--lora-init-without-apply")


def test_a_node_without_adapters_has_no_word_of_them() -> None:
    text = render(STORE)
    assert "lora" not in text.lower()
    assert "adapter" not in text.lower()


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("dka-style@1.0.0", (("weights.gguf", 1, "ab" * 32),)),
        ("dka-style@1.0.0", (("a/dka-style@1.0.0.gguf", 1, "ab" * 32),)),
        ("dka-style@1.0.0", ()),
        ("a,b", (("a,b.gguf", 1, "ab" * 32),)),
    ],
)
def test_one_that_the_engine_would_know_by_another_name(
    node: NodeSettings, name: str, files: tuple[tuple[str, int, str], ...]
) -> None:
    odd = Provided(name, "12" * 32, files)
    with pytest.raises(ConfigInvalid, match="under its name"):
        script.values_of(node._replace(adapters_from_store=(*ADAPTERS.adapters, odd)))


@pytest.mark.parametrize("flag", ["-cram", "--cache-ram", "--cache_ram"])
def test_a_cache_of_prompts_in_memory_is_refused_with_adapters(
    node: NodeSettings, flag: str
) -> None:
    cached = node._replace(engine=node.engine._replace(extra_flags=(flag, "4096")))
    with pytest.raises(ConfigInvalid) as refused:
        script.values_of(cached)
    assert "--cache-ram" in refused.value.fix
    script.values_of(cached._replace(adapters_from_store=()))
