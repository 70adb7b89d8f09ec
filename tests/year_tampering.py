"""Twelve ways in which somebody could tamper with a ledger, each done to a copy of one.

They work on whatever is there: the live file alone, or sealed months and checkpoints too.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from yoyo.core.ledger_format import HEADER
from yoyo.model.ledger import GENESIS_HASH

NOBODY = "other ledger needed: --other DIR"


def tamper(kind: str, year: Path, out: Path, other: Path | None = None) -> str:
    """Copy `year` to `out` and tamper with it there; says what was done."""
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(year, out)
    for path in out.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    return KINDS[kind](out, other)


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


def edited_cost(place: Path, other: Path | None) -> str:
    """One cost is made smaller in place."""
    path, rows = _live(place)
    index = _money(rows)
    rows[index] = _cheaper(rows[index])
    _write(path, rows)
    return f"the cost of row {_seq(rows[index])} is now 0.000001"


def dropped_row(place: Path, other: Path | None) -> str:
    """A row is taken out, and nothing else is touched."""
    path, rows = _live(place)
    gone = rows.pop(_money(rows))
    _write(path, rows)
    return f"row {_seq(gone)} is gone"


def swapped_rows(place: Path, other: Path | None) -> str:
    """Two neighbours change places."""
    path, rows = _live(place)
    index = _money(rows)
    rows[index - 1 : index + 1] = [rows[index], rows[index - 1]]
    _write(path, rows)
    return f"row {_seq(rows[index])} stands after row {_seq(rows[index - 1])}"


def inserted_row(place: Path, other: Path | None) -> str:
    """A copy of a row is put in once more."""
    path, rows = _live(place)
    index = _money(rows)
    rows.insert(index, rows[index])
    _write(path, rows)
    return f"row {_seq(rows[index])} is there twice"


def cut_tail(place: Path, other: Path | None) -> str:
    """The last tenth of the live file is cut off: the chain of what is left holds."""
    path, rows = _live(place)
    kept = max(1, len(rows) * 9 // 10)
    _write(path, rows[:kept])
    return f"the ledger ends after row {_seq(rows[kept - 1])} instead of {_seq(rows[-1])}"


def rewritten(place: Path, other: Path | None) -> str:
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


def forked(place: Path, other: Path | None) -> str:
    """Copied back from a backup and gone on with: the same beginning, other rows after it."""
    path, rows = _live(place)
    at = len(rows) * 3 // 4
    prev = rows[at - 1][-64:].decode()
    rest = [_cheaper(row) if b",TEARDOWN_COMPLETE," in row else row for row in rows[at:]]
    _write(path, rows[:at] + _rehash(rest, prev, _seq(rows[at])))
    return f"another history from row {_seq(rows[at])} on"


def merged(place: Path, other: Path | None) -> str:
    """The rows of another ledger put behind this one's."""
    if other is None:
        raise SystemExit(NOBODY)
    path, rows = _live(place)
    more = _live(other)[1]
    _write(path, rows + more)
    return f"{len(more)} rows of another ledger stand behind row {_seq(rows[-1])}"


def _sealed(place: Path) -> Path:
    months = sorted(place.glob("ledger-????-??.csv"))
    if not months:
        raise SystemExit("no month is sealed there")
    return months[len(months) // 2]


def edited_month(place: Path, other: Path | None) -> str:
    """A cost in a sealed month is made smaller."""
    path = _sealed(place)
    rows = path.read_bytes().split(b"\n")[1:-1]
    index = _money(rows)
    rows[index] = _cheaper(rows[index])
    _write(path, rows)
    path.chmod(0o444)
    return f"the cost of row {_seq(rows[index])} in {path.name} is now 0.000001"


def removed_month(place: Path, other: Path | None) -> str:
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


def resigned(place: Path, other: Path | None) -> str:
    """Rewritten, and every checkpoint signed again by another key of the same name.

    The key is fresh, so that its id differs; the root is not the new tree's, which a verifier that
    trusts its own copy of the key never gets to see.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"mallory").digest())
    public = key.public_key().public_bytes_raw()
    notes = _notes(place)
    for path in notes:
        body, _, signatures = path.read_bytes().partition(b"\n\n")
        body += b"\n"
        name = signatures.split(b" ")[1]
        key_id = hashlib.sha256(name + b"\n\x01" + public).digest()[:4]
        signature = base64.b64encode(key_id + key.sign(body))
        path.write_bytes(body + b"\n\xe2\x80\x94 " + name + b" " + signature + b"\n")
    return f"{len(notes)} checkpoints are signed by another key"


def rolled_back(place: Path, other: Path | None) -> str:
    """With `other`: its checkpoints in place of these. Without: the newer half is gone."""
    notes = _notes(place)
    if other is not None:
        for path in notes:
            path.unlink()
        theirs = _notes(other)
        for path in theirs:
            shutil.copy(path, place / "ledger.checkpoints" / path.name)
        return f"{len(theirs)} checkpoints of another ledger lie there"
    for path in notes[len(notes) // 2 :]:
        path.unlink()
    return f"the newest {len(notes) - len(notes) // 2} checkpoints are gone"


KINDS: dict[str, Callable[[Path, Path | None], str]] = {
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
    "other-checkpoints": rolled_back,
}
