"""The standard tools take what yoyo makes, unmodified, and yoyo takes what they sign.

cosign 2 and 3 and oras are found where `scripts/oci-tools` puts them, or on PATH. What needs one
that is not there is skipped: the one exception to the rule that no test is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from cli import Place
from registry_lab import RegistryLab
from sigstore_lab import SigstoreLab
from sigstore_trust import SIGNING_TYPE
from tiny_lora import write_lora

from yoyo.config.training import load_training
from yoyo.core.adapters import statements
from yoyo.core.adapters.artefact import read_artefact
from yoyo.drivers.local.smoke_model import ensure
from yoyo.errors import AdapterRefused
from yoyo.model.signing import BUNDLE_TYPE, PROVENANCE, SIGNATURE, TEST_RESULT

# Who may say what; the stranger may say nothing.
WHO: Final = {
    "signer": "dev@example.com",
    "builder": "https://ci.example.com/jobs/train@refs/heads/main",
    "evaluator": "quality@example.com",
}
STRANGER: Final = "stranger@example.com"
BUILDER: Final = "https://ci.example.com/trainer/1"
TRAINING: Final = f"""\
base: {{ref: smoke}}
dataset: {{uri: "gs://acme/tone.jsonl"}}
hyperparameters: {{learning_rate: 1e-4}}
seed: 7
builder: {BUILDER}
"""
NAME, LAYOUT = "acme-tone@1.0.0", "acme-tone-1.0.0.oci"
RESULT: Final[dict[str, Any]] = {
    "result": "PASSED",
    "suite": ("tone", "", ""),
    "passed": (),
    "warned": (),
    "failed": (),
    "url": "",
}
ATTESTED: Final = ("verify-attestation", "--type")
PROVENANCE_NAME: Final = "slsaprovenance1"  # as cosign calls PROVENANCE


def _fetched(directory: str, program: str) -> str | None:
    """Where `scripts/oci-tools` put it."""
    path = Path(__file__).parents[2] / ".cache/oci-tools" / directory / "usr/bin" / program
    return str(path) if os.access(path, os.X_OK) else None


def _cosign(major: int) -> str | None:
    """That major version: cosign 3 has no `--new-bundle-format` to verify with."""
    found = shutil.which("cosign")
    if (fetched := _fetched(f"cosign-{major}", "cosign")) or found is None:
        return fetched
    told = subprocess.run(
        [found, "verify", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    is_2 = "--new-bundle-format" in told.stdout
    return found if is_2 == (major == 2) else None


COSIGN_2, COSIGN_3 = _cosign(2), _cosign(3)
ORAS = _fetched("oras", "oras") or shutil.which("oras")
needs_cosign_2 = pytest.mark.skipif(COSIGN_2 is None, reason="cosign 2 is not installed here")
needs_cosign_3 = pytest.mark.skipif(COSIGN_3 is None, reason="cosign 3 is not installed here")
needs_oras = pytest.mark.skipif(ORAS is None, reason="oras is not installed here")


class Bench:
    """A configured directory, a registry and a Sigstore: yoyo's commands and the others' on them.

    `rekor`: keyless, that version's log; 0: three P-256 keys, as cosign has them.
    """

    def __init__(
        self, root: Path, registry: RegistryLab, sigstore: SigstoreLab, rekor: int
    ) -> None:
        root.mkdir()
        self.place = Place(root)
        self.root, self.registry, self.sigstore, self.rekor = root, registry, sigstore, rekor
        self.trusted_root = str(sigstore.trusted_root(root))
        self._configure()
        base = ensure(root / "base")
        write_lora(root / "tone.gguf", base, seed=7)
        (root / "train.jsonl").write_text("{}\n")
        (root / "README.md").write_text("Tone.\n")
        made = ["--data", "train.jsonl", "--readme", "README.md", "--base", str(base)]
        self.place.run("adapters", "pack", "tone.gguf", NAME, *made)
        self.ref = self.push("ours")

    def push(self, repository: str) -> str:
        """Push the adapter, which nobody has signed there: HOST/REPOSITORY@DIGEST."""
        there = f"{self.registry.host}/{self.root.name}/{repository}"
        pushed = self.place.json("adapters", "push", LAYOUT, f"{there}:1.0.0")["ref"]
        return f"{there}@{pushed.partition('@')[2]}"

    def sign_all(self) -> None:
        """Signature, provenance and sign-off, by yoyo."""
        self._state("signer", "sign", self.ref)
        self._state("builder", "attest", self.ref, "--training", "training.yaml")
        self._state("evaluator", "evaluate", self.ref, "--result", "passed", "--suite", "tone")

    def identity(self, role: str) -> list[str]:
        """How cosign is told whom to expect."""
        if not self.rekor:
            return ["--key", f"{role}.pub", "--insecure-ignore-tlog", *self.pinned]
        issuer = ["--certificate-oidc-issuer", self.sigstore.issuer]
        return ["--certificate-identity", WHO.get(role, STRANGER), *issuer, *self.pinned]

    @property
    def pinned(self) -> list[str]:
        """Without it cosign asks the public instance for its root."""
        return ["--trusted-root", self.trusted_root]

    def token(self, role: str) -> str:
        who = WHO[role]
        return self.sigstore.token(sub=who) if "://" in who else self.sigstore.token(who)

    def cosign_signs_as(self, role: str) -> list[str]:
        """How cosign is told to sign: by a token, or by a key in a form of its own."""
        if self.rekor:
            token = self.root / f"{role}.token"
            token.write_text(self.token(role))
            config = self.sigstore.signing_config(self.root, rekor=self.rekor)
            how = ["--identity-token", str(token)]
        else:
            key = ["--key", f"{role}.key", "--output-key-prefix", f"cosign-{role}"]
            self.run(COSIGN_3, "import-key-pair", *key)
            config = self.root / "signing_config.json"
            config.write_text(json.dumps({"mediaType": SIGNING_TYPE}))  # neither log nor timestamp
            how = ["--key", f"cosign-{role}.key"]
        return ["--yes", "--signing-config", str(config), *self.pinned, *how]

    def statements_on(self, ref: str) -> dict[str, bytes]:
        """What builder and evaluator have to say, in yoyo's words; not signed."""
        digest = ref.partition("@")[2]
        document = (self.root / LAYOUT / "blobs/sha256" / digest.partition(":")[2]).read_bytes()
        adapter = read_artefact(document, digest).adapter
        training = load_training(self.root / "training.yaml")
        return {
            "builder": statements.provenance(NAME, digest, adapter, training),
            "evaluator": statements.test_result(NAME, digest, **RESULT),
        }

    def verified(self, ref: str) -> str:
        """What `yoyo adapters verify` prints; it passed."""
        return self.place.run("adapters", "verify", ref).stdout

    def run(self, program: str | None, *arguments: str, cosign_2: bool = False) -> str:
        """Another tool's command, which succeeds: what it prints."""
        done = self._run(program, arguments, cosign_2)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def refuses(self, program: str | None, *arguments: str, cosign_2: bool = False) -> str:
        """Another tool's command, which fails: why."""
        done = self._run(program, arguments, cosign_2)
        assert done.returncode != 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stderr

    def _run(
        self, program: str | None, arguments: tuple[str, ...], cosign_2: bool
    ) -> subprocess.CompletedProcess[str]:
        assert program is not None
        # Nothing of who runs the tests: no credentials, no configuration, no cache.
        env = {"PATH": os.environ["PATH"], "HOME": str(self.root), "COSIGN_PASSWORD": "laboratory"}
        return subprocess.run(
            [program, *arguments],
            cwd=self.root,
            env=env | (self.sigstore.cosign_environment(self.root) if cosign_2 else {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _configure(self) -> None:
        issuer = self.sigstore.issuer
        if self.rekor:
            config = self.sigstore.trust_config(self.root, rekor=self.rekor)
            signing: dict[str, Any] = {"trust_config": str(config)}
            trust: dict[str, Any] = {f"{role}s": [f"{who} {issuer}"] for role, who in WHO.items()}
            trust["root"] = self.trusted_root
        else:
            self._make_keys()
            signing = {"mode": "key"}
            trust = {f"{role}s": [f"{role}.pub"] for role in WHO} | {"mode": "key"}
        (self.root / "training.yaml").write_text(TRAINING)
        document = {
            "version": 1,
            "operator": "tester",
            "trust": trust | {"builder_ids": [BUILDER]},
            "signing": signing,
            "nodes": {"local": {"moduleId": "acme", "driver": "local"}},
        }
        (self.root / "yoyo.yaml").write_text(json.dumps(document))  # YAML as well

    def _make_keys(self) -> None:
        for role in (*WHO, "stranger"):
            key, curve = f"{role}.key", "ec_paramgen_curve:P-256"
            made = ["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", key]
            self.run("openssl", *made)
            self.run("openssl", "pkey", "-in", key, "-pubout", "-out", f"{role}.pub")
            (self.root / key).chmod(0o600)

    def _state(self, role: str, *arguments: str) -> None:
        key = () if self.rekor else ("--set", f"signing.key={role}.key")
        env = self.place.env(YOYO_IDENTITY_TOKEN=self.token(role))
        self.place.run("adapters", *arguments, *key, env=env)


class Benches:
    """A bench for each way of signing, made when it is first asked for; signed by yoyo."""

    def __init__(self, root: Path, registry: RegistryLab, sigstore: SigstoreLab) -> None:
        self._root, self._registry, self._sigstore = root, registry, sigstore
        self._made: dict[int, Bench] = {}

    def by(self, rekor: int) -> Bench:
        """Signed with that version of Rekor; 0: with keys."""
        if rekor not in self._made:
            made = Bench(self._root / f"by-{rekor}", self._registry, self._sigstore, rekor)
            made.sign_all()
            self._made[rekor] = made
        return self._made[rekor]


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benches]:
    root = tmp_path_factory.mktemp("oci-tools")
    with RegistryLab(root) as registry, SigstoreLab() as sigstore:
        yield Benches(root, registry, sigstore)


@needs_oras
def test_oras_pulls_the_files_of_an_adapter(benches: Benches) -> None:
    bench = benches.by(1)
    bench.run(ORAS, "pull", "--plain-http", bench.ref, "-o", "pulled")
    pulled = {path.name: _sha256(path) for path in (bench.root / "pulled").iterdir()}
    manifest = json.loads(bench.run(ORAS, "manifest", "fetch", "--plain-http", bench.ref))
    titles = "org.opencontainers.image.title"
    assert pulled == {layer["annotations"][titles]: layer["digest"] for layer in manifest["layers"]}
    assert pulled["acme-tone-1.0.0.gguf"] == _sha256(bench.root / "tone.gguf")
    assert pulled["README.md"] == _sha256(bench.root / "README.md")


@needs_oras
def test_oras_lists_the_bundles_of_an_adapter(benches: Benches) -> None:
    bench = benches.by(1)
    told = bench.run(ORAS, "discover", "--plain-http", "--format", "json", bench.ref)
    found = json.loads(told)
    listed = found.get("referrers") or found["manifests"]  # oras 1.3, 1.2
    assert {each["artifactType"] for each in listed} == {BUNDLE_TYPE}
    kinds = [each["annotations"]["dev.sigstore.bundle.predicateType"] for each in listed]
    assert sorted(kinds) == sorted([SIGNATURE, PROVENANCE, TEST_RESULT])


@needs_oras
def test_oras_copies_an_adapter_with_its_bundles(benches: Benches) -> None:
    bench = benches.by(1)
    http = ["--from-plain-http", "--to-plain-http"]
    alone, whole = (bench.ref.replace("/ours@", f"/{name}:1.0.0@") for name in ("alone", "whole"))
    bench.run(ORAS, "copy", *http, bench.ref, alone.partition("@")[0])
    bench.run(ORAS, "copy", "-r", *http, bench.ref, whole.partition("@")[0])
    refused = bench.place.run("adapters", "verify", alone, code=AdapterRefused.exit_code)
    assert "unsigned" in refused.stderr
    assert "is verified" in bench.verified(whole)


@needs_cosign_3
@pytest.mark.parametrize("rekor", [1, 2, 0])
def test_cosign_3_accepts_what_yoyo_signs(benches: Benches, rekor: int) -> None:
    bench = benches.by(rekor)
    bench.run(COSIGN_3, "verify", *bench.identity("signer"), bench.ref)
    told = bench.run(COSIGN_3, *ATTESTED, PROVENANCE_NAME, *bench.identity("builder"), bench.ref)
    assert _payload(told) == json.loads(bench.statements_on(bench.ref)["builder"])
    bench.run(COSIGN_3, *ATTESTED, TEST_RESULT, *bench.identity("evaluator"), bench.ref)

    why = bench.refuses(COSIGN_3, "verify", *bench.identity("stranger"), bench.ref)
    assert "no matching attestations" in why
    signer = bench.identity("signer")
    why = bench.refuses(COSIGN_3, *ATTESTED, PROVENANCE_NAME, *signer, bench.ref)
    assert "none of the attestations matched the predicate type" in why


# Of cosign 2 `verify` looks for signatures of its older form only, and it knows Rekor v1 alone.
@needs_cosign_2
@pytest.mark.parametrize("rekor", [1, 0])
def test_cosign_2_accepts_what_yoyo_signs(benches: Benches, rekor: int) -> None:
    bench = benches.by(rekor)
    attested = [*ATTESTED, PROVENANCE_NAME, "--new-bundle-format"]
    signed = [*ATTESTED, SIGNATURE, "--new-bundle-format"]
    bench.run(COSIGN_2, *signed, *bench.identity("signer"), bench.ref, cosign_2=True)
    told = bench.run(COSIGN_2, *attested, *bench.identity("builder"), bench.ref, cosign_2=True)
    assert _payload(told) == json.loads(bench.statements_on(bench.ref)["builder"])

    stranger = bench.identity("stranger")
    why = bench.refuses(COSIGN_2, *signed, *stranger, bench.ref, cosign_2=True)
    assert "no valid bundles" in why or "no matching attestations" in why


@needs_cosign_3
@needs_oras
@pytest.mark.parametrize("rekor", [1, 2, 0])
def test_yoyo_accepts_what_cosign_signs(benches: Benches, rekor: int) -> None:
    bench = benches.by(rekor)
    ref = bench.push("theirs")
    bench.run(COSIGN_3, "sign", *bench.cosign_signs_as("signer"), ref)
    for role, statement in bench.statements_on(ref).items():
        said = bench.root / f"{role}.statement"
        said.write_bytes(statement)
        # `cosign attest` can only make statements of version 0.1.
        how = ["--statement", str(said), "--bundle", f"{role}.bundle"]
        bench.run(COSIGN_3, "attest-blob", *how, *bench.cosign_signs_as(role))
        attached = ["--plain-http", "--artifact-type", BUNDLE_TYPE]
        bench.run(ORAS, "attach", *attached, ref, f"{role}.bundle:{BUNDLE_TYPE}")
    assert "is verified" in bench.verified(ref)


@needs_cosign_3
def test_yoyo_refuses_the_older_statement_that_cosign_attest_makes(benches: Benches) -> None:
    bench = benches.by(1)
    ref = bench.push("older")
    predicate = json.loads(bench.statements_on(ref)["builder"])["predicate"]
    (bench.root / "predicate.json").write_text(json.dumps(predicate))
    how = ["--predicate", "predicate.json", "--type", PROVENANCE_NAME]
    bench.run(COSIGN_3, "attest", *how, *bench.cosign_signs_as("builder"), ref)
    refused = bench.place.run("adapters", "verify", ref, code=AdapterRefused.exit_code)
    assert "its _type is 'https://in-toto.io/Statement/v0.1'" in refused.stdout


def _sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _payload(told: str) -> Any:
    """The statement in the one envelope that `cosign verify-attestation` prints."""
    (line,) = told.splitlines()
    return json.loads(base64.b64decode(json.loads(line)["payload"]))
