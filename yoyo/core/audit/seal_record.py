"""What a sealed month was when it was sealed: whoever has this needs no earlier row.

Kept in `LEDGER.proofs/`; the `MONTH_SEALED` row has its sha256. docs/formats/checkpoint.md.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from yoyo.core.audit.documents import (
    DocumentError,
    dump_object,
    encode_hash,
    fields_of,
    hash_of,
    hashes_of,
    load_object,
    text_of,
    whole_of,
)
from yoyo.core.audit.merkle import TreeError, root_of
from yoyo.core.audit.note import MAX_NOTE_BYTES, NoteError, parse_checkpoint
from yoyo.model.audit import Frontier, MonthPiece

FORMAT: Final = "yoyo-seal/1"
_KEYS: Final = frozenset(
    (
        "format", "month", "file", "sha256", "bytes", "first_seq", "last_seq", "last_hash", "tree",
        "checkpoint",
    )
)  # fmt: skip
_TREE_KEYS: Final = frozenset(("size", "root", "frontier"))
_MONTH: Final = re.compile("[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)
_HEX64: Final = re.compile("[0-9a-f]{64}", re.ASCII)
_FILE: Final = re.compile(r"[^/\x00-\x1f]{1,255}")
_MAX_BYTES: Final = 128 * 1024


class SealRecord(NamedTuple):
    """A sealed month: its file, its rows, and the tree up to its last row."""

    piece: MonthPiece
    file: str  # the file's name, without a directory
    frontier: Frontier  # the tree over all rows from the ledger's first to this month's last
    checkpoint: str  # the text of a note that signs that tree or an earlier one; "": none


def seal_record(record: SealRecord) -> bytes:
    """The document, always the same bytes for the same record.

    Raises:
        DocumentError: its parts do not belong together.
    """
    piece, tree = record.piece, record.frontier
    _check(record)
    return dump_object(
        {
            "format": FORMAT,
            "month": piece.month,
            "file": record.file,
            "sha256": piece.sha256,
            "bytes": piece.size,
            "first_seq": piece.first_seq,
            "last_seq": piece.last_seq,
            "last_hash": piece.last_hash,
            "tree": {
                "size": tree.size,
                "root": encode_hash(root_of(tree).root),
                "frontier": [encode_hash(node) for node in tree.nodes],
            },
            "checkpoint": record.checkpoint,
        }
    )


def parse_seal_record(document: bytes) -> SealRecord:
    """Read it strictly.

    Raises:
        DocumentError.
    """
    if len(document) > _MAX_BYTES:
        raise DocumentError(f"it is larger than {_MAX_BYTES} bytes")
    fields = load_object(document, _KEYS)
    if text_of(fields, "format") != FORMAT:
        raise DocumentError(f"its format is not {FORMAT}")
    tree = fields_of(fields["tree"], _TREE_KEYS)
    last_hash = text_of(fields, "last_hash")
    record = SealRecord(
        MonthPiece(
            text_of(fields, "month"),
            whole_of(fields, "first_seq", 1),
            whole_of(fields, "last_seq", 1),
            last_hash,
            whole_of(fields, "bytes", 1),
            text_of(fields, "sha256"),
        ),
        text_of(fields, "file"),
        Frontier(whole_of(tree, "size", 1), hashes_of(tree, "frontier"), last_hash),
        text_of(fields, "checkpoint"),
    )
    _check(record)
    if root_of(record.frontier).root != hash_of(tree["root"], "root"):
        raise DocumentError("the tree's root is not that of its parts")
    return record


def _check(record: SealRecord) -> None:
    piece, tree = record.piece, record.frontier
    if not _MONTH.fullmatch(piece.month):
        raise DocumentError("the month is not YYYY-MM")
    if not _FILE.fullmatch(record.file) or record.file in (".", ".."):
        raise DocumentError("the file's name is none, or has a directory")
    if not _HEX64.fullmatch(piece.sha256) or not _HEX64.fullmatch(piece.last_hash):
        raise DocumentError("sha256 or last_hash is not 64 lowercase hex digits")
    if not 1 <= piece.first_seq <= piece.last_seq:
        raise DocumentError("the month's rows do not follow one another")
    if tree.size != piece.last_seq or tree.row_hash != piece.last_hash:
        raise DocumentError("the tree does not end with the month's last row")
    try:
        root_of(tree)
        if record.checkpoint:
            signed = parse_checkpoint(record.checkpoint.encode()[: MAX_NOTE_BYTES + 1]).head.size
            if signed > tree.size:
                raise DocumentError("the checkpoint signs rows after the month's last one")
    except (TreeError, NoteError) as error:
        raise DocumentError(str(error)) from error
