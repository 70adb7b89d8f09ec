"""A `llama-server` for tests: the real engine, behind the real names of the flags.

Run as a program. The file it is started from decides, by a second word in its name, how it
misbehaves (`llama-server.hangs`, `.stubborn`). Of the environment it knows
LLAMA_ARG_CACHE_RAM and LLAMA_ARG_CACHE_PROMPT.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any


def write_program(path: Path) -> Path:
    """Write an executable that runs this file, in this Python."""
    path.write_text(
        f"#!{sys.executable}\n"
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from llama_server_stand_in import main; main()\n"
    )
    path.chmod(0o755)
    return path


def parse() -> argparse.Namespace:
    # Strict: what llama-server does not know ends it, and so it does here.
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--api-key-file", required=True)
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--slots", action="store_true")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-c", "--ctx-size", required=True, type=int)
    parser.add_argument("-np", "--parallel", required=True, type=int)
    parser.add_argument("-ctk", "--cache-type-k", required=True)
    parser.add_argument("-ctv", "--cache-type-v", required=True)
    parser.add_argument("-a", "--alias")
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("--no-warmup", action="store_true")
    parser.add_argument("-s", "--seed", type=int)
    parser.add_argument("--lora", action="append", default=[])
    parser.add_argument("--lora-init-without-apply", action="store_true")
    return parser.parse_args()


def serve(asked: argparse.Namespace) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked.model
    params.hostnames, params.port = [asked.host], asked.port
    params.api_keys = Path(asked.api_key_file).read_text().split()
    params.endpoint_metrics, params.endpoint_slots = asked.metrics, asked.slots
    params.n_ctx, params.n_parallel = asked.ctx_size, asked.parallel
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{asked.cache_type_k.upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{asked.cache_type_v.upper()}")
    params.warmup = not asked.no_warmup
    if asked.threads:
        params.cpuparams.n_threads = asked.threads
    if asked.seed is not None:
        params.sampling.seed = asked.seed
    loras = []
    for path in (path for value in asked.lora for path in value.split(",")):
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = path, 0.0 if asked.lora_init_without_apply else 1.0
        loras.append(lora)
    params.lora_adapters = loras
    if "LLAMA_ARG_CACHE_RAM" in os.environ:
        params.cache_ram_mib = int(os.environ["LLAMA_ARG_CACHE_RAM"])
    if "LLAMA_ARG_CACHE_PROMPT" in os.environ:
        params.cache_prompt = os.environ["LLAMA_ARG_CACHE_PROMPT"] not in ("0", "false")
    return xllamacpp.Server(params)


def main() -> None:
    asked = parse()
    manner = Path(sys.argv[0]).suffix
    if manner == ".stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if manner == ".hangs":
        listener = socket.create_server((asked.host, asked.port))
        print("loading, for ever", flush=True)
    else:
        listener = serve(asked)
    while listener:
        signal.pause()
