"""What every part of the driver shares: its tools, one client a project, one memory a node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.drivers.gce.memory import Memory
from yoyo.drivers.gce.names import gce_of
from yoyo.model.settings import NodeSettings

if TYPE_CHECKING:
    from yoyo.drivers.gce.cloud import Cloud
    from yoyo.ports.machines import Tools


class GceBase:
    """Nothing is imported from the cloud's library until a call is made."""

    def __init__(self, *, state_dir: Path, tools: Tools) -> None:
        self._state_dir = state_dir
        self._tools = tools
        self._clouds: dict[tuple[str, str | None, Path | None], Cloud] = {}

    def _memory(self, node: NodeSettings) -> Memory:
        return Memory(self._state_dir, node.name)

    def _cloud(self, node: NodeSettings) -> Cloud:
        from yoyo.drivers.gce.cloud import Cloud

        gce = gce_of(node)
        where = (gce.project, gce.api_endpoint, gce.credentials)
        if where not in self._clouds:
            self._clouds[where] = Cloud(*where, self._tools.clock)
        return self._clouds[where]

    def _now(self) -> datetime:
        return self._tools.clock.now()

    @contextmanager
    def _faults_say(self, what: str) -> Iterator[None]:
        """Whatever a call fails with becomes an error for the operator that begins with `what`."""
        from yoyo.drivers.gce.faults import CloudFault, for_operator

        try:
            yield
        except CloudFault as fault:
            raise for_operator(fault, what) from fault
