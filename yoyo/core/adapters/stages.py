"""Which step follows which: no version of an adapter gets into use without a passed evaluation.

Each function gives the entries that change, for the registry file to write; an empty list says
that what was asked for is so already. Nothing here looks at a clock: `at` is the operator's.

    (new) --> eval_pending --> eval_ok --> promoted <--> retired
                  |               |           |             |
                  +---------------+-----------+-------------+--> rejected
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from yoyo.errors import AdapterStageWrong
from yoyo.model.adapter import AdapterBook, AdapterVersion, Change, Registered, Stage

PASSED: Final = "passed"
FAILED: Final = "failed"
# What the file's time can tell apart.
_TICK: Final = timedelta(microseconds=1)


def register(
    book: AdapterBook,
    new: AdapterVersion,
    ref: str,
    *,
    sign_off: str,
    result: str,
    at: datetime,
    by: str,
    notes: str = "",
    scale: Decimal | None = None,
) -> list[Registered]:
    """Enter a version, or the evaluator's statement on one that is entered.

    `sign_off` is the digest of that statement and `result` what it says (`passed`, `failed`); both
    are "" while there is none. An entry keeps its notes and its scale where none are given.

    Raises:
        AdapterStageWrong: the version stands for another artefact, or has another statement.
        ValueError: a result without a statement, or the other way round.
    """
    if result not in ("", PASSED, FAILED) or bool(result) != bool(sign_off):
        raise ValueError("a result needs its statement's digest, and is passed or failed")
    _check_owner(book, new)
    wanted = {PASSED: Stage.EVAL_OK, FAILED: Stage.REJECTED}.get(result, Stage.EVAL_PENDING)
    there = book.find(new.name)
    if there is None:
        fresh = Registered(
            new, ref, wanted, (), sign_off, Decimal(1) if scale is None else scale, notes
        )
        return [_moved(book, fresh, wanted, at, by)]
    _check_same(there, new, ref)
    kept = there._replace(
        ref=ref, notes=notes or there.notes, scale=there.scale if scale is None else scale
    )
    if not result or (there.sign_off == sign_off and _agrees(there.stage, result)):
        return [] if kept == there else [kept]
    if result == FAILED and there.stage is not Stage.REJECTED:
        return [_moved(book, kept._replace(sign_off=sign_off), Stage.REJECTED, at, by)]
    if there.stage is Stage.EVAL_PENDING:
        return [_moved(book, kept._replace(sign_off=sign_off), Stage.EVAL_OK, at, by)]
    raise AdapterStageWrong(
        f"{new.name} was not registered again.",
        why=f"It is {there.stage}, with another statement of the evaluator "
        f"({there.sign_off or 'none'}).",
        fix="Pack what was evaluated anew as a new version, and register that.",
    )


def promote(book: AdapterBook, name: str, *, at: datetime, by: str) -> list[Registered]:
    """Put an evaluated version into use; the one of the same adapter that was in use is retired.

    A retired one comes back so, if it has its sign-off: also after a rollback that was wrong.

    Raises:
        AdapterStageWrong: not registered, no passed sign-off, rejected.
    """
    entry = _entry(book, name)
    if entry.stage is Stage.PROMOTED:
        return []
    if entry.stage in _FIXES:
        raise AdapterStageWrong(
            f"{name} was not promoted.",
            why=f"It is {entry.stage}; only what is {Stage.EVAL_OK} can be promoted.",
            fix=_FIXES[entry.stage],
        )
    if not entry.sign_off:
        raise AdapterStageWrong(
            f"{name} was not promoted.",
            why=f"It is {entry.stage}, and no sign-off is registered for it.",
            fix="Pack it as a new version, have that evaluated, and register it.",
        )
    return [*_retired(book, entry, at, by), _moved(book, entry, Stage.PROMOTED, at, by)]


def retire(book: AdapterBook, name: str, *, at: datetime, by: str) -> list[Registered]:
    """Take a version out of use, or out of the choice.

    Raises:
        AdapterStageWrong: not registered, not evaluated yet, rejected.
    """
    entry = _entry(book, name)
    if entry.stage is Stage.RETIRED:
        return []
    if entry.stage not in (Stage.PROMOTED, Stage.EVAL_OK):
        raise AdapterStageWrong(
            f"{name} was not retired.",
            why=f"It is {entry.stage}, so it is not in use.",
            fix="See where each version stands: yoyo adapters ls",
        )
    return [_moved(book, entry, Stage.RETIRED, at, by)]


def reject(book: AdapterBook, name: str, *, at: datetime, by: str) -> list[Registered]:
    """Refuse a version for good, wherever it stands.

    Raises:
        AdapterStageWrong: not registered.
    """
    entry = _entry(book, name)
    return [] if entry.stage is Stage.REJECTED else [_moved(book, entry, Stage.REJECTED, at, by)]


def rollback(book: AdapterBook, adapter_id: str, *, at: datetime, by: str) -> list[Registered]:
    """Bring the version back that was promoted before the present one.

    "Before" is before the present one was promoted for the first time: two rollbacks go two
    versions back, never forward to the one that was left: `promote` brings that one back. Where
    none is in use, the one that was last comes back.

    Raises:
        AdapterStageWrong: there is none.
    """
    own = [each for each in book.adapters if each.adapter.id == adapter_id]
    present = next((each for each in own if each.stage is Stage.PROMOTED), None)
    limit = None if present is None else min(_promotions(present))
    candidates = [
        (max(times), each)
        for each in own
        if each.stage is Stage.RETIRED
        and each.sign_off
        and (times := [when for when in _promotions(each) if limit is None or when < limit])
    ]
    if not candidates:
        raise AdapterStageWrong(
            f"{adapter_id} was not rolled back.",
            why="No version of it is retired that was promoted before"
            + (" the present one." if present else "."),
            fix="See where each version stands, `yoyo adapters ls`, and promote the one that is "
            f"meant: yoyo adapters promote {adapter_id}@VERSION",
        )
    _, entry = max(candidates, key=lambda each: each[0])
    return [*_retired(book, entry, at, by), _moved(book, entry, Stage.PROMOTED, at, by)]


# What cannot be promoted, and what to do about it.
_FIXES: Final = {
    Stage.EVAL_PENDING: "Have it evaluated, then register it again: yoyo adapters register",
    Stage.REJECTED: "Train and register another version: a rejected one does not come back.",
}


def _entry(book: AdapterBook, name: str) -> Registered:
    found = book.find(name)
    if found is None:
        raise AdapterStageWrong(
            f"{name} is not registered.",
            why="The registry file has no such version.",
            fix="See what is there: yoyo adapters ls",
        )
    return found


def _check_owner(book: AdapterBook, new: AdapterVersion) -> None:
    """`a-b-x` may be of `a` or of `a-b`; of both, a step of one would move the other's."""
    for each in book.adapters:
        if each.adapter.id == new.id and each.adapter.module_id != new.module_id:
            raise AdapterStageWrong(
                f"{new.name} was not registered.",
                why=f"The identifier {new.id} belongs to another tenant.",
                fix="Pack it with another identifier.",
            )


def _check_same(there: Registered, new: AdapterVersion, ref: str) -> None:
    name, digest = new.name, ref.partition("@")[2]
    if there.digest != digest:
        raise AdapterStageWrong(
            f"{name} was not registered.",
            why=f"That version is {there.digest} already, and this one {digest}.",
            fix="Pack it with another version number: what is registered never changes.",
        )
    if there.adapter != new:
        raise AdapterStageWrong(
            f"{name} was not registered.",
            why="The registry file says something else of this artefact than the artefact does.",
            fix="Correct the entry in the registry file, or take it out and register again.",
        )


def _agrees(stage: Stage, result: str) -> bool:
    return (stage is Stage.REJECTED) == (result == FAILED)


def _retired(book: AdapterBook, but: Registered, at: datetime, by: str) -> Iterator[Registered]:
    for each in book.adapters:
        if each.adapter.id == but.adapter.id and each.stage is Stage.PROMOTED:
            yield _moved(book, each, Stage.RETIRED, at, by)


def _moved(book: AdapterBook, entry: Registered, stage: Stage, at: datetime, by: str) -> Registered:
    """One step further. A clock that stands or was put back must not mix up who came first."""
    earlier = [
        step.at
        for each in book.adapters
        if each.adapter.id == entry.adapter.id
        for step in each.history
    ]
    moment = max(at, max(earlier) + _TICK) if earlier else at
    return entry._replace(stage=stage, history=(*entry.history, Change(stage, moment, by)))


def _promotions(entry: Registered) -> list[datetime]:
    return [step.at for step in entry.history if step.stage is Stage.PROMOTED]
