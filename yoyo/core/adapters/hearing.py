"""What one bundle says, as far as every role asks for the same: who, when, about what. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from yoyo.core.adapters.statement_form import Statement, StatementError, read_statement
from yoyo.core.adapters.trust import accepted
from yoyo.core.manifest_fields import shown
from yoyo.model.signing import KEYLESS, PAYLOAD_TYPE, Attestation, Identity, Trust

NOBODY: Final = Identity("nobody")
# How far a refused bundle came, the furthest first: what is told when none of a role counts.
_NEAREST: Final = (
    "author", "warned", "data", "base", "adapter", "builder", "buildtype", "subject", "predicate",
    "payload", "issuer", "identity", "timestamp", "log", "certificate", "signature", "mode",
    "untrusted", "malformed",
)  # fmt: skip


class Found(NamedTuple):
    """A bundle that refers to the artefact, as the verifier left it."""

    bundle: str  # sha256:<hex> of its bytes
    claimed: str  # the predicate type as the unverified payload says it; "": unreadable
    attestation: Attestation | None  # None: it did not verify
    reason: str  # BundleRefused's; "" when it verified
    why: str


class Heard(NamedTuple):
    """A bundle, judged: it counts while `reason` is empty."""

    found: Found
    statement: Statement | None = None
    reason: str = ""
    why: str = ""
    result: str = ""  # of a test result that counts

    @property
    def identity(self) -> Identity:
        """Who signed it."""
        return self.found.attestation.identity if self.found.attestation else NOBODY

    @property
    def when(self) -> str:
        """When it was signed, as somebody else attests it."""
        at = self.found.attestation.signed_at if self.found.attestation else None
        return at.isoformat() if at else "at no attested time"

    def refused(self, reason: str, why: str) -> Heard:
        """The same bundle, which does not count."""
        return self._replace(reason=reason, why=why)


def hear(found: Found, digest: str, trust: Trust) -> Heard:
    """Check what does not depend on the role; `digest` is the manifest's that it must be about."""
    heard = _read(found)
    if heard.statement is None or found.attestation is None:
        return heard
    claimed = heard.statement.predicate_type
    if claimed != found.claimed:
        return heard.refused(
            "predicate", f"it was offered as {shown(found.claimed)}, and is {shown(claimed)}"
        )
    misfit = _signer_misfit(found.attestation, claimed, trust)
    if misfit:
        return heard.refused(*misfit)
    named = tuple(each for _, each in heard.statement.subjects)
    if named != (digest,):
        return heard.refused(
            "subject", f"it is about {', '.join(named[:3])}, wanted {digest} and nothing else"
        )
    return heard


def of_role(heard: list[Heard], predicate_type: str) -> list[Heard]:
    """Those of one predicate type, and the refused ones that may have been of it."""
    return [
        each
        for each in heard
        if each.found.claimed == predicate_type
        or (each.statement is not None and each.statement.predicate_type == predicate_type)
        or (each.reason and not each.found.claimed)
    ]


def nearest(refused: list[Heard]) -> Heard:
    """Of these, which are not none, the one that came furthest."""
    last = len(_NEAREST)
    return min(
        refused,
        key=lambda each: _NEAREST.index(each.reason) if each.reason in _NEAREST else last,
    )


def about(heard: Heard) -> str:
    """One bundle in the evidence."""
    if heard.reason:
        return f"refused ({heard.reason}): {heard.why} [bundle {heard.found.bundle}]"
    result = f"{heard.result} by " if heard.result else ""
    return f"{result}{heard.identity}, {heard.when} [bundle {heard.found.bundle}]"


def together(*parts: str) -> str:
    """Parts of evidence in one text."""
    return "; ".join(part for part in parts if part)


def _read(found: Found) -> Heard:
    """The statement of a bundle that verified; without one there is a reason."""
    heard = Heard(found)
    attestation = found.attestation
    if attestation is None:
        return heard.refused(found.reason or "malformed", found.why or "it did not verify")
    if attestation.payload_type != PAYLOAD_TYPE:
        return heard.refused(
            "payload", f"its payload is {shown(attestation.payload_type)}, not {PAYLOAD_TYPE}"
        )
    try:
        return heard._replace(statement=read_statement(attestation.payload))
    except StatementError as error:
        return heard.refused("malformed", f"its statement: {error}")


def _signer_misfit(
    attestation: Attestation, predicate_type: str, trust: Trust
) -> tuple[str, str] | None:
    """Identity and time once more: the verifier was told whom to accept by an unverified claim."""
    wanted = accepted(trust, predicate_type)
    who, at = attestation.identity, attestation.signed_at
    if who not in wanted:
        same = any(each.subject == who.subject for each in wanted)
        return "issuer" if same else "identity", f"it was signed by {who}"
    if (trust.mode == KEYLESS and at is None) or (at is not None and at.tzinfo is None):
        return "timestamp", "nobody attests when it was signed"
    if trust.mode == KEYLESS and attestation.log_index is None:
        return "log", "it is in no transparency log"
    return None
