"""Runs the lab's machines: systemd containers on a bridge, with overlay disks. Needs root.

The machines boot a real systemd with sshd and Google's guest agent, from the image that
scripts/lab-image makes; they reach this host and each other, and nothing else.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nspawn_machine import Machine, cgroup_parents, ip, remove_cgroup
from vm_host import Guest

REPOSITORY = Path(__file__).resolve().parents[2]
# yl<process id>-<host>[-<machine>]: at most the 15 characters of an interface's name, and it
# tells whether whoever made it is still there.
OURS = re.compile(r"yl(\d+)-\d+(-\d+)?")
_hosts = itertools.count()


def build_image() -> Path:
    """The root file system of the machines; the first call takes about a minute."""
    done = subprocess.run(
        [REPOSITORY / "scripts/lab-image"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"scripts/lab-image failed:\n{done.stderr}")
    return Path(done.stdout.strip())


class NspawnHost:
    """A VmHost of systemd-nspawn containers.

    Disks live in `directory`, and outlast a host that was killed; `close` removes them. Guests
    have addresses in `network`, whose first address is the host's own, on the bridge. `prepare`
    puts files onto a new disk: it is called with the disk's root directory, which holds only
    what differs from the image.
    """

    def __init__(
        self,
        directory: Path,
        image: Path | None = None,
        network: str = "10.127.0.0/24",
        prepare: Callable[[Path], None] | None = None,
    ) -> None:
        self._image = image or build_image()
        if not self._image.is_dir():
            raise FileNotFoundError(f"there is no image {self._image}")
        self._prepare = prepare
        self._disks = directory / "disks"
        self._disks.mkdir(parents=True, exist_ok=True)
        # Machines die with the thread that started them, so that one lives as long as the host.
        self._starter = ThreadPoolExecutor(1)
        self._machines: dict[str, Machine] = {}
        self._lock = threading.RLock()
        self._number = itertools.count()
        remove_leftovers()
        self.bridge = f"yl{os.getpid()}-{next(_hosts)}"
        subnet = ipaddress.ip_network(network)
        self._gateway = f"{subnet[1]}/{subnet.prefixlen}"
        if taken := interface_with(str(subnet[1])):
            raise RuntimeError(f"{network} is in use by {taken}; give the lab another network")
        ip("link", "add", self.bridge, "type", "bridge")
        ip("address", "add", self._gateway, "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def boot(self, guest: Guest) -> None:
        """Begin to boot; returns once booting has begun."""
        with self._lock:
            if guest.name in self._machines:
                raise ValueError(f"{guest.name} runs already")
            if self._user_of(guest.disk):
                raise ValueError(f"disk {guest.disk} is in use")
            disk = self._disk(guest.disk)
            interface = f"{self.bridge}-{next(self._number)}"
            machine = Machine(guest, interface, self._forget)
            self._machines[guest.name] = machine
            try:
                machine.start(self._starter, self._image, disk, self.bridge, self._gateway)
            except BaseException:
                self._forget(machine)
                raise

    def shut_down(self, name: str, grace_s: float) -> None:
        """Power button, then force; returns when it is down. An unknown name: silent."""
        with self._lock:
            machine = self._machines.get(name)
        if machine:
            machine.stop(grace_s)

    def remove_disk(self, disk: str) -> None:
        """Forget a disk's contents. An unknown disk: silent."""
        with self._lock:
            if self._user_of(disk):
                raise ValueError(f"disk {disk} is in use")
            shutil.rmtree(self._disks / disk, ignore_errors=True)

    def copy_disk(self, source: str, target: str) -> None:
        """Make `target` with the contents that `source` has now."""
        with self._lock:
            user = self._user_of(source)
            if user:
                user.pause()  # files must not change under the copy
            try:
                copy = self._disks / target
                copy.mkdir()
                upper = self._disk(source) / "upper"
                # Overlay's own marks are extended attributes and devices; -a takes them along.
                subprocess.run(["cp", "-a", "--reflink=auto", upper, copy], check=True)
                # A clone is a machine of its own.
                (copy / "upper/etc/machine-id").unlink(missing_ok=True)
            finally:
                if user:
                    user.resume()

    def close(self) -> None:
        """Stop every machine and remove all that was made."""
        for name in list(self._machines):
            self.shut_down(name, 0)
        self._starter.shutdown()
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)
        shutil.rmtree(self._disks, ignore_errors=True)

    def pause(self, name: str) -> None:
        """Make the machine hang, with all its processes."""
        self._machines[name].pause()

    def resume(self, name: str) -> None:
        """Let a paused machine go on."""
        self._machines[name].resume()

    def metadata_off(self, name: str) -> None:
        """The machine's metadata server refuses connections."""
        self._machines[name].metadata.off()

    def metadata_on(self, name: str) -> None:
        """The machine's metadata server is back."""
        self._machines[name].metadata.on()

    def root(self, name: str) -> Path:
        """The root directory of a running machine, to be read and written from here."""
        return self._machines[name].root()

    def execute(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine as root, past ssh: for looking in from tests."""
        return self._machines[name].execute(list(command))

    def _disk(self, name: str) -> Path:
        """The directory of a disk, made if it is new."""
        disk = self._disks / name
        new = not (disk / "upper").exists()
        for part in ("upper", "work", "root"):
            (disk / part).mkdir(parents=True, exist_ok=True)
        if new and self._prepare:
            self._prepare(disk / "upper")
        return disk

    def _user_of(self, disk: str) -> Machine | None:
        users = (machine for machine in self._machines.values() if machine.guest.disk == disk)
        return next(users, None)

    def _forget(self, machine: Machine) -> None:
        with self._lock:
            self._machines.pop(machine.guest.name, None)


def remove_leftovers() -> None:
    """Remove what a killed host left: its bridge and cgroups. The rest died with it."""
    for link in json.loads(ip("-json", "link")):
        if _is_left_over(link["ifname"]):
            ip("link", "delete", link["ifname"])
    for parent in cgroup_parents():
        for cgroup in parent.glob("yl*"):
            if _is_left_over(cgroup.name):
                remove_cgroup(cgroup)


def _is_left_over(name: str) -> bool:
    ours = OURS.fullmatch(name)
    return ours is not None and not Path("/proc", ours[1]).exists()


def interface_with(address: str) -> str | None:
    """The interface of this network namespace that has the address."""
    for link in json.loads(ip("-json", "address")):
        if any(entry.get("local") == address for entry in link["addr_info"]):
            return str(link["ifname"])
    return None
