"""The engine client against a real engine, and against servers that mean it no good."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from local_parts import Local, local_node

from yoyo.drivers.llamacpp.client import LlamaServerClient, parse_metrics, parse_slots
from yoyo.drivers.llamacpp.http import MAX_ANSWER_BYTES, HttpError
from yoyo.errors import EngineFailed
from yoyo.model.engine import Completion, Health, Slots
from yoyo.model.ids import Secret
from yoyo.model.machine import Endpoint

KEY = "key-that-must-not-show"
CLIENT = LlamaServerClient()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Local, Endpoint]]:
    with local_node(tmp_path_factory.mktemp("engine")) as local:
        yield local, local.up()


Script = Callable[[socket.socket], None]


@contextmanager
def server(script: Script) -> Iterator[Endpoint]:
    """A server that reads each request and then does as the script says."""
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while not whole(request) and (data := connection.recv(65536)):
                request += data
            script(connection)

    def whole(request: bytes) -> bool:
        head, found, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        return bool(found) and len(body) == (int(length[1]) if length else 0)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", Secret(KEY))
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(60)
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()


def says(answer: bytes) -> Script:
    return lambda connection: connection.sendall(answer)


def until_closed(connection: socket.socket) -> None:
    """Say nothing until the client gives up."""
    while connection.recv(65536):
        pass


def events(*documents: object, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(document)}\n\n" for document in documents]
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return (head + "".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


def ask(endpoint: Endpoint, timeout: float = 60) -> tuple[list[str], Completion]:
    *pieces, end = CLIENT.complete(endpoint, "hello", max_tokens=8, timeout=timeout)
    assert isinstance(end, Completion)
    return [piece for piece in pieces if isinstance(piece, str)], end


def failure(endpoint: Endpoint, timeout: float = 60) -> str:
    with pytest.raises(EngineFailed) as refusal:
        ask(endpoint, timeout)
    error = refusal.value
    shown = "\n".join((error.what, error.why, error.fix, *error.details))
    assert KEY not in shown
    assert "Traceback" not in shown
    return error.why


def test_a_real_engine_answers_everything(engine: tuple[Local, Endpoint]) -> None:
    _, endpoint = engine
    assert CLIENT.health(endpoint) is Health.OK
    assert CLIENT.model_name(endpoint).startswith("smoke")
    before = CLIENT.load(endpoint)
    assert (before.processing, before.deferred, before.error) == (0, 0, "")
    assert before.slots == Slots(busy=0, total=2)
    pieces, end = ask(endpoint)
    assert len(pieces) > 1
    assert "".join(pieces) == end.text
    assert end.completion_tokens == 8
    assert end.finish_reason == "length"
    assert end.prompt_tokens is not None
    assert end.prompt_tokens > 0
    assert end.engine_seconds is not None
    assert end.engine_seconds > 0
    assert end.cached_tokens is not None
    after = CLIENT.load(endpoint)
    assert after.tokens_total is not None
    assert before.tokens_total is not None
    assert after.tokens_total - before.tokens_total >= end.completion_tokens


def test_work_under_way_is_seen_as_work(engine: tuple[Local, Endpoint]) -> None:
    _, endpoint = engine
    answer = CLIENT.complete(endpoint, "on and on", max_tokens=3000, timeout=60)
    next(answer)
    load = CLIENT.load(endpoint, timeout=30)
    assert load.processing == 1
    assert load.slots == Slots(busy=1, total=2)
    assert isinstance(answer, Iterator)
    answer.close()  # type: ignore[attr-defined]
    while CLIENT.load(endpoint, timeout=30).processing != 0:
        pass


def test_a_wrong_key_is_no_answer_and_never_shown(engine: tuple[Local, Endpoint]) -> None:
    _, endpoint = engine
    wrong = Endpoint(endpoint.url, Secret(KEY))
    load = CLIENT.load(wrong)
    assert (load.processing, load.deferred, load.slots, load.tokens_total) == (None,) * 4
    assert "401" in load.error
    assert KEY not in load.error
    assert "401" in failure(wrong)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    endpoint = Endpoint(url, Secret(KEY))
    assert CLIENT.health(endpoint) is Health.UNREACHABLE
    assert CLIENT.model_name(endpoint) == ""
    assert CLIENT.load(endpoint).processing is None
    assert failure(endpoint)


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (b'HTTP/1.1 503 No\r\n\r\n{"error":{"message":"Loading model"}}', Health.LOADING),
        (b'HTTP/1.0 200 OK\r\n\r\n{"status":"ok"}', Health.OK),
        (b"HTTP/1.1 401 No\r\n\r\n", Health.REFUSED),
        (b"HTTP/1.1 404 No\r\n\r\n", Health.REFUSED),
        (b"HTTP/1.1 302 No\r\nLocation: http://127.0.0.1:1/\r\n\r\n", Health.REFUSED),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Health.UNREACHABLE),
        (b"", Health.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", Health.UNREACHABLE),
        (b"HTTP/1.1 2000 OK\r\n\r\n", Health.UNREACHABLE),
        (b"HTTP/1.1 \xc2\xb2\xc2\xb20 OK\r\n\r\n", Health.UNREACHABLE),
    ],
)
def test_health_of_strange_answers(answer: bytes, health: Health) -> None:
    with server(says(answer)) as endpoint:
        assert CLIENT.health(endpoint) is health


def test_a_key_that_the_server_repeats_is_not_shown() -> None:
    for words in (f"no such key: {KEY}", "x" * 490 + KEY):
        refusal = json.dumps({"error": {"message": words}}).encode()
        with server(says(b"HTTP/1.1 401 No\r\n\r\n" + refusal)) as endpoint:
            why = failure(endpoint)
            assert "401" in why
            assert KEY[:8] not in why
        with server(says(events({"error": {"message": words}}))) as endpoint:
            assert KEY[:8] not in failure(endpoint)


@pytest.mark.parametrize("key", [f"{KEY}\r\nX-Other: 1", f"{KEY}\n", f"{KEY}\u00e9", f"{KEY}\0"])
def test_a_key_that_no_header_can_carry_is_neither_sent_nor_shown(key: str) -> None:
    with server(says(b"HTTP/1.1 200 OK\r\n\r\n")) as there:
        endpoint = Endpoint(there.url, Secret(key))
        assert CLIENT.health(endpoint) is Health.UNREACHABLE
        assert KEY not in CLIENT.load(endpoint).error
        assert CLIENT.model_name(endpoint) == ""
        assert "key" in failure(endpoint)


@settings(deadline=None)
@given(st.text(max_size=40).filter(lambda text: "://" not in text))
@example("http://a..b:80")
@example("http://\0:80")
@example("http://[::1:80")
@example("http://" + "a" * 300 + ":80")
@example("http://127.0.0.1:0")
@example("http://127.0.0.1:65536")
@example("https://127.0.0.1:80")
@example("http://127.0.0.1")
def test_any_url_is_an_endpoint_or_out_of_reach(url: str) -> None:
    assert CLIENT.health(Endpoint(url, Secret(KEY)), timeout=0.1) is Health.UNREACHABLE


def test_the_deadline_is_that_of_both_questions_together() -> None:
    """Each is answered in just less than the time that both have: one must go without."""

    def late(connection: socket.socket) -> None:
        time.sleep(0.3)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + METRICS)

    with server(late) as endpoint:
        load = CLIENT.load(endpoint, timeout=0.4)
        assert "/slots: no answer within" in load.error


def dribble(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.01)


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize("script", [until_closed, dribble])
def test_a_slow_server_does_not_hold_a_question_longer_than_its_deadline(script: Script) -> None:
    with server(script) as endpoint:
        # The answer would never come to an end: that the call returns at all is the deadline's.
        assert CLIENT.health(endpoint, timeout=0.2) is Health.UNREACHABLE
        load = CLIENT.load(endpoint, timeout=0.2)
        assert load.slots is None
        assert "0.2" in load.error or "answer" in load.error
        assert CLIENT.model_name(endpoint, timeout=0.2) == ""


def test_an_endless_answer_is_cut_off() -> None:
    with server(flood) as endpoint:
        assert f"{MAX_ANSWER_BYTES}" in CLIENT.load(endpoint, timeout=60).error


def test_a_stream_yields_its_pieces_and_ends_in_one_completion() -> None:
    stream = events(
        {"choices": [{"delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"delta": {"content": "one "}}]},
        {"choices": [{"delta": {"content": "two"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2},
         "timings": {"prompt_ms": 250, "predicted_ms": 750.0, "cache_n": 1}},
    )  # fmt: skip
    with server(says(stream)) as endpoint:
        assert ask(endpoint) == (
            ["one ", "two"],
            Completion("one two", 3, 2, 1.0, 1, "stop"),
        )


def test_figures_that_make_no_sense_are_unknown() -> None:
    stream = events(
        {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
        {"choices": {}, "usage": {"prompt_tokens": -1, "completion_tokens": "many"},
         "timings": {"prompt_ms": "soon", "predicted_ms": None, "cache_n": True}},
    )  # fmt: skip
    with server(says(stream)) as endpoint:
        assert ask(endpoint)[1] == Completion("a", None, None, None, None, "stop")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (events({"choices": [{"delta": {"content": "a"}}]}, done=False), "ended before"),
        (events({"error": {"message": "slot lost"}}), "slot lost"),
        (events({"error": None}), "unknown error"),
        (events([1, 2]), "objects"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: {broken\n\n", "JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: " + b"[" * 100_000 + b"\n\n", "JSON"),
        (b"HTTP/1.1 400 No\r\n\r\n" + b'{"error":{"message":"too long"}}', "too long"),
        (b"HTTP/1.1 500 No\r\n\r\n<html>", "500"),
        (b"not http\r\n\r\n", ""),
        (b"", ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "ended before"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", "headers"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: " + b"x" * (2 << 20), "JSON"),
    ],
)
def test_broken_streams_fail_with_a_reason(answer: bytes, why: str) -> None:
    with server(says(answer)) as endpoint:
        assert why in failure(endpoint)


def test_silence_in_a_stream_ends_it() -> None:
    over = threading.Event()

    def stop_talking(connection: socket.socket) -> None:
        connection.sendall(events({"choices": [{"delta": {"content": "a"}}]}, done=False))
        over.wait(60)

    with server(stop_talking) as endpoint:
        assert "0.2 s" in failure(endpoint, timeout=0.2)
        over.set()


METRICS = b"""\
# HELP llamacpp:requests_processing Number of requests processing.
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 2
llamacpp:requests_deferred 0
llamacpp:prompt_tokens_total 1.2e+06
llamacpp:tokens_predicted_total 30 1700000000
llamacpp:requests_processing_peak 9
"""


def test_metrics_are_read_by_their_exact_names() -> None:
    assert parse_metrics(METRICS) == {
        "llamacpp:requests_processing": 2,
        "llamacpp:requests_deferred": 0,
        "llamacpp:prompt_tokens_total": 1_200_000,
        "llamacpp:tokens_predicted_total": 30,
    }


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-1", b"", b"many", b"1e400"])
def test_a_metric_that_is_no_count_is_no_reading(value: bytes) -> None:
    assert parse_metrics(b"llamacpp:requests_processing " + value + b"\n") == {}


@given(st.binary(max_size=200), st.binary(max_size=30))
def test_any_bytes_are_metrics_or_none(text: bytes, value: bytes) -> None:
    for number in parse_metrics(text + b"\nllamacpp:requests_deferred " + value).values():
        assert 0 <= number < 2**63


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["id", "is_processing"]), inner)
        ),
    )
)
def test_anything_is_slots_or_refused(document: object) -> None:
    try:
        slots = parse_slots(document)
    except HttpError:
        return
    assert isinstance(document, list)
    assert 0 <= slots.busy <= slots.total == len(document)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_answer_leaves_the_questions_answered(answer: bytes) -> None:
    with server(says(b"HTTP/1.1 200 OK\r\n" + answer)) as endpoint:
        CLIENT.health(endpoint)
        assert CLIENT.load(endpoint).processing in (None, 0)
        assert isinstance(CLIENT.model_name(endpoint), str)


def test_importing_the_client_does_not_import_http_client() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import yoyo.drivers.llamacpp.client\n"
        "sys.exit('http.client' in sys.modules)"
    )
    source = str(Path(__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code, source], check=False).returncode == 0
