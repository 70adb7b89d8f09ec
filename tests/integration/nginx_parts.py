"""nginx as a hub's web server or a mirror: rate limits, refusals, cuts, and a count of bytes.

And a server in this process, for what no honest server answers.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

DEADLINE_S = 30.0

_CONF = """
daemon off;
{user}
pid {home}/nginx.pid;
error_log {home}/error.log;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
  log_format told '$status\\t$body_bytes_sent\\t$request_uri\\t$http_range\\t$http_authorization';
  access_log {home}/access.log told;
  sendfile on;
  default_type application/octet-stream;
  client_body_temp_path {home}/t1;
  proxy_temp_path {home}/t2;
  fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4;
  scgi_temp_path {home}/t5;
  server {{
    listen 127.0.0.1:{port};
    root {home}/files;
    sendfile_max_chunk 256k;
    location /slow/ {{ alias {home}/files/; limit_rate {rate}; }}
    location /noranges/ {{ alias {home}/files/; max_ranges 0; }}
    location /token/ {{
      if ($http_authorization != "Bearer good-token") {{ return 401; }}
      alias {home}/files/;
    }}
    location /elsewhere/ {{ rewrite ^/elsewhere/(.*)$ {elsewhere}/$1?secret=1 redirect; }}
    location /403/ {{ return 403; }}
    location /404/ {{ return 404; }}
    location /500/ {{ return 500; }}
    location /429/ {{ add_header Retry-After {retry_after} always; return 429; }}
    location /cut/ {{ return 444; }}
{extra}
  }}
}}
"""


class Request(NamedTuple):
    status: int
    sent: int  # bytes of the body
    path: str  # with its query
    range: str
    authorization: str


class Nginx:
    """Serves `files` from `with` to its end.

    Beside `/NAME`: `/slow/NAME` at `rate` a connection, `/noranges/NAME`, `/token/NAME` (needs the
    bearer token good-token), `/elsewhere/NAME` (redirects to the server `elsewhere`), `/403/`,
    `/404/`, `/500/`, `/429/` (with `retry_after`), `/cut/` (closes without an answer).
    """

    def __init__(
        self,
        home: Path,
        *,
        rate: str = "2m",
        elsewhere: str = "http://127.0.0.1:1",
        retry_after: str = "3600",
        extra: str = "",
    ) -> None:
        self.home = home
        self.files = home / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self._values = {
            "home": str(home),
            "rate": rate,
            "elsewhere": elsewhere,
            "retry_after": retry_after,
            "extra": extra,
            "user": "user root;" if os.getuid() == 0 else "",
        }
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to serve; again at the same port if it served before."""
        binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        assert binary, "nginx is not installed: sudo apt-get install nginx-light"
        self.port = self.port or _free_port()
        conf = self.home / "nginx.conf"
        conf.write_text(_CONF.format(port=self.port, **self._values))
        log = self.home / "error.log"
        self.process = subprocess.Popen(
            [binary, "-e", str(log), "-c", str(conf)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + DEADLINE_S
        while not self._listens():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        """Cut every connection where it is, as a power failure would."""
        if self.process is None:
            return
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def requests(self, path: str | None = None) -> list[Request]:
        """What was asked, as far as it is answered: of one path, or all."""
        log = self.home / "access.log"
        found = []
        for line in log.read_text().splitlines() if log.exists() else ():
            status, sent, uri, wanted, authorization = line.split("\t")
            if path is None or uri.partition("?")[0] == path:
                found.append(Request(int(status), int(sent), uri, wanted, authorization))
        return found

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.stop()


class Served:
    """An HTTP server in this process, from `with` to its end."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
