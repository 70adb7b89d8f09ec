"""Image layouts on a disk: whole or not at all, checked both ways, readable by other tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from yoyo.core.oci_manifest import EMPTY_BYTES, build_manifest, digest_of
from yoyo.drivers.files.layouts import FileLayouts
from yoyo.errors import (
    AdapterInvalid,
    ArtefactCorrupt,
    ArtefactExists,
    ArtefactMissing,
    StateUnwritable,
    YoyoError,
)
from yoyo.model.adapter import ARTIFACT_TYPE, CONFIG_TYPE, WEIGHT_TYPE
from yoyo.model.oci import IMAGE_MANIFEST, Descriptor

WEIGHTS = bytes(range(256)) * 9000  # more than one piece of the copy


def manifest_of(weights: bytes = WEIGHTS) -> bytes:
    return build_manifest(
        artifact_type=ARTIFACT_TYPE,
        config=Descriptor(CONFIG_TYPE, digest_of(EMPTY_BYTES), len(EMPTY_BYTES)),
        layers=(Descriptor(WEIGHT_TYPE, digest_of(weights), len(weights)),),
    )


def packed(directory: Path, weights: bytes = WEIGHTS) -> Descriptor:
    source = directory.parent / "adapter.gguf"
    source.write_bytes(weights)
    return FileLayouts().write(
        directory, manifest_of(weights),
        {digest_of(weights): source, digest_of(EMPTY_BYTES): EMPTY_BYTES},
    )  # fmt: skip


def blob_path(directory: Path, data: bytes) -> Path:
    return directory / "blobs" / "sha256" / digest_of(data).removeprefix("sha256:")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "layout"
    directory.parent.mkdir()
    made = packed(directory)
    manifest = manifest_of()
    assert made == Descriptor(
        IMAGE_MANIFEST, digest_of(manifest), len(manifest), artifact_type=ARTIFACT_TYPE
    )
    assert FileLayouts().read(directory) == (made, manifest)
    assert FileLayouts().blob(directory, digest_of(WEIGHTS)).read_bytes() == WEIGHTS
    assert json.loads((directory / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert sorted(each.name for each in tmp_path.joinpath("deep").iterdir()) == [
        "adapter.gguf", "layout",
    ]  # fmt: skip


def test_it_is_a_copy_that_the_trainer_cannot_change(tmp_path: Path) -> None:
    packed(tmp_path / "layout")
    with (tmp_path / "adapter.gguf").open("r+b") as file:
        file.write(b"trained on")
    assert blob_path(tmp_path / "layout", WEIGHTS).read_bytes() == WEIGHTS


def test_the_same_again_is_left_as_it_is(tmp_path: Path) -> None:
    first = packed(tmp_path / "layout")
    before = (
        (tmp_path / "layout").stat().st_mtime_ns,
        blob_path(tmp_path / "layout", WEIGHTS).stat(),
    )
    assert packed(tmp_path / "layout") == first
    after = (tmp_path / "layout").stat().st_mtime_ns, blob_path(tmp_path / "layout", WEIGHTS).stat()
    assert (before[0], before[1].st_ino) == (after[0], after[1].st_ino)


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "layout").mkdir()
    packed(tmp_path / "layout")
    assert FileLayouts().read(tmp_path / "layout")


def spoil_other(directory: Path) -> None:
    packed(directory, b"others")


def spoil_file(directory: Path) -> None:
    directory.write_text("a file")


def spoil_foreign(directory: Path) -> None:
    directory.mkdir()
    (directory / "notes.txt").write_text("mine")


def spoil_blob_gone(directory: Path) -> None:
    packed(directory)
    blob_path(directory, WEIGHTS).unlink()


def spoil_blob_short(directory: Path) -> None:
    packed(directory)
    blob_path(directory, WEIGHTS).write_bytes(b"short")


@pytest.mark.parametrize(
    "spoil", [spoil_other, spoil_file, spoil_foreign, spoil_blob_gone, spoil_blob_short]
)
def test_what_holds_something_else_is_left_alone(tmp_path: Path, spoil: Any) -> None:
    directory = tmp_path / "layout"
    spoil(directory)
    before = {str(each) for each in tmp_path.rglob("*")} - {str(tmp_path / "adapter.gguf")}
    with pytest.raises(ArtefactExists):
        packed(directory)
    assert {str(each) for each in tmp_path.rglob("*")} - {str(tmp_path / "adapter.gguf")} == before


@pytest.mark.parametrize(
    ("blobs", "error"),
    [
        ({digest_of(WEIGHTS): b"other", digest_of(EMPTY_BYTES): EMPTY_BYTES}, ArtefactCorrupt),
        ({digest_of(WEIGHTS): WEIGHTS[::-1], digest_of(EMPTY_BYTES): EMPTY_BYTES}, ArtefactCorrupt),
        ({digest_of(EMPTY_BYTES): EMPTY_BYTES}, ArtefactCorrupt),
        ({"sha256:../../x": b"", digest_of(WEIGHTS): WEIGHTS, digest_of(EMPTY_BYTES): EMPTY_BYTES},
         ArtefactCorrupt),
        ({digest_of(WEIGHTS): Path("/nowhere/at/all"), digest_of(EMPTY_BYTES): EMPTY_BYTES},
         StateUnwritable),
        ({digest_of(WEIGHTS): Path("/dev"), digest_of(EMPTY_BYTES): EMPTY_BYTES}, StateUnwritable),
    ],
)  # fmt: skip
def test_nothing_is_left_of_a_layout_that_did_not_become_one(
    tmp_path: Path, blobs: dict[str, Path | bytes], error: type[YoyoError]
) -> None:
    with pytest.raises(error):
        FileLayouts().write(tmp_path / "layout", manifest_of(), blobs)
    assert list(tmp_path.iterdir()) == []


def test_a_blob_of_another_length_than_the_manifest_says(tmp_path: Path) -> None:
    layer = Descriptor(WEIGHT_TYPE, digest_of(WEIGHTS), len(WEIGHTS) + 1)
    config = Descriptor(CONFIG_TYPE, digest_of(EMPTY_BYTES), len(EMPTY_BYTES))
    manifest = build_manifest(artifact_type=ARTIFACT_TYPE, config=config, layers=(layer,))
    with pytest.raises(ArtefactCorrupt, match="should be"):
        FileLayouts().write(
            tmp_path / "layout", manifest,
            {layer.digest: WEIGHTS, config.digest: EMPTY_BYTES},
        )  # fmt: skip


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(AdapterInvalid):
        FileLayouts().write(tmp_path / "layout", b"{}", {})


def index_of(directory: Path, change: Any) -> None:
    path = directory / "index.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def no_version(directory: Path) -> None:
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')


def no_marker(directory: Path) -> None:
    (directory / "oci-layout").unlink()


def no_json(directory: Path) -> None:
    (directory / "index.json").write_text("{" * 100_000)


def no_object(directory: Path) -> None:
    (directory / "index.json").write_text("[]")


def two(directory: Path) -> None:
    index_of(directory, lambda found: found["manifests"].append(found["manifests"][0]))


def traversal(directory: Path) -> None:
    index_of(directory, lambda found: found["manifests"][0].update(digest="sha256:../../etc/x"))


def wrong_size(directory: Path) -> None:
    index_of(directory, lambda found: found["manifests"][0].update(size=3))


def swapped(directory: Path) -> None:
    blob_path(directory, manifest_of()).write_bytes(manifest_of(b"others"))


def gone(directory: Path) -> None:
    blob_path(directory, manifest_of()).unlink()


def linked(directory: Path) -> None:
    path = blob_path(directory, manifest_of())
    path.rename(directory / "elsewhere")
    path.symlink_to(directory / "elsewhere")


def linked_index(directory: Path) -> None:
    (directory / "index.json").rename(directory / "elsewhere")
    (directory / "index.json").symlink_to(directory / "elsewhere")


def huge(directory: Path) -> None:
    (directory / "oci-layout").write_text(" " * 5000)


def fifo(directory: Path) -> None:
    (directory / "index.json").unlink()
    os.mkfifo(directory / "index.json")


def no_manifest(directory: Path) -> None:
    path = blob_path(directory, b"{}")
    path.write_bytes(b"{}")
    index_of(directory, lambda found: found["manifests"][0].update(digest=digest_of(b"{}"), size=2))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (no_version, AdapterInvalid), (no_marker, AdapterInvalid), (no_json, AdapterInvalid),
        (no_object, AdapterInvalid), (two, AdapterInvalid), (traversal, AdapterInvalid),
        (wrong_size, ArtefactCorrupt), (swapped, ArtefactCorrupt), (gone, ArtefactMissing),
        (linked, ArtefactMissing), (linked_index, AdapterInvalid), (huge, AdapterInvalid),
        (fifo, AdapterInvalid), (no_manifest, AdapterInvalid),
        (shutil.rmtree, ArtefactMissing),
    ],
)  # fmt: skip
def test_a_layout_that_was_tampered_with_is_refused(
    tmp_path: Path, spoil: Any, error: type[YoyoError]
) -> None:
    packed(tmp_path / "layout")
    spoil(tmp_path / "layout")
    with pytest.raises(error) as caught:
        FileLayouts().read(tmp_path / "layout")
    assert caught.value.why
    assert caught.value.fix


@pytest.mark.parametrize("digest", [digest_of(b"none"), "sha256:", "../index.json", "sha512:aa"])
def test_a_blob_that_is_not_there(tmp_path: Path, digest: str) -> None:
    packed(tmp_path / "layout")
    with pytest.raises(ArtefactMissing):
        FileLayouts().blob(tmp_path / "layout", digest)


def test_several_at_once_make_one(tmp_path: Path) -> None:
    source = tmp_path / "adapter.gguf"
    source.write_bytes(WEIGHTS)
    blobs: dict[str, Path | bytes] = {
        digest_of(WEIGHTS): source, digest_of(EMPTY_BYTES): EMPTY_BYTES,
    }  # fmt: skip
    made: list[Descriptor] = []
    threads = [
        threading.Thread(
            target=lambda: made.append(
                FileLayouts().write(tmp_path / "layout", manifest_of(), blobs)
            )
        )
        for _ in range(6)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(made) == 6
    assert FileLayouts().read(tmp_path / "layout")[0] == made[0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["adapter.gguf", "layout"]


KILLED = """
import os, sys
from pathlib import Path
from yoyo.drivers.files import layouts
sys.path.insert(0, sys.argv[2])
import test_layouts
def die(path, data):
    os.kill(os.getpid(), 9)
layouts._write = die
test_layouts.packed(Path(sys.argv[1]))
"""


def test_a_writer_that_is_killed_leaves_nothing_in_its_place(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "layout"), here]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (tmp_path / "layout").exists()
    assert (tmp_path / ".layout.part").exists()
    packed(tmp_path / "layout")
    assert FileLayouts().read(tmp_path / "layout")
    assert not (tmp_path / ".layout.part").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnwritable):
        FileLayouts().write(tmp_path / "file" / "layout", manifest_of(), {})
    (tmp_path / "a").symlink_to(tmp_path / "a")
    with pytest.raises(StateUnwritable):
        FileLayouts().write(tmp_path / "a" / "layout", manifest_of(), {})
