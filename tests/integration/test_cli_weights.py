"""The commands on weights as an operator runs them: exit codes, one document each, no traceback."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from cli import Place
from nginx_parts import Nginx
from store_parts import MIB, cheap

from yoyo.errors import (
    ArtefactCorrupt,
    ArtefactExists,
    ArtefactInUse,
    ArtefactMissing,
    ManifestInvalid,
    ModelInvalid,
    SourceFailed,
    StoreUnavailable,
)

CORRUPT, INVALID = ArtefactCorrupt.exit_code, ManifestInvalid.exit_code
MISSING, SOURCE, EXISTS = (
    ArtefactMissing.exit_code,
    SourceFailed.exit_code,
    ArtefactExists.exit_code,
)

CONFIG = """\
version: 1
operator: tester
store: file://{root}/store
nodes:
  local:
    moduleId: demo
    driver: local
    engine: {{model: smoke, ctx: 4096, parallel: 2}}
"""


@pytest.fixture
def place(here: Place) -> Place:
    (here.root / "yoyo.yaml").write_text(CONFIG.format(root=here.root))
    return here


def weights(place: Place, *arguments: str, code: int = 0) -> Any:
    """Run with --json: the one document on stdout, and nothing else there."""
    done = place.run("weights", *arguments, "--json", code=code)
    assert done.stdout.count("\n") == 1, done.stdout
    return json.loads(done.stdout)


def failed(place: Place, *arguments: str, code: int) -> Any:
    """The error that it ends with."""
    error = weights(place, *arguments, code=code)["error"]
    assert error["exit_code"] == code
    assert error["fix"]
    return error


def test_the_life_of_a_name(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "m.bin"
    sha256 = cheap(source, 100_000)
    assert weights(place, "ls") == {"names": [], "unreadable": []}
    request = ("stage", "m", source.as_uri(), "--kind", "bytes", "--licence", "MIT")
    staged = weights(place, *request)
    assert not staged["already"]
    assert staged["manifest"]["files"][0]["sha256"] == sha256
    assert staged["manifest"]["licence"] == "MIT"
    weights(place, *request)
    kind = ("--kind", "bytes")
    assert weights(place, "show", "m", *kind)["digest"] == staged["manifest"]["digest"]
    [row] = weights(place, "ls")["names"]
    assert (row["name"], row["created_by"], row["size"]) == ("m", "tester", 100_000)
    for deep in ((), ("--deep",)):
        assert weights(place, "verify", "m", *kind, *deep)["ok"]
    pulled = weights(place, "pull", "m", *kind, "--to", "here")
    assert pulled["files"] == [str(tmp_path / "here" / "m.bin")]
    assert (tmp_path / "here" / "m.bin").read_bytes() == source.read_bytes()
    assert weights(place, "pin", "m", *kind)["pinned"]
    assert failed(place, "rm", "m", *kind, code=ArtefactInUse.exit_code)["code"] == "ArtefactInUse"
    assert not weights(place, "unpin", "m", *kind)["pinned"]
    assert weights(place, "rm", "m", *kind)["removed"]
    shown = weights(place, "gc", "--older-than", "0")
    assert (shown["applied"], len(shown["waste"])) == (False, 1)
    done = weights(place, "gc", "--older-than", "0", "--apply")
    assert (done["applied"], done["bytes"]) == (True, 100_000)
    assert place.json("ledger", "verify", "--strict")["ok"]


def test_for_people(place: Place) -> None:
    assert "none yet" in place.run("weights", "ls").stdout
    out = place.run("weights", "stage", "m", "inline:text", "--kind", "tokenizer").stdout
    assert out.startswith("m staged in ")
    assert "m was staged already" in place.run(
        "weights", "stage", "m", "inline:text", "--kind", "tokenizer"
    ).stdout  # fmt: skip
    assert "tokenizer m: 4 B" in place.run("weights", "show", "m", "--kind", "tokenizer").stdout
    assert "m is intact" in place.run("weights", "verify", "m", "--kind", "tokenizer").stdout
    assert "m  tokenizer" in place.run("weights", "ls").stdout
    assert "nothing to remove" in place.run("weights", "gc").stdout
    assert "none yet" in place.run("engine", "ls").stdout


def test_what_is_damaged(place: Place, tmp_path: Path) -> None:
    staged = weights(place, "stage", "m", "inline:text", "--kind", "bytes")
    sha256 = staged["manifest"]["files"][0]["sha256"]
    path = tmp_path / "store" / "artefacts" / "sha256" / sha256[:2] / sha256
    path.chmod(0o644)
    path.write_bytes(b"tuxt")
    assert weights(place, "verify", "m", "--kind", "bytes")["ok"]
    error = failed(place, "verify", "m", "--kind", "bytes", "--deep", code=CORRUPT)
    assert any(sha256 in line for line in error["details"])
    failed(place, "pull", "m", "--kind", "bytes", "--to", "to", code=CORRUPT)
    assert not (tmp_path / "to" / "inline").exists()
    weights(place, "stage", "m", "inline:text", "--kind", "bytes", "--replace")
    assert weights(place, "verify", "m", "--kind", "bytes", "--deep")["ok"]
    name = tmp_path / "store" / "names" / "bytes" / "m.json"
    name.write_text("{}")
    for command in ("show", "verify", "pull", "rm"):
        failed(place, command, "m", "--kind", "bytes", code=INVALID)
    failed(place, "gc", "--apply", code=INVALID)
    assert weights(place, "ls")["unreadable"][0]["key"] == "names/bytes/m.json"
    assert "UNREADABLE" in place.run("weights", "ls").stdout


@pytest.mark.parametrize("name", ["../x", "a/b", "x" * 300, "A", "\x1b[31mx", "ä", "a b", "@", ""])
def test_hostile_names(place: Place, name: str) -> None:
    done = place.run("weights", "show", name, code=INVALID)
    assert "\x1b" not in done.stdout + done.stderr
    failed(place, "stage", name, "inline:x", code=INVALID)


def test_every_command_refuses_a_hostile_name(place: Place) -> None:
    for command in ("show", "verify", "rm", "pin", "unpin", "pull"):
        failed(place, command, "../../x", code=INVALID)
    for command in ("show", "verify", "rm"):
        place.run("engine", command, "../../x", code=INVALID)


def test_a_name_like_an_option_and_other_wrong_usage(place: Place) -> None:
    place.run("weights", "show", "-x", code=2)
    place.run("weights", "show", "--", "-x", code=INVALID)
    place.run("weights", "show", code=2)
    place.run("weights", "gc", "--older-than", "-1", code=2)
    for kind in ("engine", "weigths", "../x"):
        place.run("weights", "show", "m", "--kind", kind, code=2)
    place.run("weights", "stage", "m", code=2)


@pytest.mark.parametrize(
    "source",
    ["nothing", "file:///nowhere", "file:///dev/null", "http://[", "ftp://x/y", "inline:", "hf://",
     "file://../x", "https://models.example/x.gguf"],
)  # fmt: skip
def test_sources_that_are_none(place: Place, source: str) -> None:
    error = failed(place, "stage", "m", source, "--kind", "bytes", code=SOURCE)
    assert error["code"] == "SourceFailed"
    assert not place.ledger.exists()


def test_a_file_that_is_no_model_is_refused_before_it_is_stored(
    place: Place, tmp_path: Path
) -> None:
    source = tmp_path / "m.gguf"
    source.write_bytes(b"GGUF" + b"\xff" * 2000)
    failed(place, "stage", "m", source.as_uri(), code=ModelInvalid.exit_code)
    assert not (tmp_path / "store" / "artefacts").exists()
    assert not place.ledger.exists()


def test_a_name_that_is_taken(place: Place) -> None:
    weights(place, "stage", "m", "inline:one", "--kind", "bytes")
    error = failed(place, "stage", "m", "inline:two", "--kind", "bytes", code=EXISTS)
    assert "m@2" in error["fix"]
    weights(place, "stage", "m@2", "inline:two", "--kind", "bytes")
    weights(place, "stage", "m", "inline:two", "--kind", "bytes", "--replace")
    assert "CHECKPOINT success ARTEFACT_REPLACED" in place.events()
    assert place.json("ledger", "verify", "--strict")["ok"]


def test_what_others_wrote_cannot_act_on_the_terminal(place: Place, tmp_path: Path) -> None:
    weights(place, "stage", "m", "inline:one", "--kind", "bytes")
    names = tmp_path / "store" / "names" / "bytes"
    (names / "bad.json").write_text('{"\x1b[2J": 1}')
    evil = (names / "m.json").read_text().replace("tester", "\\u001b]0;evil\\u0007")
    (names / "m.json").write_text(evil)
    pins = tmp_path / "store" / "pins" / "bytes"
    pins.mkdir(parents=True)
    (pins / "m.json").write_text('{"operator": "\\u001b[31m"}')
    for command in (["ls"], ["show", "m"], ["verify", "m"], ["rm", "m"], ["gc"]):
        kind = ["--kind", "bytes"] * (len(command) > 1)
        done = place.run("weights", *command, *kind, code=None)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\x07" not in done.stdout + done.stderr


def test_a_store_that_cannot_be_reached_or_written(place: Place, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    for words in (("show", "m"), ("ls",), ("stage", "m", "inline:x", "--kind", "bytes")):
        error = failed(place, *words, code=StoreUnavailable.exit_code)
        assert "is no directory" in error["what"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_broken_off_and_gone_on_with(place: Place, tmp_path: Path, number: signal.Signals) -> None:
    with Nginx(tmp_path / "web", rate="3m") as web:
        sha256 = cheap(web.files / "m.bin", 40 * MIB)
        url = f"{web.url}/slow/m.bin"
        request = ("stage", "m", url, "--sha256", sha256, "--kind", "bytes")
        served = set(place.processes())
        process = place.start("weights", *request, "--json")
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.rglob("0.part")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        out, told = process.communicate(timeout=60)
        assert process.returncode == 130
        assert json.loads(out)["error"]["code"] == "Interrupted"
        assert "Traceback" not in told
        assert set(place.processes()) == served  # no aria2c is left
        assert place.events() == ["JOB_START pending", "JOB_COMPLETE error INTERRUPTED"]
        assert not weights(place, *request)["already"]
    assert place.json("ledger", "verify", "--strict")["ok"]
