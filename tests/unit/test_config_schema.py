"""The JSON Schema, the reference page and the loader say the same."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from yoyo.config.key import LABEL_PATTERN
from yoyo.config.load import Flags, validate
from yoyo.config.schema import (
    NODE_KEYS,
    SECTIONS,
    TOP_KEYS,
    default_of,
    json_schema,
    key_reference,
)
from yoyo.config.sources import key_paths, variable_of
from yoyo.model.ids import InvalidLabel, ModuleId

NODE = "version: 1\nnodes:\n  local:\n    moduleId: demo\n    driver: local\n"
PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"

ACCEPTED = [
    NODE,
    "operator: me\nstate_dir: x\nledger: y\ndefault_node: local\n" + NODE,
    NODE + "    engine: {ctx: 8192, parallel: 2, port: 0, extra_flags: [--threads, '4', 4]}\n",
    NODE + "    guards: {lifetime: 8h, idle_after: 1800, lease: 1h30m, boot_grace: 0}\n",
    NODE + "    prices: {hourly_usd: 0.71}\n    budget: {day_usd: '5.00', month_usd: 60}\n",
    NODE + "    hardware: {memory_bandwidth_gb_s: 300}\n",
    NODE + "    engine: {}\n",
]
REJECTED = [
    "version: 1\n",
    "nodes: {local: {moduleId: demo, driver: local}}\n",
    NODE.replace("version: 1", "version: 2"),
    NODE.replace("version: 1", "version: '1'"),
    NODE.replace("  local:", "  Local:"),
    NODE.replace("    driver: local\n", ""),
    NODE.replace("    moduleId: demo\n", ""),
    NODE.replace("demo", "Demo"),
    NODE.replace("demo", "../x"),
    NODE.replace("driver: local", "driver: Local!"),
    "version: 1\nnodes: {}\n",
    "version: 1\nnodes: []\n",
    NODE + "    colour: red\n",
    NODE + "    engine: {colour: red}\n",
    NODE + "    engine: {ctx: '8192'}\n",
    NODE + "    engine: {ctx: 8192.5}\n",
    NODE + "    engine: {ctx: -1}\n",
    NODE + "    engine: {ctx: 99999999}\n",
    NODE + "    engine: {parallel: 257}\n",
    NODE + "    engine: {parallel: yes}\n",
    NODE + "    engine: {port: 65536}\n",
    NODE + "    engine: {cache_type_k: q9}\n",
    NODE + "    engine: {model: ''}\n",
    NODE + "    engine: {extra_flags: --threads}\n",
    NODE + "    engine: {extra_flags: ['']}\n",
    NODE + "    engine: {extra_flags: [[a]]}\n",
    NODE + "    engine: {api_key: short}\n",
    NODE + "    guards: {lifetime: soon}\n",
    NODE + "    guards: {lifetime: 0}\n",
    NODE + "    guards: {lifetime: -8}\n",
    NODE + "    guards: {lifetime: ''}\n",
    NODE + "    prices: {hourly_usd: -1}\n",
    NODE + "    prices: {hourly_usd: '1e3'}\n",
    NODE + "    prices: {hourly_usd: 1000000001}\n",
    NODE + "    hardware: {memory_bandwidth_gb_s: 0}\n",
]


def by_schema(text: str) -> bool:
    validator = jsonschema.Draft202012Validator(json_schema())
    return validator.is_valid(yaml.safe_load(text))


def by_loader(tmp_path: Path, text: str) -> bool:
    (tmp_path / "yoyo.yaml").write_text(text)
    return not validate(Flags(), {}, tmp_path)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("text", ACCEPTED)
def test_both_accept(tmp_path: Path, text: str) -> None:
    assert by_schema(text)
    assert by_loader(tmp_path, text)


@pytest.mark.parametrize("text", REJECTED)
def test_both_reject(tmp_path: Path, text: str) -> None:
    assert not by_schema(text)
    assert not by_loader(tmp_path, text)


def test_every_object_of_the_schema_is_closed_and_every_key_described() -> None:
    def walk(schema: object) -> None:
        assert isinstance(schema, dict)
        assert schema.get("description"), schema
        if "properties" in schema:
            assert schema["additionalProperties"] is False
            for inner in schema["properties"].values():
                walk(inner)
        elif isinstance(schema.get("additionalProperties"), dict):
            walk(schema["additionalProperties"])

    walk(json_schema())


@pytest.mark.parametrize("name", ["a", "a-b", "A", "-a", "a-", "", "a" * 63, "a" * 64, "a.b", "é"])
def test_the_label_pattern_is_that_of_the_type(name: str) -> None:
    validator = jsonschema.Draft202012Validator({"pattern": LABEL_PATTERN})
    try:
        ModuleId.parse(name)
        assert validator.is_valid(name)
    except InvalidLabel:
        assert not validator.is_valid(name)


def test_the_page_lists_every_key_with_its_default() -> None:
    page = PAGE.read_text()
    assert key_reference() in page, (
        "regenerate the table: python -c "
        "'from yoyo.config.schema import key_reference; print(key_reference())'"
    )
    for key in (*TOP_KEYS, *NODE_KEYS):
        path = key.path if key in TOP_KEYS else f"nodes.NAME.{key.path}"
        assert f"| `{path}` | {default_of(key)} | {key.doc}" in page
    assert all(section in page for section in SECTIONS)


def test_every_default_is_a_value_that_the_loader_takes(tmp_path: Path) -> None:
    sets = tuple(
        f"nodes.local.{key.path}={key.default}" for key in NODE_KEYS if key.default is not None
    )
    (tmp_path / "yoyo.yaml").write_text(NODE)
    assert validate(Flags(sets=sets), {}, tmp_path) == []


def test_no_two_keys_share_a_variable() -> None:
    paths = key_paths(["local", "gpu-a", "gpu--a", "a"])
    assert len({variable_of(path) for path in paths}) == len(paths)
