"""The registry file's port: which adapter versions there are, and where each stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from yoyo.model.adapter import AdapterBook, Registered


class AdapterBookFile(Protocol):
    """One registry file, which people edit too."""

    def read(self) -> AdapterBook:
        """The file. There is none: an empty book.

        Raises:
            AdapterBookInvalid: malformed, hostile, or of an unknown schema version.
        """
        ...

    def change(self, decide: Callable[[AdapterBook], Sequence[Registered]]) -> AdapterBook:
        """Read, decide and write under the file's lock: entries are replaced by name, or added.

        Comments, order and what it does not know stay as they are. The file is whole at any time.
        Whatever `decide` raises leaves it untouched.

        Raises:
            AdapterBookInvalid, StateUnwritable.
        """
        ...
