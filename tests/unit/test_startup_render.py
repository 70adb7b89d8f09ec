"""The startup script as it is rendered: its text, its size, and what shellcheck says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_startup import ADAPTERS, CPU, GPU, STORE, render

from yoyo.config.templates import template_text
from yoyo.drivers.jinja.templates import JinjaTemplates
from yoyo.model.startup import StartupValues

GOLDEN = Path(__file__).parents[1] / "golden"
SHELLCHECK = str(Path(sys.executable).parent / "shellcheck")


SAMPLES = {"gpu": GPU, "cpu": CPU, "store": STORE, "adapters": ADAPTERS}


@pytest.mark.parametrize(("name", "values"), SAMPLES.items())
def test_rendered_as_recorded(name: str, values: StartupValues) -> None:
    golden = GOLDEN / f"startup-{name}.sh"
    assert render(values) == golden.read_text(), (
        f"the startup script differs from {golden.name}. If that is meant:"
        " PYTHONPATH=tests:. python tests/unit/test_startup_render.py"
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_shellcheck_finds_nothing(name: str) -> None:
    tool = shutil.which("shellcheck") or SHELLCHECK
    done = subprocess.run(
        [tool, GOLDEN / f"startup-{name}.sh"], capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""


def test_fits_into_metadata() -> None:
    # One metadata value holds at most 256 KiB.
    assert len(render(ADAPTERS).encode()) < 200_000


def test_an_undefined_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        JinjaTemplates(template_text).render("startup/startup.sh.j2", v=object())


ARGUMENT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40
)


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(ARGUMENT, min_size=1, max_size=4))
def test_no_value_escapes_its_quotes(texts: list[str]) -> None:
    values = GPU._replace(weights_urls=tuple(texts), image_hint=texts[0])
    head = render(values).split("# Other places", 1)[0]
    shown = subprocess.run(
        ["bash", "-c", head + '\nprintf "%s\\0" "$IMAGE_HINT" "${WEIGHTS_URLS[@]}"'],
        capture_output=True,
        check=True,
    )
    assert shown.stdout.decode().split("\0")[:-1] == [texts[0], *texts]


if __name__ == "__main__":
    for golden_name, golden_values in SAMPLES.items():
        (GOLDEN / f"startup-{golden_name}.sh").write_text(render(golden_values))
