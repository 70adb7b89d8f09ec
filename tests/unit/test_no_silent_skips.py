"""A skipped test fails the run: the project's own conftest, in a run of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("def test_it():\n    pass\n", 0),
        ("import pytest\ndef test_it():\n    pytest.skip('later')\n", 1),
        ("import pytest\npytest.skip('later', allow_module_level=True)\n", 1),
        ("import pytest\n@pytest.mark.skipif(True, reason='x')\ndef test_it():\n    pass\n", 1),
    ],
)
def test_a_skip_fails_the_run(tmp_path: Path, body: str, code: int) -> None:
    shutil.copy(CONFTEST, tmp_path)
    # A test that passes keeps "no tests ran" (5) from being taken for the hook's doing.
    (tmp_path / "test_passes.py").write_text("def test_passes():\n    pass\n")
    (tmp_path / "test_sample.py").write_text(body)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert ("which fails the run" in ran.stdout) == (code == 1)
