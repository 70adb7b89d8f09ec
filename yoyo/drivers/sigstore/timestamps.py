"""When something was signed, by the word of a timestamp authority that is trusted."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rfc3161_client import Verifier
    from sigstore.models import TrustedRoot


class TimestampAuthorities:
    """The timestamp authorities (RFC 3161) of a trusted root."""

    def __init__(self, root: TrustedRoot) -> None:
        from rfc3161_client import VerifierBuilder

        self._known: list[tuple[Verifier, datetime, datetime | None]] = []
        for authority in root.get_timestamp_authorities():
            chain = authority.certificates(allow_expired=True)
            if len(chain) < 2:  # no leaf below a root: it cannot vouch for anything
                continue
            builder = VerifierBuilder(roots=[chain[-1]], intermediates=list(chain[1:-1]))
            verifier = builder.tsa_certificate(chain[0]).build()
            known = (verifier, authority.validity_period_start, authority.validity_period_end)
            self._known.append(known)

    def time_of(self, response: bytes, signature: bytes) -> datetime | None:
        """The time (UTC) in a response (DER) over that signature; None if nobody vouches for it."""
        from rfc3161_client import VerificationError, decode_timestamp_response

        for verifier, start, end in self._known:
            try:
                # Decoded anew each time: verifying uses up parts of what was decoded.
                decoded = decode_timestamp_response(response)
                verifier.verify_message(decoded, signature)
                said = decoded.tst_info.gen_time
            except (VerificationError, ValueError):
                continue
            if start <= said and (end is None or said < end):
                return said
        return None
