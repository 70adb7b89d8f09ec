"""What the commands on adapters say: the next step that they name is one that helps."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters_parts import (
    BUILDER,
    BUILDER_ID,
    EVALUATOR,
    SIGNER,
    SUITE,
    TONE,
    TRAINING,
    AdapterPlace,
    Snapshot,
    adapter_place,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from yoyo.errors import AdapterInvalid, AdapterRefused, AdapterStageWrong, SigningFailed

REFUSED, USAGE = AdapterRefused.exit_code, 2
INVALID, STAGE = AdapterInvalid.exit_code, AdapterStageWrong.exit_code
UNSIGNED = SigningFailed.exit_code
VERDICT = ("--result", "passed", "--suite", SUITE)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AdapterPlace, Snapshot]]:
    """One adapter that everybody vouched for, entered and not promoted."""
    home = tmp_path_factory.mktemp("texts")
    with adapter_place(home) as made:
        made.key_mode()
        made.publish(TONE, promote=False)
        yield made, Snapshot(made, home)


@pytest.fixture
def place(kept: tuple[AdapterPlace, Snapshot]) -> Iterator[AdapterPlace]:
    """The same, as if no other test had been there."""
    made, snapshot = kept
    yield made
    snapshot.restore()


def said(place: AdapterPlace, *arguments: str, code: int = 0) -> str:
    """What one command on adapters tells people."""
    done = place.run("adapters", *arguments, code=code)
    return done.stdout + done.stderr


def bundles(place: AdapterPlace) -> int:
    return len(place.adapters("inspect", TONE)["bundles"])


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (("sign", TONE), EVALUATOR),
        (("attest", TONE, "--training", "training.yaml"), SIGNER),
        (("evaluate", TONE, *VERDICT), BUILDER),
    ],
)
def test_who_has_no_word_here_is_told_so(
    place: AdapterPlace, command: tuple[str, ...], role: str
) -> None:
    before = bundles(place)
    (note,) = place.adapters(*command, *place.options(role))["notes"]
    assert note.startswith("trust here will not accept this: key:sha256:")
    assert bundles(place) == before + 1
    shown = place.run("adapters", *command, *place.options(role))
    assert f"note: {note}" in shown.stderr


def test_a_builder_that_is_not_trusted_is_told_of(place: AdapterPlace) -> None:
    (place.root / "training.yaml").write_text(TRAINING.replace(BUILDER_ID, "https://else.example"))
    told = place.adapters("attest", TONE, "--training", "training.yaml", *place.options(BUILDER))
    (note,) = told["notes"]
    assert "https://else.example" in note
    assert "trust.builder_ids" in note


def test_who_is_trusted_and_who_cannot_know_get_no_note(place: AdapterPlace) -> None:
    for made in place.vouch(TONE).values():
        assert made["notes"] == []
    place.settle_on(evaluators=["keys/none.pub"])
    assert place.adapters("sign", TONE)["notes"] == []


def test_the_same_signature_is_attached_once(place: AdapterPlace) -> None:
    before = bundles(place)
    again = place.adapters("sign", TONE)
    assert again["already"] is True
    assert bundles(place) == before
    assert "was there already" in said(place, "sign", TONE)
    other = place.adapters("sign", TONE, *place.options("stranger"))
    assert other["already"] is False
    assert bundles(place) == before + 1


def test_explain_does_not_advise_itself(place: AdapterPlace) -> None:
    place.settle_on(builder_ids=["https://else.example"])
    assert "--explain" in said(place, "verify", TONE, code=REFUSED)
    assert "--explain" not in said(place, "verify", TONE, "--explain", code=REFUSED)


def test_a_running_node_is_said_to_answer_as_before(place: AdapterPlace) -> None:
    place.adapters("promote", TONE)
    place.run("up")
    place.settle_on(builder_ids=["https://else.example"])
    error = place.adapters("activate", code=REFUSED)["error"]
    assert "local still answers as before" in error["fix"]
    assert f"yoyo adapters retire {TONE}, then yoyo adapters activate" in error["fix"]
    place.adapters("retire", TONE)
    assert place.adapters("activate")["adapters"] == []


def test_another_scale_is_shown(place: AdapterPlace) -> None:
    assert "scale" not in said(place, "ls")
    assert "scale 1 -> -3" in said(place, "register", TONE, "--scale", "-3")
    assert "scale -3" in said(place, "ls")
    assert "scale" not in said(place, "register", TONE)


def test_what_stands_there_already_is_said(place: AdapterPlace) -> None:
    told = said(place, "register", TONE)
    assert f"{TONE} was eval_ok already" in told
    assert f"next: yoyo adapters promote {TONE}" in told
    said(place, "promote", TONE)
    for command in ("promote", "register"):
        told = said(place, command, TONE)
        assert f"{TONE} was promoted already" in told
        assert "next" not in told
    said(place, "reject", TONE)
    told = said(place, "reject", TONE)
    assert f"{TONE} was rejected already" in told
    assert "next" not in told


def test_a_key_that_needs_its_password_is_not_to_be_made_anew(place: AdapterPlace) -> None:
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"right"),
    )
    file = place.root / "keys" / "locked.key"
    file.touch(0o600)
    file.write_bytes(key)
    options = ("--set", f"signing.key={file}")
    missing = said(place, "sign", TONE, *options, code=UNSIGNED)
    env = place.env(YOYO_KEY_PASSWORD="wrong")
    done = place.run("adapters", "sign", TONE, *options, code=UNSIGNED, env=env)
    assert "check YOYO_KEY_PASSWORD" in done.stderr
    assert "openssl" not in missing + done.stderr


def test_the_public_half_is_called_so(place: AdapterPlace) -> None:
    file = place.root / "keys" / "half.key"
    file.touch(0o600)
    file.write_bytes((place.root / "keys" / "signer.pub").read_bytes())
    error = place.adapters("sign", TONE, "--set", f"signing.key={file}", code=UNSIGNED)["error"]
    assert "that is the public half" in error["why"]
    assert "openssl genpkey" not in error["fix"]


def test_next_lines_can_be_pasted(place: AdapterPlace) -> None:
    folder = place.root / "a b"
    folder.mkdir()
    shutil.copy(place.root / f"{TONE}.gguf", folder / "t.gguf")
    arguments = ("a b/t.gguf", TONE, "--data", "train.jsonl", "--to", "a b/out.oci")
    last = said(place, "pack", *arguments).strip().splitlines()[-1]
    assert shlex.split(last)[-1] == str(folder / "out.oci")


@pytest.mark.parametrize(
    ("arguments", "code", "advice"),
    [
        (("retire", "acme-tone"), STAGE, "ID@VERSION"),
        (("promote", "acme-tone"), STAGE, "ID@VERSION"),
        (("rollback", TONE), STAGE, "yoyo adapters rollback acme-tone"),
        (("pack", "x.gguf", TONE, "--data", "sha256:12"), INVALID, "64 hex digits"),
    ],
)
def test_a_name_of_the_wrong_kind_is_called_so(
    place: AdapterPlace, arguments: tuple[str, ...], code: int, advice: str
) -> None:
    error = place.adapters(*arguments, code=None)["error"]
    assert advice in error["fix"], error
    assert error["exit_code"] in (code, INVALID)


@pytest.mark.parametrize("base", ["/x", "sha256:00", "nodes"])
def test_verify_takes_no_other_base(place: AdapterPlace, base: str) -> None:
    assert "--base" in said(place, "verify", TONE, "--base", base, code=USAGE)


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_training_is_no_case_for_init(place: AdapterPlace, text: str) -> None:
    (place.root / "training.yaml").write_text(text)
    command = ("attest", TONE, "--training", "training.yaml")
    error: Any = place.adapters(*command, code=None)["error"]
    assert error["code"] == "ConfigInvalid"
    assert "yoyo init" not in json.dumps(error)


def test_a_model_is_not_taken_for_an_adapter(place: AdapterPlace) -> None:
    arguments = (str(place.base), TONE, "--data", "train.jsonl")
    error = place.adapters("pack", *arguments, code=INVALID)["error"]
    assert "this is a model, not an adapter" in error["why"]


def test_bytes_that_belong_to_no_tensor_are_refused(place: AdapterPlace, tmp_path: Path) -> None:
    whole = (place.root / f"{TONE}.gguf").read_bytes()
    for extra, code in ((4096, 0), (5000, INVALID)):
        file = tmp_path / f"{extra}.gguf"
        file.write_bytes(whole + bytes(extra))
        to = ("--to", str(tmp_path / f"{extra}.oci"))
        told = said(place, "pack", str(file), TONE, "--data", "train.jsonl", *to, code=code)
        assert ("bytes belong to no tensor" in told) == bool(code)
