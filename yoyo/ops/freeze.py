"""`yoyo freeze` and `yoyo thaw`: the kill switch for starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoyo.model.freeze import Freeze

if TYPE_CHECKING:
    from yoyo.ports.clock import Clock
    from yoyo.ports.killswitch import KillSwitch


def freeze(switch: KillSwitch, clock: Clock, *, reason: str, operator: str) -> Freeze:
    """Refuse starts from now on; what runs goes on running."""
    thrown = Freeze(reason, operator, clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"))
    switch.freeze(thrown)
    return thrown


def thaw(switch: KillSwitch) -> Freeze | None:
    """Allow starts again; gives what was lifted, None when nothing was frozen."""
    lifted = switch.state()
    switch.thaw()
    return lifted
