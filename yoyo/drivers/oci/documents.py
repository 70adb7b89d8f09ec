"""Manifests and indexes by tag or digest: what both the registry and its referrers are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from yoyo.core.oci_manifest import DOCKER_LIST, DOCKER_MANIFEST, digest_of, is_digest
from yoyo.drivers.oci import faults
from yoyo.errors import ArtefactCorrupt, StoreFull
from yoyo.model.oci import IMAGE_INDEX, IMAGE_MANIFEST, MAX_MANIFEST_BYTES, Reference

if TYPE_CHECKING:
    import requests

    from yoyo.drivers.oci.session import Session

# With less, registries convert, or hide, what a tag really stands for.
_ACCEPT: Final = {
    "Accept": ", ".join((IMAGE_MANIFEST, IMAGE_INDEX, DOCKER_MANIFEST, DOCKER_LIST)),
    "Accept-Encoding": "identity",
}


def get_document(session: Session, ref: Reference, name: str) -> bytes | requests.Response:
    """The document of a tag or a digest; the answer where the registry has none (404).

    Raises:
        ArtefactCorrupt: too large, or of another digest than `name`.
        RegistryUnavailable: it is a web page.
    """
    answer = session.request("GET", ref, f"manifests/{name}", headers=_ACCEPT)
    if answer.status_code == 404:
        return answer
    if answer.status_code != 200:
        raise faults.unexpected(ref, answer)
    document = answer.content
    if faults.is_web_page(document):
        raise faults.web_page(ref.registry, "a manifest")
    if len(document) > MAX_MANIFEST_BYTES:
        raise _corrupt(ref, name, f"{len(document)} bytes came, at most {MAX_MANIFEST_BYTES}.")
    if is_digest(name) and digest_of(document) != name:
        raise _corrupt(ref, name, f"What came has the digest {digest_of(document)}.")
    return document


def put_document(
    session: Session,
    ref: Reference,
    name: str,
    document: bytes,
    media_type: str,
    *,
    retry: bool = True,
) -> requests.Response:
    """Push a document under a tag or its digest; the registry's answer, for its headers.

    Raises:
        ArtefactCorrupt: the registry kept another document.
        StoreFull: it takes no more.
    """
    answer = session.request(
        "PUT",
        ref,
        f"manifests/{name}",
        actions="pull,push",
        headers={"Content-Type": media_type},
        data=document,
        retry=retry,
    )
    if answer.status_code in (413, 507):
        raise StoreFull(
            f"{ref.place} does not take the manifest.",
            why=faults.answered(ref.registry, answer),
            fix="Make room in the registry, or raise its limit, then run the command again.",
        )
    if answer.status_code not in (200, 201, 202):
        raise faults.unexpected(ref, answer)
    kept = answer.headers.get("Docker-Content-Digest", "")
    if is_digest(kept) and kept != digest_of(document):
        raise _corrupt(ref, name, f"The registry kept it as {kept}.")
    return answer


def next_page(ref: Reference, answer: requests.Response) -> str:
    """The address of a list's next page; "": this was the last.

    Raises:
        RegistryUnavailable: it would be on another host.
    """
    link = answer.links.get("next", {}).get("url", "")
    if not link:
        return ""
    found = urljoin(answer.url, link)
    if urlsplit(found).netloc != urlsplit(answer.url).netloc:
        raise faults.unavailable(ref.registry, "Its list goes on at another host.")
    return found


def _corrupt(ref: Reference, name: str, why: str) -> ArtefactCorrupt:
    return ArtefactCorrupt(
        f"{ref.place} has a wrong document for {name}.",
        why=why,
        fix="Do not use it. Push the artefact anew, under another tag, from where it was made.",
    )
