"""`yoyo adapters ls` and `inspect`: what is registered, what a registry holds; unjudged."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from yoyo.model.adapter import Artefact, Registered
    from yoyo.model.oci import Reference
    from yoyo.ops.adapters.context import AdapterContext
    from yoyo.ports.adapter_book import AdapterBookFile


class Inspected(NamedTuple):
    """An artefact as its registry shows it. Nothing of it is verified."""

    ref: Reference
    artefact: Artefact
    bundles: tuple[tuple[str, str], ...]  # sha256:<hex>, the predicate type that it claims


def listed(
    book: AdapterBookFile, *, module_id: str | None = None, stage: str | None = None
) -> tuple[Registered, ...]:
    """The registry file's versions, in its order.

    Raises:
        AdapterBookInvalid.
    """
    return tuple(
        each
        for each in book.read().adapters
        if module_id in (None, each.adapter.module_id) and stage in (None, each.stage.value)
    )


def inspect(ctx: AdapterContext, ref: Reference) -> Inspected:
    """What lies at this pinned reference, and what refers to it.

    Raises:
        AdapterInvalid, ArtefactMissing, ArtefactCorrupt, RegistryUnavailable, RegistryDenied.
    """
    # What is not needed to list, which has to be quick.
    from yoyo.ops.adapters.examine import artefact_at, bundles_of

    artefact = artefact_at(ctx, ref)
    bundles = tuple((each.digest, each.claimed) for each in bundles_of(ctx, ref))
    return Inspected(ref, artefact, bundles)
