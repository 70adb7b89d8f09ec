"""Proving a ledger where there is no room, or where nothing may be written."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from audit_faults_parts import configure, forked, run_here, yoyo
from audit_parts import ORIGIN, Audited

from yoyo.model.ledger import Row
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.wiring_audit import make_note_key

NEW_MOUNTS = 0x20000  # CLONE_NEWNS of linux/sched.h
PAGE = 4096


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    made = Audited(tmp_path / "ledger", now=datetime(2025, 1, 10, tzinfo=UTC))
    configure(made.home, copy=f"file://{made.copies}")
    made.book(6)
    checkpoint(made.ctx)
    made.clock.at = datetime(2025, 2, 10, tzinfo=UTC)
    made.book(3)
    return made


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def private_mounts() -> bool:
    """In a child: mounts of its own, which end with it."""
    if ctypes.CDLL(None).unshare(NEW_MOUNTS) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], check=False).returncode == 0


MOUNTS = forked(lambda: 0 if private_mounts() else 1) == 0


def in_a_small_place(home: Path, free_pages: int, arguments: tuple[str, ...]) -> int:
    """Run the command with that much room; what is there afterwards is left in HOME-after."""
    after, before = home.with_name("ledger-after"), home.with_name("ledger-before")
    shutil.rmtree(after, ignore_errors=True)
    shutil.copytree(home, before, dirs_exist_ok=True)

    def work() -> int:
        filler = home / "filler"
        if MOUNTS:
            private_mounts()
            mount("-t", "tmpfs", "-o", "size=1m", "none", home)
            shutil.copytree(before, home, dirs_exist_ok=True)
            room = os.statvfs(home).f_bavail * PAGE
            filler.write_bytes(bytes(max(room - free_pages * PAGE, 0)))
        else:  # the ledger is the largest file, and may not become much larger
            largest = (home / "ledger.csv").stat().st_size + free_pages * PAGE
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        code = run_here(home, arguments, {}, os.devnull, str(home.with_name("said")))
        filler.unlink(missing_ok=True)
        shutil.copytree(home, after)
        return code

    home.with_name("said").write_text("")
    code = os.waitstatus_to_exitcode(forked(work))
    if not MOUNTS:
        shutil.rmtree(home)
        shutil.copytree(before, home)
    return code


WRITERS = (
    ("ledger", "checkpoint"),
    ("ledger", "seal"),
    ("ledger", "rotate", "key-2.pem"),
    ("ledger", "extract", "--module", "acme", "-o", "out"),
    ("report", "--month", "2025-01", "-o", "out"),
    ("ledger", "export", "--to", "spreadsheet", "-o", "out"),
    ("ledger", "keygen", "--out", "key-3.pem"),
)


@pytest.mark.parametrize("arguments", WRITERS if MOUNTS else WRITERS[:1])
def test_a_full_disk(house: Audited, arguments: tuple[str, ...]) -> None:
    make_note_key(house.home / "key-2.pem", ORIGIN, {})
    codes = []
    for pages in (0, 1, 2, 3, 5, 9, 40):
        code = in_a_small_place(house.home, pages, arguments)
        codes.append(code)
        said = house.home.with_name("said").read_text()
        assert code in (0, 41, 50, 53), (pages, said)
        assert code == 0 or ("  why: " in said and "  fix: " in said), (pages, said)
        after = Audited(house.home.with_name("ledger-after"))
        rows = [row.seq for row in after.ctx.ledger.rows() if isinstance(row, Row)]
        assert rows == list(range(1, len(rows) + 1))
        assert after.ctx.ledger.verify().ok
        left = [path.name for path in after.home.rglob("*.part")]
        assert not left, (pages, left)
        assert code == 0 or not (after.home / "out").exists()
        # Now there is room, and the same command ends well.
        again = yoyo(after.home, *arguments)
        assert again.code == 0 or (code == 0 and again.code == 53), (pages, again)
        shutil.rmtree(after.home)
        # Each time round is another history, and one store has room for one only.
        shutil.rmtree(house.copies, ignore_errors=True)
    assert codes[-1] == 0
    assert {0} != set(codes)


def test_a_read_only_place_can_be_read_and_not_written(house: Audited) -> None:
    home, said = house.home, house.home.with_name("said")
    out = str(house.home.with_name("out"))

    def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        def work() -> int:
            if MOUNTS:
                private_mounts()
                mount("--bind", home, home)
                mount("-o", "remount,ro,bind", home)
            else:  # then this is not root, and permissions hold it off
                home.chmod(0o555)
                (home / "ledger.csv").chmod(0o444)
            return run_here(home, arguments, {}, os.devnull, str(said))

        said.write_text("")
        return os.waitstatus_to_exitcode(forked(work)), said.read_text()

    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    for arguments in (
        ("ledger", "show"),
        ("ledger", "verify", "--against", str(house.copies)),
        ("ledger", "trace", "#1"),
        ("cost",),
        ("status",),
        ("report", "--month", "2025-01", "-o", out),
        ("ledger", "extract", "--module", "acme", "-o", out),
        ("ledger", "query", "SELECT 1"),
    ):
        code, text = run(arguments)
        assert code == 0, (arguments, text)
    for writing, expected in {
        ("ledger", "checkpoint"): (41, 50, 53),
        ("ledger", "seal"): (41, 50, 53),
        ("ledger", "extract", "--module", "acme", "-o", "out"): (50,),
        ("report", "--month", "2025-01", "-o", "out"): (50,),
        ("ledger", "keygen", "--out", "new.pem"): (53,),
    }.items():
        code, text = run(writing)
        assert code in expected, (writing, text)
        assert "Read-only file system" in text or "ermission denied" in text, text
        assert "  fix: " in text
    home.chmod(0o755)
    assert before == {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
