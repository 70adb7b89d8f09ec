"""The record of a boot: which engine and which weights a node was started with. Pure.

A document of LEDGER.proofs, named by the `input_hash` of its BOOT_REQUEST row. It holds what
was known before the platform was asked; what was not known is null, never guessed.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from yoyo.core.manifest_fields import ManifestError, parsed
from yoyo.model.settings import EMBEDDED_SERVER, SMOKE_MODEL, NodeSettings, Provided

RECORD_TYPE: Final = "urn:yoyo:boot:v1"
_MAX_CHARS = 4096

Fields = dict[str, str | int | None]


class BootFacts(NamedTuple):
    """A record as it was read: flat, each value short."""

    yoyo: str  # the version that started the node
    machine: Fields  # driver, machine_type, image, provisioning
    engine: Fields  # from, name, manifest, sha256, address, commit, server, ctx, parallel
    weights: Fields  # from, name, manifest, sha256, address


def boot_record(node: NodeSettings, version: str) -> bytes:
    """The record of a start with these settings, after all references were resolved.

    UTF-8 JSON with sorted keys and without spaces. Addresses lose user names and queries, and
    extra flags their values: either may be a secret.
    """
    gce = node.gce
    document = {
        "_type": RECORD_TYPE,
        "yoyo": version,
        "node": node.name,
        "moduleId": node.module_id,
        "machine": {
            "driver": node.driver,
            "machine_type": gce.machine_type if gce is not None else None,
            "image": gce.image if gce is not None else None,
            "provisioning": gce.provisioning if gce is not None else None,
        },
        "engine": {
            **_engine(node),
            "server": node.engine.server if gce is None else None,
            "ctx": node.engine.ctx,
            "parallel": node.engine.parallel,
            "cache_type_k": node.engine.cache_type_k,
            "cache_type_v": node.engine.cache_type_v,
            "flags": [_flag(each) for each in node.engine.extra_flags if each.startswith("--")],
        },
        "weights": _weights(node),
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _engine(node: NodeSettings) -> dict[str, Any]:
    if node.engine_from_store is not None:
        return _stored(node.engine_from_store)
    if node.gce is None:
        embedded = node.engine.server == EMBEDDED_SERVER
        return {"from": "yoyo itself" if embedded else "a program of this machine"}
    if node.bundle.url is not None:
        return {
            "from": "address",
            "address": _bare(node.bundle.url),
            "sha256": _hex(node.bundle.sha256),
        }
    return {
        "from": "built on the node",
        "address": _bare(node.build.repository),
        "commit": node.build.commit,
    }


def _weights(node: NodeSettings) -> dict[str, Any]:
    if node.from_store is not None:
        return _stored(node.from_store)
    model = node.engine.model
    if model == SMOKE_MODEL:
        return {"from": "yoyo itself", "name": SMOKE_MODEL}
    return {
        "from": "address" if "://" in model else "a file of this machine",
        "address": _bare(model),
        "sha256": _hex(node.weights.sha256),
    }


def _stored(found: Provided) -> dict[str, Any]:
    return {
        "from": "store",
        "name": found.name,
        "manifest": _hex(found.manifest),
        "sha256": _hex(found.files[0][2]) if found.files else None,
        "files": [
            {"path": path, "size": size, "sha256": _hex(digest)}
            for path, size, digest in found.files
        ],
    }


def _hex(digest: str | None) -> str | None:
    return f"sha256:{digest.removeprefix('sha256:')}" if digest else None


def _flag(flag: str) -> str:
    return flag.partition("=")[0]


def _bare(address: str) -> str:
    """An address without what may be a secret in it."""
    scheme, sep, rest = address.partition("://")
    if not sep:
        return address
    rest = rest.split("?", 1)[0].split("#", 1)[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def read_boot_record(document: bytes) -> BootFacts:
    """What `boot_record` wrote; fields of a later version are passed over.

    Raises:
        ManifestError: it is none.
    """
    found = parsed(document, "a boot record")
    if not isinstance(found, dict) or found.get("_type") != RECORD_TYPE:
        raise ManifestError(f"its type is not {RECORD_TYPE}")
    yoyo = found.get("yoyo")
    return BootFacts(
        yoyo if isinstance(yoyo, str) else "",
        flat(found.get("machine")),
        flat(found.get("engine")),
        flat(found.get("weights")),
    )


def flat(value: object) -> Fields:
    """The short texts and whole numbers of an object; all else in it is left out."""
    if not isinstance(value, dict):
        return {}
    return {
        str(key): each
        for key, each in value.items()
        if each is None or (isinstance(each, int | str) and len(str(each)) <= _MAX_CHARS)
    }
