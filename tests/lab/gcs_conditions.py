"""Preconditions: whether what is there is what the caller takes it for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from email.message import Message

from gcs_disk import Check, Stored
from gcs_errors import condition_not_met, not_modified

# Header of the XML API -> parameter of the JSON API.
HEADERS = {
    "x-goog-if-generation-match": "ifGenerationMatch",
    "x-goog-if-generation-not-match": "ifGenerationNotMatch",
    "x-goog-if-metageneration-match": "ifMetagenerationMatch",
    "x-goog-if-metageneration-not-match": "ifMetagenerationNotMatch",
}


def check(
    live: Stored | None, asked: Mapping[str, str], *, prefix: str = "if", reading: bool = False
) -> None:
    """Raise 412, or 304 when reading, unless all that the query says of the object is true.

    A generation of 0 stands for "there is no object".
    """
    numbers = {
        "Generation": live.resource["generation"] if live else "0",
        "Metageneration": live.resource["metageneration"] if live else "0",
    }
    for what, number in numbers.items():
        wanted = asked.get(f"{prefix}{what}Match")
        if wanted is not None and int(wanted) != int(number):
            raise condition_not_met()
        unwanted = asked.get(f"{prefix}{what}NotMatch")
        if unwanted is not None and int(unwanted) == int(number):
            raise not_modified() if reading else condition_not_met()


def writing(asked: Mapping[str, str]) -> Check:
    """The check that a write with this query makes before it takes effect."""
    return functools.partial(check, asked=asked)


def of_headers(headers: Message[str, str]) -> dict[str, str]:
    """The preconditions that come as headers, named as in a query."""
    found = {
        HEADERS[name.lower()]: value for name, value in headers.items() if name.lower() in HEADERS
    }
    return {name: value for name, value in found.items() if value.isdecimal()}


def check_tags(tags: set[str], headers: Message[str, str]) -> None:
    """If-Match and If-None-Match against the tags that the object goes by, without quotes."""
    wanted, unwanted = headers.get("If-Match"), headers.get("If-None-Match")
    if wanted is not None and not tags & {*_listed(wanted)} and wanted.strip() != "*":
        raise condition_not_met()
    if unwanted is not None and (tags & {*_listed(unwanted)} or unwanted.strip() == "*"):
        raise not_modified()


def _listed(header: str) -> list[str]:
    return [tag.strip().strip('"') for tag in header.split(",")]
