"""The lab's machines, really booted: systemd, sshd, Google's guest agent. Needs root."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from lab_guest import LabGuest
from nspawn_host import NspawnHost, build_image, interface_with
from nspawn_machine import cgroup_parents, ip

from yoyo.drivers.local.smoke_model import ensure

METADATA = "http://metadata.google.internal/computeMetadata/v1/instance"
CURL = "curl -sS --fail -H Metadata-Flavor:Google"
# Tells the test that the machine is up: the script is the last thing of a boot.
SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
echo 'yoyo: step guards done' >/dev/ttyS0
{CURL} -X PUT --data ready {METADATA}/guest-attributes/yoyo/phase
"""
MAKE_CERTIFICATE = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj /CN=yoyo
  -keyout /srv/tls.key -out /srv/tls.pem
"""
START_ENGINE = """
systemd-run /opt/yoyo/engine/current/bin/llama-server -m /srv/model.gguf --host 0.0.0.0
  --port 8443 -c 4096 -np 2 --cache-type-k f16 --cache-type-v f16 --metrics --slots --no-webui
  --api-key-file /srv/key --ssl-cert-file /srv/tls.pem --ssl-key-file /srv/tls.key -ngl 999
"""
SSH_KEY = (
    "yoyo:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0lbF3ZQbSTCFBnsqBj4mNa9jKM5rLI0rUfeAbBXWnA yoyo"
)
HOST_KEYS = {"hostkeys/ssh-ed25519", "hostkeys/ssh-rsa", "hostkeys/ecdsa-sha2-nistp256"}
NETWORK = "10.127.9.0/24"


T = TypeVar("T")


@pytest.fixture(scope="module")
def image() -> Path:
    return build_image()


@pytest.fixture(scope="module")
def host(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NspawnHost]:
    host = NspawnHost(tmp_path_factory.mktemp("lab"), image, NETWORK)
    yield host
    host.close()
    assert interface_with("10.127.9.1") is None
    assert [path for parent in cgroup_parents() for path in parent.glob(f"{host.bridge}*")] == []


def guest(name: str, number: int, disk: str = "") -> LabGuest:
    return LabGuest(name, f"10.127.9.{number}", disk, startup_script=SCRIPT, ssh_keys=SSH_KEY)


def up(host: NspawnHost, machine: LabGuest) -> LabGuest:
    """Boot until the startup script is through."""
    machine.guest_attributes.clear()
    host.boot(machine)
    machine.wait_until(lambda now: now.guest_attributes.get("yoyo/phase") == "ready")
    return machine


def eventually(look: Callable[[], T]) -> T:
    """Look until it can be seen: for what the guest agent does in its own time, telling nobody."""
    for _ in range(600):
        try:
            return look()
        except OSError:
            time.sleep(0.05)
    return look()


def ssh_banner(address: str) -> bytes:
    with socket.create_connection((address, 22), timeout=60) as sshd:
        return sshd.recv(64)


def test_a_machine_boots_like_one_of_googles(host: NspawnHost) -> None:
    machine = up(host, guest("boots", 10))
    machine.wait_until(lambda now: b"yoyo: step guards done" in now.serial)
    machine.wait_until(lambda now: now.guest_attributes.keys() >= HOST_KEYS)
    keys = host.root("boots") / "home/yoyo/.ssh/authorized_keys"
    assert SSH_KEY.removeprefix("yoyo:") in eventually(keys.read_text)
    # The agent has sshd read its settings anew, for which it is away for a moment.
    assert eventually(lambda: ssh_banner(machine.address)).startswith(b"SSH-2.0-")
    uptime = host.execute("boots", "cat", "/proc/uptime").stdout.split()[0]
    assert float(uptime) < float(Path("/proc/uptime").read_text().split()[0])
    host.shut_down("boots", grace_s=60)
    assert b"Reached target poweroff.target" in machine.serial
    assert not machine.has_ended


def test_a_disk_outlives_its_machine_until_it_is_removed(host: NspawnHost) -> None:
    up(host, guest("writes", 11, "disk"))
    (host.root("writes") / "var/lib/kept").write_text("kept")
    identity = (host.root("writes") / "etc/machine-id").read_text()
    with pytest.raises(ValueError, match="in use"):
        host.remove_disk("disk")
    host.copy_disk("disk", "copy")  # of a running machine: it goes on afterwards
    host.shut_down("writes", grace_s=60)

    up(host, guest("reads", 12, "disk"))
    up(host, guest("clone", 13, "copy"))
    for name in ("reads", "clone"):
        assert (host.root(name) / "var/lib/kept").read_text() == "kept"
    assert (host.root("reads") / "etc/machine-id").read_text() == identity
    assert (host.root("clone") / "etc/machine-id").read_text() != identity

    host.shut_down("reads", grace_s=60)
    host.remove_disk("disk")
    up(host, guest("anew", 11, "disk"))
    assert not (host.root("anew") / "var/lib/kept").exists()
    for name in ("clone", "anew", "never-there"):
        host.shut_down(name, grace_s=60)


def test_a_machine_that_powers_off_by_itself_has_ended(host: NspawnHost) -> None:
    machine = up(host, guest("ends", 14))
    host.execute("ends", "systemctl", "poweroff")
    machine.wait_until(lambda now: now.has_ended)
    host.boot(machine)  # its name and its disk are free again
    host.shut_down("ends", grace_s=0)


def test_a_machine_can_lose_its_metadata_server_and_hang(host: NspawnHost) -> None:
    up(host, guest("suffers", 15))
    ask = f"{CURL} {METADATA}/name".split()
    host.metadata_off("suffers")
    assert host.execute("suffers", *ask).returncode == 7  # curl: could not connect
    host.metadata_on("suffers")
    assert host.execute("suffers", *ask).stdout == "suffers"

    # Everything but the one that looks, which is new.
    states = ["ps", "--no-headers", "-e", "-o", "stat"]
    host.pause("suffers")
    hung = host.execute("suffers", *states).stdout.split()
    assert {"T"} <= {state[0] for state in hung[:-1]} <= {"T", "Z"}
    host.resume("suffers")
    assert "T" not in {state[0] for state in host.execute("suffers", *states).stdout.split()}
    host.pause("suffers")
    host.shut_down("suffers", grace_s=0.1)  # does not hear the power button


def test_the_engine_of_the_image_serves_over_tls(host: NspawnHost, tmp_path: Path) -> None:
    machine = up(host, guest("serves", 16))
    root = host.root("serves")
    (root / "srv/model.gguf").write_bytes(ensure(tmp_path).read_bytes())
    (root / "srv/key").write_text("secret\n")
    made = host.execute(
        "serves",
        *[
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-days",
            "2",
        ],
        *["-subj", "/CN=yoyo", "-keyout", "/srv/tls.key", "-out", "/srv/tls.pem"],
    )
    assert made.returncode == 0, made.stderr
    host.execute(
        "serves",
        *["systemd-run", "--unit=engine", "--property=StandardOutput=journal+console"],
        *[
            "/opt/yoyo/engine/current/bin/llama-server",
            "-m",
            "/srv/model.gguf",
            "--host",
            "0.0.0.0",
        ],
        *[
            "--port",
            "8443",
            "-c",
            "4096",
            "-np",
            "2",
            "--cache-type-k",
            "f16",
            "--cache-type-v",
            "f16",
            "--metrics",
        ],
        *["--slots", "--no-webui", "--api-key-file", "/srv/key", "--ssl-cert-file", "/srv/tls.pem"],
        *["--ssl-key-file", "/srv/tls.key", "-ngl", "999", "--no-warmup"],
    )
    machine.wait_until(lambda now: b"serving TLS" in now.serial)
    context = ssl.create_default_context(cadata=(root / "srv/tls.pem").read_text())
    context.check_hostname = False
    connection = http.client.HTTPSConnection(machine.address, 8443, timeout=60, context=context)
    question = json.dumps(
        {"messages": [{"role": "user", "content": "go"}], "max_tokens": 5, "stream": True}
    )
    key = {"Authorization": "Bearer secret"}
    answers = {}
    for path, body, headers in [
        ("/health", None, {}),
        ("/metrics", None, {}),
        ("/slots", None, key),
        ("/v1/chat/completions", question, {**key, "Content-Type": "application/json"}),
    ]:
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        answers[path] = (answer.status, answer.read())
    connection.close()
    assert {path: status for path, (status, _) in answers.items()} == {
        "/health": 200,
        "/metrics": 401,
        "/slots": 200,
        "/v1/chat/completions": 200,
    }
    assert answers["/v1/chat/completions"][1].endswith(b"data: [DONE]\n\n")
    host.shut_down("serves", grace_s=60)


OWNER = """
import sys, time
from pathlib import Path
from lab_guest import LabGuest
from nspawn_host import NspawnHost
host = NspawnHost(Path(sys.argv[1]), Path(sys.argv[2]), "10.127.8.0/24")
orphan = LabGuest("orphan", "10.127.8.10")
host.boot(orphan)
orphan.wait_until(lambda now: b"Reached target" in now.serial)
host.pause("orphan")  # not even a machine that hangs outlives its owner
print(host.bridge, host._machines["orphan"].leader(), flush=True)
time.sleep(600)
"""


def test_machines_die_with_a_killed_owner_and_the_next_cleans_up(
    image: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", OWNER, str(tmp_path), str(image)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    with owner:
        assert owner.stdout
        bridge, _, leader = owner.stdout.readline().partition(" ")
        machine = os.pidfd_open(int(leader)) if leader else None
        owner.send_signal(signal.SIGKILL)
    assert machine, "the owner could not boot its machine"
    assert select.select([machine], [], [], 60)[0], "the machine outlived its owner"
    os.close(machine)
    assert bridge in ip("link")
    NspawnHost(tmp_path, image, "10.127.8.0/24").close()
    assert bridge not in ip("link")


def test_two_hosts_do_not_share_a_network(host: NspawnHost, image: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=host.bridge):
        NspawnHost(tmp_path, image, NETWORK)


def test_what_cannot_be_made_is_told_and_leaves_nothing(host: NspawnHost, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-image"):
        NspawnHost(tmp_path, tmp_path / "no-image", "10.127.7.0/24")
    with pytest.raises(RuntimeError, match="ip link add"):
        host.boot(guest("broken", 300))
    host.shut_down("broken", grace_s=60)
    assert f"{host.bridge}-" not in ip("link")
