"""A promotion that was asked for earlier never undoes one that was made meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from cli import Place

from yoyo.config.load import Flags, load
from yoyo.core.adapters import stages
from yoyo.errors import AdapterStageWrong
from yoyo.model.adapter import AdapterBook, AdapterVersion, Registered, Stage
from yoyo.model.ids import ModuleId
from yoyo.ops.adapters import register as ops
from yoyo.ops.adapters.context import AdapterContext
from yoyo.wiring_adapters import adapter_context_for


class Quiet:
    """Nobody watches."""

    def phase(self, name: str, detail: str = "") -> None:
        """See the port."""

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """See the port."""


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


ONE, TWO = (
    AdapterVersion(
        "acme-tone", text, ModuleId("acme"), digest(1), digest(2), (), 4, Decimal(8), "llama"
    )
    for text in ("1.0.0", "2.0.0")
)


@pytest.fixture
def ctx(tmp_path: Path) -> AdapterContext:
    Place(tmp_path).configure()
    loaded = load(Flags(config=tmp_path / "yoyo.yaml", node=None, sets=()), {}, tmp_path)
    made = adapter_context_for(loaded.settings, os.environ, Quiet())
    for adapter, number in ((ONE, 3), (TWO, 4)):

        def entered(
            book: AdapterBook, adapter: AdapterVersion = adapter, number: int = number
        ) -> Sequence[Registered]:
            return stages.register(
                book,
                adapter,
                f"registry.example.com/tone@{digest(number)}",
                sign_off=digest(9),
                result="passed",
                at=made.clock.now(),
                by="tester",
            )

        made.book.change(entered)
    return made


def promotion(ctx: AdapterContext, name: str) -> Callable[[AdapterBook], Sequence[Registered]]:
    return lambda book: stages.promote(book, name, at=ctx.clock.now(), by="other")


def during_verification(ctx: AdapterContext, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Somebody else promotes these while what was asked for is verified."""

    def others(_ctx: AdapterContext, _entry: Registered) -> None:
        for name in names:
            ctx.book.change(promotion(ctx, name))

    monkeypatch.setattr(ops, "verified", others)


def standing(ctx: AdapterContext) -> list[Stage]:
    return [each.stage for each in ctx.book.read().adapters]


def test_it_is_told_and_changes_nothing(
    ctx: AdapterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_verification(ctx, monkeypatch, ONE.name, TWO.name)
    with pytest.raises(AdapterStageWrong) as caught:
        ops.promote(ctx, ONE.name)
    assert "changed meanwhile" in caught.value.why
    assert standing(ctx) == [Stage.RETIRED, Stage.PROMOTED]
    # Who asks again has seen it, and means it.
    during_verification(ctx, monkeypatch)
    ops.promote(ctx, ONE.name)
    assert standing(ctx) == [Stage.PROMOTED, Stage.RETIRED]


def test_the_same_promotion_by_somebody_else_is_no_trouble(
    ctx: AdapterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_verification(ctx, monkeypatch, ONE.name)
    assert ops.promote(ctx, ONE.name).registered.stage is Stage.PROMOTED
    assert standing(ctx) == [Stage.PROMOTED, Stage.EVAL_OK]
