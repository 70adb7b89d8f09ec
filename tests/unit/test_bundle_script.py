"""The build script is sound shell whatever an operator's paths look like."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from yoyo.config.templates import template_text
from yoyo.core import bundle
from yoyo.drivers.jinja.templates import JinjaTemplates

HOSTILE = "a b'; touch gotcha; echo \"$(touch gotcha)`touch gotcha`\n"


def script(**given: object) -> str:
    values: dict[str, object] = {
        "work": "/work here", "source_kind": "directory", "location": HOSTILE, "revision": HOSTILE,
        "sha256": HOSTILE, "cuda": "yes", "cuda_root": HOSTILE, "cublas": HOSTILE, "tls": "yes",
        "jobs": 2, "flags": bundle.flags(True, ("89", "90"), True, True), "epoch": bundle.EPOCH,
    }  # fmt: skip
    return JinjaTemplates(template_text).render("engine/build.sh.j2", b=values | given)


def test_the_script_has_no_fault_that_shellcheck_knows(tmp_path: Path) -> None:
    path = tmp_path / "build.sh"
    plain = {"location": "/here", "revision": "", "cuda_root": "/cuda", "cublas": "/blas"}
    path.write_text(script(sha256="0" * 64, **plain))
    checker = shutil.which("shellcheck") or str(Path(sys.executable).parent / "shellcheck")
    said = subprocess.run([checker, str(path)], capture_output=True, text=True, check=False)
    assert said.stdout == ""
    assert said.returncode == 0


def test_no_value_is_run(tmp_path: Path) -> None:
    path = tmp_path / "build.sh"
    path.write_text(script(work=str(tmp_path / "none")))
    subprocess.run(["bash", str(path), "fetch"], cwd=tmp_path, capture_output=True, check=False)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["build.sh"]


@pytest.mark.parametrize("flag", bundle.flags(True, ("89", "90"), False, True))
def test_each_flag_is_one_word(flag: str) -> None:
    line = next(line for line in script().splitlines() if line.startswith("FLAGS="))
    said = subprocess.run(
        ["bash", "-c", line + '; printf "%s\\n" "${FLAGS[@]}"'],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert flag.replace("CPU_ALL_VARIANTS=OFF", "CPU_ALL_VARIANTS=ON") in said.splitlines()
