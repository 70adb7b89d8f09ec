"""The characters that no output may carry as they are: one set, for every place that prints."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

# Controls (C0, DEL, C1), soft hyphen, line and paragraph separators, everything that has no width
# or turns the direction of writing, halves of surrogate pairs.
_BEYOND: Final = "\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"


def visible(text: str) -> str:
    """`text` with each of them spelled out: `\\x1b`, `\\u202e`."""
    return _unsafe().sub(_shown, text)


def visible_lines(text: str) -> str:
    """The same where text has lines: newline and tab stay."""
    return _unsafe_in_lines().sub(_shown, text)


def json_safe(document: str) -> str:
    """A JSON text with each of them escaped inside its strings: the same values when read."""
    return _unsafe().sub(lambda found: f"\\u{ord(found.group()):04x}", document)


# Compiled when first used: a command that prints a line needs one of the two.
@cache
def _unsafe() -> re.Pattern[str]:
    return re.compile(f"[\x00-\x1f{_BEYOND}]")


@cache
def _unsafe_in_lines() -> re.Pattern[str]:
    return re.compile(f"[\x00-\x08\x0b-\x1f{_BEYOND}]")


def _shown(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
