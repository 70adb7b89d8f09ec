"""One machine of the lab: a booted systemd container with namespaces of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from metadata_server import ADDRESS, MetadataServer, listen_in
from vm_host import Guest

POWER_BUTTON = signal.SIGRTMIN + 4  # systemd takes it as "power off"
PRESS_AGAIN_S = 1.0  # a systemd that has only begun to boot does not hear the button yet

GONE = "X"
STOPPED = {"T", "t", "Z", GONE}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Runs inside the new namespaces. Everything it makes dies with them: the mount, the addresses.
# It asks for the other end of its network, and says when booting begins.
ENTER = """
set -euo pipefail
image=$1 disk=$2 name=$3 address=$4 gateway=$5 cgroups=$6
for cgroup in $cgroups; do echo 0 >"$cgroup/cgroup.procs"; done
mount -t overlay overlay \
  -o "lowerdir=$image,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
ip link set lo up
ip address add 169.254.169.254/32 dev lo
echo connect
read -r connected
ip address add "$address" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
export SYSTEMD_LOG_TARGET=console
echo booting
exec systemd-nspawn --quiet --directory="$disk/root" --machine="$name" --boot --register=no \
  --keep-unit --network-namespace-path=/proc/self/ns/net --console=read-only --link-journal=no \
  --resolv-conf=off --timezone=off --settings=no
"""


class Machine:
    """A running machine. Its processes die with the thread that started them: `starter`'s."""

    def __init__(self, guest: Guest, interface: str, ended: Callable[[Machine], None]) -> None:
        self.guest = guest
        self.interface = interface
        self._told_to_stop = False
        self._ended = ended
        self._gone = threading.Event()
        self._cgroups = [parent / interface for parent in cgroup_parents()]

    def start(
        self, starter: ThreadPoolExecutor, image: Path, disk: Path, bridge: str, network: str
    ) -> None:
        """Begin to boot. `network` is the gateway and the prefix: 10.127.0.1/24."""
        gateway, _, prefix = network.partition("/")
        for cgroup in self._cgroups:
            cgroup.mkdir()
        command = [*isolation(), "bash", "-c", ENTER, "enter", str(image), str(disk)]
        command += [self.guest.name, f"{self.guest.address}/{prefix}", gateway]
        command += [" ".join(map(str, self._cgroups))]
        self._process = starter.submit(_popen, command).result()
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._expect(b"connect\n")
            self._connect(bridge)
            namespace = Path(f"/proc/{self._process.pid}/ns/net")
            self.metadata = MetadataServer(self.guest, lambda: listen_in(namespace, ADDRESS))
            self.metadata.on()
            self._process.stdin.write(b"connected\n")
            self._process.stdin.close()
            # From here on a connection is refused or accepted, and never waits for the network.
            self._expect(b"booting\n")
        except BaseException:
            self._force()
            self._clean_up()
            raise
        threading.Thread(target=self._follow_console, daemon=True).start()

    def _expect(self, line: bytes) -> None:
        assert self._process.stdout
        said = self._process.stdout.readline()
        if said != line:
            raise RuntimeError(f"the machine could not be made: {said.decode().strip()}")

    def _connect(self, bridge: str) -> None:
        # The address's own hardware address, as on GCE: who knew it from an earlier boot of the
        # machine still reaches it.
        octets = [int(octet) for octet in self.guest.address.split(".")]
        mac = ":".join(f"{octet:02x}" for octet in [0x42, 0x01, *octets])
        ip("link", "add", self.interface, "type", "veth", "peer", "name", "eth0",
           "address", mac, "netns", str(self._process.pid))  # fmt: skip
        ip("link", "set", self.interface, "master", bridge, "up")

    def _follow_console(self) -> None:
        assert self._process.stdout
        try:
            while data := os.read(self._process.stdout.fileno(), 65536):
                self.guest.write_serial(data)
        finally:
            self._force()  # has ended, unless the platform would not take its output
            self._clean_up()
            self._ended(self)
            by_itself = not self._told_to_stop
            self._gone.set()
        if by_itself:
            self.guest.ended()

    def _clean_up(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        if hasattr(self, "metadata"):
            self.metadata.off()
        subprocess.run(["ip", "link", "delete", self.interface], capture_output=True, check=False)
        for cgroup in self._cgroups:
            remove_cgroup(cgroup)

    def stop(self, grace_s: float) -> None:
        """The power button, then force; returns when it is down."""
        self._told_to_stop = True
        waited = 0.0
        while waited < grace_s and not self._gone.is_set():
            if leader := self.leader():
                _send(leader, POWER_BUTTON)
            self._gone.wait(min(PRESS_AGAIN_S, grace_s - waited))
            waited += PRESS_AGAIN_S
        self._force()
        self._gone.wait()

    def _force(self) -> None:
        """Kill it from within: the outermost process ends last, when all the others are gone."""
        within = children_of_all().get(self._process.pid, [])
        for process in within:
            _send(process, signal.SIGKILL)
        if not within:
            self._process.kill()

    def leader(self) -> int | None:
        """The process id, seen from here, of the machine's process 1; None when there is none."""
        children = children_of_all()
        for supervisor in children.get(self._process.pid, ()):
            for child in children.get(supervisor, ()):
                # Until it is in its own namespace it is not the machine's.
                if _pid_namespace(child) != _pid_namespace(supervisor):
                    return child
        return None

    def pause(self) -> None:
        """Stop every process of the machine where it stands: it hangs."""
        # Again and again: one may have forked meanwhile, or be in the middle of a system call.
        while running := [p for p in self._processes() if _state(p) not in STOPPED]:
            for process in running:
                _send(process, signal.SIGSTOP)
            time.sleep(0.005)

    def resume(self) -> None:
        for process in self._processes():
            _send(process, signal.SIGCONT)

    def _processes(self) -> set[int]:
        leader = self.leader()
        if leader is None:
            raise RuntimeError(f"{self.guest.name} has not begun to boot")
        space = _pid_namespace(leader)
        every = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        return {process for process in every if _pid_namespace(process) == space}

    def root(self) -> Path:
        """The machine's root directory, to be read and written from here."""
        return Path(f"/proc/{self.leader()}/root")

    def execute(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine as root."""
        enter = ["nsenter", "--target", str(self.leader()), "--all", "--", *command]
        return subprocess.run(
            enter, capture_output=True, text=True, check=False, env={"PATH": SYSTEM_PATH}
        )


def isolation() -> list[str]:
    """The command that starts another one in namespaces of its own.

    Killed or orphaned, it takes the whole machine along: process 1 of a process namespace has
    nothing outlive it. The clocks that count from boot start at zero, as a machine's do.
    """
    booted = int(float(Path("/proc/uptime").read_text().split()[0]))
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--net", "--pid", "--mount-proc", "--fork", "--kill-child"),
        *("--time", f"--boottime=-{booted}", f"--monotonic=-{booted}", "--"),
    ]


def _popen(command: list[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0, process_group=0
    )


def ip(*words: str) -> str:
    """Run iproute2's `ip`; what it says is in the error."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def cgroup_parents() -> list[Path]:
    """Our own cgroup in each hierarchy in which systemd keeps its units.

    Machines need cgroups of their own there, or their systemds would take each other's units for
    theirs.
    """
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    parents = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, name, own = line.split(":", 2)
        if name not in ("", "name=systemd"):
            continue
        for mount in mounts:
            kind, options = mount[mount.index("-") + 1], mount[-1].split(",")
            if (kind == "cgroup2") if name == "" else (kind == "cgroup" and name in options):
                parents.append(Path(mount[4]) / own.lstrip("/"))
                break
    return parents


def remove_cgroup(cgroup: Path) -> None:
    """Remove an empty cgroup with those below it."""
    for directory, _, _ in os.walk(cgroup, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError:
            pass  # not empty yet: the next host removes it


def children_of_all() -> dict[int, list[int]]:
    """The children of every process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (status := _status(int(entry.name))):
            children.setdefault(int(status[1]), []).append(int(entry.name))
    return children


def _status(process: int) -> list[str]:
    """What /proc/PID/stat has after the process's name; nothing when it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(process: int) -> str:
    return next(iter(_status(process)), GONE)


def _pid_namespace(process: int) -> Path | None:
    try:
        return Path(f"/proc/{process}/ns/pid").readlink()
    except OSError:
        return None


def _send(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass
