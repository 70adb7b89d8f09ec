"""The port between the fake GCE and whatever runs its machines."""

from __future__ import annotations

from typing import Protocol


class Guest(Protocol):
    """One machine as the platform sees it; a host boots it and tells the platform about it."""

    name: str
    disk: str
    address: str

    def metadata(self) -> tuple[str, dict[str, object]]:
        """The etag, and the tree under /computeMetadata/v1/ (instance{attributes,...}, project)."""
        ...

    def wait_for_metadata(self, etag: str, timeout_s: float) -> None:
        """Return when the metadata's etag is another one, at the latest after `timeout_s`."""
        ...

    def put_guest_attribute(self, namespace: str, key: str, value: str) -> None:
        """Store a guest attribute."""
        ...

    def get_guest_attribute(self, namespace: str, key: str) -> str | None:
        """A guest attribute, None when it is not there."""
        ...

    def write_serial(self, data: bytes) -> None:
        """Append to the serial console's output."""
        ...

    def ended(self) -> None:
        """The machine powered off by itself."""
        ...


class VmHost(Protocol):
    """Runs machines. Names of machines and of disks are unique within one host."""

    def boot(self, guest: Guest) -> None:
        """Begin to boot; returns once booting has begun. `guest.address` is the address to give."""
        ...

    def shut_down(self, name: str, grace_s: float) -> None:
        """Power button, then force; returns when it is down. An unknown name: silent."""
        ...

    def remove_disk(self, disk: str) -> None:
        """Forget a disk's contents. An unknown disk: silent."""
        ...

    def copy_disk(self, source: str, target: str) -> None:
        """Make `target` with the contents that `source` has now."""
        ...

    def close(self) -> None:
        """Stop every machine and remove all that was made."""
        ...
