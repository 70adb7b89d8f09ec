"""The guide asks for the very permissions that `yoyo doctor` checks."""

from __future__ import annotations

import re
from pathlib import Path

from yoyo.drivers.gce.prerequisites import PERMISSIONS

GUIDE = Path(__file__).parents[2] / "docs/guides/gce.md"


def test_the_role_of_the_guide_holds_what_doctor_asks_for() -> None:
    text = GUIDE.read_text()
    role = text[text.index("includedPermissions:") :].partition("```")[0]
    assert tuple(re.findall(r"- (\S+)", role)) == PERMISSIONS
