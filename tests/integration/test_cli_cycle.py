"""The whole cycle as a new user runs it: a real engine, a real ledger, real processes."""

import json
import subprocess
from decimal import Decimal
from pathlib import Path

from cli import YOYO, Place

STATUS_KEYS = {
    "adapters",
    "node_id",
    "moduleId",
    "driver",
    "state",
    "since",
    "endpoint",
    "engine",
    "guards",
    "cost",
    "frozen",
    "observed_at",
    "notes",
}


def test_up_ask_status_monitor_down_ledger(here: Place) -> None:
    here.configure(more="prices: {hourly_usd: 0.71}")
    assert here.status()["state"] == "absent"
    up = here.json("up")
    assert up["state"] == "ready"
    assert not up["already_up"]
    status = here.status()
    assert set(status) == STATUS_KEYS
    assert status["state"] == "ready"
    assert status["engine"]["healthy"]
    assert status["engine"]["slots"] == {"busy": 0, "total": 2}
    armed = {guard["name"]: guard["armed"] for guard in status["guards"]}
    assert armed == {"monitor": False, "dead-man": True, "lifetime": True}
    answer = here.json("ask", "Say something", "--max-tokens", "8")
    assert answer["completion"]["completion_tokens"] == 8
    monitor = here.json("monitor", "run", "--once")
    assert monitor["verdict"] in ("grace", "idle")
    assert here.status()["guards"][0]["armed"]
    down = here.json("down")
    assert Decimal(down["gpu_seconds"]) > 0
    assert Decimal(down["cost_usd"]) > 0
    assert here.status()["state"] == "stopped"
    assert here.processes() == []
    assert here.events() == [
        "BOOT_REQUEST pending",
        "BOOT_COMPLETE success",
        "JOB_START pending",
        "JOB_COMPLETE success",
        "TEARDOWN_REQUEST pending",
        "TEARDOWN_COMPLETE success",
    ]
    report = here.json("ledger", "verify", "--strict")
    assert report["ok"]
    assert report["rows"] == 7  # the session's comes first
    first = here.run("ledger", "show", "--node", "ledger").stdout.splitlines()
    assert [line.split()[0] for line in first] == ["1"]
    assert "session/" in first[0]


def test_every_row_of_a_life_carries_its_id_and_module(here: Place) -> None:
    here.run("up")
    here.run("down", "--now", "--delete")
    lines = here.run("ledger", "show", "--node", "local", "--json").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({row["job_id"] for row in rows}) == 1
    assert {row["moduleId"] for row in rows} == {"demo"}
    assert {row["operator_id"] for row in rows} == {"tester"}
    assert here.status()["state"] == "absent"


def test_an_unknown_price_is_booked_as_unknown(here: Place) -> None:
    here.run("up")
    down = here.json("down")
    assert down["cost_usd"] is None
    assert Decimal(down["gpu_seconds"]) > 0


def test_twice_is_once(here: Place) -> None:
    assert here.json("down")["already_down"]
    first = here.json("up")
    again = here.json("up")
    assert again["already_up"]
    assert again["request_id"] == first["request_id"]
    assert again["endpoint"] == first["endpoint"]
    here.run("down")
    assert here.json("down")["already_down"]
    assert len(here.events()) == 4


def test_two_ups_at_the_same_time_start_one_node(here: Place) -> None:
    both = [here.start("up", "--json") for _ in range(2)]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert sorted(result["already_up"] for result in results) == [False, True]
    assert len({result["request_id"] for result in results}) == 1
    assert here.events() == ["BOOT_REQUEST pending", "BOOT_COMPLETE success"]


def test_no_wait_returns_and_the_next_look_books_the_boot(here: Place) -> None:
    assert here.json("up", "--no-wait")["state"] == "provisioning"
    here.run("up")
    assert here.events() == ["BOOT_REQUEST pending", "BOOT_COMPLETE success"]
    assert here.status()["state"] == "ready"


def test_the_node_outlives_the_shell_that_started_it(here: Place) -> None:
    command = f"cd '{here.root}' && '{YOYO}' up --json"
    shell = subprocess.run(
        ["setsid", "sh", "-c", command], capture_output=True, text=True, check=True, env=here.env()
    )
    assert json.loads(shell.stdout)["state"] == "ready"
    assert here.status()["state"] == "ready"


def test_plan_and_dry_run_change_nothing(here: Place) -> None:
    here.configure(more="prices: {hourly_usd: 0.71}\n    hardware: {memory_bandwidth_gb_s: 20}")
    before = sorted(path.name for path in here.root.iterdir())
    plan = here.json("plan")
    assert plan["cost"]["worst_case_usd"] == "5.680000"
    assert Decimal(plan["roofline"]["tokens_per_second"]["one_stream"]) > 0
    assert here.json("up", "--dry-run") == plan
    assert sorted(path.name for path in here.root.iterdir()) == before


def test_several_nodes_need_a_name_and_status_shows_all(here: Place) -> None:
    (here.root / "yoyo.yaml").write_text(
        "version: 1\n"
        "nodes:\n"
        "  one: {moduleId: demo, driver: local}\n"
        "  two: {moduleId: acme, driver: local}\n"
    )
    here.run("up", code=13)
    here.run("up", "--node", "two")
    states = {node["node_id"]: node["state"] for node in here.json("status")["nodes"]}
    assert states == {"one": "absent", "two": "ready"}
    unknown = here.run("up", "--node", "twos", code=13)
    assert "two" in unknown.stderr


def test_logs_show_the_engine_and_no_key(here: Place) -> None:
    here.run("up")
    key = (here.root / ".yoyo" / "nodes" / "local" / "key").read_text().strip()
    text = here.run("logs", "-n", "1000").stdout
    assert "listening" in text
    assert key not in text


def test_the_key_is_private_and_in_no_command_line(here: Place) -> None:
    here.run("up")
    path = here.root / ".yoyo" / "nodes" / "local" / "key"
    assert path.stat().st_mode & 0o777 == 0o600
    key = path.read_bytes().strip()
    for pid in here.processes():
        for part in ("cmdline", "environ"):
            assert key not in Path(f"/proc/{pid}/{part}").read_bytes()


def test_doctor_finds_nothing_wrong_and_then_something(here: Place) -> None:
    assert here.run("doctor").returncode == 0
    here.run("freeze", "--reason", "bill under review")
    sick = here.run("doctor", code=51)
    assert "bill under review" in sick.stdout


def test_config_show_names_the_source_of_every_value(here: Place) -> None:
    done = here.run("config", "show", "--json", env=here.env(YOYO_OPERATOR="ci"))
    values = {value["key"]: value for value in json.loads(done.stdout)["values"]}
    assert values["operator"]["text"] == "ci"
    assert values["operator"]["source"] == "YOYO_OPERATOR"
    assert values["nodes.local.engine.ctx"]["source"].startswith("yoyo.yaml:")
