"""The effective settings, frozen. Durations are whole seconds, money is Decimal USD."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from yoyo.model.ids import ModuleId, NodeName, Secret
from yoyo.model.machine import ModelFacts
from yoyo.model.signing import SigningSettings, TrustSettings

SMOKE_MODEL = "smoke"
EMBEDDED_SERVER = "embedded"
FROM_STORE = "store:"


class EngineSettings(NamedTuple):
    """How the engine is started."""

    # SMOKE_MODEL, an absolute path to a GGUF file, its https:// or gs:// address, or store:NAME
    model: str
    server: str  # EMBEDDED_SERVER, or a llama-server: a name on PATH or a path
    ctx: int  # tokens, over all slots together
    parallel: int  # slots
    cache_type_k: str
    cache_type_v: str
    port: int  # 0: a free one
    extra_flags: tuple[str, ...]
    api_key: Secret | None  # None: generated per node


class GuardSettings(NamedTuple):
    """When a node is stopped, and how long each wait may be. All in seconds."""

    idle_after_s: int
    sample_every_s: int
    unreachable_after_s: int
    boot_grace_s: int
    boot_timeout_s: int
    lease_s: int
    lifetime_s: int
    drain_timeout_s: int
    stop_grace_s: int
    job_lease_s: int


class BudgetSettings(NamedTuple):
    """Spending caps in USD; None: no cap."""

    day_usd: Decimal | None
    month_usd: Decimal | None


class PriceSettings(NamedTuple):
    """What the node costs in USD; None: unknown, and booked as unknown."""

    hourly_usd: Decimal | None
    disk_gb_month_usd: Decimal | None = None  # a month of 730 h, as Google's price list has it
    version: str = ""  # of the price table that says so; "": the operator's own figure, undated
    source: str = ""  # where the table has it from
    valid_from: str = ""  # YYYY-MM-DD


class HardwareSettings(NamedTuple):
    """Facts about the machine that the roofline needs; None: unknown."""

    memory_bandwidth_gb_s: Decimal | None  # 1 GB = 1e9 bytes
    memory_gb: Decimal | None = None  # that the model may take, GPU's where there is one; 1e9 bytes


class WeightsSettings(NamedTuple):
    """The model file of a remote node; its address is `engine.model`."""

    sha256: str | None = None
    mirrors: tuple[str, ...] = ()


class BundleSettings(NamedTuple):
    """A prebuilt engine, by its address or by its name in the store."""

    url: str | None = None
    sha256: str | None = None
    name: str = "auto"  # auto: the newest one in the store that matches node and model


class BuildSettings(NamedTuple):
    """The source that the engine is built from where there is no bundle."""

    repository: str = "https://github.com/ggml-org/llama.cpp"
    commit: str = "b6900"
    on_node: bool = False  # whether a node without a bundle may build its engine


class GceSettings(NamedTuple):
    """Google Compute Engine. Names, never URLs; zones in the order in which they are tried."""

    project: str
    zones: tuple[str, ...]
    machine_type: str
    image: str
    disk_gb: int
    disk_type: str
    network: str
    subnetwork: str | None
    traffic: str  # tls, tunnel, vpc
    controller: str  # `auto`, or an IPv4 address
    address_service: str
    ssh_from: str  # controller, iap
    provisioning: str  # standard, spot, spot-then-standard
    service_account: str | None
    max_wait_s: int
    relocate: bool
    replace_firewall: bool
    api_endpoint: str | None
    credentials: Path | None = None  # None: Application Default Credentials


class StoreSettings(NamedTuple):
    """Where artefacts lie: gs://BUCKET[/PREFIX] or file:///DIR."""

    url: str
    endpoint: str | None = None  # another address of Cloud Storage, for trials
    credentials: Path | None = None  # None: Application Default Credentials


class Provided(NamedTuple):
    """What a name of the store stood for when the node was planned: pinned by digest from then."""

    name: str
    manifest: str  # sha256 of the manifest's document
    files: tuple[
        tuple[str, int, str], ...
    ]  # path inside the set, bytes, sha256; the main one first
    model: ModelFacts | None = None


class AdapterSettings(NamedTuple):
    """Where adapters come from, whose signatures count, and how this machine signs."""

    book: Path  # the registry file
    repository: str | None = None  # HOST/PATH that `push` puts an adapter's repository under
    trust: TrustSettings = TrustSettings()
    signing: SigningSettings = SigningSettings()


class AuditSettings(NamedTuple):
    """How the ledger is proved: signed checkpoints, their copies, sealed months."""

    origin: str = ""  # the log's name in every checkpoint, and its key's; "": none is signed
    key: Path | None = None  # private Ed25519 key, PKCS #8 PEM, mode 0600
    signer_command: tuple[str, ...] = ()  # instead of `key`: reads a body, prints a signature
    public_key: Path | None = None  # its verifier key
    every_s: int = 3600  # how old the newest checkpoint may grow while the monitor runs
    copy_to: StoreSettings | None = None  # a second store, write-once
    sealing: str = "manual"  # `monthly`: a month that is over is sealed by itself
    retention_months: int | None = None  # None: sealed months are kept for ever
    legal_hold: bool = False  # nothing is deleted, whatever retention says


class LoraFile(NamedTuple):
    """One adapter that the engine is started with: verified, and pinned by its digests."""

    name: str  # id@version
    manifest: str  # sha256:<hex> of the OCI manifest
    sha256: str  # hex, of the GGUF file
    size: int  # bytes
    scale: Decimal
    path: str = ""  # on this machine, where the node runs here


class NodeSettings(NamedTuple):
    """One node of the configuration."""

    name: NodeName
    module_id: ModuleId
    driver: str
    engine: EngineSettings
    guards: GuardSettings
    budget: BudgetSettings
    prices: PriceSettings
    hardware: HardwareSettings
    weights: WeightsSettings = WeightsSettings()
    bundle: BundleSettings = BundleSettings()
    build: BuildSettings = BuildSettings()
    gce: GceSettings | None = None  # None: another driver
    store: StoreSettings | None = None
    # Resolved from the store before the node is planned or made; None: not from the store.
    from_store: Provided | None = None  # the weights
    engine_from_store: Provided | None = None
    # `auto`: what the registry file has promoted for its moduleId; `none`: the base alone.
    adapters: str = "auto"
    task: str = ""  # which task the stack is selected for at a start; "": any
    loras: tuple[LoraFile, ...] = ()  # selected and verified before a start, in the engine's order
    adapters_from_store: tuple[Provided, ...] = ()  # the same, for a node that fetches them

    @property
    def taken(self) -> tuple[Provided, ...]:
        """What was resolved from the store: weights, engine bundle, adapters."""
        found = (self.from_store, self.engine_from_store, *self.adapters_from_store)
        return tuple(each for each in found if each is not None)

    @property
    def takes_model(self) -> bool:
        """Whether its weights are named, not addressed."""
        return self.engine.model.startswith(FROM_STORE)

    @property
    def takes_bundle(self) -> bool:
        """Whether its engine is looked for in the store."""
        return self.gce is not None and self.bundle.url is None and self.bundle.name != "none"

    @property
    def takes_from_store(self) -> bool:
        """Whether the store has to be asked before it can be planned or made."""
        return self.takes_model or self.takes_bundle


class Settings(NamedTuple):
    """Everything configuration decides."""

    config_file: Path
    state_dir: Path
    ledger: Path
    operator: str
    default_node: NodeName | None  # None: several nodes and none chosen
    nodes: tuple[NodeSettings, ...]
    store: StoreSettings
    hub: str | None = None  # None: HF_ENDPOINT, else huggingface.co
    hub_mirrors: tuple[str, ...] = ()
    adapters: AdapterSettings | None = None  # None only where a test has no use for it
    audit: AuditSettings = AuditSettings()
    price_table: Path | None = None  # the operator's; None: the one that comes with yoyo
