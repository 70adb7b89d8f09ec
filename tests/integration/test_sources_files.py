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


def test_what_cannot_be_read_is_said_as_such(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "loop.gguf").symlink_to("loop.gguf")
    (tmp_path / "plain").write_bytes(b"x")
    for inside in ("loop", "loop/a.gguf", "folder", "plain/a.gguf", "a" * 300):
        assert "could not be read" in refused(f"file://{tmp_path}/{inside}").what
    assert "symbolic links" in refused(f"file://{tmp_path}/loop").why


def test_marks_of_an_address_are_no_part_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"another file")
    for mark, code in (("?", "%3F"), ("#", "%23")):
        named = tmp_path / f"a{mark}b%.gguf"
        named.write_bytes(DATA)
        error = refused(f"file://{named}")
        assert str(named) in error.what
        assert code in error.fix
        assert "not understood" in refused(f"file://{tmp_path}/a{mark}").what
        resolved = sources().resolve(f"file://{tmp_path}/a{code}b%.gguf")
        assert resolved.files[0].local == named
        assert sources().resolve(resolved.url) == resolved


def test_a_folder_of_folders_holds_no_files(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "data.bin").write_bytes(b"x")
    (tmp_path / ".hidden").write_bytes(b"x")
    error = refused(f"file://{tmp_path}")
    assert "GGUF" not in f"{error.what} {error.why} {error.fix}"
    assert "No files lie directly in it; sub-folders and hidden files" in error.why


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/etc/passwd", "/etc/passwd"),
        ("/data/Modèle?x", "/data/Modèle?x"),
        ("relative", "relative"),
        ("./a.gguf", "./a.gguf"),
        ("file:/etc/passwd", "file:/etc/passwd"),
        ("acme/tiny/a.gguf@main", "acme/tiny/a.gguf@main"),
        ("me:secret@host/a?sig=secret", "host/a"),
        ("/a\nb", "/a\\nb"),
        ("hf://a\nb", "hf://a\\nb"),
        ("ftp://me:secret@host/a?secret", "ftp://host/a"),
    ],
)
def test_a_source_is_told_as_it_was_typed(typed: str, told: str) -> None:
    error = refused(typed)
    assert error.what == f"The source {told} is not understood."
    if ":" not in typed and typed.isprintable():
        assert "file:///ABSOLUTE/PATH" in error.fix
        assert "http://" in error.why


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
