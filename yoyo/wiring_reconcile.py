"""The composition root of `yoyo reconcile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.model.settings import NodeSettings, Settings
from yoyo.ops.reconcile import Means

if TYPE_CHECKING:
    from collections.abc import Callable

    from yoyo.ports.billing import BillingReader
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.machines import Machines

_PARQUET_MAGIC = b"PAR1"  # the first bytes of such a file, whatever it is called


def means_for(
    settings: Settings,
    billing: Path | None,
    ledger: Ledger,
    machines_for: Callable[[NodeSettings, Path], Machines],
) -> Means:
    """Ledger, platforms and the reader of the bill; no driver is loaded before it is asked.

    Raises:
        BillingInvalid: the file cannot be opened.
    """

    def machines(node: NodeSettings) -> Machines:
        return machines_for(node, settings.state_dir)

    reader = billing_for(billing) if billing is not None else None
    return Means(ledger, machines, reader, settings.operator)


def billing_for(path: Path) -> BillingReader:
    """The reader of that kind of file.

    Raises:
        BillingInvalid: the file cannot be opened.
    """
    from yoyo.drivers.billing.csv_export import CsvBilling
    from yoyo.drivers.billing.faults import invalid
    from yoyo.drivers.billing.parquet_export import ParquetBilling

    try:
        with path.open("rb") as file:
            magic = file.read(len(_PARQUET_MAGIC))
    except OSError as error:
        raise invalid(path, error.strerror or type(error).__name__) from error
    return ParquetBilling() if magic == _PARQUET_MAGIC else CsvBilling()
