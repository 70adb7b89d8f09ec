"""Running the real `yoyo` against the laboratory, as an operator would."""

from __future__ import annotations

from typing import Any

from cli import Place
from lab import Lab


class LabPlace(Place):
    """Commands run in the laboratory's directory, with its credentials."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.directory)
        self.lab = lab

    def env(self, **more: str) -> dict[str, str]:
        """As an operator's who has logged in with Application Default Credentials."""
        return super().env(**self.lab.environment, **more)

    def instance(self) -> Any:
        """The node's instance as the cloud has it; None when there is none."""
        return self.lab.fake.instance("yoyo-l4")

    def clean_up(self) -> None:
        """Remove the node, by the cloud's own means if need be."""
        self.lab.fake.faults.clear()
        self.run("thaw", code=None)
        self.run("down", "--now", "--delete", code=None)
