"""`yoyo --help` is made without options and subcommands, and says the same as with them."""

from __future__ import annotations

import sys

import pytest
import typer
from typer.testing import CliRunner

from yoyo.cli.app import COMMANDS, app_for_argv, build


def shown(app: typer.Typer) -> str:
    result = CliRunner().invoke(app, ["--help"], prog_name="yoyo")
    assert result.exit_code == 0, result.output
    return result.output


def test_the_outline_says_what_the_whole_says() -> None:
    outline = shown(build(outline=True))
    assert outline == shown(build())
    assert all(f"\n  {name} " in outline for name in COMMANDS)


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_only_the_list_of_all_is_an_outline(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def options(app: typer.Typer) -> int:
        monkeypatch.delenv("_YOYO_COMPLETE", raising=False)
        return len(CliRunner().invoke(app, ["cost", "--help"]).output.splitlines())

    build()  # imports all modules; what they hold depends on the words
    monkeypatch.delenv("_YOYO_COMPLETE", raising=False)
    monkeypatch.setattr(sys, "argv", ["yoyo", *words])
    few = options(app_for_argv())
    monkeypatch.setattr(sys, "argv", ["yoyo", "cosst"])
    assert options(app_for_argv()) > few
    monkeypatch.setattr(sys, "argv", ["yoyo", *words])
    monkeypatch.setenv("_YOYO_COMPLETE", "complete_bash")
    assert options(app_for_argv()) > few
