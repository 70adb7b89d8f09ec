"""Fixtures shared by the tests that run the real command."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import Place, place


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    """A configured directory whose processes are gone afterwards."""
    with place(tmp_path) as configured:
        yield configured
