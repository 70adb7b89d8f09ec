"""What an operator can do with a node that runs: a shell, a tunnel, logs, a new key, an image."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import signal
import ssl
import subprocess
from urllib.parse import urlsplit

import pytest
from cli import YOYO
from guard_parts import LabNode, key_of
from lab import Lab
from lab_commands import LabPlace

HOST_KEYS = "/etc/ssh"


@pytest.fixture(scope="module")
def node(lab: Lab) -> LabNode:
    """It is ready at the beginning of each test."""
    place = LabPlace(lab)
    lab.configure()
    made = LabNode(place)
    made.up()
    return made  # it ends with the laboratory


def yoyo(node: LabNode, *arguments: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command with something on its stdin; bytes, since they may be any."""
    place = node.place
    return subprocess.run(
        [YOYO, *arguments],
        cwd=place.root,
        env=place.env(),
        input=said,
        capture_output=True,
        timeout=60,
        check=False,
    )


def get(url: str, path: str, key: str = "") -> tuple[int, str]:
    """The status of an answer, and the sha256 of the certificate that it came with."""
    at = urlsplit(url)
    # The certificate is no CA's: its digest is what counts.
    trusting = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(
        at.hostname or "", at.port, timeout=30, context=trusting
    )
    try:
        connection.connect()
        certificate = connection.sock.getpeercert(binary_form=True)
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        return connection.getresponse().status, hashlib.sha256(certificate or b"").hexdigest()
    finally:
        connection.close()


def test_exec_passes_on_the_exit_code(node: LabNode) -> None:
    assert yoyo(node, "exec", "--", "false").returncode == 1
    assert yoyo(node, "exec", "--", "sh", "-c", "exit 7").returncode == 7


def test_exec_passes_on_every_byte(node: LabNode) -> None:
    script = r"seq 1 60000; printf '\377\000\r'; seq 60001 99999 >&2"
    done = yoyo(node, "exec", "--", "sh", "-c", script)
    numbers = [f"{number}\n".encode() for number in range(1, 100_000)]
    assert done.stdout == b"".join(numbers[:60_000]) + b"\xff\x00\r"
    assert done.stderr == b"".join(numbers[60_000:])


def test_ssh_logs_in_with_openssh(node: LabNode) -> None:
    done = yoyo(node, "ssh", said=b"id -un; sudo id -un; exit 7\n")
    assert (done.stdout.splitlines()[-2:], done.returncode) == ([b"yoyo", b"root"], 7), done.stderr


def test_a_tunnel_carries_to_the_engine(node: LabNode) -> None:
    tunnel = node.place.start("tunnel", "--json")
    try:
        assert tunnel.stdout is not None
        url = json.loads(tunnel.stdout.readline())["endpoint"]
        assert url.startswith("https://127.0.0.1:")
        assert get(url, "/health") == (200, get(node.status()["endpoint"], "/health")[1])
    finally:
        tunnel.send_signal(signal.SIGINT)
        tunnel.communicate(timeout=120)
    assert tunnel.returncode == 130


def test_logs_of_the_boot_and_of_the_engine(node: LabNode) -> None:
    boot = node.place.run("logs", "--boot", "-n", "1000").stdout
    assert "yoyo: step weights done" in boot
    assert "yoyo: phase ready" in boot
    assert "serving TLS at 0.0.0.0:8443" in node.place.run("logs", "--engine").stdout
    assert "serving TLS" not in node.place.run("logs", "-n", "0").stdout


def test_another_host_key_is_refused(node: LabNode) -> None:
    kept = node.file("/root/ssh-kept")
    shutil.copytree(node.file(HOST_KEYS), kept)
    try:
        node.inside("sh", "-c", "rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh")
        refused = yoyo(node, "exec", "--", "true")
        assert refused.returncode == 66
        assert b"is not the one that the node published" in refused.stderr
        strict = yoyo(node, "ssh", said=b"exit 0\n")
        assert strict.returncode == 255
        assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in strict.stderr
    finally:
        node.inside("sh", "-c", "cp -a /root/ssh-kept/* /etc/ssh/; systemctl restart ssh")
    assert yoyo(node, "exec", "--", "true").returncode == 0


def test_a_new_key_is_taken_without_a_restart_of_the_machine(node: LabNode) -> None:
    boot_id = node.inside("cat", "/proc/sys/kernel/random/boot_id")
    request_id = node.place.instance()["labels"]["yoyo-request"]
    url, old = node.status()["endpoint"], key_of(node.place)
    assert get(url, "/slots", old)[0] == 200
    node.place.run("key", "rotate")
    new = key_of(node.place)
    assert new != old
    assert node.place.json("ask", "Go on", "--max-tokens", "4")["completion"]
    assert get(url, "/slots", old)[0] == 401
    assert get(url, "/slots", new)[0] == 200
    assert node.inside("cat", "/proc/sys/kernel/random/boot_id") == boot_id
    assert node.place.instance()["labels"]["yoyo-request"] == request_id


def test_an_image_of_it_has_nothing_left_to_fetch(node: LabNode) -> None:
    place = node.place
    place.run("bake", "--name", "baked", code=34)  # a disk that is written to makes no image
    place.run("down")
    image = place.json("bake", "--name", "baked")["image"]
    project = place.lab.fake.settings.project
    assert image == f"projects/{project}/global/images/baked"
    assert image in place.lab.fake.paths("images")
    place.run("down", "--delete")
    assert place.instance() is None
    place.run("up", "--set", f"nodes.l4.gce.image={image}")
    assert "yoyo: step weights skipped" in place.run("logs", "--boot", "-n", "1000").stdout
