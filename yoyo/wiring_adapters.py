"""The part of the composition root that is about adapters: settings in, drivers built."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from yoyo.drivers.files.adapter_book import YamlAdapterBook
from yoyo.errors import (
    AdapterInvalid,
    BundleRefused,
    ConfigInvalid,
    DriverUnavailable,
    SigningFailed,
)
from yoyo.model.ids import Secret
from yoyo.model.signing import KEY, KEYLESS

if TYPE_CHECKING:
    from yoyo.model.settings import AdapterSettings, Settings
    from yoyo.model.signing import Identity, Trust
    from yoyo.ops.adapters.context import AdapterContext
    from yoyo.ops.store_context import BytesProgress
    from yoyo.ports.adapter_book import AdapterBookFile
    from yoyo.ports.oci import OciRegistry
    from yoyo.ports.signing import Signer, Verifier


def adapter_book_for(settings: Settings) -> AdapterBookFile:
    """The registry file alone: listing it needs none of what else there is."""
    assert settings.adapters is not None  # noqa: S101 - configuration always has them
    return YamlAdapterBook(settings.adapters.book)


def adapter_context_for(
    settings: Settings, env: Mapping[str, str], progress: BytesProgress
) -> AdapterContext:
    """Everything a use case of adapters needs; what is heavy is imported when it is asked for.

    Raises:
        DriverUnavailable: later, by the part that needs the extra `adapters`.
    """
    from yoyo.drivers.convert.converter import LlamaCppConverter
    from yoyo.drivers.files.adapter_files import LocalAdapterFiles
    from yoyo.drivers.files.layouts import FileLayouts
    from yoyo.drivers.files.locks import FileLocks
    from yoyo.drivers.system.clock import SystemClock
    from yoyo.ops.adapters.context import AdapterContext
    from yoyo.wiring_audit import booking_ledger, proofs_beside

    chosen = settings.adapters
    assert chosen is not None  # noqa: S101 - configuration always has them
    clock, workplace = SystemClock(), settings.state_dir / "adapters"
    opened = ExitStack()

    def smoke_model() -> Path:
        from yoyo.drivers.local.smoke_model import ensure

        return ensure(settings.state_dir / "models")

    def smoke_digest() -> str:
        from yoyo.drivers.local.smoke_model import SHA256

        return SHA256

    return AdapterContext(
        settings=chosen,
        book=adapter_book_for(settings),
        registry=cache(
            lambda: _with_extra(lambda: _registry(env, workplace / "locks", opened, progress))
        ),
        signer=cache(
            lambda: _with_extra(lambda: _signer(chosen, env), *_MODULES[chosen.signing.mode])
        ),
        verifier=cache(
            lambda: _with_extra(lambda: _verifier(chosen), *_MODULES[chosen.trust.mode])
        ),
        trust=cache(lambda: _with_extra(lambda: _trust(chosen))),
        layouts=FileLayouts(),
        files=LocalAdapterFiles(workplace / "models.json"),
        converter=LlamaCppConverter(
            None,
            env.get("YOYO_CONVERTER_PYTHON", sys.executable),
            llama_cpp_dir=env.get("LLAMA_CPP_DIR", ""),
        ),
        proofs=proofs_beside(settings.ledger),
        ledger=booking_ledger(settings, env),
        clock=clock,
        locks=FileLocks(settings.state_dir, clock),
        operator=settings.operator,
        workplace=workplace,
        progress=progress,
        smoke_model=smoke_model,
        smoke_digest=smoke_digest,
        close=opened.close,
    )


_Made = TypeVar("_Made")
_MODULES: Final = {KEY: ("cryptography",), KEYLESS: ("cryptography", "sigstore")}
_MAX_KEY_BYTES: Final = 64 * 1024
# Top-level modules of the extra `adapters`; who needs Google's says so himself.
_EXTRA: Final = frozenset(("requests", "sigstore", "cryptography", "ruamel", "rfc3161_client"))


@contextmanager
def extra_needed() -> Iterator[None]:
    """Whatever of the extra `adapters` turns out to be missing is an error that names it.

    Raises:
        DriverUnavailable.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise DriverUnavailable(
            "Adapters cannot be used.",
            why=f"The module {error.name} is not installed.",
            fix="Run: pip install 'yoyo[adapters]'",
        ) from error


def _with_extra(make: Callable[[], _Made], *modules: str) -> _Made:
    """What needs these modules, of which it imports some only later: asked for before any work."""
    with extra_needed():
        for module in modules:
            import_module(module)
        return make()


def _registry(
    env: Mapping[str, str], locks: Path, opened: ExitStack, progress: BytesProgress
) -> OciRegistry:
    from yoyo.drivers.oci.credentials import Credentials
    from yoyo.drivers.oci.registry import HttpRegistry
    from yoyo.drivers.oci.session import Session
    from yoyo.drivers.system.clock import SystemClock

    session = opened.enter_context(
        Session(
            credentials=Credentials(env=env),
            waiting=lambda text: progress.phase("waiting", text),
        )
    )
    return HttpRegistry(session, locks=locks, clock=SystemClock())


def _signer(chosen: AdapterSettings, env: Mapping[str, str]) -> Signer:
    signing = chosen.signing
    if signing.mode == KEYLESS:
        from yoyo.drivers.sigstore.signer import SigstoreSigner
        from yoyo.drivers.sigstore.tokens import identity_token

        return SigstoreSigner(signing.trust_config, lambda: identity_token(signing.token_file, env))
    from yoyo.drivers.keys.signer import KeySigner

    if signing.key is None:
        raise SigningFailed(
            "There is no key to sign with.",
            why="signing.mode is key, and signing.key is not set.",
            fix="Name one: `openssl genpkey -algorithm ed25519 -out signer.key`, chmod 600.",
        )
    password = env.get("YOYO_KEY_PASSWORD")
    return KeySigner(signing.key, Secret(password) if password else None)


def _verifier(chosen: AdapterSettings) -> Verifier:
    trust = chosen.trust
    if trust.mode == KEYLESS:
        from yoyo.drivers.sigstore.verifier import SigstoreVerifier

        if trust.trusted_root is None:
            raise _untrusted("trust.root is not set.")
        return SigstoreVerifier(trust.trusted_root)
    from yoyo.drivers.keys.verifier import KeyVerifier

    paths = dict.fromkeys((*trust.signers, *trust.builders, *trust.evaluators))
    return KeyVerifier(tuple(_public_key(path)[0] for path in paths))


def _trust(chosen: AdapterSettings) -> Trust:
    from yoyo.core.adapters.trust import TrustError, trust_of

    try:
        return trust_of(chosen.trust, lambda path: _public_key(path)[1])
    except TrustError as error:
        raise ConfigInvalid(
            "`trust` has a mistake.", why=str(error), fix="See docs/guides/adapters.md."
        ) from error


def _public_key(path: str) -> tuple[bytes, Identity]:
    """The key as it is in the file, and who signs with its private half."""
    from yoyo.drivers.files.adapter_files import LocalAdapterFiles
    from yoyo.drivers.keys.verifier import identity_of

    try:
        pem = LocalAdapterFiles(Path()).read(Path(path), _MAX_KEY_BYTES)
        return pem, identity_of(pem)
    except AdapterInvalid as error:
        raise _untrusted(f"The public key: {error.what} {error.why}".rstrip()) from error
    except BundleRefused as error:
        raise _untrusted(f"{path}: {error.why}.") from error


def _untrusted(why: str) -> ConfigInvalid:
    return ConfigInvalid(
        "No signature can be checked.",
        why=why,
        fix="Pin what is trusted: trust.root, or public keys and trust.mode key "
        "(docs/guides/adapters.md).",
    )
