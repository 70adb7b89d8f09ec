"""A laboratory per test module, and a directory to run commands in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Lab
from lab_commands import LabPlace


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One cloud with machines for the tests of a module."""
    with Lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def place(lab: Lab) -> Iterator[LabPlace]:
    """The directory, with no node in it before and after."""
    made = LabPlace(lab)
    lab.configure()
    yield made
    made.clean_up()
