"""What the engine client believes of an engine that says odd things about its adapters."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.drivers.llamacpp.adapters import MAX_ADAPTERS, lora_field, parse_adapters
from yoyo.drivers.llamacpp.client import LlamaServerClient
from yoyo.drivers.llamacpp.http import MAX_ANSWER_BYTES, HttpError
from yoyo.errors import EngineFailed
from yoyo.model.adapter import Loaded
from yoyo.model.ids import Secret
from yoyo.model.machine import Endpoint

KEY = "key-that-must-not-show"
CLIENT = LlamaServerClient()
ONE = [{"id": 0, "path": "/var/a/dka-style@1.0.0.gguf", "scale": 0.0}]
SLOTS = [{"id": 1, "is_processing": False}, {"id": 0, "is_processing": False}]
Reply = tuple[int, bytes]


def sent(document: object, status: int = 200) -> Reply:
    return status, json.dumps(document).encode()


class Odd:
    """An engine whose every answer is a test's to choose; by method and path."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, str]] = []  # path, body, Authorization
        self.replies: dict[str, Reply | Callable[[Any], Reply]] = {
            "GET /lora-adapters": sent(ONE),
            "POST /lora-adapters": sent({"success": True}),
            "GET /slots": sent(SLOTS),
            "POST /completion": lambda body: sent({"id_slot": body["id_slot"]}),
        }
        odd = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                body = json.loads(self.rfile.read(length) or b"null")
                odd.asked.append((self.path, body, self.headers.get("Authorization", "")))
                reply = odd.replies[f"{self.command} {self.path}"]
                status, text = reply(body) if callable(reply) else reply
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        class Listener(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A client that hangs up is no fault of the test's."""

        self.server = Listener(("127.0.0.1", 0), Handler)
        self.endpoint = Endpoint(f"http://127.0.0.1:{self.server.server_address[1]}", Secret(KEY))


@pytest.fixture
def odd() -> Iterator[Odd]:
    engine = Odd()
    thread = threading.Thread(target=engine.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield engine
    finally:
        engine.server.shutdown()
        engine.server.server_close()
        thread.join()


@contextmanager
def refusal(*why: str) -> Iterator[None]:
    with pytest.raises(EngineFailed) as caught:
        yield
    error = caught.value
    shown = "\n".join((error.what, error.why, error.fix, *error.details))
    assert KEY not in shown
    assert all(word in shown for word in why), shown
    assert len(shown) < 1500


def test_a_rescale_names_every_adapter_everywhere_and_every_slot(odd: Odd) -> None:
    odd.replies["GET /lora-adapters"] = sent([*ONE, {**ONE[0], "id": 1, "path": "b.gguf"}])
    CLIENT.rescale(odd.endpoint, {1: 0.5}, 30)
    scales = [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.5}]
    assert ("/lora-adapters", scales, f"Bearer {KEY}") in odd.asked
    washed = [body for path, body, _ in odd.asked if path == "/completion"]
    assert [body["id_slot"] for body in washed] == [0, 1]
    assert all(body["lora"] == scales and body["cache_prompt"] is False for body in washed)


@pytest.mark.parametrize(
    ("at", "reply", "why"),
    [
        ("GET /lora-adapters", sent("no", 404), "answered 404"),
        ("GET /lora-adapters", sent({}), "not a list"),
        ("GET /lora-adapters", (200, b"[" * 100_000), "not JSON"),
        ("GET /lora-adapters", (200, b"x" * (MAX_ANSWER_BYTES + 1)), "larger than"),
        ("POST /lora-adapters", sent({"error": {"message": f"wrong key {KEY}"}}, 401), "wrong key"),
        ("POST /lora-adapters", sent({"success": False}), "does not say that it did"),
        ("POST /lora-adapters", sent(["success"]), "does not say that it did"),
        ("POST /lora-adapters", (200, b'{"success": tr'), "not JSON"),
        ("POST /lora-adapters", (200, b"x" * (MAX_ANSWER_BYTES + 1)), "larger than"),
        ("GET /slots", sent({}), "may be of the old scales"),
        ("GET /slots", sent([]), "may be of the old scales"),
        ("GET /slots", sent([{"id": 0}, {"id": 0}]), "no numbers"),
        ("GET /slots", sent([{"id": True}]), "no numbers"),
        ("GET /slots", sent("disabled", 501), "501"),
        ("POST /completion", sent({"id_slot": 5}), "slot 0 was not given the request"),
        ("POST /completion", sent(None), "slot 0 was not given the request"),
        ("POST /completion", sent("busy", 503), "may be of the old scales"),
    ],
)
def test_a_rescale_that_is_not_wholly_done_has_failed(
    odd: Odd, at: str, reply: Reply, why: str
) -> None:
    odd.replies[at] = reply
    with refusal(why):
        CLIENT.rescale(odd.endpoint, {0: 1.0}, 30)


def test_a_slot_that_stays_at_work_is_not_waited_for_for_ever(odd: Odd) -> None:
    let_go = threading.Event()

    def at_work(_: Any) -> Reply:
        let_go.wait(60)
        return sent({"id_slot": 0})

    odd.replies["POST /completion"] = at_work
    try:
        with refusal("may be of the old scales", "in time"):
            CLIENT.rescale(odd.endpoint, {0: 1.0}, 0.5)
    finally:
        let_go.set()


def test_who_does_not_answer_at_all(odd: Odd) -> None:
    odd.replies["GET /lora-adapters"] = sent(f"Bearer {KEY} is wrong", 401)
    with refusal("could not be read", "401", "****"):
        CLIENT.adapters(odd.endpoint, 30)
    with refusal("could not be read"):
        CLIENT.adapters(Endpoint("http://127.0.0.1:1", Secret(KEY)), 30)
    with refusal("could not be rescaled"):
        CLIENT.rescale(Endpoint("http://127.0.0.1:1", Secret(KEY)), {}, 30)


@pytest.mark.parametrize(
    "entry",
    [
        "a", {}, {"id": 1, "path": "/a", "scale": 0.0}, {"id": False, "path": "/a", "scale": 0.0},
        {"id": 0.0, "path": "/a.gguf", "scale": 0.0},
        {"id": "0", "path": "/a.gguf", "scale": 0.0}, {"id": 0, "path": "", "scale": 0.0},
        {"id": 0, "path": 7, "scale": 0.0}, {"id": 0, "path": "x" * 5000, "scale": 0.0},
        {"id": 0, "path": "/a.gguf", "scale": None}, {"id": 0, "path": "/a.gguf", "scale": True},
        {"id": 0, "path": "/a.gguf", "scale": float("nan")},
        {"id": 0, "path": "/a.gguf", "scale": 10**400},
    ],
)  # fmt: skip
def test_an_entry_that_is_none(entry: object) -> None:
    with pytest.raises(HttpError):
        parse_adapters([entry])


def test_more_than_any_engine_has() -> None:
    entries = [{"id": n, "path": "/a.gguf", "scale": 0.0} for n in range(MAX_ADAPTERS + 1)]
    assert len(parse_adapters(entries[:-1])) == MAX_ADAPTERS
    with pytest.raises(HttpError):
        parse_adapters(entries)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "path", "scale"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_comes_is_read_or_refused(document: Any) -> None:
    try:
        found = parse_adapters(document)
    except HttpError:
        return
    assert [adapter.number for adapter in found] == list(range(len(found)))


@given(
    st.lists(
        st.tuples(
            st.text("abc@.-+", min_size=1, max_size=9), st.floats(-1e6, 1e6, allow_nan=False)
        ),
        max_size=4,
    )
)
def test_what_an_engine_lists_is_what_it_is_told_back(stack: list[tuple[str, float]]) -> None:
    listed = [
        {"id": number, "path": f"/some/where/{name}.gguf", "scale": scale, "task_name": ""}
        for number, (name, scale) in enumerate(stack)
    ]
    found = parse_adapters(json.loads(json.dumps(listed)))
    assert found == tuple(Loaded(n, name, scale, "where") for n, (name, scale) in enumerate(stack))
    backwards = {adapter.number: adapter.scale for adapter in reversed(found)}
    assert lora_field(backwards) == [{"id": e["id"], "scale": e["scale"]} for e in listed]
