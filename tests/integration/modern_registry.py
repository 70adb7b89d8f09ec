"""What Debian's registry cannot do: broken uploads go on, and the Referrers API (OCI 1.1)."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler
from typing import Self
from urllib.parse import parse_qs, urlsplit

from faulty_registry import QuietServer

from yoyo.model.oci import IMAGE_INDEX, IMAGE_MANIFEST


class ModernRegistry:
    """In memory, one repository's worth of everything; lists of referrers have two on a page."""

    def __init__(self, *, says_subject: bool = True) -> None:
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.manifests: dict[str, bytes] = {}  # by tag and by digest
        self.says_subject = says_subject
        self.lock = threading.Lock()
        owner = self

        class Handler(_Handler):
            registry = owner

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def referrers(self, subject: str) -> list[dict[str, object]]:
        found = []
        for name, document in self.manifests.items():
            fields = json.loads(document)
            if (
                name.startswith("sha256:")
                and (fields.get("subject") or {}).get("digest") == subject
            ):
                found.append(
                    {
                        "mediaType": IMAGE_MANIFEST,
                        "digest": name,
                        "size": len(document),
                        "artifactType": "application/a.lie",
                    }
                )
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = 1 << 16  # head and body in one packet: else each answer waits for the kernel
    registry: ModernRegistry

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        kind, _, name = re.sub(r"^/v2/.*/(?=(blobs|manifests|referrers)/)", "", url.path).partition(
            "/"
        )
        if kind == "blobs" and name.startswith("uploads/"):
            self._upload(name.removeprefix("uploads/"))
        elif kind == "manifests":
            self._manifest(name)
        elif kind == "referrers":
            self._referrers(url.path, name)
        else:
            data = self.registry.blobs.get(name)
            self._reply(404 if data is None else 200, {}, data or b"")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

    def _upload(self, name: str) -> None:
        uploads = self.registry.uploads
        if self.command == "POST":
            name = str(len(uploads))
            uploads[name] = bytearray()
            return self._reply(202, {"Location": self._at(name)})
        if self.command in ("PUT", "PATCH"):
            start = self.headers.get("Content-Range", f"{len(uploads[name])}-").partition("-")[0]
            if int(start) != len(uploads[name]):
                return self._reply(416)
            left = int(self.headers["Content-Length"])
            while left:
                piece = self.rfile.read1(min(left, 65536))
                if not piece:
                    self.close_connection = True
                    return None  # what came is kept
                uploads[name] += piece
                left -= len(piece)
        if self.command == "PUT":
            data = bytes(uploads.pop(name))
            if self.query["digest"] != f"sha256:{hashlib.sha256(data).hexdigest()}":
                return self._reply(400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
            self.registry.blobs[self.query["digest"]] = data
            return self._reply(201)
        received = {"Location": self._at(name), "Range": f"0-{max(len(uploads[name]) - 1, 0)}"}
        return self._reply(202 if self.command == "PATCH" else 204, received)

    def _at(self, name: str) -> str:
        return f"{urlsplit(self.path).path.partition('/uploads/')[0]}/uploads/{name}?state=x"

    def _manifest(self, name: str) -> None:
        manifests = self.registry.manifests
        if self.command == "PUT":
            document = self.rfile.read(int(self.headers["Content-Length"]))
            digest = f"sha256:{hashlib.sha256(document).hexdigest()}"
            with self.registry.lock:
                manifests[digest] = manifests[name] = document
            subject = (json.loads(document).get("subject") or {}).get("digest", "")
            says = {"OCI-Subject": subject} if subject and self.registry.says_subject else {}
            return self._reply(201, {"Docker-Content-Digest": digest, **says})
        found = manifests.get(name)
        return self._reply(404 if found is None else 200, {}, found or b"")

    def _referrers(self, path: str, subject: str) -> None:
        with self.registry.lock:
            found = self.registry.referrers(subject)
        at = int(self.query.get("at", "0"))
        index = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": found[at : at + 2]}
        more = {"Link": f'<{path}?at={at + 2}>; rel="next"'} if at + 2 < len(found) else {}
        self._reply(200, {"Content-Type": IMAGE_INDEX, **more}, json.dumps(index).encode())

    def _reply(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""
