"""An auditor at work on a signed year: what yoyo says of it, and what the second verifier says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from year_signed import Papers
from year_tampering import tamper

ROOT = Path(__file__).parents[1]
CHECK = ROOT / "scripts" / "audit_check.py"
YOYO = (sys.executable, "-c", "from yoyo.cli.main import main; main()")


class Signs(NamedTuple):
    """What a kind of tampering shows by."""

    code: int  # of `yoyo ledger verify`
    finding: str  # among those of the checkpoints; "": they are not asked, or all hold
    words: str  # in what the chain says; "": it holds


_DIFFERS = "rewritten-or-forked"
_LINK = "row_hash does not match this row and the hash above it"
SIGNS: dict[str, Signs] = {
    "edited-cost": Signs(49, _DIFFERS, "row_hash does not match this row"),
    "dropped-row": Signs(49, _DIFFERS, "seq is {next} where {row} was due"),
    "swapped-rows": Signs(49, _DIFFERS, "seq is {row} where"),
    "inserted-row": Signs(49, _DIFFERS, "seq is {row} where {next} was due"),
    "cut-tail": Signs(49, "cut", ""),
    "rewritten": Signs(49, _DIFFERS, ""),
    "forked": Signs(49, "forked", ""),
    "merged": Signs(40, "", "seq is 1 where"),
    "edited-month": Signs(49, _DIFFERS, "row_hash does not match this row"),
    "removed-month": Signs(45, "", "are missing between"),
    "re-signed": Signs(49, "key-mismatch", ""),
    "other-checkpoints": Signs(49, "another-ledger", ""),
}


class Said(NamedTuple):
    """What the two say of one directory."""

    code: int  # of `yoyo ledger verify`
    document: dict[str, Any]
    second: str  # what audit_check.py says: the first trouble, else that of the newest

    @property
    def findings(self) -> set[str]:
        """The kinds of what the checkpoints show."""
        return {each["kind"] for each in self.document.get("against", {}).get("findings", ())}

    @property
    def problems(self) -> list[str]:
        """What the chain shows, and why no more can be shown."""
        error = self.document.get("error") or {}
        return [*(each["bad"] for each in self.document.get("problems", ())), error.get("why", "")]

    @property
    def words(self) -> str:
        """What it amounts to, in the words of yoyo."""
        error = self.document.get("error") or {}
        gravest = str(error.get("what", "")).rpartition(": ")[2].rstrip(".")
        named = sorted(self.findings, key=lambda kind: kind != gravest)
        chain = self.problems[0] if self.document.get("problem_count") else ""
        _, more, rest = chain.partition(f"{_LINK}; ")
        chain = rest.split(";")[0] if more else chain
        return "; ".join(filter(None, [*named, chain])) or str(error.get("why", "sound"))

    @property
    def sound(self) -> tuple[bool, bool]:
        """By the one and by the other."""
        return self.code == 0, self.second.startswith("OK: ")


def audited(ledger: Path, copies: Path, vkey: Path, *, every: int = 1) -> Said:
    """Ask both, with what an auditor has: the directory, the copies, and the first key."""
    done = subprocess.run(
        [
            *YOYO, "ledger", "verify", "--file", "ledger.csv", "--json", "--key", str(vkey),
            "--against", str(copies), "--against", "ledger.checkpoints",
        ],
        cwd=ledger, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if "Traceback" in done.stderr or done.returncode == 70:
        raise AssertionError(done.stderr)
    return Said(done.returncode, json.loads(done.stdout), _second(ledger, copies, vkey, every))


def _second(ledger: Path, copies: Path, vkey: Path, every: int) -> str:
    """Each checkpoint, or one in so many, the newest first, until one does not hold."""
    kept = copies / "checkpoints"
    own = sorted((ledger / "ledger.checkpoints").glob("*.note"), reverse=True)
    theirs = sorted(kept.glob("*.note"), reverse=True)
    keys = {path.stem: path.read_text().strip() for path in kept.glob("*.vkey")}
    keys[vkey.read_text().split("+")[1]] = vkey.read_text().strip()
    newest = keys[theirs[0].stem[-8:]]
    said = ""
    # Those beside the ledger are mostly the same: the newest is enough.
    for note in (*own[:1], *theirs[::every]):
        found = _check(ledger, note, keys.get(note.stem[-8:], newest))
        said = said or found
        if not found.startswith("OK: "):
            return found
    return said


def _check(ledger: Path, note: Path, vkey: str) -> str:
    files = [*sorted(ledger.glob("ledger-????-??.csv")), ledger / "ledger.csv"]
    done = subprocess.run(
        # -I -S: it has nothing of ours, and nothing that is installed.
        [sys.executable, "-I", "-S", str(CHECK), "ledger", *map(str, files),
         "--note", str(note), "--vkey", vkey],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return (done.stdout + done.stderr).strip()


def tampered(kind: str, papers: Papers, other: Papers, work: Path) -> tuple[str, Said]:
    """Do that to a copy; gives what was done, and what the auditor finds.

    The second store takes what the operator's tool copies there afterwards, and loses nothing.
    """
    out, copies = work / "ledger", work / "copies"
    shutil.copytree(papers.copies, copies)
    done = tamper(kind, papers.ledger, out, other.ledger)
    if kind == "forked":
        for note in (out / "ledger.checkpoints").glob("*.note"):
            if not (copies / "checkpoints" / note.name).exists():
                shutil.copy(note, copies / "checkpoints" / note.name)
    return done, audited(out, copies, papers.vkey)
