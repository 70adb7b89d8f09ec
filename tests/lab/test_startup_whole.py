"""The whole startup script: identity, key, engine's service, the first boot and the ones after."""

from __future__ import annotations

import base64
import hashlib
import io
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from sample_startup import CPU
from startup_parts import BOOT_ID, REQUEST, Node, Server, node_in, reply

KEY = "a1" * 32
NOTE_CLOCK = (Path(__file__).parents[2] / "templates/startup/clock.sh.j2").read_text()
WEIGHTS = b"GGUF" + bytes(5000)
STEPS = ["guards", "identity", "dpkg", "packages", "gpu", "engine"]
STEPS += ["weights", "key", "unit", "health"]


def seal(node: Node, key: str = KEY, request: str = REQUEST) -> str:
    """What the controller puts into the metadata, made with another implementation."""
    public = serialization.load_pem_public_key(node.metadata.wait_for("seal-key").encode())
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 3072
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), request.encode())
    return base64.b64encode(public.encrypt(key.encode(), oaep)).decode()


class World:
    """What a node needs around it: a host for bundle and weights, and an engine that is healthy."""

    def __init__(self) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            member = tarfile.TarInfo("bin/llama-server")
            member.mode = 0o755
            archive.addfile(member)
        self.files = {"/engine.tar.gz": packed.getvalue(), "/model.gguf": WEIGHTS}
        self.requests: list[str] = []
        self.host = Server(self._file)
        self.engine = Server(lambda handler: reply(handler, 200, b"{}"))
        self.values = CPU._replace(
            port=self.engine.port,
            bundle_url=f"{self.host.url}/engine.tar.gz",
            bundle_sha256=hashlib.sha256(packed.getvalue()).hexdigest(),
            weights_urls=(f"{self.host.url}/model.gguf",),
            weights_sha256=hashlib.sha256(WEIGHTS).hexdigest(),
        )

    def _file(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        body = self.files.get(handler.path)
        reply(handler, 404 if body is None else 200, body or b"")

    def close(self) -> None:
        self.host.close()
        self.engine.close()


@pytest.fixture
def world() -> Iterator[World]:
    one = World()
    yield one
    one.close()


@pytest.fixture
def node(tmp_path: Path, world: World) -> Iterator[Node]:
    with node_in(tmp_path, world.values) as made:
        yield made


def start(node: Node) -> subprocess.CompletedProcess[str]:
    """Runs the script as the guest agent does; the controller answers with the key."""
    if "yoyo-key" not in node.metadata.attributes:
        threading.Thread(target=lambda: node.metadata.set("yoyo-key", seal(node))).start()
    return node.run(str(node.script))


def test_the_first_boot_ends_ready(node: Node) -> None:
    done = start(node)
    assert done.returncode == 0, done.stderr + node.serial
    told = node.metadata.published
    assert told["phase"] == "ready"
    assert told["request"] == REQUEST
    assert told["boot-id"] == BOOT_ID
    assert told["guards"] == "dead-man=900 lifetime=14400"
    assert {name: told[f"step-{name}"].split()[0] for name in STEPS} == {
        **dict.fromkeys(STEPS, "done"),
        **dict.fromkeys(["dpkg", "packages", "gpu"], "skipped"),
    }
    assert ("request", REQUEST) in node.metadata.history[:3]
    assert "yoyo: critical path guards " in node.serial
    assert "yoyo: phase ready" in node.serial


def test_a_boot_writes_no_more_often_than_google_lets_it(node: Node) -> None:
    """10 writes a minute, of which Google's own agent needs three for the host keys."""
    node.publish_every_s = 10
    done = start(node)
    assert done.returncode == 0, done.stderr + node.serial
    assert node.metadata.published["phase"] == "ready"
    assert node.metadata.writes <= 6


def test_the_identity_is_whole_private_and_made_once(node: Node) -> None:
    node.bash("announce_boot; run_step identity")
    told = dict(node.metadata.published)
    certificate = x509.load_pem_x509_certificate(told["cert"].encode())
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.subject.rfc4514_string() == "CN=yoyo"
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime.days == 3650
    assert told["cert-sha256"] == certificate.fingerprint(hashes.SHA256()).hex()
    etc = node.root / "etc/yoyo"
    assert (etc / "seal.pem").stat().st_mode & 0o777 == 0o600
    assert (etc / "tls-key.pem").stat().st_mode & 0o777 == 0o640
    node.bash("announce_boot; run_step identity")
    assert node.metadata.published["cert"] == told["cert"]
    assert node.metadata.published["seal-key"] == told["seal-key"]


def test_a_damaged_identity_is_made_anew(node: Node) -> None:
    node.bash("announce_boot; run_step identity")
    before = node.metadata.published["cert"]
    (node.root / "etc/yoyo/tls-key.pem").write_text("")
    node.bash("announce_boot; run_step identity")
    assert node.metadata.published["cert"] != before
    assert node.bash("certificate_is_whole").returncode == 0


def test_without_a_request_the_node_says_so(node: Node) -> None:
    del node.metadata.attributes["yoyo-request"]
    assert node.run(str(node.script)).returncode == 1
    assert node.metadata.published["phase"] == "failed identity"
    assert "dead-man=900" in node.metadata.published["guards"]


def test_the_second_boot_restarts_and_fetches_nothing(node: Node, world: World) -> None:
    start(node)
    before, asked = node.calls, len(world.requests)
    node.stub("apt-get", "exit 9")
    done = start(node)
    assert done.returncode == 0, done.stderr + node.serial
    assert node.metadata.published["step-unit"].startswith("skipped 100")
    assert len(world.requests) == asked
    verbs = set(node.calls.removeprefix(before).replace("\n", " ").split())
    assert not {"restart", "start", "stop", "enable", "daemon-reload"} & verbs


def test_a_changed_engine_flag_restarts_the_engine_and_nothing_else(node: Node) -> None:
    start(node)
    before = node.calls
    node.configure(node.values._replace(ctx=4096))
    start(node)
    calls = node.calls.removeprefix(before)
    assert "stop yoyo-engine.service\n--no-block start yoyo-engine.service" in calls
    changed = [line for line in calls.splitlines() if "--quiet is-" not in line]
    assert not [line for line in changed if "timer" in line or "yoyo-key" in line]


def test_the_first_failure_ends_the_others_and_keeps_the_guards(node: Node, world: World) -> None:
    del world.files["/model.gguf"]
    done = node.run(str(node.script))  # no key comes: that step would wait for 15 minutes
    assert done.returncode == 1
    assert node.metadata.published["phase"] == "failed weights"
    assert "moved or renamed" in node.metadata.published["step-weights"]
    assert node.metadata.published["tail-weights"]
    assert (node.root / "active/yoyo-dead-man.timer").exists()
    assert not subprocess.run(
        ["pgrep", "-f", str(node.root)], capture_output=True, check=False
    ).stdout


def test_only_one_run_at_a_time(node: Node) -> None:
    lock = node.root / "run/yoyo/bootstrap.lock"
    done = node.run("flock", str(lock), str(node.script))
    assert done.returncode == 0
    assert "another run of the startup script" in node.serial
    assert node.metadata.published == {}


def test_a_key_of_another_life_is_waited_out(node: Node) -> None:
    node.bash("announce_boot; run_step identity; install_guard_scripts; install_key_scripts")
    node.metadata.set("yoyo-key", seal(node, request="another life"))
    fetch_key = str(node.root / "usr/local/lib/yoyo/fetch-key")
    assert node.run(fetch_key, "0").returncode == 1
    assert not (node.root / "etc/yoyo/engine.key").exists()
    node.metadata.set("yoyo-key", seal(node))
    assert node.run(fetch_key, "0").returncode == 0
    key = node.root / "etc/yoyo/engine.key"
    assert key.read_text() == KEY + "\n"
    assert key.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("google_ahead_s", [0, 3600, -45])
def test_the_node_says_how_far_its_clock_is_off(node: Node, google_ahead_s: int) -> None:
    node.metadata.ahead_s = google_ahead_s
    node.bash(f"{NOTE_CLOCK}\nannounce_boot; note_clock; publish_now phase running")
    # The date is cut to the second, and some time goes by before the node's own is read.
    assert -google_ahead_s <= int(node.metadata.published["clock"]) <= -google_ahead_s + 10


def test_an_answer_without_a_date_says_nothing_of_the_clock(node: Node) -> None:
    node.metadata.ahead_s = None
    done = node.bash(f"{NOTE_CLOCK}\nannounce_boot; note_clock; publish_now phase running")
    assert done.returncode == 0
    assert "clock" not in node.metadata.published


def test_a_rotated_key_restarts_the_engine_once(node: Node) -> None:
    start(node)
    lib = node.root / "usr/local/lib/yoyo"
    assert node.run(str(lib / "prepare-engine")).returncode == 0
    assert node.metadata.published["key-sha256"] == hashlib.sha256(KEY.encode()).hexdigest()
    restart = "restart yoyo-engine.service"
    fifo = node.root / "restarted"
    stub = (node.stubs / "systemctl").read_text()
    node.stub("systemctl", stub + f'\ncase "$*" in "{restart}") : >"{fifo}" ;; esac')
    subprocess.run(["mkfifo", fifo], check=True)
    with subprocess.Popen([lib / "watch-key"], env=node.environment()) as watcher:
        try:
            node.metadata.set("yoyo-lease", "renewed: no new key")
            node.metadata.set("yoyo-key", seal(node, "b2" * 32))
            with fifo.open():
                pass
        finally:
            watcher.kill()
    assert node.calls.count(restart) == 1
    assert (node.root / "etc/yoyo/engine.key").read_text() == "b2" * 32 + "\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("error loading model: unknown model architecture: 'x'", "does not know the model's arch"),
        ("cudaMalloc failed: out of memory", "the engine ran out of memory"),
        ("couldn't bind HTTP server socket", "the engine cannot listen on port"),
        ("odd", "the engine does not stay up; why: odd"),
    ],
)
def test_an_engine_that_fails_is_explained(node: Node, world: World, words: str, says: str) -> None:
    world.engine.close()
    (node.root / "failed").mkdir()
    (node.root / "failed/yoyo-engine.service").touch()
    node.stub("journalctl", f'echo "{words}"')
    told = node.step("health")
    world.engine = Server(lambda handler: reply(handler, 200))
    assert says in told
    assert words in node.metadata.published["tail-health"]


def test_the_engine_is_asked_over_tls_with_its_own_certificate_alone(node: Node) -> None:
    node.bash("announce_boot; run_step identity")
    etc = node.root / "etc/yoyo"
    server = Server(lambda handler: reply(handler, 200, b"{}"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(etc / "tls-cert.pem", etc / "tls-key.pem")
    server.wrap(context)
    node.configure(CPU._replace(tls=True, host="0.0.0.0", port=server.port))
    ask = "engine_get /health --output /dev/null --write-out '%{http_code}'"
    assert node.bash(ask).stdout == "200"
    # Another key pair than the server's.
    (etc / "tls-key.pem").write_text("")
    node.bash("ensure_certificate")
    refused = node.bash(ask)
    server.close()
    assert refused.returncode == 90  # curl: pinned public key mismatch
