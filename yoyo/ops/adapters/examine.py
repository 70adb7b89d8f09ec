"""Verifying an adapter: what its registry holds, checked bundle by bundle, judged as a whole."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.adapters.artefact import read_artefact
from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.adapters.policy import Expected, Found, judge
from yoyo.core.adapters.trust import accepted
from yoyo.core.dsse import claimed_predicate_type
from yoyo.core.oci_manifest import OciError, parse_manifest
from yoyo.errors import (
    AdapterInvalid,
    AdapterRefused,
    BundleRefused,
    ConfigInvalid,
    YoyoError,
)
from yoyo.model.signing import BUNDLE_TYPE, MAX_BUNDLE_BYTES

if TYPE_CHECKING:
    from yoyo.core.adapters.policy import Verdict
    from yoyo.model.adapter import Artefact, Registered
    from yoyo.model.oci import Reference, Referrer
    from yoyo.ops.adapters.context import AdapterContext


class Bundle(NamedTuple):
    """A bundle that refers to an adapter; nothing about it is believed yet."""

    digest: str  # sha256:<hex> of its bytes
    document: bytes
    claimed: str  # the predicate type that its payload names


class Examined(NamedTuple):
    """An adapter and the verdict on it."""

    ref: Reference  # pinned
    artefact: Artefact
    verdict: Verdict


def artefact_at(ctx: AdapterContext, ref: Reference) -> Artefact:
    """What the manifest at this pinned reference says.

    Raises:
        AdapterInvalid: it is no adapter.
        ArtefactMissing, ArtefactCorrupt, RegistryUnavailable, RegistryDenied.
    """
    document = ctx.registry().manifest(ref)
    try:
        return read_artefact(document, ref.digest)
    except InvalidAdapter as error:
        raise AdapterInvalid(
            f"{ref} is no adapter that yoyo loads.",
            why=str(error),
            fix="Pack it with `yoyo adapters pack`, and push that.",
        ) from error


def bundles_of(ctx: AdapterContext, ref: Reference) -> tuple[Bundle, ...]:
    """Every bundle that refers to the manifest.

    Raises:
        RegistryUnavailable, RegistryDenied.
        AdapterInvalid: too much refers to it to look at all of it.
    """
    found = (_bundle(ctx, ref, each) for each in ctx.registry().referrers(ref, ref.digest))
    return tuple(each for each in found if each is not None)


def _bundle(ctx: AdapterContext, ref: Reference, referrer: Referrer) -> Bundle | None:
    """None: it is something else that refers to the adapter.

    A bundle that cannot be had is kept without its bytes: shown as refused, and not as absent.
    """
    if referrer.document and referrer.descriptor.artifact_type != BUNDLE_TYPE:
        return None
    try:
        layers = parse_manifest(referrer.document).layers
    except OciError:
        return Bundle(referrer.descriptor.digest, b"", "")
    if len(layers) != 1:
        return Bundle(referrer.descriptor.digest, b"", "")
    if layers[0].size > MAX_BUNDLE_BYTES:
        return Bundle(layers[0].digest, b"", "")
    try:
        document = ctx.registry().blob(ref, layers[0])
    except YoyoError as error:
        if error.code in ("RegistryUnavailable", "RegistryDenied"):
            raise
        return Bundle(layers[0].digest, b"", "")
    return Bundle(
        f"sha256:{sha256(document).hexdigest()}", document, claimed_predicate_type(document)
    )


def examine(
    ctx: AdapterContext,
    ref: Reference,
    *,
    base: str = "",
    registered: Registered | None = None,
    sign_off: bool = True,
) -> Examined:
    """Verify the adapter at this pinned reference. Nothing is raised for a refusal: see `judged`.

    `base` is the digest of the model that it would be loaded into, where that is known; with
    `sign_off` an evaluator's word is needed too.

    Raises:
        AdapterInvalid, ArtefactMissing, ArtefactCorrupt, RegistryUnavailable, RegistryDenied,
        ConfigInvalid: there is nothing to check bundles against (no trusted root, no keys).
    """
    artefact = artefact_at(ctx, ref)
    trust, verifier = ctx.trust(), ctx.verifier()
    found = []
    for each in bundles_of(ctx, ref):
        try:
            attestation = verifier.verify(each.document, accepted(trust, each.claimed))
            found.append(Found(each.digest, each.claimed, attestation, "", ""))
        except BundleRefused as refused:
            if refused.reason == "untrusted":
                raise ConfigInvalid(
                    "No signature can be checked.",
                    why=refused.why,
                    fix="Pin what is trusted: trust.root, or public keys and trust.mode key "
                    "(docs/guides/adapters.md).",
                ) from refused
            found.append(Found(each.digest, each.claimed, None, refused.reason, refused.why))
    expected = Expected(
        artefact,
        base,
        registered.adapter.data if registered is not None else "",
        registered,
        sign_off,
    )
    return Examined(ref, artefact, judge(expected, found, trust))


def refusal(examined: Examined, *, explained: bool = False) -> AdapterRefused | None:
    """The error for a verdict that is no pass; None for one that is. `explained`: every check is
    shown beside it already.
    """
    failures = [check for check in examined.verdict.checks if not check.ok]
    if not failures:
        return None
    first = failures[0]
    return AdapterRefused(
        f"{examined.artefact.adapter.name} was refused ({first.reason}).",
        why=first.why,
        fix="Mend what the first FAILED check names; docs/guides/adapters.md says how."
        if explained
        else f"See every check: `yoyo adapters verify {examined.ref} --explain`.",
        details=tuple(f"{check.name}: {check.why}" for check in failures),
    )


def judged(examined: Examined) -> Examined:
    """The same, if it passed.

    Raises:
        AdapterRefused.
    """
    error = refusal(examined)
    if error is not None:
        raise error
    return examined
