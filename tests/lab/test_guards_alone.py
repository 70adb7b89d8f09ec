"""Five nodes, each with something wrong and one guard left; the others are too far away to fire.

They are brought up one after the other and left alone: whoever comes to look finds them stopped
and books what did it.
"""

from __future__ import annotations

import pytest
from guard_parts import LabNode, configure_nodes, guard
from lab import Lab
from lab_commands import LabPlace

LEASE = "lease: 15s, sample_every: 7s, stop_grace: 5s"
LIFETIME = "boot_timeout: 24s, lifetime: 25s, stop_grace: 5s"
# Those that take longest come first.
GUARDS = {
    "wedged": LIFETIME,
    "cut-off-too": LIFETIME,
    "silent": f"{LEASE}, unreachable_after: 3s",
    "cut-off": LEASE,
    "hung": "stop_grace: 5s",
}
EIGHT_HOURS_S, SLACK_S = 8 * 3600, 900  # the lifetime when none is configured, and the cap's share

Nodes = dict[str, LabNode]


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> Nodes:
    """Each has just been brought up, and then got its fault."""
    place = LabPlace(lab)
    configure_nodes(place, GUARDS)
    made = {name: LabNode(place, name) for name in GUARDS}
    for name, node in made.items():
        up = node.up()
        assert all(each["armed"] for each in up["guards"]), up
        match name:
            case "silent":
                node.wedge_engine()
                node.hurry()
            case "wedged":
                node.wedge_engine()
            case "cut-off":
                node.hurry()
                lab.host.metadata_off(node.host_name)
            case "cut-off-too":
                lab.host.metadata_off(node.host_name)
            case "hung":
                lab.host.pause(node.host_name)
    return made  # what still runs at the end, ends with the laboratory


def test_the_dead_man_has_a_rule_for_an_engine_that_is_silent(nodes: Nodes) -> None:
    node = nodes["silent"]
    node.wait_until_off()
    node.assert_preempted("GUARD_UNREACHABLE", "guard:dead-man")


def test_the_lifetime_cap_does_not_ask_the_engine(nodes: Nodes) -> None:
    node = nodes["wedged"]
    node.wait_until_off()
    node.assert_preempted("GUARD_LIFETIME", "guard:lifetime")


@pytest.mark.parametrize(("name", "cause"), [("cut-off", "dead-man"), ("cut-off-too", "lifetime")])
def test_the_guards_on_the_node_need_no_metadata_server(
    nodes: Nodes, name: str, cause: str
) -> None:
    node = nodes[name]
    node.wait_for_serial(f"yoyo: powering off: {cause}")
    # Google's own shutdown scripts wait for it without end; the guard would force them.
    node.place.lab.host.metadata_on(node.host_name)
    node.wait_until_off()
    # The node could not tell why: all that Google knows is that it ended by itself.
    assert node.status()["state"] == "failed"
    node.assert_ended("PREEMPTION", "POWERED_OFF_INSIDE", "tester")


def test_the_platform_stops_a_machine_that_hangs(nodes: Nodes) -> None:
    node = nodes["hung"]
    before = node.status()
    assert before["state"] == "unknown"
    assert guard(before, "platform-cap")["armed"]
    node.place.lab.fake.settings.stop_grace_s = 1
    node.place.lab.fake.age(node.machine, EIGHT_HOURS_S + SLACK_S)
    node.wait_until_off()
    node.assert_preempted("GUARD_PLATFORM_CAP", "guard:platform-cap")


def test_the_ledger_is_sound_after_all_of_it(nodes: Nodes) -> None:
    nodes["hung"].place.run("ledger", "verify", "--strict")
