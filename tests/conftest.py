"""Holds for every test: none is skipped in silence. And the places that commands run in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli import Place
    from lab import Lab
    from lab_commands import LabPlace

# Node id -> the reason why that test may be skipped.
ALLOWED_SKIPS: dict[str, str] = {
    "tests/lab/test_gcloud.py::test_gcloud_lists_and_describes_what_yoyo_made": (
        "Google's command line is in no package index that a test machine must have; where it is "
        "installed, the test runs"
    ),
    "tests/lab/test_gcloud.py::test_gcloud_copies_through_the_fake_store": (
        "Google's command line is in no package index that a test machine must have; where it is "
        "installed, the test runs"
    ),
}


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which a test was skipped that is not on the list."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    skipped = [
        report.nodeid
        for report in reporter.stats.get("skipped", [])
        if report.nodeid not in ALLOWED_SKIPS
    ]
    if skipped:
        reporter.write_line("")
        for nodeid in skipped:
            reporter.write_line(f"skipped, which fails the run: {nodeid}", red=True)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    """A configured directory whose processes are gone afterwards."""
    from cli import place

    with place(tmp_path) as configured:
        yield configured


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A cloud with machines that boot, for the tests of a module. Needs root."""
    from lab import Lab

    with Lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def place(lab: Lab) -> Iterator[LabPlace]:
    """The laboratory's directory, with no node in it before and after."""
    from lab_commands import LabPlace

    made = LabPlace(lab)
    lab.configure()
    yield made
    made.clean_up()
