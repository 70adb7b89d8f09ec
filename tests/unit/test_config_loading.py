"""Where the configuration is found, and which of file, environment and flags wins."""

import os
from decimal import Decimal
from pathlib import Path

import pytest

from yoyo.config.load import Flags, Loaded, load
from yoyo.errors import ConfigInvalid, ConfigNotFound, NodeUnknown
from yoyo.model.ids import Secret

ONE = "version: 1\nnodes:\n  local:\n    moduleId: demo\n    driver: local\n"
TWO = ONE + "  gpu-a:\n    moduleId: demo\n    driver: other\n"
KEY = "abcdefghijklmnopqrstuvwxyz"


def write(directory: Path, text: str = ONE) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "yoyo.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def value(loaded: Loaded, key: str) -> tuple[str, str]:
    return next((v.text, v.source) for v in loaded.values if v.key == key)


def test_the_file_is_found_upwards_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = write(tmp_path, ONE + "    engine: {model: models/a.gguf, server: bin/llama-server}\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    settings = load(Flags(), {}, below).settings
    assert settings.config_file == path
    assert settings.state_dir == tmp_path / ".yoyo"
    assert settings.ledger == tmp_path / "ledger.csv"
    assert settings.nodes[0].engine.model == str(tmp_path / "models/a.gguf")
    assert settings.nodes[0].engine.server == str(tmp_path / "bin/llama-server")


def test_a_flag_beats_the_variable_and_the_variable_beats_the_search(tmp_path: Path) -> None:
    here, other, third = (write(tmp_path / name) for name in ("here", "other", "third"))
    env = {"YOYO_CONFIG": str(other)}
    assert load(Flags(), {}, here.parent).settings.config_file == here
    assert load(Flags(), env, here.parent).settings.config_file == other
    assert load(Flags(config=third), env, here.parent).settings.config_file == third


def test_the_xdg_file_keeps_its_state_in_the_xdg_state_directory(tmp_path: Path) -> None:
    path = write(tmp_path / "home/.config/yoyo")
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    env = {"HOME": str(tmp_path / "home")}
    loaded = load(Flags(), env, cwd)
    state = tmp_path / "home/.local/state/yoyo"
    assert loaded.settings.config_file == path
    assert (loaded.settings.state_dir, loaded.settings.ledger) == (state, state / "ledger.csv")
    assert value(loaded, "ledger") == (str(state / "ledger.csv"), "default")
    moved = load(Flags(), env | {"XDG_STATE_HOME": str(tmp_path / "s")}, cwd).settings
    assert moved.state_dir == tmp_path / "s/yoyo"


def test_a_relative_xdg_directory_is_ignored_as_its_specification_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "conf/yoyo")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigNotFound):
        load(Flags(), {"XDG_CONFIG_HOME": "conf"}, tmp_path)


def test_nothing_found_names_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigNotFound) as caught:
        load(Flags(), {"HOME": "/nonexistent"}, tmp_path)
    assert str(tmp_path) in caught.value.why
    assert "yoyo init" in caught.value.fix
    with pytest.raises(ConfigNotFound, match=r"gone\.yaml"):
        load(Flags(config=Path("gone.yaml")), {}, tmp_path)


def test_neither_home_nor_user_nor_a_writable_home_is_needed(tmp_path: Path) -> None:
    write(tmp_path)
    for env in ({}, {"HOME": "/nonexistent"}, {"HOME": "relative"}):
        assert load(Flags(), env, tmp_path).settings.operator.endswith("@" + os.uname().nodename)


def test_flags_beat_variables_beat_the_file_beats_defaults(tmp_path: Path) -> None:
    write(tmp_path, ONE + "    engine:\n      ctx: 4096\n      parallel: 1\n")
    env = {"YOYO_NODES__LOCAL__ENGINE__CTX": "16384", "USER": "alice"}
    key = "nodes.local.engine.ctx"
    by_file = load(Flags(), {}, tmp_path)
    assert value(by_file, key) == ("4096", "yoyo.yaml:7:12")
    assert value(by_file, "nodes.local.engine.port") == ("0", "default")
    by_env = load(Flags(), env, tmp_path)
    assert value(by_env, key) == ("16384", "YOYO_NODES__LOCAL__ENGINE__CTX")
    by_set = load(Flags(sets=(f"{key}=2048", f"{key}=32768")), env, tmp_path)
    assert value(by_set, key) == ("32768", "--set")
    assert by_set.node is not None
    assert by_set.node.engine.ctx == 32768
    assert by_set.settings.operator == f"alice@{os.uname().nodename}"


def test_every_value_of_a_node_can_come_from_the_environment(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    env = {
        "YOYO_NODES__GPU_A__MODULEID": "other",
        "YOYO_NODES__GPU_A__ENGINE__EXTRA_FLAGS": "[--threads, '4']",
        "YOYO_NODES__GPU_A__ENGINE__API_KEY": KEY,
        "YOYO_NODES__GPU_A__GUARDS__LIFETIME": "1h30m",
        "YOYO_NODES__GPU_A__PRICES__HOURLY_USD": "0.71",
        "YOYO_OPERATOR": "ci",
        "YOYO_STATE_DIR": "/var/lib/yoyo",
        "YOYO_LEDGER": "books/l.csv",
        "YOYO_DEBUG": "1",
        "YOYO_JSON": "1",
    }
    loaded = load(Flags(node="gpu-a"), env, tmp_path)
    node = loaded.node
    assert node is not None
    assert (node.module_id, node.engine.extra_flags) == ("other", ("--threads", "4"))
    assert (node.guards.lifetime_s, node.prices.hourly_usd) == (5400, Decimal("0.71"))
    assert node.engine.api_key == Secret(KEY)
    settings = loaded.settings
    assert (settings.operator, settings.state_dir) == ("ci", Path("/var/lib/yoyo"))
    assert settings.ledger == tmp_path / "books/l.csv"
    assert settings.nodes[0].guards.lifetime_s == 8 * 3600


def test_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    write(tmp_path, ONE + f"    engine: {{api_key: {KEY}}}\n")
    loaded = load(Flags(), {}, tmp_path)
    assert value(loaded, "nodes.local.engine.api_key") == ("****", "yoyo.yaml:6:23")
    assert KEY not in repr(loaded)


@pytest.mark.parametrize("bad", [KEY + "!", KEY * 20, "short-secret"])
def test_a_bad_secret_is_not_repeated(tmp_path: Path, bad: str) -> None:
    write(tmp_path, ONE + f"    engine: {{api_key: '{bad}'}}\n")
    with pytest.raises(ConfigInvalid) as caught:
        load(Flags(), {}, tmp_path)
    assert len(caught.value.details) == 1
    assert bad not in repr(vars(caught.value))


@pytest.mark.parametrize(("mode", "fine"), [(0o600, True), (0o640, False), (0o604, False)])
def test_a_secret_in_a_file_that_others_may_read_is_a_mistake(
    tmp_path: Path, mode: int, fine: bool
) -> None:
    write(tmp_path, ONE + f"    engine: {{api_key: {KEY}}}\n").chmod(mode)
    if fine:
        assert load(Flags(), {}, tmp_path).node is not None
        return
    with pytest.raises(ConfigInvalid) as caught:
        load(Flags(), {}, tmp_path)
    (line,) = caught.value.details
    assert line.startswith("yoyo.yaml:6:23: nodes.local.engine.api_key: ")
    assert "chmod 600 yoyo.yaml" in line
    assert KEY not in line


def test_the_node_is_chosen_by_flag_then_variable_then_default(tmp_path: Path) -> None:
    def chosen(text: str, flags: Flags, env: dict[str, str]) -> str | None:
        write(tmp_path, text)
        node = load(flags, env, tmp_path).node
        return node.name if node else None

    with_default = "default_node: gpu-a\n" + TWO
    assert chosen(ONE, Flags(), {}) == "local"
    assert chosen(TWO, Flags(), {}) is None
    assert chosen(with_default, Flags(), {}) == "gpu-a"
    assert chosen(with_default, Flags(), {"YOYO_NODE": "local"}) == "local"
    assert chosen(with_default, Flags(node="gpu-a"), {"YOYO_NODE": "local"}) == "gpu-a"


@pytest.mark.parametrize(
    ("flags", "env"), [(Flags(node="gpua"), {}), (Flags(), {"YOYO_NODE": "gpua"})]
)
def test_an_unknown_node_names_the_nearest(
    tmp_path: Path, flags: Flags, env: dict[str, str]
) -> None:
    write(tmp_path, TWO)
    with pytest.raises(NodeUnknown) as caught:
        load(flags, env, tmp_path)
    assert "gpu-a" in caught.value.what
    assert "local, gpu-a" in caught.value.why


def test_money_never_passes_through_a_float(tmp_path: Path) -> None:
    write(tmp_path, ONE + "    prices: {hourly_usd: 0.100000001}\n    budget: {day_usd: '5.10'}\n")
    node = load(Flags(), {}, tmp_path).node
    assert node is not None
    assert str(node.prices.hourly_usd) == "0.100000001"
    assert str(node.budget.day_usd) == "5.10"
