"""Adapters as text for people and as documents for machines."""

import shlex
from typing import TYPE_CHECKING, Any

from yoyo.cli.render import moment, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yoyo.model.adapter import AdapterVersion, Registered, Selection
    from yoyo.ops.adapters.activate import Activated, Active
    from yoyo.ops.adapters.examine import Examined
    from yoyo.ops.adapters.listing import Inspected
    from yoyo.ops.adapters.pack import PackResult
    from yoyo.ops.adapters.register import Changed
    from yoyo.ops.adapters.sign import Attached
    from yoyo.ops.adapters.transfer import Pushed


def _adapter(adapter: "AdapterVersion") -> dict[str, Any]:
    return {
        "id": adapter.id,
        "version": adapter.version,
        "moduleId": adapter.module_id,
        "base": adapter.base,
        "data": adapter.data,
        "tasks": adapter.tasks,
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "architecture": adapter.architecture,
    }


def _facts(adapter: "AdapterVersion") -> list[str]:
    whose = "everybody's" if adapter.shared else f"of {adapter.module_id}"
    return [
        f"  for    {', '.join(adapter.tasks) or 'any task'}, {whose}",
        f"  lora   rank {adapter.rank}, alpha {adapter.alpha:f}, {adapter.architecture}",
        f"  base   {adapter.base}",
        f"  data   {adapter.data}",
    ]


def packed_document(result: "PackResult") -> dict[str, Any]:
    """What was packed."""
    return {
        "digest": result.digest,
        "adapter": _adapter(result.adapter),
        "weights": {"digest": result.weights.digest, "size": result.weights.size},
        "directory": result.directory,
    }


def packed_text(result: "PackResult") -> str:
    """What was packed, and what comes next."""
    lines = [
        f"packed {result.adapter.name} into {result.directory}",
        f"  digest {result.digest}",
        *_facts(result.adapter),
        f"next: yoyo adapters push {shlex.quote(str(result.directory))}",
    ]
    return "\n".join(lines)


def pushed_document(result: "Pushed") -> dict[str, Any]:
    """Where it was pushed."""
    return {
        "ref": str(result.ref),
        "digest": result.ref.digest,
        "name": result.adapter.name,
        "already": result.already,
    }


def pushed_text(result: "Pushed") -> str:
    """Where it was pushed, and what comes next."""
    how = "was there already" if result.already else "pushed"
    pinned = f"{result.ref.place}@{result.ref.digest}"
    return f"{result.adapter.name} {how}: {result.ref}\nnext: yoyo adapters sign {pinned}"


def attached_document(result: "Attached") -> dict[str, Any]:
    """What was signed, and by whom."""
    return {
        "ref": str(result.ref),
        "name": result.adapter.name,
        "predicate_type": result.predicate_type,
        "identity": result.identity._asdict(),
        "bundle": result.bundle,
        "statement": result.statement,
        "already": result.already,
        "notes": result.notes,
    }


def attached_text(result: "Attached") -> str:
    """What was signed, and by whom."""
    lines = [
        f"was there already: {result.ref}" if result.already else f"attached to {result.ref}",
        f"  says       {result.predicate_type}",
        f"  signed by  {result.identity}",
        f"  statement  {result.statement}",
    ]
    return "\n".join(lines)


def inspected_document(result: "Inspected") -> dict[str, Any]:
    """What the registry holds."""
    artefact = result.artefact
    files = [(artefact.filename, artefact.weights), *artefact.files]
    return {
        "ref": str(result.ref),
        "verified": False,
        "adapter": _adapter(artefact.adapter),
        "files": [{"name": name, "digest": blob.digest, "size": blob.size} for name, blob in files],
        "bundles": [{"digest": digest, "claims": claimed} for digest, claimed in result.bundles],
    }


def inspected_text(result: "Inspected") -> str:
    """What the registry holds; nothing of it is verified."""
    artefact = result.artefact
    lines = [f"{artefact.adapter.name}  {result.ref}", *_facts(artefact.adapter)]
    for name, blob in [(artefact.filename, artefact.weights), *artefact.files]:
        lines.append(f"  file   {name}, {size(blob.size)}, {blob.digest}")
    lines += [f"  claim  {claimed or 'unreadable'}, {digest}" for digest, claimed in result.bundles]
    lines.append("none of this is verified: yoyo adapters verify")
    return "\n".join(lines)


def verified_document(result: "Examined") -> dict[str, Any]:
    """The verdict, check by check."""
    verdict = result.verdict
    return {
        "ref": str(result.ref),
        "name": result.artefact.adapter.name,
        "ok": verdict.ok,
        "checks": [each._asdict() for each in verdict.checks],
        "signers": [{"role": role, "identity": who} for role, who in verdict.signers],
        "attestations": verdict.attestations,
        "sign_off": verdict.sign_off,
    }


def verified_text(result: "Examined", *, explain: bool) -> str:
    """The verdict; with `explain`, every check and what it looked at."""
    verdict, name = result.verdict, result.artefact.adapter.name
    stage = f", registered as {verdict.stage}" if verdict.stage else ""
    lines = [f"{name} {'is verified' if verdict.ok else 'is REFUSED'}{stage}  {result.ref}"]
    for check in verdict.checks:
        if not explain and check.ok:
            continue
        lines.append(f"  {'ok    ' if check.ok else 'FAILED'} {check.name}")
        if explain:
            lines += [f"         {line}" for line in check.evidence.splitlines()]
        if not check.ok:
            lines.append(f"         {check.reason}: {check.why}")
    if not explain and verdict.ok:
        lines += [f"  {role:<10} {who}" for role, who in verdict.signers]
    return "\n".join(lines)


def _registered(entry: "Registered") -> dict[str, Any]:
    return {
        **_adapter(entry.adapter),
        "ref": entry.ref,
        "stage": entry.stage,
        "scale": entry.scale,
        "sign_off": entry.sign_off,
        "notes": entry.notes,
        "history": [each._asdict() for each in entry.history],
    }


def listed_document(found: "Sequence[Registered]") -> dict[str, Any]:
    """The registry file's versions."""
    return {"adapters": [_registered(each) for each in found]}


def listed_text(found: "Sequence[Registered]", *, none: bool) -> str:
    """One line a version; `none`: the file has no version at all."""
    if none:
        return "nothing is registered; register with: yoyo adapters register REF"
    if not found:
        return "none matches"
    wide = max(len(each.adapter.name) for each in found)
    lines = []
    for each in found:
        last = each.history[-1]
        tasks = ", ".join(each.adapter.tasks) or "any task"
        scale = "" if each.scale == 1 else f"  scale {each.scale:f}"
        lines.append(
            f"{each.adapter.name:<{wide}}  {each.stage:<12}  {moment(last.at)}  {last.by}  {tasks}"
            f"{scale}"
        )
    return "\n".join(lines)


def changed_document(result: "Changed") -> dict[str, Any]:
    """Where a version stands now."""
    replaced = result.replaced
    return {
        "adapter": _registered(result.registered),
        "replaced": replaced.adapter.name if replaced is not None else None,
        "already": result.already,
    }


def changed_text(result: "Changed") -> str:
    """Where a version stands now, and what comes next."""
    entry = result.registered
    name, stage = entry.adapter.name, str(entry.stage)
    lines = [f"{name} was {stage} already" if result.already else f"{name} is {stage}"]
    before = result.before
    if before is not None and before.scale != entry.scale:
        lines.append(f"  scale {before.scale:f} -> {entry.scale:f}")
    if result.replaced is not None:
        lines.append(f"  {result.replaced.adapter.name} is {result.replaced.stage}")
    following = {
        "eval_pending": f"next: yoyo adapters evaluate {name}, by somebody else; register again",
        "eval_ok": f"next: yoyo adapters promote {name}",
        "retired": "next, on a running node: yoyo adapters activate",
        "rejected": "next, on a running node: yoyo adapters activate",
        "promoted": "next: yoyo up, or on a running node: yoyo adapters activate --restart",
    }.get(stage)
    if result.already and stage not in ("eval_pending", "eval_ok"):
        following = None  # whoever it was that changed it, did that
    return "\n".join([*lines, *([following] if following else [])])


def selected_document(result: "Selection") -> dict[str, Any]:
    """The stack, and why the others are not in it."""
    return {
        "stack": [
            {
                "name": each.registered.adapter.name,
                "ref": each.registered.ref,
                "scale": each.scale,
                "reason": each.reason,
            }
            for each in result.stack
        ],
        "refused": [{"name": name, "reason": why} for name, why in result.refused],
    }


def selected_text(result: "Selection", *, explain: bool) -> str:
    """One line an adapter."""
    lines = [
        f"{each.registered.adapter.name}  scale {each.scale:f}  {each.reason}"
        for each in result.stack
    ] or ["no adapter: the base alone"]
    if explain:
        lines += [f"not {name}: {why}" for name, why in result.refused]
    return "\n".join(lines)


def activated_document(result: "Activated") -> dict[str, Any]:
    """What the node answers with now."""
    return {
        "node_id": result.node_id,
        "adapters": result.names,
        "proof": result.proof,
        "restarted": result.restarted,
    }


def activated_text(result: "Activated") -> str:
    """What the node answers with now."""
    names = ", ".join(result.names) or "the base alone"
    how = ", started anew" if result.restarted else ""
    proof = f"\n  proof  {result.proof}" if result.proof else ""
    return f"{result.node_id} answers with {names}{how}{proof}"


def active_document(result: "Active") -> dict[str, Any]:
    """The stack of a running node with its proofs."""
    return {
        "node_id": result.node_id,
        "adapters": [
            {
                "name": each.name,
                "scale": each.scale,
                "digest": each.digest,
                "weights": each.weights,
                "signers": [{"role": role, "identity": who} for role, who in each.signers],
            }
            for each in result.adapters
        ],
        "proof": result.proof,
        "verified_at": result.verified_at,
        "notes": result.notes,
    }


def active_text(result: "Active") -> str:
    """The stack of a running node with its proofs."""
    lines = [] if result.adapters else [f"{result.node_id} answers with the base alone"]
    for each in result.adapters:
        lines.append(f"{each.name}  scale {each.scale:g}")
        if each.digest:
            lines.append(f"  artefact   {each.digest}")
            lines.append(f"  weights    {each.weights}")
        lines += [f"  {role:<10} {who}" for role, who in each.signers]
    if result.proof:
        lines.append(f"verified {result.verified_at}, record {result.proof}")
    return "\n".join([*lines, *(f"note: {note}" for note in result.notes)])
