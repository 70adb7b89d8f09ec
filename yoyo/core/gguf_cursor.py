"""A position in the bytes of a GGUF header that never leaves them, whole file or growing prefix."""

from __future__ import annotations

import struct
from typing import Final, NoReturn

# A vocabulary of 262,144 tokens with half a million merges, the largest published, is about
# 16 MB of header. Four times that, and no more than a source is asked for at once.
MAX_HEADER_BYTES: Final = 64 * 1024 * 1024
MAX_ARRAY_STRINGS: Final = 1 << 22  # in all arrays together: they have to be walked one by one

U32: Final = struct.Struct("<I")
U64: Final = struct.Struct("<Q")


class GgufError(ValueError):
    """The bytes are not a GGUF file that the engine could load; the text says why."""


class HeaderIncomplete(GgufError):
    """The bytes end inside the header, and nothing in them says that there are no more.

    A reader that holds a prefix fetches more, at least `needed` bytes from the file's start. To a
    reader that holds the whole file it says that the file was cut off.
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


class Cursor:
    """A position in the buffer that never leaves it.

    `file_bytes` is the size of the file that the buffer is a prefix of; None: unknown.
    """

    __slots__ = ("at", "file_bytes", "size", "strings_left", "view")

    def __init__(self, view: memoryview, file_bytes: int | None) -> None:
        self.view = view
        self.size = view.nbytes
        self.file_bytes = file_bytes
        self.at = 0
        self.strings_left = MAX_ARRAY_STRINGS

    def ends(self, needed: int, what: str) -> NoReturn:
        """The buffer ends before `needed` bytes.

        Raises:
            HeaderIncomplete: the file may have them.
            GgufError: it has not, or no header needs so many.
        """
        message = f"header ends early: {what}"
        if self.file_bytes is not None and needed > self.file_bytes:
            raise GgufError(f"{message}, in a file of {self.file_bytes} bytes")
        if needed > MAX_HEADER_BYTES:
            raise GgufError(f"{message}, and a header has at most {MAX_HEADER_BYTES} bytes")
        raise HeaderIncomplete(message, needed)

    def skip(self, count: int) -> int:
        """Move on by `count` bytes; returns the position before."""
        start = self.at
        if count > self.size - start:
            self.ends(start + count, f"{count} bytes wanted at {start} of {self.size}")
        self.at = start + count
        return start

    def number(self, form: struct.Struct) -> int:
        """A number of that form."""
        start = self.skip(form.size)
        return int(form.unpack_from(self.view, start)[0])

    def string(self, limit: int, what: str) -> bytes:
        """A string of at most `limit` bytes."""
        length = self.number(U64)
        if length > limit:
            raise GgufError(f"{what} of {length} bytes, at most {limit} are allowed")
        start = self.skip(length)
        return bytes(self.view[start : self.at])

    def skip_strings(self, count: int) -> None:
        """Move past `count` strings."""
        if count > self.strings_left:
            raise GgufError(f"arrays with more than {MAX_ARRAY_STRINGS} strings")
        self.strings_left -= count
        what = f"inside an array of {count} strings"
        # Walked by hand: this loop is most of the time spent on a real vocabulary.
        view, at, last, unpack = self.view, self.at, self.size - 8, U64.unpack_from
        for left in range(count, 0, -1):
            if at > last:
                self.ends(at + 8 * left, what)
            at += 8 + unpack(view, at)[0]
        if at > self.size:
            self.ends(at, what)
        self.at = at

    def count(self, limit: int, least: int, what: str) -> int:
        """A number of things that take at least `least` bytes each; nothing is read of them."""
        count = self.number(U64)
        if count > limit:
            raise GgufError(f"{count} {what}, at most {limit} are allowed")
        if count > self.size // least:
            self.ends(self.at + count * least, f"{count} {what} wanted, with {self.size} bytes")
        return count
