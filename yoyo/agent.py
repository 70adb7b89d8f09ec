"""Composition root of the process that runs beside a local engine.

Started by the local driver as `python -c "from yoyo.agent import main; main()" DIR LOCK_FD`;
it joins the supervisor with the engine client, which drivers may not do themselves.
"""

from __future__ import annotations

import sys
from pathlib import Path

from yoyo.drivers.local.supervisor import supervise


def main() -> None:
    """Supervise the node of the directory named in argv."""
    supervise(Path(sys.argv[1]), int(sys.argv[2]), probe)


def probe(url: str, key: str) -> bool | None:
    """Whether the engine is idle; None when it does not answer at all.

    Imported late: the engine is only ever asked once the lease has run out.
    """
    from yoyo.drivers.llamacpp.client import LlamaServerClient
    from yoyo.model.engine import Health
    from yoyo.model.ids import Secret
    from yoyo.model.machine import Endpoint

    client, endpoint = LlamaServerClient(), Endpoint(url, Secret(key))
    if client.health(endpoint) is Health.UNREACHABLE:
        return None
    load = client.load(endpoint)
    return (
        load.processing == 0
        and load.deferred == 0
        and load.slots is not None
        and (load.slots.busy == 0)
    )
