"""The registry file on this machine: whole at any time, and still its people's own afterwards."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from yoyo.core.adapters.book import BookError, Document, parse_book, parse_document
from yoyo.core.adapters.book_form import EMPTY
from yoyo.core.adapters.book_text import MAX_BYTES
from yoyo.drivers.files import adapter_book_edit as edit
from yoyo.drivers.files.state import sync_dir, unwritable
from yoyo.errors import AdapterBookInvalid, StateUnwritable
from yoyo.model.adapter import AdapterBook, Registered

_POLL_S: Final = 0.02  # flock cannot wait with a limit; this is below what a person notices
_WAIT_S: Final = 60.0  # a change takes milliseconds: whoever holds it longer has stopped


class YamlAdapterBook:
    """The registry file's port over one YAML file; docs/formats/registry.md.

    Writers take turns by a lock on the file's directory, which leaves nothing behind. Readers
    need none, as the file is replaced whole. A link is followed, and stays one.
    """

    def __init__(self, path: Path, *, wait_s: float = _WAIT_S) -> None:
        """`wait_s` is how long another writer is waited for, in seconds."""
        self._path = path
        self._wait_s = wait_s

    def read(self) -> AdapterBook:
        """See the port."""
        text = self._text()
        return AdapterBook() if text is None else self._parsed(text).book

    def change(self, decide: Callable[[AdapterBook], Sequence[Registered]]) -> AdapterBook:
        """See the port."""
        target = self._target()
        with self._locked(target):
            text = self._text()
            before = self._parsed(EMPTY + "  []\n" if text is None else text)
            changed = decide(before.book)
            if not changed:
                return before.book
            wanted = _merged(before.book, changed)
            new = self._edited(text, before, changed, wanted)
            _replace(target, new)
        return wanted

    def _edited(
        self, text: str | None, before: Document, changed: Sequence[Registered], wanted: AdapterBook
    ) -> str:
        """The new text: as few lines as possible are other ones, and it says what is wanted."""
        ways: list[Callable[[], str]] = [lambda: edit.rewritten(text or "", wanted.adapters)]
        if text is None:
            ways = [lambda: edit.fresh(changed)]
        elif before.schema == edit.SCHEMA:
            ways.insert(0, lambda: edit.spliced(text, before, changed))
        why = ""
        for way in ways:
            try:
                new = way()
                found = parse_book(new)
            except (edit.CannotEdit, BookError) as error:
                why = str(error)
                continue
            if found == wanted:
                return new
            why = "what would be written does not say what it should"
        raise AdapterBookInvalid(
            f"{self._path} was not changed.",
            why=f"{why}.",
            fix="Write its entries in the form of docs/formats/registry.md, and repeat.",
        )

    def _target(self) -> Path:
        try:
            return self._path.resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            raise self._unreadable("its links lead nowhere") from error

    def _text(self) -> str | None:
        """None: there is no file."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not hang the command
        try:
            fd = os.open(self._path, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise self._unreadable("it is no regular file")
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise self._unreadable(f"it is larger than {MAX_BYTES} bytes")
            return data.decode("utf-8")
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self._unreadable(f"line {line} is not UTF-8") from error
        finally:
            os.close(fd)

    def _unreadable(self, why: str) -> AdapterBookInvalid:
        return AdapterBookInvalid(
            f"{self._path} cannot be read.",
            why=f"{why[:1].upper()}{why[1:]}.",
            fix="Mend that, or name another registry file in yoyo.yaml.",
        )

    def _parsed(self, text: str) -> Document:
        try:
            return parse_document(text)
        except BookError as error:
            raise AdapterBookInvalid(
                f"{self._path} is no registry file that this yoyo can use.",
                why=f"{error.mistakes[0]}."
                + (f" There are {len(error.mistakes)} mistakes." if error.mistakes[1:] else ""),
                fix="Correct it; the format is in docs/formats/registry.md. A file of a newer "
                "schema needs a newer yoyo.",
                details=error.mistakes,
            ) from error

    @contextmanager
    def _locked(self, target: Path) -> Iterator[None]:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unwritable(target, error) from error
        try:
            _take(fd, target, self._wait_s)
            yield
        finally:
            os.close(fd)  # frees the lock


def _take(fd: int, target: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StateUnwritable(
                    f"{target} could not be changed.",
                    why=f"Another process has held the lock of {target.parent} for {wait_s:g} s.",
                    fix="Wait until it has ended, and repeat; `lsof` names it.",
                ) from None
            time.sleep(_POLL_S)
        except OSError as error:
            raise unwritable(target, error) from error


def _merged(book: AdapterBook, changed: Sequence[Registered]) -> AdapterBook:
    """The book with entries replaced by name, new ones at its end."""
    by_name = {each.adapter.name: each for each in book.adapters}
    by_name |= {each.adapter.name: each for each in changed}
    return AdapterBook(tuple(by_name.values()))


def _replace(target: Path, text: str) -> None:
    """Whole or not at all; the lock is held, so that one name of a part is enough."""
    part = target.with_name(f".{target.name}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(part, flags, 0o666)  # less the operator's umask, as an editor's files
        try:
            with suppress(FileNotFoundError):
                os.fchmod(fd, stat.S_IMODE(target.stat().st_mode))
            left = memoryview(text.encode())
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        part.replace(target)
        sync_dir(target.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritable(target, error) from error
