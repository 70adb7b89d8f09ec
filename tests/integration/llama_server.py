"""A stand-in for the llama-server executable: its flags, parsed strictly, before the real engine.

No llama-server binary can be had from the package index. This script takes the flags under
the names of llama.cpp's tools/server/README.md and serves through the same C++ server.
"""

import argparse
import signal
from pathlib import Path
from typing import Any


def cache_type(name: str) -> Any:
    import xllamacpp

    return getattr(xllamacpp.ggml_type, f"GGML_TYPE_{name.upper()}")


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-key-file", type=Path, required=True)
    parser.add_argument("--metrics", action="store_true", required=True)
    parser.add_argument("--slots", action="store_true", required=True)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-a", "--alias", required=True)
    parser.add_argument("-c", "--ctx-size", type=int, required=True)
    parser.add_argument("-np", "--parallel", type=int, required=True)
    parser.add_argument("-ctk", "--cache-type-k", required=True)
    parser.add_argument("-ctv", "--cache-type-v", required=True)
    parser.add_argument("-t", "--threads", type=int)
    given = parser.parse_args()
    import xllamacpp

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    params = xllamacpp.CommonParams()
    params.hostnames, params.port = [given.host], given.port
    params.api_keys = [given.api_key_file.read_text().strip()]
    params.endpoint_metrics = params.endpoint_slots = True
    params.model.path, params.model_alias = given.model, {given.alias}
    params.n_ctx, params.n_parallel = given.ctx_size, given.parallel
    params.cache_type_k = cache_type(given.cache_type_k)
    params.cache_type_v = cache_type(given.cache_type_v)
    if given.threads:
        params.cpuparams.n_threads = given.threads
    server = xllamacpp.Server(params)
    print("serving at", server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
