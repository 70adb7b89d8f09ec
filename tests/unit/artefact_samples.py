"""One adapter's artefact, to be changed by the tests, and the form of its configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from yoyo.core.adapters.artefact import Packed, pack
from yoyo.model.adapter import AdapterVersion, LoraFacts, LoraTensor
from yoyo.model.ids import ModuleId
from yoyo.model.oci import Descriptor

FILES = (("adapter_config.json", b'{"r": 4}'), ("README.md", b"# Contract language\n"))
CREATED = datetime(2026, 11, 21, 12, 30, 15, 999999, tzinfo=UTC)
ADAPTER = AdapterVersion(
    id="acme-legal",
    version="1.2.0-rc.1",
    module_id=ModuleId("acme"),
    base="sha256:" + "b" * 64,
    data="sha256:" + "d" * 64,
    tasks=("contract-review", "summary"),
    rank=4,
    alpha=Decimal("8"),
    architecture="llama",
)
WEIGHTS = Descriptor("anything", "sha256:" + "e" * 64, 10_688)
NAME = "dev.yoyo.adapter."


def closed(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    """An object with these properties and no others."""
    fields = {"required": required, "additionalProperties": False}
    return {"type": "object", "properties": properties, **fields}


# The configuration's form, by model-spec's docs/config.md and schema/config-schema.json.
TEXT, TEXTS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
ABOUT = (
    "createdAt", "family", "docURL", "sourceURL", "version", "revision", "vendor", "title",
    "description",
)  # fmt: skip
TECHNICAL = ("architecture", "format", "paramSize", "precision", "quantization")
CONFIG_SCHEMA = closed(
    ["descriptor", "config", "modelfs"],
    {
        "descriptor": closed(
            [],
            {
                **dict.fromkeys(ABOUT, TEXT),
                **dict.fromkeys(("authors", "licenses", "datasetsURL"), TEXTS),
                "name": {**TEXT, "minLength": 1},
            },
        ),
        "config": closed([], dict.fromkeys(TECHNICAL, TEXT)),
        "modelfs": closed(
            ["type", "diffIds"],
            {"type": {"enum": ["layers"]}, "diffIds": {**TEXTS, "minItems": 1}},
        ),
    },
)


def facts(adapter: AdapterVersion = ADAPTER, size: int = WEIGHTS.size) -> LoraFacts:
    tensor = LoraTensor("blk.0.attn_q.weight", 128, 128, adapter.rank)
    return LoraFacts(adapter.architecture, adapter.rank, adapter.alpha, (tensor,), size)


def packed(
    adapter: AdapterVersion = ADAPTER,
    *,
    weights: Descriptor = WEIGHTS,
    lora: LoraFacts | None = None,
    **others: Any,
) -> Packed:
    usual: dict[str, Any] = {
        "filename": "acme-legal.gguf", "files": FILES, "created": CREATED,
        "licences": ("Apache-2.0",),
    }  # fmt: skip
    lora = lora or facts(adapter, weights.size)
    return pack(adapter, weights=weights, lora=lora, **{**usual, **others})
