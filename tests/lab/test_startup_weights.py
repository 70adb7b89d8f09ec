"""The step weights: hosts that cut off, move, damage and lie, disks that are too small."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from sample_startup import CPU
from startup_parts import Node, Server, node_in, reply

ENGINE = f"{CPU.engine_commit}-cpu"


def gguf(architecture: str = "qwen3", size: int = 3_000_000) -> bytes:
    """A header with one key, and then noise: several ranges' worth."""
    key, value = b"general.architecture", architecture.encode()
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    header += struct.pack("<Q", len(key)) + key + struct.pack("<I", 8)
    header += struct.pack("<Q", len(value)) + value
    return header + os.urandom(size - len(header))


MODEL = gguf()
SHA256 = hashlib.sha256(MODEL).hexdigest()


class Host:
    """A model host: serves ranges; can cut every answer short after some bytes."""

    def __init__(self, body: bytes = MODEL, *, status: int = 0, cut: int = 0) -> None:
        self.body, self.status, self.cut = body, status, cut
        self.ranges: list[str] = []
        self.authorizations: list[str | None] = []
        self.server = Server(self._answer)
        self.url = f"{self.server.url}/model.gguf"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range") or ""
        self.ranges.append(wanted)
        self.authorizations.append(handler.headers.get("Authorization"))
        if self.status:
            reply(handler, self.status, b"<html>gone</html>")
            return
        first, last = 0, len(self.body) - 1
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", wanted):
            first = int(match[1])
            last = min(last, int(match[2] or last))
        piece = self.body[first : last + 1]
        handler.send_response(206 if match else 200)
        handler.send_header("Content-Length", str(len(piece)))
        if match:
            handler.send_header("Content-Range", f"bytes {first}-{last}/{len(self.body)}")
        handler.end_headers()
        cut = self.cut and len(piece) > 65_536
        handler.wfile.write(piece[: self.cut] if cut else piece)
        handler.close_connection = True


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        engine = made.root / f"opt/yoyo/engine/{ENGINE}/bin/llama-server"
        engine.parent.mkdir(parents=True)
        engine.write_bytes(b"\x7fELF\0llama\0nomic-bert\0xqwen3\0qwen2moe\0")
        engine.chmod(0o755)
        yield made


def configured(node: Node, *urls: str, sha256: str = SHA256) -> Path:
    """The node with these mirrors; returns where the model goes."""
    node.configure(CPU._replace(weights_urls=urls, weights_sha256=sha256, weights_bytes=0))
    return node.root / f"var/lib/yoyo/models/{sha256}.gguf"


@pytest.fixture
def host() -> Iterator[Host]:
    one = Host()
    yield one
    one.server.close()


def test_fetched_in_segments_checked_and_not_fetched_again(node: Node, host: Host) -> None:
    model = configured(node, host.url)
    assert node.step("weights").startswith("done 100 0.0 GB from 127.0.0.1:")
    assert model.read_bytes() == MODEL
    assert {path.name for path in model.parent.iterdir()} == {model.name, model.name + ".sha256"}
    segments = {part for part in host.ranges if part}
    assert len(segments) > 1
    host.ranges.clear()
    assert node.step("weights").startswith("skipped 100")
    assert host.ranges == []


def test_a_file_without_its_marker_is_not_taken_for_whole(node: Node, host: Host) -> None:
    model = configured(node, host.url)
    model.write_bytes(MODEL[:1000])
    assert node.step("weights").startswith("done 100")
    assert model.read_bytes() == MODEL


def test_a_host_that_cuts_off_is_resumed(node: Node, host: Host) -> None:
    host.cut = 700_000
    model = configured(node, host.url)
    assert node.step("weights").startswith("done 100")
    assert model.read_bytes() == MODEL


def test_what_an_earlier_boot_fetched_is_kept(node: Node, host: Host) -> None:
    model = configured(node, host.url)
    Path(f"{model}.part").write_bytes(MODEL[:2_900_000])
    assert node.step("weights").startswith("done 100")
    # The first request is the look at the header, the second asks for the size alone (and is
    # broken off); aria2 counts in pieces of 16 KiB.
    resumed = [part for part in host.ranges[1:] if part]
    assert [part.removeprefix("bytes=").split("-")[0] for part in resumed] == [
        str(2_900_000 // 16_384 * 16_384)
    ]
    assert model.read_bytes() == MODEL


def test_a_moved_model_is_taken_from_the_next_mirror(node: Node, host: Host) -> None:
    moved = Host(status=404)
    model = configured(node, moved.url, host.url)
    assert node.step("weights").startswith("done 100")
    moved.server.close()
    assert model.read_bytes() == MODEL


def test_a_model_that_is_nowhere_names_each_mirror(node: Node) -> None:
    moved, refused = Host(status=404), Host(status=403)
    configured(node, moved.url, refused.url)
    told = node.step("weights")
    moved.server.close()
    refused.server.close()
    assert told.startswith(f"failed 0 no mirror gave the weights {SHA256[:12]}")
    assert "not there (404): moved or renamed" in told
    assert "refused (403)" in told
    assert "fix: check engine.model" in told


def test_a_wrong_checksum_leaves_nothing_behind(node: Node, host: Host) -> None:
    damaged = Host(MODEL[:-1] + bytes([MODEL[-1] ^ 1]))
    model = configured(node, damaged.url)
    assert "wrong sha256" in node.step("weights")
    assert list(model.parent.iterdir()) == []
    model = configured(node, damaged.url, host.url)
    assert node.step("weights").startswith("done 100")
    damaged.server.close()
    assert model.read_bytes() == MODEL


def test_a_login_page_is_no_model(node: Node) -> None:
    page = Host(b"<html>please log in</html>")
    configured(node, page.url)
    assert "what is there is no GGUF file" in node.step("weights")
    page.server.close()


def test_a_disk_that_is_too_small_is_told_before_the_fetch(node: Node, host: Host) -> None:
    node.stub("df", "printf 'Avail\\n1000000\\n'")
    configured(node, host.url)
    told = node.step("weights")
    assert told.startswith("failed 0 the disk is too small for the weights: 0.3 GB more")
    assert host.ranges == ["bytes=0-65535"]


@pytest.mark.parametrize("architecture", ["qwen2", "gemma9", "llama4.x"])
def test_an_engine_too_old_is_told_before_the_fetch(node: Node, architecture: str) -> None:
    newer = Host(gguf(architecture))
    configured(node, newer.url, sha256=hashlib.sha256(newer.body).hexdigest())
    told = node.step("weights")
    newer.server.close()
    assert told.startswith(
        f"failed 0 the engine does not know the model's architecture {architecture}"
    )
    assert newer.ranges == ["bytes=0-65535"]


def test_names_that_the_linker_merged_are_known(node: Node) -> None:
    bert = Host(gguf("bert"))
    configured(node, bert.url, sha256=hashlib.sha256(bert.body).hexdigest())
    assert node.step("weights").startswith("done 100")
    bert.server.close()


def test_the_check_waits_for_the_source_of_an_engine_that_is_being_built(
    node: Node, host: Host
) -> None:
    (node.root / f"opt/yoyo/engine/{ENGINE}").rename(node.root / "elsewhere")
    configured(node, host.url)
    running = threading.Thread(target=node.step, args=("weights",))
    running.start()
    node.metadata.wait_for("step-weights", "running")
    source = node.root / "var/lib/yoyo/src/llama.cpp/src"
    source.mkdir(parents=True)
    (source / "llama-arch.cpp").write_text('{ LLM_ARCH_QWEN2, "qwen2" },\n')
    (node.root / "run/yoyo/engine-source").touch()
    assert "does not know" in node.metadata.wait_for("step-weights", "failed")
    running.join()


def test_weights_in_a_bucket_are_asked_for_with_a_token_outside_argv(
    node: Node, host: Host
) -> None:
    model = configured(node, "gs://weights/model.gguf")
    for tool in ("curl", "aria2c"):
        node.stub(
            tool,
            f'echo "$*" >>"$YOYO_ROOT/argv"\nPATH=${{PATH#*:}} exec {tool} "$@"',
        )
    assert node.step("weights", YOYO_STORAGE=host.server.url).startswith("done 100")
    assert set(host.authorizations) == {"Bearer the-token"}
    assert "the-token" not in (node.root / "argv").read_text()
    assert model.read_bytes() == MODEL
    assert not list((node.root / "run/yoyo").glob("*.request"))
