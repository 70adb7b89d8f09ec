"""What a ModelCache needs and how far it is, from what was observed. Pure.

The store's manifest is the truth about bytes, the ledger about work. The record of a cache only
says which document the bytes belong to, and is believed as far as its manifest's digest is still
the name's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Final, NamedTuple

from yoyo.core.cache_record import wanted
from yoyo.core.model_cache import request
from yoyo.core.staging import job_id
from yoyo.model.cache import (
    ADOPTED,
    REFETCH,
    Action,
    CacheStatus,
    Condition,
    HuggingFace,
    ModelCache,
    Phase,
    Record,
    Stamp,
    Verb,
)
from yoyo.model.fetch import RemoteFile, Resolved
from yoyo.model.ledger import BadRow, CompletionStatus, EventType, Row
from yoyo.model.store import Manifest

APPLY_AGAIN: Final = "`yoyo weights apply` goes on"
HOW_TO_FOLLOW: Final = f"A new value of the annotation {REFETCH} follows it"


class Observed(NamedTuple):
    """One cache as it is just now."""

    record: Record | None
    manifest: Manifest | None
    digest: str  # of the manifest's document; "" none
    resolved: Resolved | None = None  # what the source has now; None: not asked, or no answer
    unasked: str = "the source was not asked"  # why there is no answer
    busy: bool = False  # somebody stages that name
    stamps: tuple[Stamp, ...] = ()  # of adopted files, in the record's order; size -1: gone
    references: tuple[str, ...] = ()
    seconds: Decimal | None = None


class Drift(NamedTuple):
    """How the bytes of a name and their source differ. `status` is a condition's."""

    status: str
    reason: str
    message: str


def diff(desired: Iterable[ModelCache], observed: Mapping[str, Observed]) -> tuple[Action, ...]:
    """What applying these documents does, in their order. `observed` is by name."""
    return tuple(_action(cache, observed[cache.name]) for cache in desired)


def _action(cache: ModelCache, seen: Observed) -> Action:  # noqa: PLR0911 - a table, one row a line
    if seen.busy:
        return Action(Verb.WAIT, cache, "somebody stages it just now")
    if cache.existing is not None:
        return _adoption(cache, seen)
    if seen.manifest is None:
        return Action(Verb.STAGE, cache, "the store has nothing of that name")
    if is_current(cache, seen):
        return Action(Verb.NONE, cache, "the store has it")
    ours, again = _is_ours(seen), _asks_again(cache, seen)
    if again:
        return Action(Verb.REPLACE, cache, "the annotation asks for it")
    if not _is_adopted(seen.manifest) and satisfied(seen.manifest, seen.resolved):
        return Action(Verb.RECORD, cache, "the store has these bytes already")
    if ours:
        return Action(Verb.REPLACE, cache, "the document asks for other bytes")
    if _is_wanted(cache, seen):
        return Action(Verb.NONE, cache, "the name was given to other bytes by hand")
    return Action(Verb.STAGE, cache, "the name stands for bytes of another origin")


def _adoption(cache: ModelCache, seen: Observed) -> Action:
    if seen.manifest is None:
        return Action(Verb.ADOPT, cache, "the store has nothing of that name")
    if is_current(cache, seen):
        match _touched(seen):
            case "same":
                return Action(Verb.NONE, cache, "the files are as they were")
            case "touched":
                return Action(Verb.VERIFY, cache, "the files were touched")
            case _:
                return Action(Verb.NONE, cache, "the files are not what was adopted")
    if _is_ours(seen) or _asks_again(cache, seen):
        why = "the annotation asks for it" if _asks_again(cache, seen) else "the path is another"
        return Action(Verb.REPLACE, cache, why)
    return Action(Verb.ADOPT, cache, "the name stands for bytes of another origin")


def is_current(cache: ModelCache, seen: Observed) -> bool:
    """Whether the name stands for what was brought there for this very document."""
    return _is_ours(seen) and _is_wanted(cache, seen) and not _asks_again(cache, seen)


def _is_ours(seen: Observed) -> bool:
    done = None if seen.record is None else seen.record.hydrated
    return done is not None and seen.digest != "" and done.manifest == seen.digest


def _is_wanted(cache: ModelCache, seen: Observed) -> bool:
    done = None if seen.record is None else seen.record.hydrated
    return done is not None and done.wanted == wanted(request(cache))


def _asks_again(cache: ModelCache, seen: Observed) -> bool:
    """A first application is a fetch anyway; taking the annotation away asks for nothing."""
    done = None if seen.record is None else seen.record.hydrated
    return done is not None and cache.refetch not in ("", done.refetch)


def _is_adopted(manifest: Manifest) -> bool:
    return manifest.source.url.startswith(ADOPTED)


def _touched(seen: Observed) -> str:
    """`same`; `touched`: only reading can tell; `other`: surely other bytes."""
    done = None if seen.record is None else seen.record.hydrated
    if done is None or done.stamps == seen.stamps:
        return "same"
    sizes = [each.size for each in done.stamps] == [each.size for each in seen.stamps]
    return "touched" if sizes else "other"


def satisfied(manifest: Manifest, resolved: Resolved | None) -> bool:
    """Whether the manifest surely holds what the source has now."""
    if resolved is None or not _may_be(manifest, resolved.files):
        return False
    if all(_sha256(file) is not None for file in resolved.files):
        return True
    return resolved.revision != "" and manifest.source == (resolved.url, resolved.revision)


def _may_be(manifest: Manifest, files: tuple[RemoteFile, ...]) -> bool:
    held = {file.path: file for file in manifest.files}
    if len(files) != len(held) or {file.path for file in files} != set(held):
        return False
    return all(
        file.size in (None, held[file.path].size)
        and _sha256(file) in (None, held[file.path].sha256)
        for file in files
    )


def _sha256(file: RemoteFile) -> str | None:
    return file.sha256 if file.data is None else sha256(file.data).hexdigest()


def drift(cache: ModelCache, seen: Observed) -> Drift:  # noqa: PLR0911 - as above
    """Whether the source, or an adopted path, has other bytes than the name."""
    if seen.manifest is None:
        return Drift("False", "NothingThere", "The store has nothing that could differ.")
    if cache.existing is not None and _is_wanted(cache, seen):
        match _touched(seen):
            case "same":
                return Drift("False", "Unchanged", "Sizes and times are as they were.")
            case "touched":
                return Drift("Unknown", "FilesTouched", f"Times changed; {APPLY_AGAIN}: it reads.")
            case _:
                return Drift("True", "ContentChanged", f"Files changed. {HOW_TO_FOLLOW}.")
    if _is_wanted(cache, seen) and not _is_ours(seen):
        message = f"The name was given to other bytes by hand. A new value of {REFETCH} undoes it."
        return Drift("True", "ManifestReplaced", message)
    if seen.resolved is None:
        return Drift("Unknown", "SourceUnknown", f"{seen.unasked[:1].upper()}{seen.unasked[1:]}.")
    return _moved(cache, seen.manifest, seen.resolved)


def _moved(cache: ModelCache, manifest: Manifest, resolved: Resolved) -> Drift:
    then, now = manifest.source.revision, resolved.revision
    same = satisfied(manifest, resolved) or (
        _may_be(manifest, resolved.files) and "" in (then, now)
    )
    if isinstance(cache.source, HuggingFace) and then and now and then != now:
        files = "with the same files" if same else "with other files"
        message = (
            f"{cache.source.revision} is {now[:12]} now, {files}; staged is {then[:12]}. "
            f"{HOW_TO_FOLLOW}."
        )
        return Drift("True", "RevisionMoved", message)
    if same:
        return Drift("False", "Unchanged", "The source has what was staged.")
    return Drift("True", "ContentChanged", f"The source has other bytes. {HOW_TO_FOLLOW}.")


def status_of(cache: ModelCache, seen: Observed, now: datetime) -> CacheStatus:
    """Phase and conditions. `now` is the time of what has no earlier one."""
    record = seen.record
    if record is not None and record.cache.name != cache.name:
        raise ValueError("a record of another cache")
    applied = now if record is None else record.applied
    drifted = drift(cache, seen)
    phase, reason, message, since = _phase(cache, seen, applied)
    is_ready = "True" if phase is Phase.READY else "False"
    stalled = phase is Phase.FAILED
    first = None if record is None else record.drifted
    return CacheStatus(
        cache,
        phase,
        f"sha256:{seen.digest}" if seen.digest else "",
        seen.seconds,
        seen.references,
        (
            Condition("Ready", is_ready, reason, message, since),
            Condition(
                "Drifted", drifted.status, drifted.reason, drifted.message,
                (first or now) if drifted.status == "True" else since,
            ),
            Condition(
                "Stalled", "True" if stalled else "False", reason if stalled else "Progressing",
                message if stalled else "Nothing waits for anybody.", since,
            ),
        ),
    )  # fmt: skip


def _phase(  # noqa: PLR0911 - as above
    cache: ModelCache, seen: Observed, applied: datetime
) -> tuple[Phase, str, str, datetime]:
    record = seen.record
    if seen.busy:
        return Phase.POPULATING, "Staging", "Its bytes are on their way into the store.", applied
    failure = None if record is None else record.failure
    if is_current(cache, seen):
        assert record is not None  # noqa: S101 - current means recorded
        assert record.hydrated is not None  # noqa: S101
        match _touched(seen) if cache.existing is not None else "same":
            case "same":
                there = "The store has its bytes."
                if cache.existing is not None:
                    there = f"Its bytes are at {cache.existing}, with the digests of the manifest."
                return Phase.READY, "Staged", there, record.hydrated.at
            case "touched" if failure is None:
                text = f"The files were touched since they were hashed; {APPLY_AGAIN}."
                return Phase.PENDING, "FilesTouched", text, record.hydrated.at
            case "other":
                text = f"The files are not what was adopted. {HOW_TO_FOLLOW}."
                return Phase.FAILED, "ContentChanged", text, record.hydrated.at
    if failure is not None:
        return Phase.FAILED, failure.reason, failure.message, failure.at
    if _is_wanted(cache, seen) and seen.manifest is not None and not _asks_again(cache, seen):
        # Somebody named other bytes by hand: they are whole and verified, and a drift.
        return Phase.READY, "Replaced", "The name was given to other bytes by hand.", applied
    what = "Nothing of it is in the store yet" if seen.manifest is None else "It is not up to date"
    return Phase.PENDING, "NotStaged", f"{what}; {APPLY_AGAIN}.", applied


def hydration_seconds(
    rows: Iterable[Row | BadRow], kind: str, name: str, digest: str
) -> Decimal | None:
    """How long the last good staging took that led to this manifest, by the ledger's own times.

    None: the ledger does not know it.
    """
    job = job_id(kind, name)
    began: datetime | None = None
    found: Decimal | None = None
    for row in rows:
        if isinstance(row, BadRow) or row.entry.job_id != job:
            continue
        if row.entry.event_type is EventType.JOB_START:
            began = row.timestamp
        elif row.entry.event_type is EventType.JOB_COMPLETE and began is not None:
            good = row.entry.completion_status is CompletionStatus.SUCCESS
            if good and row.entry.input_hash == f"sha256:{digest}":
                took = row.timestamp - began
                found = max(Decimal(0), Decimal(round(took.total_seconds() * 1000)) / 1000)
            began = None
    return found
