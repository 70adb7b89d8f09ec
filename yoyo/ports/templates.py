"""Text files made from templates."""

from __future__ import annotations

from typing import Protocol


class Templates(Protocol):
    """The templates shipped with yoyo, by their path under `templates/`."""

    def render(self, name: str, **values: object) -> str:
        """Fill in a template. Values go in as they are: quoting is the caller's.

        A template that uses a value which is not given is a defect of yoyo, and raises.
        """
        ...
