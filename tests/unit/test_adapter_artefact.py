"""An adapter's manifest: written, read again, and refused when any part of it is off."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from artefact_samples import (
    ADAPTER,
    CONFIG_SCHEMA,
    CREATED,
    FILES,
    NAME,
    WEIGHTS,
    facts,
    packed,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.adapters.artefact import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_TASKS,
    MAX_WEIGHT_BYTES,
    read_artefact,
    weights_name,
)
from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.oci_manifest import digest_of
from yoyo.model.adapter import (
    ARTIFACT_TYPE,
    DOC_TYPE,
    WEIGHT_CONFIG_TYPE,
    WEIGHT_TYPE,
    AdapterVersion,
    Artefact,
    LoraFacts,
)
from yoyo.model.ids import ModuleId
from yoyo.model.oci import IMAGE_MANIFEST


def test_the_manifest_in_full() -> None:
    found = packed()
    names = {"adapter_config.json": WEIGHT_CONFIG_TYPE, "README.md": DOC_TYPE}

    def layer(kind: str, digest: str, size: int, name: str) -> dict[str, Any]:
        named = {"org.cncf.model.filepath": name, "org.opencontainers.image.title": name}
        return {"mediaType": kind, "digest": digest, "size": size, "annotations": named}

    assert json.loads(found.manifest) == {
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.cncf.model.config.v1+json",
            "digest": digest_of(found.config),
            "size": len(found.config),
        },
        "layers": [
            layer(WEIGHT_TYPE, WEIGHTS.digest, WEIGHTS.size, "acme-legal.gguf"),
            *(layer(names[name], digest_of(data), len(data), name) for name, data in FILES),
        ],
        "annotations": {
            "org.opencontainers.image.title": "acme-legal",
            "org.opencontainers.image.version": "1.2.0-rc.1",
            "org.opencontainers.image.created": "2026-11-21T12:30:15Z",
            "dev.yoyo.adapter.id": "acme-legal",
            "dev.yoyo.adapter.version": "1.2.0-rc.1",
            "dev.yoyo.adapter.moduleId": "acme",
            "dev.yoyo.adapter.base": ADAPTER.base,
            "dev.yoyo.adapter.data": ADAPTER.data,
            "dev.yoyo.adapter.tasks": "contract-review,summary",
            "dev.yoyo.adapter.rank": "4",
            "dev.yoyo.adapter.alpha": "8",
            "dev.yoyo.adapter.architecture": "llama",
        },
    }


def test_no_media_type_names_the_weights_format() -> None:
    """Another tool takes the first such layer for a base model."""
    found = json.loads(packed().manifest)
    kinds = [each["mediaType"] for each in (found, found["config"], *found["layers"])]
    assert not [kind for kind in (found["artifactType"], *kinds) if "gguf" in kind.lower()]


def test_the_configuration_is_one_of_the_model_pack() -> None:
    found = packed()
    config = json.loads(found.config)
    jsonschema.validate(config, CONFIG_SCHEMA, jsonschema.Draft202012Validator)
    layers = json.loads(found.manifest)["layers"]
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in layers]
    assert config["descriptor"] == {
        "createdAt": "2026-11-21T12:30:15Z",
        "name": "acme-legal",
        "version": "1.2.0-rc.1",
        "family": "llama",
        "licenses": ["Apache-2.0"],
    }


def test_what_is_read_back() -> None:
    found = packed()
    assert found.artefact == read_artefact(found.manifest, digest_of(found.manifest))
    assert found.artefact.adapter == ADAPTER
    assert found.artefact.filename == "acme-legal.gguf"
    assert found.artefact.weights.digest == WEIGHTS.digest
    assert [name for name, _ in found.artefact.files] == ["adapter_config.json", "README.md"]
    blobs = dict(found.blobs)
    assert all(digest_of(data) == digest for digest, data in blobs.items())
    assert set(blobs) == {digest_of(found.config), *(digest_of(data) for _, data in FILES)}


def test_a_text_may_be_empty() -> None:
    [(_, layer)] = packed(files=(("README.md", b""),)).artefact.files
    assert layer.size == 0


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert packed() == packed()
    # Neither the second's fraction, nor the time zone, nor the way a number is written matters.
    assert packed() == packed(created=CREATED.astimezone(timezone(timedelta(hours=9))))
    assert packed() == packed(created=CREATED.replace(microsecond=0))
    assert packed() == packed(ADAPTER._replace(alpha=Decimal("8.000")))
    assert packed(licences=()) != packed()


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
DIGESTS = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
ADAPTERS = st.builds(
    lambda module, name, tasks, **others: AdapterVersion(
        id=f"{module}-{name}", module_id=ModuleId(module), tasks=tuple(sorted(tasks)), **others
    ),
    module=LABELS.filter(lambda text: not text.startswith("dka-")),
    name=LABELS,
    tasks=st.sets(LABELS, max_size=MAX_TASKS),
    version=st.sampled_from(["0.0.0", "1.2.3", "1.0.0-rc.1", "10.20.30-x-y.0"]),
    base=DIGESTS,
    data=DIGESTS,
    rank=st.integers(1, 512),
    alpha=st.decimals(Decimal("0.000001"), 1_000_000, places=6),
    architecture=st.from_regex(r"[a-z][a-z0-9._-]{0,10}", fullmatch=True),
)


@settings(max_examples=100, deadline=None)
@given(
    ADAPTERS,
    st.integers(1, MAX_WEIGHT_BYTES),
    st.dictionaries(
        st.sampled_from(["adapter_config.json", "README.md"])
        | st.from_regex(r"LICENSE[a-z0-9._-]{0,20}", fullmatch=True),
        st.binary(min_size=1),
        max_size=4,
    ),
)
def test_what_was_packed_is_read(
    adapter: AdapterVersion, size: int, files: dict[str, bytes]
) -> None:
    if len(set(files.values())) != len(files):
        return
    weights = WEIGHTS._replace(size=size)
    found = packed(
        adapter, weights=weights, filename=weights_name(adapter), files=tuple(files.items())
    )
    artefact = read_artefact(found.manifest, digest_of(found.manifest))
    assert artefact.adapter == adapter
    assert (artefact.weights.digest, artefact.weights.size) == (weights.digest, size)
    assert {name: layer.digest for name, layer in artefact.files} == {
        name: digest_of(data) for name, data in files.items()
    }


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_raises_nothing_else(data: st.DataObject) -> None:
    document = bytearray(packed().manifest)
    for at in data.draw(st.lists(st.integers(0, len(document) - 1), min_size=1, max_size=4)):
        document[at] = data.draw(st.integers(0, 255))
    broken = bytes(document)
    try:
        artefact = read_artefact(broken, digest_of(broken))
    except InvalidAdapter as error:
        said = str(error)
    else:
        said = artefact.adapter.name + artefact.filename
    assert said.isprintable()


Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> Artefact:
    fields = json.loads(packed().manifest)
    change(fields)
    document = json.dumps(fields).encode()
    return read_artefact(document, digest_of(document))


def put(*path: str | int, to: object) -> Change:
    """Set what lies there."""

    def change(fields: Any) -> None:
        for key in path[:-1]:
            fields = fields[key]
        fields[path[-1]] = to

    return change


def annotate(key: str, value: str) -> Change:
    return put("annotations", key, to=value)


def named(layer: int, name: str) -> Change:
    both = {"org.cncf.model.filepath": name, "org.opencontainers.image.title": name}
    return put("layers", layer, "annotations", to=both)


def again(layer: int, **others: object) -> Change:
    return lambda fields: fields["layers"].append({**fields["layers"][layer], **others})


def alike(fields: dict[str, Any]) -> None:
    """One file, where upper and lower case are the same."""
    named(1, "LICENSE-MIT")(fields)
    named(2, "LICENSE-mit")(fields)


def many(fields: dict[str, Any]) -> None:
    """As many layers as there may be."""
    for number in range(MAX_FILES - len(FILES)):
        digest, name = f"sha256:{number:064x}", f"LICENSE.{number}"
        both = {"org.cncf.model.filepath": name, "org.opencontainers.image.title": name}
        again(1, digest=digest, annotations=both)(fields)


def too_many(fields: dict[str, Any]) -> None:
    many(fields)
    again(1)(fields)


def test_harmless_changes_are_none_of_our_business() -> None:
    assert changed(lambda fields: None).adapter == ADAPTER
    assert changed(annotate("org.example.note", "hello\n")).adapter == ADAPTER
    metadata = "org.cncf.model.file.metadata+json"
    assert changed(put("layers", 0, "annotations", metadata, to="{}")).adapter == ADAPTER
    assert changed(annotate(NAME + "tasks", "")).adapter.tasks == ()
    for alpha in ("0.000001", "1000000"):
        assert changed(annotate(NAME + "alpha", alpha)).adapter.alpha == Decimal(alpha)
    assert changed(many).adapter == ADAPTER
    for layer, size in ((0, 1), (0, MAX_WEIGHT_BYTES), (1, 0), (2, MAX_FILE_BYTES)):
        assert changed(put("layers", layer, "size", to=size)).adapter == ADAPTER
    assert changed(put("config", "size", to=MAX_FILE_BYTES)).adapter == ADAPTER


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("artifactType", to="application/vnd.other"), "artifactType is 'application/vnd.oth"),
        (lambda fields: fields.pop("artifactType"), "artifactType is ''"),
        (put("config", "mediaType", to=ARTIFACT_TYPE), "configuration is not of"),
        (put("config", "size", to=MAX_FILE_BYTES + 1), "its configuration has 1048577 bytes"),
        (
            put("subject", to={"mediaType": "a/b", "digest": WEIGHTS.digest, "size": 1}),
            "refers to another manifest",
        ),
        (put("schemaVersion", to=1), "its manifest: "),
        (lambda fields: fields.pop("annotations"), "annotation dev.yoyo.adapter.alpha is missing"),
        (lambda fields: fields["annotations"].pop(NAME + "data"), "adapter.data is missing"),
        (lambda fields: fields["annotations"].pop("org.opencontainers.image.created"), "missing"),
        (annotate(NAME + "scale", "1"), "'dev.yoyo.adapter.scale' is unknown"),
        (annotate(NAME + "id", "other-legal"), "does not begin with 'acme-'"),
        (annotate(NAME + "moduleId", "other"), "does not begin with 'other-'"),
        (annotate(NAME + "moduleId", "Acme"), "its moduleId"),
        (annotate(NAME + "version", "1"), "is no version"),
        (annotate(NAME + "version", "1.2.0"), "title and version are not those"),
        (annotate("org.opencontainers.image.title", "acme-other"), "title and version"),
        (annotate("org.opencontainers.image.version", "1.2.0"), "title and version"),
        (annotate("org.opencontainers.image.created", "yesterday"), "no time in UTC"),
        (annotate(NAME + "base", "b" * 64), "its base 'b.*' is not sha256:"),
        (annotate(NAME + "base", "sha256:" + "B" * 64), "its base"),
        (annotate(NAME + "data", "sha512:" + "d" * 128), "its data"),
        (annotate(NAME + "data", ""), "its data"),
        (annotate(NAME + "tasks", "summary,contract-review"), "each once, in order"),
        (annotate(NAME + "tasks", "a,a"), "each once, in order"),
        (annotate(NAME + "tasks", "a,"), "the task"),
        (annotate(NAME + "tasks", "A"), "the task"),
        (annotate(NAME + "tasks", ",".join(f"t{at:02}" for at in range(17))), "not at most 16"),
        (annotate(NAME + "rank", "0"), "its rank '0'"),
        (annotate(NAME + "rank", "513"), "its rank '513'"),
        (annotate(NAME + "rank", "+4"), "its rank"),
        (annotate(NAME + "rank", "\u0664"), "its rank"),
        (annotate(NAME + "rank", "9" * 5000), "its rank"),
        (annotate(NAME + "alpha", "0"), "its alpha '0'"),
        (annotate(NAME + "alpha", "8.0"), "its alpha '8.0'"),
        (annotate(NAME + "alpha", "1e3"), "its alpha"),
        (annotate(NAME + "alpha", "NaN"), "its alpha"),
        (annotate(NAME + "alpha", "-8"), "its alpha"),
        (annotate(NAME + "alpha", "1000001"), "its alpha"),
        (annotate(NAME + "architecture", "a b"), "its architecture 'a b' is no name"),
        (annotate(NAME + "architecture", ""), "its architecture '' is no name"),
        (lambda fields: fields["layers"].pop(0), "0 layers of weights"),
        (again(0, digest="sha256:" + "f" * 64), "2 layers of weights"),
        (put("layers", 1, "mediaType", to="application/vnd.docker.ai.gguf.v3"), "adapter has not"),
        (put("layers", 0, "mediaType", to=WEIGHT_TYPE.replace("raw", "tar")), "an adapter has not"),
        (put("layers", 0, "size", to=0), "has 0 bytes, not 1 to"),
        (put("layers", 0, "size", to=MAX_WEIGHT_BYTES + 1), "bytes, not 1 to 17179869184"),
        (put("layers", 2, "size", to=MAX_FILE_BYTES + 1), "README.md has 1048577 bytes"),
        (put("layers", 1, "digest", to=WEIGHTS.digest), "two layers are the same bytes"),
        (named(2, "adapter_config.json"), "two layers have the same name"),
        (alike, "two layers have the same name"),
        *(
            (named(1, name), "is the name of a layer that has to be adapter_config.json, ")
            for name in (
                "yoyo.yaml", "ledger.csv", "registry.yaml", "Makefile", "README", "readme.md",
                "ADAPTER_CONFIG.json", "config.json", "license", "x.gguf",
            )
        ),
        *(
            (named(0, name), "is the name of a layer that has to be NAME.gguf")
            for name in ("yoyo.yaml", "weights.GGUF", "weights", "README.md")
        ),
        (too_many, "18 layers, at most 17"),
        (put("layers", 0, "annotations", to={}), "are not both there and equal"),
        (
            put("layers", 0, "annotations", "org.cncf.model.filepath", to="other.gguf"),
            "are not both there and equal",
        ),
        *(
            (named(layer, name), "is no plain name of a file")
            for layer in (0, 1)
            for name in (
                "", ".", "..", "../evil", "/etc/passwd", "a/b", "a\\b", ".hidden", "-rf", "a b",
                "a\n", "a\0b", "c:evil", "~root", "a" * 129, "\uff0e\uff0e", "caf\u00e9",
            )
        ),
    ],
)  # fmt: skip
def test_whatever_is_off_is_refused(change: Change, reason: str) -> None:
    with pytest.raises(InvalidAdapter, match=reason):
        changed(change)


def test_another_manifest_than_was_asked_for() -> None:
    with pytest.raises(InvalidAdapter, match="another digest than was asked for"):
        read_artefact(packed().manifest, "sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("lora", "reason"),
    [
        (facts()._replace(rank=8), "its rank is given as 4, and its weights say 8"),
        (facts()._replace(alpha=Decimal(16)), "its alpha is given as 8, and its weights say 16"),
        (facts()._replace(architecture="qwen2"), "architecture is given as llama, and .* qwen2"),
        (facts()._replace(file_bytes=1), "its size is given as 10688, and its weights say 1"),
    ],
)
def test_nothing_is_packed_that_its_weights_deny(lora: LoraFacts, reason: str) -> None:
    with pytest.raises(InvalidAdapter, match=reason):
        packed(lora=lora)


@pytest.mark.parametrize(
    "wrong",
    [
        {"filename": "../x.gguf"},
        {"files": (("README.md", b"x" * (MAX_FILE_BYTES + 1)),)},
        {"files": (("README.md", b"x"), ("readme.md", b"y"))},
        {"files": (("README.md", b"x"), ("COPY.md", b"x"))},
        {"adapter": ADAPTER._replace(tasks=("b", "a"))},
        {"adapter": ADAPTER._replace(alpha=Decimal("NaN"))},
        {"weights": WEIGHTS._replace(digest="sha256:e")},
        {"licences": ("x" * MAX_FILE_BYTES,)},
        {"created": CREATED.replace(tzinfo=None)},
    ],
)
def test_nothing_is_packed_that_would_not_be_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidAdapter):
        packed(**wrong)


def test_the_usual_name_is_a_plain_one_at_its_longest() -> None:
    adapter = ADAPTER._replace(id="acme-" + "x" * 58, version="1.0.0-" + "a" * 44)
    assert packed(adapter, filename=weights_name(adapter)).artefact.adapter == adapter
