"""`yoyo adapters activate` and `active`: the stack of a running node, changed or shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.adapters.names import InvalidAdapter, parse_name
from yoyo.errors import AdapterNotLoaded, AdapterRefused
from yoyo.ops.adapters.load import load, not_loaded
from yoyo.ops.adapters.shelve import described
from yoyo.ops.adapters.stack import prepared
from yoyo.ops.down import down
from yoyo.ops.locking import node_lock
from yoyo.ops.may_start import lacks_registry_file, no_registry_file, refuse_start
from yoyo.ops.provide import provided
from yoyo.ops.running import running
from yoyo.ops.up import up

if TYPE_CHECKING:
    from yoyo.model.adapter import Loaded, Selection
    from yoyo.ops.context import Context

_LOCK_WAIT_S = 30.0


class Activated(NamedTuple):
    """What the node answers with now."""

    node_id: str
    names: tuple[str, ...]  # id@version
    proof: str  # sha256:<hex>; "" for an empty stack
    restarted: bool
    selection: Selection


class ActiveAdapter(NamedTuple):
    """One adapter in a running engine, and who vouches for it."""

    name: str
    scale: float
    digest: str  # of the manifest; "" where no record of it is here
    weights: str
    signers: tuple[tuple[str, str], ...]


class Active(NamedTuple):
    """The stack of a running node."""

    node_id: str
    adapters: tuple[ActiveAdapter, ...]
    proof: str
    verified_at: str
    notes: tuple[str, ...]


def activate(ctx: Context, task: str | None, *, restart: bool) -> Activated:
    """Bring a running node to what the registry file gives it now, each adapter verified anew.

    What is loaded is rescaled. A file that is not needs an engine started anew: with `restart`
    the node is stopped when it has drained, and started again; without, that is refused.

    Raises:
        AdapterBookInvalid, NodeNotReady, AdapterNotLoaded, NodeBusy, EngineFailed, and what
        `prepared`, `down` and `up` raise.
    """
    if lacks_registry_file(ctx):
        raise no_registry_file(ctx.node.name)
    with node_lock(ctx, "adapters activate", wait_s=_LOCK_WAIT_S):
        life, _, endpoint = running(ctx)
        try:
            ready, stack = prepared(provided(ctx), task)
        except AdapterRefused as error:
            error.fix = f"{error.fix} {_as_before(ctx, error)}".lstrip()
            raise
        ready = described(ready)
        missing = not_loaded(ready, ctx.engine.adapters(endpoint))
        if not missing:
            load(ready, life, endpoint, stack)
    if missing and not restart:
        raise AdapterNotLoaded(
            f"{ctx.node.name} has not loaded {', '.join(missing)}.",
            why="A new file is read when the engine starts.",
            fix="Run it with --restart: the node drains, stops, and starts with the new stack.",
        )
    if missing:
        refuse_start(ctx, ctx.book())  # before the node is stopped that could not come up again
        down(ctx)
        up(ctx._replace(node=ctx.node._replace(task=ctx.node.task if task is None else task)))
        life, _, _ = running(ctx)  # verified once more by `up`, which booked a record of its own
        return Activated(ctx.node.name, life.adapters, life.proof or "", True, stack.selection)
    names = tuple(each.name for each in stack.loras)
    return Activated(ctx.node.name, names, stack.proof, False, stack.selection)


def _as_before(ctx: Context, error: AdapterRefused) -> str:
    """What a refusal means for a node that runs: nothing, until somebody does something."""
    name = error.what.partition(" ")[0]
    try:
        parse_name(name)
    except InvalidAdapter:
        name = "ID@VERSION"
    return (
        f"{ctx.node.name} still answers as before; to take it out: yoyo adapters retire {name}, "
        "then yoyo adapters activate"
    )


def active(ctx: Context) -> Active:
    """What the engine uses, beside what the ledger says was loaded and who vouched for it.

    Raises:
        NodeNotReady, EngineFailed.
    """
    life, _, endpoint = running(ctx)
    loaded = ctx.engine.adapters(endpoint)
    record = _record(ctx, life.proof)
    known = {each.name: each for each in record.adapters}
    notes = []
    strangers = [each.name for each in loaded if each.name not in life.adapters and each.scale]
    if strangers:
        notes.append(f"the ledger knows nothing of {', '.join(strangers)}: find out who set them")
    if life.proof and not record.adapters:
        notes.append(f"the record {life.proof} is not here, or was changed")
    shown = tuple(_with_proof(each, known.get(each.name)) for each in loaded)
    return Active(ctx.node.name, shown, life.proof or "", record.at, tuple(notes))


def _with_proof(loaded: Loaded, known: ActiveAdapter | None) -> ActiveAdapter:
    if known is None:
        return ActiveAdapter(loaded.name, loaded.scale, "", "", ())
    return known._replace(scale=loaded.scale)


class _Record(NamedTuple):
    adapters: tuple[ActiveAdapter, ...] = ()
    at: str = ""


def _record(ctx: Context, proof: str | None) -> _Record:
    """What the summary with that digest says; empty where it is not here."""
    from yoyo.core.adapters.record import read_record
    from yoyo.core.adapters.statement_form import StatementError

    if not proof or ctx.on_adapters is None:
        return _Record()
    document = ctx.on_adapters().proofs.find(proof)
    if document is None:
        return _Record()
    try:
        facts = read_record(document)
    except StatementError:
        return _Record()
    found = tuple(
        ActiveAdapter(each.name, 0.0, each.digest, each.weights, each.signers)
        for each in facts.signed
    )
    return _Record(found, facts.at)
