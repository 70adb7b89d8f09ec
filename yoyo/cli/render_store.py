"""What the store holds, as text for people and as documents for machines."""

from typing import TYPE_CHECKING, Any

from yoyo.cli.render import moment, size

if TYPE_CHECKING:
    from yoyo.model.cache import CacheStatus
    from yoyo.model.store import EngineBuild, Manifest
    from yoyo.ops.shelf import BadName, Named
    from yoyo.ops.weights_apply import Applied
    from yoyo.ops.weights_gc import GcResult
    from yoyo.ops.weights_stage import Staged
    from yoyo.ops.weights_verify import Listed, Verified
    from yoyo.ports.builder import BuiltBundle

_SHORT = 12


def manifest_document(manifest: "Manifest", digest: str) -> dict[str, Any]:
    """A manifest for machines: the stored document's fields, and the document's digest."""
    from json import loads

    from yoyo.core.manifest import encode

    return {"digest": digest, "size": manifest.size, **loads(encode(manifest))}


def staged_document(result: "Staged") -> dict[str, Any]:
    """What was staged."""
    return {
        "already": result.already,
        "seconds": round(result.seconds, 3),
        "notes": result.notes,
        "manifest": manifest_document(result.manifest, result.digest),
    }


def staged_text(result: "Staged") -> str:
    """What was staged, and how a node comes to use it."""
    manifest = result.manifest
    how = "was staged already" if result.already else f"staged in {result.seconds:.1f} s"
    lines = [f"{manifest.name} {how}: {len(manifest.files)} file(s), {size(manifest.size)}"]
    lines += [f"  {file.sha256}  {file.path}" for file in manifest.files]
    lines.append(f"  manifest  {result.digest}")
    lines += [f"note: {note}" for note in result.notes]
    if manifest.model is not None:
        lines.append(f"next: engine.model: store:{manifest.name} in yoyo.yaml, then `yoyo plan`")
    return "\n".join(lines)


def listed_document(found: "list[Listed]", bad: "list[BadName]") -> dict[str, Any]:
    """The names for machines."""
    return {
        "names": [
            {
                "kind": each.kind,
                "name": each.name,
                "digest": each.digest,
                "size": each.manifest.size,
                "files": len(each.manifest.files),
                "created": each.manifest.created,
                "created_by": each.manifest.created_by,
                "source": each.manifest.source._asdict(),
                "licence": each.manifest.licence,
                "pinned_by": each.pinned_by,
                "used_by": each.used_by,
            }
            for each in found
        ],
        "unreadable": [each._asdict() for each in bad],
    }


def listed_text(found: "list[Listed]", bad: "list[BadName]", command: str) -> str:
    """The names as a table; `command` is what puts one there."""
    if not found and not bad:
        return f"the store has none yet: `{command}` puts one there"
    wide = max((len(each.name) for each in found), default=4)
    lines = []
    for each in found:
        marks = [f"used by {', '.join(each.used_by)}"] if each.used_by else []
        marks += [f"pinned by {each.pinned_by}"] if each.pinned_by else []
        lines.append(
            f"{each.name:<{wide}}  {each.kind:<9}  {size(each.manifest.size):>9}  "
            f"{each.digest[:_SHORT]}  {moment(each.manifest.created)}  {'; '.join(marks)}".rstrip()
        )
    return "\n".join([*lines, *(f"UNREADABLE {each.key}: {each.reason}" for each in bad)])


def named_document(named: "Named") -> dict[str, Any]:
    """One manifest."""
    return manifest_document(named.manifest, named.digest)


def named_text(named: "Named") -> str:
    """One manifest for people; the chunks are counted, not listed."""
    manifest = named.manifest
    lines = [
        f"{manifest.kind} {manifest.name}: {size(manifest.size)}",
        f"  manifest  {named.digest}",
        f"  source    {manifest.source.url} {manifest.source.revision}".rstrip(),
        f"  licence   {manifest.licence or 'unknown'}",
        f"  staged    {moment(manifest.created)} by {manifest.created_by}",
    ]
    lines += _model_lines(manifest)
    if manifest.engine is not None:
        lines += _engine_lines(manifest.engine)
    for file in manifest.files:
        lines.append(
            f"  file      {file.path}  {size(file.size)}, {len(file.chunks)} chunk(s)\n"
            f"            sha256 {file.sha256}"
        )
    return "\n".join(lines)


def _model_lines(manifest: "Manifest") -> list[str]:
    model = manifest.model
    if model is None:
        return []
    said = [
        model.architecture,
        model.quantisation,
        f"{model.layers} layers",
        f"{model.heads} heads" if model.heads else "",
        f"context {model.context_length}" if model.context_length else "",
        f"vocabulary {model.vocabulary}" if model.vocabulary else "",
    ]
    return [f"  model     {model.name}: {', '.join(each for each in said if each)}"]


def _engine_lines(engine: "EngineBuild") -> list[str]:
    what = f"CUDA {engine.cuda} for SM {', '.join(engine.sm)}" if engine.cuda else "CPU"
    return [
        f"  engine    {what}, {engine.machine}, glibc {engine.glibc} or newer",
        f"  built     from {engine.commit or engine.source_sha256[:_SHORT]} by {engine.compiler}",
        f"  flags     {' '.join(engine.flags)}",
        f"  loads     {len(engine.architectures)} architectures",
    ]


def verified_document(result: "Verified") -> dict[str, Any]:
    """What was found."""
    return result._asdict() | {"ok": not result.problems}


def verified_text(result: "Verified") -> str:
    """What holds, for people; what does not is an error."""
    how = "every byte" if result.deep else "manifest, ledger, sizes (--deep reads every byte)"
    lines = [f"note: {note}" for note in result.notes]
    lines.append(
        f"{result.name} is intact: {result.files} file(s), {size(result.size)}; checked: {how}"
    )
    return "\n".join(lines)


def gc_document(result: "GcResult") -> dict[str, Any]:
    """What nothing refers to."""
    waste = [each._asdict() for each in result.waste]
    return {
        "applied": result.applied,
        "kept": result.kept,
        "young": result.young,
        "bytes": result.size,
        "waste": waste,
    }


def gc_text(result: "GcResult") -> str:
    """What nothing refers to, for people."""
    lines = [f"{size(each.size):>9}  {each.key}  {each.why}" for each in result.waste]
    young = f"; {result.young} left alone for their age (--older-than)" if result.young else ""
    if not result.waste:
        return f"nothing to remove; {result.kept} artefact(s) in use{young}"
    verb = "removed" if result.applied else "would be removed by --apply"
    return "\n".join(
        [
            *lines,
            f"{len(result.waste)} object(s), {size(result.size)}, {verb}; "
            f"{result.kept} kept{young}",
        ]
    )


def built_document(result: "BuiltBundle") -> dict[str, Any]:
    """A bundle that was built."""
    return result._asdict()


def built_text(result: "BuiltBundle") -> str:
    """A bundle that was built, and what was tried with it."""
    lines = [f"{result.path}: {size(result.size)}", f"  sha256    {result.sha256}"]
    lines += _engine_lines(result.build)
    lines += [f"  passed    {each}" for each in result.smoke.passed]
    lines += [f"  not tried {each}" for each in result.smoke.left_out]
    return "\n".join([*lines, f"next: yoyo engine publish {result.path}"])


def applied_document(result: "tuple[Applied, ...]") -> dict[str, Any]:
    """What was done for each document, and how its cache is now."""
    from yoyo.core.cache_record import document

    return {
        "caches": [
            {
                "action": each.action.verb,
                "because": each.action.why,
                **document(each.status.cache, each.status),
            }
            for each in result
        ]
    }


def applied_text(result: "tuple[Applied, ...]") -> str:
    """The same for people."""
    lines = [
        f"{each.action.verb} ({each.action.why}): {_cache_line(each.status)}" for each in result
    ]
    return "\n".join(lines) or "no documents"


def caches_document(result: "tuple[CacheStatus, ...]") -> dict[str, Any]:
    """Every cache with its status."""
    from yoyo.core.cache_record import document

    return {"caches": [document(each.cache, each) for each in result]}


def caches_text(result: "tuple[CacheStatus, ...]") -> str:
    """Every cache with its conditions."""
    if not result:
        return "no ModelCache was applied: `yoyo weights apply -f FILE`"
    lines = []
    for each in result:
        lines.append(_cache_line(each))
        lines += [
            f"  {one.type}={one.status} {one.reason}: {one.message}" for one in each.conditions
        ]
    return "\n".join(lines)


def _cache_line(status: "CacheStatus") -> str:
    used = f", used by {', '.join(status.references)}" if status.references else ""
    digest = status.digest.removeprefix("sha256:")[:_SHORT]
    return f"{status.cache.name} is {status.phase}" + (f", {digest}" if digest else "") + used
