"""Reads the record of a load decision: a verification summary that yoyo wrote and kept."""

from __future__ import annotations

from typing import NamedTuple

from yoyo.core.adapters.statement_form import StatementError, read_statement, strict
from yoyo.core.adapters.summary import SIGNERS_FIELD
from yoyo.core.manifest_fields import ManifestError, exact_keys, text
from yoyo.model.adapter import Signed
from yoyo.model.signing import SUMMARY


class Record(NamedTuple):
    """Which adapters were let in, who vouches for each, and when that was decided."""

    signed: tuple[Signed, ...]
    at: str  # RFC 3339


@strict
def read_record(document: bytes) -> Record:
    """What `verification_summary` wrote.

    Raises:
        StatementError: it is none.
    """
    statement = read_statement(document)
    if statement.predicate_type != SUMMARY:
        raise StatementError(f"its predicate is {statement.predicate_type}, not {SUMMARY}")
    predicate = statement.predicate
    entries = predicate.get(SIGNERS_FIELD)
    if not isinstance(entries, list) or len(entries) != len(statement.subjects):
        raise StatementError("it does not say who signed each adapter")
    signed = []
    for (name, digest), entry in zip(statement.subjects, entries, strict=True):
        fields = exact_keys(entry, ("name", "signers", "weights"), "an adapter's signers")
        if fields["name"] != name or not isinstance(fields["signers"], list):
            raise StatementError("its subjects and its signers do not match")
        signers = []
        for each in fields["signers"]:
            who = exact_keys(each, ("identity", "role"), "a signer")
            signers.append((text(who["role"], "role"), text(who["identity"], "identity")))
        weights = exact_keys(fields["weights"], ("sha256",), "weights")
        signed.append(
            Signed(name, digest, f"sha256:{text(weights['sha256'], 'sha256')}", tuple(signers), ())
        )
    try:
        at = text(predicate.get("timeVerified"), "timeVerified")
    except ManifestError as error:
        raise StatementError(str(error)) from error
    return Record(tuple(signed), at)
