"""What the controller remembers of one node between commands.

`seen.json` is a cache that may be deleted at will: it lets `status` ask the node itself
without asking Google first. `key` and `ssh_key` are secrets that cannot be found again;
without them `yoyo key rotate` makes new ones.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from yoyo.errors import StateUnwritable
from yoyo.model.ids import NodeName, Secret
from yoyo.model.machine import Clocks, Endpoint, GuardStatus, MachineState, Observation

_MAX_BYTES = 1 << 20
_MOST_S = 10**11  # 3,000 years, as guest.py takes them


class Seen(NamedTuple):
    """A node as it was last seen running, at `at`."""

    request_id: str
    zone: str
    address: str
    url: str
    pin: str
    started_at: str
    guards: dict[str, str | None]  # name -> when it fires, ISO 8601
    host_keys: dict[str, str]  # key type -> base64
    clocks: dict[str, int | None]  # the fields of Clocks, once checked
    at: str


class Memory:
    """One node's directory under the state directory."""

    def __init__(self, state_dir: Path, node: NodeName) -> None:
        self.directory = state_dir / "nodes" / node
        self._state_dir = state_dir

    def seen(self) -> Seen | None:
        """The cache; None when it is missing or of no use."""
        found = self._read("seen.json")
        try:
            seen = Seen(**found) if isinstance(found, dict) else None
        except TypeError:
            return None
        if seen is None or not all(
            isinstance(value, dict if name in ("guards", "host_keys", "clocks") else str)
            for name, value in seen._asdict().items()
        ):
            return None
        return seen

    def remember(self, seen: Seen) -> None:
        """Write the cache. A disk that is full costs speed alone, so it is no error."""
        with suppress(StateUnwritable):
            self._write("seen.json", json.dumps(seen._asdict()))

    def zone(self) -> str:
        """Where the node was last seen; a hint that saves a search over every zone."""
        found = self._read("zone.json")
        zone = found.get("zone") if isinstance(found, dict) else None
        return zone if isinstance(zone, str) else ""

    def note_zone(self, zone: str) -> None:
        """Remember where the node is."""
        if zone != self.zone():
            with suppress(StateUnwritable):
                self._write("zone.json", json.dumps({"zone": zone}))

    def forget(self) -> None:
        """Drop the cache: the node is not what it was."""
        with suppress(OSError):
            (self.directory / "seen.json").unlink(missing_ok=True)

    def bearer(self) -> Secret | None:
        """The endpoint's key."""
        try:
            text = (self.directory / "key").read_text().strip()
        except (OSError, ValueError):
            return None
        return Secret(text) if text else None

    def keep_bearer(self, key: Secret) -> None:
        """Write the endpoint's key, mode 0600.

        Raises:
            StateUnwritable.
        """
        self._write("key", key.reveal() + "\n")

    def seal_key(self) -> str:
        """The public key of the node's disk, for sealing; "" when it is not known.

        Kept apart from `seen.json`: it lives as long as the disk, not as long as one boot.
        """
        found = self._read("seal-key.json")
        key = found.get("pem") if isinstance(found, dict) else None
        return key if isinstance(key, str) else ""

    def keep_seal_key(self, pem: str) -> None:
        """Remember it; without it a restart takes one exchange more."""
        with suppress(StateUnwritable):
            self._write("seal-key.json", json.dumps({"pem": pem}))

    def identity(self) -> str:
        """The token of the node's keys, made at the first call.

        An image or a snapshot carries the keys of the disk it is of; under another token the
        node makes its own.

        Raises:
            StateUnwritable.
        """
        found = self._read("identity.json")
        token = found.get("token") if isinstance(found, dict) else None
        return token if isinstance(token, str) and token else self.new_identity()

    def new_identity(self) -> str:
        """A fresh token: from its next start on, the node has other keys.

        Raises:
            StateUnwritable.
        """
        token = os.urandom(16).hex()
        self._write("identity.json", json.dumps({"token": token}))
        with suppress(OSError):
            (self.directory / "seal-key.json").unlink(missing_ok=True)
        return token

    def sent_key(self, request_id: str) -> str:
        """What this life's node was sent: a digest of bearer and seal key; "" when nothing."""
        found = self._read("sent-key.json")
        fits = isinstance(found, dict) and found.get("request_id") == request_id
        return str(found.get("sha256", "")) if fits else ""

    def note_sent(self, request_id: str, digest: str) -> None:
        """Remember which key was sent."""
        with suppress(StateUnwritable):
            record = {"request_id": request_id, "sha256": digest}
            self._write("sent-key.json", json.dumps(record))

    def lease_renewed(self, token: str, lease_s: int) -> None:
        """Bring the dead-man's time in the cache up to date."""
        seen, at = self.seen(), parse_time(token)
        if seen is not None and at is not None and seen.guards.get("dead-man"):
            fires = (at + timedelta(seconds=lease_s)).isoformat()
            self.remember(seen._replace(guards=seen.guards | {"dead-man": fires}))

    def ssh_key(self) -> Path:
        """Where the SSH identity lies; its directory is made.

        Raises:
            StateUnwritable.
        """
        self._make()
        return self.directory / "ssh_key"

    def stockouts(self) -> dict[str, str]:
        """Zone -> when it last had no capacity, ISO 8601."""
        found = self._read("stockouts.json")
        if not isinstance(found, dict):
            return {}
        return {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, str)}

    def note_stockout(self, zone: str, at: datetime) -> None:
        """Remember that a zone had no capacity."""
        with suppress(StateUnwritable):
            known = self.stockouts() | {zone: at.isoformat(timespec="seconds")}
            self._write("stockouts.json", json.dumps(known))

    def cut_off(self, request_id: str) -> None:
        """Somebody wants this start to end, though there is no machine yet to stop."""
        with suppress(StateUnwritable):
            self._write("cut-off.json", json.dumps({"request_id": request_id}))

    def is_cut_off(self, request_id: str) -> bool:
        """Whether this start is to end."""
        found = self._read("cut-off.json")
        return isinstance(found, dict) and found.get("request_id") in (request_id, "*")

    @contextmanager
    def starting(self) -> Iterator[None]:
        """One start of a node at a time here: two would make two keys for one machine.

        Raises:
            StateUnwritable.
        """
        self._make()
        try:
            lock = os.open(
                self.directory / "starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise _unwritable(self.directory, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def clear_cut_off(self) -> None:
        """A start begins: what was meant for another one is void."""
        with suppress(OSError):
            (self.directory / "cut-off.json").unlink(missing_ok=True)

    def erase(self) -> None:
        """Remove everything: the node is deleted."""
        names = (
            "seen.json",
            "zone.json",
            "key",
            "ssh_key",
            "known_hosts",
            "cut-off.json",
            "starting",
            "seal-key.json",
            "sent-key.json",
            "identity.json",
            "stockouts.json",
        )
        for name in names:
            with suppress(OSError):
                (self.directory / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.directory.rmdir()

    def _read(self, name: str) -> Any:
        try:
            with (self.directory / name).open("rb") as file:
                return json.loads(file.read(_MAX_BYTES))
        except (OSError, ValueError, RecursionError):
            return None

    def _make(self) -> None:
        try:
            for each in (self._state_dir, self.directory.parent, self.directory):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.directory, error) from error

    def _write(self, name: str, text: str) -> None:
        self._make()
        part = self.directory / f"{name}.{os.getpid()}.part"
        try:
            part.touch(mode=0o600)
            part.write_text(text)
            part.replace(self.directory / name)
        except OSError as error:
            raise _unwritable(self.directory, error) from error


def _unwritable(directory: Path, error: OSError) -> StateUnwritable:
    return StateUnwritable(
        f"The node's directory {directory} cannot be written.",
        why=error.strerror or str(error),
        fix="Make it writable, or set `state_dir:` to another place.",
    )


def parse_time(text: object) -> datetime | None:
    """A time of Google's or of ours as aware UTC; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo is not None else None


def as_observation(seen: Seen, key: Secret) -> Observation:
    """The observation of a node that has just answered for itself."""
    return Observation(
        MachineState.RUNNING,
        seen.request_id,
        started_at=parse_time(seen.started_at),
        endpoint=Endpoint(seen.url, key, seen.pin),
        guards=tuple(
            GuardStatus(name, at is not None, parse_time(at), f"as seen at {seen.at}")
            for name, at in seen.guards.items()
        ),
        clocks=Clocks(*(_whole(seen.clocks.get(name)) for name in Clocks._fields)),
    )


def _whole(seconds: object) -> int | None:
    """A file that was damaged may hold anything."""
    return seconds if type(seconds) is int and abs(seconds) < _MOST_S else None
