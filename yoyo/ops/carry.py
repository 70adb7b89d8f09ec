"""One file of a source into the store: fetched, hashed and sent on at the same time."""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Final

from yoyo.core import store_keys
from yoyo.errors import ArtefactCorrupt, SourceFailed
from yoyo.model.fetch import RemoteFile, TransferState
from yoyo.model.store import CHUNK_BYTES, StoredFile
from yoyo.ops.store_context import StoreContext
from yoyo.ports.disk import Hash
from yoyo.ports.fetch import Transfer
from yoyo.ports.objects import Upload

_POLL_S: Final = 0.05
_DIGEST: Final = re.compile("[0-9a-f]{64}")


def carry(
    ctx: StoreContext,
    file: RemoteFile,
    target: Path,
    session: str,
    media_type: str,
    guess: str = "",
    damaged: tuple[str, ...] = (),
) -> StoredFile:
    """Bring the file into the store under its digest. A killed one goes on where it was.

    Downloads go to `target`, which the caller removes when the whole set is named. `guess` is the
    sha256 that a file without one probably has: what the store has already is not sent.
    Artefacts that are `damaged` are sent all the same, and give way to what was sent.

    Raises:
        SourceFailed: not there, broken off, another size than promised, changed under our hands.
        ArtefactCorrupt: another sha256 than the source or the operator said; what was fetched
            is removed, here and in the store.
        StoreUnavailable, StoreDenied, StoreFull, StateUnwritable, DriverUnavailable.
    """
    incoming = _incoming(ctx, file, target)
    try:
        size = _size(ctx, file, incoming)
        upload = ctx.store.upload(session, size)
        before = ctx.disk.stamp(incoming.path)
        hint = file.sha256 or ctx.disk.read_text(_note(target)).strip() or guess
        there = hint not in damaged and _stored(ctx, hint, size)
        chunks, whole = _Pipeline(ctx, file.path, incoming, None if there else upload, size).run()
        if there and file.sha256 is None and whole != hint:  # the source is another one by now
            chunks, whole = _Pipeline(ctx, file.path, incoming, upload, size).run()
        if isinstance(incoming, _Coming):
            _wait_for_end(ctx, incoming)
            held = ctx.disk.size(incoming.path) or 0
            if held != size:
                incoming.close()
                _forget(ctx, target)
                upload.abandon()
                raise _other_size(file, held)
        if file.local is not None and ctx.disk.stamp(incoming.path) != before:
            upload.abandon()
            raise SourceFailed(
                f"{file.local} changed while it was read.",
                why="What was read is a mixture of two states.",
                fix="Stage it again when nothing writes to it.",
            )
        if file.sha256 is not None and whole != file.sha256:
            incoming.close()
            _forget(ctx, target)
            upload.abandon()
            raise ArtefactCorrupt(
                f"{file.path} has the wrong sha256; what was fetched is deleted.",
                why=f"It should be {file.sha256} and is {whole}.",
                fix="Check the digest. If it is right, the source was changed or damaged: try a "
                "mirror, or stage again.",
            )
        _settle(ctx, upload, target, size, chunks, whole, whole in damaged)
    finally:
        incoming.close()
    return StoredFile(file.path, size, whole, chunks, media_type)


def _settle(
    ctx: StoreContext,
    upload: Upload,
    target: Path,
    size: int,
    chunks: tuple[str, ...],
    whole: str,
    damaged: bool,
) -> None:
    key = store_keys.artefact(whole)
    there = ctx.store.stat(key)
    if there is not None and there.size == size and not damaged:
        upload.abandon()
        return
    if there is not None:  # cut short or damaged: an upload leaves what is there alone
        ctx.store.delete(key, generation=there.generation)
    # Killed from here to the name, the next staging need not send it all again.
    ctx.disk.write_text(_note(target), whole + "\n")
    upload.finish(key, chunks)


def _note(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _stored(ctx: StoreContext, sha256: str, size: int) -> bool:
    if not _DIGEST.fullmatch(sha256):
        return False
    there = ctx.store.stat(store_keys.artefact(sha256))
    return there is not None and there.size == size


def _forget(ctx: StoreContext, target: Path) -> None:
    ctx.disk.remove(target)
    ctx.disk.remove(target.with_name(target.name + ".aria2"))
    ctx.disk.remove(_note(target))


class _Here:
    """Bytes that are on this machine already."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._state = TransferState(size, size, 0, True, 0, b"")

    def state(self) -> TransferState:
        return self._state

    def close(self) -> None:
        return


class _Coming:
    """Bytes that a transfer brings."""

    def __init__(self, path: Path, transfer: Transfer) -> None:
        self.path = path
        self.state = transfer.state
        self.close = transfer.close


def _incoming(ctx: StoreContext, file: RemoteFile, target: Path) -> _Here | _Coming:
    if file.local is not None:
        size = ctx.disk.size(file.local)
        if size is None:
            raise SourceFailed(
                f"{file.local} is not there any more.", fix="Check the path, and stage it again."
            )
        return _Here(file.local, size)
    if file.data is not None:
        ctx.disk.remove(target)
        ctx.disk.write_at(target, 0, file.data)
        return _Here(target, len(file.data))
    ctx.disk.room(target.parent)  # makes the directory, which transfers do not
    return _Coming(target, ctx.transfers.start(file, target))


def _size(ctx: StoreContext, file: RemoteFile, incoming: _Here | _Coming) -> int:
    """Of the whole file. A source that does not say is fetched first."""
    if file.size is not None and isinstance(incoming, _Coming):
        return file.size
    _wait_for_end(ctx, incoming, file.path)
    size = ctx.disk.size(incoming.path) or 0
    if file.size is not None and size != file.size:
        raise _other_size(file, size)
    return size


def _wait_for_end(ctx: StoreContext, incoming: _Here | _Coming, name: str = "") -> None:
    state = incoming.state()
    while not state.finished:
        if name:
            ctx.progress.bytes(name, state.done, None)
        ctx.clock.sleep(_POLL_S)
        state = incoming.state()


def _other_size(file: RemoteFile, size: int) -> SourceFailed:
    return SourceFailed(
        f"{file.path} has {size} bytes, and its source promised {file.size}.",
        why="It was cut off, or replaced while it was fetched.",
        fix="Stage it again.",
    )


class _Pipeline:
    """Chunks are hashed and sent on as they become whole; a second line hashes the whole.

    Without an upload they are only hashed.
    """

    def __init__(
        self,
        ctx: StoreContext,
        name: str,
        incoming: _Here | _Coming,
        upload: Upload | None,
        size: int,
    ) -> None:
        self._ctx, self._name, self._in, self._upload = ctx, name, incoming, upload
        self._size = size
        self._starts = range(0, size, CHUNK_BYTES)
        self._done = upload.done() if upload is not None else {}
        self._whole = sha256()

    def run(self) -> tuple[tuple[str, ...], str]:
        """Digests of the chunks, and of the whole."""
        pool = ThreadPoolExecutor(self._ctx.cores, "chunk")
        line = ThreadPoolExecutor(1, "whole")
        try:
            chunks, whole = self._feed(pool, line)
            return tuple(each.result() for each in chunks), whole
        finally:
            pool.shutdown(cancel_futures=True)
            line.shutdown(cancel_futures=True)

    def _feed(
        self, pool: ThreadPoolExecutor, line: ThreadPoolExecutor
    ) -> tuple[list[Future[str]], str]:
        chunks: dict[int, Future[str]] = {}
        in_order: list[Future[None]] = []
        while True:
            state = self._in.state()
            for index, start in enumerate(self._starts):
                if index not in chunks and state.has(start, self._length(start)):
                    chunks[index] = pool.submit(self._chunk, index, start)
            while len(in_order) in chunks:
                in_order.append(line.submit(self._add, len(in_order) * CHUNK_BYTES))
            _raise_failed((*chunks.values(), *in_order))
            arrived = sum(each.done() for each in in_order) * CHUNK_BYTES
            self._ctx.progress.bytes(
                self._name, min(arrived if state.finished else state.done, self._size), self._size
            )
            if len(in_order) == len(self._starts) and all(each.done() for each in in_order):
                break
            if state.finished and len(in_order) == len(self._starts):
                in_order[-1].exception()  # waits, instead of looking again and again
                continue
            self._ctx.clock.sleep(_POLL_S)
        return [chunks[index] for index in range(len(self._starts))], self._whole.hexdigest()

    def _length(self, start: int) -> int:
        return min(CHUNK_BYTES, self._size - start)

    def _add(self, start: int) -> None:
        self._take(start, self._whole)

    def _chunk(self, index: int, start: int) -> str:
        one = sha256()
        self._take(start, one)
        digest = one.hexdigest()
        if self._upload is not None and self._done.get(index) != digest:
            self._upload.put(index, self._in.path, start, self._length(start), digest)
        return digest

    def _take(self, start: int, into: Hash) -> None:
        length = self._length(start)
        count = self._ctx.disk.feed(self._in.path, start, length, into)
        if count != length:
            raise SourceFailed(
                f"{self._name} ends at byte {start + count} of {self._size}.",
                why="It was cut off, or something else writes to it.",
                fix="Stage it again.",
            )


def _raise_failed(futures: tuple[Future[str] | Future[None], ...]) -> None:
    for each in futures:
        if each.done() and (error := each.exception()) is not None:
            raise error
