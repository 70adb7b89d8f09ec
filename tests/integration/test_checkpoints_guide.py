"""The guide for operators, followed to the letter in a fresh directory."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from cli import Place

from yoyo.config.keys_audit import AUDIT_KEYS
from yoyo.drivers.keys import notes

GUIDE = Path(__file__).parents[2] / "docs/guides/checkpoints.md"
NODE = "version: 1\nnodes:\n  local: {moduleId: demo, driver: local, engine: {model: smoke}}\n"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_every_command_of_the_guide_in_its_order(tmp_path: Path) -> None:
    here = Place(tmp_path)
    (settings,) = blocks("yaml")
    settings = re.sub(r"copy_to: \S+", f"copy_to: {(tmp_path / 'copies').as_uri()}", settings)
    settings = re.sub(r" *copy_credentials: .*\n", "", settings)
    said = {}
    for block in blocks("sh"):
        for line in block.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            if program == "pip":
                continue
            assert program == "yoyo"
            if "--out" not in arguments and arguments[:2] == ["ledger", "keygen"]:
                assert not list(tmp_path.iterdir()), "the key comes before any configuration"
            said[line] = here.run(*arguments).stdout
            if arguments[:2] == ["ledger", "keygen"] and "--out" not in arguments:
                (tmp_path / "yoyo.yaml").write_text(NODE + settings)
            if arguments[1:2] == ["rotate"]:
                text = (tmp_path / "yoyo.yaml").read_text()
                (tmp_path / "yoyo.yaml").write_text(text.replace("ledger-key.pem", arguments[2]))
    assert len(said) == 7, "the same line twice is one here"
    assert "the ledger's proof:" in said["yoyo doctor"]
    assert len(list((tmp_path / "copies" / "checkpoints").glob("*.note"))) == 3
    assert len(list((tmp_path / "copies" / "checkpoints").glob("*.vkey"))) == 2


def test_the_settings_of_the_guide_are_settings(tmp_path: Path) -> None:
    (settings,) = blocks("yaml")
    (tmp_path / "yoyo.yaml").write_text(NODE + settings)
    Place(tmp_path).run("config", "validate")
    known = {key.path for key in AUDIT_KEYS}
    named = re.findall(r"`((?:checkpoints|sealing)\.[a-z_]+)", GUIDE.read_text())
    assert named
    assert set(named) <= known


def test_the_limit_of_a_signer_is_the_guides() -> None:
    (seconds,) = re.findall(r"It has (\d+) seconds", GUIDE.read_text())
    assert float(seconds) == notes._LIMIT_S
