"""Builds the settings about proving the ledger, and says which of their keys need each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from yoyo.model.settings import AuditSettings, StoreSettings


def audit_settings(top: dict[str, Any]) -> AuditSettings:
    """The effective settings, from the values of the top-level keys."""
    key, sealing = _section(top, "checkpoints"), _section(top, "sealing")
    copy_to = key["copy_to"]
    return AuditSettings(
        origin=key["origin"] or "",
        key=key["key"],
        signer_command=key["signer_command"],
        public_key=key["public_key"],
        every_s=key["every"],
        copy_to=None
        if copy_to is None
        else StoreSettings(copy_to.rstrip("/"), key["copy_endpoint"], key["copy_credentials"]),
        sealing=sealing["mode"],
        retention_months=sealing["retention_months"],
        legal_hold=sealing["legal_hold"] == "on",
    )


def audit_rules(find: Callable[[str], Any]) -> Iterator[tuple[str, str]]:
    """What no single key shows: (key, message) of each mistake."""
    signer = find("checkpoints.key"), find("checkpoints.signer_command") or None
    if all(signer):
        yield (
            "checkpoints.signer_command",
            "checkpoints.key signs already. Give one of the two",
        )
    for name, value in zip(("key", "signer_command"), signer, strict=True):
        if value is not None and find("checkpoints.origin") is None:
            yield (
                f"checkpoints.{name}",
                "a checkpoint needs a name of its log. Set checkpoints.origin",
            )
    if signer[1] is not None and find("checkpoints.public_key") is None:
        yield (
            "checkpoints.signer_command",
            "what it signs is checked before it is kept. Set checkpoints.public_key",
        )


def _section(top: dict[str, Any], name: str) -> dict[str, Any]:
    return {k.removeprefix(f"{name}."): v for k, v in top.items() if k.startswith(f"{name}.")}
