"""What the ledger says of a change of the registry file is what the file says, however it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import pytest
from adapters_parts import AdapterPlace, adapter_place
from cli import Place

from yoyo.config.load import Flags, load
from yoyo.core.adapters import stages
from yoyo.drivers.files.adapter_book import YamlAdapterBook
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.errors import AdapterStageWrong, StateUnwritable
from yoyo.model.adapter import AdapterBook, AdapterVersion, Registered, Stage
from yoyo.model.ids import ModuleId
from yoyo.model.ledger import ADAPTERS_NODE, CompletionStatus, Entry, EventType, Row
from yoyo.ops.adapters import register as ops
from yoyo.ops.adapters.context import AdapterContext
from yoyo.ops.adapters.rows import LOCK, change, settle, settle_if_free
from yoyo.ports.adapter_book import AdapterBookFile
from yoyo.wiring_adapters import adapter_context_for

NAME = "acme-tone@1.0.0"
DONE, BROKEN = ("success", ""), ("error", "INTERRUPTED")
Decide = Callable[[AdapterBook], Sequence[Registered]]


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


TONE = AdapterVersion(
    "acme-tone", "1.0.0", ModuleId("acme"), digest(1), digest(2), ("chat",), 4, Decimal(8), "llama"
)


class Quiet:
    """Nobody watches."""

    def phase(self, name: str, detail: str = "") -> None:
        """See the port."""

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """See the port."""


def context(root: Path) -> AdapterContext:
    """As a command in that directory has it."""
    loaded = load(Flags(config=root / "yoyo.yaml", node=None, sets=()), {}, root)
    return adapter_context_for(loaded.settings, os.environ, Quiet())


@pytest.fixture
def ctx(tmp_path: Path) -> AdapterContext:
    Place(tmp_path).configure()
    return context(tmp_path)


def enter(ctx: AdapterContext, artefact: int = 3, sign_off: int | None = 4, **more: Any) -> Decide:
    """As `register` does, with what it verified."""
    return lambda book: stages.register(
        book,
        TONE,
        f"registry.example.com/tone@{digest(artefact)}",
        sign_off="" if sign_off is None else digest(sign_off),
        result="" if sign_off is None else "passed",
        at=ctx.clock.now(),
        by="tester",
        **more,
    )


def promoting(ctx: AdapterContext) -> Decide:
    return lambda book: stages.promote(book, NAME, at=ctx.clock.now(), by="tester")


def begin(ledger: CsvLedger, action: str, artefact: int = 3) -> None:
    """The row of a command that is killed after it."""
    ledger.append(
        Entry(
            EventType.JOB_START,
            "acme",
            ADAPTERS_NODE,
            f"{action}/{NAME}",
            CompletionStatus.PENDING,
            "tester",
            input_hash=digest(artefact),
            adapter_versions=(NAME,),
        )
    )


def began(ctx: AdapterContext, action: str, artefact: int = 3) -> None:
    assert isinstance(ctx.ledger, CsvLedger)
    begin(ctx.ledger, action, artefact)


def ends(ctx: AdapterContext) -> list[tuple[str, str]]:
    """Status and code of each JOB_COMPLETE."""
    rows = [row for row in ctx.ledger.rows() if isinstance(row, Row)]
    return [
        (str(row.entry.completion_status), row.entry.error_code)
        for row in rows
        if row.entry.event_type is EventType.JOB_COMPLETE
    ]


def settled(ctx: AdapterContext) -> tuple[str, str]:
    settle(ctx)
    (end,) = ends(ctx)
    settle(ctx)
    assert ends(ctx) == [end]  # once
    return end


def test_a_register_that_was_killed_before_it_wrote(ctx: AdapterContext) -> None:
    began(ctx, "register")
    assert settled(ctx) == BROKEN


def test_a_register_that_was_killed_after_it_wrote(ctx: AdapterContext) -> None:
    began(ctx, "register")
    ctx.book.change(enter(ctx))
    assert settled(ctx) == DONE


def test_a_second_register_that_was_killed_before_it_took_in_the_sign_off(
    ctx: AdapterContext,
) -> None:
    ctx.book.change(enter(ctx, sign_off=None))
    began(ctx, "register")
    assert settled(ctx) == BROKEN


def test_a_second_register_that_was_killed_after_it_took_in_the_sign_off(
    ctx: AdapterContext,
) -> None:
    ctx.book.change(enter(ctx, sign_off=None))
    began(ctx, "register")
    ctx.book.change(enter(ctx))
    assert settled(ctx) == DONE


def test_a_register_of_other_bytes_under_the_same_name_was_not_done(ctx: AdapterContext) -> None:
    began(ctx, "register", artefact=5)
    ctx.book.change(enter(ctx, artefact=3))
    assert settled(ctx) == BROKEN


@pytest.mark.parametrize(("wrote", "end"), [(False, BROKEN), (True, DONE)])
def test_a_promote_that_was_killed(ctx: AdapterContext, wrote: bool, end: tuple[str, str]) -> None:
    ctx.book.change(enter(ctx))
    began(ctx, "promote")
    if wrote:
        ctx.book.change(promoting(ctx))
    assert settled(ctx) == end


class Broken:
    """A registry file whose change ends otherwise than it should, before it is written or after."""

    def __init__(self, book: AdapterBookFile, error: BaseException, *, written: bool) -> None:
        self._book, self._error, self._written = book, error, written

    def read(self) -> AdapterBook:
        """See the port."""
        return self._book.read()

    def change(self, decide: Decide) -> NoReturn:
        """See the port."""
        if self._written:
            self._book.change(decide)
        else:
            decide(self._book.read())
        raise self._error


@pytest.mark.parametrize(
    ("error", "written", "end"),
    [
        (KeyboardInterrupt(), True, DONE),
        (KeyboardInterrupt(), False, BROKEN),
        (StateUnwritable("No fsync."), True, DONE),
        (StateUnwritable("No room."), False, ("error", "RETIRE_REFUSED")),
    ],
)
def test_what_was_broken_off_is_booked_as_the_file_says(
    ctx: AdapterContext, error: BaseException, written: bool, end: tuple[str, str]
) -> None:
    ctx.book.change(enter(ctx))
    ctx.book.change(promoting(ctx))
    broken = ctx._replace(book=Broken(ctx.book, error, written=written))
    with pytest.raises(type(error)):
        ops.retire(broken, NAME)
    wanted = Stage.RETIRED if written else Stage.PROMOTED
    assert [each.stage for each in ctx.book.read().adapters] == [wanted]
    assert ends(ctx) == [end]


def test_a_note_that_was_written_before_the_interrupt_counts(ctx: AdapterContext) -> None:
    """No stage changes there: what was wanted is compared, not what such an action ends in."""
    ctx.book.change(enter(ctx))
    broken = ctx._replace(book=Broken(ctx.book, KeyboardInterrupt(), written=True))
    with pytest.raises(KeyboardInterrupt):
        change(broken, "register", TONE, digest(3), enter(ctx, notes="better"))
    assert ends(ctx) == [DONE]


def test_a_change_at_work_is_left_alone(ctx: AdapterContext) -> None:
    began(ctx, "register")
    with ctx.locks.hold(LOCK, operator="other", command="register", wait_s=0):
        settle_if_free(ctx)
        assert ends(ctx) == []
    settle_if_free(ctx)
    assert ends(ctx) == [BROKEN]


def test_settling_fails_no_command(ctx: AdapterContext) -> None:
    began(ctx, "register")
    ctx.settings.book.parent.mkdir(parents=True)
    ctx.settings.book.write_text("schema: 99\n")
    settle_if_free(ctx)
    assert ends(ctx) == []  # nobody knows yet


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.configure()
    return made


def ledger_of(place: Place) -> CsvLedger:
    clock = SystemClock()
    return CsvLedger(place.ledger, clock, SystemIds(clock))


def test_what_verify_advises_ends_an_open_change(place: Place) -> None:
    begin(ledger_of(place), "promote")
    error = place.json("ledger", "verify", "--strict", code=42)["error"]
    assert "`yoyo adapters select`" in error["fix"]
    assert "weights" not in error["fix"]
    assert "status" not in error["fix"]
    place.run("adapters", "select")
    place.run("ledger", "verify", "--strict")


@pytest.mark.parametrize("scale", ["0", "-0.0", "1e-400", "1e999999999", "10.5", "nan", "x"])
def test_a_scale_that_the_file_could_not_have_is_refused_before_anything(
    place: Place, scale: str
) -> None:
    reference = f"127.0.0.1:1/acme/tone@{digest(3)}"
    done = place.run("adapters", "register", reference, f"--scale={scale}", code=2)
    assert "--scale" in done.stderr
    assert not place.ledger.exists()


@pytest.mark.parametrize(
    "command", [("adapters", "select"), ("adapters", "activate"), ("ask", "hello")]
)
def test_a_task_that_is_no_label_is_a_mistake(place: Place, command: tuple[str, ...]) -> None:
    done = place.run(*command, "--task", "UPPER", code=2)
    assert "UPPER" in done.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterPlace]:
    """Three versions that were promoted one after the other, and one that never was."""
    with adapter_place(tmp_path_factory.mktemp("rows")) as made:
        made.key_mode()
        for minor in range(4):
            made.publish(f"acme-tone@1.{minor}.0", seed=minor + 1, promote=minor < 3)
        yield made


class Meddled:
    """A registry file that somebody changes behind the first look at it."""

    def __init__(self, book: AdapterBookFile, meddle: Callable[[], object]) -> None:
        self._book = book
        self._meddle: list[Callable[[], object]] = [meddle]

    def read(self) -> AdapterBook:
        """See the port."""
        found = self._book.read()
        while self._meddle:
            self._meddle.pop()()
        return found

    def change(self, decide: Decide) -> AdapterBook:
        """See the port."""
        return self._book.change(decide)


def promoted(place: AdapterPlace) -> list[str]:
    book = YamlAdapterBook(place.book).read()
    return [each.adapter.version for each in book.adapters if each.stage is Stage.PROMOTED]


def test_what_was_verified_is_what_comes_back(published: AdapterPlace) -> None:
    """Of two rollbacks at once, the second verified the version that the first brought back."""
    here = context(published.root)
    other = Meddled(here.book, lambda: published.adapters("rollback", "acme-tone"))
    try:
        with pytest.raises(AdapterStageWrong, match="rollback acme-tone"):
            ops.rollback(here._replace(book=other), "acme-tone")
    finally:
        here.close()
    assert promoted(published) == ["1.1.0"]
    assert ends(here)[-1] == ("error", "ROLLBACK_REFUSED")


def test_a_sign_off_that_was_not_verified_promotes_nothing(published: AdapterPlace) -> None:
    """The file is edited between the verification and the step."""
    before = promoted(published)
    entry = YamlAdapterBook(published.book).read().find("acme-tone@1.3.0")
    assert entry is not None

    def edit() -> None:
        text = published.book.read_text()
        published.book.write_text(text.replace(entry.sign_off, digest(7)))

    here = context(published.root)
    try:
        with pytest.raises(AdapterStageWrong, match=r"promote acme-tone@1\.3\.0"):
            ops.promote(here._replace(book=Meddled(here.book, edit)), "acme-tone@1.3.0")
    finally:
        here.close()
    assert promoted(published) == before


def test_the_history_dates_are_of_this_test(ctx: AdapterContext) -> None:
    """What tells a step of a job from an older one: the same clock dates rows and steps."""
    began(ctx, "register")
    (entry,) = ctx.book.change(enter(ctx)).adapters
    row = [row for row in ctx.ledger.rows() if isinstance(row, Row)][-1]
    assert row.entry.node_id == ADAPTERS_NODE
    assert row.timestamp <= entry.history[-1].at <= datetime.now(UTC)
