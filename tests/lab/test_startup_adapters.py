"""A node's adapters from the store: fetched beside the weights, checked, given to the engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from startup_parts import REQUEST, Node, StoreServer, node_in
from test_startup_store import ENVIRONMENT, FILES, use, weights

from yoyo.model.settings import Provided

STYLE, LEGAL = "dka-style@1.2.0", "acme-legal@0.3.0+b1"
BYTES = {STYLE: os.urandom(2 * StoreServer.CHUNK + 7), LEGAL: os.urandom(50_000)}


@pytest.fixture
def store() -> Iterator[StoreServer]:
    one = StoreServer()
    yield one
    one.close()


@pytest.fixture
def node(tmp_path: Path, store: StoreServer) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        use(made, store, store.add("model@1", FILES))
        adapters(made, store, STYLE, LEGAL)
        yield made


def adapters(node: Node, store: StoreServer, *names: str) -> None:
    """The node's settings name these."""
    sets = tuple(store.add(name, {f"{name}.gguf": BYTES[name]}) for name in names)
    node.configure(node.values._replace(adapters=sets))


def place(node: Node, adapter: Provided) -> Path:
    return node.root / "var/lib/yoyo/adapters" / adapter.manifest / adapter.files[0][0]


def prepared(node: Node) -> Path:
    """All that the engine's start needs, as after a first boot; what runs before it."""
    lib = node.root / "usr/local/lib/yoyo"
    assert weights(node).startswith("done"), node.log("weights")
    node.bash("announce_boot; ensure_certificate; install_guard_scripts; install_engine_unit")
    (lib / "fetch-key").write_text("#!/bin/sh\n")
    (lib / "fetch-key").chmod(0o755)
    (node.root / "etc/yoyo/engine.key").write_text("k" * 64 + "\n")
    return lib / "prepare-engine"


def test_they_come_after_the_weights_and_are_not_fetched_again(
    node: Node, store: StoreServer
) -> None:
    assert weights(node) == (
        f"done 100 model@1, 0.0 GB from the store; adapters from the store: {STYLE} {LEGAL}"
    )
    for adapter in node.values.adapters:
        assert place(node, adapter).read_bytes() == BYTES[adapter.name]
    store.requests.clear()
    assert weights(node) == (
        f"skipped 100 model@1, 0.0 GB, checked before; adapters checked before: {STYLE} {LEGAL}"
    )
    assert store.requests == []


def test_a_new_one_alone_is_fetched_and_restarts_the_engine(node: Node, store: StoreServer) -> None:
    adapters(node, store, STYLE)
    weights(node)
    changed = node.root / "run/yoyo/engine-changed"
    changed.unlink()
    weights(node)
    assert not changed.exists()
    adapters(node, store, STYLE, LEGAL)
    store.requests.clear()
    assert weights(node) == (
        f"done 100 model@1, 0.0 GB, checked before; adapters from the store: {LEGAL};"
        f" adapters checked before: {STYLE}"
    )
    assert len(store.asked()) == 1
    assert changed.exists()


def test_the_engine_gets_them_in_order_and_none_applied(node: Node) -> None:
    prepared(node)
    server = node.root / "opt/yoyo/engine/current/bin/llama-server"
    server.parent.mkdir(parents=True)
    server.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$LLAMA_ARG_CACHE_RAM$LLAMA_ARG_CACHE_PROMPT" "$@"\n'
    )
    server.chmod(0o755)
    told = node.run(str(node.root / "usr/local/lib/yoyo/run-engine")).stdout.splitlines()
    first, second = (str(place(node, adapter)) for adapter in node.values.adapters)
    assert told[0] == "00"
    assert told[-5:] == ["--lora", first, "--lora", second, "--lora-init-without-apply"]
    assert Path(first).name == f"{STYLE}.gguf"


def test_an_engine_without_adapters_is_told_nothing_of_them(node: Node, store: StoreServer) -> None:
    adapters(node, store)
    prepared(node)
    assert "adapter" not in node.metadata.published["step-weights"]
    assert "lora" not in (node.root / "usr/local/lib/yoyo/run-engine").read_text()


def flip_byte(file: Path) -> None:
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(77)
        byte = opened.read(1)[0]
        opened.seek(77)
        opened.write(bytes([byte ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def link_away(file: Path) -> None:
    other = file.with_name("other")
    file.rename(other)
    file.symlink_to(other)


@pytest.mark.parametrize("change", [flip_byte, Path.unlink, link_away])
@pytest.mark.parametrize("which", [0, 1])
def test_a_changed_one_is_not_loaded_and_mended_by_the_next_run(
    node: Node, store: StoreServer, change: object, which: int
) -> None:
    prepare = prepared(node)
    assert node.run(str(prepare), **ENVIRONMENT).returncode == 0
    adapter = node.values.adapters[which]
    assert callable(change)
    change(place(node, adapter))
    assert node.run(str(prepare), **ENVIRONMENT).returncode == 1
    told = node.metadata.published
    assert told["request"] == REQUEST
    assert told["step-unit"].startswith(f"failed 0 0 the adapter {adapter.name} was changed")
    store.requests.clear()
    assert weights(node).startswith("done 100")
    assert store.asked()
    assert place(node, adapter).read_bytes() == BYTES[adapter.name]
    assert node.run(str(prepare), **ENVIRONMENT).returncode == 0


def test_one_that_was_swapped_in_the_store_never_comes_under_its_name(
    node: Node, store: StoreServer
) -> None:
    key = next(key for key, data in store.objects.items() if data == BYTES[LEGAL])
    store.objects[key] = bytes(len(BYTES[LEGAL]))
    told = weights(node)
    assert told.startswith("failed 0 chunk 0 of ")
    assert LEGAL in told
    assert not place(node, node.values.adapters[1]).exists()


def test_those_of_before_go_once_the_new_ones_answer(node: Node, store: StoreServer) -> None:
    weights(node)
    before, kept = node.values.adapters
    adapters(node, store, LEGAL)
    weights(node)
    assert place(node, before).exists()
    node.bash("engine_get() { echo 200; }; run_step health")
    assert node.metadata.published["step-health"].startswith("done")
    left = {path.name for path in (node.root / "var/lib/yoyo/adapters").iterdir()}
    assert left == {kept.manifest, f"{kept.manifest}.state"}


def test_adapters_from_the_store_beside_weights_from_elsewhere(
    node: Node, store: StoreServer
) -> None:
    node.configure(node.values._replace(weights_set=None))
    # The mirrors have tests of their own.
    mirror = 'weights_from_mirrors() { note "5 GB from a mirror"; }'
    node.bash(f"{mirror}; run_step weights", **ENVIRONMENT)
    told = node.metadata.published["step-weights"]
    assert told.startswith("done 100")
    assert f"5 GB from a mirror; adapters from the store: {STYLE} {LEGAL}" in told
