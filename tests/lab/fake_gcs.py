"""A fake of storage.googleapis.com: a real HTTP server over a directory, for Google's own client.

In a test: `with FakeGcs(tmp_path) as fake: client(fake.url)`. As a process:
`python tests/lab/fake_gcs.py DIR [PORT]` prints {"url": ...} and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from gce_errors import ApiError
from gcs_api import Accept, Store
from gcs_doc import Violation
from gcs_faults import Faults, Seen
from gcs_http import Server


class AgainstTheDocument(AssertionError):
    """A request or an answer was not what the discovery document allows."""


class FakeGcs:
    """One fake, serving from the moment it is made until `close`. The directory stays.

    Args:
        accept: says whether a bearer token is good, "" for none; None: everyone is let in.
        read_only: says whether a token may only read.
        create_only: says whether a token may only make objects where there are none.
        md5: keep an MD5 of each object, which costs most of the time of a write. Composed objects
            have none either way.
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        accept: Accept | None = None,
        read_only: Accept | None = None,
        create_only: Accept | None = None,
        md5: bool = True,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._store = Store(directory, accept, read_only, md5, create_only)
        self._server = Server(host, port, self._store)
        self._host = host
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on `host`."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """What goes into `api_endpoint`, and before /BUCKET/OBJECT for curl."""
        return f"http://{self._host}:{self.port}"

    @property
    def faults(self) -> Faults:
        """What goes wrong: `fake.faults.add(Fault(status=503), kind="upload.chunk")`."""
        return self._store.faults

    @property
    def violations(self) -> list[Violation]:
        """What came in or went out against the discovery document; clear it when that is meant."""
        return self._store.violations

    def add_bucket(self, name: str) -> None:
        """Make a bucket; there already: nothing."""
        with contextlib.suppress(ApiError):
            self._store.disk.add_bucket(name)

    def calls(self, kind: str = "*", path: str = "") -> list[Seen]:
        """The requests so far, of a kind (a glob) and with a pattern in the decoded target."""
        return self._store.log.of(kind, path)

    def received(self, kind: str = "*", path: str = "") -> int:
        """Bytes of the bodies of such requests."""
        return sum(seen.received for seen in self.calls(kind, path))

    def sent(self, kind: str = "*", path: str = "") -> int:
        """Bytes of the bodies of their answers."""
        return sum(seen.sent for seen in self.calls(kind, path))

    def wait_until(self, reached: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait for something that `calls` shows.

        Raises:
            TimeoutError
        """
        self._store.log.wait_until(reached, timeout_s)

    def close(self) -> None:
        """End the server and every connection, also those that stall."""
        self._server.stop()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if self.violations and kind is None:
            raise AgainstTheDocument(self.violations)


def main() -> None:
    """Run a fake as a process of its own, until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int, nargs="?", default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--bucket", action="append", default=[], help="made if it is not there")
    parser.add_argument("--no-md5", action="store_true", help="writes cost less")
    asked = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    fake = FakeGcs(asked.directory, host=asked.host, port=asked.port, md5=not asked.no_md5)
    for bucket in asked.bucket:
        fake.add_bucket(bucket)
    print(json.dumps({"url": fake.url}), flush=True)
    ended.wait()
    fake.close()
    sys.exit(1 if fake.violations else 0)


if __name__ == "__main__":
    main()
