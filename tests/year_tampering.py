"""Twelve ways in which somebody could tamper with a ledger, each done to a copy of one.

They work on whatever is there: the live file alone, or sealed months and checkpoints too. Beside
the ledger of a signed year lie its keys (year_signed.py): a fork is signed with them, as its
operator's own tool would.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.audit.merkle import Tree
from yoyo.core.audit.note import (
    body_of,
    format_note,
    note_name,
    parse_checkpoint,
    verifier_key,
)
from yoyo.core.ledger_format import HEADER
from yoyo.model.audit import NoteSignature
from yoyo.model.ledger import GENESIS_HASH

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOBODY = "other ledger needed: --other DIR"


class More(NamedTuple):
    """What some kinds need besides the copy."""

    other: Path | None  # another ledger's directory
    keys: Path | None  # the private keys


def tamper(kind: str, year: Path, out: Path, other: Path | None = None) -> str:
    """Copy `year` to `out` and tamper with it there; says what was done."""
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(year, out)
    for path in out.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    keys = year.parent / "keys"
    return KINDS[kind](out, More(other, keys if keys.is_dir() else None))


def _live(place: Path) -> tuple[Path, list[bytes]]:
    path = place / "ledger.csv"
    return path, path.read_bytes().split(b"\n")[1:-1]


def _write(path: Path, rows: list[bytes]) -> None:
    path.write_bytes(HEADER + b"".join(row + b"\n" for row in rows))


def _rehash(rows: list[bytes], prev: str, first_seq: int) -> list[bytes]:
    """The same rows with seq and hashes that fit: what a forger with time would do."""
    made = []
    for seq, row in enumerate(rows, first_seq):
        prefix = b"%b,%d" % (row.rsplit(b",", 2)[0], seq)
        prev = hashlib.sha256(prev.encode() + prefix).hexdigest()
        made.append(prefix + b"," + prev.encode())
    return made


def _seq(row: bytes) -> int:
    return int(row.rsplit(b",", 2)[1])


def _money(rows: list[bytes]) -> int:
    """The position of a dear row in the middle."""
    found = [
        index for index, row in enumerate(rows)
        if b",TEARDOWN_COMPLETE," in row and b",success," in row
        and row.split(b",")[11] > b"0.5"
    ]  # fmt: skip
    return found[len(found) // 2]


def _cheaper(row: bytes) -> bytes:
    fields = row.split(b",")
    fields[11] = b"0.000001"
    return b",".join(fields)


def _before(place: Path, rows: list[bytes]) -> str:
    """row_hash of the row before the live file's first."""
    first = _seq(rows[0])
    for path in sorted(place.glob("ledger-????-??.csv"), reverse=True):
        last = path.read_bytes().split(b"\n")[-2]
        if _seq(last) == first - 1:
            return last[-64:].decode()
    return GENESIS_HASH


def edited_cost(place: Path, more: More) -> str:
    """One cost is made smaller in place."""
    path, rows = _live(place)
    index = _money(rows)
    rows[index] = _cheaper(rows[index])
    _write(path, rows)
    return f"the cost of row {_seq(rows[index])} is now 0.000001"


def dropped_row(place: Path, more: More) -> str:
    """A row is taken out, and nothing else is touched."""
    path, rows = _live(place)
    gone = rows.pop(_money(rows))
    _write(path, rows)
    return f"row {_seq(gone)} is gone"


def swapped_rows(place: Path, more: More) -> str:
    """Two neighbours change places."""
    path, rows = _live(place)
    index = _money(rows)
    rows[index - 1 : index + 1] = [rows[index], rows[index - 1]]
    _write(path, rows)
    return f"row {_seq(rows[index])} stands after row {_seq(rows[index - 1])}"


def inserted_row(place: Path, more: More) -> str:
    """A copy of a row is put in once more."""
    path, rows = _live(place)
    index = _money(rows)
    rows.insert(index, rows[index])
    _write(path, rows)
    return f"row {_seq(rows[index])} is there twice"


def cut_tail(place: Path, more: More) -> str:
    """The last tenth of the live file is cut off: the chain of what is left holds."""
    path, rows = _live(place)
    kept = max(1, len(rows) * 9 // 10)
    _write(path, rows[:kept])
    return f"the ledger ends after row {_seq(rows[kept - 1])} instead of {_seq(rows[-1])}"


def rewritten(place: Path, more: More) -> str:
    """Every file anew with a smaller cost and a chain that holds from the first row on."""
    prev, first, done = GENESIS_HASH, 1, False
    for path in [*sorted(place.glob("ledger-????-??.csv")), place / "ledger.csv"]:
        rows = path.read_bytes().split(b"\n")[1:-1]
        if not rows:
            continue
        if not done and any(b",TEARDOWN_COMPLETE," in row for row in rows):
            index = _money(rows)
            rows[index], done = _cheaper(rows[index]), True
        made = _rehash(rows, prev, first)
        _write(path, made)
        prev, first = made[-1][-64:].decode(), first + len(made)
    return f"all {first - 1} rows have other hashes, and one another cost"


def forked(place: Path, more: More) -> str:
    """Copied back from a backup and gone on with: the same beginning, other rows after it.

    The checkpoints of the other history are as old as the backup, and a new one is signed: so did
    the operator's tool, to whom nothing is wrong.
    """
    path, rows = _live(place)
    at = len(rows) * 3 // 4
    prev = rows[at - 1][-64:].decode()
    rest = [_cheaper(row) if b",TEARDOWN_COMPLETE," in row else row for row in rows[at:]]
    _write(path, rows[:at] + _rehash(rest, prev, _seq(rows[at])))
    if more.keys is not None:
        signed = [note for note in _notes(place) if _size(note) >= _seq(rows[at])]
        for note in signed:
            note.unlink()
        newest = _notes(place)[-1]
        _sign(place, _all_rows(place), _private(more.keys, newest), newest)
    return f"another history from row {_seq(rows[at])} on"


def merged(place: Path, more: More) -> str:
    """The rows of another ledger put behind this one's."""
    if more.other is None:
        raise SystemExit(NOBODY)
    path, rows = _live(place)
    theirs = _live(more.other)[1]
    _write(path, rows + theirs)
    return f"{len(theirs)} rows of another ledger stand behind row {_seq(rows[-1])}"


def _sealed(place: Path) -> Path:
    months = sorted(place.glob("ledger-????-??.csv"))
    if not months:
        raise SystemExit("no month is sealed there")
    return months[len(months) // 2]


def edited_month(place: Path, more: More) -> str:
    """A cost in a sealed month is made smaller."""
    path = _sealed(place)
    rows = path.read_bytes().split(b"\n")[1:-1]
    index = _money(rows)
    rows[index] = _cheaper(rows[index])
    _write(path, rows)
    path.chmod(0o444)
    return f"the cost of row {_seq(rows[index])} in {path.name} is now 0.000001"


def removed_month(place: Path, more: More) -> str:
    """A sealed month is deleted without a row that says so."""
    path = _sealed(place)
    path.unlink()
    return f"{path.name} is gone"


def _notes(place: Path) -> list[Path]:
    notes = [
        path for path in sorted((place / "ledger.checkpoints").iterdir())
        if path.is_file() and path.suffix != ".vkey" and b"\n\n\xe2\x80\x94 " in path.read_bytes()
    ]  # fmt: skip
    if not notes:
        raise SystemExit("there is no signed checkpoint")
    return notes


def resigned(place: Path, more: More) -> str:
    """Rewritten, and every checkpoint made anew for it, with another key of the same name.

    In itself the directory holds together: only who has the key or a copy from elsewhere can tell.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    rewritten(place, more)
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"mallory").digest())
    rows, notes = _all_rows(place), _notes(place)
    for path in notes:
        _sign(place, rows[: _size(path)], private, path)
        path.unlink()
    for path in (place / "ledger.checkpoints").glob("*.vkey"):
        path.unlink()
    return f"{len(notes)} checkpoints are made anew with another key"


def other_checkpoints(place: Path, more: More) -> str:
    """Another ledger's checkpoints in place of these."""
    if more.other is None:
        raise SystemExit(NOBODY)
    for path in _notes(place):
        path.unlink()
    theirs = _notes(more.other)
    for path in theirs:
        shutil.copy(path, place / "ledger.checkpoints" / path.name)
    return f"{len(theirs)} checkpoints of another ledger lie there"


def _all_rows(place: Path) -> list[bytes]:
    files = [*sorted(place.glob("ledger-????-??.csv")), place / "ledger.csv"]
    return [row for file in files for row in file.read_bytes().split(b"\n")[1:-1]]


def _size(note: Path) -> int:
    return int(note.name[:20])


def _private(keys: Path, note: Path) -> Ed25519PrivateKey:
    """The key that signed that checkpoint."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    for path in keys.glob("*.pem"):
        if path.with_suffix(".vkey").read_text().split("+")[1] == note.stem[-8:]:
            key = load_pem_private_key(path.read_bytes(), None)
            assert isinstance(key, Ed25519PrivateKey)
            return key
    raise SystemExit(f"no key there signed {note.name}")


def _sign(place: Path, rows: list[bytes], private: Ed25519PrivateKey, like: Path) -> None:
    """Put a checkpoint over these rows there, of the same origin as that one."""
    origin = parse_checkpoint(like.read_bytes()).origin
    key = verifier_key(origin, private.public_key().public_bytes_raw())
    tree = Tree()
    tree.extend(rows)
    body = body_of(origin, tree.head())
    note = format_note(body, [NoteSignature(origin, key.key_id, private.sign(body))])
    (place / "ledger.checkpoints" / f"{note_name(len(rows), key)}.note").write_bytes(note)


KINDS: dict[str, Callable[[Path, More], str]] = {
    "edited-cost": edited_cost,
    "dropped-row": dropped_row,
    "swapped-rows": swapped_rows,
    "inserted-row": inserted_row,
    "cut-tail": cut_tail,
    "rewritten": rewritten,
    "forked": forked,
    "merged": merged,
    "edited-month": edited_month,
    "removed-month": removed_month,
    "re-signed": resigned,
    "other-checkpoints": other_checkpoints,
}
