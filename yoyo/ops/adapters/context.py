"""What every use case of adapters is handed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from yoyo.model.settings import AdapterSettings
    from yoyo.model.signing import Trust
    from yoyo.ops.store_context import BytesProgress
    from yoyo.ports.adapter_book import AdapterBookFile
    from yoyo.ports.adapter_files import AdapterFiles
    from yoyo.ports.clock import Clock
    from yoyo.ports.converter import Converter
    from yoyo.ports.layouts import Layouts
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.locks import NodeLocks
    from yoyo.ports.oci import OciRegistry
    from yoyo.ports.proofs import Proofs
    from yoyo.ports.signing import Signer, Verifier


class AdapterContext(NamedTuple):
    """One registry file, the registries it points to, and the outside world behind ports.

    What needs a key, a trusted root or a library is made when it is asked for.
    """

    settings: AdapterSettings
    book: AdapterBookFile
    registry: Callable[[], OciRegistry]
    signer: Callable[[], Signer]
    verifier: Callable[[], Verifier]
    trust: Callable[[], Trust]
    layouts: Layouts
    files: AdapterFiles
    converter: Converter
    proofs: Proofs
    ledger: Ledger
    clock: Clock
    locks: NodeLocks
    operator: str
    workplace: Path  # where pulled adapters are kept, by digest
    smoke_model: Callable[[], Path]  # writes it, if need be
    smoke_digest: Callable[[], str]  # its sha256 in hex, without writing it
    close: Callable[[], None]  # ends what was opened; may be called more than once
    progress: BytesProgress
