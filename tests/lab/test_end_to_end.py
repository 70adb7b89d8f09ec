"""The main job on real machines: up, answer, idle, stopped by the monitor, up, gone, proved."""

from __future__ import annotations

import json

from lab_commands import LabPlace

MONITORED = "idle_after: 1s, sample_every: 1s, boot_grace: 0s, lease: 60s, stop_grace: 5s"


def test_from_nothing_to_nothing(place: LabPlace) -> None:
    place.lab.configure(guards=MONITORED)
    up = place.json("up")
    assert up["state"] == "ready"
    assert up["endpoint"].startswith("https://10.127.0.")
    assert {guard["name"] for guard in up["guards"] if guard["armed"]} == {
        "dead-man", "lifetime", "platform-cap",
    }  # fmt: skip
    answer = place.json("ask", "Say something", "--max-tokens", "8")
    assert answer["completion"]["completion_tokens"] == 8
    assert place.status()["state"] == "ready"

    # Idle: the monitor samples until its evidence is enough, and stops the node.
    for _ in range(60):
        if place.json("monitor", "run", "--once")["stopped"]:
            break
    assert place.instance()["status"] == "TERMINATED"
    assert place.status()["state"] == "stopped"

    again = place.json("up")
    assert again["state"] == "ready"
    assert again["request_id"] != up["request_id"]
    assert (
        place.json("ask", "Say more", "--max-tokens", "4")["completion"]["completion_tokens"] == 4
    )
    down = place.json("down", "--delete")
    assert down["state"] == "absent"
    assert float(down["cost_usd"]) > 0
    assert float(down["disk_cost_usd"]) > 0
    for collection in ("instances", "disks", "firewalls", "addresses", "snapshots"):
        assert place.lab.fake.paths(collection) == []
    assert place.json("sweep")["found"] == []
    place.run("ledger", "verify", "--strict")
    rows = [json.loads(line) for line in place.run("ledger", "show", "--json").stdout.splitlines()]
    closing = [row for row in rows if row["event_type"] == "TEARDOWN_COMPLETE"]
    assert closing[0]["operator_id"] == "guard:monitor"
    skews = [(row["node_id"], row["job_id"]) for row in rows if row["error_code"] == "CLOCK_SKEW"]
    assert [node for node, _ in skews] == [up["node_id"], "ledger"] * 2
    assert all(abs(int(job.removeprefix("skew/"))) <= 10 for _, job in skews)
