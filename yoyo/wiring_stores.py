"""The part of the composition root that opens stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yoyo.errors import DriverUnavailable
from yoyo.model.settings import StoreSettings

if TYPE_CHECKING:
    from yoyo.ports.objects import Objects


# As GcsObjects has it by itself.
_PATIENCE_S: Final = 60.0


def objects_for(store: StoreSettings, *, patience_s: float = _PATIENCE_S) -> Objects:
    """The store at that address; `patience_s` is how long what may pass by itself is tried again.

    Raises:
        DriverUnavailable: the extra that it needs is not installed.
    """
    if store.url.startswith("file://"):
        from yoyo.drivers.files.objects import FileObjects

        return FileObjects(store.url)
    try:
        from yoyo.drivers.gcs.objects import GcsObjects

        return GcsObjects(
            store.url,
            endpoint=store.endpoint,
            credentials=store.credentials,
            patience_s=patience_s,
        )
    except ModuleNotFoundError as error:
        raise DriverUnavailable(
            "The store in Google Cloud Storage cannot be used.",
            why=f"The module {error.name} is not installed.",
            fix="Run: pip install 'yoyo[gcs]'",
        ) from error
