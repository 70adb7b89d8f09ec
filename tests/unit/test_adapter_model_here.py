"""The bytes that are compared and stored are the bytes that were verified."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sample_node import ENGINE, NODE

from yoyo.cli.render_adapters import active_text
from yoyo.drivers.files.adapter_files import LocalAdapterFiles
from yoyo.drivers.files.disk import LocalDisk
from yoyo.drivers.local.smoke_model import ensure
from yoyo.errors import ArtefactCorrupt, ModelInvalid
from yoyo.model.settings import LoraFile, NodeSettings, Provided
from yoyo.ops.adapters.activate import Active
from yoyo.ops.adapters.base import of_node
from yoyo.ops.adapters.context import AdapterContext
from yoyo.ops.adapters.shelve import described, shelved
from yoyo.ops.context import Context
from yoyo.ops.store_context import StoreContext

WEIGHTS = b"what was verified" * 1000


class Quiet:
    def phase(self, name: str, detail: str = "") -> None: ...

    def bytes(self, name: str, done: int, total: int | None) -> None: ...


def nothing(kind: Any) -> Any:
    """A context without any part."""
    return kind._make([None] * len(kind._fields))


def no_store() -> StoreContext:
    raise AssertionError("the model is here")


def here(tmp_path: Path) -> tuple[AdapterContext, NodeSettings]:
    """A node whose model is from the store, and lies here."""
    model = ensure(tmp_path / "models")
    ctx: AdapterContext = nothing(AdapterContext)
    files = LocalAdapterFiles(tmp_path / "models.json")
    data = model.read_bytes()
    provided = Provided("smoke", "e" * 64, ((model.name, len(data), sha256(data).hexdigest()),))
    return ctx._replace(files=files, progress=Quiet()), NODE._replace(
        engine=ENGINE._replace(model=str(model)), from_store=provided
    )


def test_a_model_of_the_store_is_held_against_what_the_store_says(tmp_path: Path) -> None:
    ctx, node = here(tmp_path)
    assert of_node(ctx, node, no_store).shapes
    with Path(node.engine.model).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(ModelInvalid) as caught:
        of_node(ctx, node, no_store)
    assert "not what the store says" in caught.value.what
    assert caught.value.fix


def remote(path: Path) -> Context:
    """A node at a distance with one adapter that was verified; whatever else it has is missing."""
    lora = LoraFile(
        "acme-tone@1.0.0",
        "sha256:" + "a" * 64,
        sha256(WEIGHTS).hexdigest(),
        len(WEIGHTS),
        cast("Any", 1),
        str(path),
    )
    store: StoreContext = nothing(StoreContext)
    store = store._replace(disk=LocalDisk(), store=cast("Any", SimpleNamespace(url="gs://shelf")))
    ctx: Context = nothing(Context)
    gce = cast("Any", SimpleNamespace(service_account="node@acme.example"))
    return ctx._replace(node=NODE._replace(gce=gce, loras=(lora,)), on_store=lambda: store)


@pytest.mark.parametrize(
    "changed",
    [b"X" + WEIGHTS[1:], WEIGHTS[:-1], WEIGHTS + b"x", b""],
    ids=["other", "shorter", "longer", "empty"],
)
def test_what_changed_after_it_was_verified_is_not_stored(tmp_path: Path, changed: bytes) -> None:
    path = tmp_path / "tone.gguf"
    path.write_bytes(WEIGHTS)
    (kept,) = described(remote(path)).node.adapters_from_store
    assert kept.files == (("acme-tone@1.0.0.gguf", len(WEIGHTS), sha256(WEIGHTS).hexdigest()),)
    path.write_bytes(changed)
    for step in (described, shelved):  # anything that `shelved` did before would raise otherwise
        with pytest.raises(ArtefactCorrupt) as caught:
            step(remote(path))
        assert str(path) in caught.value.what


def test_notes_are_shown_for_the_base_alone_too() -> None:
    said = active_text(Active("local", (), "", "", ("the engine has another one",)))
    assert said.splitlines() == [
        "local answers with the base alone",
        "note: the engine has another one",
    ]
