"""The lab's own controls over HTTP, for a fake that runs as a process of its own.

GET state, calls, violations; POST faults, settings, preempt, host-error, power-off,
guest-attribute, serial, address, revoke, expire-tokens, credentials.
"""

from __future__ import annotations

import base64
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from gce_state import Settings

if TYPE_CHECKING:
    from fake_gce import FakeGce

JSON = dict[str, Any]


class Lab:
    """Answers what comes in below /_lab/."""

    def __init__(self, fake: FakeGce) -> None:
        self._fake = fake

    def answer(self, verb: str, path: str, body: JSON) -> JSON:
        """Do what a path says.

        Raises:
            KeyError, TypeError, ValueError: no such control, no such machine, a wrong body.
        """
        fake = self._fake
        if verb == "GET":
            return {"state": self._state, "calls": self._calls, "violations": self._violations}[
                path
            ]()
        match path:
            case "faults":
                fake.faults.load(body)
            case "settings":
                self._set(body)
            case "preempt":
                return fake.preempt(**body)
            case "host-error":
                return fake.host_error(**body)
            case "power-off":
                fake.power_off(**body)
            case "guest-attribute":
                fake.put_guest_attribute(**body)
            case "serial":
                fake.write_serial(**body)
            case "address":
                fake.add_address(**body)
            case "revoke":
                fake.auth.revoked = bool(body["revoked"])
            case "expire-tokens":
                fake.auth.expire_tokens()
            case "credentials":
                return fake.service_account_file(**body)
            case _:
                raise KeyError(path)
        return {}

    def _set(self, body: JSON) -> None:
        unknown = set(body) - {field.name for field in fields(Settings)}
        if unknown:
            raise ValueError(f"unknown settings: {sorted(unknown)}")
        for name, value in body.items():
            kept = set(value) if name == "unreachable_zones" else value
            setattr(self._fake.settings, name, kept)

    def _state(self) -> JSON:
        cloud = self._fake.cloud
        with cloud.changed:
            return {
                "resources": cloud.resources,
                "guests": {
                    path: {
                        "attributes": vm.attributes,
                        "serial": base64.b64encode(vm.serial).decode(),
                    }
                    for path, vm in cloud.vms.items()
                },
            }

    def _calls(self) -> JSON:
        return {"calls": [call._asdict() for call in self._fake.calls]}

    def _violations(self) -> JSON:
        return {"violations": [violation._asdict() for violation in self._fake.violations]}
