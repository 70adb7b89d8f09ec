"""The engine's bundle from the store, and files that changed since: those are not loaded."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from startup_parts import REQUEST, Node, StoreServer, node_in
from test_startup_store import ENVIRONMENT, FILES, directory, use, weights

SERVER = b"#!/bin/sh\necho llama\n"


def packed(server: str = "bin/llama-server") -> bytes:
    """A bundle: the server, a library and a link to it."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, data in ((server, SERVER), ("lib/libggml.so.1", b"\x7fELF" + os.urandom(9000))):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("lib/libggml.so")
        link.type, link.linkname = tarfile.SYMTYPE, "libggml.so.1"
        archive.addfile(link)
    return subprocess.run(
        ["zstd", "-q"], input=tar.getvalue(), capture_output=True, check=True
    ).stdout


@pytest.fixture
def store() -> Iterator[StoreServer]:
    one = StoreServer()
    yield one
    one.close()


@pytest.fixture
def node(tmp_path: Path, store: StoreServer) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        use(made, store, store.add("model@1", FILES))
        use_bundle(made, store, packed())
        made.stub("nvidia-smi", "exit 0")
        yield made


def use_bundle(node: Node, store: StoreServer, bundle: bytes) -> None:
    """The node's engine is this bundle."""
    provided = store.add("llama@1", {"llama.tar.zst": bundle})
    node.configure(node.values._replace(bundle_set=provided, bundle_url="", bundle_sha256=""))


def engine(node: Node) -> str:
    return node.step("engine", **ENVIRONMENT)


def engine_directory(node: Node) -> Path:
    provided = node.values.bundle_set
    assert provided is not None
    return node.root / f"opt/yoyo/engine/bundle-{provided.files[0][2][:16]}"


def test_the_bundle_becomes_the_current_engine_and_stays(node: Node, store: StoreServer) -> None:
    assert engine(node) == "done 100 llama@1 from the store", node.log("engine")
    current = node.root / "opt/yoyo/engine/current"
    assert current.resolve() == engine_directory(node)
    assert (current / "bin/llama-server").read_bytes() == SERVER
    assert (current / "lib/libggml.so").readlink() == Path("libggml.so.1")
    assert not list((node.root / "var/lib/yoyo/bundles").iterdir())
    store.requests.clear()
    assert engine(node) == "skipped 100 llama@1 is there"
    assert store.requests == []


def test_a_bundle_laid_out_otherwise_is_not_installed(node: Node, store: StoreServer) -> None:
    use_bundle(node, store, packed("llama-server"))
    assert "the engine has no bin/llama-server" in engine(node)
    assert not (node.root / "opt/yoyo/engine/current").exists()


def test_a_bundle_that_is_no_archive(node: Node, store: StoreServer) -> None:
    use_bundle(node, store, b"neither tar nor zstd")
    assert "the engine bundle cannot be unpacked" in engine(node)


def change_library(home: Path) -> None:
    (home / "lib/libggml.so.1").write_bytes(b"\x7fELF, another")


def add_library(home: Path) -> None:
    (home / "lib/libevil.so").write_bytes(b"\x7fELF")


def turn_link(home: Path) -> None:
    (home / "lib/libggml.so").unlink()
    (home / "lib/libggml.so").symlink_to("/tmp/else.so")


def lose_record(home: Path) -> None:
    Path(f"{home}.digests").unlink()


@pytest.mark.parametrize("change", [change_library, add_library, turn_link, lose_record])
def test_a_changed_engine_is_fetched_again(node: Node, store: StoreServer, change: object) -> None:
    engine(node)
    assert callable(change)
    change(engine_directory(node))
    store.requests.clear()
    assert engine(node) == "done 100 llama@1 from the store"
    assert len(store.asked()) == 1
    assert not (engine_directory(node) / "lib/libevil.so").exists()
    assert engine(node).startswith("skipped")


def prepared(node: Node) -> Path:
    """All that the engine's start needs, as after a first boot; what runs before it."""
    lib = node.root / "usr/local/lib/yoyo"
    assert weights(node).startswith("done")
    assert engine(node).startswith("done")
    node.bash("announce_boot; ensure_certificate; install_guard_scripts; install_engine_unit")
    (lib / "fetch-key").write_text("#!/bin/sh\n")
    (lib / "fetch-key").chmod(0o755)
    (node.root / "etc/yoyo/engine.key").write_text("k" * 64 + "\n")
    return lib / "prepare-engine"


def test_the_engine_is_given_the_first_file_of_the_set(node: Node) -> None:
    prepared(node)
    server = engine_directory(node) / "bin/llama-server"
    server.write_text('#!/bin/sh\nprintf "%s" "$2"\n')
    told = node.run(str(node.root / "usr/local/lib/yoyo/run-engine"))
    assert told.stdout == str(directory(node) / "q4/it's-00001-of-00002.gguf")


def test_what_is_unchanged_is_not_read_before_the_engine_starts(node: Node) -> None:
    prepare = prepared(node)
    node.stub("dd", 'echo "$*" >>"$YOYO_ROOT/dd.calls"; exit 9')
    done = node.run(str(prepare), **ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert not (node.root / "dd.calls").exists()


def test_what_was_only_touched_is_read_once_and_loaded(node: Node) -> None:
    prepare = prepared(node)
    for file in directory(node).rglob("*.gguf"):
        file.touch()
    (engine_directory(node) / "lib/libggml.so.1").touch()
    assert node.run(str(prepare), **ENVIRONMENT).returncode == 0
    node.stub("dd", "exit 9")
    assert node.run(str(prepare), **ENVIRONMENT).returncode == 0


def flip_byte(node: Node) -> None:
    file = directory(node) / "q4/it's-00002-of-00002.gguf"
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(77)
        opened.write(bytes([FILES["q4/it's-00002-of-00002.gguf"][77] ^ 1]))
    # As someone would who wants it not to be seen.
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(node: Node) -> None:
    os.truncate(directory(node) / "q4/it's-00001-of-00002.gguf", 1000)


def remove(node: Node) -> None:
    (directory(node) / "tokenizer.json").unlink()


def replace_by_link(node: Node) -> None:
    file = directory(node) / "tokenizer.json"
    other = file.with_name("other")
    file.rename(other)
    file.symlink_to(other)


def damage_manifest(node: Node) -> None:
    Path(f"{directory(node)}.state/manifest.json").write_text("{}")
    (directory(node) / "tokenizer.json").touch()


@pytest.mark.parametrize("change", [flip_byte, cut, remove, replace_by_link, damage_manifest])
def test_changed_weights_are_not_loaded_and_mended_by_the_next_run(
    node: Node, store: StoreServer, change: object
) -> None:
    prepare = prepared(node)
    assert callable(change)
    change(node)
    done = node.run(str(prepare), **ENVIRONMENT)
    assert done.returncode == 1
    assert "the engine is not started: the weights model@1 were changed" in node.serial
    told = node.metadata.published
    assert told["request"] == REQUEST
    assert told["step-unit"].startswith("failed 0 0 the weights model@1 were changed")
    store.requests.clear()
    report = weights(node)
    assert report.startswith("done 100" if change is not damage_manifest else "skipped 100")
    assert len(store.requests) <= 4
    assert node.run(str(prepare), **ENVIRONMENT).returncode == 0


def test_a_changed_engine_is_not_started(node: Node) -> None:
    prepare = prepared(node)
    change_library(engine_directory(node))
    assert node.run(str(prepare), **ENVIRONMENT).returncode == 1
    assert "the engine llama@1 was changed on the disk" in node.metadata.published["step-unit"]
    assert engine(node).startswith("done")
    assert node.run(str(prepare), **ENVIRONMENT).returncode == 0
