"""Adapters and registry entries, for the tests of book, stages and selection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from yoyo.model.adapter import AdapterVersion, Change, Registered, Stage
from yoyo.model.ids import ModuleId

START = datetime(2026, 11, 2, 8, 15, tzinfo=UTC)


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def version_of(
    name: str = "acme-support", version: str = "1.0.0", module_id: str = "acme", *,
    base: int = 1, tasks: tuple[str, ...] = (),
) -> AdapterVersion:  # fmt: skip
    return AdapterVersion(
        name, version, ModuleId(module_id), digest(base), digest(2), tasks, 16, Decimal(32), "llama"
    )


def ref_of(number: int) -> str:
    return f"registry.example.com/adapters@{digest(number)}"


def entry_of(
    adapter: AdapterVersion, *stages: Stage, artefact: int = 3, by: str = "dora",
    sign_off: int | None = 4, scale: str = "1", notes: str = "",
) -> Registered:  # fmt: skip
    steps = stages or (Stage.EVAL_OK, Stage.PROMOTED)
    history = tuple(
        Change(stage, START + timedelta(minutes=at), by) for at, stage in enumerate(steps)
    )
    signed = "" if sign_off is None else digest(sign_off)
    return Registered(adapter, ref_of(artefact), steps[-1], history, signed, Decimal(scale), notes)
