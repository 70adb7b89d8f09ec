"""The file that `yoyo init` writes, and the finding of templates."""

import os
import stat
from pathlib import Path

import pytest
import yaml

from yoyo.config.init import init_text, write_init
from yoyo.config.load import Flags, load, validate
from yoyo.config.schema import NODE_KEYS, SECTIONS
from yoyo.config.templates import template_path, template_text
from yoyo.errors import ConfigExists, StateUnwritable
from yoyo.model.settings import SMOKE_MODEL


def test_what_init_writes_is_valid_and_costs_nothing(tmp_path: Path) -> None:
    path = write_init(tmp_path)
    assert path == tmp_path / "yoyo.yaml"
    assert path.read_text() == init_text() == template_text("yoyo.yaml")
    assert validate(Flags(), {}, tmp_path) == []
    node = load(Flags(), {}, tmp_path).node
    assert node is not None
    assert (node.name, node.driver, node.engine.model) == ("local", "local", SMOKE_MODEL)
    assert node.prices.hourly_usd == 0
    assert node.budget.day_usd is not None


def test_the_values_that_it_shows_are_the_defaults() -> None:
    node = yaml.load(init_text(), yaml.BaseLoader)["nodes"]["local"]
    defaults = {key.path: key.default for key in NODE_KEYS if key.default is not None}
    shown = {f"{s}.{k}": v for s in SECTIONS for k, v in node.get(s, {}).items()}
    assert shown
    assert all(defaults[path] == text for path, text in shown.items() if path in defaults)


def test_others_may_read_the_file_and_never_write_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = write_init(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_init_never_overwrites(tmp_path: Path, kind: str) -> None:
    path, elsewhere = tmp_path / "yoyo.yaml", tmp_path / "elsewhere"
    if kind == "file":
        path.write_text("mine")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(elsewhere)
    with pytest.raises(ConfigExists) as caught:
        write_init(tmp_path)
    assert caught.value.fix
    assert kind != "file" or path.read_text() == "mine"
    assert not elsewhere.exists()


def test_init_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(StateUnwritable) as caught:
        write_init(tmp_path / "gone")
    assert caught.value.why
    assert caught.value.fix


def test_a_template_is_found_in_the_checkout() -> None:
    path = template_path("yoyo.yaml")
    assert path.is_file()
    assert path.parent.name == "templates"
