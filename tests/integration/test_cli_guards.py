"""The guards on a local node, through the real commands, each with its controller gone."""

import json
import signal

from cli import LONG_CONTEXT, Place


def test_the_lifetime_cap_stops_a_node_that_nobody_controls(here: Place) -> None:
    here.configure(
        guards="lifetime: 4s, boot_timeout: 3s, stop_grace: 2s",
        more="prices: {hourly_usd: 0.71}",
    )
    here.run("up")
    here.wait_until_gone()
    status = here.status()
    assert status["state"] == "stopped"
    assert here.events()[-1] == "PREEMPTION preempted GUARD_LIFETIME"
    rows = [json.loads(r) for r in here.run("ledger", "show", "--json").stdout.splitlines()]
    assert rows[-1]["operator_id"] == "guard:lifetime"
    assert float(rows[-1]["gpu_seconds"]) >= 4
    assert float(rows[-1]["cost_usd"]) > 0


def test_the_dead_man_stops_an_idle_node_whose_controller_is_gone(here: Place) -> None:
    here.configure(guards="lease: 3s, sample_every: 1s, idle_after: 2s, stop_grace: 2s")
    here.run("up")
    here.wait_until_gone()
    assert here.status()["state"] == "stopped"
    assert here.events()[-1] == "PREEMPTION preempted GUARD_DEAD_MAN"


def test_the_monitor_stops_an_idle_node_and_books_itself(here: Place) -> None:
    here.configure(guards="sample_every: 1s, idle_after: 2s, boot_grace: 0s, lease: 1h")
    here.run("up")
    process = here.start("monitor", "run", "--json")
    try:
        assert process.stdout is not None
        verdicts = []
        for line in process.stdout:
            verdicts.append(json.loads(line)["verdict"])
            if verdicts[-1] in ("stop-idle", "no-node"):
                break
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert verdicts[-1] == "stop-idle"
    assert "idle" in verdicts
    assert here.processes() == []
    assert here.events()[-1] == "TEARDOWN_COMPLETE success"
    rows = [json.loads(r) for r in here.run("ledger", "show", "--json").stdout.splitlines()]
    assert rows[-1]["operator_id"] == "guard:monitor"


def test_the_monitor_spares_a_node_at_work(here: Place) -> None:
    here.configure(
        engine=LONG_CONTEXT,
        guards="sample_every: 1s, idle_after: 1s, boot_grace: 0s, lease: 1h",
    )
    here.run("up")
    job = here.start("ask", "Say something", "--max-tokens", "30000")
    try:
        assert job.stdout is not None
        job.stdout.read(1)
        assert here.json("monitor", "run", "--once")["verdict"] == "busy"
    finally:
        job.send_signal(signal.SIGKILL)
        job.communicate(timeout=120)
    assert here.status()["state"] == "ready"


def test_down_waits_for_work_and_does_not_cut_it_off(here: Place) -> None:
    here.configure(engine=LONG_CONTEXT, guards="drain_timeout: 1s, stop_grace: 2s")
    here.run("up")
    job = here.start("ask", "Say something", "--max-tokens", "30000")
    try:
        assert job.stdout is not None
        job.stdout.read(1)
        refused = here.run("down", code=22)
        assert "--now" in refused.stderr
        here.run("down", "--now")
        job.communicate(timeout=120)
    finally:
        job.kill()
        job.wait()
    assert job.returncode == 35
    assert "JOB_COMPLETE error ENGINE_FAILED" in here.events()
    assert here.json("ledger", "verify", "--strict")["ok"]
