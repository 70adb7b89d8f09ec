"""A fake of compute.googleapis.com: a real HTTP server that Google's own client works against.

In a test: `with FakeGce() as fake: client(fake.url, fake.credentials(path))`. As a process:
`python tests/lab/fake_gce.py --port 0 --host light --state-file F` prints {"port": N}.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Self

import gce_lifecycle
from gce_api import Api, Seen, Violation
from gce_auth import Auth
from gce_catalog import furnish
from gce_guest import append_serial
from gce_http import Server
from gce_lab import Lab
from gce_network import add_address
from gce_operations import finish_interrupted
from gce_state import Cloud, Settings
from gcs_auth import granted
from vm_host import VmHost

JSON = dict[str, Any]

GOOGLE = "googleapis.com"
MACHINE_ADDRESSES = "10.127.0."


class WrongAnswer(AssertionError):
    """The fake answered what the discovery document does not allow."""


class FakeGce:
    """One fake, serving from the moment it is made until `close`."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        host: VmHost | None = None,
        state_file: Path | None = None,
        port: int = 0,
    ) -> None:
        self.settings = settings or Settings()
        if host is not None:
            # Machines that really run are reached at the address that the host gives them.
            self.settings.internal_addresses = getattr(host, "addresses", MACHINE_ADDRESSES)
            self.settings.external_addresses = ""
        self.cloud = Cloud(self.settings, host, state_file)
        self.faults = self.cloud.faults
        self.auth = Auth(self.settings.project, state_file)
        self.cloud.token = lambda: granted(self.auth)
        self._api = Api(self.cloud, self.auth)
        with self.cloud.changed:
            if self.cloud.load():
                finish_interrupted(self.cloud)
                gce_lifecycle.resume(self.cloud)
            else:
                furnish(self.cloud)
            self.cloud.touch()
        self._server = Server(port, self._api, Lab(self).answer)
        self.cloud.work(lambda: gce_lifecycle.watch_caps(self.cloud))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """What goes into `api_endpoint`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def violations(self) -> list[Violation]:
        """What came in or went out against the discovery document."""
        return self._api.violations

    @property
    def calls(self) -> list[Seen]:
        """Every call so far."""
        return self._api.calls

    def called(self, method: str) -> int:
        """How often a method was called, such as `compute.instances.insert`."""
        return sum(call.method == method for call in self.calls)

    def credentials(self, path: Path, universe: str = GOOGLE) -> Path:
        """Write a service account's key file.

        With Google's own universe google-auth asks iamcredentials.googleapis.com, in a thread of
        its own, where the account may be used from. Another one stops that; the client has to be
        told it as well (`ClientOptions.universe_domain`).
        """
        path.touch(mode=0o600)
        path.write_text(json.dumps(self.service_account_file(universe)))
        return path

    def service_account_file(self, universe: str = GOOGLE) -> JSON:
        """The contents of the key file."""
        return self.auth.service_account_file(f"{self.url}/token", universe)

    # what happens to machines from outside the API; each returns its operation

    def preempt(self, name: str) -> JSON:
        """Take a machine's capacity away."""
        with self.cloud.changed:
            return gce_lifecycle.preempt(self.cloud, self.cloud.instance_path(name))

    def host_error(self, name: str) -> JSON:
        """Let a machine's hardware break."""
        with self.cloud.changed:
            return gce_lifecycle.host_error(self.cloud, self.cloud.instance_path(name))

    def age(self, name: str, seconds: float) -> None:
        """Let a machine have run for so much longer: its times are put back, its cap comes near."""
        with self.cloud.changed:
            gce_lifecycle.age(self.cloud, self.cloud.instance_path(name), seconds)

    def power_off(self, name: str) -> None:
        """Let a machine power itself off, as `systemctl poweroff` in it does."""
        with self.cloud.changed:
            gce_lifecycle.guest_power_off(self.cloud, self.cloud.instance_path(name))

    # a machine's own output, for instances that run nothing

    def put_guest_attribute(self, name: str, namespace: str, key: str, value: str) -> None:
        """Write a guest attribute as the machine would."""
        with self.cloud.changed:
            vm = self.cloud.vms[self.cloud.instance_path(name)]
            vm.attributes[f"{namespace}/{key}"] = value
            self.cloud.touch()

    def write_serial(self, name: str, text: str) -> None:
        """Write to the serial console as the machine would."""
        with self.cloud.changed:
            append_serial(self.cloud, self.cloud.instance_path(name), text.encode())

    # looking and waiting, without going through the API

    def instance(self, name: str) -> JSON | None:
        """An instance's resource as it is now; None when there is none."""
        with self.cloud.changed:
            try:
                path = self.cloud.instance_path(name)
            except KeyError:
                return None
            copy: JSON = json.loads(json.dumps(self.cloud.resources[path]))
            return copy

    def paths(self, collection: str) -> list[str]:
        """The paths of all resources of a collection, such as `disks`."""
        with self.cloud.changed:
            return sorted(p for p in self.cloud.resources if p.split("/")[-2] == collection)

    def operations(self, name: str) -> list[JSON]:
        """The operations on the instance of that name, oldest first."""
        with self.cloud.changed:
            found = [
                dict(resource)
                for path, resource in self.cloud.resources.items()
                if "/operations/" in path and resource["targetLink"].endswith(f"/instances/{name}")
            ]
        return sorted(found, key=lambda operation: str(operation["name"]))

    def wait_for(self, name: str, status: str, timeout_s: float = 30.0) -> JSON:
        """Wait until an instance has a status; "" waits until it is gone."""

        def reached() -> bool:
            found = self.instance(name)
            return found is None if status == "" else (found or {}).get("status") == status

        with self.cloud.changed:
            if not self.cloud.changed.wait_for(reached, timeout_s):
                raise TimeoutError(f"{name} is not {status}: {self.instance(name)}")
        return self.instance(name) or {}

    def add_address(self, name: str, region: str, address: str = "198.51.100.1") -> None:
        """Reserve an address by hand."""
        add_address(self.cloud, name, region, address)

    def close(self) -> None:
        """End the server, every thread, and the host's machines."""
        self._server.stop()
        self._thread.join()
        self.cloud.close()
        if self.cloud.host:
            self.cloud.host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        wrong = [violation for violation in self.violations if violation.side == "response"]
        if wrong and kind is None:
            raise WrongAnswer(wrong)


def main() -> None:
    """Run a fake as a process of its own, until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state-file", type=Path, help="kept across restarts of the fake")
    parser.add_argument("--host", choices=("none", "light"), default="none")
    parser.add_argument("--settings", default="{}", help="fields of Settings, as JSON")
    parser.add_argument("--credentials", type=Path, help="write a service account's key file")
    asked = parser.parse_args()
    settings = Settings(**json.loads(asked.settings))
    settings.unreachable_zones = set(settings.unreachable_zones)
    host: VmHost | None = None
    if asked.host == "light":
        from light_host import LightHost

        host = LightHost()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    fake = FakeGce(settings, host=host, state_file=asked.state_file, port=asked.port)
    if asked.credentials:
        fake.credentials(asked.credentials)
    print(json.dumps({"port": fake.port}), flush=True)
    ended.wait()
    fake.close()
    sys.exit(1 if any(v.side == "response" for v in fake.violations) else 0)


if __name__ == "__main__":
    main()
