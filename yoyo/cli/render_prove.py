"""What the commands that prove the ledger print for people."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yoyo.core.audit.extract import ExtractReport
    from yoyo.ops.audit.against import HeldAgainst
    from yoyo.ops.audit.checkpoint import Signed
    from yoyo.ops.audit.extract import Extracted
    from yoyo.ops.audit.prune import Pruned
    from yoyo.ops.audit.seal import SealedMonth


def checkpoint_text(done: "Signed") -> str:
    """A checkpoint that was made."""
    lines = [
        f"signed {done.size} rows: {done.name}",
        f"  root  {done.root}",
        f"  key   {done.key}",
    ]
    if done.copied:
        lines.append(f"  copied {len(done.copied)} checkpoint(s) to the second store")
    if done.note:
        lines.append(f"  warning: {done.note}")
    return "\n".join(lines)


def key_text(path: Path, origin: str, vkey: str) -> str:
    """A key that was made, and what to do with it."""
    return "\n".join(
        (
            f"made {path}",
            f"verifier key, for whoever audits (it is no secret, and stands in {vkey_path(path)}):",
            f"  {vkey}",
            "yoyo.yaml:",
            "  checkpoints:",
            f"    origin: {origin}",
            f"    key: {path}",
        )
    )


def vkey_path(key: Path) -> Path:
    """Where the public half is written: beside the private one."""
    return key.with_suffix(".vkey")


def rotated_text(done: "Signed", new: Path) -> str:
    """A change of keys."""
    return "\n".join(
        (
            checkpoint_text(done),
            f"now set in yoyo.yaml: checkpoints.key: {new}",
            "keep the old verifier key: it vouches for the rows until here.",
        )
    )


def sealed_text(done: "tuple[SealedMonth, ...]", late: str) -> str:
    """Months that were sealed, and what keeps others from it."""
    lines = [
        f"sealed {each.file}: {each.rows} rows, sha256 {each.sha256}"
        + ("" if each.checkpoint else " (no checkpoint: no key is configured)")
        for each in done
    ]
    if not done:
        lines = ["nothing to seal: no month is over that is not sealed"]
    return "\n".join((*lines, f"warning: {late}") if late else lines)


def pruned_text(done: "Pruned") -> str:
    """What retention says, and what was done."""
    if done.retention_months is None:
        return "sealed months are kept for ever (sealing.retention_months is not set)"
    if not done.due:
        return f"no sealed month is older than {done.retention_months} months"
    if done.deleted:
        return "\n".join(f"deleted {name}" for name in done.deleted)
    held = " (a legal hold keeps them)" if done.legal_hold else "; --apply deletes them"
    return "\n".join((f"past {done.retention_months} months{held}:", *map("  {}".format, done.due)))


def extracted_text(out: Path, done: "Extracted") -> str:
    """An extract that was written."""
    return (
        f"wrote {out}: {done.rows} rows of {done.module_id}, proved against {done.checkpoint} "
        f"({done.size} rows)"
    )


def extract_document(report: "ExtractReport") -> dict[str, object]:
    """An extract that was checked, for machines."""
    from yoyo.core.audit.note import format_vkey

    return {
        "ok": report.ok,
        "moduleId": report.module,
        "rows": report.rows,
        "first_seq": report.first_seq,
        "last_seq": report.last_seq,
        "origin": report.checkpoint.origin,
        "tree_size": report.checkpoint.head.size,
        "root": report.checkpoint.head.root.hex(),
        "signed_by": [format_vkey(key) for key in report.signers],
        "problems": [each._asdict() for each in report.problems],
        "problem_count": report.problem_count,
    }


def extract_text(report: "ExtractReport") -> str:
    """An extract that was checked, for people."""
    lines = [
        f"{report.rows} rows of {report.module}, in the tree of {report.checkpoint.head.size} rows "
        f"of {report.checkpoint.origin}",
        *(f"  signed by {key.name}+{key.key_id.hex()}" for key in report.signers),
    ]
    lines += [f"  line {each.number}: {each.reason}" for each in report.problems]
    if report.ok:
        lines.append(
            "every row holds. That none was left out, an extract cannot show: "
            f"{report.others} rows of the tree are not in it."
        )
    return "\n".join(lines)


def against_document(found: "HeldAgainst") -> dict[str, object]:
    """A ledger that was held against checkpoints, for machines."""
    from yoyo.core.audit.note import format_vkey

    proof = found.consistency
    return {
        "ok": found.report.ok and not found.damaged,
        "rows": found.rows,
        "checked": found.report.checked,
        "agreed": found.report.agreed,
        "agreed_name": found.report.agreed_name,
        "findings": [each._asdict() for each in found.report.findings],
        "too_old": list(found.report.too_old),
        "damaged": list(found.damaged),
        "trusted": [format_vkey(key) for key in found.trusted],
        "consistency": None
        if proof is None
        else {
            "old_size": proof.old.size,
            "old_root": proof.old.root.hex(),
            "new_size": proof.new.size,
            "new_root": proof.new.root.hex(),
            "path": [node.hex() for node in proof.path],
        },
    }


def against_text(found: "HeldAgainst") -> str:
    """A ledger that was held against checkpoints, for people."""
    report, proof = found.report, found.consistency
    lines = [f"signed    {report.checked} checkpoint(s) by {_names(found)}"]
    if report.agreed is not None:
        lines.append(
            f"agrees    rows 1 to {report.agreed} are those that {report.agreed_name} signs"
        )
        after = found.rows - report.agreed
        lines.append(f"          {after} row(s) after it are held by the chain alone")
    if report.too_old:
        lines.append(
            f"too old   {len(report.too_old)} checkpoint(s) end in months that were deleted, "
            f"the last {report.too_old[-1]}: they prove nothing of what is here"
        )
    lines += [f"FINDING   {each.kind}: {each.text}" for each in report.findings]
    lines += [f"damaged   {each}" for each in found.damaged]
    if proof is not None:
        lines.append(f"proof     tree of {proof.old.size} rows  {proof.old.root.hex()}")
        lines.append(f"       -> tree of {proof.new.size} rows  {proof.new.root.hex()}")
        lines += [f"          {node.hex()}" for node in proof.path]
    return "\n".join(lines)


def _names(found: "HeldAgainst") -> str:
    return ", ".join(f"{key.name}+{key.key_id.hex()}" for key in found.trusted)
