"""Manifests and indexes come from registries that anybody may write to: read strictly, here."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from yoyo.core.manifest_fields import ManifestError, integer, parsed, shown, text
from yoyo.model.oci import (
    EMPTY_CONFIG,
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    MAX_MANIFEST_BYTES,
    Descriptor,
)
from yoyo.model.signing import BUNDLE_TYPE

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
# image-spec, manifest.md, "Guidance for an Empty Descriptor".
EMPTY_BYTES: Final = b"{}"
TITLE: Final = "org.opencontainers.image.title"
CREATED: Final = "org.opencontainers.image.created"
# cosign's specs/BUNDLE_SPEC.md, "Annotations".
BUNDLE_CONTENT: Final = "dev.sigstore.bundle.content"
BUNDLE_PREDICATE: Final = "dev.sigstore.bundle.predicateType"
MAX_LAYERS: Final = 128  # the largest image that registries and runtimes agree on
MAX_ANNOTATION_CHARS: Final = 65536

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
# RFC 6838, section 4.2: restricted names, two of them.
_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class OciError(ValueError):
    """The document is no such manifest or index; the text says why, in printable characters."""


class OciManifest(NamedTuple):
    """An image manifest (image-spec 1.1, manifest.md)."""

    media_type: str
    artifact_type: str  # "" where the manifest has none
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: tuple[tuple[str, str], ...]  # by key

    @property
    def annotated(self) -> dict[str, str]:
        """The annotations by their key."""
        return dict(self.annotations)

    @property
    def kind(self) -> str:
        """What the artefact is: artifactType, else the config's type, as the image-spec says."""
        return self.artifact_type or self.config.media_type


class BundleManifest(NamedTuple):
    """What is pushed for one Sigstore bundle: the blobs first, then the document."""

    document: bytes
    layer: Descriptor  # the bundle
    config: Descriptor
    config_bytes: bytes


def digest_of(data: bytes) -> str:
    """sha256:<hex> of the bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def is_digest(value: object) -> bool:
    """Whether it is sha256:<64 lowercase hexadecimal digits>."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def parse_manifest(document: bytes) -> OciManifest:
    """An image manifest's document, with every known field checked; unknown keys are allowed.

    Raises:
        OciError.
    """
    fields = _opened(document)
    try:
        _check_kind(fields, IMAGE_MANIFEST)
        return _manifest(fields)
    except ManifestError as error:
        raise OciError(str(error)) from error


def parse_index(document: bytes) -> tuple[Descriptor, ...]:
    """The entries of an image index, in its order.

    An entry that is no descriptor of ours (another digest algorithm, no size, ...) is left out:
    one bad entry must not hide the others.

    Raises:
        OciError: the document as a whole is no index.
    """
    found = []
    for entry in _index(document)["manifests"]:
        try:
            found.append(_descriptor(entry, "an entry"))
        except ManifestError:
            continue
    return tuple(found)


def index_with(document: bytes | None, entry: Descriptor) -> bytes:
    """The index with that entry in it, and everything else as it was; None: there is no index.

    Raises:
        OciError: the document is no index, or it would grow beyond MAX_MANIFEST_BYTES.
    """
    index: dict[str, Any] = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []}
    if document is not None:
        index = _index(document)
    others = [
        each
        for each in index["manifests"]
        if not (isinstance(each, dict) and each.get("digest") == entry.digest)
    ]
    changed = _compact({**index, "manifests": [*others, _described(entry)]})
    _check_size(changed)
    return changed


def build_manifest(
    *,
    artifact_type: str,
    config: Descriptor,
    layers: tuple[Descriptor, ...],
    subject: Descriptor | None = None,
    annotations: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """An image manifest's document: the same values give the same bytes.

    Raises:
        OciError: a value that `parse_manifest` would refuse.
    """
    fields: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "artifactType": artifact_type,
        "config": _described(config),
        "layers": [_described(each) for each in layers],
    }
    if subject is not None:
        fields["subject"] = _described(subject)
    if annotations:
        if len(dict(annotations)) != len(annotations):
            raise OciError("an annotation is there twice")
        fields["annotations"] = dict(annotations)
    document = _compact(fields)
    parse_manifest(document)
    return document


def bundle_manifest(
    subject: Descriptor, bundle: bytes, predicate_type: str, created: datetime
) -> BundleManifest:
    """The referrer that brings one Sigstore bundle, in cosign's layout (specs/BUNDLE_SPEC.md).

    `created` has a time zone; it is written in UTC with whole seconds (RFC 3339).

    Raises:
        OciError.
    """
    if created.tzinfo is None:
        raise OciError("the time of a bundle needs a time zone")
    layer_digest = digest_of(bundle)
    # A colon is no character for a file's name everywhere; tools save the layer by this title.
    title = f"{layer_digest.replace(':', '-')}.sigstore.json"
    layer = Descriptor(BUNDLE_TYPE, layer_digest, len(bundle), ((TITLE, title),))
    config = Descriptor(EMPTY_CONFIG, digest_of(EMPTY_BYTES), len(EMPTY_BYTES))
    document = build_manifest(
        artifact_type=BUNDLE_TYPE,
        config=config,
        layers=(layer,),
        subject=Descriptor(subject.media_type, subject.digest, subject.size),
        annotations=(
            (BUNDLE_CONTENT, "dsse-envelope"),
            (BUNDLE_PREDICATE, predicate_type),
            (CREATED, created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
        ),
    )
    return BundleManifest(document, layer, config, EMPTY_BYTES)


def _opened(document: bytes) -> dict[str, Any]:
    _check_size(document)
    try:
        found = parsed(document, "a manifest")
    except ManifestError as error:
        raise OciError(str(error)) from error
    if not isinstance(found, dict):
        raise OciError("the document is not a JSON object")
    return found


def _check_size(document: bytes) -> None:
    if len(document) > MAX_MANIFEST_BYTES:
        raise OciError(f"{len(document)} bytes are more than the {MAX_MANIFEST_BYTES} allowed")


def _check_kind(fields: dict[str, Any], kind: str) -> None:
    """One document must not be a manifest for one reader and an index for the next."""
    version = fields.get("schemaVersion")
    if type(version) is not int or version != 2:
        raise OciError("schemaVersion is not 2")
    said = fields.get("mediaType", kind)  # the image-spec lets it be left out
    if said in (IMAGE_INDEX, DOCKER_LIST) and kind == IMAGE_MANIFEST:
        raise OciError("it is an index of several images, not one image manifest")
    if said == DOCKER_MANIFEST:
        raise OciError("it is a Docker image manifest (version 2), not an OCI image manifest")
    if said != kind:
        raise OciError(f"its mediaType is {shown(said)}, not {kind}")
    foreign = ("manifests",) if kind == IMAGE_MANIFEST else ("config", "layers")
    for key in foreign:
        if key in fields:
            raise OciError(f"it has the key {key}, which is not one of {kind}")


def _index(document: bytes) -> dict[str, Any]:
    """The index's fields, with a list of `manifests`."""
    fields = _opened(document)
    _check_kind(fields, IMAGE_INDEX)
    # Registries in Go write an empty list as null.
    entries = fields.get("manifests")
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise OciError("manifests is not a list")
    return {**fields, "manifests": entries}


def _manifest(fields: dict[str, Any]) -> OciManifest:
    artifact_type = fields.get("artifactType", "")
    if artifact_type != "":
        artifact_type = _media_type(artifact_type, "artifactType")
    layers = fields.get("layers")
    if not isinstance(layers, list):
        raise ManifestError("layers is not a list")
    if len(layers) > MAX_LAYERS:
        raise ManifestError(f"it has {len(layers)} layers, at most {MAX_LAYERS}")
    subject = fields.get("subject")
    return OciManifest(
        media_type=IMAGE_MANIFEST,
        artifact_type=artifact_type,
        config=_descriptor(fields.get("config"), "config"),
        layers=tuple(_descriptor(each, f"layer {at}") for at, each in enumerate(layers)),
        subject=None if subject is None else _descriptor(subject, "subject"),
        annotations=_annotations(fields.get("annotations"), "the manifest"),
    )


def _descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestError(f"{what} is not an object")
    digest = value.get("digest")
    if not is_digest(digest):
        raise ManifestError(f"{what} has the digest {shown(digest)}, not sha256:<64 hex digits>")
    artifact_type = value.get("artifactType", "")
    if artifact_type != "":
        artifact_type = _media_type(artifact_type, f"{what}'s artifactType")
    return Descriptor(
        media_type=_media_type(value.get("mediaType"), f"{what}'s mediaType"),
        digest=str(digest),
        size=integer(value.get("size"), f"{what}'s size"),
        annotations=_annotations(value.get("annotations"), what),
        artifact_type=artifact_type,
    )


def _media_type(value: object, what: str) -> str:
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        raise ManifestError(f"{what} is {shown(value)}, which is no media type")
    return value


def _annotations(value: object, what: str) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise ManifestError(f"{what}'s annotations are not an object")
    for key, content in value.items():
        text(key, f"a key of {what}'s annotations")
        # Descriptions have line breaks: whoever shows them makes them fit.
        if not isinstance(content, str):
            raise ManifestError(f"{what}'s annotation {shown(key)} is not text")
        if len(content) > MAX_ANNOTATION_CHARS or _SURROGATE.search(content):
            raise ManifestError(f"{what}'s annotation {shown(key)} is too long, or no Unicode")
    return tuple(sorted(value.items()))


def _described(value: Descriptor) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "mediaType": value.media_type,
        "digest": value.digest,
        "size": value.size,
    }
    if value.artifact_type:
        fields["artifactType"] = value.artifact_type
    if value.annotations:
        fields["annotations"] = dict(value.annotations)
    return fields


def _compact(fields: dict[str, Any]) -> bytes:
    try:
        written = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return written.encode()
    except (TypeError, ValueError) as error:
        raise OciError(f"it cannot be written as JSON: {type(error).__name__}") from error
