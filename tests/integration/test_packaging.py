"""The wheel as a stranger installs it: without extras, in an environment of its own.

No index is asked: the wheel is built by the hatchling that `scripts/setup` installed, and its
requirements are copied from the environment that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "templates"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # A bare environment: neither PYTHONPATH nor the operator's YOYO_* may help or hurt.
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": os.defpath, "HOME": str(cwd), "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def call(*command: str | Path, cwd: Path) -> str:
    ran = run(*command, cwd=cwd)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def required_by(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """The distributions that `name` needs without any extra, itself left out."""
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        key = canonicalize_name(requirement.name)
        if key in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[key] = distribution(requirement.name)
        required_by(requirement.name, found)
    return found


def copy_into(site_packages: Path, found: dict[str, Distribution]) -> None:
    for dist in found.values():
        for file in dist.files or ():
            # Scripts lie outside and name this interpreter; compiled files are made anew.
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            target = site_packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    call(*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", directory, ROOT, cwd=ROOT)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment that has the wheel and what it requires."""
    home = tmp_path_factory.mktemp("stranger")
    venv = home / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", venv, cwd=home)
    python = venv / "bin" / "python"
    site_packages = Path(
        call(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home
        ).strip()
    )
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    call(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=home)
    copy_into(site_packages, required_by("yoyo", {}))
    return venv / "bin"


def test_the_wheel_holds_every_template(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    here = {
        f"yoyo/templates/{path.relative_to(TEMPLATES)}"
        for path in TEMPLATES.rglob("*")
        if path.is_file()
    }
    assert here
    assert here <= names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]
    assert "yoyo/py.typed" in names


def test_the_base_install_is_small() -> None:
    found = required_by("yoyo", {})
    assert {"jinja2", "pyyaml", "rich", "typer"} <= set(found)
    # What belongs to an extra: a base install must not pull it in.
    assert not {"xllamacpp", "gguf", "numpy", "pytest", "hatchling"} & set(found)


def test_a_stranger_gets_started(scripts: Path, tmp_path: Path) -> None:
    yoyo = scripts / "yoyo"
    where = call(scripts / "python", "-c", "import yoyo; print(yoyo.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(scripts.parent)  # not the checkout
    assert call(yoyo, "--version", cwd=tmp_path).startswith("yoyo ")
    call(yoyo, "init", cwd=tmp_path)
    assert (tmp_path / "yoyo.yaml").is_file()
    call(yoyo, "config", "validate", cwd=tmp_path)
    units = call(yoyo, "monitor", "install", "--systemd", cwd=tmp_path)
    assert "OnUnitActiveSec=" in units


def test_a_missing_extra_names_the_command(scripts: Path, tmp_path: Path) -> None:
    call(scripts / "yoyo", "init", cwd=tmp_path)
    ran = run(scripts / "yoyo", "up", cwd=tmp_path)
    assert ran.returncode not in (0, 1, 70)
    assert "pip install 'yoyo[local]'" in ran.stderr
    assert "Traceback" not in ran.stderr
