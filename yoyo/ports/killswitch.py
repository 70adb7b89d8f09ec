"""The kill switch: `yoyo freeze` and `yoyo thaw`."""

from __future__ import annotations

from typing import Protocol

from yoyo.model.freeze import Freeze


class KillSwitch(Protocol):
    """Starts are refused while it is on. What cannot be read counts as on."""

    def state(self) -> Freeze | None:
        """None: not frozen."""
        ...

    def freeze(self, freeze: Freeze) -> None:
        """Throw it, durably. Thrown already: the new reason replaces the old one.

        Raises:
            StateUnwritable.
        """
        ...

    def thaw(self) -> None:
        """Release it. Not thrown: returns silently.

        Raises:
            StateUnwritable.
        """
        ...
