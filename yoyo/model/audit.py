"""What proves the ledger: tree heads, signed checkpoints, sealed months, extracts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

HASH_BYTES = 32  # SHA-256
ED25519_ALGORITHM = 0x01  # C2SP signed-note: the byte before an Ed25519 public key


class TreeHead(NamedTuple):
    """An RFC 6962 Merkle tree over the ledger's first `size` rows."""

    size: int
    root: bytes


class Frontier(NamedTuple):
    """What a tree needs to grow: the roots of its perfect subtrees, largest first.

    There are as many as `size` has bits set. `row_hash` is that of row `size`, so that a
    frontier which is not of this ledger is noticed; "" for the empty tree.
    """

    size: int
    nodes: tuple[bytes, ...]
    row_hash: str


class VerifierKey(NamedTuple):
    """A C2SP verifier key: `NAME+HEX8+BASE64`. `public` is the bare Ed25519 key, 32 bytes."""

    name: str
    key_id: bytes  # 4 bytes: sha256(name, LF, 0x01, public), cut
    public: bytes


class NoteSignature(NamedTuple):
    """One signature line of a signed note."""

    name: str
    key_id: bytes
    signature: bytes


class Checkpoint(NamedTuple):
    """A C2SP tlog-checkpoint as it was read; its signatures are not verified by reading it."""

    origin: str
    head: TreeHead
    extensions: tuple[str, ...]
    body: bytes  # what is signed: up to and including the LF before the empty line
    signatures: tuple[NoteSignature, ...]


class InclusionProof(NamedTuple):
    """That a row is in a tree. `position` counts from 0: seq - 1. RFC 9162, section 2.1.3."""

    position: int
    path: tuple[bytes, ...]


class MonthPiece(NamedTuple):
    """The rows of one month that is over, as they stand in the live file."""

    month: str  # YYYY-MM, UTC, by the first of its rows
    first_seq: int
    last_seq: int
    last_hash: str  # row_hash of the last one
    size: int  # bytes of the file that they become, header included
    sha256: str  # hex, of that file


class LedgerPart(NamedTuple):
    """One file of a ledger: a sealed month, or the live file (`month` is None)."""

    path: Path
    first_seq: int  # of its first row; of the live file without rows: the next one
    month: str | None
