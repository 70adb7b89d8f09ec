"""Whose word counts for what: trust as it is configured becomes identities. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from yoyo.core.manifest_fields import shown
from yoyo.model.signing import (
    KEY,
    KEYLESS,
    PROVENANCE,
    SIGNATURE,
    TEST_RESULT,
    Identity,
    Trust,
    TrustSettings,
)

_KEY_SUBJECT: Final = re.compile(r"key:sha256:[0-9a-f]{64}\Z")
# Printable ASCII without the space and `*`: patterns are not supported, and would never match.
_WORD: Final = re.compile(r"[!-)+-~]{1,1024}\Z")


class TrustError(ValueError):
    """The configured trust has a mistake; the text says which."""


def trust_of(settings: TrustSettings, key_identity: Callable[[str], Identity]) -> Trust:
    """Identities from configuration; in key mode each entry is a path that `key_identity` reads.

    Raises:
        TrustError: an unknown mode, or an entry that is not `SUBJECT ISSUER` in keyless mode.
    """
    if settings.mode not in (KEYLESS, KEY):
        raise TrustError(f"mode is {shown(settings.mode)}, neither {KEYLESS} nor {KEY}")
    one = _keyless if settings.mode == KEYLESS else key_identity
    return Trust(
        mode=settings.mode,
        signers=tuple(one(each) for each in settings.signers),
        builders=tuple(one(each) for each in settings.builders),
        evaluators=tuple(one(each) for each in settings.evaluators),
        builder_ids=settings.builder_ids,
    )


def accepted(trust: Trust, predicate_type: str) -> tuple[Identity, ...]:
    """Who may sign statements of that predicate type; (): nobody, and so for every unknown one."""
    return {
        SIGNATURE: trust.signers,
        PROVENANCE: trust.builders,
        TEST_RESULT: trust.evaluators,
    }.get(predicate_type, ())


def mistakes(trust: Trust) -> tuple[str, ...]:
    """Why nothing could be believed under this trust; (): something could."""
    found = [
        f"no {what} is configured"
        for what, entries in (
            ("signer", trust.signers),
            ("builder", trust.builders),
            ("evaluator", trust.evaluators),
            ("builder id", trust.builder_ids),
        )
        if not entries
    ]
    if trust.mode not in (KEYLESS, KEY):
        return (*found, f"the mode {shown(trust.mode)} is unknown")
    for each in dict.fromkeys((*trust.signers, *trust.builders, *trust.evaluators)):
        is_key = bool(_KEY_SUBJECT.match(each.subject)) and not each.issuer
        if trust.mode == KEY and not is_key:
            found.append(f"{each} is no public key, and the mode is {KEY}")
        if trust.mode == KEYLESS and not (each.subject and each.issuer):
            found.append(f"{each} has no issuer, and the mode is {KEYLESS}")
    return tuple(found)


def policy_digest(trust: Trust) -> str:
    """sha256:<hex> of what is trusted; the order and repetition of entries do not count.

    It is the digest of JSON with sorted keys and no spaces: `schema` 1, `mode`, the three lists of
    [subject, issuer], and `builder_ids`, each sorted.
    """
    document = {
        "schema": 1,
        "mode": trust.mode,
        "signers": sorted(set(trust.signers)),
        "builders": sorted(set(trust.builders)),
        "evaluators": sorted(set(trust.evaluators)),
        "builder_ids": sorted(set(trust.builder_ids)),
    }
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return f"sha256:{sha256(data).hexdigest()}"


def _keyless(entry: str) -> Identity:
    subject, _, issuer = entry.partition(" ")
    if not (_WORD.match(subject) and _WORD.match(issuer)):
        raise TrustError(
            f"{shown(entry)} is not SUBJECT ISSUER: two exact words of printable ASCII with one "
            "space between, and no *"
        )
    if not issuer.startswith(("https://", "http://")):
        raise TrustError(f"the issuer in {shown(entry)} is no URL")
    return Identity(subject, issuer)
