"""Checkpoints in a second store, where whoever writes the ledger may create and nothing more."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from yoyo.core.audit.note import NoteError, parse_vkey
from yoyo.errors import (
    ArtefactMissing,
    CheckpointInvalid,
    StoreConflict,
    StoreDenied,
    YoyoError,
)

if TYPE_CHECKING:
    from yoyo.ops.audit.context import AuditContext
    from yoyo.ports.checkpoints import Checkpoints
    from yoyo.ports.objects import Objects

PLACE: Final = "checkpoints/"  # of all copies, in the second store
# Above this many that are not known to be there, one listing is cheaper than asking for each.
_LIST_FROM: Final = 100
# A teardown waits for the copies: what is left over after so many is for the next checkpoint.
_MOST: Final = 200


class Copied(StrEnum):
    """What became of one copy."""

    WRITTEN = "written"
    SAME = "same"  # it was there, with these bytes
    OTHER = "other"  # it was there, with others
    UNREAD = "unread"  # it was there, and may not be read


class Copies(NamedTuple):
    """What one command copied, and what kept it from being all."""

    names: tuple[str, ...] = ()
    note: str = ""  # for people; "": nothing is behind
    forked: str = ""  # the store has another checkpoint of one of these names: two histories


def copies(ctx: AuditContext) -> Copies:
    """Copy what the second store has not.

    A copy is written only where there is none: what is there is never written over. The
    newest goes first, so that permission to create is known; then what an earlier one left.
    """
    if ctx.copy_to is None:
        return Copies()
    try:
        store = ctx.copy_to()
    except YoyoError as error:
        return Copies(note=f"checkpoints could not be copied: {_said(error)}")
    work = _Copying(ctx.checkpoints, store)
    work.run()
    return Copies(tuple(sorted(work.done)), "; ".join(work.notes()), work.forked)


def note_file(name: str) -> str:
    """The file's name of a note, the same here and there."""
    return f"{name}.note"


class _Copying:
    """One command's copies."""

    def __init__(self, checkpoints: Checkpoints, store: Objects) -> None:
        self._checkpoints = checkpoints
        self._store = store
        self._known = set(checkpoints.copied(store.url))
        self._troubles: list[str] = []
        self._unread = 0
        self._left_over = 0
        self.done: list[str] = []
        self.forked = ""

    def run(self) -> None:
        """Copy; what went wrong is in `notes`."""
        try:
            self._notes()
            self._keys()
        except YoyoError as error:
            self._troubles.append(_said(error))

    def notes(self) -> list[str]:
        """What is to be said, for people."""
        said = [f"checkpoints could not be copied: {each}" for each in self._troubles]
        if self._unread:
            said.append(
                f"{self._unread} older checkpoint(s) were in {self._store.url} already and may not "
                "be read there: whoever may is to compare them"
            )
        if self._left_over:
            said.append(f"{self._left_over} older checkpoint(s) are copied at the next one")
        return said

    def _notes(self) -> None:
        names = self._checkpoints.names()
        if not names:
            return
        left = self._unknown(names[:-1])
        if len(left) > _LIST_FROM:
            self._learn()
            left = self._unknown(tuple(left))
        # The newest is tried whatever is known: a second history of that size shows so.
        self._note(names[-1], may_create=False)
        for name in left[:_MOST]:
            self._note(name, may_create=bool(self.done))
        self._left_over = max(0, len(left) - _MOST)

    def _unknown(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if note_file(name) not in self._known]

    def _learn(self) -> None:
        try:
            there = [info.key.removeprefix(PLACE) for info in self._store.list(PLACE)]
        except StoreDenied:
            return  # then each is asked for
        for file in there:
            self._remember(file)

    def _note(self, name: str, *, may_create: bool) -> None:
        try:
            note = self._checkpoints.read(name)
        except CheckpointInvalid as error:
            self._troubles.append(_said(error))
            return
        file = note_file(name)
        became = self._copy(file, note, may_create=may_create)
        if became is Copied.OTHER or (became is Copied.UNREAD and not self.done):
            # It is not remembered: each checkpoint from here on says so again.
            said = _two_histories(self._store.address(PLACE + file), became)
            self._troubles.append(said)
            if became is Copied.OTHER:
                self.forked = self.forked or said
            return
        self._remember(file)
        if became is Copied.WRITTEN:
            self.done.append(name)
        self._unread += became is Copied.UNREAD

    def _keys(self) -> None:
        for text in self._checkpoints.keys():  # noqa: SIM118 - a method of the port
            try:
                file = f"{parse_vkey(text.decode()).key_id.hex()}.vkey"
            except (NoteError, UnicodeDecodeError) as error:
                self._troubles.append(f"a verifier key beside them is damaged: {error}")
                continue
            if file in self._known:
                continue
            if self._copy(file, text, may_create=bool(self.done)) is Copied.OTHER:
                address = self._store.address(PLACE + file)
                self._troubles.append(_two_histories(address, Copied.OTHER))
            else:
                self._remember(file)

    def _copy(self, file: str, content: bytes, *, may_create: bool) -> Copied:
        """One object. With `may_create`, a refusal means that it is there.

        Cloud Storage may say so by 403: to write over an object takes the right to delete it.

        Raises:
            StoreUnavailable, StoreDenied, StoreFull.
        """
        key = PLACE + file
        try:
            self._store.put(key, content, if_generation=0)
        except StoreConflict:
            pass
        except StoreDenied:
            if not may_create:
                raise
        else:
            return Copied.WRITTEN
        try:
            there = b"".join(self._store.read(key, length=len(content) + 1))
        except (StoreDenied, ArtefactMissing):
            return Copied.UNREAD
        return Copied.SAME if there == content else Copied.OTHER

    def _remember(self, file: str) -> None:
        if file not in self._known:
            self._known.add(file)
            self._checkpoints.remember_copied(self._store.url, file)


def _two_histories(address: str, became: Copied) -> str:
    if became is Copied.UNREAD:
        return (
            f"The second store had {address} before it was written, and may not be read. Whoever "
            "may read it is to compare the two: they may be two histories."
        )
    return (
        f"The second store has another {address}. Two ledgers copy there, or one of the two was "
        "tampered with: keep both, and run `yoyo ledger verify --against` with each."
    )


def _said(error: YoyoError) -> str:
    return f"{error.what} {error.why}".rstrip()
