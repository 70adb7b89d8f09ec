"""The metadata server's protocol, over loopback: no machine and no root needed."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_guest import LabGuest
from metadata_server import MetadataServer, etag_of, flat, kebab, look_up

V1 = "/computeMetadata/v1/"
GOOGLE = {"Metadata-Flavor": "Google"}
Answer = tuple[int, str, http.client.HTTPMessage]


class Served:
    """A guest, its metadata server and a client."""

    def __init__(self) -> None:
        self.guest = LabGuest("vm", "10.127.0.10", motto="per aspera")
        self.port = 0
        self.server = MetadataServer(self.guest, self._listen)
        self.server.on()

    def _listen(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        return listener

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named or GOOGLE)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers
        finally:
            connection.close()


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.server.off()


def test_a_value_comes_as_text_with_googles_headers(served: Served) -> None:
    status, body, headers = served.ask(V1 + "instance/attributes/motto")
    assert (status, body) == (200, "per aspera")
    assert headers["Metadata-Flavor"] == "Google"
    assert headers["Server"] == "Metadata Server for VM"
    assert headers["ETag"] == etag_of("per aspera")


@pytest.mark.parametrize(
    "headers", [{"Accept": "*/*"}, {"Metadata_Flavor": "Google", "X_Forwarded_For": "192.0.2.1"}]
)
def test_a_request_that_may_be_forged_is_refused(served: Served, headers: dict[str, str]) -> None:
    assert served.ask(V1 + "instance/name", **headers)[0] == 403
    put = served.ask(V1 + "instance/guest-attributes/a/b", "PUT", "x", **headers)
    assert (put[0], served.guest.guest_attributes) == (403, {})


def test_the_root_tells_any_program_where_it_runs(served: Served) -> None:
    status, _, headers = served.ask("/", Accept="*/*")
    assert (status, headers["Metadata-Flavor"]) == (200, "Google")


def test_directories_list_their_keys(served: Served) -> None:
    assert served.ask(V1)[1] == "instance/\nproject/\n"
    assert "network-interfaces/\n" in served.ask(V1 + "instance/")[1]
    assert served.ask(V1 + "instance/network-interfaces/0/ip")[1] == "10.127.0.10"
    status, _, headers = served.ask(V1 + "instance")
    assert (status, headers["Location"]) == (301, V1 + "instance/")


def test_recursion_gives_json_or_text(served: Served) -> None:
    _, body, _ = served.ask("/computeMetadata/v1//?recursive=true&alt=json")
    assert json.loads(body) == served.guest.metadata()[1]
    _, body, _ = served.ask(V1 + "instance/attributes/?recursive=true&alt=text")
    assert body == "enable-guest-attributes TRUE\nmotto per aspera\n"
    assert served.ask(V1 + "instance/attributes/motto?alt=json")[1] == '"per aspera"'


@pytest.mark.parametrize("path", ["instance/attributes/Motto", "instance/name/x", "nothing"])
def test_what_is_not_there_is_404(served: Served, path: str) -> None:
    assert served.ask(V1 + path)[0] == 404
    assert served.ask(V1 + path + "?wait_for_change=true")[0] == 404


def test_waiting_ends_when_this_value_changes_and_not_with_another(served: Served) -> None:
    asked = V1 + "instance/attributes/motto?wait_for_change=true&last_etag="
    answers: list[Answer] = []
    waiting = threading.Thread(
        target=lambda: answers.append(served.ask(asked + etag_of("per aspera")))
    )
    waiting.start()
    served.guest.set_attributes(other="changed")
    served.guest.set_attributes(motto="ad astra")
    waiting.join(30)
    assert answers[0][1] == "ad astra"


def test_waiting_is_over_at_once_for_who_knows_an_older_value(served: Served) -> None:
    asked = V1 + "instance/attributes/motto?wait_for_change=true&last_etag=NONE"
    assert served.ask(asked)[1] == "per aspera"


def test_waiting_ends_with_its_time(served: Served) -> None:
    asked = V1 + "instance/attributes/motto?wait_for_change=true&timeout_sec=0"
    status, body, headers = served.ask(asked)
    assert (status, body, headers["ETag"]) == (200, "per aspera", etag_of("per aspera"))


def test_guest_attributes_are_written_and_read(served: Served) -> None:
    path = V1 + "instance/guest-attributes/yoyo/phase"
    assert served.ask(path)[0] == 404
    assert served.ask(path, "PUT", "ready")[0] == 200
    assert served.guest.guest_attributes == {"yoyo/phase": "ready"}
    assert served.ask(path)[:2] == (200, "ready")
    assert served.ask(V1 + "instance/attributes/motto", "PUT", "x")[0] == 404
    assert served.ask(path, "PUT", "x" * 300_000)[0] == 413


def test_guest_attributes_must_be_enabled(served: Served) -> None:
    served.guest.set_attributes(enable_guest_attributes="FALSE")
    path = V1 + "instance/guest-attributes/yoyo/phase"
    assert served.ask(path, "PUT", "x")[0] == served.ask(path)[0] == 403


def test_switched_off_it_refuses_and_cuts_who_waits(served: Served) -> None:
    waits, broken = threading.Event(), threading.Event()

    def wait() -> None:
        try:
            served.ask(V1 + "instance/name?wait_for_change=true")
        except (OSError, http.client.HTTPException):
            broken.set()

    def wait_for_metadata(etag: str, timeout_s: float) -> None:
        waits.set()

    served.guest.wait_for_metadata = wait_for_metadata  # type: ignore[method-assign]
    threading.Thread(target=wait).start()
    assert waits.wait(30)
    served.server.off()
    assert broken.wait(30)
    with pytest.raises(ConnectionRefusedError):
        served.ask(V1)
    served.server.on()
    assert served.ask(V1)[0] == 200


TREES = st.recursive(
    st.integers() | st.text(),
    lambda inner: (
        st.dictionaries(st.text("abcXYZ", min_size=1), inner, min_size=1)
        | st.lists(inner, min_size=1)
    ),
    max_leaves=8,
)


@given(TREES)
def test_every_value_of_a_tree_is_found_under_its_path(tree: object) -> None:
    if isinstance(tree, dict | list):
        for line in flat(tree):
            path = line.partition(" ")[0].split("/")
            assert look_up(tree, path)[0]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("networkInterfaces", "network-interfaces"),
        ("ip", "ip"),
        ("targetInstanceIps", "target-instance-ips"),
    ],
)
def test_directories_have_names_of_small_letters(key: str, name: str) -> None:
    assert kebab(key) == name
