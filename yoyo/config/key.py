"""What describes one key of yoyo.yaml, and the forms that values may have."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal[
    "text", "label", "word", "path", "server", "choice", "integer", "decimal", "duration",
    "flags", "secret", "match", "matches",
]  # fmt: skip

# Patterns are ECMA-262 and Python alike, so that the JSON Schema and the loader share them.
LABEL_PATTERN: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"  # RFC 1123, as model/ids.py
WORD_PATTERN: Final = "^[a-z][a-z0-9_-]{0,62}$"  # what an entry point's name may safely be
# RFC 6750 token characters.
SECRET_PATTERN: Final = "^[A-Za-z0-9._~+/=-]{16,256}$"  # noqa: S105 - a pattern, no secret
DECIMAL_PATTERN: Final = "^(0|[1-9][0-9]{0,11})(\\.[0-9]{1,9})?$"
DURATION_PATTERN: Final = "^(?=[0-9])([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$"

# Where weights and bundles come from. http:// too: the sha256 is what is trusted.
SOURCE_PATTERN: Final = "^(https?|gs)://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]{3,2000}$"
URL_PATTERN: Final = "^https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]{3,2000}$"
# NAME or NAME@VERSION of the store: core.manifest has the same.
NAME_PATTERN: Final = "^[a-z0-9]([a-z0-9._-]{0,62})(@[a-z0-9][a-z0-9._-]{0,31})?$"
STORE_PATTERN: Final = "^(gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/(?![.]{1,2}(/|$))[A-Za-z0-9._-]{1,200}){0,8}|file:///[^\\x00-\\x1f]{1,4000})/?$"
SHA256_PATTERN: Final = "^[0-9a-f]{64}$"
ZONE_PATTERN: Final = "^[a-z]{2,20}-[a-z]{2,20}[0-9]{1,3}-[a-z]$"
# Google's resource names: RFC 1035 labels; image: a family or an image of any project.
RESOURCE_PATTERN: Final = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
IMAGE_PATTERN: Final = (
    "^projects/[a-z][a-z0-9-]{4,62}/global/images/(family/)?[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
)
ACCOUNT_PATTERN: Final = "^[a-z0-9-]{1,63}@[a-z0-9.-]{1,190}$"
# One IPv4 address, or `auto`; never a range: what is open is open to one machine.
ADDRESS_PATTERN: Final = "^(auto|((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9]))$"  # noqa: E501
COMMIT_PATTERN: Final = "^([0-9a-f]{40}|b[0-9]{1,6})$"

DAY_S: Final = 86_400
YEAR_S: Final = 366 * DAY_S


class Key(NamedTuple):
    """One key. `default` is written as an operator would write it.

    `low` and `high` are inclusive: seconds for a duration, characters for a text.
    `absent` says what leaving the key out means where there is no default. A `match`, and each
    word of `matches`, has the form of `pattern`, which `expected` says in words.
    """

    path: str
    kind: Kind
    doc: str
    default: str | None = None
    absent: str = ""
    unit: str = ""
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    required: bool = False
    pattern: str = ""
    expected: str = ""
