"""What others call their files, checked, and which of them belong together.

A hub's answer or a directory of unknown origin decides where bytes are written later, so that
every name is hostile until it was here.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

from yoyo.errors import SourceFailed

# What a safetensors model needs beside its tensors, as the hub's own loaders name it.
SET_PATTERNS: Final = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "tokenizer*",
    "*.model",
    "LICENSE*",
)
# gguf-split's naming: llama.cpp's own loader finds the other shards by it.
_SHARD: Final = re.compile(r"(?P<stem>.*)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf\Z", re.DOTALL)
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_LONGEST_NAME: Final = 1024  # characters; no known hub or object store allows more
_MOST_SHARDS: Final = 1000
_MOST_SHOWN: Final = 8
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# A user and a password before a host, where the scheme's slashes were forgotten.
_USER: Final = re.compile(r"[^/@]*:[^/@]*@")
_SHORTEST_BUCKET: Final = 3  # characters, by the naming rules of S3 and of Cloud Storage


def checked_path(path: str, source: str) -> str:
    """The path, if it stays inside the set that it belongs to.

    Raises:
        SourceFailed: absolute, with `..`, empty parts, backslashes or control characters, or
            longer than 1024 characters.
    """
    if (
        not path
        or len(path) > _LONGEST_NAME
        or "\\" in path
        or not path.isprintable()
        or any(part in ("", ".", "..") for part in path.split("/"))
    ):
        raise SourceFailed(
            f"The source {source} names a file in a way that is not accepted.",
            why=f"{path[:80]!a} is not a plain relative path.",
            fix="Use another source: one with such names is broken or hostile.",
        )
    return path


def shards_of(path: str, source: str) -> tuple[str, ...]:
    """All shards of a split GGUF that one shard stands for; the path alone if it is none.

    Raises:
        SourceFailed: a count of 0 or of more than 1000, or an index past it.
    """
    found = _SHARD.match(path)
    if not found:
        return (path,)
    index, count = int(found["index"]), int(found["count"])
    if not 0 < index <= count <= _MOST_SHARDS:
        raise SourceFailed(
            f"The source {source} names a shard that cannot be.",
            why=f"Shard {index} of {count} was asked for; at most {_MOST_SHARDS} are accepted.",
            fix="Name the first shard, which ends in -00001-of-0000N.gguf.",
        )
    return tuple(f"{found['stem']}-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1))


def set_of(names: tuple[str, ...], source: str, *, anything: bool = False) -> tuple[str, ...]:
    """Which files of a folder are the model: safetensors, or the only GGUF, or a tokenizer.

    `anything`: a folder with none of these is a set as it is.

    Raises:
        SourceFailed: no file or no model is there, several models are, or shards are missing.
    """
    tensors = [name for name in names if name.endswith(".safetensors")]
    models = sorted({shards_of(name, source) for name in names if name.endswith(".gguf")})
    matching = tuple(
        sorted(name for name in names if any(fnmatch.fnmatchcase(name, p) for p in SET_PATTERNS))
    )
    if tensors or (not models and any(name.startswith("tokenizer") for name in names)):
        return matching
    if len(models) == 1:
        missing(models[0], names, source)
        return models[0]
    if anything and names and not models:
        return tuple(sorted(names))
    if not names:
        raise SourceFailed(
            f"The source {source} holds no files to take.",
            why="No files lie directly in it; sub-folders and hidden files are not taken.",
            fix="Name a file, or the folder in which the files lie.",
        )
    shown = ", ".join(ascii(model[0])[1:-1] for model in models[:_MOST_SHOWN])
    raise SourceFailed(
        f"The source {source} does not say which file is the model.",
        why=f"It has {len(models)} GGUF models and no safetensors."
        if models
        else "There is neither GGUF nor safetensors in it.",
        fix=f"Name one file, such as: {shown}." if models else "Name a file, or another folder.",
    )


def missing(wanted: tuple[str, ...], names: tuple[str, ...], source: str) -> None:
    """Refuse a set that is not whole.

    Raises:
        SourceFailed: it names the first file that is not there.
    """
    lost = sorted(set(wanted) - set(names))
    if lost:
        alone = len(wanted) == 1
        raise SourceFailed(
            f"The source {source} has no such file."
            if alone
            else f"The source {source} lacks {len(lost)} of {len(wanted)} shards.",
            why=f"{lost[0]!a} is not there: moved, renamed or never uploaded.",
            fix="Look at the source's list of files and give the name that it has now.",
        )


def checked_digest(sha256: str | None, source: str) -> str | None:
    """The digest in lower case.

    Raises:
        SourceFailed: it is no sha256.
    """
    if sha256 is None:
        return None
    plain = sha256.lower().removeprefix("sha256:")
    if not _SHA256.match(plain):
        raise SourceFailed(
            f"The digest given for {source} is no sha256.",
            why="A sha256 has 64 hexadecimal digits.",
            fix="Give the digest as `sha256sum FILE` prints it.",
        )
    return plain


def is_sha256(text: str | None) -> bool:
    """Whether it is 64 lowercase hexadecimal digits: a git blob's name has only 40."""
    return bool(text and _SHA256.match(text))


def combined(revisions: tuple[str, ...]) -> str:
    """One revision for a set: that of its only file, or a digest over all, or "" if unknown."""
    if len(revisions) == 1 or not all(revisions):
        return revisions[0] if len(revisions) == 1 else ""
    return "set-" + hashlib.sha256("\n".join(revisions).encode()).hexdigest()[:32]


def bucket_and_key(rest: str, scheme: str, bucket: re.Pattern[str]) -> tuple[str, str, str]:
    """`BUCKET/KEY` as what may be shown of it, the bucket and the key.

    Raises:
        SourceFailed: there is no key, or `bucket` does not match the bucket's name.
    """
    source = f"{scheme}://{shown('x://' + rest).removeprefix('x://')}"
    name, slash, key = rest.partition("/")
    if name and len(name) < _SHORTEST_BUCKET:
        why = f"{name!a} is too short: a bucket's name has at least {_SHORTEST_BUCKET} characters."
    elif not slash:
        why = f"It is not {scheme}://BUCKET/NAME."
    elif not bucket.fullmatch(name):
        why = f"What stands before the first / is no name of a bucket in {scheme}://BUCKET/NAME."
    else:
        return source, name, key
    raise SourceFailed(
        f"The source {source} is not understood.",
        why=why,
        fix="Give the bucket and the whole name of the object.",
    )


def shown(url: str) -> str:
    """The address without its query, fragment and user information, any of which may be secret.

    What is no address is given as it was typed. Either way it is printable.
    """
    if not _URL.match(url):
        return _as_typed(url)
    try:
        # Escaped first: urlsplit drops line breaks in silence.
        parts = urlsplit(ascii(url)[1:-1])
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(an address that is none)"
    return f"{parts.scheme}://{host}{parts.path}"


def _as_typed(text: str) -> str:
    is_path = text.startswith(("/", ".", "~")) and not text.startswith("//")
    if not is_path:
        # It may be an address without its scheme, with what such addresses hide.
        text = _USER.sub("", re.split(r"[?#]", text, maxsplit=1)[0])
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) or "(an empty text)"
