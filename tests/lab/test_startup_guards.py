"""The guards on the node: armed first, and stopping it when, and only when, they should."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from sample_startup import CPU
from startup_parts import REQUEST, Node, Server, node_in, reply

LEASE, UNREACHABLE = 900, 1200
DEAD_MAN = "--no-block start yoyo-power-off@dead-man.service"
IDLE_METRICS = """# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 0
llamacpp:requests_deferred 0
"""
IDLE_SLOTS = json.dumps([{"id": 0, "is_processing": False}])


class Engine:
    """What the dead-man may ask of an engine; `hold` makes it block."""

    def __init__(self) -> None:
        self.answers = {"/health": "{}", "/metrics": IDLE_METRICS, "/slots": IDLE_SLOTS}
        self.keys: set[str | None] = set()
        self.release = threading.Event()
        self.server = Server(self._answer)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.keys.add(handler.headers.get("Authorization"))
        body = self.answers.get(handler.path)
        reply(handler, 503 if body is None else 200, (body or "").encode())


@pytest.fixture
def engine() -> Iterator[Engine]:
    one = Engine()
    yield one
    one.server.close()


@pytest.fixture
def node(tmp_path: Path, engine: Engine) -> Iterator[Node]:
    with node_in(tmp_path, CPU._replace(port=engine.server.port)) as made:
        made.step("guards")
        (made.root / "etc/yoyo/engine.key").write_text("k" * 64 + "\n")
        (made.root / "run/yoyo/request").write_text(REQUEST)
        made.stub("ps", "echo 'sshd: yoyo [priv]'; echo /usr/sbin/sshd -D")
        yield made


def look(node: Node, uptime: int, times: int = 1) -> None:
    """The dead-man looks, 30 s apart."""
    for number in range(times):
        node.uptime(uptime + 30 * number)
        done = node.run(str(node.root / "usr/local/lib/yoyo/dead-man"))
        assert done.returncode == 0, done.stderr


def test_what_is_installed_is_clean_bash(node: Node) -> None:
    node.step("unit")
    node.bash("install_key_scripts")
    scripts = sorted((node.root / "usr/local/lib/yoyo").iterdir())
    assert [script.name for script in scripts] == [
        "dead-man", "fetch-key", "lib.sh", "lifetime", "power-off", "prepare-engine",
        "run-engine", "store.sh", "watch-key",
    ]  # fmt: skip
    done = node.run("shellcheck", *map(str, scripts), PATH=shellcheck_path())
    assert done.stdout + done.stderr == ""


def shellcheck_path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def test_units_are_valid_for_systemd(node: Node) -> None:
    node.step("unit")
    node.bash("install_key_scripts")
    units = sorted(map(str, (node.root / "etc/systemd/system").iterdir()))
    done = node.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units)
    told = [line for line in done.stderr.splitlines() if str(node.root) in line]
    assert told == []


def test_armed_is_what_systemd_says(node: Node) -> None:
    assert node.bash("armed_guards").stdout.strip() == "dead-man=900 lifetime=14400"
    (node.root / "active/yoyo-lifetime.timer").unlink()
    assert node.bash("armed_guards").stdout.strip() == "dead-man=900"


def test_a_timer_that_does_not_start_fails_the_step(node: Node) -> None:
    (node.root / "active/yoyo-dead-man.timer").unlink()
    node.stub("systemctl", 'case "$*" in *is-active*) exit 3 ;; esac')
    assert node.step("guards").startswith("failed 0 a guard is not armed")


def test_armed_guards_are_not_touched_at_the_next_boot(node: Node) -> None:
    before = node.calls
    assert node.step("guards").startswith("done 100")
    again = node.calls.removeprefix(before)
    assert "is-active" in again
    assert not {"restart", "enable", "daemon-reload"} & set(again.replace("\n", " ").split())


def test_idle_after_the_lease_stops_at_the_second_look(node: Node, engine: Engine) -> None:
    look(node, LEASE - 60)
    look(node, LEASE + 1)
    assert DEAD_MAN not in node.calls
    look(node, LEASE + 31)
    assert DEAD_MAN in node.calls
    assert engine.keys == {"Bearer " + "k" * 64}


def test_a_rich_answer_of_slots_is_understood(node: Node, engine: Engine) -> None:
    slot = {"id": 0, "params": {"stop": ["}]", '"is_processing": true']}, "is_processing": False}
    engine.answers["/slots"] = json.dumps([slot, {**slot, "next_token": [{"n": 1}]}], indent=1)
    look(node, LEASE + 1, times=2)
    assert DEAD_MAN in node.calls


def test_a_lease_that_holds_is_kept_whatever_the_engine_does(node: Node) -> None:
    look(node, LEASE - 100, times=3)
    assert "power-off@" not in node.calls.replace("yoyo-power-off@.service", "")


def test_a_renewal_counts_from_when_it_was_seen(node: Node) -> None:
    look(node, LEASE - 60)
    node.metadata.set("yoyo-lease", "second")
    look(node, LEASE - 30)
    look(node, 2 * LEASE - 120, times=3)
    assert DEAD_MAN not in node.calls
    look(node, 2 * LEASE, times=2)
    assert DEAD_MAN in node.calls


def test_a_metadata_server_that_is_gone_cannot_renew(node: Node) -> None:
    look(node, LEASE - 60)
    node.metadata.close()
    look(node, LEASE + 1, times=2)
    assert DEAD_MAN in node.calls


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/metrics", IDLE_METRICS.replace("processing 0", "processing 1")),
        ("/metrics", IDLE_METRICS.replace("deferred 0", "deferred 2")),
        ("/metrics", IDLE_METRICS.replace("deferred 0", "deferred nan")),
        ("/metrics", "llamacpp:requests_processing 0\n"),
        ("/metrics", None),
        ("/slots", json.dumps([{"is_processing": False}, {"is_processing": True}])),
        ("/slots", "[]"),
        ("/slots", '[{"is_processing": false}, {"id": 1}]'),
        ("/slots", '[{"is_processing": false}, {"id": 1, "prompt": "\\"is_processing\\":false"}]'),
        ("/slots", '[{"is_processing": false}'),
        ("/slots", '{"is_processing": false}'),
        ("/slots", "not json"),
        ("/slots", None),
    ],
)
def test_work_and_every_failed_reading_keep_it(
    node: Node, engine: Engine, path: str, answer: str | None
) -> None:
    if answer is None:
        del engine.answers[path]
    else:
        engine.answers[path] = answer
    look(node, LEASE + 1, times=3)
    assert DEAD_MAN not in node.calls


@pytest.mark.parametrize(
    ("stub", "text"),
    [
        ("who", "echo 'yoyo pts/0'"),
        ("who", "exit 1"),
        ("ps", "echo 'sshd: yoyo@notty'"),
        ("ps", "exit 1"),
    ],
)
def test_a_person_keeps_it(node: Node, stub: str, text: str) -> None:
    node.stub(stub, text)
    look(node, LEASE + 1, times=3)
    assert DEAD_MAN not in node.calls


def test_a_bootstrap_under_way_keeps_it(node: Node) -> None:
    with (node.root / "run/yoyo/bootstrap.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        look(node, LEASE + 1, times=3)
        assert DEAD_MAN not in node.calls
    look(node, LEASE + 91, times=2)
    assert DEAD_MAN in node.calls


def test_work_between_two_looks_starts_the_count_again(node: Node, engine: Engine) -> None:
    look(node, LEASE + 1)
    engine.answers["/slots"] = json.dumps([{"is_processing": True}])
    look(node, LEASE + 31)
    engine.answers["/slots"] = IDLE_SLOTS
    look(node, LEASE + 61)
    assert DEAD_MAN not in node.calls
    look(node, LEASE + 91)
    assert DEAD_MAN in node.calls


def test_a_silent_engine_has_a_rule_of_its_own(node: Node, engine: Engine) -> None:
    engine.server.close()
    look(node, LEASE + 1)
    look(node, LEASE + UNREACHABLE - 10)
    assert "power-off@unreachable" not in node.calls
    look(node, LEASE + UNREACHABLE + 1)
    assert "--no-block start yoyo-power-off@unreachable.service" in node.calls
    engine.server = Server(lambda handler: reply(handler, 200))


def test_an_engine_that_only_refuses_is_not_silent(node: Node, engine: Engine) -> None:
    engine.answers.clear()
    look(node, LEASE + 1)
    look(node, LEASE + UNREACHABLE + 100)
    assert "power-off@unreachable" not in node.calls


def test_without_systemd_the_dead_man_powers_off_itself(node: Node) -> None:
    node.stub("systemctl", 'echo "$*" >>"$YOYO_ROOT/systemctl.calls"; [ "$2" != start ]')
    node.stub("sleep", "exit 0")
    look(node, LEASE + 1, times=2)
    assert node.metadata.published["stop-cause"] == f"{REQUEST} dead-man"
    assert "--no-block poweroff" in node.calls


def test_power_off_says_why_and_then_forces(node: Node) -> None:
    node.stub("sleep", 'echo "slept $1" >>"$YOYO_ROOT/systemctl.calls"')
    node.run(str(node.root / "usr/local/lib/yoyo/power-off"), "lifetime")
    assert node.metadata.published["stop-cause"] == f"{REQUEST} lifetime"
    assert node.calls.splitlines()[-3:] == [
        "--no-block poweroff", "slept 60", "poweroff --force --force",
    ]  # fmt: skip
    assert "yoyo: powering off: lifetime" in node.serial


def test_lifetime_warns_runs_the_hooks_and_is_not_held_up_by_one(node: Node) -> None:
    values = node.values._replace(stop_grace_s=1)
    node.configure(values)
    node.step("guards")
    hooks = node.root / "etc/yoyo/pre-stop.d"
    hooks.mkdir()
    for name, text in (("10-good", 'echo ran >"$YOYO_ROOT/hook"'), ("20-hangs", "sleep 600")):
        (hooks / name).write_text(f"#!/bin/sh\n{text}\n")
        (hooks / name).chmod(0o755)
    (hooks / "30-not-executable").write_text("echo no")
    node.run(str(node.root / "usr/local/lib/yoyo/lifetime"))
    assert (node.root / "hook").read_text() == "ran\n"
    assert "20-hangs ended with status 124" in node.serial
    assert "lifetime of 14400 s reached" in node.serial
    assert "--no-block start yoyo-power-off@lifetime.service" in node.calls
