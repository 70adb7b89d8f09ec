"""Rules that span several keys. Each message gives the figures and what would do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

# Below this a slot cannot hold a system prompt and a useful answer.
MIN_CTX_PER_SLOT = 2048

Find = Callable[[str], Any]  # a node's value by key path; None when absent or mistaken
Found = tuple[str, str]  # key path, message

_OWNED = {
    "it would put a secret into the process list; yoyo makes the key and passes it in a file": (
        "--api-key",
        "--api-key-file",
        "--hf-token",
        "-hft",
    ),
    "yoyo decides where a node listens": ("--host",),
    "it is set by `engine.port`": ("--port",),
    "it is set by `engine.model`": (
        "-m",
        "--model",
        "-mu",
        "--model-url",
        "-hf",
        "-hfr",
        "--hf-repo",
        "-hff",
        "--hf-file",
        "-dr",
        "--docker-repo",
        "--models-dir",
        "--models-preset",
    ),
    "yoyo decides how the engine is reached (`gce.traffic`)": ("--ssl-key-file", "--ssl-cert-file"),
    "it is set by `engine.ctx`": ("-c", "--ctx-size"),
    "it is set by `engine.parallel`": ("-np", "--parallel"),
    "it is set by `engine.cache_type_k`": ("-ctk", "--cache-type-k"),
    "it is set by `engine.cache_type_v`": ("-ctv", "--cache-type-v"),
    "yoyo needs this endpoint to tell work from idleness": (
        "--metrics",
        "--slots",
        "--no-slots",
        "--api-prefix",
    ),
    "yoyo loads adapters itself, after it has verified them": (
        "--lora",
        "--lora-scaled",
        "--lora-init-without-apply",
        "--control-vector",
        "--control-vector-scaled",
        "--control-vector-layer-range",
    ),
    "it would end the engine at once": ("-h", "--help", "--usage", "--version", "--list-devices"),
}
OWNED_FLAGS = {flag: reason for reason, flags in _OWNED.items() for flag in flags}
_FLASH = ("-fa", "--flash-attn")
_FLASH_VALUES = ("on", "off", "auto")
_PLAIN_CACHES = ("f32", "f16", "bf16")


def node_rules(find: Find) -> Iterator[Found]:
    """Everything that is wrong between a node's values."""
    yield from _context(find)
    yield from _guards(find)
    yield from _money(find)
    flags = find("engine.extra_flags") or ()
    yield from _flags(flags)
    yield from _cache(find, flags)
    yield from _remote(find)


def _context(find: Find) -> Iterator[Found]:
    ctx, parallel = find("engine.ctx"), find("engine.parallel")
    if ctx is None or parallel is None or ctx // parallel >= MIN_CTX_PER_SLOT:
        return
    yield (
        "engine.ctx",
        f"llama.cpp divides the context among the slots: {ctx} / {parallel} is "
        f"{ctx // parallel} tokens a slot, and {MIN_CTX_PER_SLOT} is the least that is of use. "
        f"Set ctx to {parallel * MIN_CTX_PER_SLOT} or more"
        + (f", or parallel to {ctx // MIN_CTX_PER_SLOT}" if ctx >= MIN_CTX_PER_SLOT else ""),
    )


def _guards(find: Find) -> Iterator[Found]:
    def s(name: str) -> Any:
        return find(f"guards.{name}")

    every = s("sample_every")
    if every is not None and s("idle_after") is not None and s("idle_after") < every:
        yield (
            "guards.idle_after",
            f"{s('idle_after')} s is less than sample_every ({every} s): one sample would have "
            "to prove it. Set it to sample_every or more",
        )
    if every is not None and s("lease") is not None and s("lease") < 2 * every:
        yield (
            "guards.lease",
            f"{s('lease')} s is less than twice sample_every ({every} s): one missed sample "
            f"would fire the dead-man. Set it to {2 * every}s or more",
        )
    lifetime, timeout = s("lifetime"), s("boot_timeout")
    if lifetime is not None and timeout is not None and lifetime <= timeout:
        yield (
            "guards.lifetime",
            f"{lifetime} s is not more than boot_timeout ({timeout} s): the cap could fire "
            "before the node is up. Raise it, or lower boot_timeout",
        )


def _money(find: Find) -> Iterator[Found]:
    if find("prices.hourly_usd") is not None:
        return
    for name in ("day_usd", "month_usd"):
        if find(f"budget.{name}") is not None:
            yield (
                f"budget.{name}",
                "a cap needs a price to be held against. Set prices.hourly_usd",
            )


def _flags(flags: tuple[str, ...]) -> Iterator[Found]:
    for number, word in enumerate(flags):
        name = word.partition("=")[0]
        if name.startswith("--"):
            name = name.replace("_", "-")  # to llama.cpp, --api_key is --api-key
        if name in OWNED_FLAGS:
            yield "engine.extra_flags", f"{name} is refused: {OWNED_FLAGS[name]}"
        if name in _FLASH and "=" in word:
            yield "engine.extra_flags", f"the engine knows no {name}=VALUE. Write [{name}, 'on']"
        elif name in _FLASH and flags[number + 1 : number + 2] not in [(v,) for v in _FLASH_VALUES]:
            yield (
                "engine.extra_flags",
                f"a bare {word} takes the next word for its value. Write [{word}, 'on'], "
                "'off' or 'auto'",
            )


def _cache(find: Find, flags: tuple[str, ...]) -> Iterator[Found]:
    """llama.cpp refuses a quantised V cache with flash attention off (llama-context.cpp)."""
    kind = find("engine.cache_type_v")
    if kind is None or kind in _PLAIN_CACHES:
        return
    words = [word.replace("_", "-") for word in flags]
    off = any((name, "off") in itertools.pairwise(words) for name in _FLASH)
    if off:
        yield (
            "engine.cache_type_v",
            f"{kind} needs flash attention, which extra_flags turn off. Leave it at auto, or use "
            "f16",
        )


def _remote(find: Find) -> Iterator[Found]:
    """What a node needs that fetches its own model and engine."""
    if (find("bundle.url") is None) != (find("bundle.sha256") is None):
        yield "bundle.sha256", "bundle.url and bundle.sha256 go together. Give both, or neither"
    if find("driver") != "gce":
        return
    if find("gce.project") is None:
        yield "gce.project", "is missing: driver gce needs the project that pays"
    model = find("engine.model")
    if model is not None and model.startswith("store:"):
        if find("weights.sha256") is not None or find("weights.mirrors"):
            yield "weights.sha256", "the store knows the digest of store:NAME. Leave it out"
    elif model is not None and "://" not in model:
        yield (
            "engine.model",
            "a gce node fetches its model: give store:NAME, or an https:// or gs:// address with "
            "weights.sha256",
        )
    elif model is not None and find("weights.sha256") is None:
        yield "weights.sha256", "is missing: a model that is fetched is checked against its sha256"
    engines = find("bundle.url"), find("bundle.name"), find("build.on_node")
    if engines == (None, "none", "no"):
        yield (
            "bundle.name",
            "none leaves the node without an engine. Give bundle.url, or set build.on_node to yes",
        )
    if find("engine.server") not in (None, "embedded"):
        yield "engine.server", "a gce node brings its own: use bundle.url, or leave both out"
    port = find("engine.port")
    if port is not None and 0 < port < 1024:
        yield "engine.port", f"{port} is privileged, and the engine is no root. Use 1024 or more"
