"""`llama-server` on the lab's machines: the real engine behind the real names of the flags.

scripts/lab-image bakes it in as /opt/yoyo/engine/lab/bin/llama-server, so it imports only what
is there: Debian's Python and the package xllamacpp. That package's server speaks plain HTTP; TLS
is ended here, in front of it.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import socketserver
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHUNK = 65536
FLASH = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}


def parse(words: list[str]) -> argparse.Namespace:
    """The flags; what llama-server does not know ends it, and so it does here."""
    parser = argparse.ArgumentParser(prog="llama-server", allow_abbrev=False)
    parser.add_argument("--version", action="version", version="version: lab (xllamacpp)")
    # As the real one prints it; the lab's GPU is a stub.
    parser.add_argument(
        "--list-devices",
        action="version",
        version="Available devices:\n  CUDA0: NVIDIA L4 (22477 MiB, 22000 MiB free)",
    )
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-c", "--ctx-size", type=int, default=4096)
    parser.add_argument("-np", "--parallel", type=int, default=1)
    parser.add_argument("-ctk", "--cache-type-k", default="f16")
    parser.add_argument("-ctv", "--cache-type-v", default="f16")
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--slots", action="store_true")
    parser.add_argument("--no-webui", action="store_true")
    parser.add_argument("--api-key-file", type=Path)
    parser.add_argument("--ssl-cert-file")
    parser.add_argument("--ssl-key-file")
    parser.add_argument("-a", "--alias")
    parser.add_argument("-ngl", "--gpu-layers", "--n-gpu-layers", type=int, default=-1)
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("-b", "--batch-size", type=int)
    parser.add_argument("-ub", "--ubatch-size", type=int)
    parser.add_argument("-fa", "--flash-attn", choices=FLASH, default="auto")
    parser.add_argument("--no-warmup", action="store_true")
    parser.add_argument("--lora", action="append", default=[])
    parser.add_argument("--lora-init-without-apply", action="store_true")
    asked = parser.parse_args(words)
    if bool(asked.ssl_cert_file) != bool(asked.ssl_key_file):
        parser.error("--ssl-cert-file and --ssl-key-file go together")
    return asked


def start_engine(asked: argparse.Namespace, host: str, port: int) -> Any:
    """The engine's own server, listening at `host` and `port` once this returns."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked.model
    params.model_alias = {asked.alias or Path(asked.model).name}
    params.hostnames, params.port = [host], port
    if asked.api_key_file:
        params.api_keys = asked.api_key_file.read_text().split()
    params.endpoint_metrics, params.endpoint_slots = asked.metrics, asked.slots
    params.ui = not asked.no_webui
    params.n_ctx, params.n_parallel = asked.ctx_size, asked.parallel
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{asked.cache_type_k.upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{asked.cache_type_v.upper()}")
    params.flash_attn_type = getattr(
        xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{FLASH[asked.flash_attn]}"
    )
    params.n_gpu_layers = asked.gpu_layers
    params.warmup = not asked.no_warmup
    if asked.threads:
        params.cpuparams.n_threads = asked.threads
    if asked.batch_size:
        params.n_batch = asked.batch_size
    if asked.ubatch_size:
        params.n_ubatch = asked.ubatch_size
    loras = []
    for path in (path for value in asked.lora for path in value.split(",")):
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = path, 0.0 if asked.lora_init_without_apply else 1.0
        loras.append(lora)
    params.lora_adapters = loras
    if "LLAMA_ARG_CACHE_RAM" in os.environ:
        params.cache_ram_mib = int(os.environ["LLAMA_ARG_CACHE_RAM"])
    return xllamacpp.Server(params)


class TlsFront(socketserver.ThreadingTCPServer):
    """Ends TLS and passes the bytes on to the engine, both ways, a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext, engine: tuple[str, int]
    ) -> None:
        self.context = context
        self.engine = engine
        super().__init__(address, TlsConnection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that breaks off, or speaks no TLS, is a line in the log and no traceback."""
        print(f"{client_address}: {sys.exc_info()[1]}", file=sys.stderr, flush=True)


class TlsConnection(socketserver.BaseRequestHandler):
    """One client: its TLS connection, and one to the engine."""

    server: TlsFront

    def handle(self) -> None:
        # The handshake is this thread's, so that a client that stalls holds up nobody else.
        with (
            self.server.context.wrap_socket(self.request, server_side=True) as client,
            socket.create_connection(self.server.engine) as engine,
        ):
            self._pass_on(client, engine)

    def _pass_on(self, client: ssl.SSLSocket, engine: socket.socket) -> None:
        """One thread for both directions: an SSLSocket is not to be read and written at once."""
        while True:
            readable = [client] if client.pending() else select.select([client, engine], [], [])[0]
            if client in readable:
                data = _read_some(client)
                if data == b"":
                    return
                engine.sendall(data or b"")
            if engine in readable:
                data = engine.recv(CHUNK)
                if data == b"":
                    return
                client.sendall(data)


def _read_some(client: ssl.SSLSocket) -> bytes | None:
    """What there is to read; None when what came was no more than a part of TLS itself."""
    client.setblocking(False)
    try:
        return client.recv(CHUNK)
    except ssl.SSLWantReadError:
        return None
    finally:
        client.setblocking(True)


def main() -> None:
    asked = parse(sys.argv[1:])
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
    tls = bool(asked.ssl_cert_file)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(asked.ssl_cert_file, asked.ssl_key_file)
    try:
        engine = start_engine(asked, *(("127.0.0.1", 0) if tls else (asked.host, asked.port)))
    except RuntimeError as error:
        raise SystemExit(str(error)) from None
    url = urlsplit(engine.listening_address)
    print(f"engine at {engine.listening_address}", flush=True)
    if tls:
        front = TlsFront((asked.host, asked.port), context, (url.hostname or "", url.port or 0))
        print(f"serving TLS at {asked.host}:{asked.port}", flush=True)
        front.serve_forever()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
