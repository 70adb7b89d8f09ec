"""The small HTTP client against servers that lie, stall, dribble and flood."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.drivers.llamacpp.client import LlamaServerClient, parse_metrics, parse_slots
from yoyo.drivers.llamacpp.http import MAX_ANSWER_BYTES, HttpError, get, parse_url
from yoyo.errors import EngineFailed
from yoyo.model.engine import Completion, Health, Slots
from yoyo.model.ids import Secret
from yoyo.model.machine import Endpoint

KEY = "a-key-that-must-not-show"


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that hands each connection to `answer`; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    answer(connection)
                except OSError:
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        # shutdown wakes the accept; close alone does not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def sending(*parts: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return answer


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def test_a_good_answer_in_pieces() -> None:
    whole = ok(b"hello")
    with serving(sending(whole[:9], whole[9:20], whole[20:])) as url:
        assert get(url, "/", key=KEY, timeout=5) == (200, b"hello")


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    with serving(sending(b"HTTP/1.0 503 Busy\r\n\r\nloading")) as url:
        assert get(url, "/", key=KEY, timeout=5) == (503, b"loading")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    ],
)
def test_what_is_no_answer(answer: bytes) -> None:
    with serving(sending(answer)) as url, pytest.raises(HttpError) as refused:
        get(url, "/", key=KEY, timeout=5)
    assert KEY not in str(refused.value)


def test_a_flood_is_cut_off() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(2 * MAX_ANSWER_BYTES // 65536):
            connection.sendall(b"x" * 65536)

    with serving(flood) as url, pytest.raises(HttpError, match="larger"):
        get(url, "/", key=KEY, timeout=10)


def test_the_deadline_is_for_the_whole_call() -> None:
    release = threading.Event()

    def dribble(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        # A byte now and then restarts a per-read timeout, and must not restart this one.
        while not release.wait(0.02):
            connection.sendall(b"y")

    with serving(dribble) as url:
        try:
            with pytest.raises(HttpError, match="no answer within"):
                get(url, "/", key=KEY, timeout=0.3)
        finally:
            release.set()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert LlamaServerClient().health(Endpoint(url, Secret(KEY))) is Health.UNREACHABLE


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1:1", "http://127.0.0.1", "http://:80", "http://h:0", "h:80", "http://h:x"],
)
def test_what_is_no_endpoint(url: str) -> None:
    with pytest.raises(HttpError):
        parse_url(url)


@pytest.mark.parametrize(
    ("status", "health"), [(200, Health.OK), (503, Health.LOADING), (401, Health.REFUSED)]
)
def test_health_by_status(status: int, health: Health) -> None:
    with serving(sending(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as url:
        assert LlamaServerClient().health(Endpoint(url, Secret(KEY))) is health


def test_a_failed_reading_is_none_and_named() -> None:
    with serving(sending(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")) as url:
        load = LlamaServerClient().load(Endpoint(url, Secret(KEY)))
    assert (load.processing, load.deferred, load.slots, load.tokens_total) == (None,) * 4
    assert "/metrics: answered 500" in load.error
    assert "/slots: answered 500" in load.error


@given(st.binary(max_size=300))
def test_metrics_never_raise_and_never_lie(text: bytes) -> None:
    assert all(value >= 0 for value in parse_metrics(text).values())


@pytest.mark.parametrize("value", [b"nan", b"inf", b"-1", b"1e400", b"", b"x"])
def test_a_metric_that_makes_no_sense_is_no_reading(value: bytes) -> None:
    assert parse_metrics(b"llamacpp:requests_processing " + value) == {}


def test_slots() -> None:
    assert parse_slots([{"is_processing": True}, {"is_processing": False}]) == Slots(1, 2)
    wrongs: list[object] = [[], {}, None, [1], [{"is_processing": 1}], [{}]]
    for wrong in wrongs:
        with pytest.raises(HttpError):
            parse_slots(wrong)


def stream(*events: bytes) -> bytes:
    body = b"".join(b"data: " + event + b"\n\n" for event in events)
    return ok(body)


def completed(answer: bytes) -> list[str | Completion]:
    with serving(sending(answer)) as url:
        endpoint = Endpoint(url, Secret(KEY))
        return list(LlamaServerClient().complete(endpoint, "hi", max_tokens=1, timeout=5))


def test_a_streamed_answer() -> None:
    pieces = completed(
        stream(
            b'{"choices":[{"delta":{"content":"a"}}]}',
            b'{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}',
            b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2},'
            b'"timings":{"prompt_ms":1.5,"predicted_ms":2.5,"cache_n":1}}',
            b"[DONE]",
        )
    )
    assert pieces == ["a", "b", Completion("ab", 3, 2, 0.004, 1, "stop")]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (stream(b'{"choices":[{"delta":{"content":"a"}}]}'), "ended before"),
        (stream(b"not json"), "not JSON"),
        (stream(b"[1]"), "not made of objects"),
        (stream(b'{"error":{"message":"slot lost"}}'), "slot lost"),
        (b'HTTP/1.1 400 X\r\nContent-Length: 29\r\n\r\n{"error":{"message":"too big"}', "HTTP 400"),
        (b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", "HTTP 401"),
        (b"garbage\r\n\r\n", "garbage"),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(answer: bytes, why: str) -> None:
    with pytest.raises(EngineFailed) as failed:
        completed(answer)
    assert why in failed.value.why
    assert KEY not in failed.value.why
