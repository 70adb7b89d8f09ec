"""The characters that no output may carry as they are: one set, for every place that prints."""

from __future__ import annotations

import re
from typing import Final

# Controls (C0, DEL, C1), soft hyphen, line and paragraph separators, everything that has no width
# or turns the direction of writing, halves of surrogate pairs.
_BEYOND: Final = "\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
UNSAFE: Final = re.compile(f"[\x00-\x1f{_BEYOND}]")
# The same where text has lines: newline and tab may stay.
UNSAFE_IN_LINES: Final = re.compile(f"[\x00-\x08\x0b-\x1f{_BEYOND}]")


def shown(found: re.Match[str]) -> str:
    """One of them as what can be read: `\\x1b`, `\\u202e`."""
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def visible(text: str) -> str:
    """`text` with each of them spelled out."""
    return UNSAFE.sub(shown, text)


def json_escaped(found: re.Match[str]) -> str:
    """One of them inside a JSON string: the same value when it is read."""
    return f"\\u{ord(found.group()):04x}"
