"""Every key of yoyo.yaml, once: type, default, unit, bounds and meaning.

Validation, defaults, the JSON Schema and the reference in `docs/configuration.md` all
come from these tables.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

VERSION: Final = 1

Kind = Literal[
    "text", "label", "word", "path", "server", "choice", "integer", "decimal", "duration",
    "flags", "secret", "match", "matches",
]  # fmt: skip

# Patterns are ECMA-262 and Python alike, so that the JSON Schema and the loader share them.
LABEL_PATTERN: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"  # RFC 1123, as model/ids.py
WORD_PATTERN: Final = "^[a-z][a-z0-9_-]{0,62}$"  # what an entry point's name may safely be
# RFC 6750 token characters.
SECRET_PATTERN: Final = "^[A-Za-z0-9._~+/=-]{16,256}$"  # noqa: S105 - a pattern, no secret
DECIMAL_PATTERN: Final = "^(0|[1-9][0-9]{0,11})(\\.[0-9]{1,9})?$"
DURATION_PATTERN: Final = "^(?=[0-9])([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$"

# Where weights and bundles come from. http:// too: the sha256 is what is trusted.
SOURCE_PATTERN: Final = "^(https?|gs)://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]{3,2000}$"
URL_PATTERN: Final = "^https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]{3,2000}$"
SHA256_PATTERN: Final = "^[0-9a-f]{64}$"
ZONE_PATTERN: Final = "^[a-z]{2,20}-[a-z]{2,20}[0-9]{1,3}-[a-z]$"
# Google's resource names: RFC 1035 labels; image: a family or an image of any project.
RESOURCE_PATTERN: Final = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
IMAGE_PATTERN: Final = (
    "^projects/[a-z][a-z0-9-]{4,62}/global/images/(family/)?[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
)
ACCOUNT_PATTERN: Final = "^[a-z0-9-]{1,63}@[a-z0-9.-]{1,190}$"
# One IPv4 address, or `auto`; never a range: what is open is open to one machine.
ADDRESS_PATTERN: Final = "^(auto|((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9]))$"  # noqa: E501
COMMIT_PATTERN: Final = "^([0-9a-f]{40}|b[0-9]{1,6})$"

DAY_S: Final = 86_400
YEAR_S: Final = 366 * DAY_S

# llama.cpp's --cache-type-k/-v (common/arg.cpp, kv_cache_types), b6000 and later.
CACHE_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


class Key(NamedTuple):
    """One key. `default` is written as an operator would write it.

    `low` and `high` are inclusive: seconds for a duration, characters for a text.
    `absent` says what leaving the key out means where there is no default. A `match`, and each
    word of `matches`, has the form of `pattern`, which `expected` says in words.
    """

    path: str
    kind: Kind
    doc: str
    default: str | None = None
    absent: str = ""
    unit: str = ""
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    required: bool = False
    pattern: str = ""
    expected: str = ""


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
        "default_node", "label", "The node that commands act on when none is named.",
        absent="the only node, if there is one",
    ),
)  # fmt: skip

_SOURCE = "an https://, http:// or gs:// address"
_SHA256 = "a sha256: 64 of 0-9 and a-f"

REMOTE_KEYS: Final = (
    Key(
        "weights.sha256", "match", "Digest of the model file; what has another one is refused.",
        absent="none; needed where `engine.model` is an address", pattern=SHA256_PATTERN,
        expected=_SHA256,
    ),
    Key(
        "weights.mirrors", "matches", "More addresses of the same file, tried in order.", "[]",
        high=16, pattern=SOURCE_PATTERN, expected=_SOURCE,
    ),
    Key(
        "bundle.url", "match", "A prebuilt engine (tar.gz, tar.zst) for the node.",
        absent="none: the engine is built on the node", pattern=SOURCE_PATTERN, expected=_SOURCE,
    ),
    Key(
        "bundle.sha256", "match", "Digest of the bundle.", absent="none; needed with `bundle.url`",
        pattern=SHA256_PATTERN, expected=_SHA256,
    ),
    Key(
        "build.repository", "match", "Where llama.cpp is built from when there is no bundle.",
        "https://github.com/ggml-org/llama.cpp", pattern=URL_PATTERN, expected="an https address",
    ),
    # b6900 is the release that the flags in docs/guides/gce.md were read from.
    Key(
        "build.commit", "match", "The pinned commit (or release tag) to build.", "b6900",
        pattern=COMMIT_PATTERN, expected="a commit of 40 hex digits, or a release such as b6900",
    ),
)  # fmt: skip

GCE_KEYS: Final = (
    Key(
        "gce.project", "match", "The project that pays.", absent="none; needed with driver gce",
        pattern="^[a-z][a-z0-9-]{4,28}[a-z0-9]$", expected="a project id",
    ),
    Key(
        "gce.credentials", "path", "A credentials file, as `gcloud` or the console writes it.",
        absent="Application Default Credentials", low=1, high=4096,
    ),
    Key(
        "gce.zones", "matches", "Zones to try, in this order.",
        "[us-central1-a, us-central1-b, us-central1-c]", low=1, high=130, pattern=ZONE_PATTERN,
        expected="a zone such as us-central1-a",
    ),
    Key(
        "gce.machine_type", "match", "The machine type; a G2 brings its L4 with it.",
        "g2-standard-4", pattern=RESOURCE_PATTERN, expected="a machine type such as g2-standard-4",
    ),
    Key(
        "gce.image", "match", "The boot image: a family, or one image.",
        "projects/deeplearning-platform-release/global/images/family/"
        "common-cu129-ubuntu-2404-nvidia-580",
        pattern=IMAGE_PATTERN, expected="projects/PROJECT/global/images/[family/]NAME",
    ),
    Key("gce.disk_gb", "integer", "Size of the boot disk.", "100", unit="GB", low=10, high=65_536),
    Key(
        "gce.disk_type", "choice", "Type of the boot disk.", "pd-balanced",
        choices=("pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced"),
    ),
    Key(
        "gce.network", "match", "The VPC network.", "default", pattern=RESOURCE_PATTERN,
        expected="the name of a network",
    ),
    Key(
        "gce.subnetwork", "match", "The subnetwork, by name, in the zone's region.",
        absent="the network's own", pattern=RESOURCE_PATTERN, expected="the name of a subnetwork",
    ),
    Key(
        "gce.traffic", "choice",
        "How the engine is reached: TLS with a pinned certificate, an SSH tunnel, or plain HTTP "
        "inside the VPC.",
        "tls", choices=("tls", "tunnel", "vpc"),
    ),
    Key(
        "gce.controller", "match",
        "The address that engine and SSH are open to; `auto` asks `gce.address_service`.",
        "auto", pattern=ADDRESS_PATTERN, expected="auto, or one IPv4 address",
    ),
    Key(
        "gce.address_service", "match", "Answers with the address it was asked from, as text.",
        "https://checkip.amazonaws.com/", pattern=URL_PATTERN, expected="an https address",
    ),
    Key(
        "gce.ssh_from", "choice", "Where SSH may come from: this controller, or Google's IAP.",
        "controller", choices=("controller", "iap"),
    ),
    Key(
        "gce.provisioning", "choice", "Capacity to ask for; spot is cheaper and may be taken back.",
        "standard", choices=("standard", "spot", "spot-then-standard"),
    ),
    Key(
        "gce.service_account", "match", "Identity of the node, read-only storage scope.",
        absent="none: the node has no cloud credentials", pattern=ACCOUNT_PATTERN,
        expected="the e-mail address of a service account",
    ),
    Key(
        "gce.max_wait", "duration", "How long `up` goes on trying when no zone has capacity.",
        "0s", low=0, high=7 * DAY_S,
    ),
    Key(
        "gce.relocate", "choice",
        "Whether a stopped node whose zone has no capacity may move to another one.", "no",
        choices=("no", "yes"),
    ),
    Key(
        "gce.replace_firewall", "choice",
        "Whether a firewall rule of yoyo's name with other content is replaced.", "no",
        choices=("no", "yes"),
    ),
    Key(
        "gce.api_endpoint", "match", "Another address of the Compute Engine API, for trials.",
        absent="Google's own", pattern=URL_PATTERN, expected="an http(s) address",
    ),
)  # fmt: skip

NODE_KEYS: Final = (
    Key(
        "moduleId", "label", "The project: tags every call, cache block, adapter and ledger row.",
        required=True,
    ),
    Key("driver", "word", "The machine driver, as `yoyo doctor` lists them.", required=True),
    Key(
        "engine.model", "path",
        "`smoke` (random weights, for trials and tests), the path of a GGUF file, or, for a "
        "remote node, its https:// or gs:// address.",
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
    _usd("prices.hourly_usd", "unknown", "Price of one hour of the node."),
    _usd("prices.disk_gb_month_usd", "unknown", "Price of one GB of disk for a month (730 h)."),
    Key(
        "hardware.memory_bandwidth_gb_s", "decimal",
        "Memory bandwidth of what runs the model, for the tokens/s roofline; 1 GB = 1e9 bytes.",
        absent="unknown", unit="GB/s", low=1, high=1_000_000,
    ),
    *REMOTE_KEYS,
    *GCE_KEYS,
)  # fmt: skip

SECTIONS: Final = {
    "engine": "How the engine is started.",
    "guards": "When the node is stopped by itself. Durations: `90s`, `30m`, `1h30m`, `2d`, or "
    "whole seconds.",
    "budget": "Spending caps; they need `prices.hourly_usd`.",
    "prices": "What the node costs.",
    "hardware": "Facts for the roofline.",
    "weights": "The model file of a remote node.",
    "bundle": "The prebuilt engine of a remote node.",
    "build": "How the engine is built where there is no bundle.",
    "gce": "Google Compute Engine, for `driver: gce`.",
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


def json_schema() -> dict[str, object]:
    """The shape of yoyo.yaml as JSON Schema, draft 2020-12.

    Rules that span several keys (context per slot, guards against each other) and the
    range of a duration written as text cannot be said there; `yoyo config validate` checks them.
    """
    node = _object([(k.path, k) for k in NODE_KEYS if "." not in k.path], "One node.")
    properties = node["properties"]
    if isinstance(properties, dict):
        for section, doc in SECTIONS.items():
            prefix = f"{section}."
            inside = [(k.path.removeprefix(prefix), k) for k in NODE_KEYS]
            properties[section] = _object([(n, k) for n, k in inside if n != k.path], doc)
    top = _object([(k.path, k) for k in TOP_KEYS], "Configuration of yoyo.")
    nodes: dict[str, object] = {
        "type": "object",
        "description": "The nodes by name.",
        "minProperties": 1,
        "propertyNames": {"pattern": LABEL_PATTERN},
        "additionalProperties": node,
    }
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
