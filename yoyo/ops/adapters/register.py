"""`yoyo adapters register`, `promote`, `retire`, `rollback`: changing the registry file."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from yoyo.core.adapters import stages
from yoyo.errors import AdapterInvalid, AdapterStageWrong
from yoyo.model.adapter import Stage
from yoyo.ops.adapters.examine import Examined, examine, judged
from yoyo.ops.adapters.refs import named, parsed, registered
from yoyo.ops.adapters.rows import change

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from yoyo.model.adapter import AdapterBook, Registered
    from yoyo.model.oci import Reference
    from yoyo.ops.adapters.context import AdapterContext


class Changed(NamedTuple):
    """Where a version stands now, and the one that made room for it."""

    registered: Registered
    replaced: Registered | None = None
    before: Registered | None = None  # as it stood; None: not registered, or not asked for
    already: bool = False  # nothing was changed


def register(
    ctx: AdapterContext, ref: Reference, *, notes: str = "", scale: Decimal | None = None
) -> Changed:
    """Verify the adapter at this pinned reference and enter it; a sign-off is entered with it.

    Registering the same again takes in a sign-off that has come since.

    Raises:
        AdapterRefused, AdapterStageWrong, what `examine` raises, AdapterBookInvalid,
        StateUnwritable, NodeBusy, LedgerCorrupt, LedgerWriteFailed.
    """
    examined = judged(examine(ctx, ref, sign_off=False))
    adapter, verdict = examined.artefact.adapter, examined.verdict

    before: Registered | None = None
    already = False

    def entered(book: AdapterBook) -> Sequence[Registered]:
        nonlocal before, already
        found = stages.register(
            book,
            adapter,
            f"{ref.place}@{ref.digest}",
            sign_off=verdict.sign_off,
            result=verdict.result,
            at=ctx.clock.now(),
            by=ctx.operator,
            notes=notes,
            scale=scale,
        )
        before, already = book.find(adapter.name), not found
        return found

    book = change(ctx, "register", adapter, ref.digest, entered)
    return Changed(registered(book, adapter.name), before=before, already=already)


def promote(ctx: AdapterContext, name: str) -> Changed:
    """Make a version the one that nodes get, also a retired one that has its sign-off.

    It is verified again, sign-off included.

    Raises:
        AdapterRefused, AdapterStageWrong, what `examine` raises, AdapterBookInvalid,
        StateUnwritable, NodeBusy, LedgerCorrupt, LedgerWriteFailed.
    """
    return _moved(ctx, "promote", named(name), stages.promote, verify=True)


def rollback(ctx: AdapterContext, adapter_id: str) -> Changed:
    """Bring the version back that was promoted before the present one; it is verified again.

    Raises:
        As `promote` does.
    """
    alone, version, _ = adapter_id.partition("@")
    if version:
        raise AdapterInvalid(
            f"`rollback {adapter_id}` was not done.",
            why="Which version comes back, the registry file says.",
            fix=f"Give the ID alone: `yoyo adapters rollback {alone}`.",
        )
    return _moved(ctx, "rollback", adapter_id, stages.rollback, verify=True)


def retire(ctx: AdapterContext, name: str) -> Changed:
    """Take a version out of use; nodes that run it keep it until they are started anew.

    Raises:
        AdapterStageWrong, AdapterBookInvalid, StateUnwritable, NodeBusy, LedgerCorrupt,
        LedgerWriteFailed.
    """
    return _moved(ctx, "retire", named(name), stages.retire, verify=False)


def reject(ctx: AdapterContext, name: str) -> Changed:
    """Refuse a version for good; see `retire`."""
    return _moved(ctx, "reject", named(name), stages.reject, verify=False)


def verified(ctx: AdapterContext, entry: Registered, base: str = "") -> Examined:
    """A registered version, verified as it would be before it is loaded.

    Raises:
        AdapterRefused, and what `examine` raises.
    """
    return judged(examine(ctx, parsed(entry.ref), base=base, registered=entry))


class _Step(Protocol):
    def __call__(
        self, book: AdapterBook, name: str, /, *, at: datetime, by: str
    ) -> Sequence[Registered]: ...


def _moved(ctx: AdapterContext, action: str, name: str, step: _Step, *, verify: bool) -> Changed:
    """Take a step that was tried on the book as it is: what it refuses costs no row."""
    steps = [*step(ctx.book.read(), name, at=ctx.clock.now(), by=ctx.operator)]
    if not steps:  # it stands there already
        return Changed(registered(ctx.book.read(), name), already=True)
    entry = _main(steps, action)
    if verify:
        verified(ctx, entry)

    def same(book: AdapterBook) -> Sequence[Registered]:
        found = step(book, name, at=ctx.clock.now(), by=ctx.operator)
        if found and _meant(_main(found, action)) != _meant(entry):
            raise AdapterStageWrong(
                f"`{action} {name}` was not done.",
                why="The registry file was changed meanwhile: it would be another step now.",
                fix="See where each version stands, `yoyo adapters ls`, and run it again.",
            )
        steps[:] = found or steps
        return found

    book = change(ctx, action, entry.adapter, entry.digest, same)
    gone = next((each for each in steps if each.adapter.name != entry.adapter.name), None)
    return Changed(registered(book, entry.adapter.name), gone)


def _main(steps: Sequence[Registered], action: str) -> Registered:
    """The step that was asked for; another one only makes room for it."""
    wanted = _END[action]
    return next(each for each in steps if each.stage is wanted)


def _meant(step: Registered) -> tuple[object, ...]:
    """What of a step was verified, or seen by whoever asked for it.

    For a promotion also where it stood: promoted and retired meanwhile, it would come back unasked.
    """
    before = step.history[:-1] if step.stage is Stage.PROMOTED else ()
    return step.adapter, step.ref, step.sign_off, before


_END: Final = {
    "promote": Stage.PROMOTED,
    "rollback": Stage.PROMOTED,
    "retire": Stage.RETIRED,
    "reject": Stage.REJECTED,
}
