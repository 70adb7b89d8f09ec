"""A bundle that somebody tampered with puts nothing outside its directory, and is refused."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from yoyo.core import bundle
from yoyo.core.bundle import BundleDocument, BundleFile
from yoyo.drivers.build import archive
from yoyo.drivers.build.builder import tree_digest
from yoyo.errors import ArtefactCorrupt, ArtefactMissing, BuildFailed
from yoyo.model.store import EngineBuild

BUILD = EngineBuild(
    "", "b" * 64, (), "g++", "", (), "2.34", "x86_64", ("llama",), ("MIT (llama.cpp)",)
)
CONTENT = {"bin/llama-server": b"#!/bin/true\n", "lib/empty.so": b"", "lib/libx.so.1": b"x" * 9999}
Member = tuple[tarfile.TarInfo, bytes]


def stage(root: Path) -> Path:
    for name, content in CONTENT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def plain(name: str, content: bytes) -> Member:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def special(name: str, kind: bytes, target: str = "") -> Member:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def document(content: dict[str, bytes] = CONTENT) -> bytes:
    files = tuple(
        BundleFile(name, len(data), hashlib.sha256(data).hexdigest(), name.startswith("bin/"))
        for name, data in sorted(content.items())
    )
    return bundle.encode(BundleDocument(BUILD, files))


def packed(path: Path, members: Iterable[Member], form: int = tarfile.USTAR_FORMAT) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    done = subprocess.run(["zstd", "-q"], input=raw.getvalue(), capture_output=True, check=True)
    path.write_bytes(done.stdout)
    return path


def whole() -> list[Member]:
    return [plain(bundle.DOCUMENT, document()), *(plain(*entry) for entry in CONTENT.items())]


def test_what_was_packed_comes_out(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.zst"
    digest, size = archive.pack(stage(tmp_path / "stage"), BUILD, path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert path.stat().st_size == size
    found = archive.unpack(path, tmp_path / "out")
    assert found == archive.read_document(path) == archive.verify(path)
    for name, content in CONTENT.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert (tmp_path / "out/bin/llama-server").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/lib/libx.so.1").stat().st_mode & 0o111 == 0
    names = subprocess.run(["tar", "--list", "--file", path], capture_output=True, check=True)
    assert names.stdout.decode().split() == [bundle.DOCUMENT, *CONTENT]


def test_an_archive_made_by_another_tar_is_a_bundle_too(tmp_path: Path) -> None:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        archive.verify(packed(tmp_path / "b", whole(), form))


HOSTILE = {
    "climbs out": [plain("../out", b"x")],
    "absolute": [plain("/tmp/out", b"x")],
    "a link": [special("lib/libx.so.1", tarfile.SYMTYPE, "/etc/passwd")],
    "a hard link": [special("lib/libx.so.1", tarfile.LNKTYPE, "bin/llama-server")],
    "a device": [special("lib/libx.so.1", tarfile.CHRTYPE)],
    "a pipe": [special("lib/libx.so.1", tarfile.FIFOTYPE)],
    "a folder": [special("lib", tarfile.DIRTYPE)],
    "a file that is not listed": [plain("lib/more.so", b"x")],
    "the document again": [plain(bundle.DOCUMENT, document())],
}


@pytest.mark.parametrize("extra", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("at", [1, 4])
def test_nothing_but_the_listed_files_comes_out(
    tmp_path: Path, extra: list[Member], at: int
) -> None:
    members = whole()
    members[at:at] = extra
    path = packed(tmp_path / "b", members)
    with pytest.raises(ArtefactCorrupt):
        archive.unpack(path, tmp_path / "deep/out")
    with pytest.raises(ArtefactCorrupt):
        archive.verify(path)
    assert not (tmp_path / "deep/out.txt").exists()
    assert sorted(entry.name for entry in (tmp_path / "deep").iterdir()) == ["out"]
    assert not any(entry.is_symlink() for entry in (tmp_path / "deep").rglob("*"))


@pytest.mark.parametrize(
    "members",
    [
        [],
        whole()[1:],
        whole()[:-1],
        [whole()[0], whole()[1], whole()[3], whole()[2]],
        [*whole(), whole()[-1]],
        [*whole()[:3], plain("lib/libx.so.1", b"y" * 9999)],
        [*whole()[:3], plain("lib/libx.so.1", b"x" * 9998)],
        [plain(bundle.DOCUMENT, b"{}")],
        [special(bundle.DOCUMENT, tarfile.SYMTYPE, "/etc/passwd")],
    ],
    ids=["empty", "no document", "one missing", "other order", "one twice", "other content",
         "shorter", "other document", "document is a link"],
)  # fmt: skip
def test_a_bundle_that_is_not_what_it_says_is_refused(
    tmp_path: Path, members: list[Member]
) -> None:
    with pytest.raises(ArtefactCorrupt):
        archive.verify(packed(tmp_path / "b", members))


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole_ = packed(tmp_path / "b", whole()).read_bytes()
    for length in range(0, len(whole_), 7):
        (tmp_path / "cut").write_bytes(whole_[:length])
        with pytest.raises(ArtefactCorrupt):
            archive.verify(tmp_path / "cut")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"hello" * 100)
    with pytest.raises(ArtefactCorrupt):
        archive.read_document(tmp_path / "b")
    with pytest.raises(ArtefactMissing):
        archive.read_document(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "it is empty"), (b"PK\3\4 and more", "no zstd file: it begins with 50 4b 03 04"),
     (b"\x28\xb5\x2f\xfd and no more", "zstd ended with status 1")],
)  # fmt: skip
def test_a_file_of_another_kind_is_called_that(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "b").write_bytes(content)
    for read in (archive.verify, archive.read_document):
        with pytest.raises(ArtefactCorrupt) as caught:
            read(tmp_path / "b")
        assert said in caught.value.why


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path, "directory"), (Path("/dev/null"), "device"),
                       (tmp_path / "pipe", "pipe")):  # fmt: skip
        with pytest.raises(ArtefactCorrupt) as caught:
            archive.verify(path)
        assert kind in caught.value.why
    for path in (tmp_path / "none", Path("/dev/null/none")):
        with pytest.raises(ArtefactMissing) as missing:
            archive.verify(path)
        assert missing.value.why
        assert missing.value.fix


def test_an_existing_file_is_not_written_through(tmp_path: Path) -> None:
    """A link that waits in the target would lead the writer elsewhere."""
    (tmp_path / "out/lib").mkdir(parents=True)
    (tmp_path / "out/lib/libx.so.1").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        archive.unpack(packed(tmp_path / "b", whole()), tmp_path / "out")
    assert not (tmp_path / "victim").exists()


def test_a_link_among_what_is_packed_is_a_mistake(tmp_path: Path) -> None:
    (stage(tmp_path / "stage") / "lib/liby.so").symlink_to("libx.so.1")
    with pytest.raises(BuildFailed, match="plain file"):
        archive.pack(tmp_path / "stage", BUILD, tmp_path / "b")


def test_a_full_disk_is_said_and_not_taken_for_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="could not be written"):
        archive.pack(stage(tmp_path / "stage"), BUILD, Path("/dev/full"))


def test_the_digest_of_a_source_is_what_coreutils_say(tmp_path: Path) -> None:
    source = stage(tmp_path / "source")
    (source / ".git").mkdir()
    (source / ".git/HEAD").write_text("x")
    (source / "lib.c").write_text("a name between lib and lib/")
    said = subprocess.run(
        "find . -name .git -prune -o -type f -printf '%P\\n' | LC_ALL=C sort"
        " | xargs -d '\\n' sha256sum | sha256sum",
        shell=True, cwd=source, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    assert tree_digest(source) == said.split()[0]
