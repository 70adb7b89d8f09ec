"""The ledger port: append-only, chained, the one truth about money and lifecycle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from yoyo.model.ledger import BadRow, Entry, LedgerHead, Row, VerifyReport


class Ledger(Protocol):
    """One ledger file. `append` is the only way a row comes into being."""

    def append(self, entry: Entry) -> Row:
        """Write one row and return it once it is on the disk (fdatasync done).

        Raises:
            LedgerRowRefused: a field holds CR, LF or NUL, or has the wrong form.
            LedgerCorrupt: the tail's chain is broken; nothing was written.
            LedgerWriteFailed: disk full, no permission; the file is as it was before.
        """
        ...

    def rows(self) -> Iterator[Row | BadRow]:
        """Every row in file order, in constant memory. A missing file has no rows."""
        ...

    def tail(self, count: int) -> list[Row | BadRow]:
        """The last `count` rows, oldest first, read from the end of the file."""
        ...

    def verify(
        self, expect: LedgerHead | None = None, progress: Callable[[float], None] | None = None
    ) -> VerifyReport:
        """Check format, chain, sequence and pairing of the whole file, in constant memory.

        `progress` is called now and then with the share that is done, from 0 to 1.
        """
        ...
