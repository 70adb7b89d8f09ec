"""Several hands on one registry file, and commands that are killed: nothing is lost or doubled."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator

import pytest
from adapters_forgeries import World, key_sign, world_of
from adapters_parts import TONE, AdapterPlace, adapter_place
from oci_parts import noise

from yoyo.core.lives import read_book
from yoyo.drivers.files.adapter_book import YamlAdapterBook
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.adapter import Registered, Stage
from yoyo.model.ledger import ADAPTERS_NODE, BadRow, CompletionStatus, EventType, Row

KILLS = 30
# About as long as a `register` takes from its first row to its end: half of the kills fall between.
TO_THE_END_S = 0.008


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("races")
    with adapter_place(home) as place:
        place.key_mode()
        place.publish(TONE)
        with world_of(place, home, key_sign(place)) as made:
            yield made


@pytest.fixture
def world(kept: World) -> Iterator[World]:
    yield kept
    kept.snapshot.restore()


def versions(world: World, count: int) -> list[str]:
    """References of as many versions more, signed and evaluated, not registered."""
    refs = []
    for number in range(1, count + 1):
        ref, _ = world.put(noise(64), version=f"1.{number}.0")
        refs.append(str(ref))
    return refs


def at_once(place: AdapterPlace, commands: list[tuple[str, ...]]) -> list[int]:
    """Their exit codes."""
    started = [place.start("adapters", *command) for command in commands]
    codes = []
    for process in started:
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in out + err, err
        codes.append(process.returncode)
    return codes


def book_of(place: AdapterPlace) -> tuple[Registered, ...]:
    return YamlAdapterBook(place.book).read().adapters


def rows_of(place: AdapterPlace) -> list[Row]:
    clock = SystemClock()
    rows = list(CsvLedger(place.ledger, clock, SystemIds(clock)).rows())
    assert not any(isinstance(row, BadRow) for row in rows)
    return [row for row in rows if isinstance(row, Row)]


def open_changes(place: AdapterPlace) -> int:
    """Changes of the registry file whose end is not booked."""
    return len(read_book(rows_of(place)).jobs_of(ADAPTERS_NODE))


def test_eight_promotes_of_two_versions_leave_one(world: World) -> None:
    place = world.place
    for ref in versions(world, 2):
        place.adapters("register", ref)
    codes = at_once(place, [("promote", f"acme-tone@1.{n}.0") for n in (1, 2) for _ in range(4)])
    # Whoever finds at the end that the other version came between is told so.
    assert set(codes) <= {0, 91}, codes
    assert 0 in codes
    stages = {each.adapter.version: each.stage for each in book_of(place)}
    assert len(stages) == 3
    assert sorted(stages.values()) == [Stage.PROMOTED, Stage.RETIRED, Stage.RETIRED]
    promotions = [
        step.at for each in book_of(place) for step in each.history if step.stage is Stage.PROMOTED
    ]
    assert len(promotions) == len(set(promotions)) >= 3  # one after the other
    place.sound()


def test_eight_registrations_at_once_lose_none(world: World) -> None:
    place = world.place
    codes = at_once(place, [("register", ref) for ref in versions(world, 8)])
    assert codes == [0] * 8
    found = {each.adapter.version for each in book_of(place)}
    assert found == {f"1.{number}.0" for number in range(9)}
    place.sound()


def killed(place: AdapterPlace, command: tuple[str, ...], chance: random.Random) -> None:
    """Start the command and kill it: anywhere, or soon after it booked what it will do."""
    before = place.ledger.stat().st_size
    process = place.start(*command)
    if chance.random() < 0.25:
        # A moment in time is the point here: there is no event to wait for.
        time.sleep(chance.uniform(0.0, 0.5))
    else:
        while place.ledger.stat().st_size == before and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0.0, TO_THE_END_S))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)


def test_a_killed_register_is_settled_by_the_next(world: World) -> None:
    place = world.place
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    left = 0
    for number, ref in enumerate(versions(world, KILLS), 1):
        killed(place, ("adapters", "register", ref), chance)
        left += open_changes(place)
        before = [each.adapter.version for each in book_of(place)]  # whole at any moment
        done = place.adapters("register", ref)["adapter"]
        told = f"seed {seed}, kill {number}"
        assert (done["stage"], done["version"]) == ("eval_ok", f"1.{number}.0"), told
        assert open_changes(place) == 0, told
        found = [each.adapter.version for each in book_of(place)]
        assert found[: len(before)] == before, told
        assert len(found) == number + 1, told
    assert left, f"seed {seed}: no kill hit a change half-way, so that nothing was tried"
    check_outcomes(place)
    place.sound()


def check_outcomes(place: AdapterPlace) -> None:
    """Every change that was begun has one end, and each version one that succeeded."""
    entries = [row.entry for row in rows_of(place)]
    begun = [each.job_id for each in entries if each.event_type is EventType.JOB_START]
    ended = [each.job_id for each in entries if each.event_type is EventType.JOB_COMPLETE]
    assert sorted(begun) == sorted(ended)
    succeeded = {
        each.job_id
        for each in entries
        if each.event_type is EventType.JOB_COMPLETE
        and each.completion_status is CompletionStatus.SUCCESS
    }
    assert succeeded == set(begun)


def test_two_roles_attach_at_once_and_both_are_there(world: World) -> None:
    """Signature, provenance and sign-off by three commands that run at the same time."""
    place = world.place
    world.strip()
    verdict = ("--result", "passed", "--suite", "tone-2026-11")
    codes = at_once(
        place,
        [
            ("sign", TONE, *place.options("signer")),
            ("attest", TONE, "--training", "training.yaml", *place.options("builder")),
            ("evaluate", TONE, *verdict, *place.options("evaluator")),
        ],
    )
    assert codes == [0] * 3
    assert place.adapters("verify", TONE)["ok"]
