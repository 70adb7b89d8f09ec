"""`yoyo adapters sign`, `attest`, `evaluate`: a statement about an adapter, signed and attached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from yoyo.core.adapters import statements
from yoyo.core.adapters.trust import accepted
from yoyo.core.oci_manifest import bundle_manifest
from yoyo.errors import AdapterInvalid, SigningFailed, YoyoError
from yoyo.model.oci import IMAGE_MANIFEST, Descriptor
from yoyo.model.signing import PROVENANCE, SIGNATURE, TEST_RESULT
from yoyo.ops.adapters.examine import artefact_at, bundles_of

if TYPE_CHECKING:
    from yoyo.core.adapters.statements import Training
    from yoyo.model.adapter import AdapterVersion
    from yoyo.model.oci import Reference
    from yoyo.model.signing import Identity, Trust
    from yoyo.ops.adapters.context import AdapterContext


class Attached(NamedTuple):
    """A bundle that was attached to an adapter."""

    ref: Reference  # pinned, of the adapter
    adapter: AdapterVersion
    predicate_type: str
    identity: Identity
    bundle: str  # sha256:<hex>
    statement: str  # sha256:<hex> of what was signed
    already: bool = False  # the very same bundle was there, and nothing was sent
    notes: tuple[str, ...] = ()  # why whoever trusts as is configured here will not accept it


class TestResult(NamedTuple):
    """What an evaluation found."""

    verdict: str  # PASSED, WARNED or FAILED
    suite: str  # its name
    suite_uri: str = ""
    suite_digest: str = ""  # sha256:<hex>
    passed: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    url: str = ""


def sign(ctx: AdapterContext, ref: Reference, *, public_log: bool = False) -> Attached:
    """Sign the adapter at this pinned reference.

    Raises:
        SigningFailed, and what `artefact_at` and attaching raise.
    """
    adapter = artefact_at(ctx, ref).adapter
    statement = statements.signature(adapter.name, ref.digest)
    return _attach(ctx, ref, adapter, SIGNATURE, statement, public_log)


def attest(
    ctx: AdapterContext, ref: Reference, training: Training, *, public_log: bool = False
) -> Attached:
    """Attach the adapter's provenance; see `sign`."""
    adapter = artefact_at(ctx, ref).adapter
    with _writable():
        statement = statements.provenance(adapter.name, ref.digest, adapter, training)
    done = _attach(ctx, ref, adapter, PROVENANCE, statement, public_log)
    return done._replace(notes=(*done.notes, *_unknown_builder(ctx, training.builder_id)))


def evaluate(
    ctx: AdapterContext, ref: Reference, result: TestResult, *, public_log: bool = False
) -> Attached:
    """Attach an evaluator's word on the adapter; see `sign`."""
    adapter = artefact_at(ctx, ref).adapter
    with _writable():
        statement = statements.test_result(
            adapter.name,
            ref.digest,
            result=result.verdict,
            suite=(result.suite, result.suite_uri, result.suite_digest),
            passed=result.passed,
            warned=result.warned,
            failed=result.failed,
            url=result.url,
        )
    return _attach(ctx, ref, adapter, TEST_RESULT, statement, public_log)


@contextmanager
def _writable() -> Iterator[None]:
    try:
        yield
    except statements.StatementError as error:
        raise SigningFailed(
            "Nothing was signed: the statement would be refused.",
            why=str(error),
            fix="Correct what was given; docs/formats/attestations.md has whole examples.",
        ) from error


def _attach(
    ctx: AdapterContext,
    ref: Reference,
    adapter: AdapterVersion,
    predicate_type: str,
    statement: bytes,
    public_log: bool,
) -> Attached:
    signer = ctx.signer()
    if signer.public and not adapter.shared and not public_log:
        raise SigningFailed(
            f"{adapter.name} was not signed: the public log would tell who it is for.",
            why=f"Everybody can read there for ever that {signer.identity.subject} signs for "
            f"{adapter.module_id}.",
            fix="Set signing.trust_config to a Sigstore of your own, or signing.mode to key; "
            "`--public-log` signs it there all the same.",
        )
    bundle = signer.sign(statement)
    identity = signer.identity  # as the certificate names it: the token may have said otherwise
    attached = Attached(
        ref,
        adapter,
        predicate_type,
        identity,
        f"sha256:{sha256(bundle).hexdigest()}",
        f"sha256:{sha256(statement).hexdigest()}",
        notes=_unheard(ctx, predicate_type, identity),
    )
    # Keyless, no two are the same: each has a certificate of its own.
    if not identity.issuer and _is_there(ctx, ref, bundle):
        return attached._replace(already=True)
    registry = ctx.registry()
    document = registry.manifest(ref)
    subject = Descriptor(IMAGE_MANIFEST, ref.digest, len(document))
    made = bundle_manifest(subject, bundle, predicate_type, ctx.clock.now())
    registry.push(ref, made.config, made.config_bytes, _silent)
    registry.push(ref, made.layer, bundle, _silent)
    registry.attach(ref, subject, made.document)
    return attached


def _is_there(ctx: AdapterContext, ref: Reference, bundle: bytes) -> bool:
    try:
        return any(each.document == bundle for each in bundles_of(ctx, ref))
    except AdapterInvalid:  # too much refers to it to look at it all
        return False


def _unheard(ctx: AdapterContext, predicate_type: str, identity: Identity) -> tuple[str, ...]:
    """Whether the identity's word counts here; where nobody is configured, nothing is said."""
    trust = _trust(ctx)
    heard = accepted(trust, predicate_type) if trust is not None else ()
    if not heard or identity in heard:
        return ()
    return (f"trust here will not accept this: {identity} is not in {_LISTS[predicate_type]}",)


def _unknown_builder(ctx: AdapterContext, builder_id: str) -> tuple[str, ...]:
    trust = _trust(ctx)
    if trust is None or not trust.builder_ids or builder_id in trust.builder_ids:
        return ()
    return (
        f"trust here will not accept this: the builder {builder_id} is not in trust.builder_ids",
    )


def _trust(ctx: AdapterContext) -> Trust | None:
    """None: it cannot be read, which is nothing that signing needs."""
    try:
        return ctx.trust()
    except YoyoError:
        return None


_LISTS: Final = {
    SIGNATURE: "trust.signers",
    PROVENANCE: "trust.builders",
    TEST_RESULT: "trust.evaluators",
}


def _silent(_done: int, _total: int) -> None:
    """A bundle is too small to be worth a bar."""
