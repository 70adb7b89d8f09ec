"""The ports of signed notes: who signs a checkpoint, and who checks a signature."""

from __future__ import annotations

from typing import Protocol

from yoyo.model.audit import VerifierKey


class NoteSigner(Protocol):
    """Signs with one Ed25519 key."""

    @property
    def key(self) -> VerifierKey:
        """Its public half, under the origin's name.

        Raises:
            CheckpointFailed: the key cannot be read, or is of no use.
        """
        ...

    def sign(self, body: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature (RFC 8032) over `body`.

        Raises:
            CheckpointFailed: the key cannot be read, or the command failed or took too long.
        """
        ...


class NoteVerifier(Protocol):
    """Checks Ed25519 signatures."""

    def is_signed(self, key: VerifierKey, body: bytes, signature: bytes) -> bool:
        """Whether the signature is of that key over exactly these bytes."""
        ...
