"""The driver's abilities on a running node: shell, logs, tunnel, key; and bake and sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.drivers.gce.base import GceBase
from yoyo.drivers.gce.names import gce_of, instance_name, labels_of, port_of
from yoyo.errors import CloudUnavailable, NodeNotReady, SshFailed
from yoyo.model.ids import Secret
from yoyo.model.machine import Endpoint, Leftover
from yoyo.model.settings import NodeSettings

if TYPE_CHECKING:
    from yoyo.drivers.gce.cloud import Document
    from yoyo.drivers.gce.ssh import Target, Tunnel
    from yoyo.model.reconcile import PlatformRecords
    from yoyo.ports.machines import Tools

_BAKE_S = 1800.0
_POLL_S = 0.5
_CONSOLE_POLL_S = 2.0


class GceRemote(GceBase):
    """Implements HasShell, HasTunnel, RotatesKeys, HasBootstrap, Bakes, HasSweep and HasRecords."""

    def __init__(self, *, state_dir: Path, tools: Tools) -> None:
        super().__init__(state_dir=state_dir, tools=tools)
        self._tunnels: dict[str, Tunnel] = {}

    def ssh_command(self, node: NodeSettings) -> list[str]:
        """See the port."""
        from yoyo.drivers.gce.ssh import openssh_argv

        target = self._target(node)
        return openssh_argv(target, self._memory(node).directory / "known_hosts")

    def execute(
        self, node: NodeSettings, command: tuple[str, ...], output: Callable[[int, bytes], None]
    ) -> int:
        """See the port."""
        from yoyo.drivers.gce.ssh import execute

        return execute(self._target(node), command, output)

    def remote_log(
        self, node: NodeSettings, source: str, *, lines: int, follow: bool
    ) -> Iterator[str]:
        """See the port: the boot log is the serial console, which needs no SSH."""
        if source == "boot":
            return self._console(node, lines, follow)
        return self._engine_log(node, lines, follow)

    def _engine_log(self, node: NodeSettings, lines: int, follow: bool) -> Iterator[str]:
        command = ["sudo", "journalctl", "--unit=yoyo-engine", "--no-pager", "--output=short-iso"]
        command += [f"--lines={lines}", *(["--follow"] if follow else [])]
        from yoyo.drivers.gce.ssh import stream

        rest = b""
        for data in stream(self._target(node), tuple(command)):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")
        if rest:
            yield rest.decode("utf-8", "replace")

    def _console(self, node: NodeSettings, lines: int, follow: bool) -> Iterator[str]:
        from yoyo.drivers.gce.look import zone_of

        with self._faults_say(f"The console of {node.name} could not be read."):
            instance = self._instance(node)
            where = {"zone": zone_of(instance), "instance": str(instance["name"])}
            page = self._cloud(node).read("Instances", "get_serial_port_output", **where)
            yield from page.get("contents", "").splitlines()[-lines:] if lines else []
            while follow:
                self._tools.clock.sleep(_CONSOLE_POLL_S)
                page = self._cloud(node).read(
                    "Instances", "get_serial_port_output", start=int(page.get("next", 0)), **where
                )
                yield from page.get("contents", "").splitlines()
                if self._instance(node).get("status") != "RUNNING":
                    return

    def open_tunnel(self, node: NodeSettings, local_port: int) -> Endpoint:
        """See the port."""
        from yoyo.drivers.gce.ssh import Tunnel

        tunnel = Tunnel(self._target(node), port_of(node), local_port)
        self._tunnels[f"{node.name}/{tunnel.port}"] = tunnel  # kept: it ends with the process
        key = self._memory(node).bearer() or Secret("")
        secure = gce_of(node).traffic == "tls"
        seen = self._memory(node).seen()
        scheme, pin = ("https", seen.pin if seen else "") if secure else ("http", "")
        return Endpoint(f"{scheme}://127.0.0.1:{tunnel.port}", key, pin)

    def _through_tunnel(self, node: NodeSettings, endpoint: Endpoint) -> Endpoint | None:
        """The endpoint of a node behind a tunnel, which is opened once a process."""
        name = str(node.name)
        tunnel = self._tunnels.get(name)
        if tunnel is None or not tunnel.alive:
            from yoyo.drivers.gce.ssh import Tunnel

            try:
                tunnel = Tunnel(self._target(node), port_of(node), 0)
            except (SshFailed, NodeNotReady):
                return None
            self._tunnels[name] = tunnel
        return Endpoint(f"http://127.0.0.1:{tunnel.port}", endpoint.key)

    def rotate_key(self, node: NodeSettings, timeout_s: float) -> None:
        """See the port. The new key replaces the old one here once the node uses it."""
        from yoyo.drivers.gce.handover import send_key
        from yoyo.drivers.gce.keys import digest_of, new_bearer_key
        from yoyo.drivers.gce.look import read_guest

        memory, clock = self._memory(node), self._tools.clock
        bearer = Secret(new_bearer_key())
        with self._faults_say(f"The key of {node.name} was not rotated."):
            if not send_key(self._cloud(node), node, memory, clock, bearer):
                raise NodeNotReady(
                    f"Node {node.name} cannot take a key.",
                    why="It does not run, or has not published a key to seal for.",
                    fix=f"Run `yoyo status --node {node.name}`.",
                )
            deadline = clock.monotonic() + timeout_s
            while read_guest(self._cloud(node), self._instance(node)).key_digest != digest_of(
                bearer.reveal()
            ):
                if clock.monotonic() > deadline:
                    raise CloudUnavailable(
                        f"Node {node.name} did not confirm its new key.",
                        why=f"It was sent {timeout_s:g} s ago.",
                        fix="Run `yoyo key rotate` again; until then the old key stays in use "
                        "here and may be refused there.",
                    )
                clock.sleep(_POLL_S)
        memory.keep_bearer(bearer)
        memory.forget()

    def bootstrap_script(self, node: NodeSettings) -> str:
        """See the port."""
        from yoyo.drivers.gce.script import render

        return render(node, self._tools.templates)

    def bake(self, node: NodeSettings, name: str) -> str:
        """See the port."""
        from yoyo.drivers.gce.cloud import last_part
        from yoyo.drivers.gce.look import request_of, zone_of

        gce = gce_of(node)
        with self._faults_say(f"The image {name} was not made."):
            instance = self._instance(node)
            disk = next(each for each in instance["disks"] if each.get("boot"))
            source = (
                f"projects/{gce.project}/zones/{zone_of(instance)}/disks/"
                f"{last_part(disk['source'])}"
            )
            request_id = request_of(instance, node)
            self._cloud(node).carry_out(
                "Images",
                "insert",
                _BAKE_S,
                image_resource={
                    "name": name,
                    "family": instance_name(node),
                    "sourceDisk": source,
                    "description": f"Baked by yoyo from {instance['name']}.",
                    "labels": labels_of(node, request_id),
                },
            )
        # The image holds this disk's private keys: they must not be those of a node at work.
        self._memory(node).new_identity()
        return f"projects/{gce.project}/global/images/{name}"

    def leftovers(
        self, node: NodeSettings, live: frozenset[str], known: frozenset[str]
    ) -> list[Leftover]:
        """See the port."""
        from yoyo.drivers.gce.sweep import leftovers

        with self._faults_say("It could not be found out what is left."):
            return leftovers(self._cloud(node), node, live, known)

    def remove(self, node: NodeSettings, leftover: Leftover) -> None:
        """See the port."""
        from yoyo.drivers.gce.removal import remove

        with self._faults_say(f"{leftover.kind} {leftover.name} was not removed."):
            place = "" if leftover.place == "global" else leftover.place
            remove(self._cloud(node), leftover.kind, leftover.name, place)

    def records_scope(self, node: NodeSettings) -> str:
        """See the port."""
        from yoyo.drivers.gce.records import scope_of

        return scope_of(node)

    def records(self, node: NodeSettings) -> PlatformRecords:
        """See the port."""
        from yoyo.drivers.gce.records import records

        return records(self._cloud(node), node)

    def _instance(self, node: NodeSettings) -> Document:
        """The node's instance.

        Raises:
            NodeNotReady: there is none of ours.
            CloudFault.
        """
        from yoyo.drivers.gce.look import find_instance, request_of

        instance = find_instance(self._cloud(node), node, self._memory(node).zone())
        if instance is None or not request_of(instance, node):
            raise NodeNotReady(
                f"Node {node.name} has no machine.",
                why="Google knows none of its name and label.",
                fix=f"Start it with `yoyo up --node {node.name}`.",
            )
        return instance

    def _target(self, node: NodeSettings) -> Target:
        """Where SSH goes: from the cache when the node is up, else from Google.

        Raises:
            NodeNotReady, CloudDenied, CloudUnavailable.
        """
        from yoyo.drivers.gce.ssh import Target

        seen, memory = self._memory(node).seen(), self._memory(node)
        if seen is not None and seen.host_keys:
            zone, address, keys = seen.zone, seen.address, seen.host_keys
        else:
            zone, address, keys = self._ask_for_target(node)
        proxy = _iap(node, zone) if gce_of(node).ssh_from == "iap" else ()
        return Target(address, keys, memory.ssh_key(), proxy)

    def _ask_for_target(self, node: NodeSettings) -> tuple[str, str, dict[str, str]]:
        from yoyo.drivers.gce.look import address_of, read_guest, zone_of

        with self._faults_say(f"It could not be found out where {node.name} is."):
            instance = self._instance(node)
            keys = dict(read_guest(self._cloud(node), instance).host_keys)
        address = address_of(instance, node)
        if instance.get("status") != "RUNNING" or not keys or not address:
            raise NodeNotReady(
                f"Node {node.name} takes no SSH connection yet.",
                why=f"It is {instance.get('status')}, and has published {len(keys)} host key(s).",
                fix="Wait until it has booted; `yoyo logs --boot` shows how far it is.",
            )
        return zone_of(instance), address, keys


def _iap(node: NodeSettings, zone: str) -> tuple[str, ...]:
    """Google's own tunnel as the carrier: gcloud knows its protocol."""
    return (
        "gcloud", "compute", "start-iap-tunnel", instance_name(node), "22",
        "--listen-on-stdin", f"--zone={zone}", f"--project={gce_of(node).project}",
    )  # fmt: skip
