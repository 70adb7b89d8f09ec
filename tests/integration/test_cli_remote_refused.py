"""Commands for nodes at a distance, on a node of this machine: refused, with what to do."""

from __future__ import annotations

import pytest
from cli import Place

from yoyo.errors import NotSupported


@pytest.mark.parametrize(
    "command",
    [
        ("ssh",),
        ("exec", "--", "true"),
        ("tunnel",),
        ("key", "rotate"),
        ("bake",),
        ("sweep",),
        ("bootstrap", "render"),
        ("logs", "--boot"),
        ("up", "--spot"),
        ("up", "--relocate"),
        ("up", "--max-wait", "1h"),
        ("up", "--replace-firewall"),
    ],
)
def test_what_means_nothing_here_is_refused(here: Place, command: tuple[str, ...]) -> None:
    here.configure()
    done = here.run(*command, code=NotSupported.exit_code)
    assert "fix: " in done.stderr
    assert not here.ledger.exists()
