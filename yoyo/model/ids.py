"""Names that travel: parsed once at the edge, safe everywhere afterwards."""

from __future__ import annotations

import re
from typing import Self

# RFC 1123 label; the design's section 2 gives the pattern. \Z, not $: "$" lets a newline pass.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


class InvalidLabel(ValueError):
    """The text is no RFC 1123 label; the message says what one is."""


class _Label(str):
    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text` as a checked label.

        Raises:
            InvalidLabel: unless it is 1 to 63 of a-z, 0-9 and '-', with no '-' at either end.
        """
        if not _LABEL.match(text):
            raise InvalidLabel(
                f"{text[:80]!r} is not a valid name: 1 to 63 of a-z, 0-9 and '-', "
                "beginning and ending with a letter or digit"
            )
        return cls(text)


class ModuleId(_Label):
    """The tenant/project tag that every call, cache block, adapter and ledger row carries."""

    __slots__ = ()


class NodeName(_Label):
    """The name of a node in the configuration, and of what the platform calls it."""

    __slots__ = ()


class Secret:
    """Text that must not be printed: repr and str are masked, `reveal()` is greppable."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself; every call of this is a place to review."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
