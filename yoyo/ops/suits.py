"""Whether a model suits a node: does it fit, and is there an engine that knows it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final, NamedTuple

from yoyo.core.accelerators import Accelerators, of_machine_type
from yoyo.core.bundle import Choice, newest
from yoyo.core.fit import Fit, fit
from yoyo.errors import ConfigInvalid, EngineTooOld, EngineUnavailable, ModelTooLarge
from yoyo.model.machine import ModelFacts
from yoyo.model.settings import NodeSettings
from yoyo.model.store import ENGINE
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext

AUTO = "auto"
_GPU_FAMILIES: Final = ("g2-", "g4-", "a2-", "a3-", "a4-", "a4x-")
_ARM_FAMILIES: Final = ("t2a-", "c4a-", "n4a-", "a4x-")
# The glibc of the distributions that images are named after (their release notes).
_GLIBC: Final = (("2404", "2.39"), ("2204", "2.35"), ("debian-12", "2.36"), ("debian-13", "2.41"))


def glibc_of(image: str) -> str:
    """The image's glibc, from its name; "" unknown."""
    name = image.rpartition("/")[2]
    return next((version for mark, version in _GLIBC if mark in name), "")


class Memory(NamedTuple):
    """What model, cache and buffers must fit into."""

    bytes: int
    gpus: int


def _gpus(node: NodeSettings) -> Accelerators | None:
    return of_machine_type(node.gce.machine_type) if node.gce is not None else None


def memory_of(node: NodeSettings) -> Memory | None:
    """None: nothing says how much there is."""
    table = _gpus(node)
    gpus = table.gpus if table is not None else 0
    if node.hardware.memory_gb is not None:
        return Memory(int(node.hardware.memory_gb * 10**9), gpus)
    return Memory(table.memory_bytes, gpus) if table is not None else None


def bandwidth_of(node: NodeSettings) -> Decimal | None:
    """Memory bandwidth in GB/s (1e9 bytes) of one GPU, or as configured; None: unknown."""
    if node.hardware.memory_bandwidth_gb_s is not None:
        return node.hardware.memory_bandwidth_gb_s
    table = _gpus(node)
    return table.each.bandwidth_gb_s if table is not None else None


def fit_of(model: ModelFacts, node: NodeSettings) -> Fit | None:
    """The sums; None where the node's memory is unknown."""
    memory = memory_of(node)
    return fit(model, node.engine, memory.bytes, gpus=memory.gpus) if memory else None


def require_fit(model: ModelFacts, node: NodeSettings) -> Fit | None:
    """Raise ModelTooLarge, with the sums, for a model that the node could not hold."""
    found = fit_of(model, node)
    if found is None or found.fits is not False:
        return found
    most = found.largest_context
    raise ModelTooLarge(
        f"{model.name} does not fit into the memory of {node.name}.",
        why=f"{_gb(found.total)} are needed and {_gb(found.memory)} are there.",
        fix=f"Set engine.ctx to {most} or less, or a smaller cache type (engine.cache_type_k)."
        if most
        else "Not even its weights fit: take a smaller quantisation, or a larger machine.",
        details=sums(found),
    )


def sums(found: Fit) -> tuple[str, ...]:
    """The sums as lines."""
    lines = [
        f"weights          {_gb(found.weights)}",
        f"KV cache         {_gb(found.kv_cache)}",
        f"compute buffers  {_gb(found.compute)}",
        f"GPU context      {_gb(found.overhead)}",
        f"in all           {_gb(found.total)} of {_gb(found.memory)}",
    ]
    if found.largest_context is not None:
        lines.append(f"largest context  {found.largest_context} tokens over all slots")
    return tuple(lines)


def _gb(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e9:.2f} GB"


def choose_bundle(ctx: StoreContext, node: NodeSettings, architecture: str) -> Choice:
    """The newest bundle of the store for that node and model, or why each one is refused.

    Raises:
        ConfigInvalid: nothing says which GPU the machine has.
        StoreUnavailable, StoreDenied.
    """
    machine_type = node.gce.machine_type if node.gce is not None else ""
    table = _gpus(node)
    if table is None and machine_type.startswith(_GPU_FAMILIES):
        raise ConfigInvalid(
            f"It is not known which GPU a {machine_type} has, and so which bundle runs there.",
            why="yoyo's table of machine types does not have it.",
            fix="Take another gce.machine_type, or give the bundle by bundle.url.",
        )
    wanted = node.bundle.name
    manifests = [
        each.manifest
        for each in shelf.names(ctx.store, ENGINE)
        if isinstance(each, shelf.Named) and wanted in (AUTO, each.name)
    ]
    return newest(
        manifests,
        machine="aarch64" if machine_type.startswith(_ARM_FAMILIES) else "x86_64",
        sm=table.each.sm if table is not None else "",
        glibc=glibc_of(node.gce.image) if node.gce is not None else "",
        architecture=architecture,
    )


def refuse_without_bundle(node: NodeSettings, choice: Choice) -> None:
    """Raise for a node that has no engine: EngineTooOld where a newer one would do."""
    if choice.chosen is not None:
        return
    reasons = tuple(f"{name}: {'; '.join(why)}" for name, why in choice.refused)
    only_old = _too_old(choice)
    if only_old:
        raise EngineTooOld(
            f"No engine bundle for {node.name} knows the model's architecture.",
            why=f"Newest that would run there: {', '.join(sorted(only_old)[-3:])}.",
            fix="Build a newer one: `yoyo engine build`, then `yoyo engine publish`.",
            details=reasons,
        )
    raise EngineUnavailable(
        f"The store has no engine bundle for {node.name}.",
        why=f"{len(choice.refused)} bundle(s) are there, and none matches the machine."
        if choice.refused
        else "It has none at all.",
        fix="Run `yoyo engine build` and `yoyo engine publish`, or let the node build its own, "
        "which takes half an hour: `yoyo up --build` (build.on_node: yes).",
        details=reasons,
    )


def _too_old(choice: Choice) -> list[str]:
    """Bundles that would serve the node, were it another model."""
    if choice.chosen is not None:
        return []
    return [name for name, why in choice.refused if len(why) == 1 and "architecture" in why[0]]


def suits(ctx: StoreContext, node: NodeSettings) -> Callable[[ModelFacts], tuple[str, ...]]:
    """A look at a model before it is staged, for that node.

    It raises ModelTooLarge and EngineTooOld, and returns remarks.
    """

    def look(model: ModelFacts) -> tuple[str, ...]:
        found = require_fit(model, node)
        remarks = []
        if found is None:
            remarks.append(
                f"whether it fits {node.name} is unknown: set hardware.memory_gb for that"
            )
        else:
            remarks += [f"on {node.name}: {line}" for line in sums(found)]
        if node.takes_bundle:
            choice = choose_bundle(ctx, node, model.architecture)
            if _too_old(choice) and not node.build.on_node:
                refuse_without_bundle(node, choice)
            if choice.chosen is None:
                remarks.append(
                    f"no engine bundle for {node.name} is published yet: `yoyo engine publish`"
                )
            else:
                remarks.append(f"engine {choice.chosen.name} knows {model.architecture}")
        return tuple(remarks)

    return look
