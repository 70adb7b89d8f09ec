"""What is known of a large ledger changes no answer, whatever became of the two meanwhile."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_parts import NOTE
from sealed_parts import START, Calendar, deleted_row, good, ledger_at, seal_all

from yoyo.core import ledger_filter, ledger_zones
from yoyo.core.ledger_filter import BlockFilter
from yoyo.drivers.files import ledger_known, ledger_scan, ledger_sections, lines, verify
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.files.ledger_cache import cache_path
from yoyo.errors import LedgerCorrupt, LedgerUnreadable
from yoyo.model.ledger import BadRow, CompletionStatus, Entry, EventType, Row
from yoyo.model.row_filter import RowFilter
from yoyo.ops.context import require_sound

E = EventType
NEVER = 10**18


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is kept, in zones of some ten rows, as of a ledger of millions of rows."""
    monkeypatch.setattr(ledger_sections, "WORTH_BYTES", 1)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1500)
    monkeypatch.setattr(ledger_scan, "_NEAR_BYTES", 1500)
    monkeypatch.setattr(ledger_zones, "ZONE_ROWS", 9)


class Writer:
    """Writes lives and jobs as they come, with a clock that may be set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Calendar(START)
        self.count = 0

    @property
    def ledger(self) -> CsvLedger:
        """A new object each time, as each command has one."""
        return ledger_at(self.path, self.clock)

    def ident(self) -> str:
        self.count += 1
        millis = int(self.clock.at.timestamp() * 1000)
        return f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7000-8000-{self.count:012x}"

    def add(self, kind: EventType, job: str, node: str = "l4", **more: object) -> None:
        self.clock.at += timedelta(seconds=1)
        status = CompletionStatus.PENDING if kind.endswith(("START", "REQUEST")) else NOTE[4]
        entry = Entry(kind, "demo", node, job, CompletionStatus(status), "olga")
        self.ledger.append(entry._replace(**more))  # type: ignore[arg-type]

    def life(self, jobs: int = 3, text: str = "") -> None:
        life = self.ident()
        self.add(E.BOOT_REQUEST, life)
        self.add(E.BOOT_COMPLETE, life)
        for n in range(jobs):
            self.job(text=f"{text}{n}")
        self.add(E.TEARDOWN_REQUEST, life)
        self.add(E.TEARDOWN_COMPLETE, life, cost_usd=Decimal("1.5"))

    def job(self, *, done: bool = True, text: str = "") -> str:
        job, digest = self.ident(), f"sha256:{self.count:064x}"
        self.add(E.JOB_START, job, input_hash=digest)
        if done:
            self.add(E.JOB_COMPLETE, job, input_hash=digest, error_code=text)
        return job

    def later(self, days: float) -> None:
        self.clock.at += timedelta(days=days)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    made = Writer(tmp_path / "ledger.csv")
    for _ in range(4):
        made.life()
        made.later(0.3)
    return made


def answers(ledger: CsvLedger, wanted: list[RowFilter]) -> object:
    try:
        return list(ledger.state_rows()), [list(ledger.matching(each)) for each in wanted]
    except LedgerUnreadable as error:
        return error.why


def filters(writer: Writer) -> Iterator[RowFilter]:
    rows = good(writer.ledger.rows())
    for row in rows[:: max(len(rows) // 5, 1)]:
        yield RowFilter(jobs=(row.entry.job_id,))
        yield RowFilter(events=(row.event_id,))
        yield RowFilter(inputs=(row.entry.input_hash,))
        yield RowFilter(since=row.timestamp, until=row.timestamp + timedelta(hours=5))
        yield RowFilter(until=row.timestamp, types=(str(E.BOOT_REQUEST),), nodes=("l4",))
    yield RowFilter(nodes=("store", "adapters"))
    yield RowFilter(types=tuple(map(str, (E.CHECKPOINT, E.BOOT_COMPLETE))))
    yield RowFilter(jobs=("promote/x@1",))
    yield RowFilter(codes=("MONTH_DELETED", "a,b"))


def agrees(writer: Writer) -> None:
    """With and without it, and a second time with what the first left."""
    wanted = list(filters(writer))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_sections, "WORTH_BYTES", NEVER)
        expected = answers(writer.ledger, wanted)
        sound = writer.ledger.verify().ok
    assert answers(writer.ledger, wanted) == expected
    assert answers(writer.ledger, wanted) == expected
    assert writer.ledger.recheck().ok == sound


STEPS = [
    "life", "life", "job", "open", "close", "quoted", "promote", "disk", "note", "back", "later",
    "seal", "delete", "state", "recheck", "forget", "damage", "torn",
]  # fmt: skip


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=14), spot=st.integers(0, 10**6))
def test_no_answer_changes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], spot: int
) -> None:
    writer = Writer(tmp_path_factory.mktemp("known") / "ledger.csv")
    left: list[str] = []
    writer.life()
    for step in steps:
        act(writer, step, left, spot)
    agrees(writer)


def act(writer: Writer, step: str, left: list[str], spot: int) -> None:
    ledger, cache = writer.ledger, cache_path(writer.path)
    if step == "life":
        writer.life()
    elif step == "job":
        writer.job()
    elif step == "open":
        left.append(writer.job(done=False))
    elif step == "close" and left:
        writer.add(E.JOB_COMPLETE, left.pop())
    elif step == "quoted":
        writer.life(1, 'a,b"c')
    elif step == "promote":
        writer.add(E.JOB_START, "promote/x@1", "adapters")
        writer.add(E.JOB_COMPLETE, "promote/x@1", "adapters")
    elif step == "disk":
        writer.add(E.CHECKPOINT, "", error_code="DISK_COST", cost_usd=Decimal("0.1"))
    elif step == "note":
        writer.add(E.CHECKPOINT, "ä" * 18, error_code="a,b")
    elif step == "back":
        writer.later(-2)
    elif step == "later":
        writer.later(20)
    elif step == "seal" and ledger.complete_months(writer.clock.at):
        seal_all(ledger, writer.clock.at)
    elif step == "delete" and len(parts := ledger.parts()) > 1:
        ledger.append(deleted_row(str(parts[0].month)))
        ledger.delete(parts[0])
    elif step == "state":
        list(ledger.state_rows())
    elif step == "recheck":
        ledger.recheck()
    elif step == "forget":
        shutil.rmtree(cache.parent, ignore_errors=True)
    elif step == "damage" and cache.exists():
        data = bytearray(cache.read_bytes())
        data[spot % len(data)] ^= 1
        cache.write_bytes(data)
    elif step == "torn":
        with writer.path.open("ab") as file:
            file.write(b"019")


def warm(writer: Writer) -> None:
    """Known to its last row, and verified."""
    assert writer.ledger.recheck().ok
    assert cache_path(writer.path).exists()


def test_a_clock_that_was_set_back_hides_no_row(tmp_path: Path) -> None:
    """Neither in a stretch of rows nor between two of them, by time or by the ids made of it."""
    writer = Writer(tmp_path / "ledger.csv")
    for hours in (0, -3, 1, -1, 2, -9, 7, -1, -1, 1, 0, 0, -5, *([-1] * 12)):
        writer.later(hours / 24)
        writer.job()
    warm(writer)
    rows = good(writer.ledger.rows())
    moment = timedelta(microseconds=1)
    for row in rows:
        wanted = RowFilter(since=row.timestamp, until=row.timestamp + moment)
        found = [each for each in rows if each.timestamp == row.timestamp]
        assert list(writer.ledger.matching(wanted)) == found
        wanted = RowFilter(jobs=(row.entry.job_id,))
        found = [each for each in rows if each.entry.job_id == row.entry.job_id]
        assert list(writer.ledger.matching(wanted)) == found


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lines at a time are looked at."""
    seen: list[int] = []

    class Counted(lines.LineBlocks):
        def __iter__(self) -> Iterator[bytes]:
            for block in super().__iter__():
                seen.append(block.count(b"\n") + 1)
                yield block

    class Filter(BlockFilter):
        def take(self, block: bytes) -> Iterator[Row | BadRow]:
            seen.append(block.count(b"\n") + 1)
            return super().take(block)

    for module in (ledger_known, verify):
        monkeypatch.setattr(module, "LineBlocks", Counted)
    monkeypatch.setattr(ledger_filter, "BlockFilter", Filter)
    return seen


def test_what_is_known_is_not_read_again(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    warm(writer)
    writer.life(1)
    seen = reads(monkeypatch)
    state = list(writer.ledger.state_rows())
    assert len(good(state)) == 5 * 4
    assert sum(seen) == 6
    seen.clear()
    assert writer.ledger.recheck().rows == 6
    rows = good(writer.ledger.rows())
    seen.clear()
    job = rows[12].entry.job_id
    assert len(list(writer.ledger.matching(RowFilter(jobs=(job,))))) == 2
    assert sum(seen) < len(rows) // 2


def edit(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) >= 1
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data.replace(old, new, 1))
    path.chmod(mode)


def test_a_row_of_money_that_was_edited_is_seen_at_once(writer: Writer) -> None:
    warm(writer)
    edit(writer.path, b",1.5,", b",0.5,")
    costs = [row.entry.cost_usd for row in good(writer.ledger.state_rows())]
    assert Decimal("0.5") in costs
    with pytest.raises(LedgerCorrupt):
        require_sound(writer.ledger)
    agrees(writer)


def test_a_job_that_was_edited_is_seen_after_a_day(writer: Writer) -> None:
    warm(writer)
    edit(writer.path, b",JOB_COMPLETE,demo", b",JOB_COMPLETE,mode")
    require_sound(writer.ledger)
    assert not writer.ledger.verify().ok
    writer.later(1.01)
    with pytest.raises(LedgerCorrupt):
        require_sound(writer.ledger)


def test_a_month_that_was_deleted_is_not_known_any_more(writer: Writer) -> None:
    writer.job(done=False)
    writer.later(40)
    writer.life()
    seal_all(writer.ledger, writer.clock.at)
    writer.later(40)
    writer.life()
    seal_all(writer.ledger, writer.clock.at)
    warm(writer)
    oldest = writer.ledger.parts()[0]
    writer.ledger.append(deleted_row(str(oldest.month)))
    writer.ledger.delete(oldest)
    agrees(writer)


@pytest.mark.parametrize("between", [None, b"no row\n"])
def test_a_damaged_ledger_is_read_as_it_stands(writer: Writer, between: bytes | None) -> None:
    """Line and number of a row below a gap are not as far apart as above."""
    raws = writer.path.read_bytes().splitlines(keepends=True)
    below = raws[10:] if between is None else [between, *raws[9:]]
    writer.path.write_bytes(b"".join([*raws[:9], *below]))
    agrees(writer)
    assert not cache_path(writer.path).exists()


def test_a_sealed_month_that_was_touched_is_read_again(writer: Writer) -> None:
    writer.later(40)
    writer.life()
    seal_all(writer.ledger, writer.clock.at)
    warm(writer)
    sealed = writer.ledger.parts()[0].path
    edit(sealed, b",JOB_COMPLETE,demo", b",JOB_COMPLETE,mode")
    with pytest.raises(LedgerCorrupt):
        require_sound(writer.ledger)
    agrees(writer)


def test_bad_new_rows_are_found_where_the_old_ones_are_known(writer: Writer) -> None:
    warm(writer)
    writer.life(1)
    edit(writer.path, b",3,", b",4,")  # a row that was known: nothing but all rows tells
    raws = writer.path.read_bytes().splitlines(keepends=True)
    writer.path.write_bytes(b"".join([*raws[:-3], *raws[-2:]]))
    report = writer.ledger.recheck()
    assert not report.ok
    with pytest.raises(LedgerCorrupt, match="problem"):
        require_sound(writer.ledger)


def test_an_outcome_finds_the_intent_that_was_verified_before(writer: Writer) -> None:
    job = writer.job(done=False)
    life = writer.ident()
    writer.add(E.BOOT_REQUEST, life)
    warm(writer)
    writer.add(E.JOB_COMPLETE, job)
    writer.add(E.BOOT_COMPLETE, life)
    report = writer.ledger.recheck()
    assert (report.ok, report.rows) == (True, 2)
    writer.add(E.JOB_COMPLETE, job)
    report = writer.ledger.recheck()
    assert [problem.reason for problem in report.problems] == [
        f"JOB_COMPLETE of {job} without an open JOB_START"
    ]
    assert report.problems[0].line == len(good(writer.ledger.rows())) + 1


@pytest.mark.parametrize("change", ["cut", "other", "older", "fork"])
def test_another_history_is_not_taken_for_the_known_one(
    writer: Writer, change: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.csv"
    shutil.copy(writer.path, copy)
    for _ in range(2):
        writer.life()
    warm(writer)
    raws = writer.path.read_bytes().splitlines(keepends=True)
    if change == "cut":
        writer.path.write_bytes(b"".join(raws[:-4]))
    elif change == "other":
        (tmp_path / "other").mkdir()
        other = Writer(tmp_path / "other" / "ledger.csv")
        for _ in range(10):
            other.life()
        shutil.copy(other.path, writer.path)
    elif change in ("older", "fork"):
        shutil.copy(copy, writer.path)
    if change == "fork":
        for _ in range(3):
            writer.life(2)
    agrees(writer)


def test_a_file_that_is_no_cache_counts_for_nothing(writer: Writer) -> None:
    warm(writer)
    cache = cache_path(writer.path)
    cache.rename(cache.with_name("elsewhere"))
    cache.symlink_to("elsewhere")
    agrees(writer)
    cache.unlink()
    cache.write_bytes(b"{}\n")
    agrees(writer)
    cache.write_bytes(b"")
    agrees(writer)
    os.truncate(cache, 30_000)
    agrees(writer)


ODD: list[object] = [None, -1, 10**30, 1.5, "x", [], {}, [[]], [[1, 2, 3]], True]


@pytest.mark.parametrize(
    "name",
    ["format", "first_seq", "seq", "row_hash", "sealed", "told", "held", "places", "open_told",
     "zones", "verified"],
)  # fmt: skip
def test_a_whole_cache_with_odd_content_raises_nothing(writer: Writer, name: str) -> None:
    """As another version might leave; a checksum that holds says nothing of the content."""
    warm(writer)
    cache = cache_path(writer.path)
    body = cache.read_bytes()[:-9]
    length = int(body[-20:])
    about = json.loads(body[-20 - length : -20])
    before, job = body[: -20 - length], good(writer.ledger.rows())[7].entry.job_id
    for odd in ODD:
        text = json.dumps({**about, name: odd}).encode()
        made = before + text + b"%20d" % len(text)
        cache.write_bytes(made + b"%08x\n" % crc32(made))
        list(writer.ledger.state_rows())
        list(writer.ledger.matching(RowFilter(jobs=(job,))))
        list(writer.ledger.matching(RowFilter(inputs=("sha256:" + "1" * 64,))))
        assert writer.ledger.recheck().ok


def test_nobody_but_the_owner_keeps_anything(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert len(good(writer.ledger.state_rows())) == 16
    assert not cache_path(writer.path).parent.exists()


def test_where_nothing_can_be_kept_all_is_read(writer: Writer) -> None:
    folder = cache_path(writer.path).parent
    folder.write_bytes(b"in the way")
    agrees(writer)
    assert folder.read_bytes() == b"in the way"


def test_nobody_can_read_the_cache_who_cannot_read_the_ledger(writer: Writer) -> None:
    writer.path.chmod(0o600)
    warm(writer)
    assert cache_path(writer.path).stat().st_mode & 0o777 == 0o600


def test_two_that_keep_at_once_leave_one_whole_cache(writer: Writer) -> None:
    first, second = writer.ledger.state_rows(), writer.ledger.state_rows()
    next(first)
    next(second)
    writer.life()
    list(first)
    list(second)
    assert [each.name for each in cache_path(writer.path).parent.iterdir()] == ["state.rows"]
    agrees(writer)


def test_a_reading_that_is_broken_off_leaves_nothing(writer: Writer) -> None:
    rows = writer.ledger.state_rows()
    next(rows)
    assert list(cache_path(writer.path).parent.iterdir())
    rows.close()  # type: ignore[attr-defined]
    assert not list(cache_path(writer.path).parent.iterdir())
