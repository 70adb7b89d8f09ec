"""The part of the composition root that books which host and boot a command's rows are from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yoyo.ports.ledger import Ledger


def session_opener(ledger: Path, state_dir: Path, operator: str) -> Callable[[Ledger], None]:
    """What opens the session of this host's boot, where it is not open yet. It never fails."""

    def opened(inner: Ledger) -> None:
        from yoyo import __version__
        from yoyo.drivers.files.proofs import FileProofs
        from yoyo.drivers.files.session import FileSessionMarker
        from yoyo.drivers.system.host import SystemHost
        from yoyo.ops.session import open_session

        open_session(
            inner,
            FileProofs.beside(ledger),
            FileSessionMarker(state_dir, ledger),
            SystemHost(),
            place=str(ledger),
            operator=operator,
            program=__version__,
        )

    return opened
