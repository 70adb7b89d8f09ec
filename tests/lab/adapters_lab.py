"""The laboratory with adapters in it: a registry that the machines do not reach, and three keys."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from lab_commands import LabPlace
from registry_lab import RegistryLab
from store_lab import StoreLab, lab_bundle
from tiny_lora import write_lora

from yoyo.core import store_keys
from yoyo.drivers.local.smoke_model import ensure

DEADLINE_S = 60.0
ROLES = ("signer", "builder", "evaluator")
BUILDER = "https://trainer.example/1"
# The machines' loopback is their own: nothing on a node can answer at the registry's address.
SETTINGS = """\
adapters: {{repository: '{registry}/acme'}}
trust:
  mode: key
  signers: [keys/signer.pub]
  builders: [keys/builder.pub]
  evaluators: [keys/evaluator.pub]
  builder_ids: ['{builder}']
signing: {{mode: key, key: keys/signer.key}}
"""
TRAINING = f"""\
base: {{ref: tiny, uri: 'https://models.example/tiny'}}
dataset: {{uri: 'https://data.example/tone'}}
hyperparameters: {{lr: 1e-4, epochs: 3}}
seed: 7
builder: {BUILDER}
started: 2026-11-21T17:00:00Z
"""


class AdaptersLab(StoreLab):
    """The model `tiny` and an engine are in the store; the registry is empty at first."""

    def __init__(self, directory: Path) -> None:
        self.registry = RegistryLab(directory)
        self.base = ensure(directory / "models")
        super().__init__(directory)
        keys = directory / "keys"
        keys.mkdir()
        for role in ROLES:
            _write_keys(keys, role)
        (directory / "train.jsonl").write_text('{"text": "once"}\n')
        (directory / "training.yaml").write_text(TRAINING)
        self.registry.start()
        self.configure()
        place = LabPlace(self)
        place.run("weights", "stage", "tiny", self.base.as_uri())
        place.run("engine", "publish", str(lab_bundle(directory)))

    def configure(self, *, guards: str = "stop_grace: 5s", engine: str = "", gce: str = "") -> None:
        """Write yoyo.yaml."""
        super().configure(guards=guards, engine=engine, gce=gce)
        document = self.directory / "yoyo.yaml"
        if document.exists():
            more = SETTINGS.format(registry=self.registry.host, builder=BUILDER)
            document.write_text(document.read_text() + more)

    def close(self) -> None:
        """Stop everything and remove the machines."""
        self.registry.stop()
        super().close()


class AdapterPlace(LabPlace):
    """An operator who has all three keys, and takes an adapter all the way."""

    def lora(self, name: str, seed: int) -> Path:
        """A LoRA for the lab's model, as a trainer leaves it behind."""
        assert isinstance(self.lab, AdaptersLab)
        return write_lora(self.root / f"{name}.gguf", self.lab.base, seed=seed)

    def promoted(self, name: str, *, seed: int, scale: str = "1", task: str = "") -> str:
        """Packed from a file of its own, pushed, signed by all three, promoted; its sha256."""
        lora = self.lora(name, seed)
        self.run(
            *("adapters", "pack", str(lora), name, "--data", "train.jsonl"),
            *(("--task", task) if task else ()),
        )
        self.run("adapters", "push", name.replace("@", "-") + ".oci")
        assert isinstance(self.lab, AdaptersLab)
        ref = f"{self.lab.registry.host}/acme/{name.replace('@', ':')}"
        self._signed("signer", "sign", ref)
        self._signed("builder", "attest", ref, "--training", "training.yaml")
        self._signed("evaluator", "evaluate", ref, "--result", "passed", "--suite", "tone")
        self.run("adapters", "register", ref, "--scale", scale)
        self.run("adapters", "promote", name)
        return hashlib.sha256(lora.read_bytes()).hexdigest()

    def _signed(self, role: str, command: str, *arguments: str) -> None:
        self.run("adapters", command, *arguments, "--set", f"signing.key=keys/{role}.key")

    def active(self) -> dict[str, Any]:
        """By id@version, what the running engine says it uses."""
        found = self.json("adapters", "active")["adapters"]
        return {each["name"]: each for each in found}

    def wait_until_ready(self) -> None:
        """Wait until the engine answers again."""
        deadline = time.monotonic() + DEADLINE_S
        while self.status()["state"] != "ready":
            assert time.monotonic() < deadline, self.status()

    def engine_command(self) -> str:
        """The engine's command line on the node, in one line."""
        return self.run("exec", "--", "pgrep", "-af", "llama-server").stdout

    def rows(self, event: str) -> list[Any]:
        """The rows of one type, oldest first."""
        lines = self.run("ledger", "show", "--json").stdout.splitlines()
        return [row for row in map(json.loads, lines) if row["event_type"] == event]

    def loaded(self) -> set[str]:
        """Every id@version that the ledger says was loaded."""
        return {name for row in self.rows("ADAPTER_LOAD") for name in row["adapter_versions"]}

    def node_has(self) -> set[str]:
        """The digests of the adapters' bytes on the node, by its own counting."""
        told = self.run(
            *("exec", "--", "find", "/var/lib/yoyo/adapters", "-name", "*.gguf"),
            *("-exec", "sha256sum", "{}", ";"),
        ).stdout
        return {line.split()[0] for line in told.splitlines() if line.strip()}

    def clean_up(self) -> None:
        """Remove the node, and take every adapter out of use."""
        super().clean_up()
        for each in self.json("adapters", "ls", "--stage", "promoted")["adapters"]:
            self.run("adapters", "retire", f"{each['id']}@{each['version']}")


def key_of(sha256: str) -> str:
    """Where an adapter's bytes lie in the store."""
    return store_keys.artefact(sha256)


def _write_keys(folder: Path, role: str) -> None:
    private = Ed25519PrivateKey.generate()
    file = folder / f"{role}.key"
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    (folder / f"{role}.pub").write_bytes(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
