"""Google's own storage client in front of a fake, or of Google's testbench; and curl."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

PROJECT = "lab-project"
# Google's own waits a second before it tries again.
RETRY: Any = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05)


@contextmanager
def client(url: str, credentials: Any = None, universe: str = "") -> Iterator[Any]:
    """A client; without credentials it sends none."""
    options = ClientOptions(api_endpoint=url, universe_domain=universe or None)
    made: Any = storage.Client(
        project=PROJECT,
        credentials=credentials or AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options=options,
    )
    try:
        yield made
    finally:
        made.close()


def curl(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run curl; its exit status is the caller's to look at."""
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--noproxy", "*", *map(str, arguments)],
        capture_output=True,
        check=False,
        timeout=60,
    )


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes in which no two places look alike."""
    return b"".join((seed << 40 | number).to_bytes(8, "big") for number in range((size + 7) // 8))[
        :size
    ]
