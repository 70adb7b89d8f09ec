"""From what an operator types to a pinned reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoyo.core.adapters.names import InvalidAdapter, parse_name
from yoyo.core.oci_names import InvalidReference, parse_reference
from yoyo.errors import AdapterInvalid, AdapterRefused, AdapterStageWrong
from yoyo.model.oci import Reference
from yoyo.ops.adapters.examine import artefact_at

if TYPE_CHECKING:
    from yoyo.model.adapter import AdapterBook, Registered
    from yoyo.ops.adapters.context import AdapterContext


def reference(ctx: AdapterContext, text: str) -> Reference:
    """HOST/REPOSITORY[:TAG][@DIGEST]; id@version stands for what is registered, else for where
    `push` puts it.

    Raises:
        AdapterInvalid.
    """
    if "/" not in text:
        name = named(text)
        known = ctx.book.read().find(name)
        if known is not None:
            return parsed(known.ref)
        adapter_id, _, version = name.partition("@")
        return parsed(f"{repository(ctx)}/{adapter_id}:{version}")
    return parsed(text)


def pinned(ctx: AdapterContext, text: str) -> Reference:
    """The same with the digest that it stands for now; a tag is resolved once and never again.
    What was asked for as id@version says of itself that it is this version.

    Raises:
        AdapterInvalid, ArtefactMissing, ArtefactCorrupt, RegistryUnavailable, RegistryDenied.
        AdapterRefused: under the version's tag, or its entry, lies another adapter.
    """
    ref = reference(ctx, text)
    at = ref if ref.digest else ref.at(ctx.registry().resolve(ref).digest)
    if "/" not in text:
        found = artefact_at(ctx, at).adapter.name
        if found != text:
            raise AdapterRefused(
                f"{text} was refused (adapter).",
                why=f"{ref} is {found}.",
                fix=f"If it is {found} that you mean, name it so, or by {at}; else find out who "
                "put it there.",
            )
    return at


def entry_of(ctx: AdapterContext, ref: Reference) -> Registered | None:
    """What is registered of this pinned reference, else of the version that it says it is; None:
    nothing. A tag that was moved has to be held against what it stood for.

    Raises:
        AdapterBookInvalid, and what `artefact_at` raises.
    """
    book = ctx.book.read()
    found = next((each for each in book.adapters if each.digest == ref.digest), None)
    return found or book.find(artefact_at(ctx, ref).adapter.name)


def repository(ctx: AdapterContext) -> str:
    """`adapters.repository`.

    Raises:
        AdapterInvalid: it is not set.
    """
    if ctx.settings.repository is None:
        raise AdapterInvalid(
            "It is not known which registry is meant.",
            why="`adapters.repository` is not set.",
            fix="Give the whole reference, HOST/REPOSITORY:TAG, or set adapters.repository in "
            "yoyo.yaml.",
        )
    return ctx.settings.repository


def parsed(text: str) -> Reference:
    """A reference as it is written.

    Raises:
        AdapterInvalid.
    """
    try:
        return parse_reference(text)
    except InvalidReference as error:
        raise AdapterInvalid(
            "That is no reference of a registry.",
            why=str(error),
            fix="Write HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST, or id@version.",
        ) from error


def named(text: str) -> str:
    """id@version as it is written.

    Raises:
        AdapterInvalid.
    """
    try:
        parse_name(text)
    except InvalidAdapter as error:
        raise AdapterInvalid(
            "That names no version of an adapter.",
            why=str(error),
            fix="Give ID@VERSION, as `yoyo adapters ls` shows it.",
        ) from error
    return text


def registered(book: AdapterBook, name: str) -> Registered:
    """The version in the registry file.

    Raises:
        AdapterInvalid.
        AdapterStageWrong: it is not registered.
    """
    found = book.find(named(name))
    if found is None:
        near = [each.adapter.name for each in book.adapters if each.adapter.id in name][:5]
        raise AdapterStageWrong(
            f"{name} is not registered.",
            why=f"The registry file has of it: {', '.join(near)}."
            if near
            else "The registry file has no version of it.",
            fix=f"Register it first: `yoyo adapters register {name}`.",
        )
    return found
