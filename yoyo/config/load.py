"""The effective configuration: file, then environment, then flags, checked as one."""

from __future__ import annotations

from collections.abc import Mapping as Environment
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from yoyo.config.audit import audit_rules, audit_settings
from yoyo.config.document import Scalar, parse, read_text
from yoyo.config.key import Key
from yoyo.config.mistakes import Mistake, Origin, Report, TooMany, nearest, printable
from yoyo.config.node_prices import NodePrices, why_no_price
from yoyo.config.rules import node_rules
from yoyo.config.schema import LIST_KINDS, NODE_KEYS, TOP_KEYS
from yoyo.config.sources import Raw, find_file, from_env, from_file, from_sets, state_home
from yoyo.config.values import Place, convert
from yoyo.errors import ConfigInvalid, NodeUnknown
from yoyo.model.ids import ModuleId, NodeName, Secret
from yoyo.model.ledger import RESERVED_NODES, SHARED
from yoyo.model.settings import (
    AdapterSettings,
    BudgetSettings,
    BuildSettings,
    BundleSettings,
    EngineSettings,
    GceSettings,
    GuardSettings,
    HardwareSettings,
    NodeSettings,
    PriceSettings,
    Settings,
    StoreSettings,
    WeightsSettings,
)
from yoyo.model.signing import SigningSettings, TrustSettings

_MASK = "****"


class Flags(NamedTuple):
    """What the command line says about the configuration."""

    config: Path | None = None
    node: str | None = None
    sets: tuple[str, ...] = ()


class Value(NamedTuple):
    """One effective value: as text, secrets masked, and where it was written."""

    key: str
    text: str
    source: str


class Loaded(NamedTuple):
    """Settings, the node that was chosen (None: none could be), and where each value is from."""

    settings: Settings
    node: NodeSettings | None
    values: tuple[Value, ...]


def load(flags: Flags, env: Environment[str, str], cwd: Path) -> Loaded:
    """Read and check everything.

    Raises:
        ConfigNotFound, NodeUnknown.
        ConfigInvalid: with every mistake as a line of `details`.
        BillingInvalid: the price table has mistakes, or is in another currency.
    """
    path, is_xdg = find_file(flags.config, env, cwd)
    reader = _Reader(path, is_xdg, env, cwd)
    loaded = reader.read(flags)
    mistakes = reader.report.mistakes
    if mistakes or loaded is None:
        count = len(mistakes)
        raise ConfigInvalid(
            f"The configuration has {count} mistake{'' if count == 1 else 's'}.",
            why=f"Read from {printable(str(path))}, YOYO_* variables and flags.",
            fix="Correct the lines above; `yoyo config validate` checks again.",
            details=tuple(str(mistake) for mistake in _in_order(mistakes)),
        )
    if reader.prices.report.mistakes:
        raise reader.prices.error()
    return loaded


def validate(flags: Flags, env: Environment[str, str], cwd: Path) -> list[Mistake]:
    """Every mistake, in file order; [] when there is none.

    Raises:
        ConfigNotFound.
    """
    path, is_xdg = find_file(flags.config, env, cwd)
    reader = _Reader(path, is_xdg, env, cwd)
    try:
        reader.read(flags)
    except NodeUnknown as unknown:
        label = "--node" if flags.node else "YOYO_NODE"
        return [Mistake(label, 0, 0, "", unknown.what)]
    return _in_order(reader.report.mistakes) + reader.prices.report.mistakes


def _in_order(mistakes: list[Mistake]) -> list[Mistake]:
    return sorted(mistakes, key=lambda m: (m.line == 0, m.line, m.column))


class _Reader:
    """One reading; mistakes gather in `report`."""

    def __init__(self, path: Path, is_xdg: bool, env: Environment[str, str], cwd: Path) -> None:
        self.path, self.is_xdg, self.env, self.cwd = path, is_xdg, env, cwd
        try:
            self.label = str(path.relative_to(cwd))
        except ValueError:
            self.label = str(path)
        self.label = printable(self.label)
        self.report = Report()
        self.place = Place(path.parent, env)
        self.raw: Raw = {}
        self.values: list[Value] = []
        self.prices = NodePrices(None, datetime.now(UTC))

    def read(self, flags: Flags) -> Loaded | None:
        try:
            settings = self._settings(flags)
        except TooMany:
            return None
        if settings is None or self.report.mistakes:
            return None
        return Loaded(settings, self._chosen(settings, flags), tuple(self.values))

    def _settings(self, flags: Flags) -> Settings | None:
        text, mode = read_text(str(self.path), self.label, self.report)
        if text is None:
            return None
        tree = parse(text, self.label, self.report)
        if tree is None:  # nothing can be said about keys in what cannot be read
            return None
        raw, nodes = from_file(tree, self.report)
        names = list(nodes)
        from_outside = from_env(self.env, names, self.report) | from_sets(
            flags.sets, names, self.report
        )
        self.raw = raw | from_outside
        top = {key.path: self._value(key, key.path, Origin(self.label, 1, 1)) for key in TOP_KEYS}
        for key, message in audit_rules(top.get):
            self.report.add(self.raw[key].at, key, message)
        for name, about in RESERVED_NODES.items():
            if name in nodes:
                why = f"the ledger's rows about {about} have this name. Choose another one"
                self.report.add(nodes[name], f"nodes.{name}", why)
        self.prices = NodePrices(top["price_table"], datetime.now(UTC))
        built = [self._node(name, at, mode) for name, at in nodes.items()]
        self.prices.checked()
        default = top["default_node"]
        if default is not None and default not in names:
            near = nearest(str(default), names)
            hint = f". Did you mean {near}?" if near else ""
            at = self.raw["default_node"].at
            self.report.add(at, "default_node", f"there is no node {default!r}{hint}")
        if self.report.mistakes:
            return None
        if default is None and len(names) == 1:
            default = names[0]
        state_dir, ledger = self._places(top)
        store = StoreSettings(
            (top["store"] or f"file://{state_dir / 'store'}").rstrip("/"),
            top["store_endpoint"],
            top["store_credentials"],
        )
        return Settings(
            config_file=self.path,
            state_dir=state_dir,
            ledger=ledger,
            operator=top["operator"] or self._operator(),
            default_node=NodeName(default) if default else None,
            nodes=tuple(node._replace(store=store) for node in built if node is not None),
            store=store,
            hub=top["hub"],
            hub_mirrors=top["hub_mirrors"],
            adapters=self._adapters(top),
            audit=audit_settings(top),
            price_table=top["price_table"],
        )

    def _adapters(self, top: dict[str, Any]) -> AdapterSettings:
        trust = {k.removeprefix("trust."): v for k, v in top.items() if k.startswith("trust.")}
        if trust["mode"] == "key":  # each word is the path of a public key
            for role in ("signers", "builders", "evaluators"):
                trust[role] = tuple(str(self.place.resolve(word)) for word in trust[role])
        signing = {k.removeprefix("signing."): v for k, v in top.items() if k[:8] == "signing."}
        return AdapterSettings(
            top["adapters.registry"],
            top["adapters.repository"],
            TrustSettings(trusted_root=trust.pop("root"), **trust),
            SigningSettings(**signing),
        )

    def _places(self, top: dict[str, Any]) -> tuple[Path, Path]:
        state_dir, ledger = top["state_dir"], top["ledger"]
        if self.is_xdg:
            home = state_home(self.env, self.path.parent)
            state_dir = state_dir if "state_dir" in self.raw else home
            ledger = ledger if "ledger" in self.raw else home / "ledger.csv"
            for number, value in enumerate(self.values):
                if value.source == "default" and value.key in ("state_dir", "ledger"):
                    path = state_dir if value.key == "state_dir" else ledger
                    self.values[number] = Value(value.key, str(path), "default")
        return state_dir, ledger

    def _value(self, key: Key, path: str, at: Origin) -> Any:
        """The effective value of one key; what it is and whence goes into `values`."""
        tree = self.raw.get(path)
        source = "default"
        if tree is None:
            if key.required:
                self.report.add(at, path, "is missing")
                return None
            if key.default is None:
                self.values.append(Value(path, f"({key.absent})", "default"))
                return None
            if key.kind in LIST_KINDS:
                self.values.append(Value(path, key.default, "default"))
                return tuple(word for word in key.default.strip("[]").split(", ") if word)
            if key.kind == "match":
                self.values.append(Value(path, key.default, "default"))
                return key.default
            tree = Scalar(key.default, False, Origin("default"))
        else:
            source = tree.at.source
        value = convert(key, tree, self.place, path, self.report)
        self.values.append(Value(path, _shown(key, value, tree), source))
        return value

    def _node(self, name: str, at: Origin, mode: int) -> NodeSettings | None:
        prefix = f"nodes.{name}."
        found = {key.path: self._value(key, prefix + key.path, at) for key in NODE_KEYS}
        mistaken = {m.key.removeprefix(prefix) for m in self.report.mistakes}
        for key, message in node_rules(found.get):
            if key.startswith("budget.") and (
                "prices.hourly_usd" in mistaken or found["driver"] == "gce"
            ):
                continue  # a gce node's price may come from the table
            tree = self.raw.get(prefix + key)
            if tree is None and key == "engine.ctx":  # the default ctx, too many slots
                tree = self.raw.get(f"{prefix}engine.parallel")
            self.report.add(tree.at if tree is not None else at, prefix + key, message)
        if found["moduleId"] == SHARED:
            why = f"{SHARED!r} stands in the ledger's rows that are everybody's. Choose another one"
            self.report.add(self.raw[prefix + "moduleId"].at, prefix + "moduleId", why)
        secret = self.raw.get(prefix + "engine.api_key")
        if secret is not None and secret.at.line and mode & 0o077:
            self.report.add(
                secret.at,
                prefix + "engine.api_key",
                f"stands in a file that others may read (mode {mode & 0o777:04o}). "
                f"Run chmod 600 {self.label}, or give it in the environment",
            )
        return None if self.report.mistakes else self._priced(_build(name, found), at)

    def _priced(self, node: NodeSettings, at: Origin) -> NodeSettings:
        """The node with its price of the table, and the caps that have none to be held against."""
        priced, prefix = self.prices.resolved(node), f"nodes.{node.name}."
        for name, usd in priced.prices._asdict().items():
            if name.endswith("_usd") and usd is not None and priced is not node:
                self._show(f"{prefix}prices.{name}", f"{usd:f}", priced.prices.version)
        if priced.prices.hourly_usd is None and not self.prices.report.mistakes:
            for name, cap in node.budget._asdict().items():
                if cap is not None:
                    key = f"{prefix}budget.{name}"
                    tree = self.raw.get(key)
                    where = tree.at if tree is not None else at
                    self.report.add(where, key, why_no_price(priced))
        return priced

    def _show(self, key: str, text: str, source: str) -> None:
        for number, value in enumerate(self.values):
            if value.key == key:
                self.values[number] = Value(key, text, f"price table {source}")

    def _operator(self) -> str:
        import socket

        name = self.env.get("USER") or self.env.get("LOGNAME")
        if not name:
            import os
            import pwd

            try:
                name = pwd.getpwuid(os.getuid()).pw_name
            except KeyError:
                name = str(os.getuid())
        text = f"{name}@{socket.gethostname()}"
        return printable(text)[:128]

    def _chosen(self, settings: Settings, flags: Flags) -> NodeSettings | None:
        wanted = flags.node or self.env.get("YOYO_NODE") or settings.default_node
        if wanted is None:
            return None
        for node in settings.nodes:
            if node.name == wanted:
                return node
        names = [node.name for node in settings.nodes]
        near = nearest(wanted, names)
        raise NodeUnknown(
            f"There is no node {printable(wanted)!r}." + (f" Did you mean {near}?" if near else ""),
            why=f"{self.label} has: {', '.join(names)}.",
            fix="Name one of these, or add it under `nodes:`.",
        )


def _shown(key: Key, value: Any, tree: Any) -> str:
    if key.kind == "secret" or isinstance(value, Secret):
        return _MASK
    if isinstance(value, tuple):
        return "[" + ", ".join(value) + "]"
    if key.kind == "duration":
        return str(tree.text)
    return printable(str(value))


def _build(name: str, found: dict[str, Any]) -> NodeSettings:
    def section(prefix: str, suffix: str = "") -> dict[str, Any]:
        inside = {k: v for k, v in found.items() if k.startswith(f"{prefix}.")}
        return {k.removeprefix(f"{prefix}.") + suffix: v for k, v in inside.items()}

    return NodeSettings(
        name=NodeName(name),
        module_id=ModuleId(found["moduleId"]),
        driver=found["driver"],
        engine=EngineSettings(**section("engine")),
        guards=GuardSettings(**section("guards", "_s")),
        budget=BudgetSettings(**section("budget")),
        prices=PriceSettings(**section("prices")),
        hardware=HardwareSettings(**section("hardware")),
        weights=WeightsSettings(**section("weights")),
        bundle=BundleSettings(**section("bundle")),
        build=_build_settings(section("build")),
        adapters=found["adapters"],
        task=found["task"] or "",
        gce=_gce(section("gce")) if found["driver"] == "gce" else None,
    )


def _build_settings(found: dict[str, Any]) -> BuildSettings:
    return BuildSettings(**{**found, "on_node": found["on_node"] == "yes"})


def _gce(found: dict[str, Any]) -> GceSettings:
    yes_or_no = {name: found[name] == "yes" for name in ("relocate", "replace_firewall")}
    return GceSettings(
        **{k: v for k, v in found.items() if k not in (*yes_or_no, "max_wait")},
        **yes_or_no,
        max_wait_s=found["max_wait"],
    )
