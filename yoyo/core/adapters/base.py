"""What names a base model: an adapter fits one set of weights, whatever its files are called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from yoyo.core.adapters.names import InvalidAdapter

_HEX = re.compile(r"[0-9a-f]{64}\Z")


def base_digest(files: Sequence[tuple[str, str]]) -> str:
    r"""`sha256:<hex>` of a base model that consists of these files: (path, SHA-256 in hex).

    One file: its own SHA-256, whatever it is called. A model that was split into several: the
    SHA-256 of the lines `<hex>  <name>\n`, sorted by their bytes, where the name is the path's
    last part. All parts lie in one directory (the engine wants it so), where
    `sha256sum *.gguf | LC_ALL=C sort | sha256sum` prints the same.

    Raises:
        InvalidAdapter: no files, no digest, a name twice or one that needs escaping.
    """
    if not files:
        raise InvalidAdapter("a base model without files has no digest")
    for path, digest in files:
        if not _HEX.match(digest):
            raise InvalidAdapter(f"{digest[:80]!a} of {path[-80:]!a} is no SHA-256 in hex")
    if len(files) == 1:
        return f"sha256:{files[0][1]}"
    names = [path.rpartition("/")[2] for path, _ in files]
    if len(set(names)) != len(names):
        raise InvalidAdapter("two files of the base model have the same name")
    lines = []
    for name, (_, digest) in zip(names, files, strict=True):
        if not name or "\\" in name or not name.isprintable():
            raise InvalidAdapter(f"{name[:80]!a} is no name of a base model's file")
        lines.append(f"{digest}  {name}\n".encode())
    return f"sha256:{hashlib.sha256(b''.join(sorted(lines))).hexdigest()}"
