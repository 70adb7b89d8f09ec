"""The ledger's files as Parquet beside it: a cache that may be deleted and is never just believed.

`LEDGER.cache/2026-10.parquet` with `2026-10.json`, which says of exactly which file it was made
(device, inode, size, times) and has a checksum of every piece. What does not agree is made anew.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from yoyo.core.ledger_format import HEADER, decode_row
from yoyo.core.warehouse import quoted, read_csv, typed_columns
from yoyo.drivers.duckdb.form import IS_JOB, line_text
from yoyo.drivers.duckdb.prove import prove
from yoyo.drivers.duckdb.scan import NotSound
from yoyo.drivers.duckdb.source import Source, look_at
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import Row

if TYPE_CHECKING:
    import duckdb

VERSION: Final = 1
_BLOCK: Final = 1 << 20
# What accounts read of it; SQL reads all.
ACCOUNT_COLUMNS: Final = frozenset((
    "timestamp_utc", "event_type", "moduleId", "node_id", "adapter_versions", "tokens_processed",
    "gpu_seconds", "cost_usd", "completion_status", "operator_id", "seq", "line", "",
))  # fmt: skip


def cache_of(parts: tuple[LedgerPart, ...]) -> Path:
    """The cache's folder: beside the live file, or beside where it would be."""
    last = parts[-1]
    name = last.path.stem
    if last.month is not None:
        name = name.removesuffix(f"-{last.month}")
    return last.path.with_name(f"{name}.cache")


def parquet_of(
    connection: duckdb.DuckDBPyConnection, folder: Path, part: LedgerPart, source: Source
) -> Path:
    """The cached file of that part, made if there is none that holds.

    Raises:
        NotSound: the part is not well-formed throughout.
        OSError: the cache cannot be written.
    """
    name = part.month or "live"
    path = folder / f"{name}.parquet"
    if holds(path, source, None):
        return path
    prove(connection, source)
    where = f"TRY_CAST(seq AS BIGINT) BETWEEN {source.first_seq} AND {source.last_seq}"
    folder.mkdir(exist_ok=True)
    make(connection, read_csv(str(source.path)), where, path)
    note_for(connection, path, source)
    return path


def note_for(connection: duckdb.DuckDBPyConnection, path: Path, source: Source) -> None:
    """Say beside a cached file of what it is, and what its pieces must add up to.

    Raises:
        OSError: it cannot be written.
    """
    note = {
        "version": VERSION,
        "source": list(source.identity),
        "chunks": list(_sums(path, _chunks(connection, path))),
    }
    _write(path.with_suffix(".json"), json.dumps(note))


def make(connection: duckdb.DuckDBPyConnection, table: str, where: str, path: Path) -> None:
    """Write rows that are known to be well-formed as Parquet; whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    statement = (
        f"SELECT {typed_columns()}, CASE WHEN {IS_JOB} THEN NULL ELSE {line_text()} END AS line"  # noqa: S608
        f" FROM {table} WHERE {where}"
    )
    write_whole(connection, statement, path)


def write_whole(connection: duckdb.DuckDBPyConnection, statement: str, path: Path) -> None:
    """Write what that statement gives as Parquet; whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    import duckdb as module

    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        connection.execute(
            f"COPY ({statement}) TO {quoted(str(part))} (FORMAT parquet, COMPRESSION zstd)"
        )
        _sync(part)
        part.replace(path)
    except module.IOException as error:
        raise OSError(str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def holds(path: Path, source: Source, columns: frozenset[str] | None) -> bool:
    """Whether the cache is of that file and undamaged in those columns; None: in all."""
    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="ascii"))
        if note["version"] != VERSION or note["source"] != list(source.identity):
            return False
        end = 0
        with path.open("rb") as file:
            for name, start, length, crc in note["chunks"]:
                if start != end:
                    return False
                end = start + length
                if (columns is None or name in columns) and _crc(file.fileno(), start, end) != crc:
                    return False
            return end == os.fstat(file.fileno()).st_size
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _chunks(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[tuple[str, int, int]]:
    """The file's pieces without a gap: one for each column chunk, "" for all between them."""
    found = connection.execute(
        "SELECT path_in_schema, least(coalesce(nullif(dictionary_page_offset, 0),"  # noqa: S608
        " data_page_offset), data_page_offset) AS start, total_compressed_size"
        f" FROM parquet_metadata({quoted(str(path))}) ORDER BY start"
    ).fetchall()
    end = 0
    for name, start, length in found:
        if start > end:
            yield "", end, start - end
        yield name, max(start, end), max(start + length - max(start, end), 0)
        end = max(end, start + length)
    yield "", end, path.stat().st_size - end


def _sums(path: Path, chunks: Iterator[tuple[str, int, int]]) -> Iterator[tuple[Any, ...]]:
    with path.open("rb") as file:
        for name, start, length in chunks:
            yield name, start, length, _crc(file.fileno(), start, start + length)


def _crc(fd: int, at: int, end: int) -> int:
    crc = 0
    while at < end and (data := os.pread(fd, min(_BLOCK, end - at), at)):
        crc = zlib.crc32(data, crc)
        at += len(data)
    return crc if at == end else -1


def good_lines(part: LedgerPart, into: Path) -> int:
    """Copy the well-formed rows of a file that is not sound; gives how many lines were none."""
    bad = 0
    with part.path.open("rb") as file, into.open("wb") as copy:
        copy.write(HEADER)
        for number, raw in enumerate(file, 1):
            if raw == HEADER and number == 1:
                continue
            if not raw.endswith(b"\n"):
                break
            if isinstance(decode_row(raw[:-1], number), Row):
                copy.write(raw)
            else:
                bad += 1
    return bad


def as_parquet(
    connection: duckdb.DuckDBPyConnection, folder: Path, part: LedgerPart, scratch: Path
) -> tuple[Path | None, int]:
    """A part as Parquet, and how many of its lines are no rows; None: it has no rows.

    Raises:
        LedgerUnreadable.
        OSError: neither the cache nor `scratch` can be written.
    """
    source = look_at(part)
    name = part.month or "live"
    if source is not None:
        try:
            return parquet_of(connection, folder, part, source), 0
        except NotSound:
            pass
        except OSError:
            path = scratch / f"{name}.parquet"
            where = f"TRY_CAST(seq AS BIGINT) BETWEEN {source.first_seq} AND {source.last_seq}"
            make(connection, read_csv(str(source.path)), where, path)
            return path, 0
    if not part.path.exists():
        return None, 0
    copy, path = scratch / f"{name}.csv", scratch / f"{name}.parquet"
    bad = good_lines(part, copy)
    make(connection, read_csv(str(copy)), "true", path)
    copy.unlink()
    return path, bad


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="ascii")
        _sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
