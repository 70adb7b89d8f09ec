"""The configuration as the commands see it."""

import json
import os
from pathlib import Path

from cli import Place


def test_validate_gives_machines_every_mistake(here: Place) -> None:
    (here.root / "yoyo.yaml").write_text(
        "version: 1\nnodes:\n  local:\n    moduleId: Demo\n    driver: local\n    engin: {}\n"
    )
    report = here.json("config", "validate", code=10)
    found = {(m["line"], m["column"], m["key"]) for m in report["mistakes"]}
    assert not report["valid"]
    assert found == {(4, 15, "nodes.local.moduleId"), (6, 5, "nodes.local.engin")}


def test_a_file_of_another_user_is_not_come_across(here: Place) -> None:
    if os.geteuid() == 0:
        os.chown(here.root / "yoyo.yaml", 12345, -1)
        refused = here.run("status", code=10)
        assert "12345" in refused.stderr
        here.run("status", "--config", "yoyo.yaml")


def test_the_schema_is_json(here: Place) -> None:
    schema = json.loads(here.run("config", "schema").stdout)
    assert schema["title"] == "yoyo.yaml"


def test_init_into_a_place_without_room_leaves_nothing(here: Place, tmp_path: Path) -> None:
    refused = here.run("init", str(tmp_path / "nowhere"), code=50)
    assert "nowhere" in refused.stderr
