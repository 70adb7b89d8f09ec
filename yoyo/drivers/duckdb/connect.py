"""One way to open DuckDB: in memory, without extensions, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Final

from yoyo.errors import DriverUnavailable

if TYPE_CHECKING:
    import duckdb

# More threads than that were no faster over one file, and a node has little else to spare.
_THREADS: Final = "2"


@contextmanager
def connected(memory_bytes: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that ends with the block and loads no extension.

    Raises:
        DriverUnavailable: duckdb is not installed.
        KeyboardInterrupt: Ctrl-C, in whichever way DuckDB puts it.
    """
    module = load()
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": _THREADS,
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "allow_community_extensions": "false",
        "python_enable_replacements": "false",
        "temp_directory": "",
    }
    if memory_bytes is not None:
        config["memory_limit"] = f"{memory_bytes}B"
    connection = module.connect(":memory:", config=config)
    try:
        connection.execute("SET enable_progress_bar = false")
        yield connection
    except RuntimeError as error:
        if not is_interrupt(error):
            raise
        raise KeyboardInterrupt from error
    finally:
        connection.close()


def is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C was pressed while DuckDB looked for it: that is no error class of its own."""
    return type(error) is RuntimeError and str(error) == "Query interrupted"


def load() -> ModuleType:
    """The module.

    Raises:
        DriverUnavailable: it is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise DriverUnavailable(
            "This needs DuckDB.",
            why="The module duckdb is not installed.",
            fix="Run: pip install 'yoyo[query]'",
        ) from error
    return duckdb
