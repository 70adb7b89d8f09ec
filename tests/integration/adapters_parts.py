"""What the tests of adapters share: a directory with a registry, and the roles that sign there."""

from __future__ import annotations

import csv
import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cli import Place
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from registry_lab import RegistryLab
from sigstore_lab import SigstoreLab
from tiny_lora import write_lora

from yoyo.drivers.local.smoke_model import ensure
from yoyo.model.ledger import LEDGER_NODE

BUILDER_ID: Final = "https://trainer.example/1"
SUITE: Final = "tone-2026-11"
SIGNER, BUILDER, EVALUATOR = "signer", "builder", "evaluator"
ROLES: Final = (SIGNER, BUILDER, EVALUATOR)
TONE: Final = "acme-tone@1.0.0"
# The addresses of the roles where a Sigstore vouches for them.
PEOPLE: Final = {role: f"{role}@acme.example" for role in ROLES}

TRAINING: Final = f"""\
base: {{ref: smoke, uri: "hf://acme/smoke"}}
dataset: {{uri: "gs://acme/tone"}}
hyperparameters: {{lr: 1e-4, epochs: 3}}
seed: 7
builder: {BUILDER_ID}
"""
CONFIG: Final = """\
version: 1
operator: tester
adapters: {{repository: "{repository}"}}
trust: {trust}
signing: {signing}
nodes:
  local:
    moduleId: acme
    driver: local
    engine: {{model: smoke, ctx: 4096, parallel: 2, extra_flags: ["--no-warmup", "-s", "1"]}}
    guards: {{stop_grace: 5s}}
    {more}
"""


class AdapterPlace(Place):
    """A configured directory with a registry; every step by the real command."""

    def __init__(self, root: Path, registry: RegistryLab) -> None:
        super().__init__(root)
        self.registry = registry
        self.base = ensure(root / ".yoyo" / "models")
        self.trust: dict[str, Any] = {}
        self.signing: dict[str, Any] = {}
        self.options: Callable[[str], tuple[str, ...]] = lambda _role: ()
        (root / "training.yaml").write_text(TRAINING)
        (root / "train.jsonl").write_text('{"prompt": "hello", "completion": "hi"}\n')

    @property
    def repository(self) -> str:
        return f"{self.registry.host}/acme"

    @property
    def book(self) -> Path:
        """The registry file."""
        return self.root / "memory" / "adapters" / "registry.yaml"

    @property
    def proofs(self) -> Path:
        return self.root / "ledger.proofs"

    def load_decisions(self) -> list[Path]:
        """The records of decisions to load adapters, of all the records beside the ledger."""
        kept = sorted(self.proofs.glob("*.json"))
        return [path for path in kept if "in-toto" in json.loads(path.read_bytes())["_type"]]

    def settle_on(self, *, more: str = "", **trust: Any) -> None:
        """Write yoyo.yaml; `trust` are other values than those that were set up."""
        text = CONFIG.format(
            repository=self.repository,
            trust=json.dumps(self.trust | trust),
            signing=json.dumps(self.signing),
            more=more,
        )
        (self.root / "yoyo.yaml").write_text(text)

    def key_mode(self) -> None:
        """A key for each role, and those trusted."""
        for role in (*ROLES, "stranger"):
            write_key(self.root / "keys", role)
        paths = {f"{role}s": [f"keys/{role}.pub"] for role in ROLES}
        self.trust = {"mode": "key", **paths, "builder_ids": [BUILDER_ID]}
        self.signing = {"mode": "key", "key": f"keys/{SIGNER}.key"}
        self.options = lambda role: ("--set", f"signing.key={self.root}/keys/{role}.key")
        self.settle_on()

    def keyless_mode(self, lab: SigstoreLab) -> None:
        """An address for each role, for which this Sigstore vouches."""
        for role, email in PEOPLE.items():
            token = self.root / f"{role}.token"
            token.touch(0o600)
            token.write_text(lab.token(email))
        people = {f"{role}s": [f"{email} {lab.issuer}"] for role, email in PEOPLE.items()}
        self.trust = {
            "mode": "keyless",
            "root": str(lab.trusted_root(self.root)),
            **people,
            "builder_ids": [BUILDER_ID],
        }
        self.signing = {"mode": "keyless", "trust_config": str(lab.trust_config(self.root))}
        self.options = lambda role: ("--set", f"signing.token_file={self.root}/{role}.token")
        self.settle_on()

    def adapters(self, *arguments: str, code: int | None = 0) -> Any:
        """One command on adapters, and its document."""
        return self.json("adapters", *arguments, code=code)

    def pack(
        self, name: str, *, seed: int = 1, tasks: Sequence[str] = ("chat",), module: str = "acme"
    ) -> Path:
        """Pack a LoRA of that seed; the layout's directory."""
        lora = write_lora(self.root / f"{name}.gguf", self.base, seed=seed)
        layout = self.root / f"{name}.oci"
        named = [word for task in tasks for word in ("--task", task)]
        where = ("--data", "train.jsonl", "--to", str(layout), "--module", module)
        self.adapters("pack", str(lora), name, *where, *named)
        return layout

    def vouch(self, ref: str) -> dict[str, Any]:
        """Signature, provenance and sign-off, each by its role; what each command said."""
        verdict = ("--result", "passed", "--suite", SUITE)
        return {
            SIGNER: self.adapters("sign", ref, *self.options(SIGNER)),
            BUILDER: self.adapters(
                "attest", ref, "--training", "training.yaml", *self.options(BUILDER)
            ),
            EVALUATOR: self.adapters("evaluate", ref, *verdict, *self.options(EVALUATOR)),
        }

    def publish(self, name: str, *, promote: bool = True, **terms: Any) -> str:
        """From a LoRA to a promoted version; the manifest's digest."""
        digest: str = self.adapters("push", str(self.pack(name, **terms)))["digest"]
        self.vouch(name)
        self.adapters("register", name)
        if promote:
            self.adapters("promote", name)
        return digest

    def rows(self) -> list[dict[str, str]]:
        """The ledger's rows but those about itself."""
        if not self.ledger.exists():
            return []
        with self.ledger.open(newline="") as file:
            return [row for row in csv.DictReader(file) if row["node_id"] != LEDGER_NODE]

    def sound(self) -> None:
        """The ledger has no problem, and nothing is left of the node."""
        report = self.json("ledger", "verify", "--strict")
        assert report["ok"], report
        assert self.processes() == []

    def engine(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the engine itself."""
        node = self.root / ".yoyo" / "nodes" / "local"
        url = json.loads((node / "engine.json").read_text())["url"]
        key = (node / "key").read_text().strip()
        request = urllib.request.Request(
            url + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def tokens(self, scales: Mapping[int, float] | None) -> list[int]:
        """What the engine says at temperature 0 with these scales; None: as it is set."""
        body: dict[str, Any] = {
            "prompt": "hello there",
            "n_predict": 16,
            "temperature": 0,
            "cache_prompt": False,
            "return_tokens": True,
        }
        if scales is not None:
            body["lora"] = [{"id": number, "scale": scale} for number, scale in scales.items()]
        found: list[int] = self.engine("/completion", body)["tokens"]
        assert found
        return found


def write_key(folder: Path, name: str) -> None:
    """A key pair as `openssl genpkey` writes it: NAME.key and NAME.pub."""
    folder.mkdir(exist_ok=True)
    key = ed25519.Ed25519PrivateKey.generate()
    private = folder / f"{name}.key"
    private.touch(0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / f"{name}.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


@contextmanager
def adapter_place(home: Path) -> Iterator[AdapterPlace]:
    """A directory with a registry of its own; what ran in it is gone afterwards."""
    root = home / "place"
    root.mkdir()
    with RegistryLab(home) as registry:
        made = AdapterPlace(root, registry)
        try:
            yield made
        finally:
            made.clean_up()


class Snapshot:
    """A place and what its registry holds, as both are now; `restore` makes them so again."""

    def __init__(self, place: AdapterPlace, home: Path) -> None:
        self._place, self._home = place, home
        for live, kept in self._pairs():
            shutil.copytree(live, kept)

    def restore(self) -> None:
        """End what runs in the place, and put the files back under the registry as it serves."""
        self._place.clean_up()
        for live, kept in self._pairs():
            for each in live.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            shutil.copytree(kept, live, dirs_exist_ok=True)

    def _pairs(self) -> tuple[tuple[Path, Path], ...]:
        return (
            (self._place.root, self._home / "place.kept"),
            (self._place.registry.storage, self._home / "storage.kept"),
        )
