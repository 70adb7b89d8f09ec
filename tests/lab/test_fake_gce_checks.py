"""The parts below the fake GCE: discovery checks, filters, fault plans, the fake as a process."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import discovery
import pytest
from gce_clients import UNIVERSE, Google, gpu_instance
from gce_filters import BadFilter, compile_filter
from hypothesis import given
from hypothesis import strategies as st

JSON = dict[str, Any]
DOCUMENT = discovery.load()
FAKE = Path(__file__).with_name("fake_gce.py")


def problems(schema: str, value: object, side: discovery.Side = "request") -> list[str]:
    method = f"compute.{schema.lower()}s.insert"
    return [problem.where for problem in DOCUMENT.check(schema, value, side, method)]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"name": "a"}, []),
        ({}, ["resource.name"]),
        ({"name": "a", "colour": "red"}, ["resource.colour"]),
        ({"name": "a", "labels": {"any": "thing"}}, []),
        ({"name": "a", "labels": {"any": 1}}, ["resource.labels.any"]),
        ({"name": "a", "canIpForward": "yes"}, ["resource.canIpForward"]),
        ({"name": "a", "status": "HAPPY"}, ["resource.status"]),
        ({"name": "a", "disks": {}}, ["resource.disks"]),
        ({"name": "a", "disks": [{"diskSizeGb": "10"}]}, []),
        ({"name": "a", "disks": [{"diskSizeGb": 10}]}, []),
        ({"name": "a", "disks": [{"diskSizeGb": "ten"}]}, ["resource.disks[0].diskSizeGb"]),
        ({"name": "a", "disks": [{"index": 2**31}]}, ["resource.disks[0].index"]),
        ({"name": "a", "disks": [{"boot": None}]}, []),
        ({"name": "a", "fingerprint": "no base64"}, ["resource.fingerprint"]),
    ],
)
def test_bodies_of_requests(value: JSON, where: list[str]) -> None:
    assert problems("Instance", value) == where


def test_numbers_of_64_bits_are_strings_in_answers() -> None:
    assert problems("Instance", {"id": "1"}, "response") == []
    assert problems("Instance", {"id": 1}, "response") == ["resource.id"]
    assert problems("Instance", {"id": "-1"}, "response") == ["resource.id"]
    assert problems("Instance", {"id": None}, "response") == ["resource.id"]


def test_the_method_with_the_most_fixed_words_is_found() -> None:
    found = DOCUMENT.find("GET", "projects/p/global/images/family/f")
    assert found is not None
    assert (found[0].id, found[1]) == (
        "compute.images.getFromFamily",
        {"project": "p", "family": "f"},
    )
    assert DOCUMENT.find("PUT", "projects/p") is None


@given(st.text())
def test_a_filter_is_compiled_or_refused(text: str) -> None:
    try:
        test = compile_filter(text)
    except BadFilter:
        return
    assert test({"name": "a"}) in (True, False)


NAME = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


@given(NAME, NAME, NAME)
def test_comparisons_say_what_they_say(name: str, label: str, other: str) -> None:
    item = {"name": name, "labels": {"role": label}}
    assert compile_filter(f"name={other}")(item) == (name == other)
    assert compile_filter(f"labels.role={other}")(item) == (label == other)
    assert compile_filter(f'name = "{other}" labels.role:*')(item) == (name == other)
    assert compile_filter(f"(name={other}) OR (labels.role={other})")(item) == (
        other in (name, label)
    )
    assert compile_filter(f"NOT name={other}")(item) == (name != other)
    assert compile_filter(f"name:{name[:3]}*")(item)
    assert not compile_filter("labels.none:*")(item)


class Process:
    """A fake in a process of its own."""

    def __init__(self, state_file: Path) -> None:
        command = [sys.executable, str(FAKE), "--port", "0", "--state-file", str(state_file)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._out = self._process.stdout
        self.port: int = json.loads(self._out.readline())["port"]

    def lab(self, verb: str, path: str, body: JSON | None = None) -> tuple[int, JSON]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request(verb, f"/_lab/{path}", json.dumps(body or {}))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def google(self, key: Path) -> Google:
        key.write_text(json.dumps(self.lab("POST", "credentials", {"universe": UNIVERSE})[1]))
        return Google(f"http://127.0.0.1:{self.port}", key)

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        code = self._process.wait()
        self._out.close()
        return code


def test_a_fake_of_its_own_keeps_its_state_over_a_kill(tmp_path: Path) -> None:
    state_file = tmp_path / "state.json"
    first = Process(state_file)
    try:
        google = first.google(tmp_path / "key.json")
        found = google.up(gpu_instance())
        attribute = {"name": "node", "namespace": "yoyo", "key": "phase", "value": "ready"}
        assert first.lab("POST", "guest-attribute", attribute)[0] == 200
        assert first.lab("POST", "faults", {"rules": [{"htpp": 1}]})[0] == 400
        assert first.lab("GET", "calls")[1]["calls"][0]["method"] == "compute.instances.insert"
    finally:
        first.end(signal.SIGKILL)
    second = Process(state_file)
    try:
        again = Google(f"http://127.0.0.1:{second.port}", tmp_path / "key.json").get("node")
        assert (again.id, again.status) == (found.id, "RUNNING")
        assert second.lab("GET", "violations")[1] == {"violations": []}
        guests = second.lab("GET", "state")[1]["guests"]
        assert [guest["attributes"] for guest in guests.values()] == [{"yoyo/phase": "ready"}]
    finally:
        code = second.end(signal.SIGTERM)
    assert code == 0
