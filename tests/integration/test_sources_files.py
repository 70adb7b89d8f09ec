"""Sources on this machine: files, folders, links, and text that is the source itself."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from sources_parts import DATA, DIGEST, refused, sources

from yoyo.errors import SourceFailed


def test_a_local_file(tmp_path: Path) -> None:
    path = tmp_path / "a model.gguf"
    path.write_bytes(DATA)
    resolved = sources().resolve(f"file://{path}", sha256=DIGEST)
    (file,) = resolved.files
    assert (file.path, file.size, file.sha256, file.local) == (
        "a model.gguf",
        len(DATA),
        DIGEST,
        path,
    )
    assert sources().read(file, 10, 20) == DATA[10:30]
    assert sources().read(file, len(DATA) - 1, 20) == DATA[-1:]
    assert sources().resolve(f"file://{str(path).replace(' ', '%20')}").files[0].local == path


def test_a_local_folder_is_a_set(tmp_path: Path) -> None:
    for name in ("m.safetensors", "config.json", "notes.txt", ".hidden.json"):
        (tmp_path / name).write_bytes(b"{}")
    (tmp_path / "below").mkdir()
    resolved = sources().resolve(f"file://{tmp_path}")
    assert [file.path for file in resolved.files] == ["config.json", "m.safetensors"]


def test_local_shards_are_one_set(tmp_path: Path) -> None:
    for n in (1, 2):
        (tmp_path / f"b-{n:05}-of-00002.gguf").write_bytes(DATA)
    first = f"file://{tmp_path}/b-00001-of-00002.gguf"
    assert len(sources().resolve(first).files) == 2
    assert len(sources().resolve(f"file://{tmp_path}").files) == 2
    refused(first, sha256=DIGEST)
    (tmp_path / "b-00002-of-00002.gguf").unlink()
    assert "lacks 1 of 2" in refused(first).what
    assert "lacks 1 of 2" in refused(f"file://{tmp_path}").what


def test_any_local_folder_can_be_a_set(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"x")
    assert [file.path for file in sources().resolve(f"file://{tmp_path}").files] == ["data.bin"]


def test_the_hubs_own_cache_can_be_named(tmp_path: Path) -> None:
    repo = tmp_path / "models--acme--tiny"
    snapshot = repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "blobs" / DIGEST).write_bytes(DATA)
    (snapshot / "tiny.gguf").symlink_to(f"../../blobs/{DIGEST}")
    (file,) = sources().resolve(f"file://{snapshot}").files
    assert (file.path, file.size) == ("tiny.gguf", len(DATA))
    assert file.local == repo / "blobs" / DIGEST
    (tmp_path / "passwd").write_text("secret")
    (snapshot / "tiny.gguf").unlink()
    (snapshot / "tiny.gguf").symlink_to("../../../passwd")
    assert "leads out" in refused(f"file://{snapshot}").what


def test_links_out_of_a_folder_and_things_that_are_no_files_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "m.gguf").symlink_to("../outside")
    assert "leads out" in refused(f"file://{folder}").what
    (folder / "m.gguf").unlink()
    os.mkfifo(folder / "m.gguf")
    assert "not a regular file" in refused(f"file://{folder}").what
    assert "not a regular file" in refused(f"file://{folder}/m.gguf").what
    assert "not a regular file" in refused("file:///dev/null").what
    assert "could not be read" in refused(f"file://{folder}/none.gguf").what
    assert "upwards" in refused(f"file://{folder}/../outside").what
    refused("file://host/etc/passwd")
    refused("file://relative")


def test_a_local_file_that_was_exchanged_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(DATA)
    (file,) = sources().resolve(f"file://{path}").files
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(SourceFailed):
        sources().read(file, 0, 10)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceFailed):
        sources().read(file, 0, 10)


def test_inline_text() -> None:
    resolved = sources().resolve('inline:{"a": "ü"}\n')
    (file,) = resolved.files
    assert file.data == '{"a": "ü"}\n'.encode()
    assert file.sha256 == hashlib.sha256(file.data).hexdigest()
    assert resolved.url == "inline:"
    assert sources().resolve("inline:" + "x" * (1 << 20)).files[0].size == 1 << 20
    refused("inline:" + "x" * ((1 << 20) + 1))
    refused("inline:")
    refused("inline:a", sha256=DIGEST)
