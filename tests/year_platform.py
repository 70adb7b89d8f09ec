"""The platform of the generated year, as a machine driver would have asked it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from yoyo.model.reconcile import PlatformDisk, PlatformMachine, PlatformRecords
from yoyo.model.settings import NodeSettings


class YearPlatform:
    """Implements HasRecords, out of platform.json."""

    def __init__(self, directory: Path, unanswered: tuple[str, ...] = ()) -> None:
        said = json.loads((directory / "platform.json").read_text())
        self.said = PlatformRecords(
            tuple(map(_machine, said["instances"])),
            tuple(map(_disk, said["disks"])),
            unanswered=unanswered,
        )
        self.asked = 0

    def records_scope(self, node: NodeSettings) -> str:
        return "project yoyo-year"

    def records(self, node: NodeSettings) -> PlatformRecords:
        self.asked += 1
        return self.said


def _machine(said: dict[str, Any]) -> PlatformMachine:
    node, request = said["labels"]["yoyo-node"], said["labels"]["yoyo-request"]
    times = [_time(said["lastStartTimestamp"]), _time(said["lastStopTimestamp"])]
    return PlatformMachine(
        said["name"], said["zone"], node, request, said["status"] == "RUNNING", *times
    )


def _disk(said: dict[str, Any]) -> PlatformDisk:
    return PlatformDisk(
        said["name"],
        said["zone"],
        said["labels"]["yoyo-node"],
        said["labels"]["yoyo-request"],
        said["sizeGb"],
        _time(said.get("creationTimestamp")),
        bool(said["users"]),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
