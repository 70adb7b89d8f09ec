"""Renewing the dead-man's lease, where there is work that it must not cut off."""

from __future__ import annotations

from datetime import timedelta

from yoyo.model.machine import Observation
from yoyo.ops.context import Context

# On a cloud a renewal costs a call of a second or two; a lease this fresh can wait.
_FRESH_SHARE = 0.75


def renew_if_due(ctx: Context, seen: Observation) -> None:
    """Renew the lease of a node at work, unless it was renewed lately."""
    fires = next((guard.fires_at for guard in seen.guards if guard.name == "dead-man"), None)
    fresh = timedelta(seconds=ctx.node.guards.lease_s * _FRESH_SHARE)
    if fires is None or fires - ctx.clock.now() < fresh:
        ctx.machines.renew_lease(ctx.node)
