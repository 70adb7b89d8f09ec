"""Every mistake at once, each with its place, its cause and a remedy."""

import os
from pathlib import Path

import pytest

from yoyo.config.document import MAX_BYTES
from yoyo.config.load import Flags, load, validate
from yoyo.config.mistakes import MOST_MISTAKES
from yoyo.errors import ConfigInvalid

NODE = "version: 1\nnodes:\n  local:\n    moduleId: demo\n    driver: local\n"


def mistakes(
    tmp_path: Path, text: str | bytes, env: dict[str, str] | None = None, *sets: str
) -> list[str]:
    """The lines; validate and load must agree."""
    data = text.encode() if isinstance(text, str) else text
    (tmp_path / "yoyo.yaml").write_bytes(data)
    flags = Flags(sets=sets)
    lines = [str(mistake) for mistake in validate(flags, env or {}, tmp_path)]
    if not lines:
        load(flags, env or {}, tmp_path)
        return lines
    with pytest.raises(ConfigInvalid) as caught:
        load(flags, env or {}, tmp_path)
    assert list(caught.value.details) == lines
    assert f"{len(lines)} mistake" in caught.value.what
    return lines


def test_all_of_them_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "version: 2\nopertor: me\nnodes:\n  local:\n    moduleId: Demo\n"
        "    engine:\n      ctx: many\n      cache_type_k: q9_0\n      paralel: 2\n"
        "    guards:\n      lifetime: soon\n"
    )
    lines = mistakes(tmp_path, text, {"YOYO_OPERTOR": "x"}, "nodes.local.engine.prt=1")
    assert [line.split(": ")[0] for line in lines] == [
        "yoyo.yaml:1:10",
        "yoyo.yaml:2:1",
        "yoyo.yaml:4:3",  # driver is missing
        "yoyo.yaml:5:15",
        "yoyo.yaml:7:12",
        "yoyo.yaml:8:21",
        "yoyo.yaml:9:7",
        "yoyo.yaml:11:17",
        "YOYO_OPERTOR",
        "--set",
    ]
    for number, nearest in ((1, "operator"), (6, "parallel"), (8, "YOYO_OPERATOR"), (9, "port")):
        assert nearest in lines[number], lines[number]
    assert "nodes.local.driver" in lines[2]


@pytest.mark.parametrize(
    ("key", "known"),
    [("moduleid", "moduleId"), ("module_id", "moduleId"), ("engin", "engine"), ("gards", "guards")],
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, key: str, known: str) -> None:
    (line,) = mistakes(tmp_path, NODE + f"    {key}: x\n")
    assert line == f"yoyo.yaml:6:5: nodes.local.{key}: unknown key; did you mean {known}?"


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a'b",
        'a"b',
        "a\nb",
        "demo\n",
        "Demo",
        "a" * 64,
        "-a",
        "a-",
        "",
        "a.b",
        "a/b",
        "é",
        " a",
    ],
)
@pytest.mark.parametrize("where", ["moduleId", "node"])
def test_a_hostile_name_is_a_mistake_with_its_place(tmp_path: Path, name: str, where: str) -> None:
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if where == "moduleId":
        text, place = NODE.replace("demo", quoted), "yoyo.yaml:4:15: nodes.local.moduleId: "
    else:
        text, place = NODE.replace("  local:", f"  {quoted}:"), "yoyo.yaml:3:3: nodes: "
    lines = mistakes(tmp_path, text)
    assert lines[0].startswith(place)
    assert all(line.isprintable() for line in lines)


def test_what_a_terminal_would_obey_is_shown_escaped(tmp_path: Path) -> None:
    text = NODE.replace("demo", '"\\e[31m\\u202e"') + '    "\\e[2J\\n": 1\n'
    lines = mistakes(
        tmp_path, text, {"YOYO_\x1b[2J": "1", "YOYO_OPERATOR": "a\x1b]0;x\x07"}, "\x1b=1"
    )
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[31m\\u202e" in lines[0]


@pytest.mark.parametrize(
    ("engine", "place", "words"),
    [
        ("{ctx: 4096, parallel: 4}", "6:19", ("4096 / 4 is 1024", "2048", "8192", "parallel to 2")),
        ("{ctx: '8192'}", "6:19", ("whole number",)),
        ("{ctx: 8192.0}", "6:19", ("whole number",)),
        ("{ctx: yes}", "6:19", ("whole number", "'yes'")),
        ("{ctx: 0x2000}", "6:19", ("whole number",)),
        ("{ctx: 010000}", "6:19", ("whole number",)),
        ("{ctx: -8192}", "6:19", ("whole number",)),
        ("{ctx: .inf}", "6:19", ("whole number",)),
        ("{ctx: [8192]}", "6:19", ("whole number", "a list")),
        ("{ctx: {a: 1}}", "6:19", ("whole number", "a mapping")),
        ("{ctx: }", "6:19", ("no value",)),
        ("{ctx: " + "9" * 18 + "}", "6:19", ("16777216",)),
        ("{ctx: " + "9" * 5000 + "}", "6:19", ("whole number",)),
        ("{parallel: 0}", "6:24", ("1 to 256",)),
        ("{port: 65536}", "6:20", ("0 to 65535",)),
        ("{cache_type_v: q8}", "6:28", ("f16", "q8_0")),
        ("{model: ''}", "6:21", ("1 to 4096",)),
        ('{model: "a\\nb"}', "6:21", ("control character",)),
        ("{model: ~/m.gguf}", "6:21", ("HOME",)),
        ("{extra_flags: --threads}", "6:27", ("list",)),
        ("{extra_flags: [--port, '1']}", "6:27", ("--port", "engine.port")),
        ("{extra_flags: [--api-key, x]}", "6:27", ("--api-key", "secret")),
        ("{extra_flags: [--api-key=x]}", "6:27", ("--api-key", "secret")),
        ("{extra_flags: [-c, '1']}", "6:27", ("engine.ctx",)),
        ("{extra_flags: [-np, '1']}", "6:27", ("engine.parallel",)),
        ("{extra_flags: [--lora, /a.gguf]}", "6:27", ("--lora", "verified")),
        ("{extra_flags: [--lora_scaled, '/a.gguf:1']}", "6:27", ("--lora-scaled", "verified")),
        ("{extra_flags: [--lora-init-without-apply]}", "6:27", ("verified",)),
        ("{extra_flags: [--control-vector=/a.gguf]}", "6:27", ("--control-vector", "verified")),
        ("{extra_flags: [--no-slots]}", "6:27", ("--no-slots",)),
        ("{extra_flags: [-fa]}", "6:27", ("-fa", "next word")),
        ("{extra_flags: [--flash-attn, --jinja]}", "6:27", ("--flash-attn", "'off' or 'auto'")),
        ("{cache_type_v: q8_0, extra_flags: [-fa, off]}", "6:28", ("q8_0", "flash attention")),
    ],
)
def test_the_engine(tmp_path: Path, engine: str, place: str, words: tuple[str, ...]) -> None:
    (line,) = mistakes(tmp_path, NODE + f"    engine: {engine}\n")
    assert line.startswith(f"yoyo.yaml:{place}: nodes.local.engine."), line
    assert all(word in line for word in words), line
    assert len(line) < 500


@pytest.mark.parametrize(
    "engine",
    [
        "{ctx: 4096, parallel: 2}",
        "{ctx: 2048, parallel: 1}",
        "{cache_type_v: q8_0}",  # llama.cpp turns flash attention on by itself
        "{cache_type_v: q8_0, extra_flags: [-fa, auto]}",
        "{cache_type_v: q8_0, extra_flags: [--flash-attn, on]}",
        "{cache_type_k: q8_0, extra_flags: [-fa, off]}",  # K needs no flash attention
        "{cache_type_v: bf16, extra_flags: [-fa, off]}",
        "{extra_flags: [--threads, 4]}",
        "{server: llama-server}",
    ],
)
def test_the_engine_may(tmp_path: Path, engine: str) -> None:
    assert mistakes(tmp_path, NODE + f"    engine: {engine}\n") == []


@pytest.mark.parametrize(
    ("guards", "key", "words"),
    [
        ("{idle_after: 4m}", "idle_after", ("240", "300")),
        ("{lease: 599}", "lease", ("599", "300", "600s")),
        ("{lifetime: 10m}", "lifetime", ("600", "boot_timeout")),
        ("{lifetime: 0}", "lifetime", ("1 to",)),
        ("{lifetime: 367d}", "lifetime", ("31622400",)),
        ("{lifetime: 1.5h}", "lifetime", ("duration", "1h30m")),
        ("{lifetime: 30m1h}", "lifetime", ("duration",)),
        ("{lifetime: -8h}", "lifetime", ("duration",)),
        ("{lifetime: '8'}", "lifetime", ("duration",)),
        ("{lifetime: 8 h}", "lifetime", ("duration",)),
        ("{lifetime: .nan}", "lifetime", ("duration",)),
    ],
)
def test_the_guards(tmp_path: Path, guards: str, key: str, words: tuple[str, ...]) -> None:
    (line,) = mistakes(tmp_path, NODE + f"    guards: {guards}\n")
    assert f": nodes.local.guards.{key}: " in line
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    "guards",
    ["{idle_after: 5m, lease: 10m}", "{lifetime: 601}", "{boot_grace: 0, stop_grace: 0s}",
     "{lifetime: 1d1h1m1s}"],
)  # fmt: skip
def test_the_guards_may(tmp_path: Path, guards: str) -> None:
    assert mistakes(tmp_path, NODE + f"    guards: {guards}\n") == []


@pytest.mark.parametrize(
    "amount",
    [
        "-1",
        ".nan",
        ".inf",
        "1e3",
        "1_000",
        "0x1",
        "1:30",
        "yes",
        "01",
        "1.0000000001",
        "1000000001",
        "five",
        "'$5'",
    ],
)
def test_money_that_is_none(tmp_path: Path, amount: str) -> None:
    (line,) = mistakes(tmp_path, NODE + f"    prices: {{hourly_usd: {amount}}}\n")
    assert line.startswith("yoyo.yaml:6:26: nodes.local.prices.hourly_usd: ")


def test_a_cap_needs_a_price(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, NODE + "    budget: {month_usd: 60}\n")
    assert line.startswith("yoyo.yaml:6:25: nodes.local.budget.month_usd: ")
    assert "prices.hourly_usd" in line
    free = NODE + "    budget: {month_usd: 60}\n    prices: {hourly_usd: 0.00}\n"
    assert mistakes(tmp_path, free) == []


def test_default_node_must_exist(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, "default_node: locl\n" + NODE)
    assert line.startswith("yoyo.yaml:1:15: default_node: ")
    assert "Did you mean local?" in line


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        (b"version: 1\n\tnodes:\n", "2:1", "not YAML"),
        (b"nodes: [\n", "1:9", "not YAML"),
        (b"version: 1\nx: \xff\n", "2:4", "UTF-8"),
        (b"version: 1\nx: a\x00b\n", "2:5", "U+0000"),
        ("version: 1\nx: \u2028\n".encode(), "2:4", "U+2028"),
        (b"a: \x1b[2J\n", "1:4", "U+001B"),
        (b"", "1:1", "empty"),
        (b"# only a comment\n", "1:1", "empty"),
        (b"x" * (MAX_BYTES + 1), "1:1", "larger"),
        (b"[" * 100_000, "1:17", "deeper"),
    ],
)
def test_what_is_no_document(tmp_path: Path, text: bytes, place: str, word: str) -> None:
    lines = mistakes(tmp_path, text)
    assert any(line.startswith(f"yoyo.yaml:{place}: ") and word in line for line in lines), lines


@pytest.mark.parametrize("text", ["- a\n", "text\n", "42\n", "---\n"])
def test_the_top_is_a_mapping(tmp_path: Path, text: str) -> None:
    assert any("version:" in line and "nodes:" in line for line in mistakes(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        (NODE + "    engine: &e {ctx: 8192}\n", "6:13", "anchors"),
        (NODE + "    driver: local\n", "6:5", "twice"),
        (NODE + "---\n" + NODE, "6:1", "second document"),
        (NODE.replace("demo", "!!str demo"), "4:15", "tag"),
        (NODE.replace("demo", "!!python/object/apply:os.system [id]"), "4:15", "tag"),
        (NODE + "    <<: {driver: x}\n", "6:5", "unknown key"),
        (NODE + "    ? [a]\n    : 1\n", "6:7", "key"),
        ("version: 1\nnodes: {}\n", "1:1", "nodes"),
        ("version: 1\nnodes: {local: }\n", "2:16", "moduleId"),
        ("version: 1\nnodes: [local]\n", "2:8", "mapping"),
        (NODE + "    engine: 8192\n", "6:13", "mapping"),
    ],
)
def test_what_yaml_allows_and_yoyo_refuses(
    tmp_path: Path, text: str, place: str, word: str
) -> None:
    lines = mistakes(tmp_path, text)
    assert any(line.startswith(f"yoyo.yaml:{place}: ") and word in line for line in lines), lines


def test_an_alias_bomb_is_refused_where_it_is_lit(tmp_path: Path) -> None:
    bomb = "a: &a [x,x]\n" + "".join(
        f"{new}: &{new} [*{old},*{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert any("blow up" in line for line in mistakes(tmp_path, bomb))


def test_a_megabyte_of_nonsense_ends_soon(tmp_path: Path) -> None:
    lines = mistakes(tmp_path, "".join(f"key{n}: 1\n" for n in range(50_000)))
    assert len(lines) == MOST_MISTAKES + 1
    assert "more mistakes follow" in lines[-1]


@pytest.mark.parametrize(
    ("env", "word"),
    [
        ({"YOYO_NODES__LOCAL__ENGINE__CTXX": "1"}, "YOYO_NODES__LOCAL__ENGINE__CTX"),
        ({"YOYO_NODES__LOCL__ENGINE__CTX": "1"}, "YOYO_NODES__LOCAL__ENGINE__CTX"),
        ({"YOYO_LEDGR": "x"}, "YOYO_LEDGER"),
        ({"YOYO_NODES__LOCAL__ENGINE__CTX": "lots"}, "whole number"),
        ({"YOYO_NODES__LOCAL__ENGINE__CTX": ""}, "no value"),
        ({"YOYO_NODES__LOCAL__ENGINE__EXTRA_FLAGS": "--threads 4"}, "list"),
        ({"YOYO_NODES__LOCAL__ENGINE__EXTRA_FLAGS": "[--threads"}, "YAML"),
        ({"YOYO_OPERATOR": "a\nb"}, "control character"),
    ],
)
def test_variables(tmp_path: Path, env: dict[str, str], word: str) -> None:
    (line,) = mistakes(tmp_path, NODE, env)
    assert line.startswith(f"{next(iter(env))}: ")
    assert word in line


@pytest.mark.parametrize(
    ("item", "word"),
    [
        ("nodes.local.engine.ctx", "KEY=VALUE"),
        ("nodes.local.engine.ctxx=1", "nodes.local.engine.ctx"),
        ("nodes.other.engine.ctx=1", "did you mean"),
        ("nodes.local.engine.ctx=lots", "whole number"),
        ("nodes.local.moduleId=../x", "1 to 63"),
    ],
)
def test_sets(tmp_path: Path, item: str, word: str) -> None:
    (line,) = mistakes(tmp_path, NODE, None, item)
    assert line.startswith("--set: ")
    assert word in line


def test_a_value_that_a_flag_replaces_is_checked_all_the_same_rules(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, NODE, None, "nodes.local.engine.ctx=2048")
    assert line.startswith("--set: nodes.local.engine.ctx: ")
    assert "1024 tokens a slot" in line


def test_a_directory_and_a_fifo_are_no_files(tmp_path: Path) -> None:
    (line,) = [
        str(m) for m in validate(Flags(config=tmp_path), {}, tmp_path) if "directory" in str(m)
    ]
    assert "yoyo.yaml" in line
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # nobody writes to it: a plain open would wait for ever
    assert any("regular file" in str(m) for m in validate(Flags(config=fifo), {}, tmp_path))
