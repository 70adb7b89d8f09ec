"""The platform's side of one machine, for tests of what runs machines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class LabGuest:
    """A Guest that keeps what its machine says, and lets a test wait for it."""

    def __init__(self, name: str, address: str = "", disk: str = "", **attributes: str) -> None:
        self.name = name
        self.disk = disk or name
        self.address = address
        self.serial = b""
        self.guest_attributes: dict[str, str] = {}
        self.has_ended = False
        self.instance: dict[str, Any] = {
            "id": abs(hash(self.disk)),
            "name": name,
            "attributes": {"enable-guest-attributes": "TRUE"},
            "networkInterfaces": [{"ip": address, "mac": "42:01:0a:7f:00:0a"}],
            "zone": "projects/1/zones/lab",
        }
        # The guest agent asks for these, and asks again for ever when they are not there.
        self.project = {"projectId": "lab", "attributes": {}}
        self._version = 0
        self._changed = threading.Condition()
        self.set_attributes(**attributes)

    def set_attributes(self, **attributes: str) -> None:
        """Change instance metadata; `_` stands for `-`."""
        with self._changed:
            for name, value in attributes.items():
                self.instance["attributes"][name.replace("_", "-")] = value
            self._version += 1
            self._changed.notify_all()

    def metadata(self) -> tuple[str, dict[str, object]]:
        with self._changed:
            return str(self._version), {"instance": self.instance, "project": self.project}

    def wait_for_metadata(self, etag: str, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: etag != str(self._version), timeout_s)

    def put_guest_attribute(self, namespace: str, key: str, value: str) -> None:
        with self._changed:
            self.guest_attributes[f"{namespace}/{key}"] = value
            self._changed.notify_all()

    def get_guest_attribute(self, namespace: str, key: str) -> str | None:
        return self.guest_attributes.get(f"{namespace}/{key}")

    def write_serial(self, data: bytes) -> None:
        with self._changed:
            self.serial += data
            self._changed.notify_all()

    def ended(self) -> None:
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()

    def wait_until(self, holds: Callable[[LabGuest], bool]) -> None:
        """Wait for something that the machine does; the serial output tells why it did not."""
        with self._changed:
            if not self._changed.wait_for(lambda: holds(self), timeout=60):
                raise AssertionError(self.serial.decode(errors="replace"))
