"""Google's metadata server for one lab machine: the protocol that curl and the guest agent use.

Its socket is in the machine's network namespace, its threads are this process's. Directories
list their keys as Google's do (`network-interfaces/`), recursive JSON has the tree's own
(`networkInterfaces`).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from vm_host import Guest

ADDRESS = ("169.254.169.254", 80)  # wherever there is a machine
ROOT = ["computeMetadata", "v1"]
GUEST_ATTRIBUTES = ["instance", "guest-attributes"]
MAX_VALUE_BYTES = 256 * 1024  # Google's limit for one guest attribute
CLONE_NEWNET = 0x40000000
LOOK_AGAIN_S = 1.0  # how soon a waiting request notices that the server was switched off


def listen_in(namespace: Path, address: tuple[str, int]) -> socket.socket:
    """A listening TCP socket in another network namespace.

    A socket belongs to the namespace of the thread that makes it, for ever; so a thread of its
    own goes there, and ends.
    """

    def make() -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        with namespace.open("rb") as file:
            if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(namespace))
        return socket.create_server(address, backlog=64)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


class MetadataServer:
    """Serves a guest's metadata; can be switched off and on again."""

    def __init__(self, guest: Guest, listen: Callable[[], socket.socket]) -> None:
        self._guest = guest
        self._listen = listen
        self._server: _Server | None = None

    def on(self) -> None:
        """Serve. Does nothing when it does so already."""
        if self._server is None:
            self._server = _Server(self._guest, self._listen())
            serve = self._server.serve_forever
            threading.Thread(target=serve, args=(0.05,), daemon=True).start()

    def off(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._server is not None:
            self._server.stop()
            self._server = None


class _Server(ThreadingHTTPServer):
    """One listener, and the connections that came through it."""

    def __init__(self, guest: Guest, listener: socket.socket) -> None:
        super().__init__(listener.getsockname(), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.guest = guest
        self.stopped = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that the machine or `off` broke is no news."""

    def stop(self) -> None:
        self.stopped.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the machine was faster


class _Request(BaseHTTPRequestHandler):
    """One request, answered as Google's server does."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet

    def version_string(self) -> str:
        return "Metadata Server for VM"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what a machine asks for is no output of ours."""

    def do_GET(self) -> None:
        path, query = self._asked()
        if not path:
            # The one path that needs no header: it is how programs find out where they run.
            return self._answer(200, "computeMetadata/\n")
        if not self._allowed():
            return None
        if path == ROOT[: len(path)] and path != ROOT:
            return self._answer(200, "v1/\n")
        if path[: len(ROOT)] != ROOT:
            return self._answer(404, "not found\n")
        path = path[len(ROOT) :]
        if path[: len(GUEST_ATTRIBUTES)] == GUEST_ATTRIBUTES:
            return self._get_guest_attribute(path[len(GUEST_ATTRIBUTES) :])
        return self._get_metadata(path, query)

    def do_PUT(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        if length > MAX_VALUE_BYTES:
            self.close_connection = True
            return self._answer(413, "the value is too long\n")
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True  # the caller died over it
            return None
        path, _ = self._asked()
        if not self._allowed():
            return None
        where = ROOT + GUEST_ATTRIBUTES
        if path[: len(where)] != where or len(path) != len(where) + 2:
            return self._answer(404, "only guest-attributes/NAMESPACE/KEY can be written\n")
        if not self._guest_attributes_enabled():
            return self._answer(403, "Guest attributes endpoint access is disabled.\n")
        self.server.guest.put_guest_attribute(path[-2], path[-1], body.decode())
        return self._answer(200, "")

    def _asked(self) -> tuple[list[str], dict[str, str]]:
        url = urlsplit("//metadata" + self.path)
        path = [unquote(part) for part in url.path.split("/") if part]
        return path, {name: values[-1] for name, values in parse_qs(url.query).items()}

    def _allowed(self) -> bool:
        if self.headers.get("X-Forwarded-For") is not None:
            self._answer(403, "X-Forwarded-For is not accepted\n")
        elif self.headers.get("Metadata-Flavor") != "Google":
            self._answer(403, "Missing Metadata-Flavor:Google header.\n")
        else:
            return True
        return False

    def _guest_attributes_enabled(self) -> bool:
        found, value = look_up(
            self.server.guest.metadata()[1], ["instance", "attributes", "enable-guest-attributes"]
        )
        return found and str(value).upper() == "TRUE"

    def _get_guest_attribute(self, path: list[str]) -> None:
        if not self._guest_attributes_enabled():
            return self._answer(403, "Guest attributes endpoint access is disabled.\n")
        value = self.server.guest.get_guest_attribute(*path) if len(path) == 2 else None
        return self._answer(404, "not found\n") if value is None else self._answer(200, value)

    def _get_metadata(self, path: list[str], query: dict[str, str]) -> None:
        found, value = self._current(path, query)
        if not found:
            return self._answer(404, "not found\n")
        etag = etag_of(value)
        recursive = query.get("recursive", "").lower() == "true"
        form = query.get("alt", "json" if recursive else "text")
        if path[1:2] == ["service-accounts"] and path[-1] == "token":
            form, recursive = "json", True  # the one leaf that is an object
        if form == "json" and (recursive or not isinstance(value, dict | list)):
            return self._answer(200, json.dumps(value), etag, "application/json")
        if recursive:
            return self._answer(200, "".join(flat(value)), etag)
        if isinstance(value, dict | list):
            if not urlsplit("//metadata" + self.path).path.endswith("/"):
                return self._answer(301, "", location=self.path.partition("?")[0] + "/")
            return self._answer(200, listing(value, path), etag)
        return self._answer(200, text(value), etag)

    def _current(self, path: list[str], query: dict[str, str]) -> tuple[bool, object]:
        """What is at `path`, after the wait that the query asks for.

        It ends when what is at this path changes, as on Google's server, and not with any change.
        """
        etag, tree = self.server.guest.metadata()
        found, value = look_up(tree, path)
        if query.get("wait_for_change", "").lower() != "true":
            return found, value
        last = query.get("last_etag") or etag_of(value)
        end = time.monotonic() + float(query.get("timeout_sec", "inf"))
        while found and etag_of(value) == last and not self.server.stopped.is_set():
            left = end - time.monotonic()
            if left <= 0:
                break
            self.server.guest.wait_for_metadata(etag, min(left, LOOK_AGAIN_S))
            etag, tree = self.server.guest.metadata()
            found, value = look_up(tree, path)
        if self.server.stopped.is_set():
            raise ConnectionAbortedError("switched off")
        return found, value

    def _answer(
        self,
        status: int,
        body: str,
        etag: str = "",
        kind: str = "application/text",
        location: str = "",
    ) -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if etag:
            self.send_header("ETag", etag)
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()


def look_up(tree: object, path: list[str]) -> tuple[bool, object]:
    """Whether there is something at `path`, and what."""
    for depth, part in enumerate(path):
        if isinstance(tree, dict):
            # Keys below `attributes` are the user's own and have one form only.
            names = {key if "attributes" in path[:depth] else kebab(key): key for key in tree}
            if part not in names and part not in tree:
                return False, None
            tree = tree[names.get(part, part)]
        elif isinstance(tree, list):
            if not (part.isdecimal() and int(part) < len(tree)):
                return False, None
            tree = tree[int(part)]
        else:
            return False, None
    return True, tree


def etag_of(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def kebab(key: str) -> str:
    """`networkInterfaces` as a directory's name: `network-interfaces`."""
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda capital: "-" + capital[0].lower(), key)


def text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).upper()  # as Google's: TRUE, FALSE
    return "" if value is None else str(value)


def listing(value: dict[str, object] | list[object], path: list[str]) -> str:
    """A directory's keys, one on a line, directories with a slash."""
    lines = []
    for key, inner in _items(value):
        name = key if "attributes" in path else kebab(key)
        lines.append(f"{name}/\n" if isinstance(inner, dict | list) else f"{name}\n")
    return "".join(lines)


def flat(value: object, at: str = "") -> Iterator[str]:
    """Everything below, a line `path value` each: ?recursive=true&alt=text."""
    if isinstance(value, dict | list):
        for key, inner in _items(value):
            yield from flat(inner, f"{at}/{key}" if at else key)
    else:
        yield f"{at} {text(value)}\n"


def _items(value: dict[str, object] | list[object]) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return list(value.items())
    return [(str(index), inner) for index, inner in enumerate(value)]
