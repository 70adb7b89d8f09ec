"""Every key of yoyo.yaml, once: type, default, unit, bounds and meaning.

Validation, defaults, the JSON Schema and the reference in `docs/configuration.md` all
come from these tables.
"""

from __future__ import annotations

from typing import Final

from yoyo.config.key import (
    DECIMAL_PATTERN,
    DURATION_PATTERN,
    LABEL_PATTERN,
    SECRET_PATTERN,
    STORE_PATTERN,
    URL_PATTERN,
    WORD_PATTERN,
    YEAR_S,
    Key,
)
from yoyo.config.keys_adapters import ADAPTER_KEYS, NODE_ADAPTER_KEYS
from yoyo.config.keys_audit import AUDIT_KEYS
from yoyo.config.keys_remote import GCE_KEYS, REMOTE_KEYS

VERSION: Final = 1

# llama.cpp's --cache-type-k/-v (common/arg.cpp, kv_cache_types), b6000 and later.
CACHE_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

PRICED: Final = "on `gce` that of the price table, else unknown"


def _duration(path: str, default: str, doc: str, low: int = 1) -> Key:
    return Key(f"guards.{path}", "duration", doc, default, low=low, high=YEAR_S)


def _usd(path: str, absent: str, doc: str) -> Key:
    return Key(path, "decimal", doc, absent=absent, unit="USD", high=1_000_000_000)


TOP_KEYS: Final = (
    Key("version", "integer", "Version of this file's format.", required=True, low=1, high=VERSION),
    Key(
        "operator", "text", "Who is written into the ledger.",
        absent="the login name, `@`, the host name", low=1, high=128,
    ),
    Key(
        "state_dir", "path",
        "Where running nodes, locks and samples are kept. For the file in the XDG configuration "
        "directory the default is `$XDG_STATE_HOME/yoyo`.",
        ".yoyo", low=1, high=4096,
    ),
    Key(
        "ledger", "path",
        "The ledger, the one truth about money and lifecycle. For the file in the XDG "
        "configuration directory the default is `$XDG_STATE_HOME/yoyo/ledger.csv`.",
        "ledger.csv", low=1, high=4096,
    ),
    Key(
        "store", "match",
        "Where weights and engine bundles are kept: gs://BUCKET[/PREFIX], or file:///DIRECTORY.",
        absent="`store` in the state directory", pattern=STORE_PATTERN,
        expected="gs://BUCKET[/PREFIX] or file:///DIRECTORY",
    ),
    Key(
        "store_endpoint", "match", "Another address of Cloud Storage, for trials.",
        absent="Google's own", pattern=URL_PATTERN, expected="an http(s) address",
    ),
    Key(
        "store_credentials", "path", "A credentials file for the store.",
        absent="Application Default Credentials", low=1, high=4096,
    ),
    Key(
        "hub", "match", "The model hub that hf:// means.",
        absent="`HF_ENDPOINT`, else https://huggingface.co", pattern=URL_PATTERN,
        expected="an https address",
    ),
    Key(
        "hub_mirrors", "matches", "Mirrors of the hub, tried in order.", "[]", high=16,
        pattern=URL_PATTERN, expected="an https address",
    ),
    Key(
        "default_node", "label", "The node that commands act on when none is named.",
        absent="the only node, if there is one",
    ),
    *ADAPTER_KEYS,
    *AUDIT_KEYS,
)  # fmt: skip

NODE_KEYS: Final = (
    Key(
        "moduleId", "label", "The project: tags every call, cache block, adapter and ledger row.",
        required=True,
    ),
    Key("driver", "word", "The machine driver, as `yoyo doctor` lists them.", required=True),
    *NODE_ADAPTER_KEYS,
    Key(
        "engine.model", "path",
        "`store:NAME` (staged by `yoyo weights`), `smoke` (random weights, for trials and "
        "tests), the path of a GGUF file, or, for a remote node, its https:// or gs:// address.",
        "smoke", low=1, high=4096,
    ),
    Key(
        "engine.server", "server",
        "`embedded`, or a `llama-server`: a name on PATH or a path.",
        "embedded", low=1, high=4096,
    ),
    # 16 Mi: above any model's trained context, below what would overflow llama.cpp's int32.
    Key(
        "engine.ctx", "integer",
        "Context over all slots together; each slot gets `ctx / parallel`, at least 2048.",
        "8192", unit="tokens", low=1, high=16_777_216,
    ),
    # 256 is llama.cpp's LLAMA_MAX_SEQ (src/llama-cparams.h).
    Key(
        "engine.parallel", "integer", "Requests served at the same time.", "2", unit="slots",
        low=1, high=256,
    ),
    Key("engine.cache_type_k", "choice", "Type of the K cache.", "f16", choices=CACHE_TYPES),
    Key("engine.cache_type_v", "choice", "Type of the V cache.", "f16", choices=CACHE_TYPES),
    Key("engine.port", "integer", "TCP port; 0: a free one.", "0", high=65_535),
    Key(
        "engine.extra_flags", "flags",
        "More flags for the engine, one word each. Flags that yoyo sets itself are refused.",
        "[]", high=256,
    ),
    Key(
        "engine.api_key", "secret",
        "The endpoint's bearer key. Only in a file that is readable by its owner alone, or in "
        "the environment.",
        absent="generated per node", low=16, high=256,
    ),
    _duration("idle_after", "30m", "The monitor stops the node after being idle for so long."),
    _duration("sample_every", "5m", "Time between two samples of the monitor."),
    _duration(
        "unreachable_after", "1h", "A node that is unreachable for so long is a fault: stopped."
    ),
    _duration("boot_grace", "10m", "After a boot the node counts as busy for so long.", low=0),
    _duration("boot_timeout", "10m", "How long the engine may take to become healthy."),
    _duration(
        "lease", "45m",
        "The dead-man stops an idle node when no controller was heard for so long.",
    ),
    _duration("lifetime", "8h", "Hard maximum from boot to power-off."),
    _duration("drain_timeout", "2m", "How long a stop waits for running requests.", low=0),
    _duration("stop_grace", "30s", "Time between SIGTERM and SIGKILL.", low=0),
    _duration("job_lease", "15m", "A job without a sign of life counts as work for so long."),
    _usd("budget.day_usd", "no cap", "`up` refuses beyond this spend on one UTC day."),
    _usd("budget.month_usd", "no cap", "`up` refuses beyond this spend in one UTC month."),
    _usd("prices.hourly_usd", PRICED, "Price of one hour of the node."),
    _usd("prices.disk_gb_month_usd", PRICED, "Price of one GB of disk for a month (730 h)."),
    Key(
        "hardware.memory_bandwidth_gb_s", "decimal",
        "Memory bandwidth of what runs the model, for the tokens/s roofline; 1 GB = 1e9 bytes.",
        absent="unknown", unit="GB/s", low=1, high=1_000_000,
    ),
    Key(
        "hardware.memory_gb", "decimal",
        "Memory that model, cache and buffers must fit into; 1 GB = 1e9 bytes.",
        absent="what the machine type's GPU has; else not checked", unit="GB", low=1,
        high=100_000,
    ),
    *REMOTE_KEYS,
    *GCE_KEYS,
)  # fmt: skip

SECTIONS: Final = {
    "engine": "How the engine is started.",
    "guards": "When the node is stopped by itself. Durations: `90s`, `30m`, `1h30m`, `2d`, or "
    "whole seconds.",
    "budget": "Spending caps; they need a price: `prices.hourly_usd`, or on `gce` the price table.",
    "prices": "What the node costs. One of these set by you turns the price table off for both.",
    "hardware": "Facts for the roofline.",
    "weights": "The model file of a remote node.",
    "bundle": "The prebuilt engine of a remote node.",
    "build": "How the engine is built where there is no bundle.",
    "gce": "Google Compute Engine, for `driver: gce`.",
}

TOP_SECTIONS: Final = {
    "adapters": "Where adapters are registered and pushed to.",
    "trust": "Whose signatures count. Nobody's, where nobody is named.",
    "signing": "How this machine signs.",
    "checkpoints": "Signed tree heads of the ledger.",
    "sealing": "What becomes of the ledger's months.",
}

LIST_KINDS: Final = ("flags", "matches")
_LENGTH_KINDS: Final = ("text", "path", "server")
_PATTERNS: Final = {
    "label": LABEL_PATTERN,
    "word": WORD_PATTERN,
    "secret": SECRET_PATTERN,
}


def default_of(key: Key) -> str:
    """The default as the reference prints it."""
    if key.required:
        return "required"
    return f"`{key.default}`" if key.default is not None else key.absent


def _key_schema(key: Key) -> dict[str, object]:
    schema: dict[str, object] = {"description": key.doc}
    if key.unit:
        schema["description"] = f"{key.doc} Unit: {key.unit}."
    bounds: dict[str, object] = {"minimum": key.low, "maximum": key.high}
    if key.kind in _PATTERNS:
        schema |= {"type": "string", "pattern": _PATTERNS[key.kind]}
    elif key.kind in _LENGTH_KINDS:
        schema |= {"type": "string", "minLength": key.low, "maxLength": key.high}
    elif key.kind == "choice":
        schema |= {"type": "string", "enum": list(key.choices)}
    elif key.kind == "integer":
        schema |= {"type": "integer", **bounds}
    elif key.kind == "decimal":
        schema |= {"type": ["number", "string"], "pattern": DECIMAL_PATTERN, **bounds}
    elif key.kind == "duration":
        schema |= {"type": ["integer", "string"], "pattern": DURATION_PATTERN, **bounds}
    elif key.kind == "match":
        schema |= {"type": "string", "pattern": key.pattern}
    elif key.kind == "matches":
        item = {"type": "string", "pattern": key.pattern}
        schema |= {"type": "array", "items": item, "minItems": key.low, "maxItems": key.high}
    else:
        # A YAML 1.1 reader turns `4` and `on` into a number and a truth value; the loader
        # takes the words as they are written.
        word = {"type": ["string", "number", "boolean"], "minLength": 1}
        schema |= {"type": "array", "items": word, "maxItems": key.high}
    if key.default is not None and key.kind in LIST_KINDS:
        schema["default"] = [word for word in key.default.strip("[]").split(", ") if word]
    elif key.default is not None:
        schema["default"] = int(key.default) if key.kind == "integer" else key.default
    return schema


def _object(keys: list[tuple[str, Key]], doc: str) -> dict[str, object]:
    result: dict[str, object] = {
        "type": "object",
        "description": doc,
        "additionalProperties": False,
        "properties": {name: _key_schema(key) for name, key in keys},
    }
    required = [name for name, key in keys if key.required]
    if required:
        result["required"] = required
    return result


def _add_sections(
    parent: dict[str, object], sections: dict[str, str], keys: tuple[Key, ...]
) -> None:
    properties = parent["properties"]
    if isinstance(properties, dict):
        for section, doc in sections.items():
            prefix = f"{section}."
            inside = [(k.path.removeprefix(prefix), k) for k in keys]
            properties[section] = _object([(n, k) for n, k in inside if n != k.path], doc)


def json_schema() -> dict[str, object]:
    """The shape of yoyo.yaml as JSON Schema, draft 2020-12.

    Rules that span several keys (context per slot, guards against each other) and the
    range of a duration written as text cannot be said there; `yoyo config validate` checks them.
    """
    node = _object([(k.path, k) for k in NODE_KEYS if "." not in k.path], "One node.")
    _add_sections(node, SECTIONS, NODE_KEYS)
    top = _object([(k.path, k) for k in TOP_KEYS if "." not in k.path], "Configuration of yoyo.")
    nodes: dict[str, object] = {
        "type": "object",
        "description": "The nodes by name.",
        "minProperties": 1,
        "propertyNames": {"pattern": LABEL_PATTERN},
        "additionalProperties": node,
    }
    _add_sections(top, TOP_SECTIONS, TOP_KEYS)
    if isinstance(top["properties"], dict):
        top["properties"]["nodes"] = nodes
    top["required"] = ["version", "nodes"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "yoyo.yaml",
        **top,
    }


def key_reference() -> str:
    """The table of keys in `docs/configuration.md`, Markdown."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    keys = [(k.path, k) for k in TOP_KEYS] + [(f"nodes.NAME.{k.path}", k) for k in NODE_KEYS]
    for path, key in keys:
        unit = f" Unit: {key.unit}." if key.unit else ""
        choices = f" One of {', '.join(f'`{c}`' for c in key.choices)}." if key.choices else ""
        lines.append(f"| `{path}` | {default_of(key)} | {key.doc}{unit}{choices} |")
    return "\n".join(lines) + "\n"
