"""The node's sets from the store: fetched by chunks, checked, resumed, and not read twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sample_startup import CPU
from startup_parts import Node, StoreServer, node_in

from yoyo.core import manifest as manifests
from yoyo.core import store_keys
from yoyo.model.settings import Provided
from yoyo.model.store import Manifest, Source, StoredFile

CHUNK = StoreServer.CHUNK
FIRST = os.urandom(3 * CHUNK + 500_001)
FILES = {
    "q4/it's-00001-of-00002.gguf": FIRST,
    "q4/it's-00002-of-00002.gguf": os.urandom(CHUNK),
    "tokenizer.json": b"{}\n",
}
ENVIRONMENT = {"YOYO_CHUNK_BYTES": str(CHUNK), "YOYO_RETRY_MS": "10", "YOYO_STALL_S": "1"}
FETCHED_CHUNKS = 6


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


def use(node: Node, store: StoreServer, weights: Provided) -> None:
    """The node's settings name this set."""
    node.configure(
        CPU._replace(
            store_url="gs://bucket/team",
            storage=store.url,
            weights_urls=(),
            weights_sha256="",
            weights_set=weights,
        )
    )


def weights(node: Node) -> str:
    """The report of the step."""
    return node.step("weights", **ENVIRONMENT)


def directory(node: Node) -> Path:
    provided = node.values.weights_set
    assert provided is not None
    return node.root / "var/lib/yoyo/models" / provided.manifest


def there(node: Node) -> dict[str, bytes]:
    """The files of the set, by path."""
    base = directory(node)
    return {str(f.relative_to(base)): f.read_bytes() for f in base.rglob("*") if f.is_file()}


def test_every_file_arrives_by_chunks_and_is_not_fetched_again(
    node: Node, store: StoreServer
) -> None:
    assert weights(node) == "done 100 model@1, 0.0 GB from the store"
    assert there(node) == FILES
    assert len(store.asked()) == FETCHED_CHUNKS
    assert {path.suffix for path in Path(f"{directory(node)}.state").iterdir()} == {
        "", ".json", ".stamp",
    }  # fmt: skip
    store.requests.clear()
    assert weights(node) == "skipped 100 model@1, 0.0 GB, checked before"
    assert store.requests == []


def test_the_second_run_reads_no_weights(node: Node) -> None:
    weights(node)
    node.stub("openssl", 'echo "$*" >>"$YOYO_ROOT/openssl.calls"; exit 9')
    assert weights(node).startswith("skipped 100")
    assert not (node.root / "openssl.calls").exists()


def test_a_real_manifest_is_understood(node: Node, store: StoreServer) -> None:
    files = {"a/b.gguf": b"GGUF" * 1000, "empty": b"", "same": b"GGUF" * 1000}
    stored = tuple(
        StoredFile(path, len(data), digest, (digest,) if data else (), "application/octet-stream")
        for path, data in sorted(files.items())
        for digest in [hashlib.sha256(data).hexdigest()]
    )
    manifest = Manifest(
        kind="weights",
        name="small@1",
        files=stored,
        source=Source("file:///x", ""),
        licence="",
        created=datetime(2026, 11, 1, tzinfo=UTC),
        created_by="me",
    )
    document = manifests.encode(manifest)
    digest = hashlib.sha256(document).hexdigest()
    store.add("small@1", files)
    store.objects[store_keys.document(digest)] = document
    use(node, store, Provided("small@1", digest, tuple((f[0], f[1], f[2]) for f in stored)))
    assert weights(node).startswith("done 100"), node.log("weights")
    assert there(node) == files


def test_what_was_touched_is_read_again_but_not_fetched(node: Node, store: StoreServer) -> None:
    weights(node)
    (directory(node) / "tokenizer.json").touch()
    store.requests.clear()
    assert weights(node).startswith("skipped 100")
    assert store.requests == []
    # The new stamp holds.
    node.stub("openssl", "exit 9")
    assert weights(node).startswith("skipped 100")


def test_of_a_changed_file_only_the_wrong_chunk_is_fetched(node: Node, store: StoreServer) -> None:
    weights(node)
    with (directory(node) / "q4/it's-00001-of-00002.gguf").open("r+b") as file:
        file.seek(CHUNK + 5)
        file.write(b"other")
    store.requests.clear()
    assert weights(node).startswith("done 100")
    assert [request[1:] for request in store.requests] == [(CHUNK, 2 * CHUNK)]
    assert there(node) == FILES
    assert (node.root / "run/yoyo/engine-changed").exists()


@pytest.mark.parametrize("size", [0, CHUNK + 7, 5 * CHUNK])
def test_a_file_of_another_size_is_mended(node: Node, store: StoreServer, size: int) -> None:
    weights(node)
    os.truncate(directory(node) / "q4/it's-00001-of-00002.gguf", size)
    store.requests.clear()
    assert weights(node).startswith("done 100")
    assert len(store.requests) == max(0, 4 - size // CHUNK)
    assert there(node) == FILES


def test_a_link_in_the_place_of_a_file_is_not_followed(node: Node) -> None:
    weights(node)
    elsewhere = node.root / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    file = directory(node) / "tokenizer.json"
    file.unlink()
    file.symlink_to(elsewhere)
    assert weights(node).startswith("done 100")
    assert elsewhere.read_bytes() == b"not ours"
    assert there(node) == FILES


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "a/../../b", "a//b", "-rf", "a/./b", "a\nb", "..", ""],
)
def test_a_path_out_of_the_set_is_refused_before_anything_is_asked(
    node: Node, store: StoreServer, path: str
) -> None:
    use(node, store, store.add("hostile@1", {"fine": b"1", path: b"2"}))
    assert weights(node).startswith("failed 0 the set hostile@1 has a file that is not allowed")
    assert store.requests == []


def test_addresses_and_tokens_are_in_nobodys_arguments(node: Node, store: StoreServer) -> None:
    node.stub("curl", 'echo "$*" >>"$YOYO_ROOT/argv"; PATH=${PATH#*:} exec curl "$@"')
    assert weights(node).startswith("done 100")
    told = (node.root / "argv").read_text()
    assert "the-token" not in told
    assert store.url not in told
    assert (node.root / "run/yoyo/store.token").stat().st_mode & 0o777 == 0o600


def test_one_token_serves_all_until_its_end(node: Node) -> None:
    assert weights(node).startswith("done 100")
    assert node.metadata.tokens_given == 1
    node.metadata.token_life_s = 60  # over at once: a minute before its end it counts as old
    (node.root / "run/yoyo/store.token").unlink()
    (directory(node) / "tokenizer.json").unlink()
    Path(f"{directory(node)}.state/manifest.json").unlink()
    assert weights(node).startswith("done 100")
    assert node.metadata.tokens_given == 3


def test_a_disk_that_is_too_small_is_told_before_the_fetch(node: Node, store: StoreServer) -> None:
    node.stub("df", "printf 'Avail\\n1000000\\n'")
    told = weights(node)
    assert told.startswith("failed 0 the disk is too small for model@1: 0.3 GB more are needed")
    assert store.asked() == []


def test_with_all_from_the_store_few_packages_are_needed(node: Node, store: StoreServer) -> None:
    bundle = store.add("engine@1", {"bundle.tar.zst": b"x"})
    asked = 'command() { printf \'%s \' "${2}" >>"$YOYO_ROOT/asked"; }; missing_packages'
    node.configure(node.values._replace(bundle_set=bundle, bundle_url=""))
    assert node.bash(asked).stdout == ""
    assert (node.root / "asked").read_text().split() == ["curl", "openssl", "ps", "tar", "zstd"]
