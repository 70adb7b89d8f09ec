"""The port of a platform's own records: what it has, and when it started and stopped it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from yoyo.model.reconcile import PlatformRecords
from yoyo.model.settings import NodeSettings


@runtime_checkable
class HasRecords(Protocol):
    """Optional ability of a machine driver whose platform keeps records of its own."""

    def records_scope(self, node: NodeSettings) -> str:
        """What `records` looks through, by name: nodes with the same one are asked once. Pure."""
        ...

    def records(self, node: NodeSettings) -> PlatformRecords:
        """All machines and disks of the scope that carry yoyo's labels, of any node.

        What the platform does not say stands in `unanswered`: an outage is no error here.

        Raises:
            CloudDenied, DriverUnavailable.
        """
        ...
