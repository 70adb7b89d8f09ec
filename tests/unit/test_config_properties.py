"""Whatever is written: only the declared errors, and every position inside the file."""

import os
import tempfile
import unicodedata
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yoyo.config.key import YEAR_S
from yoyo.config.load import Flags, load, validate
from yoyo.config.mistakes import Origin, Report, nearest, printable, quoted
from yoyo.config.schema import CACHE_TYPES, NODE_KEYS, TOP_KEYS
from yoyo.errors import ConfigInvalid

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
# Pieces that meet each other in ways which free text hardly ever finds.
PIECES = st.sampled_from(
    ["version: 1", "nodes:", "local:", "moduleId: demo", "driver: local", "engine:", "guards:",
     "ctx: 4096", "ctx: x", "parallel: 4", "lifetime: 8h", "lifetime: '", "extra_flags: [-fa]",
     "<<: *a", "&a", "*a", "!!str", "? [a]", "{", "}", "[", "]", "- ", "|", ">", '"', "'", "\t",
     "---", "...", "#", "%YAML 3.0", "\r\n", "\r", "\x85", "\u2028", "\ufeff", "\x00", "\x1b[2J",
     "api_key: 'short-secret'", "no", "~", ".nan", "default_node: x", ": ", ","]
)  # fmt: skip
INDENT = st.sampled_from(["\n", "\n  ", "\n    ", "\n      ", " ", ""])
SOUP = st.lists(st.tuples(INDENT, PIECES), max_size=30).map(
    lambda parts: "".join(indent + piece for indent, piece in parts)
)


def harmless(text: str) -> bool:
    """Nothing in it moves a terminal's cursor or reorders what is read."""
    return not any(
        unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(char)
        in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        for char in text
    )


def check(data: bytes, env: dict[str, str] | None = None, sets: tuple[str, ...] = ()) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "yoyo.yaml").write_bytes(data)
        flags = Flags(sets=sets)
        found = validate(flags, env or {}, directory)
        if found:
            with pytest.raises(ConfigInvalid) as caught:
                load(flags, env or {}, directory)
            assert list(caught.value.details) == [str(mistake) for mistake in found]
        else:
            load(flags, env or {}, directory)
        lines = data.decode("utf-8", "replace").split("\n")
        for mistake in found:
            assert mistake.message
            assert harmless(str(mistake))
            if mistake.file == "yoyo.yaml":
                assert 1 <= mistake.line <= len(lines)
                assert 1 <= mistake.column <= len(lines[mistake.line - 1]) + 1
            else:
                assert (mistake.line, mistake.column) == (0, 0)


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbfversion: 1\n")
@example(b"nodes: [\n\n\n")
@example(b"a: |\n  x\n\n")
def test_any_bytes(data: bytes) -> None:
    check(data)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    check(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=400)
@given(SOUP)
def test_any_mixture_of_what_belongs_there(text: str) -> None:
    check(text.encode())


@given(
    st.sampled_from(["OPERATOR", "STATE_DIR", "LEDGER", "NODES__A__ENGINE__CTX",
                     "NODES__A__ENGINE__EXTRA_FLAGS", "NODES__A__ENGINE__API_KEY", "WRONG"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60),
)  # fmt: skip
def test_any_variable(name: str, text: str) -> None:
    file = b"version: 1\nnodes:\n  a:\n    moduleId: demo\n    driver: local\n"
    check(file, {f"YOYO_{name}": text}, (f"nodes.a.engine.model={text}", text + "x"))


@st.composite
def duration(draw: st.DrawFn, low: int, high: int) -> tuple[str, int]:
    seconds = draw(st.integers(low, high))
    if draw(st.booleans()):
        return str(seconds), seconds
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h{minutes}m{rest}s", seconds


@settings(max_examples=200)
@given(st.data())
def test_a_valid_file_comes_back_as_it_was_written(data: st.DataObject) -> None:
    draw = data.draw
    name, module = draw(LABEL), draw(LABEL)
    parallel = draw(st.integers(1, 256))
    ctx = draw(st.integers(2048 * parallel, 16_777_216))
    sample_text, sample = draw(duration(1, YEAR_S // 2))
    idle_text, idle = draw(duration(sample, YEAR_S))
    lease_text, lease = draw(duration(2 * sample, YEAR_S))
    boot_text, boot = draw(duration(1, YEAR_S - 1))
    life_text, life = draw(duration(boot + 1, YEAR_S))
    price = draw(st.decimals(0, 1000, places=4))
    cap = draw(st.none() | st.decimals(0, 100000, places=2))
    cache = draw(st.sampled_from(CACHE_TYPES))
    port = draw(st.integers(0, 65535))
    lines = [
        "version: 1", "nodes:", f'  "{name}":', f'    moduleId: "{module}"', "    driver: local",
        f"    engine: {{ctx: {ctx}, parallel: {parallel}, cache_type_k: {cache}, port: {port}}}",
        "    guards:", f"      sample_every: {sample_text}", f"      idle_after: {idle_text}",
        f"      lease: {lease_text}", f"      boot_timeout: {boot_text}",
        f"      lifetime: {life_text}", f"    prices: {{hourly_usd: {price}}}",
    ]  # fmt: skip
    if cap is not None:
        lines.append(f"    budget: {{day_usd: '{cap}'}}")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "yoyo.yaml").write_text("\n".join(lines) + "\n")
        loaded = load(Flags(), {}, Path(directory))
    node = loaded.node
    assert node is not None
    assert (node.name, node.module_id) == (name, module)
    engine, guards = node.engine, node.guards
    assert (engine.ctx, engine.parallel, engine.cache_type_k) == (ctx, parallel, cache)
    assert engine.port == port
    assert (guards.sample_every_s, guards.idle_after_s, guards.lease_s) == (sample, idle, lease)
    assert (guards.boot_timeout_s, guards.lifetime_s) == (boot, life)
    assert (node.prices.hourly_usd, node.budget.day_usd) == (Decimal(price), cap)
    keys = [value.key for value in loaded.values]
    expected = [k.path for k in TOP_KEYS] + [f"nodes.{name}.{k.path}" for k in NODE_KEYS]
    assert sorted(keys) == sorted(expected)
    written = {"ctx", "parallel", "lease", "lifetime", "moduleId"}
    for value in loaded.values:
        if value.key.rpartition(".")[2] in written:
            assert value.source.startswith("yoyo.yaml:")


@given(st.text(max_size=300))
def test_what_is_shown_is_printable_and_bounded(text: str) -> None:
    report = Report()
    report.add(Origin("f", 1, 1), text, quoted(text))
    assert len(quoted(text)) < 700
    assert harmless(printable(text))
    assert harmless(str(report.mistakes[0]))


@given(st.text(max_size=30))
def test_the_nearest_is_one_of_the_known(word: str) -> None:
    known = [key.path for key in NODE_KEYS]
    assert nearest(word, known) in {"", *known}
    assert all(nearest(key.upper(), known) == key for key in known)


def test_the_environment_of_this_process_is_not_read(tmp_path: Path) -> None:
    os.environ["YOYO_NONSENSE"] = "1"
    try:
        file = "version: 1\nnodes: {a: {moduleId: demo, driver: local}}\n"
        (tmp_path / "yoyo.yaml").write_text(file)
        assert validate(Flags(), {}, tmp_path) == []
    finally:
        del os.environ["YOYO_NONSENSE"]
