"""Faults that were found by trying to break the configuration; each once was one."""

from pathlib import Path

import pytest

from yoyo.config.load import Flags, load, validate

NODE = "version: 1\nnodes:\n  local:\n    moduleId: demo\n    driver: local\n"


def mistakes(
    tmp_path: Path, text: str, env: dict[str, str] | None = None, flags: Flags | None = None
) -> list[str]:
    (tmp_path / "yoyo.yaml").write_text(text)
    return [str(mistake) for mistake in validate(flags or Flags(), env or {}, tmp_path)]


def test_the_xdg_file_has_one_state_directory_however_it_was_found(tmp_path: Path) -> None:
    """`up` finds it, the installed monitor names it: both must see the same node and ledger."""
    file = tmp_path / ".config/yoyo/yoyo.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(NODE)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {"HOME": str(tmp_path)}
    found = [
        load(Flags(), env, elsewhere).settings,
        load(Flags(config=file), env, elsewhere).settings,
        load(Flags(config=Path("../.config/yoyo/yoyo.yaml")), env, elsewhere).settings,
        load(Flags(), env | {"YOYO_CONFIG": str(file)}, elsewhere).settings,
        load(Flags(), env, file.parent).settings,
    ]
    state = tmp_path / ".local/state/yoyo"
    assert {(each.state_dir, each.ledger) for each in found} == {(state, state / "ledger.csv")}


def test_a_secret_is_refused_on_the_command_line_and_not_repeated(tmp_path: Path) -> None:
    flags = Flags(sets=("nodes.local.engine.api_key=abcdefghijklmnopqrstuvwxyz",))
    (line,) = mistakes(tmp_path, NODE, None, flags)
    assert "YOYO_NODES__LOCAL__ENGINE__API_KEY" in line
    assert "abcdef" not in line


@pytest.mark.parametrize(
    "flag",
    ["--api_key", "--api_key=x", "--ctx_size", "--hf_token", "--hf-file", "--docker-repo",
     "--models-dir", "--ssl-key-file"],
)  # fmt: skip
def test_owned_flags_in_every_spelling(tmp_path: Path, flag: str) -> None:
    """llama.cpp reads `--api_key` as `--api-key`."""
    (line,) = mistakes(tmp_path, NODE + f"    engine: {{extra_flags: [{flag}]}}\n")
    assert "is refused" in line


@pytest.mark.parametrize("flag", ["--flash-attn=on", "--flash_attn=off", "--flash_attn", "-fa=on"])
def test_flash_attention_in_a_spelling_that_the_engine_does_not_know(
    tmp_path: Path, flag: str
) -> None:
    (line,) = mistakes(tmp_path, NODE + f"    engine: {{extra_flags: [{flag}]}}\n")
    assert "Write [" in line


def test_a_variable_that_is_not_utf_8_is_a_mistake(tmp_path: Path) -> None:
    name = "YOYO_NODES__LOCAL__ENGINE__EXTRA_FLAGS"
    (line,) = mistakes(tmp_path, NODE, {name: "[\udcff]"})
    assert line.startswith(f"{name}: ")


@pytest.mark.parametrize("text", ["nodes: [\n", "", "# nothing\n", "[" * 100])
def test_what_cannot_be_read_is_one_mistake(tmp_path: Path, text: str) -> None:
    assert len(mistakes(tmp_path, text, {"YOYO_NODES__LOCAL__ENGINE__CTX": "4096"})) == 1


def test_a_mistaken_price_is_not_called_a_missing_one(tmp_path: Path) -> None:
    text = NODE + "    prices: {hourly_usd: x}\n    budget: {day_usd: 5}\n"
    (line,) = mistakes(tmp_path, text)
    assert "prices.hourly_usd" in line


def test_validate_tells_of_an_unknown_node(tmp_path: Path) -> None:
    (by_env,) = mistakes(tmp_path, NODE, {"YOYO_NODE": "locl"})
    assert by_env.startswith("YOYO_NODE: ")
    assert "Did you mean local?" in by_env
    (by_flag,) = mistakes(tmp_path, NODE, {"YOYO_NODE": "local"}, Flags(node="locl"))
    assert by_flag.startswith("--node: ")


def test_too_many_slots_are_shown_where_they_are_written(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, NODE + "    engine: {parallel: 8}\n")
    assert line.startswith("yoyo.yaml:6:24: ")


def test_the_remedy_for_a_tiny_context_is_one(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, NODE + "    engine: {ctx: 1024, parallel: 1}\n")
    assert "Set ctx to 2048 or more" in line
    assert "parallel to" not in line
