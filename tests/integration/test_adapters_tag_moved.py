"""A tag that was moved to another signed artefact is not what was registered."""

from __future__ import annotations

from pathlib import Path

from adapters_parts import TONE, adapter_place


def test_a_signed_stranger_under_a_registered_version_is_told_as_moved(tmp_path: Path) -> None:
    with adapter_place(tmp_path) as place:
        place.key_mode()
        registered = place.publish(TONE)
        (place.root / f"{TONE}.oci").rename(place.root / "first.oci")
        layout = place.pack(TONE, seed=2)
        elsewhere = f"{place.repository}/acme-tone:other"
        digest = place.adapters("push", str(layout), elsewhere)["digest"]
        assert digest != registered
        place.vouch(elsewhere)

        checks = place.adapters("verify", elsewhere, code=88)["checks"]
        assert [each["reason"] for each in checks if not each["ok"]] == ["moved"]
        error = place.adapters("pull", elsewhere, code=88)["error"]
        assert "(moved)" in error["what"]
        assert registered in error["why"]
        assert not list(place.root.rglob("*-1.0.0.gguf"))

        assert place.adapters("verify", TONE)["ok"]
