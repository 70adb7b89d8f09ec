"""The names that registries go by: checked once, here, so that no later step is surprised."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from yoyo.model.oci import Reference

# OCI distribution specification 1.1, "Pulling manifests": the grammar of <name> and <reference>;
# many implementations allow 255 characters of host, port and name together.
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}\Z")
# RFC 1123, 2.1: letters of either case, digits and '-', at most 63 a label and 253 in all.
_LABEL: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\Z")
_MAX_HOST: Final = 253
_MAX_NAME: Final = 255
_MAX_TEXT: Final = _MAX_NAME + 1 + 128 + 1 + 71  # ":" and a tag, "@" and a digest


class InvalidReference(ValueError):
    """The text is no reference, or no digest; the message says what is wrong with it."""


def parse_reference(text: str) -> Reference:
    """HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX]; `str` of the result is the text again.

    No registry is taken for granted: a first part without a dot or a port that is not
    `localhost` is no host.

    Raises:
        InvalidReference.
    """
    if len(text) > _MAX_TEXT:
        raise InvalidReference(f"a reference has at most {_MAX_TEXT} characters")
    scheme, sign, _ = text.partition("://")
    if sign and scheme.lower() in ("https", "http", "oci", "docker"):
        raise InvalidReference(
            f"leave out {scheme}://: a reference begins with the registry's host"
        )
    rest, at, digest = text.partition("@")
    if at:
        parse_digest(digest)
    host, slash, path = rest.partition("/")
    if not slash or not _looks_like_host(host):
        raise InvalidReference(
            f"{_shown(text)} names no registry: write HOST/REPOSITORY, as in "
            "registry.example.com/team/adapter:1.0"
        )
    _check_host(host)
    repository, colon, tag = path.partition(":")
    if not _REPOSITORY.match(repository):
        raise InvalidReference(
            f"{_shown(repository)} is no repository: parts of a-z and 0-9, joined by '.', '_', "
            "'__' or '-', with '/' between them"
        )
    if len(host) + 1 + len(repository) > _MAX_NAME:
        raise InvalidReference(f"host and repository have at most {_MAX_NAME} characters together")
    if colon and not _TAG.match(tag):
        raise InvalidReference(
            f"{_shown(tag)} is no tag: 1 to 128 of a-z, A-Z, 0-9, '_', '.' and '-', "
            "not beginning with '.' or '-'"
        )
    return Reference(host, repository, tag, digest)


def parse_digest(text: str) -> str:
    """The same text, a sha256 digest in the form sha256:HEX with 64 lowercase digits.

    Raises:
        InvalidReference.
    """
    if not _DIGEST.match(text):
        raise InvalidReference(f"{_shown(text)} is no digest: sha256: and 64 of 0-9 and a-f")
    return text


def fallback_tag(digest: str) -> str:
    """The tag that lists what refers to a digest, where a registry does not (OCI 1.1).

    Raises:
        InvalidReference.
    """
    return parse_digest(digest).replace(":", "-")


def is_loopback(host: str) -> bool:
    """Whether HOST[:PORT] is this machine by its very spelling; nothing is looked up."""
    name = host.lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _looks_like_host(host: str) -> bool:
    # How every tool tells docker.io/library/x from library/x.
    return host == "localhost" or any(sign in host for sign in ".:[")


def _check_host(host: str) -> None:
    name, colon, port = host, "", ""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise InvalidReference(f"{_shown(host)} is no host: an IPv6 address ends with ']'")
        colon, port = port[:1], port[1:]
        _check_address(ipaddress.IPv6Address, name)
    else:
        name, colon, port = host.partition(":")
        _check_name(name)
    if colon and not (_PORT.match(port) and int(port) < 65536):
        raise InvalidReference(f"{_shown(port)} is no port: 1 to 65535")


def _check_name(name: str) -> None:
    labels = name.split(".")
    if len(name) > _MAX_HOST or not all(_LABEL.match(label) for label in labels):
        raise InvalidReference(f"{_shown(name)} is no host name")
    # Resolvers take 127.1 and 2130706433 for addresses, which is_loopback would not know.
    if labels[-1].isdigit():
        _check_address(ipaddress.IPv4Address, name)


def _check_address(
    kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], text: str
) -> None:
    try:
        known = "%" not in text and kind(text)
    except ValueError:
        known = False
    if not known:
        raise InvalidReference(f"{_shown(text)} is no IP address")


def _shown(text: str) -> str:
    return ascii(text[:80])
