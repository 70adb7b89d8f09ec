"""moduleId and node names: what passes is safe as a label, a tag and a directory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.model.ids import InvalidLabel, ModuleId, NodeName, Secret


@pytest.mark.parametrize(
    "hostile",
    ["", "../etc", "a/b", 'a"b', "a'b", "a\n", "\na", "A", "aB", "-a", "a-", "a" * 64, "ä", "a b"],
)
def test_hostile_names_are_refused(hostile: str) -> None:
    for kind in (ModuleId, NodeName):
        with pytest.raises(InvalidLabel):
            kind.parse(hostile)


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True))
def test_every_label_passes_unchanged(text: str) -> None:
    assert ModuleId.parse(text) == text


@given(st.text())
def test_nothing_but_a_label_passes(text: str) -> None:
    try:
        label = ModuleId.parse(text)
    except InvalidLabel:
        return
    assert 1 <= len(label) <= 63
    assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_secret_does_not_print() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"
