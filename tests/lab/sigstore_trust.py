"""What clients of the lab's Sigstore are given: trusted root, signing config, trust config.

Formats: sigstore/protobuf-specs, `sigstore_trustroot.proto`, in protobuf JSON.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sigstore_ca
import sigstore_tsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from sigstore_ca import Authority, CtLog
from sigstore_log import RekorV1, RekorV2
from sigstore_oidc import Issuer
from sigstore_tsa import TimestampAuthority
from sigstore_wire import ED25519_DETAILS, P256_DETAILS, Json, b64, key_id, spki

ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
SIGNING_TYPE = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
CONFIG_TYPE = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
OPERATOR = "sigstore.lab"


class Parts(NamedTuple):
    """One Sigstore's keys and logs. Another instance's parts are a forger's."""

    url: str
    issuer: Issuer
    ct: CtLog
    authority: Authority
    rekor_v1: RekorV1
    rekor_v2: RekorV2
    tsa: TimestampAuthority


def make(url: str) -> Parts:
    """A new instance's parts, all with names alike and keys of their own."""
    ct = CtLog()
    logs = RekorV1(), RekorV2()
    return Parts(url, Issuer(url), ct, Authority(ct), *logs, TimestampAuthority())


def since() -> str:
    """Yesterday: when everything here came into force."""
    return (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def trusted_root(parts: Parts) -> Json:
    """Whom to believe."""
    start = since()
    ct_id, v1, v2 = key_id(parts.ct.public_key), parts.rekor_v1, parts.rekor_v2
    tsa_url = parts.url + sigstore_tsa.PATH
    return {
        "mediaType": ROOT_TYPE,
        "tlogs": [
            _log(parts.url, v1.public_key, P256_DETAILS, v1.log_id, start),
            _log(parts.url, v2.public_key, ED25519_DETAILS, v2.log_id, start),
        ],
        "certificateAuthorities": [sigstore_ca.trusted(parts.authority, parts.url, start)],
        "ctlogs": [_log(f"{parts.url}/ct", parts.ct.public_key, P256_DETAILS, ct_id, start)],
        "timestampAuthorities": [sigstore_tsa.trusted(parts.tsa, tsa_url, start)],
    }


def _log(url: str, key: PublicKeyTypes, details: str, log_id: bytes, start: str) -> Json:
    public = {"rawBytes": b64(spki(key)), "keyDetails": details, "validFor": {"start": start}}
    # No `operator`: cosign 2 refuses fields that it does not know.
    known = {"logId": {"keyId": b64(log_id)}}
    return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public, **known}


def signing_config(parts: Parts, *, rekor: int = 1, tsa: bool = True) -> Json:
    """Where to sign: with which Rekor, and whether with a timestamp."""
    config: Json = {
        "mediaType": SIGNING_TYPE,
        "caUrls": [_service(parts.url)],
        "oidcUrls": [_service(parts.issuer.url)],
        "rekorTlogUrls": [_service(parts.url, rekor)],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": [_service(parts.url + sigstore_tsa.PATH)] if tsa else [],
    }
    # Without authorities there is nothing to select from.
    return config | ({"tsaConfig": {"selector": "ANY"}} if tsa else {})


def _service(url: str, version: int = 1) -> Json:
    start = {"start": since()}
    return {"url": url, "majorApiVersion": version, "validFor": start, "operator": OPERATOR}


def trust_config(parts: Parts, *, rekor: int = 1, tsa: bool = True) -> Json:
    """Both, as `sigstore --trust-config` takes them."""
    return {
        "mediaType": CONFIG_TYPE,
        "trustedRoot": trusted_root(parts),
        "signingConfig": signing_config(parts, rekor=rekor, tsa=tsa),
    }
