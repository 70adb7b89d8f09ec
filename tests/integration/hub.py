"""A local hub that the real `huggingface_hub` client takes for the public one.

It has commits, branches, LFS digests, gated models and renames; large files come from a second
server, as the public hub's do, which must never see a token. No code of the client is replaced.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

SIGNATURE = "signed-for-one-hour"
# The public hub keeps small text files in git itself, and everything binary in LFS.
_IN_GIT = (".json", ".txt", ".md", ".model.txt")


class HubFile(NamedTuple):
    path: Path
    size: int
    sha256: str
    blob: str  # git's sha1 of the blob
    lfs: bool


class Seen(NamedTuple):
    """One request, as the hub or its CDN got it."""

    host: str  # `hub` or `cdn`
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case


class Commit(NamedTuple):
    sha: str
    files: Mapping[str, HubFile]
    licence: str


class Hub:
    """A hub over `directory`, from `with` to its end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._commits: dict[str, dict[str, Commit]] = {}  # repository -> sha -> commit
        self._branches: dict[str, dict[str, str]] = {}  # repository -> branch -> sha
        self._renamed: dict[str, str] = {}
        self._gated: set[str] = set()
        self._guard = threading.Lock()
        self.tokens: set[str] = set()  # accepted; a private or gated repository needs one
        self.private: set[str] = set()
        self.seen: list[Seen] = []
        self.served: dict[str, int] = {}  # sha256 -> bytes of bodies
        self.limited: list[str] = []  # Retry-After of the next answers, which are 429
        self.extra: list[dict[str, Any]] = []  # siblings that no honest hub would list
        self._servers = [_Server(self, "hub"), _Server(self, "cdn")]

    @property
    def url(self) -> str:
        return self._servers[0].url

    @property
    def cdn(self) -> str:
        return self._servers[1].url

    def add(
        self,
        repo: str,
        revision: str,
        files: Mapping[str, bytes | Path],
        *,
        licence: str = "apache-2.0",
    ) -> str:
        """Commit these files, and only these, to a branch. The commit's sha."""
        kept = {name: self._keep(name, content) for name, content in files.items()}
        told = json.dumps({name: file.blob for name, file in sorted(kept.items())})
        count = len(self._commits.setdefault(repo, {}))
        sha = hashlib.sha1(f"{repo} {count} {told}".encode()).hexdigest()
        self._commits[repo][sha] = Commit(sha, kept, licence)
        self._branches.setdefault(repo, {})[revision] = sha
        return sha

    def move_branch(self, repo: str, branch: str, sha: str) -> None:
        assert sha in self._commits[repo]
        self._branches[repo][branch] = sha

    def rename(self, old: str, new: str) -> None:
        """Answer for the old name as the public hub does: with a redirect to the new one."""
        self._commits[new] = self._commits.pop(old)
        self._branches[new] = self._branches.pop(old)
        self._renamed[old] = new

    def gate(self, repo: str) -> None:
        """Give its files only to whoever has a token and accepted its terms."""
        self._gated.add(repo)

    def remove(self, repo: str) -> None:
        del self._commits[repo], self._branches[repo]

    @property
    def bytes_served(self) -> int:
        return sum(self.served.values())

    def __enter__(self) -> Self:
        for server in self._servers:
            server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.stop()

    def _keep(self, name: str, content: bytes | Path) -> HubFile:
        if isinstance(content, bytes):
            path = self._directory / hashlib.sha256(content).hexdigest()
            path.write_bytes(content)
        else:
            path = content
        size = path.stat().st_size
        sha256, blob = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode())
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                sha256.update(piece)
                blob.update(piece)
        lfs = not name.endswith(_IN_GIT)
        return HubFile(path, size, sha256.hexdigest(), blob.hexdigest(), lfs)

    def _commit(self, repo: str, revision: str) -> Commit | None:
        sha = self._branches[repo].get(revision, revision)
        return self._commits[repo].get(sha)

    def _count(self, sha256: str, size: int) -> None:
        with self._guard:
            self.served[sha256] = self.served.get(sha256, 0) + size


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub, role: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.role = role
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.ident is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, role = self.server.hub, self.server.role
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.seen.append(Seen(role, self.command, parts.path, headers))
        try:
            if role == "cdn":
                self._cdn(parts.path, parse_qs(parts.query))
            elif hub.limited:
                self._plain(429, {"Retry-After": hub.limited.pop(0)})
            elif found := re.fullmatch(
                r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", parts.path
            ):
                self._model(found[1], unquote(found[2] or "main"))
            elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path):
                self._resolve(found[1], unquote(found[2]), unquote(found[3]))
            else:
                self._plain(404)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _model(self, repo: str, revision: str) -> None:
        commit = self._allowed(repo, revision, files=False)
        if commit is None:
            return
        siblings: list[dict[str, Any]] = []
        for name, file in commit.files.items():
            said: dict[str, Any] = {"rfilename": name, "size": file.size, "blobId": file.blob}
            if file.lfs:
                said["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": 134}
            siblings.append(said)
        hub = self.server.hub
        document = {
            "id": hub._renamed.get(repo, repo),
            "modelId": hub._renamed.get(repo, repo),
            "sha": commit.sha,
            "private": repo in hub.private,
            "gated": "manual" if repo in hub._gated else False,
            "tags": ["gguf", f"license:{commit.licence}"],
            "cardData": {"license": commit.licence},
            "siblings": siblings + hub.extra,
        }
        self._plain(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        commit = self._allowed(repo, revision, files=True)
        if commit is None:
            return
        file = commit.files.get(name)
        if file is None:
            self._plain(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit.sha})
            return
        about = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        if not file.lfs:
            self._body(file, about | {"ETag": f'"{file.blob}"'})
            return
        about["X-Linked-Etag"] = f'"{file.sha256}"'
        about["X-Linked-Size"] = str(file.size)
        about["Location"] = f"{self.server.hub.cdn}/{file.sha256}?Signature={SIGNATURE}"
        self._plain(302, about)

    def _allowed(self, repo: str, revision: str, *, files: bool) -> Commit | None:
        """The commit, or None after the refusal that the public hub would give."""
        hub = self.server.hub
        if repo in hub._renamed:
            there = self.path.replace(repo, hub._renamed[repo], 1)
            self._plain(307, {"Location": there})
            return None
        sent = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if sent and sent not in hub.tokens:
            self._plain(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
            return None
        if repo not in hub._commits or (repo in hub.private and not sent):
            # Whether a hidden model exists is not said to strangers.
            self._plain(404 if sent else 401, {"X-Error-Code": "RepoNotFound"})
            return None
        if files and repo in hub._gated and not sent:
            message = f"Access to model {repo} is restricted."
            self._plain(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
            return None
        commit = hub._commit(repo, revision)
        if commit is None:
            self._plain(404, {"X-Error-Code": "RevisionNotFound"})
        return commit

    def _cdn(self, path: str, query: Mapping[str, list[str]]) -> None:
        hub = self.server.hub
        files = {
            file.sha256: file
            for commits in hub._commits.values()
            for commit in commits.values()
            for file in commit.files.values()
        }
        file = files.get(path.removeprefix("/"))
        if "Authorization" in self.headers:
            self._plain(400)  # as S3 does, which takes one kind of proof at a time
        elif query.get("Signature") != [SIGNATURE]:
            self._plain(403)
        elif file is None:
            self._plain(404)
        else:
            self._body(file, {"ETag": f'"{file.sha256[:32]}"', "Accept-Ranges": "bytes"})

    def _body(self, file: HubFile, about: Mapping[str, str]) -> None:
        start, end, status = 0, file.size, 200
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found:
            start = int(found[1])
            end = min(int(found[2]) + 1, file.size) if found[2] else file.size
            status = 206
            if start >= file.size:
                self._plain(416, {"Content-Range": f"bytes */{file.size}"})
                return
        self.send_response(status)
        for name, value in about.items():
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{file.size}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        with file.path.open("rb") as source:
            source.seek(start)
            left = end - start
            while left and (piece := source.read(min(left, 1 << 18))):
                self.wfile.write(piece)
                self.server.hub._count(file.sha256, len(piece))
                left -= len(piece)

    def _plain(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
