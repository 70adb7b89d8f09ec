"""Manifests and indexes: what is read, what is refused, and what is written byte for byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.oci_manifest import (
    MAX_LAYERS,
    OciError,
    build_manifest,
    bundle_manifest,
    digest_of,
    index_with,
    parse_index,
    parse_manifest,
)
from yoyo.model.oci import (
    EMPTY_CONFIG,
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    MAX_MANIFEST_BYTES,
    Descriptor,
)
from yoyo.model.signing import BUNDLE_TYPE, PROVENANCE

CONFIG = Descriptor("application/vnd.cncf.model.config.v1+json", digest_of(b"config"), 6)
LAYER = Descriptor(
    "application/vnd.cncf.model.weight.v1.raw", digest_of(b"w"), 1, (("a", "b"), ("title", "x"))
)
SUBJECT = Descriptor(IMAGE_MANIFEST, digest_of(b"subject"), 7)


def fields(**changes: Any) -> dict[str, Any]:
    """A good manifest's fields, with some changed; None takes one out."""
    document = build_manifest(
        artifact_type="application/vnd.example", config=CONFIG, layers=(LAYER,), subject=SUBJECT
    )
    found: dict[str, Any] = {**json.loads(document), **changes}
    return {key: value for key, value in found.items() if value is not None}


def written(**changes: Any) -> bytes:
    return json.dumps(fields(**changes)).encode()


_digests = st.binary(max_size=4).map(digest_of)
_types = st.from_regex(r"[a-z0-9][a-z0-9.+-]{0,20}/[a-z0-9][a-z0-9.+-]{0,20}", fullmatch=True)
_keys = st.from_regex(r"[a-zA-Z][a-zA-Z0-9._-]{0,20}", fullmatch=True)
_values = st.text(st.characters(codec="utf-8"), max_size=40)
_annotations = st.dictionaries(_keys, _values, max_size=4).map(
    lambda found: tuple(sorted(found.items()))
)
_descriptors = st.builds(
    Descriptor,
    media_type=_types,
    digest=_digests,
    size=st.integers(0, 2**63 - 1),
    annotations=_annotations,
    artifact_type=st.just("") | _types,
)


@given(
    _types,
    _descriptors,
    st.lists(_descriptors, max_size=5).map(tuple),
    st.none() | _descriptors,
    _annotations,
)
def test_what_is_built_reads_back(
    artifact_type: str,
    config: Descriptor,
    layers: tuple[Descriptor, ...],
    subject: Descriptor | None,
    annotations: tuple[tuple[str, str], ...],
) -> None:
    document = build_manifest(
        artifact_type=artifact_type, config=config, layers=layers, subject=subject,
        annotations=annotations,
    )  # fmt: skip
    found = parse_manifest(document)
    assert found == (IMAGE_MANIFEST, artifact_type, config, layers, subject, annotations)
    again = build_manifest(
        artifact_type=found.artifact_type, config=found.config, layers=found.layers,
        subject=found.subject, annotations=tuple(reversed(found.annotations)),
    )  # fmt: skip
    assert again == document


def test_a_manifest_is_written_with_sorted_keys_and_no_spaces() -> None:
    document = build_manifest(
        artifact_type="a/b", config=Descriptor("c/d", digest_of(b""), 0), layers=()
    )
    assert document == (
        b'{"artifactType":"a/b","config":{"digest":"sha256:'
        b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        b'","mediaType":"c/d","size":0},"layers":[],'
        b'"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    )


def test_unknown_keys_and_a_missing_media_type_are_allowed() -> None:
    found = parse_manifest(
        written(
            mediaType=None, artifactType=None, extra={"x": [1]}, annotations={"k": "two\nlines"}
        )
    )
    assert found.media_type == IMAGE_MANIFEST
    assert found.kind == CONFIG.media_type
    assert found.annotated == {"k": "two\nlines"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schemaVersion": 1}, "schemaVersion"),
        ({"schemaVersion": True}, "schemaVersion"),
        ({"schemaVersion": "2"}, "schemaVersion"),
        ({"mediaType": IMAGE_INDEX}, "index of several"),
        ({"mediaType": "application/vnd.docker.distribution.manifest.list.v2+json"}, "index of"),
        ({"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}, "Docker"),
        ({"mediaType": "application/json"}, "application/json"),
        ({"mediaType": 3}, "type int"),
        ({"manifests": []}, "manifests"),
        ({"config": []}, "config is not an object"),
        ({"config": {**CONFIG._asdict()}}, "digest|media type"),
        ({"layers": {}}, "layers is not a list"),
        ({"layers": [None]}, "layer 0"),
        ({"layers": [fields()["layers"][0]] * (MAX_LAYERS + 1)}, "at most 128"),
        ({"subject": "sha256:" + "0" * 64}, "subject"),
        ({"artifactType": 5}, "artifactType"),
        ({"artifactType": "no type"}, "media type"),
        ({"annotations": ["a"]}, "annotations"),
        ({"annotations": {"a": 1}}, "not text"),
        ({"annotations": {"a": None}}, "not text"),
        ({"annotations": {"a\x1b": ""}}, "control character"),
        ({"annotations": {"a": "\ud800"}}, "Unicode"),
        ({"annotations": {"a": "x" * 65537}}, "too long"),
        ({"size": 1.5}, "1.5"),
    ],
)
def test_a_manifest_with_a_wrong_field_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(OciError, match=said):
        parse_manifest(written(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "sha256:" + "A" * 64},
        {"digest": "sha256:" + "0" * 63},
        {"digest": "sha512:" + "0" * 128},
        {"digest": "sha256:" + "0" * 64 + "\n"},
        {"digest": None},
        {"digest": 5},
        {"size": -1},
        {"size": 2**63},
        {"size": True},
        {"size": "1"},
        {"mediaType": None},
        {"mediaType": ""},
        {"mediaType": "text/plain; charset=x"},
        {"annotations": {"a": []}},
        {"artifactType": "\x00/x"},
    ],
)
@pytest.mark.parametrize("where", ["config", "layers", "subject"])
def test_a_wrong_descriptor_is_refused(changes: dict[str, Any], where: str) -> None:
    good = fields()["config"]
    assert parse_manifest(written(**{where: [good] if where == "layers" else good}))
    bad = {**good, **changes}
    with pytest.raises(OciError):
        parse_manifest(written(**{where: [bad] if where == "layers" else bad}))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"9" * 10_000 + b"}",
        written() + b" " * MAX_MANIFEST_BYTES,
        written()[:-1] + b',"layers":[]}',  # the first and the last reader would differ
        written()[:-1] + b',"x":NaN}',
    ],
    ids=range(11),
)
def test_a_document_that_is_no_manifest_is_refused(document: bytes) -> None:
    for parse in (parse_manifest, parse_index):
        with pytest.raises(OciError):
            parse(document)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size"]
        ),
        inner,
    ),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_hostile_bytes_raise_nothing_else(document: bytes) -> None:
    for parse in (parse_manifest, parse_index):
        said = ""
        try:
            parse(document)
        except OciError as error:
            said = str(error)
        assert said.isprintable()


def test_what_could_not_be_read_is_not_built() -> None:
    with pytest.raises(OciError, match="media type"):
        build_manifest(artifact_type="x", config=CONFIG, layers=())
    with pytest.raises(OciError, match="size"):
        build_manifest(artifact_type="a/b", config=CONFIG._replace(size=-1), layers=())
    with pytest.raises(OciError, match="twice"):
        build_manifest(
            artifact_type="a/b", config=CONFIG, layers=(), annotations=(("a", "1"), ("a", "2"))
        )
    with pytest.raises(OciError, match="UnicodeEncodeError"):
        build_manifest(
            artifact_type="a/b", config=CONFIG, layers=(), annotations=(("a", "\ud800"),)
        )


def test_a_bundle_goes_into_cosigns_layout() -> None:
    bundle = b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}'
    berlin = timezone(timedelta(hours=1))
    made = bundle_manifest(
        SUBJECT._replace(annotations=(("not", "copied"),)),
        bundle,
        PROVENANCE,
        datetime(2026, 11, 21, 18, 30, 15, 999_999, tzinfo=berlin),
    )
    digest = digest_of(bundle)
    assert json.loads(made.document) == {
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "artifactType": BUNDLE_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        },
        "layers": [
            {
                "mediaType": BUNDLE_TYPE,
                "digest": digest,
                "size": len(bundle),
                "annotations": {
                    "org.opencontainers.image.title": f"sha256-{digest[7:]}.sigstore.json"
                },
            }
        ],
        "subject": {"mediaType": IMAGE_MANIFEST, "digest": SUBJECT.digest, "size": 7},
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1",
            "org.opencontainers.image.created": "2026-11-21T17:30:15Z",
        },
    }
    assert made.config == Descriptor(EMPTY_CONFIG, digest_of(b"{}"), 2)
    assert made.config_bytes == b"{}"
    assert made.layer.digest == digest
    with pytest.raises(OciError, match="time zone"):
        bundle_manifest(
            SUBJECT, bundle, PROVENANCE, datetime(2026, 11, 21, tzinfo=UTC).replace(tzinfo=None)
        )


def test_an_index_gives_its_good_entries() -> None:
    good = fields()["config"]
    entries = [good, None, {}, {**good, "digest": "sha512:" + "0" * 128}, {**good, "size": 8}]
    document = json.dumps({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": entries})
    assert [each.size for each in parse_index(document.encode())] == [6, 8]


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "manifests": []},
        {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [], "layers": []},
        {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [], "config": {}},
        {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": {}},
        {"schemaVersion": 1, "mediaType": IMAGE_INDEX, "manifests": []},
        {"manifests": []},
    ],
)
def test_what_is_no_index_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(OciError):
        parse_index(json.dumps(document).encode())


def test_an_entry_is_added_to_an_index_and_the_rest_is_kept() -> None:
    assert parse_index(b'{"schemaVersion":2,"manifests":null}') == ()
    first = index_with(None, LAYER)
    assert parse_index(first) == (LAYER,)
    assert index_with(first, LAYER) == first
    other = {"mediaType": "a/b", "digest": "sha512:" + "0" * 128, "size": 1, "x": {"y": [None]}}
    before = json.loads(index_with(None, LAYER))
    before |= {"manifests": [other], "annotations": {"k": "v"}}
    after = json.loads(index_with(json.dumps(before).encode(), LAYER))
    assert after["manifests"][0] == other
    assert after["annotations"] == {"k": "v"}
    assert after["manifests"][1]["digest"] == LAYER.digest
    with pytest.raises(OciError, match="more than"):
        index_with(
            json.dumps({**before, "annotations": {"k": "v" * (MAX_MANIFEST_BYTES - 400)}}).encode(),
            LAYER,
        )
