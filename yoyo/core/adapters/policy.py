"""Whether an adapter may be loaded: every check with its evidence, and refused when in doubt. Pure.

The bundles' cryptography was checked before; here it is judged what their statements claim.
docs/formats/attestations.md lists the checks and the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple

from yoyo.core.adapters.hearing import (
    Found,
    Heard,
    about,
    hear,
    nearest,
    of_role,
    together,
)
from yoyo.core.adapters.statements import (
    FAILED,
    PASSED,
    ProvenanceFacts,
    StatementError,
    UnknownBuildType,
    read_provenance,
    read_test_result,
)
from yoyo.core.adapters.trust import mistakes
from yoyo.core.manifest_fields import cleaned
from yoyo.errors import BundleRefused
from yoyo.model.adapter import AdapterVersion, Artefact, Registered, Stage
from yoyo.model.signing import PROVENANCE, SIGNATURE, TEST_RESULT, Identity, Trust

__all__ = ["REASONS", "Check", "Expected", "Found", "Verdict", "judge"]

# Why a check fails; docs/formats/attestations.md has the same list.
REASONS: Final = (
    *BundleRefused.REASONS, "trust", "unsigned", "unattested", "unevaluated", "predicate",
    "subject", "buildtype", "builder", "base", "data", "adapter", "author", "warned", "failed",
    "moved", "rejected", "signoff",
)  # fmt: skip
# Roles, as the ledger and `Signed` name them.
_SIGNATURE, _PROVENANCE, _SIGN_OFF = "signature", "provenance", "sign-off"
_MAX_TEXT: Final = 4096  # of evidence; a registry may hold 256 bundles

_FIELDS: Final = ("id", "version", "module_id", "tasks", "rank", "alpha", "architecture")


class Expected(NamedTuple):
    """What the statements are compared with."""

    artefact: Artefact
    base: str  # sha256:<hex> of the base model that is loaded; "": not known here
    data: str  # sha256:<hex> of the training data as registered; "": not registered
    registered: Registered | None
    sign_off_needed: bool  # False only where a version is registered, never where one is loaded


class Check(NamedTuple):
    """One step of the verdict."""

    name: str
    ok: bool
    evidence: str  # what was looked at
    why: str = ""  # it failed
    reason: str = ""  # one stable word


class Verdict(NamedTuple):
    """What was found about one adapter."""

    checks: tuple[Check, ...]
    signers: tuple[tuple[str, str], ...]  # role, identity; of what counted
    attestations: tuple[str, ...]  # sha256:<hex> of each bundle that counted
    sign_off: str  # sha256:<hex> of the evaluator's statement that counts; "": none does
    result: str  # what it says: passed, failed or ""
    stage: str = ""  # the registry file's; "": not registered

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, in order."""
        return tuple(each for each in self.checks if not each.ok)

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return bool(self.checks) and not self.failures


class _SignOff(NamedTuple):
    check: Check
    counted: tuple[Heard, ...]
    statement: str  # sha256:<hex>
    result: str


def judge(expected: Expected, found: Sequence[Found], trust: Trust) -> Verdict:
    """Judge one adapter by all bundles that refer to it. Never raises; no evidence is a refusal."""
    digest = expected.artefact.digest
    heard = [hear(each, digest, trust) for each in found]
    signed = of_role(heard, SIGNATURE)
    built = of_role(heard, PROVENANCE)
    authors = [each for each in (*signed, *built) if not each.reason]
    built = [_compared(each, expected, trust) for each in built]
    tested = [_tested(each, authors) for each in of_role(heard, TEST_RESULT)]
    sign_off = _sign_off(tested, expected, trust)
    checks = (
        _trust(trust),
        _bundles(heard),
        _role(_SIGNATURE, signed, "unsigned", trust.signers),
        _role(_PROVENANCE, built, "unattested", trust.builders, _compared_with(expected)),
        sign_off.check,
        _registry(expected, sign_off),
    )
    counted = [
        *((_SIGNATURE, each) for each in signed if not each.reason),
        *((_PROVENANCE, each) for each in built if not each.reason),
        *((_SIGN_OFF, each) for each in sign_off.counted),
    ]
    return Verdict(
        checks=tuple(_printable(each) for each in checks),
        signers=tuple(dict.fromkeys((role, str(each.identity)) for role, each in counted)),
        attestations=tuple(dict.fromkeys(each.found.bundle for _, each in counted)),
        sign_off=sign_off.statement,
        result=sign_off.result,
        stage=str(expected.registered.stage) if expected.registered else "",
    )


def _trust(trust: Trust) -> Check:
    wrong = mistakes(trust)
    evidence = (
        f"{trust.mode}: {len(trust.signers)} signers, {len(trust.builders)} builders, "
        f"{len(trust.evaluators)} evaluators, {len(trust.builder_ids)} builder ids"
    )
    return Check("trust", not wrong, evidence, "; ".join(wrong), "trust" if wrong else "")


def _bundles(heard: list[Heard]) -> Check:
    if not heard:
        return Check(
            "bundles", False, "no bundle", "nobody has signed anything about it", "unsigned"
        )
    refused = [each for each in heard if each.reason]
    evidence = f"{len(heard)} bundles, {len(refused)} of them refused"
    return Check("bundles", True, together(evidence, *map(about, refused)))


def _role(
    name: str, heard: list[Heard], missing: str, wanted: tuple[Identity, ...], compared: str = ""
) -> Check:
    """Passed when one statement of the role counts; the others are shown."""
    good = [each for each in heard if not each.reason]
    refused = [each for each in heard if each.reason]
    if good:
        return Check(name, True, together(*map(about, good), compared, *map(about, refused)))
    if not heard:
        return Check(name, False, "none", f"no bundle holds a {name} of this artefact", missing)
    closest = nearest(refused)
    why = closest.why
    if closest.reason in ("identity", "issuer"):
        why += f"; wanted one of: {', '.join(map(str, wanted)) or 'nobody'}"
    return Check(name, False, together(*map(about, refused)), why, closest.reason)


def _compared_with(expected: Expected) -> str:
    adapter = expected.artefact.adapter
    loaded = "the loaded base too" if expected.base else "the loaded base is not known here"
    return f"base {adapter.base} ({loaded}), data {adapter.data}, {adapter.name}"


def _compared(heard: Heard, expected: Expected, trust: Trust) -> Heard:
    """A provenance with what it says held against what is known."""
    if heard.reason or heard.statement is None:
        return heard
    try:
        facts = read_provenance(heard.statement)
    except UnknownBuildType as error:
        return heard.refused("buildtype", str(error))
    except StatementError as error:
        return heard.refused("malformed", str(error))
    for reason, misfit in (
        ("builder", _builder_misfit(facts, trust)),
        ("base", _base_misfit(facts, expected)),
        ("data", _data_misfit(facts, expected)),
        ("adapter", _adapter_misfit(facts.adapter, expected.artefact.adapter)),
    ):
        if misfit:
            return heard.refused(reason, misfit)
    return heard


def _builder_misfit(facts: ProvenanceFacts, trust: Trust) -> str:
    if facts.builder_id in trust.builder_ids:
        return ""
    return f"it was built by {facts.builder_id}, wanted one of: {', '.join(trust.builder_ids)}"


def _base_misfit(facts: ProvenanceFacts, expected: Expected) -> str:
    claimed, own = facts.adapter.base, expected.artefact.adapter.base
    if claimed != own:
        return f"the provenance is for the base {claimed}, the artefact for {own}"
    if expected.base and claimed != expected.base:
        return f"it was trained for the base {claimed}, the one that is loaded is {expected.base}"
    return ""


def _data_misfit(facts: ProvenanceFacts, expected: Expected) -> str:
    claimed, own = facts.adapter.data, expected.artefact.adapter.data
    if claimed != own:
        return f"the provenance names the training data {claimed}, the artefact {own}"
    if expected.data and claimed != expected.data:
        return f"it was trained on the data {claimed}, registered are {expected.data}"
    return ""


def _adapter_misfit(claimed: AdapterVersion, own: AdapterVersion) -> str:
    for field in _FIELDS:
        said, is_ = getattr(claimed, field), getattr(own, field)
        if said != is_:
            return f"the {field} is {said} in the provenance, {is_} in the artefact"
    return ""


def _tested(heard: Heard, authors: list[Heard]) -> Heard:
    """A test result, read; PASSED counts only from somebody who is no author."""
    if heard.reason or heard.statement is None:
        return heard
    try:
        result = read_test_result(heard.statement).result
    except StatementError as error:
        return heard.refused("malformed", str(error))
    if result == FAILED:
        return heard._replace(result=FAILED)
    if result != PASSED:
        return heard.refused("warned", f"the evaluator {heard.identity} says {result}, not PASSED")
    # The same address from another issuer is the same person.
    if any(
        each.identity.subject.casefold() == heard.identity.subject.casefold() for each in authors
    ):
        return heard.refused("author", f"sign-off by the author himself: {heard.identity}")
    return heard._replace(result=PASSED)


def _statement_digest(heard: Heard) -> str:
    payload = heard.found.attestation.payload if heard.found.attestation else b""
    return f"sha256:{sha256(payload).hexdigest()}"


def _sign_off(tested: list[Heard], expected: Expected, trust: Trust) -> _SignOff:
    """The evaluator's word: the registered one where it is needed, else the newest.

    A FAILED counts unless it is surely older: without attested times any FAILED does.
    """
    needed = expected.sign_off_needed
    passes = [each for each in tested if each.result == PASSED]
    fails = [each for each in tested if each.result == FAILED]
    chosen = _newest(passes)
    registered = expected.registered.sign_off if expected.registered else ""
    if needed and registered:
        chosen = next((each for each in passes if _statement_digest(each) == registered), chosen)
    failed = _newest([each for each in fails if chosen is None or not _older(each, chosen)])
    refused = [each for each in tested if each.reason]
    evidence = together(*map(about, [*passes, *fails, *refused])) or "none"
    if failed is not None:
        check = Check(_SIGN_OFF, not needed, evidence)
        if needed:
            why = f"the evaluator {failed.identity} says FAILED, signed {failed.when}"
            check = check._replace(why=why, reason="failed")
        return _SignOff(check, (failed,), _statement_digest(failed), "failed")
    if chosen is not None:
        check = Check(_SIGN_OFF, True, evidence)
        return _SignOff(check, (chosen,), _statement_digest(chosen), "passed")
    check = _role(_SIGN_OFF, tested, "unevaluated", trust.evaluators)
    if not needed:
        check = Check(_SIGN_OFF, True, f"{check.evidence}; not needed yet")
    return _SignOff(check, (), "", "")


def _newest(heard: list[Heard]) -> Heard | None:
    """The last one signed, by attested time; those without one come first."""

    def rank(each: Heard) -> datetime:
        at = each.found.attestation.signed_at if each.found.attestation else None
        return at or datetime.min.replace(tzinfo=UTC)

    return max(heard, key=rank, default=None)


def _older(one: Heard, other: Heard) -> bool:
    """Whether `one` was surely signed before `other`."""
    times = [
        each.found.attestation.signed_at if each.found.attestation else None
        for each in (one, other)
    ]
    return times[0] is not None and times[1] is not None and times[0] < times[1]


def _registry(expected: Expected, sign_off: _SignOff) -> Check:
    """What the registry file says is the same as what was found, and no rejection.

    A rejection counts also where no sign-off is needed: it may stand for a withheld `FAILED`.
    """
    artefact, registered = expected.artefact, expected.registered
    if registered is None:
        return Check("registry", True, "not registered: nothing to compare with")
    own, known = artefact.adapter, registered.adapter
    evidence = f"registered as {registered.ref}, stage {registered.stage}"
    for reason, what, said, is_ in (
        ("moved", "manifest", registered.digest, artefact.digest),
        ("base", "base", known.base, own.base),
        ("data", "training data", known.data, own.data),
        *(("adapter", each, getattr(known, each), getattr(own, each)) for each in _FIELDS),
    ):
        if said != is_:
            why = f"the {what} is registered as {said}, the artefact's is {is_}"
            return Check("registry", False, evidence, why, reason)
    if registered.stage is Stage.REJECTED:
        return Check("registry", False, evidence, _rejection(registered), "rejected")
    if expected.sign_off_needed and registered.sign_off != sign_off.statement:
        said = registered.sign_off or "none"
        why = f"the sign-off is registered as {said}, found {sign_off.statement or 'none'}"
        return Check("registry", False, evidence, why, "signoff")
    return Check("registry", True, evidence)


def _rejection(registered: Registered) -> str:
    said = "the registry file says rejected"
    if not registered.history:
        return said
    last = registered.history[-1]
    return f"{said} since {last.at.isoformat()} by {last.by}"


def _printable(check: Check) -> Check:
    """Names and reasons come from strangers: no control characters, no endless text."""
    evidence, why = (cleaned(each)[:_MAX_TEXT] for each in (check.evidence, check.why))
    return check._replace(evidence=evidence, why=why)
