"""The engine settings as the embedded server's parameters.

A llama-server takes several hundred flags; the embedded one takes the settings and the
flags of this table. Names are llama-server's, attributes xllamacpp's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_FLASH = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}

Setter = Callable[[Any, str], None]


class FlagRefused(ValueError):
    """The embedded server does not know the flag, or its value is off."""


def _integer(*path: str) -> Setter:
    def put(params: Any, text: str) -> None:
        *parents, last = path
        for name in parents:
            params = getattr(params, name)
        setattr(params, last, int(text))

    return put


def _flash(params: Any, text: str) -> None:
    if params is not None:
        import xllamacpp

        params.flash_attn_type = getattr(
            xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{_FLASH[text]}"
        )


def _text(name: str) -> Setter:
    return lambda params, text: setattr(params, name, text)


_VALUED: dict[str, tuple[Setter, Callable[[str], bool]]] = {}
_BARE: dict[str, tuple[str, object]] = {
    "--no-warmup": ("warmup", False),
    "--no-cont-batching": ("cont_batching", False),
    "--swa-full": ("swa_full", True),
    "--context-shift": ("ctx_shift", True),
    "--embedding": ("embedding", True),
}


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and len(text) < 10


for _names, _path in (
    (("-t", "--threads"), ("cpuparams", "n_threads")),
    (("-tb", "--threads-batch"), ("cpuparams_batch", "n_threads")),
    (("-b", "--batch-size"), ("n_batch",)),
    (("-ub", "--ubatch-size"), ("n_ubatch",)),
    (("-ngl", "--gpu-layers", "--n-gpu-layers"), ("n_gpu_layers",)),
    (("-s", "--seed"), ("sampling", "seed")),
    (("-n", "--predict", "--n-predict"), ("n_predict",)),
    (("--threads-http",), ("n_threads_http",)),
    (("--cache-ram",), ("cache_ram_mib",)),
    (("--cache-reuse",), ("n_cache_reuse",)),
):
    for _name in _names:
        _VALUED[_name] = (_integer(*_path), _is_integer)
for _name in ("-fa", "--flash-attn"):
    _VALUED[_name] = (_flash, _FLASH.__contains__)
_VALUED["--slot-save-path"] = (_text("slot_save_path"), bool)
_VALUED["--chat-template"] = (_text("chat_template"), bool)


def apply_flags(params: Any, flags: Sequence[str]) -> None:
    """Set each flag on `params`; with None, only check them.

    Raises:
        FlagRefused: names the first flag that cannot be taken.
    """
    words = list(flags)
    while words:
        flag = words.pop(0)
        name, joined, value = flag.partition("=")
        if name in _BARE and not joined:
            attribute, setting = _BARE[name]
            if params is not None:
                setattr(params, attribute, setting)
            continue
        if name not in _VALUED:
            raise FlagRefused(f"the embedded server does not take {name!r}")
        put, accepts = _VALUED[name]
        if not joined:
            value = words.pop(0) if words else ""
        if not accepts(value):
            raise FlagRefused(f"{value!r} is no value for {name}")
        if params is not None:
            put(params, value)


def parameters(engine: dict[str, Any], key: str) -> Any:
    """xllamacpp's CommonParams for these settings.

    Raises:
        FlagRefused.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = engine["model"]
    # What /v1/models shows: the file's name, and nothing of this machine's directories.
    params.model_alias = {engine["model"].rpartition("/")[2]}
    params.n_ctx = engine["ctx"]
    params.n_parallel = engine["parallel"]
    for name in ("cache_type_k", "cache_type_v"):
        setattr(params, name, getattr(xllamacpp.ggml_type, f"GGML_TYPE_{engine[name].upper()}"))
    params.hostnames = ["127.0.0.1"]
    params.port = engine["port"]
    params.api_keys = [key]
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.ui = False
    apply_flags(params, engine["extra_flags"])
    _add_loras(params, [path for path, _ in engine.get("loras", ())])
    return params


def _add_loras(params: Any, paths: Sequence[str]) -> None:
    """Load these adapters, none of them applied: whoever verified the stack sets its scales."""
    import xllamacpp

    if not paths:
        return
    loras = []
    for path in paths:
        lora = xllamacpp.CommonAdapterLoraInfo()
        # By its scale: this server loads, but does not heed lora_init_without_apply.
        lora.path, lora.scale = path, 0.0
        loras.append(lora)
    params.lora_adapters = loras
    # The cache of prompts in memory does not know which adapters a prompt was read with: it hands
    # one tenant's to the other's request (ggml-org/llama.cpp issue 26207, reproduced).
    params.cache_ram_mib = 0
    # Nor does a slot: a request that names no scales would go on from a prompt that was read with
    # other ones. Requests that name them all may ask for it (drivers/llamacpp/client.py).
    params.cache_prompt = False
