"""`yoyo up` on a ledger that the newest checkpoint beside it shows to be another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_parts import rechained
from cli import CONFIG, Place

from yoyo.errors import CheckpointMismatch

MISMATCH = CheckpointMismatch("").exit_code


@pytest.fixture
def signed(here: Place) -> Place:
    here.run("ledger", "keygen", "--origin", "ledger.example.org/gpu")
    text = CONFIG.format(engine="ctx: 4096, parallel: 2", guards="stop_grace: 5s", more="")
    text += "checkpoints:\n  origin: ledger.example.org/gpu\n  key: ledger-key.pem\n"
    (here.root / "yoyo.yaml").write_text(text)
    for _ in range(3):
        here.run("ledger", "checkpoint")
    return here


def refused(here: Place) -> str:
    before = {path: path.read_bytes() for path in here.root.glob("ledger*") if path.is_file()}
    said = here.json("up", code=MISMATCH)["error"]
    assert {p: p.read_bytes() for p in here.root.glob("ledger*") if p.is_file()} == before
    assert here.processes() == []
    return str(said["why"])


def test_rows_at_the_end_are_gone(signed: Place) -> None:
    lines = signed.ledger.read_bytes().splitlines(keepends=True)
    signed.ledger.write_bytes(b"".join(lines[:-1]))
    assert "signs 5 rows, and the ledger ends with row 4" in refused(signed)
    signed.ledger.unlink()
    assert "ends with row 0" in refused(signed)


def test_the_row_is_another_one(signed: Place) -> None:
    lines = signed.ledger.read_bytes().split(b"\n")[:-1]
    forged = rechained([line.replace(b",tester,", b",nobody,") for line in lines])
    assert forged != lines
    signed.ledger.write_bytes(b"".join(line + b"\n" for line in forged))
    assert "row 5 is not the one" in refused(signed)


def test_a_whole_ledger_and_a_damaged_note_stop_nobody(signed: Place) -> None:
    note = Path(signed.root / "ledger.checkpoints" / f"{99:020d}-00000000.note")
    note.write_bytes(b"{}")
    signed.run("up")
    assert "BOOT_COMPLETE success" in signed.events()
