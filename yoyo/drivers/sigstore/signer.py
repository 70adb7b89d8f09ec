"""Signs keyless: a certificate for minutes, a log entry, a timestamp; and looks at it itself."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from yoyo.core.dsse import DsseError, read_bundle
from yoyo.drivers.sigstore.certificate import named_by
from yoyo.drivers.sigstore.tokens import claimed_subject
from yoyo.drivers.sigstore.verifier import KeylessChecks
from yoyo.errors import BundleRefused, SigningFailed
from yoyo.model.signing import Identity

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import Signer

MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
# Rekor v2 answers when the entry is in the log, which takes seconds (rekor-tiles, CLIENTS.md).
# sigstore's own calls have no time limit.
DEADLINE_S: Final = 120.0
_WHY_CHARS: Final = 300
_RETRY: Final = "see that the Sigstore instance answers, and run the command again"
# Before a certificate's end no new signature is begun: it must be timestamped within its life.
_MARGIN: Final = timedelta(seconds=60)
# By the class of sigstore 4's error.
_WHAT: Final = {
    "FulcioClientError": "The certificate authority gave no certificate.",
    "RekorClientError": "The transparency log did not take the signature.",
    "ExpiredIdentity": "The identity token has expired.",
    "ConnectionError": "A Sigstore service could not be reached.",
    "TUFError": "The public instance's trusted root could not be had.",
}
# What requests and urllib3 say of a service that is away, in their own classes' names.
_POOL: Final = re.compile(r"HTTPS?ConnectionPool\(host='([^']*)', port=(\d+)\).*", re.DOTALL)
_ERRNO: Final = re.compile(r"\[Errno -?\d+\] ([^'\"()\\]+)")


class _Opened(NamedTuple):
    signer: Signer
    checks: KeylessChecks
    timestamps: int  # as many as there are authorities in the signing config
    good_until: datetime  # the certificate is for one signature until its end is known


class SigstoreSigner:
    """A `Signer` by an OIDC identity. One certificate serves until it expires."""

    def __init__(
        self,
        trust_config: Path | None,
        token: Callable[[], str],
        *,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """`trust_config` None: the public instance. `deadline_s` is for one whole signature."""
        self._path = trust_config
        self._token = token
        self._deadline_s = deadline_s
        self._secrets: list[str] = []
        self._identity: Identity | None = None
        self._parsed: IdentityToken | None = None
        self._opened: _Opened | None = None

    @property
    def identity(self) -> Identity:
        """Whom the certificate names, once there is one; before that, whom the token names.

        A private instance may map a token to another name: only the certificate is certain.

        Raises:
            SigningFailed: there is no token, or it is of no use.
        """
        if self._identity is None:
            token = self._identity_token()
            return Identity(claimed_subject(token), token.federated_issuer)
        return self._identity

    @property
    def public(self) -> bool:
        """Whether a public log learns of every signature: with the public instance."""
        return self._path is None

    def sign(self, statement: bytes) -> bytes:
        """A bundle with certificate, log entry and every timestamp, which verified here.

        Raises:
            SigningFailed: a service refused or was silent, a timestamp is missing, or the bundle
                would be refused by whoever trusts the same instance.
        """
        return self._in_time(lambda: self._sign(statement))

    def _sign(self, statement: bytes) -> bytes:
        from sigstore.dsse import Statement
        from sigstore.models import InvalidBundle

        said = Statement(statement)  # looked at before anybody is asked for anything
        now = datetime.now(UTC)
        opened = self._opened
        if opened is None or opened.good_until <= now:
            opened = self._opened = self._open(now)
        with _Warnings() as warned:
            try:
                data = opened.signer.sign_dsse(said).to_json().encode()
            except InvalidBundle as error:
                # With Rekor v2 a bundle without a timestamp is none.
                if "timestamp" not in str(error):
                    raise
                raise _no_timestamp(warned) from error
        self._identity, expires = _checked(data, opened, warned)
        self._opened = opened._replace(good_until=expires - _MARGIN)
        return data

    def _open(self, now: datetime) -> _Opened:
        """A certificate of its own, and what checks the bundles that it signs."""
        from sigstore.sign import Signer, SigningContext

        config = self._config()
        # Before the certificate is asked for: it is logged, whatever becomes of the signature.
        checks = KeylessChecks(config.trusted_root)
        timestamps = len(config.signing_config.get_tsas())
        context = SigningContext.from_trust_config(config)
        return _Opened(Signer(self._identity_token(), context), checks, timestamps, now)

    def _config(self) -> ClientTrustConfig:
        from sigstore.errors import Error
        from sigstore.models import ClientTrustConfig

        if self._path is None:
            return ClientTrustConfig.production()
        try:
            if self._path.stat().st_size > MAX_CONFIG_BYTES:
                raise ValueError("too large")
            return ClientTrustConfig.from_json(self._path.read_text("utf-8"))
        except (OSError, ValueError, Error) as error:
            known = isinstance(error, OSError) and error.strerror
            raise SigningFailed(
                f"The trust config {self._path} is of no use.",
                why=known or "it is not a client trust config of Sigstore",
                fix="name the instance's file in signing.trust_config",
            ) from error

    def _identity_token(self) -> IdentityToken:
        from sigstore.oidc import IdentityError, IdentityToken

        if self._parsed is None or not self._parsed.in_validity_period():
            text = self._token()
            self._secrets.append(text)
            try:
                self._parsed = IdentityToken(text)
            except IdentityError as error:
                raise SigningFailed(
                    "The identity token was not accepted.",
                    # Its cause is not shown: it may quote the token.
                    why=f"{error}",
                    fix="get a fresh one, for the audience `sigstore`",
                ) from None
        return self._parsed

    def _in_time(self, work: Callable[[], bytes]) -> bytes:
        """The result of `work` in another thread, which is left behind if it takes too long."""
        results: list[bytes] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, name="yoyo-sign", daemon=True)
        thread.start()
        thread.join(self._deadline_s)
        if results:
            return results[0]
        if not errors:
            raise SigningFailed(
                "The statement was not signed.",
                why=f"a Sigstore service was silent for {self._deadline_s:g} s",
                fix=_RETRY,
            )
        raise self._failure(errors.pop()) from None

    def _failure(self, error: BaseException) -> BaseException:
        """What the operator is told; never the token, whoever may have quoted it."""
        if isinstance(error, SigningFailed) or not isinstance(error, Exception):
            return error
        told = [str(each) for each in (error, error.__cause__) if each is not None and str(each)]
        why = ": ".join(dict.fromkeys(map(_plain, told))) or type(error).__name__
        for secret in self._secrets:
            why = why.replace(secret, "****")
        what = _WHAT.get(type(error).__name__, "The statement could not be signed.")
        return SigningFailed(what, why=why[:_WHY_CHARS], fix=_RETRY)


class _Warnings(logging.Handler):
    """What sigstore warned of meanwhile: that a timestamp authority failed, and nothing else.

    It belongs into the error, and not on its own onto the terminal.
    """

    def __enter__(self) -> list[str]:
        self._said: list[str] = []
        logging.getLogger("sigstore.sign").addHandler(self)
        return self._said

    def __exit__(self, *_error: object) -> None:
        logging.getLogger("sigstore.sign").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning's text."""
        if record.levelno >= logging.WARNING:
            self._said.append(record.getMessage())


def _plain(text: str) -> str:
    """The same where the HTTP library's words for a service that is away are plain ones."""
    if "Connection aborted" in text:
        return "a Sigstore service closed the connection"

    def worded(found: re.Match[str]) -> str:
        where = f"{found[1]}:{found[2]}"
        if "timed out" in found[0].lower():
            return f"{where} did not answer in time"
        if "SSLError" in found[0]:
            return f"TLS with {where} failed"
        cause = _ERRNO.search(found[0])
        return f"no connection to {where}" + (f" ({cause[1].strip().lower()})" if cause else "")

    return _POOL.sub(worded, text)


def _no_timestamp(warned: list[str]) -> SigningFailed:
    return SigningFailed(
        "The bundle has no timestamp, and was thrown away.",
        why="; ".join(map(_plain, warned))[:_WHY_CHARS] or "the timestamp authority gave none",
        fix=_RETRY,
    )


def _checked(data: bytes, opened: _Opened, warned: list[str]) -> tuple[Identity, datetime]:
    """Who signed, and how long the certificate is good; unless the bundle falls short.

    `sigstore` only warns where a timestamp authority fails: such a bundle never leaves.

    Raises:
        SigningFailed.
    """
    from cryptography.x509 import load_der_x509_certificate

    try:
        found = read_bundle(data)
        if len(found.timestamps) < opened.timestamps:
            raise _no_timestamp(warned)
        leaf = load_der_x509_certificate(found.certificate)
        identity = named_by(leaf)
        opened.checks.verify(data, (identity,))
    except (BundleRefused, DsseError) as error:
        why = error.why if isinstance(error, BundleRefused) else str(error)
        raise SigningFailed(
            "The bundle does not verify, and was thrown away.",
            why=why,
            fix="check that trusted root and services are of one Sigstore instance",
        ) from error
    return identity, leaf.not_valid_after_utc
