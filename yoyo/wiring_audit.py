"""The part of the composition root that is about reading and proving the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.errors import CheckpointFailed, CheckpointInvalid, DriverUnavailable
from yoyo.model.ids import Secret
from yoyo.model.settings import AuditSettings
from yoyo.wiring_session import session_opener

if TYPE_CHECKING:
    from yoyo.model.audit import LedgerPart, VerifierKey
    from yoyo.model.settings import Settings, StoreSettings
    from yoyo.ops.audit.context import AuditContext
    from yoyo.ports.accounts import AccountsReader
    from yoyo.ports.checkpoints import Checkpoints
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.notary import NoteSigner, NoteVerifier
    from yoyo.ports.objects import Objects
    from yoyo.ports.proofs import Proofs
    from yoyo.ports.query import PartitionWriter, QueryEngine

_PASSWORD: Final = "YOYO_KEY_PASSWORD"  # noqa: S105 (its name)
_LARGE_BYTES: Final = 50_000_000  # from here on DuckDB's own start is worth it
# A teardown waits for the copies, and what is not copied now is at the next checkpoint.
_COPY_PATIENCE_S: Final = 15.0
_MAX_NOTE_BYTES: Final = 64 * 1024


def proofs_beside(ledger: Path) -> Proofs:
    """The documents that the ledger's rows name."""
    from yoyo.drivers.files.proofs import FileProofs

    return FileProofs.beside(ledger)


def checkpoints_beside(ledger: Path) -> Checkpoints:
    """The signed checkpoints of that ledger."""
    from yoyo.drivers.files.checkpoints import FileCheckpoints

    return FileCheckpoints(ledger.with_suffix(".checkpoints"))


def note_verifier() -> NoteVerifier:
    """What checks the signature of a checkpoint.

    Raises:
        DriverUnavailable: the extra that it needs is not installed.
    """
    _need_cryptography()
    from yoyo.drivers.keys.notes import Ed25519NoteVerifier

    return Ed25519NoteVerifier()


def make_note_key(path: Path, origin: str, env: Mapping[str, str]) -> VerifierKey:
    """Make a private key that signs checkpoints; gives its public half.

    Raises:
        CheckpointFailed: there is a file already, or it cannot be written.
        DriverUnavailable: the extra that it needs is not installed.
    """
    _need_cryptography()
    from yoyo.core.audit.note import format_vkey
    from yoyo.drivers.keys.notes import make_key

    beside = path.with_suffix(".vkey")
    key = make_key(path, origin, _password(env), beside=beside)
    try:
        with beside.open("x", encoding="utf-8") as file:
            file.write(format_vkey(key) + "\n")
    except OSError as error:
        # It has signed nothing yet; and without its other half nobody could check it.
        for half in (beside, path):
            half.unlink(missing_ok=True)
        raise CheckpointFailed(
            f"No key was made: its public half could not be kept as {beside}.",
            why=f"{error.strerror or error}.",
            fix="Make room there, or name another file with --out.",
        ) from error
    return key


def signer_by(path: Path, origin: str, env: Mapping[str, str]) -> NoteSigner:
    """The signer with that private key.

    Raises:
        DriverUnavailable: the extra that it needs is not installed.
    """
    _need_cryptography()
    from yoyo.drivers.keys.notes import FileNoteSigner

    return FileNoteSigner(path, origin, _password(env))


def read_vkey(text_or_path: str) -> VerifierKey:
    """A verifier key, given as its text or as the file that holds it.

    Raises:
        CheckpointInvalid.
    """
    from yoyo.core.audit.note import NoteError, parse_vkey

    text, path = text_or_path.strip(), Path(text_or_path)
    try:
        if text.count("+") < 2 or path.is_file():
            text = path.read_text(encoding="utf-8")[:4096].strip()
        return parse_vkey(text)
    except (OSError, UnicodeDecodeError, ValueError, NoteError) as error:
        why = error.strerror or "it cannot be read" if isinstance(error, OSError) else str(error)
        raise CheckpointInvalid(
            f"{text_or_path[:100]!r} is no verifier key.",
            why=f"{why}.",
            fix="Give NAME+HEX8+BASE64 as `yoyo ledger keygen` printed it, or the file with it.",
        ) from error


def audit_context_for(settings: Settings, env: Mapping[str, str]) -> AuditContext:
    """Everything a use case that proves the ledger needs; what is heavy comes when asked for."""
    return audit_context(
        settings.ledger, settings.audit, settings.operator, settings.state_dir, env
    )


def bare_audit_context(ledger: Path) -> AuditContext:
    """The same for a ledger without a configuration: nothing signs there."""
    return audit_context(ledger, AuditSettings(), "", ledger.parent, {})


def audit_context(
    ledger: Path,
    chosen: AuditSettings,
    operator: str,
    state_dir: Path,
    env: Mapping[str, str],
) -> AuditContext:
    """The same for any ledger and settings."""
    from yoyo.drivers.files.locks import FileLocks
    from yoyo.ops.audit.context import AuditContext

    clock = SystemClock()
    copy_to = chosen.copy_to
    opened = session_opener(ledger, state_dir, operator) if operator else None
    return AuditContext(
        settings=chosen,
        operator=operator,
        # Without the hook of a new month: sealing is what this context does itself.
        ledger=CsvLedger(ledger, clock, SystemIds(clock), before_first=opened),
        checkpoints=checkpoints_beside(ledger),
        proofs=proofs_beside(ledger),
        clock=clock,
        locks=FileLocks(state_dir, clock),
        signer=_signer(chosen, env),
        verifier=cache(note_verifier),
        copy_to=None if copy_to is None else cache(lambda: _second(copy_to)),
    )


def _signer(chosen: AuditSettings, env: Mapping[str, str]) -> Callable[[], NoteSigner] | None:
    key, command = chosen.key, chosen.signer_command
    if key is not None:
        return cache(lambda: signer_by(key, chosen.origin, env))
    if not command:
        return None

    def by_command() -> NoteSigner:
        _need_cryptography()
        from yoyo.drivers.keys.notes import CommandNoteSigner

        return CommandNoteSigner(command, read_vkey(str(chosen.public_key)))

    return cache(by_command)


def _second(chosen: StoreSettings) -> Objects:
    from yoyo.wiring_stores import objects_for

    return objects_for(chosen, patience_s=_COPY_PATIENCE_S)


def _password(env: Mapping[str, str]) -> Secret | None:
    return Secret(env[_PASSWORD]) if env.get(_PASSWORD) else None


def _need_cryptography() -> None:
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        raise DriverUnavailable(
            "Checkpoints cannot be signed or checked.",
            why="The module cryptography is not installed.",
            fix="Run: pip install 'yoyo[audit]'",
        )


class Notes(NamedTuple):
    """Checkpoints that were kept somewhere, and the verifier keys that lie with them."""

    notes: list[tuple[str, bytes]]  # name, bytes
    keys: list[bytes]  # texts, believed only as far as the ledger's own rows vouch for them


def notes_at(where: str, settings: AuditSettings) -> Notes:
    """Read checkpoints: a note, a directory of them, or a store's address.

    Raises:
        CheckpointInvalid: it cannot be read, or holds none.
        StoreUnavailable, StoreDenied, DriverUnavailable.
    """
    found = _in_store(where, settings) if "://" in where else _in_files(Path(where))
    notes = [(Path(name).stem, data) for name, data in found if not name.endswith(".vkey")]
    keys = [data.strip() for name, data in found if name.endswith(".vkey")]
    if not notes:
        raise CheckpointInvalid(
            f"{where} holds no checkpoint.",
            why="No file there ends in .note.",
            fix="Name a checkpoint, LEDGER.checkpoints, or the address of the second store.",
        )
    return Notes(notes, keys)


def _in_store(where: str, settings: AuditSettings) -> list[tuple[str, bytes]]:
    from yoyo.model.settings import StoreSettings
    from yoyo.wiring_stores import objects_for

    known = settings.copy_to
    same = known is not None and known.url == where.rstrip("/")
    store = objects_for(known if known is not None and same else StoreSettings(where.rstrip("/")))
    return [
        (info.key, b"".join(store.read(info.key, length=_MAX_NOTE_BYTES)))
        for info in store.list("")
        if info.key.endswith((".note", ".vkey"))
    ]


def _in_files(path: Path) -> list[tuple[str, bytes]]:
    try:
        paths = [path]
        if path.is_dir():
            ends = (".note", ".vkey")  # of files alone: a pipe among them would never end
            paths = sorted(p for p in path.rglob("*") if p.suffix in ends and p.is_file())
        found = []
        for each in paths:
            with each.open("rb") as file:
                found.append((each.name, file.read(_MAX_NOTE_BYTES)))
        return found
    except OSError as error:
        raise CheckpointInvalid(
            f"{path} cannot be read.", why=f"{error.strerror or error}.", fix="Check the path."
        ) from error


def trusted_keys(given: Sequence[str], settings: AuditSettings | None) -> list[VerifierKey]:
    """The verifier keys that are trusted: as given, else the configured signer's own.

    Raises:
        CheckpointInvalid: none is given and none configured, or one is malformed.
    """
    if given:
        return [read_vkey(each) for each in given]
    if settings is not None and settings.public_key is not None:
        return [read_vkey(str(settings.public_key))]
    if settings is not None and settings.key is not None:
        return [read_vkey(str(settings.key.with_suffix(".vkey")))]
    raise CheckpointInvalid(
        "No key is trusted, so no checkpoint can be checked.",
        why="None was given, and yoyo.yaml names none.",
        fix="Give --key with the verifier key that you had from the ledger's operator.",
    )


@contextmanager
def written_whole(path: Path, option: str = "-o") -> Iterator[Callable[[bytes], object]]:
    """A file that appears when the block ends well, and not before; `option` named it.

    Raises:
        StateUnwritable: it cannot be written.
    """
    from yoyo.drivers.files.whole import WholeFile

    with WholeFile(path, option) as file:
        yield file.write


@contextmanager
def whole_lines(path: Path) -> Iterator[Iterator[bytes]]:
    """The lines of an extract, each without its newline and at most a line's length.

    Raises:
        CheckpointInvalid: it cannot be read.
    """
    from yoyo.core.audit.extract import MAX_EXTRACT_LINE
    from yoyo.drivers.files.whole import lines_of

    try:
        with path.open("rb") as file:
            yield lines_of(file, MAX_EXTRACT_LINE)
    except OSError as error:
        raise CheckpointInvalid(
            f"{path} cannot be read.", why=f"{error.strerror or error}.", fix="Check the path."
        ) from error


def accounts_reader(choice: str, parts: tuple[LedgerPart, ...]) -> AccountsReader:
    """What reads the ledger as money: `plain`, `duckdb`, or `auto` by its size.

    Raises:
        DriverUnavailable: `duckdb` was asked for and is not installed.
    """
    from importlib.util import find_spec

    from yoyo.drivers.files.accounts import PlainAccounts

    if choice == "auto":
        large = sum(_size(part.path) for part in parts) >= _LARGE_BYTES
        choice = "duckdb" if large and find_spec("duckdb") is not None else "plain"
    if choice == "duckdb":
        from yoyo.drivers.duckdb.accounts import DuckdbAccounts

        return DuckdbAccounts(PlainAccounts())
    return PlainAccounts()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def booking_ledger(
    settings: Settings,
    env: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> Ledger:
    """The ledger for a command that may write rows.

    Before its first row the month that is over is sealed, where that is set, and the session of
    this host's boot is opened. `say` is told what became of the sealing, for people.
    """
    clock = SystemClock()

    def seal_first() -> None:
        from yoyo.ops.audit.keep import seal_quietly

        for note in seal_quietly(audit_context_for(settings, env or {})):
            if say is not None:
                say(note)

    return CsvLedger(
        settings.ledger,
        clock,
        SystemIds(clock),
        new_month=seal_first if settings.audit.sealing == "monthly" else None,
        before_first=session_opener(settings.ledger, settings.state_dir, settings.operator),
    )


def prover(
    settings: Settings, env: Mapping[str, str], *, only_if_due: bool = False
) -> Callable[[], list[str]] | None:
    """What signs the ledger after a teardown, or by the monitor; None: nothing is to be done.

    It never fails: what went wrong comes back as lines for people.
    """
    if settings.audit == AuditSettings():
        return None

    def prove() -> list[str]:
        from yoyo.ops.audit.keep import keep_proved, said

        try:
            return keep_proved(audit_context_for(settings, env), only_if_due=only_if_due)
        except Exception as error:  # a bug here must not fail a `down`
            return [f"no checkpoint was signed: {said(error)}"]

    return prove


def query_engine() -> QueryEngine:
    """What answers SQL over the ledger; it says by itself when its extra is missing."""
    from yoyo.drivers.duckdb.query import DuckdbQuery

    return DuckdbQuery()


def partition_writer() -> PartitionWriter:
    """What writes months for a warehouse; it says by itself when its extra is missing."""
    from yoyo.drivers.duckdb.partitions import DuckdbPartitions

    return DuckdbPartitions()
