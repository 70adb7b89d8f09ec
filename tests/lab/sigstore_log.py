"""The lab's Rekor, versions 1 and 2: logs that grow, and prove that they hold an entry.

Tree: RFC 6962, section 2. Checkpoints: the signed note format of <https://c2sp.org/signed-note>
and the body of <https://c2sp.org/tlog-checkpoint>.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore_entries import body_v1, body_v2
from sigstore_wire import Answer, Json, Request, b64, canonical, key_id

V1_PATH, V2_PATH = "/api/v1/log/entries", "/api/v2/log/entries"
ORIGIN = "127.0.0.1"  # the log's host name, by which clients know its notes
TREE_ID = 1193050959916656506
# Entries of others, so that proofs have a path; and v1's shards before this one.
OTHERS, EARLIER = 5, 1_000


class Proof(NamedTuple):
    """That a tree of this size and root holds a leaf at this index."""

    leaf: int  # its index
    size: int
    root: bytes
    path: list[bytes]


class Tree:
    """A Merkle tree over leaves in the order in which they came."""

    def __init__(self, others: int = OTHERS) -> None:
        self._lock = threading.Lock()
        self._leaves = [_leaf(b"somebody else's entry %d" % each) for each in range(others)]

    def append(self, data: bytes) -> Proof:
        with self._lock:
            self._leaves.append(_leaf(data))
            index, leaves = len(self._leaves) - 1, list(self._leaves)
        return Proof(index, len(leaves), root_of(leaves), path_of(index, leaves))


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def root_of(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    half = _split(len(leaves))
    return _node(root_of(leaves[:half]), root_of(leaves[half:]))


def path_of(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1, over leaf hashes; from the leaf up."""
    if len(leaves) == 1:
        return []
    half = _split(len(leaves))
    if index < half:
        return [*path_of(index, leaves[:half]), root_of(leaves[half:])]
    return [*path_of(index - half, leaves[half:]), root_of(leaves[:half])]


def note(text: str, origin: str, key_hint: bytes, signature: bytes) -> str:
    """A signed note: the text, and one signature line."""
    return f"{text}\n\u2014 {origin} {b64(key_hint[:4] + signature)}\n"


class RekorV1:
    """Entries with an inclusion promise: the log's own signed statement of the time."""

    def __init__(self, claims: bytes = b"") -> None:
        """`claims`: another log's id, for one that pretends to be that log."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._claims = claims
        self.tree = Tree()

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    @property
    def log_id(self) -> bytes:
        return self._claims or key_id(self.public_key)

    def entries(self, request: Request) -> Answer:
        """`POST /api/v1/log/entries`: what was proposed, checked, logged and proven."""
        added = self.add(body_v1(request.json()))
        (uuid,) = added
        # sigstore-go finds the entry by its ETag.
        headers = (("ETag", uuid), ("Location", f"{V1_PATH}/{uuid}"))
        return Answer(json.dumps(added).encode(), 201, headers=headers)

    def add(self, body: bytes, *, at: float | None = None) -> Json:
        """Log a canonical body. `at`: the integrated time, in seconds since 1970."""
        proof = self.tree.append(body)
        entry: Json = {
            "body": b64(body),
            "integratedTime": int(time.time() if at is None else at),
            "logID": self.log_id.hex(),
            "logIndex": proof.leaf + EARLIER,
        }
        entry["verification"] = {
            "inclusionProof": {
                "checkpoint": self.checkpoint(proof),
                "hashes": [each.hex() for each in proof.path],
                "logIndex": proof.leaf,
                "rootHash": proof.root.hex(),
                "treeSize": proof.size,
            },
            "signedEntryTimestamp": b64(self._sign(canonical(entry))),
        }
        return {f"{TREE_ID:016x}{_leaf(body).hex()}": entry}

    def checkpoint(self, proof: Proof) -> str:
        origin = f"{ORIGIN} - {TREE_ID}"
        text = f"{origin}\n{proof.size}\n{b64(proof.root)}\n"
        return note(text, ORIGIN, self.log_id, self._sign(text.encode()))

    def _sign(self, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def transparency_entry(self, body: bytes, *, at: float | None = None) -> Json:
        """As a bundle holds it (protobuf JSON)."""
        (entry,) = self.add(body, at=at).values()
        verification = entry["verification"]
        proof = verification["inclusionProof"]
        kind = json.loads(body)
        return {
            "logIndex": str(entry["logIndex"]),
            "logId": {"keyId": b64(self.log_id)},
            "kindVersion": {"kind": kind["kind"], "version": kind["apiVersion"]},
            "integratedTime": str(entry["integratedTime"]),
            "inclusionPromise": {"signedEntryTimestamp": verification["signedEntryTimestamp"]},
            "inclusionProof": {
                "logIndex": str(proof["logIndex"]),
                "rootHash": b64(bytes.fromhex(proof["rootHash"])),
                "treeSize": str(proof["treeSize"]),
                "hashes": [b64(bytes.fromhex(each)) for each in proof["hashes"]],
                "checkpoint": {"envelope": proof["checkpoint"]},
            },
            "canonicalizedBody": entry["body"],
        }


class RekorV2:
    """Entries without a time: clients bring a timestamp authority's. Notes by Ed25519."""

    def __init__(self, claims: bytes = b"") -> None:
        """`claims`: as for `RekorV1`."""
        self._claims = claims
        self._key = ed25519.Ed25519PrivateKey.generate()
        self.tree = Tree()

    @property
    def public_key(self) -> ed25519.Ed25519PublicKey:
        return self._key.public_key()

    @property
    def log_id(self) -> bytes:
        """The whole of the note's key id: name, newline, algorithm 1 (Ed25519), and the key."""
        raw = self.public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return self._claims or hashlib.sha256(ORIGIN.encode() + b"\n\x01" + raw).digest()

    def entries(self, request: Request) -> Answer:
        """`POST /api/v2/log/entries`: a TransparencyLogEntry."""
        entry = self.transparency_entry(body_v2(request.json()))
        return Answer(json.dumps(entry).encode(), 201)

    def checkpoint(self, proof: Proof) -> str:
        text = f"{ORIGIN}\n{proof.size}\n{b64(proof.root)}\n"
        return note(text, ORIGIN, self.log_id, self._key.sign(text.encode()))

    def transparency_entry(self, body: bytes) -> Json:
        """As a bundle holds it (protobuf JSON)."""
        proof = self.tree.append(body)
        kind = json.loads(body)
        return {
            "logIndex": str(proof.leaf),
            "logId": {"keyId": b64(self.log_id)},
            "kindVersion": {"kind": kind["kind"], "version": kind["apiVersion"]},
            "integratedTime": "0",
            "inclusionProof": {
                "logIndex": str(proof.leaf),
                "rootHash": b64(proof.root),
                "treeSize": str(proof.size),
                "hashes": [b64(each) for each in proof.path],
                "checkpoint": {"envelope": self.checkpoint(proof)},
            },
            "canonicalizedBody": b64(body),
        }
