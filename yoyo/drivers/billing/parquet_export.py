"""A billing export as Parquet, as BigQuery's EXPORT DATA writes it, through DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yoyo.core.reconcile.bill_row import BadBillRow, column_names, read_row
from yoyo.drivers.billing.faults import MOST_MISTAKES, invalid
from yoyo.errors import DriverUnavailable
from yoyo.model.reconcile import BillLine

_BATCH = 2000


class ParquetBilling:
    """Implements BillingReader; the file alone is read, with DuckDB's other doors shut."""

    def lines(self, path: Path) -> Iterator[BillLine | None]:
        """See the port."""
        try:
            import duckdb
        except ModuleNotFoundError as error:
            raise DriverUnavailable(
                "A billing export in Parquet cannot be read.",
                why=f"The module {error.name} is not installed.",
                fix="Run: pip install 'yoyo[query]', or export it as CSV.",
            ) from error
        if not path.is_file():
            raise invalid(path, "there is no such file")
        try:
            with duckdb.connect() as base:
                # Times are read as UTC whatever the machine's zone is.
                base.execute("SET TimeZone = 'UTC'")
                base.execute("SET autoinstall_known_extensions = false")
                base.execute("SET autoload_known_extensions = false")
                yield from _read(base, path)
        except duckdb.Error as error:
            raise invalid(path, f"DuckDB says: {str(error).splitlines()[0][:200]}") from error


def _read(base: Any, path: Path) -> Iterator[BillLine | None]:
    source = "read_parquet($path)"
    given = {"path": _literal(path)}
    flat: dict[str, str] = {}  # column as it is spelt in the export -> how SQL reaches it
    whole = base.sql(f"SELECT * FROM {source} LIMIT 0", params=given)  # noqa: S608
    for name, kind in zip(whole.columns, whole.types, strict=True):
        flat[name] = _reached(name, str(kind))
        if kind.id == "struct":
            for inner, _ in kind.children:
                flat[f"{name}.{inner}"] = f"{_quoted(name)}.{_quoted(inner)}"
    try:
        meant = column_names(list(flat))
    except BadBillRow as error:
        raise invalid(path, str(error)) from None
    chosen = ", ".join(flat[name] for name in meant.values())
    query = f"SELECT {chosen}, sha256(CAST(row_ AS VARCHAR)) FROM {source} row_"  # noqa: S608
    cursor = base.execute(query, given)
    mistakes: list[str] = []
    number = 0
    while rows := cursor.fetchmany(_BATCH):
        for row in rows:
            number += 1
            fields = dict(zip(meant, row, strict=False))
            try:
                yield read_row(fields, number, row[-1])
            except BadBillRow as error:
                mistakes.append(f"row {number}: {error}")
                if len(mistakes) == MOST_MISTAKES:
                    raise invalid(path, mistakes[0], tuple(mistakes)) from None
    if mistakes:
        raise invalid(path, mistakes[0], tuple(mistakes))


def _reached(name: str, kind: str) -> str:
    """A time with a zone as text: as a value DuckDB needs one more package for the zone."""
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"CAST({_quoted(name)} AS VARCHAR)"
    return _quoted(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(path: Path) -> str:
    """The path with what DuckDB would take for a pattern taken literally."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))
