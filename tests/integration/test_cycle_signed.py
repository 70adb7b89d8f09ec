"""A real cycle whose ledger is signed: from the first row to copies that agree, faults included."""

from __future__ import annotations

import json
import re
import shutil
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cli import CONFIG, Place

ORIGIN = "ledger.example.org/gpu"
PRICE = "prices: {hourly_usd: 0.71}"


class SignedPlace:
    """A directory whose yoyo.yaml names a key and a second store."""

    def __init__(self, here: Place) -> None:
        self.here = here
        self.copies = here.root / "copies"
        here.run("ledger", "keygen", "--origin", ORIGIN)
        self.configure()

    def configure(
        self,
        *,
        signer: str = "key: ledger-key.pem",
        every: str = "1h",
        guards: str = "stop_grace: 5s",
        copy_to: str = "",
    ) -> None:
        """Write yoyo.yaml."""
        text = CONFIG.format(engine="ctx: 4096, parallel: 2", guards=guards, more=PRICE)
        text += (
            f"checkpoints:\n  origin: {ORIGIN}\n  {signer}\n  every: {every}\n"
            f"  copy_to: {copy_to or self.copies.as_uri()}\nsealing: {{mode: monthly}}\n"
        )
        (self.here.root / "yoyo.yaml").write_text(text)

    def rows(self) -> list[dict[str, Any]]:
        """Every row, those about the ledger itself included."""
        lines = self.here.run("ledger", "show", "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def codes(self) -> list[str]:
        """What each row is: its error code, else its type."""
        return [row["error_code"] or row["event_type"] for row in self.rows()]

    @property
    def notes(self) -> list[Path]:
        return sorted((self.here.root / "ledger.checkpoints").glob("*.note"))

    def proof(self, digest: str) -> dict[str, Any]:
        """The document that a row names."""
        path = self.here.root / "ledger.proofs" / f"{digest.removeprefix('sha256:')}.json"
        assert sha256(path.read_bytes()).hexdigest() == path.stem
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found

    def against_copies(self, code: int = 0) -> Any:
        """What an auditor finds who has the copies and the verifier key."""
        key = ("--key", "ledger-key.vkey")
        return self.here.json("ledger", "verify", "--against", "copies", *key, code=code)

    def checks(self, code: int | None = 0) -> dict[str, dict[str, str]]:
        """The doctor's findings about the ledger's proof."""
        return {check["name"]: check for check in self.here.json("doctor", code=code)["ledger"]}


@pytest.fixture
def signed(here: Place) -> SignedPlace:
    return SignedPlace(here)


def test_from_up_to_copies_that_agree(signed: SignedPlace) -> None:
    here = signed.here
    here.run("up")
    answer = here.run("ask", "Why?", "--max-tokens", "4", "--json").stdout
    (here.root / "answer.json").write_text(answer)
    assert signed.notes == [], "nothing is signed while a node comes and works"
    down = here.run("down")
    assert "checkpoint" not in down.stderr, "all went well, so nothing is said"
    rows = signed.rows()
    assert signed.codes() == [
        "SESSION",
        "BOOT_REQUEST",
        "BOOT_COMPLETE",
        "JOB_START",
        "JOB_COMPLETE",
        "TEARDOWN_REQUEST",
        "TEARDOWN_COMPLETE",
        "KEY_ADDED",
        "HEARTBEAT",
    ]
    assert signed.proof(rows[1]["input_hash"])["_type"] == "urn:yoyo:boot:v1"
    price = signed.proof(rows[6]["input_hash"])
    assert "0.71" in json.dumps(price)
    (note,) = signed.notes
    assert note.read_text().splitlines()[:2] == [ORIGIN, "9"]
    assert (signed.copies / "checkpoints" / note.name).read_bytes() == note.read_bytes()
    found = signed.against_copies()
    assert found["ok"]
    assert found["against"]["agreed"] == 9
    (facts,) = here.json("ledger", "trace", "answer.json")["found"]
    assert facts["cost"]["life_is"] == "booked"
    assert facts["cost"]["price"]["hourly_usd"] == "0.71"
    assert facts["boot"]["engine"]["from"] == "yoyo itself"
    assert facts["boot"]["weights"]["name"] == "smoke"
    assert note.stem in json.dumps(facts["checkpoint"])
    assert here.json("ledger", "verify", "--strict")["ok"]


def test_the_monitor_signs_an_idle_ledger_when_it_is_due_and_not_before(
    signed: SignedPlace,
) -> None:
    here = signed.here
    here.run("up")
    here.run("down")
    before = signed.codes()
    here.run("monitor", "run", "--once")
    assert signed.codes() == before
    assert "nobody has signed" not in here.run("status").stdout
    age_by(signed, hours=2)
    done = here.run("monitor", "run", "--once")
    assert done.stderr == ""
    # The session is opened anew because this is another file than the one it was opened in.
    assert signed.codes() == [*before, "SESSION", "HEARTBEAT"]
    assert len(signed.notes) == 2
    assert signed.against_copies()["ok"]


def test_the_monitor_does_the_first_one_too(signed: SignedPlace) -> None:
    signed.here.run("monitor", "run", "--once")
    assert signed.codes() == ["SESSION", "KEY_ADDED", "HEARTBEAT"]


def age_by(signed: SignedPlace, *, hours: int) -> None:
    """Make all of it older: the rows with a chain that holds, and notes of that ledger anew."""
    from datetime import UTC, datetime, timedelta

    from audit_parts import rechained

    ledger = signed.here.ledger
    lines = ledger.read_bytes().split(b"\n")[:-1]
    form = "%Y-%m-%dT%H:%M:%S.%fZ"

    def older(found: re.Match[bytes]) -> bytes:
        at = datetime.strptime(found[0].decode(), form).replace(tzinfo=UTC)
        at -= timedelta(hours=hours)
        return at.strftime(form).encode()

    stamp = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    aged = rechained([lines[0], *(stamp.sub(older, line, count=1) for line in lines[1:])])
    ledger.write_bytes(b"".join(line + b"\n" for line in aged))
    for place in ("ledger.checkpoints", "copies"):
        shutil.rmtree(signed.here.root / place)
    sign_as_it_is(signed)


def sign_as_it_is(signed: SignedPlace) -> None:
    """A checkpoint over the newest row, which is a heartbeat of the time before."""
    from yoyo.core.audit.merkle import root_of
    from yoyo.model.settings import AuditSettings, StoreSettings
    from yoyo.ops.audit.checkpoint import announce, keep_signed
    from yoyo.ops.audit.copies import copies
    from yoyo.ops.audit.tree import frontier_at
    from yoyo.wiring_audit import audit_context

    root = signed.here.root
    settings = AuditSettings(
        origin=ORIGIN, key=root / "ledger-key.pem", copy_to=StoreSettings(signed.copies.as_uri())
    )
    ctx = audit_context(root / "ledger.csv", settings, "tester", root / ".yoyo", {})
    signer = ctx.required_signer()
    announce(ctx, signer.key)
    size = signed.here.ledger.read_bytes().count(b"\n") - 1  # all but the header
    keep_signed(ctx, root_of(frontier_at(ctx, size, None)), (signer,))
    copies(ctx)


def test_a_guards_stop_is_signed_by_whoever_books_it(signed: SignedPlace) -> None:
    signed.configure(guards="lifetime: 4s, boot_timeout: 3s, stop_grace: 2s")
    here = signed.here
    here.run("up")
    here.wait_until_gone()
    assert signed.notes == []
    assert here.status()["state"] == "stopped"
    assert signed.codes()[-3:] == ["GUARD_LIFETIME", "KEY_ADDED", "HEARTBEAT"]
    assert signed.against_copies()["ok"]


def test_status_says_since_when_nobody_signed(signed: SignedPlace) -> None:
    here = signed.here
    here.run("up")
    here.run("down")
    assert not any("signed" in note for note in here.status()["notes"])
    age_by(signed, hours=2)
    assert not any("signed" in note for note in here.status()["notes"]), "2 h are not 3 times 1 h"
    age_by(signed, hours=2)
    (said,) = [note for note in here.status()["notes"] if "signed" in note]
    assert "nobody has signed the ledger since" in said
    check = signed.checks()["checkpoints"]
    assert check["level"] == "warn"
    assert "yoyo ledger checkpoint" in check["remedy"]
    here.run("ledger", "checkpoint")
    assert not any("signed" in note for note in here.status()["notes"])
    assert signed.checks()["checkpoints"]["level"] == "ok"


def fake_signer(root: Path, script: str) -> str:
    """A command for yoyo.yaml that is no signer."""
    path = root / "signer"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"signer_command: [{path}]\n  public_key: ledger-key.vkey"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("key readable by others", "mode 0644 lets others at it"),
        ("no key", "No such file"),
        ("encrypted key", "YOYO_KEY_PASSWORD"),
        ("signer fails", "no token in the slot"),
        ("signer prints nothing", "it printed no Ed25519 signature"),
        ("second store is a file", "could not be copied"),
        ("damaged checkpoint", "is damaged"),
    ],
)
def test_down_stops_the_node_whatever_signing_says(
    signed: SignedPlace, trouble: str, said: str
) -> None:
    here, root = signed.here, signed.here.root
    key = root / "ledger-key.pem"
    here.run("up")
    if trouble == "key readable by others":
        key.chmod(0o644)
    elif trouble == "no key":
        key.unlink()
    elif trouble == "encrypted key":
        key.unlink()
        key.with_suffix(".vkey").unlink()
        here.run("ledger", "keygen", "--origin", ORIGIN, env=here.env(YOYO_KEY_PASSWORD="open"))
    elif trouble == "signer fails":
        signed.configure(signer=fake_signer(root, "echo no token in the slot >&2; exit 3"))
    elif trouble == "signer prints nothing":
        signed.configure(signer=fake_signer(root, "exec cat >/dev/null"))
    elif trouble == "second store is a file":
        signed.copies.write_bytes(b"in the way")
    else:
        (root / "ledger.checkpoints").mkdir()
        (root / "ledger.checkpoints" / f"{1:020d}-00000000.note").write_bytes(b"{}")
    done = here.run("down", "--json")
    assert json.loads(done.stdout)["state"] == "stopped"
    assert said in done.stderr, done.stderr
    assert here.processes() == []
    closing = signed.codes()
    assert "TEARDOWN_COMPLETE" in closing
    assert here.json("ledger", "verify", "--strict")["ok"]
    assert len(signed.notes) == (trouble in ("second store is a file", "damaged checkpoint"))


def test_the_password_comes_by_the_environment(signed: SignedPlace) -> None:
    here, root = signed.here, signed.here.root
    for name in ("ledger-key.pem", "ledger-key.vkey"):
        (root / name).unlink()
    env = here.env(YOYO_KEY_PASSWORD="open")
    here.run("ledger", "keygen", "--origin", ORIGIN, env=env)
    assert "ENCRYPTED" in (root / "ledger-key.pem").read_text()
    here.run("up")
    done = here.run("down", env=env)
    assert "checkpoint" not in done.stderr
    assert signed.codes()[-1] == "HEARTBEAT"
    assert signed.against_copies()["ok"]
    assert "open" not in done.stderr + done.stdout


def test_the_doctor_on_a_ledger_that_is_proved(signed: SignedPlace) -> None:
    here, root = signed.here, signed.here.root
    checks = signed.checks()
    assert checks["checkpoints"]["level"] == "warn"
    assert "none was signed yet" in checks["checkpoints"]["finding"]
    here.run("ledger", "checkpoint")
    checks = signed.checks()
    assert {check["level"] for check in checks.values()} == {"ok"}, checks
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    text = here.run("doctor").stdout
    assert "the ledger's proof:" in text
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    (copy,) = (signed.copies / "checkpoints").glob("*.note")
    kept = copy.read_bytes()
    copy.unlink()
    gone = signed.checks(code=51)["second store"]
    assert (gone["level"], "gone from" in gone["finding"]) == ("fail", True)
    copy.write_bytes(kept)
    (root / "ledger-key.vkey").unlink()
    assert signed.checks()["verifier key"]["level"] == "warn"
    (root / "ledger-key.pem").chmod(0o640)
    refused = signed.checks(code=51)["signing key"]
    assert refused["level"] == "fail"
    assert "chmod" in refused["remedy"]


def test_the_doctor_on_a_cut_ledger_and_on_another_key(signed: SignedPlace) -> None:
    here, root = signed.here, signed.here.root
    here.run("ledger", "checkpoint")
    whole = here.ledger.read_bytes()
    here.ledger.write_bytes(whole[: whole[:-1].rindex(b"\n") + 1])
    assert signed.checks(code=51)["checkpoints"]["level"] == "fail"
    assert "more rows than the ledger has" in here.run("status").stdout
    here.ledger.write_bytes(whole)
    here.run("ledger", "keygen", "--origin", ORIGIN, "--out", "other.pem")
    signed.configure(signer="key: other.pem")
    other = signed.checks(code=51)["signing key"]
    assert "yoyo ledger rotate" in other["remedy"]
    shutil.copy(root / "ledger-key.vkey", root / "other.vkey")
    assert signed.checks(code=51)["verifier key"]["level"] == "fail"


def test_the_doctor_where_nothing_is_configured_warns_and_no_more(here: Place) -> None:
    checks = {check["name"]: check for check in here.json("doctor")["ledger"]}
    assert {name: check["level"] for name, check in checks.items()} == {
        "checkpoints": "warn",
        "sealing": "ok",
    }
    assert "yoyo ledger keygen" in checks["checkpoints"]["remedy"]


def test_copies_that_are_behind_are_said_by_the_doctor(signed: SignedPlace) -> None:
    here = signed.here
    signed.copies.write_bytes(b"in the way")
    warned = here.run("ledger", "checkpoint").stdout
    assert "could not be copied" in warned
    assert signed.checks(code=None)["second store"]["level"] in ("warn", "fail")
    signed.copies.unlink()
    behind = signed.checks()["second store"]
    assert (behind["level"], "1 checkpoint(s)" in behind["finding"]) == ("warn", True)
    here.run("ledger", "checkpoint")
    assert signed.checks()["second store"]["level"] == "ok"


def test_a_key_needs_no_configuration(tmp_path: Path) -> None:
    bare = Place(tmp_path)
    made = bare.json("ledger", "keygen", "--origin", ORIGIN)
    assert made["origin"] == ORIGIN
    key = tmp_path / "ledger-key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (tmp_path / "ledger-key.vkey").read_text().strip() == made["verifier_key"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger-key.pem", "ledger-key.vkey"]
    bare.run("ledger", "keygen", code=11)
