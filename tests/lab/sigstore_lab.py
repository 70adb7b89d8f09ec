"""A Sigstore of our own on loopback: real cryptography, and every part can be made to lie.

Fulcio, Rekor v1 and v2, a timestamp authority and an OIDC issuer, which the unmodified clients
(sigstore for Python, cosign) use as they use the public instance.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import sigstore_ca
import sigstore_log
import sigstore_oidc
import sigstore_trust
import sigstore_tsa
from sigstore_trust import Parts
from sigstore_wire import Answer, Json, Refused, Request, Server, pem, public_pem

SERVICES = ("oidc", "fulcio", "rekor", "tsa")


class SigstoreLab:
    """One instance. A context manager: it serves inside of the block.

    `parts` are its keys and logs, for tests that forge. `down` holds the names of `SERVICES`
    that answer 503 from now on; `asked` lists the paths that were asked for, oldest first.
    """

    def __init__(self) -> None:
        self._server = Server()
        self.parts: Parts = sigstore_trust.make(self._server.url)
        self.down: set[str] = set()
        self.asked: list[str] = []
        self._route()

    def __enter__(self) -> SigstoreLab:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        """Where all of the services are."""
        return self.parts.url

    @property
    def issuer(self) -> str:
        """The OIDC issuer's URL, as certificates name it."""
        return self.parts.issuer.url

    def token(
        self,
        email: str = "",
        *,
        sub: str = "",
        audience: str = sigstore_oidc.AUDIENCE,
        lifetime_s: float = 600.0,
        claims: dict[str, Any] | None = None,
    ) -> str:
        """An identity token, for an e-mail address or for a subject (a URI)."""
        return self.parts.issuer.token(
            email, sub=sub, audience=audience, lifetime_s=lifetime_s, claims=claims
        )

    def trusted_root(self, path: Path) -> Path:
        """Write the trusted root; to a file in `path` where that is a folder."""
        return _write(path, "trusted_root.json", sigstore_trust.trusted_root(self.parts))

    def signing_config(self, path: Path, rekor: int = 1, tsa: bool = True) -> Path:
        """Write the signing config that cosign takes."""
        config = sigstore_trust.signing_config(self.parts, rekor=rekor, tsa=tsa)
        return _write(path, "signing_config.json", config)

    def trust_config(self, path: Path, rekor: int = 1, tsa: bool = True) -> Path:
        """Write the client trust config that sigstore for Python takes."""
        config = sigstore_trust.trust_config(self.parts, rekor=rekor, tsa=tsa)
        return _write(path, "trust_config.json", config)

    def cosign_environment(self, folder: Path) -> dict[str, str]:
        """What cosign 2 wants beside `--trusted-root`, so that it asks no server for keys."""
        authority, tsa = self.parts.authority, self.parts.tsa
        files = {
            "SIGSTORE_ROOT_FILE": pem(authority.intermediate) + pem(authority.root),
            "SIGSTORE_REKOR_PUBLIC_KEY": public_pem(self.parts.rekor_v1.public_key),
            "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": public_pem(self.parts.ct.public_key),
            "SIGSTORE_TSA_CERTIFICATE_FILE": pem(tsa.leaf) + pem(tsa.root),
        }
        for name, content in files.items():
            (folder / f"{name}.pem").write_bytes(content)
        return {name: str(folder / f"{name}.pem") for name in files}

    def _route(self) -> None:
        parts = self.parts
        fulcio = sigstore_ca.Fulcio(parts.authority, parts.issuer)
        self._serve("oidc", "GET", sigstore_oidc.DISCOVERY_PATH, parts.issuer.discovery)
        self._serve("oidc", "GET", sigstore_oidc.KEYS_PATH, parts.issuer.keys)
        self._serve("fulcio", "POST", sigstore_ca.SIGNING_PATH, fulcio.signing_certificate)
        self._serve("fulcio", "GET", sigstore_ca.TRUST_PATH, fulcio.trust_bundle)
        self._serve("rekor", "POST", sigstore_log.V1_PATH, parts.rekor_v1.entries)
        self._serve("rekor", "POST", sigstore_log.V2_PATH, parts.rekor_v2.entries)
        self._serve("tsa", "POST", sigstore_tsa.PATH, parts.tsa.timestamp)

    def _serve(
        self, service: str, method: str, path: str, route: Callable[[Request], Answer]
    ) -> None:
        def serve(request: Request) -> Answer:
            self.asked.append(request.path)
            if service in self.down:
                raise Refused(503, f"{service} is down")
            return route(request)

        self._server.routes[method, path] = serve


def _write(path: Path, name: str, content: Json) -> Path:
    target = path / name if path.is_dir() else path
    target.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return target
