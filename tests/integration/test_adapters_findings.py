"""What an enemy or a slip can put in an operator's way is told, and does no harm."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from adapters_parts import ROLES, SIGNER, TONE, AdapterPlace, adapter_place
from oci_parts import client, described, silent

from yoyo.core.oci_manifest import EMPTY_BYTES, build_manifest, bundle_manifest
from yoyo.core.oci_names import parse_reference
from yoyo.errors import (
    AdapterInvalid,
    AdapterRefused,
    ArtefactExists,
    ConfigInvalid,
    DriverUnavailable,
)
from yoyo.model.oci import EMPTY_CONFIG, IMAGE_MANIFEST, Descriptor, Reference
from yoyo.model.signing import BUNDLE_TYPE, MAX_BUNDLE_BYTES, SIGNATURE

REFUSED, EXISTS = AdapterRefused.exit_code, ArtefactExists.exit_code
NO_EXTRA, NO_CONFIG = DriverUnavailable.exit_code, ConfigInvalid.exit_code
FILES = ["README.md", "acme-tone-1.0.0.gguf", "adapter_config.json"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterPlace]:
    """A registry with one adapter that everybody vouched for; it is not registered."""
    with adapter_place(tmp_path_factory.mktemp("findings")) as place:
        place.key_mode()
        place.adapters("push", str(place.pack(TONE)))
        place.vouch(TONE)
        yield place


@pytest.fixture
def place(made: AdapterPlace) -> AdapterPlace:
    """The same, with its configuration as it was."""
    made.settle_on()
    return made


def text_of(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}


def test_pull_writes_into_a_directory_of_its_own_and_twice_is_once(place: AdapterPlace) -> None:
    before = text_of(place.root)
    shown = place.adapters("pull", TONE)["files"]
    target = place.root / "acme-tone-1.0.0"
    assert sorted(shown) == [str(target / name) for name in FILES]
    assert sorted(text_of(target)) == FILES
    assert text_of(place.root) == before
    (target / "README.md").unlink()
    assert place.adapters("pull", TONE)["files"] == shown  # what was cut off is finished
    assert sorted(text_of(target)) == FILES


@pytest.mark.parametrize("kind", ["file", "link to nothing", "directory"])
@pytest.mark.parametrize("name", ["README.md", "acme-tone-1.0.0.gguf"])
def test_pull_overwrites_nothing(place: AdapterPlace, tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "ledger.csv").write_text("mine")
    precious = tmp_path / name
    if kind == "file":
        precious.write_text("precious")
    elif kind == "directory":
        precious.mkdir()
    else:
        precious.symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.iterdir()), text_of(tmp_path)
    error = place.adapters("pull", TONE, "--to", str(tmp_path), code=EXISTS)["error"]
    assert str(precious) in error["what"]
    assert error["why"]
    assert "--to" in error["fix"]
    assert (sorted(tmp_path.iterdir()), text_of(tmp_path)) == before


def test_a_name_is_that_of_what_lies_under_it(place: AdapterPlace) -> None:
    """Somebody pushed another adapter under the tag of a version that was to come."""
    wrong = "acme-new@1.0.0"
    layout = place.root / f"{TONE}.oci"
    place.adapters("push", str(layout), f"{place.repository}/acme-new:1.0.0")
    before = len(place.adapters("inspect", TONE)["bundles"])
    for command in (
        ("sign", wrong, *place.options(SIGNER)),
        ("evaluate", wrong, "--result", "passed", "--suite", "x"),
        ("attest", wrong, "--training", "training.yaml"),
        ("register", wrong),
        ("verify", wrong),
        ("inspect", wrong),
        ("pull", wrong),
    ):
        error = place.adapters(*command, code=REFUSED)["error"]
        assert wrong in error["what"], command
        assert TONE in error["why"], command
        assert error["fix"]
    assert not place.book.exists()
    assert not (place.root / "acme-new-1.0.0").exists()
    # Named by what it is, it is taken.
    whole = f"{place.repository}/acme-new:1.0.0"
    assert place.adapters("inspect", whole)["adapter"]["id"] == "acme-tone"
    assert len(place.adapters("inspect", TONE)["bundles"]) == before


@pytest.mark.parametrize("ref", ["acme-none@1.0.0", "none", "127.0.0.1:1/", "a b/c:d"])
def test_verify_of_what_is_none_gives_one_document(place: AdapterPlace, ref: str) -> None:
    assert place.adapters("verify", ref, code=None)["error"]["code"]


def test_verify_of_what_is_no_adapter_gives_one_document(
    place: AdapterPlace, tmp_path: Path
) -> None:
    ref = parse_reference(f"{place.repository}/thing:1.0.0")
    with client(tmp_path) as registry:
        blob = described(EMPTY_BYTES, EMPTY_CONFIG)
        registry.push(ref, blob, EMPTY_BYTES, silent)
        document = build_manifest(artifact_type="application/x.y", config=blob, layers=(blob,))
        registry.put_manifest(ref, document, IMAGE_MANIFEST)
    error = place.adapters("verify", str(ref), code=AdapterInvalid.exit_code)["error"]
    assert error["code"] == "AdapterInvalid"


HIDDEN = """\
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}" or name.startswith("{module}."):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def without(place: AdapterPlace, folder: Path, module: str) -> dict[str, str]:
    """An environment in which that module is not installed."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDDEN.format(module=module))
    return place.env(PYTHONPATH=str(folder))


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("cryptography", ("adapters", "sign", TONE)),
        ("cryptography", ("adapters", "verify", TONE)),
        ("requests", ("adapters", "verify", TONE)),
        ("requests", ("adapters", "push", f"{TONE}.oci")),
    ],
)
def test_a_missing_extra_is_named(
    place: AdapterPlace, tmp_path: Path, module: str, command: tuple[str, ...]
) -> None:
    done = place.run(*command, code=NO_EXTRA, env=without(place, tmp_path / "no", module))
    assert f"The module {module}" in done.stderr
    assert "pip install 'yoyo[adapters]'" in done.stderr


def test_a_missing_editor_of_the_registry_file_is_named(tmp_path: Path) -> None:
    with adapter_place(tmp_path) as place:
        place.key_mode()
        place.publish(TONE, promote=False)
        before = place.book.read_bytes()
        env = without(place, tmp_path / "no", "ruamel")
        done = place.run("adapters", "promote", TONE, code=NO_EXTRA, env=env)
        assert "pip install 'yoyo[adapters]'" in done.stderr
        assert place.book.read_bytes() == before
        assert place.adapters("promote", TONE)["adapter"]["stage"] == "promoted"
        place.sound()


def keyless(root: Path) -> dict[str, Any]:
    """Somebody is trusted by his address, and that root is pinned."""
    people = {f"{role}s": [f"{role}@x.example https://x.example"] for role in ROLES}
    return {"mode": "keyless", "root": str(root), **people}


@pytest.mark.parametrize("command", ["sign", "verify"])
def test_a_missing_sigstore_is_named(place: AdapterPlace, tmp_path: Path, command: str) -> None:
    root, token = tmp_path / "root.json", tmp_path / "token"
    root.write_text("{}")
    token.touch(0o600)
    token.write_text("x.y.z")
    place.signing = {"mode": "keyless", "token_file": str(token)}
    try:
        place.settle_on(**keyless(root))
    finally:
        place.signing = {"mode": "key", "key": "keys/signer.key"}
    env = without(place, tmp_path / "no", "sigstore")
    done = place.run("adapters", command, TONE, code=NO_EXTRA, env=env)
    assert "The module sigstore is not installed" in done.stderr
    assert "pip install 'yoyo[adapters]'" in done.stderr


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_text(path: Path) -> None:
    path.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")


def make_large(path: Path) -> None:
    path.write_bytes(b"x" * 65537)


@pytest.mark.parametrize("make", [make_pipe, make_text, make_large, Path.mkdir, lambda _: None])
@pytest.mark.parametrize("role", ["signers", "evaluators"])
def test_a_public_key_that_is_none_is_told_with_its_path(
    place: AdapterPlace, tmp_path: Path, role: str, make: object
) -> None:
    key = tmp_path / "odd.pub"
    assert callable(make)
    make(key)
    keys: dict[str, Any] = {role: [str(key)]}
    place.settle_on(**keys)
    error = place.adapters("verify", TONE, code=NO_CONFIG)["error"]
    assert str(key) in error["why"]
    assert error["fix"]


def test_a_trusted_root_that_is_a_pipe_is_not_waited_for(
    place: AdapterPlace, tmp_path: Path
) -> None:
    pipe = tmp_path / "root.json"
    os.mkfifo(pipe)
    place.settle_on(**keyless(pipe))
    error = place.adapters("verify", TONE, code=NO_CONFIG)["error"]
    assert str(pipe) in error["why"]


def attached(place: AdapterPlace, home: Path, ref: Reference, layers: tuple[bytes, ...]) -> None:
    """A manifest that calls itself a bundle, with these layers, under that adapter."""
    with client(home) as registry:
        subject = Descriptor(IMAGE_MANIFEST, ref.digest, len(registry.manifest(ref)))
        made = bundle_manifest(subject, b"x", SIGNATURE, datetime(2026, 11, 21, tzinfo=UTC))
        registry.push(ref, made.config, made.config_bytes, silent)
        for layer in layers:
            registry.push(ref, described(layer, BUNDLE_TYPE), layer, silent)
        document = build_manifest(
            artifact_type=BUNDLE_TYPE,
            config=made.config,
            layers=tuple(described(each, BUNDLE_TYPE) for each in layers),
            subject=subject,
        )
        registry.attach(ref, subject, document)


def test_a_bundle_of_a_wrong_form_is_shown_as_refused(place: AdapterPlace, tmp_path: Path) -> None:
    name, ref = "acme-odd@1.0.0", f"{place.repository}/acme-odd:1.0.0"
    digest = place.adapters("push", str(place.pack(name, seed=5)))["digest"]
    place.vouch(name)
    at = parse_reference(ref).at(digest)
    attached(place, tmp_path, at, (b"one", b"two"))
    attached(place, tmp_path, at, (b"x" * (MAX_BUNDLE_BYTES + 1),))
    shown = place.adapters("verify", name)["checks"]
    bundles = next(each for each in shown if each["name"] == "bundles")
    assert bundles["evidence"].startswith("5 bundles, 2 of them refused")


def test_ls_knows_the_stages_and_tells_none_from_none_of_these(tmp_path: Path) -> None:
    with adapter_place(tmp_path) as place:
        place.key_mode()
        assert "nothing is registered" in place.run("adapters", "ls", "--stage", "retired").stdout
        assert "nothing is registered" in place.run("adapters", "ls").stdout
        place.publish(TONE, promote=False)
        for command in (("--stage", "retired"), ("--module", "globex")):
            assert place.run("adapters", "ls", *command).stdout == "none matches\n"
            assert place.adapters("ls", *command) == {"adapters": []}
        assert TONE in place.run("adapters", "ls", "--stage", "eval_ok").stdout
        said = place.run("adapters", "ls", "--stage", "bogus", code=2).stderr
        assert "eval_pending" in said
