"""Mistakes as values: where, which key, what is wrong and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# "All mistakes at once" ends here: a megabyte of nonsense must not cost minutes.
MOST_MISTAKES = 100

# Control characters, line and paragraph separators, lone surrogates and the bidirectional
# overrides: everything that could move a terminal's cursor or reorder what is read.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Origin(NamedTuple):
    """Where a value was written. `line` and `column` count from 1; 0: not in a file."""

    file: str
    line: int = 0
    column: int = 0

    @property
    def source(self) -> str:
        """As `config show` prints it: `yoyo.yaml:12:11`, `YOYO_LEDGER`, `--set`."""
        if not self.line:
            return self.file
        return f"{self.file.rpartition('/')[2]}:{self.line}:{self.column}"


class Mistake(NamedTuple):
    """One thing that is wrong. `line` and `column` count from 1; 0: not in a file."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        key = f"{self.key}: " if self.key and self.key != self.file else ""
        return f"{where}: {key}{self.message}"


class TooMany(Exception):
    """Raised by `Report.add` when MOST_MISTAKES are in it; the reading stops there."""


class Report:
    """Collects mistakes."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def add(self, origin: Origin, key: str, message: str) -> None:
        """Add one; the key is made printable here, the message must be so already.

        Raises:
            TooMany.
        """
        self.mistakes.append(Mistake(*origin, key=printable(key), message=message))
        if len(self.mistakes) >= MOST_MISTAKES:
            self.mistakes.append(
                Mistake(*origin, key="", message="more mistakes follow. Correct these first")
            )
            raise TooMany


def quoted(text: str) -> str:
    """`text` in quotes, escaped and cut to 60 characters."""
    return repr(text[:60]) + ("..." if len(text) > 60 else "")


def printable(text: str) -> str:
    """`text` as it is where that is harmless, otherwise quoted."""
    return quoted(text) if UNSAFE.search(text) or len(text) > 200 else text


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like `word`, without regard to case; "" when none is near."""
    import difflib

    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word[:100].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""
