"""What adapters, versions and tasks may be called: it ends up in tags, files and ledger rows."""

from __future__ import annotations

import re
from typing import Final

from yoyo.model.adapter import SHARED_MODULE
from yoyo.model.ids import InvalidLabel, ModuleId

# Identifier and version together are a file's name (with .gguf) and the version is an OCI tag:
# both have at most 128 characters (distribution-spec, "Pulling manifests"), an identifier 63.
MAX_VERSION_CHARS: Final = 50

# semver.org 2.0.0, items 2 and 9. Digits are spelt out: \d takes those of every script.
_CORE = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\Z")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]*)\Z")
_WORD = re.compile(r"[0-9]*[A-Za-z-][0-9A-Za-z-]*\Z")

# Sorts as semver precedence does (item 11): the three numbers; a pre-release before its release;
# its identifiers one by one, numbers before words.
VersionKey = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


class InvalidAdapter(ValueError):
    """A name, a file or a manifest that breaks a rule of adapters; the text says which."""


def check_id(text: str, module_id: ModuleId) -> str:
    """An adapter's identifier: an RFC 1123 label that begins with `{module_id}-`.

    Whose an adapter is, its moduleId says: `acme-eu-legal` may be of `acme` or of `acme-eu`. Only
    the shared ones begin with `dka-`, so that nobody takes a tenant's for everybody's.

    Raises:
        InvalidAdapter.
    """
    _label(text, "identifier")
    prefix = f"{module_id}-"
    if not text.startswith(prefix) or text == prefix:
        raise InvalidAdapter(f"the identifier {text!r} does not begin with {prefix!r} and a name")
    if module_id != SHARED_MODULE and text.startswith(f"{SHARED_MODULE}-"):
        raise InvalidAdapter(
            f"the identifier {text!r} begins with {SHARED_MODULE + '-'!r}, which is for shared ones"
        )
    return text


def check_version(text: str) -> str:
    """A version: semver 2.0 without build metadata, as a `+` is none of an OCI tag's characters.

    Raises:
        InvalidAdapter.
    """
    version_key(text)
    return text


def version_key(text: str) -> VersionKey:
    """What versions are sorted by: their precedence (semver.org 2.0.0, item 11).

    Raises:
        InvalidAdapter: not a version.
    """
    if len(text) > MAX_VERSION_CHARS:
        raise InvalidAdapter(
            f"a version of {len(text)} characters, at most {MAX_VERSION_CHARS} are allowed"
        )
    core, dash, pre = text.partition("-")
    numbers = _CORE.match(core)
    if numbers is None or "+" in text:
        raise InvalidAdapter(
            f"{text!a} is no version: semver without build metadata, such as 2.0.0-rc.1"
        )
    major, minor, patch = (int(number) for number in numbers.groups())
    words = tuple(_identifier(word, text) for word in pre.split(".")) if dash else ()
    return major, minor, patch, not dash, words


def check_task(text: str) -> str:
    """A task's name: an RFC 1123 label.

    Raises:
        InvalidAdapter.
    """
    return _label(text, "task")


def parse_name(text: str) -> tuple[str, str]:
    """Identifier and version of `id@version`.

    Raises:
        InvalidAdapter.
    """
    name, at, version = text.partition("@")
    if not at:
        raise InvalidAdapter(f"{text[:128]!a} is not ID@VERSION")
    return _label(name, "identifier"), check_version(version)


def _label(text: str, what: str) -> str:
    try:
        return str(ModuleId.parse(text))
    except InvalidLabel as error:
        raise InvalidAdapter(f"the {what} {error}") from None


def _identifier(word: str, version: str) -> tuple[bool, int, str]:
    if _NUMBER.match(word):
        return False, int(word), ""
    if _WORD.match(word):
        return True, 0, word
    raise InvalidAdapter(f"{version!a} is no version: {word!a} after the dash is no part")
