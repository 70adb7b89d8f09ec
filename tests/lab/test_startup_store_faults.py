"""The node's sets from a store that refuses, cuts off, stalls and lies; kills and full disks."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from startup_parts import Node, StoreServer, node_in, reply
from test_startup_store import ENVIRONMENT, FETCHED_CHUNKS, FILES, directory, there, use, weights

CHUNK = StoreServer.CHUNK
Fault = Callable[[BaseHTTPRequestHandler, str, int, int], bool]
SHARD = FILES["q4/it's-00001-of-00002.gguf"]


@pytest.fixture
def store() -> Iterator[StoreServer]:
    one = StoreServer()
    yield one
    one.close()


@pytest.fixture
def node(tmp_path: Path, store: StoreServer) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        use(made, store, store.add("model@1", FILES))
        yield made


def times(count: int, fault: Fault, part: str = "artefacts/") -> Fault:
    """The fault for the first requests of such objects, and none after."""
    left = [count]
    lock = threading.Lock()

    def limited(handler: BaseHTTPRequestHandler, key: str, first: int, end: int) -> bool:
        if part not in key:
            return False
        with lock:
            left[0] -= 1
            if left[0] < 0:
                return False
        return fault(handler, key, first, end)

    return limited


def answering(code: int, **headers: str) -> Fault:
    """That status, and a page."""

    def answer(handler: BaseHTTPRequestHandler, key: str, first: int, end: int) -> bool:
        reply(handler, code, b"<html>no</html>", **headers)
        return True

    return answer


def begin(handler: BaseHTTPRequestHandler, first: int, end: int, size: int) -> None:
    """The head of a right answer."""
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
    handler.send_header("Content-Length", str(end - first))
    handler.end_headers()


def swapped(store: StoreServer, at: int, other: int) -> None:
    """The shard's object with two chunks in each other's place."""
    (key,) = (key for key, data in store.objects.items() if data == SHARD)
    data = bytearray(SHARD)
    one, two = slice(at * CHUNK, (at + 1) * CHUNK), slice(other * CHUNK, (other + 1) * CHUNK)
    data[one], data[two] = data[two], data[one]
    store.objects[key] = bytes(data)


# what passes


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_store_that_is_busy_is_asked_again(node: Node, store: StoreServer, code: int) -> None:
    store.fault = times(4, answering(code))
    assert weights(node).startswith("done 100")
    assert there(node) == FILES
    assert len(store.asked()) == FETCHED_CHUNKS + 4


def test_a_busy_store_says_for_how_long(node: Node, store: StoreServer) -> None:
    store.fault = times(1, answering(429, Retry_After="1"))
    assert weights(node).startswith("done 100")
    assert "again in 1" in node.log("weights")
    assert "too many requests (429)" in node.log("weights")


def test_streams_that_are_cut_go_on_where_they_were(node: Node, store: StoreServer) -> None:
    def cut(handler: BaseHTTPRequestHandler, key: str, first: int, end: int) -> bool:
        body = store.objects[key]
        begin(handler, first, end, len(body))
        handler.wfile.write(body[first : first + (end - first) // 2])
        handler.wfile.flush()
        handler.close_connection = True
        return True

    store.fault = times(5, cut)
    assert weights(node).startswith("done 100")
    assert there(node) == FILES
    sent = [request for request in store.asked() if request[1] % CHUNK]
    assert len(sent) >= 4  # the second halves, not the whole chunks


def test_connections_that_are_reset_are_made_again(node: Node, store: StoreServer) -> None:
    def reset(handler: BaseHTTPRequestHandler, key: str, first: int, end: int) -> bool:
        begin(handler, first, end, len(store.objects[key]))
        handler.wfile.write(store.objects[key][first : first + 1])
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.close_connection = True
        return True

    store.fault = times(6, reset)
    assert weights(node).startswith("done 100")
    assert there(node) == FILES


def test_a_stalled_connection_is_given_up_by_the_watchdog(node: Node, store: StoreServer) -> None:
    release = threading.Event()

    def stall(handler: BaseHTTPRequestHandler, key: str, first: int, end: int) -> bool:
        begin(handler, first, end, len(store.objects[key]))
        handler.wfile.write(store.objects[key][first : first + 1000])
        handler.wfile.flush()
        release.wait(60)
        handler.close_connection = True
        return True

    store.fault = times(1, stall, "artefacts/")
    try:
        assert weights(node).startswith("done 100")
    finally:
        release.set()
    assert "nothing came for 1 s" in node.log("weights")
    assert there(node) == FILES


def test_a_refused_token_is_replaced_once(node: Node, store: StoreServer) -> None:
    def revoke(handler: BaseHTTPRequestHandler, key: str, first: int, end: int) -> bool:
        store.tokens = {"another"}
        node.metadata.token = "another"
        return False

    store.fault = times(1, revoke)
    assert weights(node).startswith("done 100")
    assert there(node) == FILES
    assert node.metadata.tokens_given == 2


@pytest.mark.parametrize("flips", [1, 2])
def test_a_chunk_that_came_wrong_is_fetched_again(
    node: Node, store: StoreServer, flips: int
) -> None:
    def flip(handler: BaseHTTPRequestHandler, key: str, first: int, end: int) -> bool:
        body = store.objects[key]
        begin(handler, first, end, len(body))
        handler.wfile.write(bytes([body[first] ^ 1]) + body[first + 1 : end])
        return True

    store.fault = times(flips, flip)
    assert weights(node).startswith("done 100")
    assert there(node) == FILES
    assert len(store.asked()) == FETCHED_CHUNKS + flips


def test_more_bytes_than_asked_for_do_not_reach_the_next_chunk(
    node: Node, store: StoreServer
) -> None:
    def long(handler: BaseHTTPRequestHandler, key: str, first: int, end: int) -> bool:
        body = store.objects[key]
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(body)}")
        handler.end_headers()
        with suppress(OSError):
            handler.wfile.write(body[first:end] + b"too much" * 200_000)
        handler.close_connection = True
        return True

    store.fault = times(100, long)
    assert weights(node).startswith("done 100"), node.log("weights")
    assert there(node) == FILES


# what fails, and what it says


@pytest.mark.parametrize(
    ("fault", "says", "remedy"),
    [
        (answering(403), "refuses", "roles/storage.objectViewer"),
        (answering(404), "of model@1 is not in the store (404)", "yoyo weights verify"),
        (answering(401), "refuses the machine's token (401)", "service account"),
        (answering(503), "it answers 503, 8 times in a row", "run yoyo up again"),
        (answering(302, Location="http://127.0.0.1:9/"), "answers 302", "check store"),
        (answering(416), "is shorter in the store", "stage it again"),
    ],
)
def test_a_store_that_keeps_refusing(
    node: Node, store: StoreServer, fault: Fault, says: str, remedy: str
) -> None:
    store.fault = times(1000, fault)
    told = weights(node)
    assert told.startswith("failed 0 ")
    assert says in told
    assert remedy in told
    assert "the-token" not in node.serial + node.log("weights")
    assert there(node) == {}
    store.fault = lambda *_: False
    assert weights(node).startswith("done 100")


def test_a_store_that_is_gone(node: Node, store: StoreServer) -> None:
    store.close()
    told = weights(node)
    assert "does not give model@1; why: no connection, 8 times in a row" in told


def test_a_missing_manifest_is_named(node: Node, store: StoreServer) -> None:
    store.fault = times(99, answering(404), "manifests/")
    assert "of model@1 is not in the store (404)" in weights(node)
    assert store.asked() == []


def test_without_a_service_account_there_is_no_token(node: Node, store: StoreServer) -> None:
    node.metadata.token = ""
    assert "no token for the store" in weights(node)
    assert store.requests == []


def test_a_tampered_manifest_is_not_read(node: Node, store: StoreServer) -> None:
    (key,) = (key for key in store.objects if key.startswith("manifests/"))
    store.objects[key] = store.objects[key].replace(b'"schema": 1', b'"schema": 2')
    told = weights(node)
    assert told.startswith("failed 0 the manifest of model@1 was changed in the store")
    assert key.removesuffix(".json")[-64:] in told
    assert store.asked() == []
    assert there(node) == {}


def test_a_manifest_of_other_files_is_no_help(node: Node, store: StoreServer) -> None:
    provided = store.add("model@1", FILES)
    path, size, _ = provided.files[0]
    for wrong in ((path, size, "00" * 32), (path, size + CHUNK, provided.files[0][2])):
        use(node, store, provided._replace(files=(wrong, *provided.files[1:])))
        assert "does not have the files that this node was made for" in weights(node)


@pytest.mark.parametrize("chunks", [(0, 2), (1, 2)])
def test_swapped_chunks_are_found_and_named(
    node: Node, store: StoreServer, chunks: tuple[int, int]
) -> None:
    swapped(store, *chunks)
    told = weights(node)
    assert "of q4/it's-00001-of-00002.gguf in model@1 is damaged" in told
    assert "the manifest says " in told
    assert "q4/it's-00001-of-00002.gguf" not in there(node)


def test_a_truncated_object_is_told_from_a_damaged_one(node: Node, store: StoreServer) -> None:
    (key,) = (key for key, data in store.objects.items() if data == SHARD)
    store.objects[key] = SHARD[: 2 * CHUNK]
    told = weights(node)
    assert "has another size in the store" in told or "is shorter in the store" in told
    assert there(node) == {}


def test_a_server_that_ignores_ranges_writes_over_nothing(node: Node, store: StoreServer) -> None:
    def whole(handler: BaseHTTPRequestHandler, key: str, first: int, end: int) -> bool:
        with suppress(OSError):
            reply(handler, 200, store.objects[key])
        return True

    store.fault = times(1000, whole)
    assert "ignores ranges; why: it answers 200" in weights(node)
    store.fault = lambda *_: False
    assert weights(node).startswith("done 100")
    assert there(node) == FILES


@pytest.fixture
def small_disk(node: Node) -> Iterator[Callable[[int], None]]:
    """Puts the models on a disk of so many bytes."""
    mounted = []

    def mount(size: int) -> None:
        place = node.root / "var/lib/yoyo/models"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"this test needs root: {done.stderr}"
        mounted.append(place)

    yield mount
    for place in mounted:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("percent", [10, 50, 99])
def test_a_disk_that_fills_up_is_told_and_what_came_is_kept(
    node: Node, store: StoreServer, small_disk: Callable[[int], None], percent: int
) -> None:
    total = sum(map(len, FILES.values()))
    small_disk(total * percent // 100)
    node.stub("df", "printf 'Avail\\n99000000000\\n'")  # something else fills it meanwhile
    assert "the disk ran full while model@1 was fetched" in weights(node)
    place = node.root / "var/lib/yoyo/models"
    subprocess.run(["mount", "-o", "remount,size=64M", place], check=True)
    kept = fetched_before(node)
    store.requests.clear()
    assert weights(node).startswith("done 100")
    assert there(node) == FILES
    assert not kept & {(first // CHUNK) for _, first, _ in of_shard(store)}


def of_shard(store: StoreServer) -> list[tuple[str, int, int]]:
    """The requests for the first shard."""
    (key,) = (key for key, data in store.objects.items() if data == SHARD)
    return store.asked(key)


def fetched_before(node: Node) -> set[int]:
    """The chunks of the first shard that are recorded as fetched."""
    record = Path(f"{directory(node)}.state/0.done")
    # A kill may cut the last line.
    lines = record.read_text().splitlines() if record.exists() else []
    return {int(line.split()[0]) for line in lines if len(line.split()[-1]) == 64}


def test_killed_at_random_moments_it_goes_on(node: Node, store: StoreServer) -> None:
    """Twenty kills: what is recorded is never fetched again, and the bytes are right at the end."""
    moments = random.Random(20)
    kept = 0
    for _ in range(20):
        before = fetched_before(node)
        if (directory(node) / "q4/it's-00001-of-00002.gguf").exists():
            before = {0, 1, 2, 3}
        store.requests.clear()
        with subprocess.Popen(
            ["bash", "-c", f"source {node.script}; prepare_directories; run_step weights"],
            env=node.environment(**ENVIRONMENT),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as running:
            with suppress(subprocess.TimeoutExpired):
                running.wait(moments.uniform(0.1, 0.8))
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
        again = {first // CHUNK for _, first, _ in of_shard(store)}
        assert not again & before
        kept += len(before)
        if moments.random() < 0.3:
            weights_gone(node)
    assert weights(node)[:4] in ("done", "skip")
    assert there(node) == FILES
    assert kept > 0


def weights_gone(node: Node) -> None:
    """Begin again, so that the kills meet every phase."""
    subprocess.run(["rm", "-rf", directory(node), f"{directory(node)}.state"], check=True)


def test_a_power_cut_that_loses_bytes_but_keeps_the_record(node: Node, store: StoreServer) -> None:
    """What is recorded as fetched is read again before it counts."""
    store.fault = times(1000, answering(404), key_of_last(store))
    assert weights(node).startswith("failed")
    assert fetched_before(node) == {0, 1, 2, 3}
    with Path(f"{directory(node)}.state/0.part").open("r+b") as part:
        part.seek(2 * CHUNK)
        part.write(bytes(CHUNK))
    store.fault = lambda *_: False
    store.requests.clear()
    assert weights(node).startswith("done 100")
    assert [request[1] for request in of_shard(store)] == [2 * CHUNK]
    assert there(node) == FILES


def key_of_last(store: StoreServer) -> str:
    """The object that is fetched last."""
    (key,) = (key for key, data in store.objects.items() if data == FILES["tokenizer.json"])
    return key
