"""The stack that a node starts with: selected, verified and fetched before it is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from yoyo.core.adapters.lora import check_fit
from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.adapters.select import select
from yoyo.core.adapters.summary import verification_summary
from yoyo.core.adapters.trust import policy_digest
from yoyo.errors import AdapterInvalid, AdapterRefused, YoyoError
from yoyo.model.adapter import SHARED_MODULE, Selection, Signed, Stage
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.settings import LoraFile
from yoyo.ops.adapters.base import digest_of_node, of_node
from yoyo.ops.adapters.register import verified
from yoyo.ops.adapters.transfer import pull_weights

if TYPE_CHECKING:
    from collections.abc import Collection

    from yoyo.core.lives import Life
    from yoyo.model.adapter import AdapterVersion, Chosen
    from yoyo.ops.adapters.base import BaseModel
    from yoyo.ops.adapters.context import AdapterContext
    from yoyo.ops.adapters.examine import Examined
    from yoyo.ops.context import Context

VERIFIER: Final = "urn:yoyo:verifier"
REFUSED: Final = "ADAPTER_REFUSED"


class Stack(NamedTuple):
    """What a node is to be started with, and the record of the decision."""

    loras: tuple[LoraFile, ...]
    proof: str  # sha256:<hex> of the verification summary; "" for an empty stack
    selection: Selection

    @property
    def scales(self) -> dict[str, float]:
        """By id@version, as the engine takes them."""
        return {each.name: float(each.scale) for each in self.loras}


def selected(ctx: Context, task: str | None = None) -> Selection:
    """What the registry file gives this node; `ctx` is what `provided` gave.

    Raises:
        AdapterBookInvalid, ModelInvalid, AdapterInvalid.
    """
    node = ctx.node
    if node.adapters == "none" or ctx.on_adapters is None:
        return Selection((), ())
    adapters = ctx.on_adapters()
    book = adapters.book.read()
    if not any(
        each.stage is Stage.PROMOTED and each.adapter.module_id in (node.module_id, SHARED_MODULE)
        for each in book.adapters
    ):
        return Selection((), ())  # nothing to choose from: the model need not be hashed
    base = digest_of_node(adapters, node)
    return select(node.module_id, node.task if task is None else task, base, book)


def unfit(ctx: Context, selection: Selection) -> list[str]:
    """What an operator should know of: promoted for the node, and all the same not in its stack."""
    if ctx.on_adapters is None:
        return []
    book = ctx.on_adapters().book.read()
    found = ((book.find(name), why) for name, why in selection.refused)
    return [
        f"{entry.adapter.name} is promoted and left out: {why}"
        for entry, why in found
        if entry is not None and entry.stage is Stage.PROMOTED
    ]


def prepared(
    ctx: Context, task: str | None = None, only: Collection[str] | None = None
) -> tuple[Context, Stack]:
    """The context with the node's stack in it: every adapter verified and its bytes here.

    With `only`, of what is selected those of these names: what an engine has loaded already.

    Raises:
        AdapterRefused: one of them does not pass; nothing is started without it in silence.
        AdapterInvalid, BundleRefused, ArtefactMissing, ArtefactCorrupt, RegistryUnavailable,
        RegistryDenied, StoreFull, StateUnwritable, and what `selected` raises.
    """
    selection = selected(ctx, task)
    if only is not None:
        kept = tuple(e for e in selection.stack if e.registered.adapter.name in only)
        selection = selection._replace(stack=kept)
    if not selection.stack or ctx.on_adapters is None:
        return ctx._replace(node=ctx.node._replace(loras=())), Stack((), "", selection)
    adapters = ctx.on_adapters()
    ctx.progress.phase(
        "verifying", ", ".join(each.registered.adapter.name for each in selection.stack)
    )
    base = of_node(adapters, ctx.node, ctx.on_store)
    passed, loras = [], []
    for chosen in selection.stack:
        examined, lora = _one(ctx, adapters, chosen, base)
        passed.append(_signed(examined))
        loras.append(lora)
    document = verification_summary(
        passed,
        resource=f"urn:yoyo:node:{ctx.node.name}",
        policy_digest=policy_digest(adapters.trust()),
        verifier=VERIFIER,
        at=ctx.clock.now(),
        passed=True,
    )
    stack = Stack(tuple(loras), adapters.proofs.keep(document), selection)
    return ctx._replace(node=ctx.node._replace(loras=stack.loras)), stack


def _one(
    ctx: Context, adapters: AdapterContext, chosen: Chosen, base: BaseModel
) -> tuple[Examined, LoraFile]:
    """One adapter, from its registry to a file that the engine may load.

    A refusal is booked: somebody tried to bring in what does not pass.
    """
    entry = chosen.registered
    try:
        examined = verified(adapters, entry, base.digest)
        path = pull_weights(adapters, examined.ref, examined.artefact)
        _check_file(adapters, path, examined.artefact.adapter, base)
    except YoyoError as error:
        if error.code in ("AdapterRefused", "AdapterInvalid", "ArtefactCorrupt", "BundleRefused"):
            ctx.ledger.append(_refusal(ctx, entry.adapter.name, entry.digest))
        raise
    weights = examined.artefact.weights
    lora = LoraFile(
        entry.adapter.name,
        entry.digest,
        weights.digest.removeprefix("sha256:"),
        weights.size,
        chosen.scale,
        str(path),
    )
    return examined, lora


def _check_file(
    adapters: AdapterContext, path: Path, adapter: AdapterVersion, base: BaseModel
) -> None:
    """What was verified is what its header says, and fits this very model.

    Raises:
        AdapterInvalid, AdapterRefused.
    """
    name = adapter.name
    try:
        lora = adapters.files.lora(path)
    except AdapterInvalid as error:
        raise AdapterRefused(
            f"{name} was refused (file).",
            why=error.why,
            fix=f"Pack it again, and retire this one: `yoyo adapters retire {name}`.",
        ) from error
    said, found = (
        f"rank {each.rank}, alpha {each.alpha:f}, {each.architecture}" for each in (adapter, lora)
    )
    if said != found:
        raise AdapterRefused(
            f"{name} was refused (header).",
            why=f"It says {said}; its file says {found}.",
            fix=f"Pack it again, and retire this one: `yoyo adapters retire {name}`.",
        )
    try:
        check_fit(lora, base.architecture, base.shapes)
    except InvalidAdapter as error:
        raise AdapterRefused(
            f"{name} was refused (shapes).",
            why=str(error),
            fix=f"Train it for this model, and retire this one: `yoyo adapters retire {name}`.",
        ) from error


def _refusal(ctx: Context, name: str, digest: str) -> Entry:
    return Entry(
        EventType.ADAPTER_LOAD,
        ctx.node.module_id,
        ctx.node.name,
        f"refused/{name}",
        CompletionStatus.ERROR,
        ctx.operator,
        error_code=REFUSED,
        input_hash=digest,
        adapter_versions=(name,),
    )


def _signed(examined: Examined) -> Signed:
    artefact, verdict = examined.artefact, examined.verdict
    return Signed(
        artefact.adapter.name,
        artefact.digest,
        artefact.weights.digest,
        tuple((role, str(identity)) for role, identity in verdict.signers),
        verdict.attestations,
    )


def scales_for(ctx: Context, life: Life, task: str) -> dict[str, float]:
    """The scales of the loaded adapters that serve a task, by id@version.

    One that was retired since it was loaded weighs in no more.

    Raises:
        AdapterBookInvalid.
    """
    if ctx.on_adapters is None:
        return {}
    book = ctx.on_adapters().book.read()
    found = (book.find(name) for name in life.adapters)
    return {
        each.adapter.name: float(each.scale)
        for each in found
        if each is not None
        and each.stage is Stage.PROMOTED
        and (not each.adapter.tasks or task in each.adapter.tasks)
    }
