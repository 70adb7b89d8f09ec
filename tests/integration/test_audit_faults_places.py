"""Proving a ledger with no second store, a wrong key, a wrong clock, or another ledger."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from audit_faults_parts import configure, refusal, yoyo
from audit_parts import ORIGIN, Audited, rechained

from yoyo.model.ledger import Row
from yoyo.ops.audit.checkpoint import checkpoint, is_due, newest_checkpoint
from yoyo.ops.audit.seal import seal
from yoyo.wiring_audit import make_note_key


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    made = Audited(tmp_path / "ledger", now=datetime(2025, 1, 10, tzinfo=UTC))
    configure(made.home, copy=f"file://{made.copies}")
    made.book(6)
    checkpoint(made.ctx)
    made.clock.at = datetime(2025, 2, 10, tzinfo=UTC)
    made.book(3)
    return made


def test_a_second_store_that_is_not_there_is_a_warning_and_is_made_up_for(house: Audited) -> None:
    aside = house.copies.rename(house.copies.with_name("aside"))
    house.copies.write_text("a file where the directory was")
    for _ in range(2):
        said = yoyo(house.home, "ledger", "checkpoint")
        assert (said.code, "could not be copied" in said.out + said.err) == (0, True), said
    house.copies.unlink()
    aside.rename(house.copies)
    assert "warning" not in yoyo(house.home, "ledger", "checkpoint").out
    there = {path.name for path in house.copies.rglob("*.note")}
    assert there == {p.name for p in (house.home / "ledger.checkpoints").glob("*.note")}
    assert len(there) == 4


def command(house: Audited, script: str) -> None:
    """Have a command sign in the key's place."""
    path = house.home / "sign.py"
    path.write_text(script)
    signer = f"signer_command: [{sys.executable}, {path}]\n  public_key: key.vkey"
    configure(house.home, signer=signer)


SIGN = """
import base64, sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open({key!r}, "rb").read(), None)
print(base64.b64encode(key.sign(sys.stdin.buffer.read())).decode())
"""
WRONG = "import base64; print(base64.b64encode(b'x' * 64).decode())"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("print('\\x1b[31mhello')", "no Ed25519 signature in base64"),
        (WRONG, "its signature is not of"),
        ("import sys; sys.exit('token \\x1b[31m not found')", "it ended with 1: token"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9 ended it"),
        ("print('x' * 100_000)", "it printed more than"),
    ],
)
def test_a_command_that_does_not_sign(house: Audited, script: str, why: str) -> None:
    notes = sorted(path.name for path in (house.home / "ledger.checkpoints").glob("*.note"))
    command(house, script)
    said = refusal(house.home, 53, "ledger", "checkpoint")
    assert why in said.err
    assert "\x1b" not in said.err
    assert house.ctx.ledger.verify().ok
    assert notes == sorted(p.name for p in (house.home / "ledger.checkpoints").glob("*.note"))
    command(house, SIGN.format(key=str(house.home / "key.pem")))
    assert yoyo(house.home, "ledger", "checkpoint").code == 0
    places = ("ledger", "verify", "--against", "ledger.checkpoints", "--key", "key.vkey")
    assert yoyo(house.home, *places).code == 0


def test_a_command_that_is_missing(house: Audited) -> None:
    signer = "signer_command: [/nowhere/sign]\n  public_key: key.vkey"
    configure(house.home, signer=signer)
    assert "No such file" in refusal(house.home, 53, "ledger", "checkpoint").err


def another_key(house: Audited) -> None:
    (house.home / "key.pem").unlink()
    (house.home / "key.vkey").unlink()
    make_note_key(house.home / "key.pem", ORIGIN, {})


def with_text(text: str) -> Callable[[Audited], object]:
    return lambda house: (house.home / "key.pem").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (another_key, "by another key than the one before it"),
        (lambda house: (house.home / "key.pem").unlink(), "key.pem"),
        (lambda house: (house.home / "key.pem").chmod(0o644), "chmod"),
        (with_text(""), "key.pem"),
        (with_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "key.pem"),
    ],
)
def test_a_key_that_is_not_the_one(
    house: Audited, spoil: Callable[[Audited], object], words: str
) -> None:
    before = house.path.read_bytes()
    spoil(house)
    said = refusal(house.home, 53, "ledger", "checkpoint")
    assert words in said.err
    assert house.path.read_bytes() == before


def test_a_ledger_that_was_copied_back_is_not_signed_and_is_named(house: Audited) -> None:
    backup = house.path.read_bytes()
    assert yoyo(house.home, "ledger", "checkpoint").code == 0
    house.path.write_bytes(backup)
    before = house.path.read_bytes()
    refusal(house.home, 49, "ledger", "checkpoint")
    assert house.path.read_bytes() == before
    refusal(house.home, 49, "ledger", "verify", "--against", str(house.copies))
    house.book(20)  # it goes on, and is longer than the one that was signed
    said = refusal(house.home, 49, "ledger", "verify", "--against", str(house.copies))
    assert "rewritten" in said.err or "forked" in said.err
    refusal(house.home, 49, "ledger", "checkpoint")


def test_a_fork_that_took_its_checkpoints_along_is_stopped_by_the_second_store(
    house: Audited, tmp_path: Path
) -> None:
    shutil.copytree(house.home, tmp_path / "fork")
    assert yoyo(house.home, "ledger", "checkpoint").code == 0
    fork = Audited(tmp_path / "fork")
    for _ in range(2):
        said = yoyo(fork.home, "ledger", "checkpoint")
        assert "has another" in said.out + said.err, said
    against = refusal(fork.home, 49, "ledger", "verify", "--against", str(house.copies))
    assert "forked" in against.err or "rewritten" in against.err


@pytest.mark.parametrize("other", [2, 30])
def test_two_ledgers_in_one_file_are_not_signed(house: Audited, other: int) -> None:
    twin = Audited(house.home.with_name("twin"))
    twin.book(other)
    house.write(house.lines() + twin.lines()[1:])
    refusal(house.home, 40, "ledger", "verify")
    notes = sorted((house.home / "ledger.checkpoints").glob("*.note"))
    assert "Two ledgers" in refusal(house.home, 40, "ledger", "checkpoint").err
    assert notes == sorted((house.home / "ledger.checkpoints").glob("*.note"))
    refusal(house.home, 40, "ledger", "seal")


def test_a_checkpoint_of_another_ledger_is_named(house: Audited) -> None:
    twin = Audited(house.home.with_name("twin"))
    twin.book(30)
    checkpoint(twin.ctx)
    against = ("ledger", "verify", "--against", str(twin.copies))
    assert "key-mismatch" in refusal(house.home, 49, *against).err
    key = str(twin.home / "key.vkey")
    said = refusal(house.home, 49, *against, "--key", key)
    assert "cut" in said.err or "rewritten" in said.err
    for place in (house.home / "ledger.checkpoints", house.home / "nothing"):
        if place.exists():
            shutil.rmtree(place)
        refusal(house.home, 48, "ledger", "verify", "--against", str(place))


def test_a_month_that_is_there_with_other_rows_is_never_replaced(house: Audited) -> None:
    before = house.path.read_bytes()
    other = house.home / "ledger-2025-01.csv"
    other.write_bytes(b"\n".join(rechained(house.lines())[:4]) + b"\n,\n")
    content = other.read_bytes()
    refusal(house.home, 47, "ledger", "seal")
    assert (house.path.read_bytes(), other.read_bytes()) == (before, content)
    other.unlink()
    assert yoyo(house.home, "ledger", "seal").code == 0
    assert yoyo(house.home, "ledger", "seal").out.startswith("nothing to seal")
    refusal(house.home, 47, "ledger", "seal", "2099-01")


def test_a_symbolic_link_is_signed_and_never_sealed(house: Audited) -> None:
    real = house.home / "real.csv"
    house.path.rename(real)
    house.path.symlink_to(real)
    assert yoyo(house.home, "ledger", "checkpoint").code == 0
    before = real.read_bytes()
    assert str(real) in refusal(house.home, 47, "ledger", "seal").err
    assert house.path.is_symlink()
    assert before == real.read_bytes()
    assert yoyo(house.home, "ledger", "verify", "--against", str(house.copies)).code == 0


def test_a_clock_that_goes_back_over_a_months_border(house: Audited) -> None:
    house.clock.at = datetime(2025, 3, 1, 0, 0, 1, tzinfo=UTC)
    assert [each.month for each in seal(house.ctx)] == ["2025-01", "2025-02"]
    checkpoint(house.ctx)
    assert not is_due(house.ctx)
    house.clock.at = datetime(2025, 2, 28, 23, 0, tzinfo=UTC)
    # Nobody can say how old the newest checkpoint is: it is signed anew, once.
    assert is_due(house.ctx)
    house.book(2, module="late")
    assert seal(house.ctx) == ()
    checkpoint(house.ctx)
    assert not is_due(house.ctx)
    house.clock.at = datetime(2025, 4, 1, tzinfo=UTC)
    assert [each.month for each in seal(house.ctx)] == ["2025-03"]
    report = house.ctx.ledger.verify()
    assert (report.problems, report.clock_steps_back) == ((), 1)
    late = [
        r for r in house.ctx.ledger.rows() if isinstance(r, Row) and r.entry.module_id == "late"
    ]
    assert len(late) == 2
    assert yoyo(house.home, "ledger", "verify", "--against", str(house.copies)).code == 0


def test_a_month_that_ends_with_a_change_of_keys_can_be_sealed(house: Audited) -> None:
    make_note_key(house.home / "key-2.pem", ORIGIN, {})
    from yoyo.ops.audit.keys import rotate
    from yoyo.wiring_audit import signer_by

    rotate(house.ctx, signer_by(house.home / "key-2.pem", ORIGIN, {}))
    house.settings = house.settings._replace(key=house.home / "key-2.pem")
    house.clock.at += timedelta(days=60)
    newest = newest_checkpoint(house.ctx)
    assert [each.month for each in seal(house.ctx)] == ["2025-01", "2025-02"]
    assert newest_checkpoint(house.ctx) == newest
    checkpoint(house.ctx)
    assert yoyo(house.home, "ledger", "verify", "--against", str(house.copies)).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("ledger", "extract", "--module", "acme"),
        ("ledger", "export", "--to", "spreadsheet"),
        ("report", "--month", "2025-01"),
    ],
)
def test_no_result_takes_the_place_of_a_ledger(house: Audited, arguments: tuple[str, ...]) -> None:
    seal(house.ctx)
    checkpoint(house.ctx)
    for name in ("ledger.csv", "ledger-2025-01.csv"):
        before = (house.home / name).read_bytes()
        said = refusal(house.home, 50, *arguments, "-o", name)
        assert "a ledger is there" in said.err
        assert (house.home / name).read_bytes() == before


def test_a_key_never_gets_the_name_of_its_public_half(house: Audited) -> None:
    keygen = ("ledger", "keygen", "--origin", "a.example/b", "--out")
    refusal(house.home, 53, *keygen, "other.vkey")
    refusal(house.home, 53, *keygen, "key.other")  # key.vkey is another key's
    refusal(house.home, 53, *keygen, "key.pem")
    refusal(house.home, 53, "ledger", "keygen", "--origin", "no name", "--out", "new.pem")
    assert not (house.home / "other.vkey").exists()
    assert not (house.home / "key.other").exists()
    assert yoyo(house.home, *keygen, "other.pem").code == 0
    assert stat.S_IMODE((house.home / "other.pem").stat().st_mode) == 0o600


def test_a_pipe_among_checkpoints_does_not_keep_a_reader_waiting(house: Audited) -> None:
    os.mkfifo(house.copies / "checkpoints" / "pipe.note")
    assert yoyo(house.home, "ledger", "verify", "--against", str(house.copies)).code == 0


def test_checkpoints_that_cannot_be_listed_are_not_none(house: Audited) -> None:
    place = house.home / "ledger.checkpoints"
    shutil.rmtree(place)
    place.write_text("no directory")
    before = house.path.read_bytes()
    refusal(house.home, 48, "ledger", "checkpoint")
    assert house.path.read_bytes() == before


def test_a_note_that_is_half_there_is_never_believed(house: Audited) -> None:
    place = house.home / "ledger.checkpoints"
    name = max(path.name for path in place.glob("*.note"))
    whole = (place / name).read_bytes()
    (place / f".{name}.0123456789ab.part").write_bytes(whole[:50])
    assert yoyo(house.home, "ledger", "checkpoint").code == 0
    name = max(path.name for path in place.glob("*.note"))
    whole = (place / name).read_bytes()
    for cut in (0, 10, len(whole) - 30, len(whole) - 1):
        (place / name).unlink()
        (place / name).write_bytes(whole[:cut])
        before = house.path.read_bytes()
        assert name[:20] in refusal(house.home, 48, "ledger", "checkpoint").err
        refusal(house.home, 48, "ledger", "verify", "--against", str(place / name))
        assert house.path.read_bytes() == before
    signature = base64.b64decode(whole.rsplit(b" ", 1)[1])
    forged = whole.replace(
        base64.b64encode(signature), base64.b64encode(signature[:-1] + bytes([signature[-1] ^ 1]))
    )
    (place / name).unlink()
    (place / name).write_bytes(forged)
    refusal(house.home, 49, "ledger", "verify", "--against", str(place / name))
