"""A VmHost that plays healthy nodes in threads: what a node publishes, and its TLS endpoint."""

from __future__ import annotations

import base64
import functools
import hashlib
import socket
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from light_engine import LightEngine
from node_state import encode
from vm_host import Guest

STEPS = ("guards", "identity", "dpkg", "packages", "gpu", "engine", "weights")
LATER_STEPS = ("key", "unit", "health")
POLL_S = 5.0  # a wait for metadata is renewed this often


class Identity(NamedTuple):
    """What a node makes once per disk. Here once per process: making it takes half a second."""

    seal_key: rsa.RSAPrivateKey
    seal_public_pem: str
    cert_pem: bytes
    cert_key_pem: bytes
    cert_sha256: str


class LightHost:
    """Plays every machine it is told to boot, until `shut_down` or `close`."""

    def __init__(
        self,
        *,
        lease_s: int = 900,
        lifetime_s: int = 28800,
        engine_ready: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`engine_ready` says by a machine's name whether its engine ever gets ready."""
        self.lease_s, self.lifetime_s = lease_s, lifetime_s
        self.engine_ready = engine_ready
        # A port of the loopback that this host alone holds makes its addresses its own.
        self._claim = socket.create_server(("127.0.0.1", 0))
        self._nodes: dict[str, _Node] = {}
        self._lock = threading.Lock()

    @property
    def addresses(self) -> str:
        """The prefix of the addresses for machines: 127.A.B., nobody else's."""
        port = self._claim.getsockname()[1]
        return f"127.{port >> 8}.{port & 255}."

    def boot(self, guest: Guest) -> None:
        node = _Node(self, guest)
        with self._lock:
            self._nodes[guest.name] = node
        node.start()

    def shut_down(self, name: str, grace_s: float) -> None:
        with self._lock:
            node = self._nodes.pop(name, None)
        if node is not None:
            node.stop()

    def node(self, name: str) -> LightEngine | None:
        """The engine of a machine, for tests that look at it; None while there is none."""
        with self._lock:
            found = self._nodes.get(name)
        return found.engine if found is not None else None

    def remove_disk(self, disk: str) -> None:
        """Nothing: a light node keeps nothing on its disk."""

    def copy_disk(self, source: str, target: str) -> None:
        """Nothing: a light node keeps nothing on its disk."""

    def close(self) -> None:
        with self._lock:
            names = list(self._nodes)
        for name in names:
            self.shut_down(name, 0)
        self._claim.close()


_making = threading.Lock()


def identity() -> Identity:
    """The keys and the certificate of every light node of this process, made once."""
    with _making:
        return _make_identity()


class _Node:
    """One boot of one machine."""

    def __init__(self, host: LightHost, guest: Guest) -> None:
        self.engine: LightEngine | None = None
        self._host = host
        self._guest = guest
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._request = ""
        self._said: dict[str, str] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self.engine is not None:
            self.engine.close()

    def _run(self) -> None:
        try:
            self._boot()
            self._follow_key()
        except Exception as error:
            # A node that fails says so, as a real one does; the platform knows nothing of it.
            self._publish("phase", "failed light-host")
            self._guest.write_serial(f"yoyo: light host failed: {error!r}\n".encode())

    def _boot(self) -> None:
        attributes, _ = self._attributes()
        self._request = attributes.get("yoyo-request", "")
        mine = identity()
        self._publish("request", self._request)
        self._publish("phase", "running")
        self._publish("boot-id", str(uuid.uuid4()))
        self._publish("seal-key", mine.seal_public_pem)
        self._publish("cert", mine.cert_pem.decode())
        self._publish("cert-sha256", mine.cert_sha256)
        self._publish("guards", f"dead-man={self._host.lease_s} lifetime={self._host.lifetime_s}")
        for step in STEPS:
            self._step(step, "done 100 0 ok")
        self._step("key", "running 0 0 waiting for the key")

    def _follow_key(self) -> None:
        """Serve with the key from the metadata, and take over each new one."""
        sealed = ""
        while not self._ended.is_set():
            attributes, etag = self._attributes()
            if attributes.get("yoyo-key", "") != sealed:
                sealed = attributes["yoyo-key"]
                self._use(sealed, int(attributes.get("yoyo-port") or "8443"))
            self._guest.wait_for_metadata(etag, POLL_S)

    def _use(self, sealed: str, port: int) -> None:
        try:
            key = _opened(sealed, self._request)
        except ValueError as error:
            self._step("key", f"failed 0 0 {error}")
            self._publish("phase", "failed key")
            return
        if self.engine is None:
            mine = identity()
            engine = LightEngine(self._guest.address, port, mine.cert_pem, mine.cert_key_pem, key)
            engine.ready = self._host.engine_ready(self._guest.name)
            self.engine = engine
            if self._ended.is_set():
                engine.close()
                return
        self.engine.key = key
        self._publish("key-sha256", hashlib.sha256(key.encode()).hexdigest())
        for step in LATER_STEPS if self.engine.ready else LATER_STEPS[:-1]:
            self._step(step, "done 100 0 ok")
        if self.engine.ready:
            self._publish("phase", "ready")

    def _attributes(self) -> tuple[dict[str, str], str]:
        etag, tree = self._guest.metadata()
        instance = tree.get("instance", {})
        found = instance.get("attributes", {}) if isinstance(instance, dict) else {}
        return found, etag

    def _publish(self, key: str, value: str) -> None:
        # A machine that is off writes nothing any more.
        if not self._ended.is_set():
            self._said[key] = value
            self._guest.put_guest_attribute("yoyo", "state", encode(self._said))

    def _step(self, name: str, text: str) -> None:
        self._publish(f"step-{name}", text)
        self._guest.write_serial(f"yoyo: step {name} {text}\n".encode())


def _opened(sealed: str, request: str) -> str:
    """The bearer key in the metadata's yoyo-key.

    Raises:
        ValueError: it was sealed for another key or another request.
    """
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), request.encode())
    return identity().seal_key.decrypt(base64.b64decode(sealed), oaep).decode("ascii")


@functools.cache
def _make_identity() -> Identity:
    seal_key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    cert_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "yoyo")])
    begin = datetime.now(UTC) - timedelta(minutes=1)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(cert_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=3650))
        .sign(cert_key, hashes.SHA256())
    )
    return Identity(
        seal_key,
        seal_key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        cert.public_bytes(serialization.Encoding.PEM),
        cert_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        cert.fingerprint(hashes.SHA256()).hex(),
    )
