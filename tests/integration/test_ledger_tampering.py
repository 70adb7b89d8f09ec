"""A ledger that somebody edited, and one whose last write was torn."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_parts import GOLDEN, NOTE, codes, jobs, open_ledger

from yoyo.core.ledger_check import LedgerCheck
from yoyo.core.ledger_format import HEADER
from yoyo.drivers.files import verify
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.files.ledger_sections import Section, Sections
from yoyo.drivers.files.lines import first_row_seq
from yoyo.errors import LedgerCorrupt
from yoyo.model.ledger import EventType, LedgerHead, Row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


@pytest.fixture
def ledger(path: Path) -> CsvLedger:
    return open_ledger(path)


def test_append_refuses_to_build_on_a_broken_tail(ledger: CsvLedger, path: Path) -> None:
    for entry in jobs(4):
        ledger.append(entry)
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    broken = {
        "edited": good.replace(b"N3", b"N9"),
        "hash edited": good[:-3] + b"0\n" + b"",
        "last but one dropped": b"".join([*lines[:3], lines[4]]),
        "swapped": b"".join([*lines[:3], lines[4], lines[3]]),
        "CRLF": good[:-1] + b"\r\n",
        "junk": good + b"junk\n",
        "empty line": good + b"\n",
        "second header": good + HEADER,
        "NUL": good + b"\0" * 10 + b"\n",
        "not a ledger": b"hello\n",
        "not a ledger, unended": b"hello",
        "header edited": good.replace(b"event_id", b"eventid_", 1),
        "a huge line at the end": good + b"x" * 300_000,
    }
    for name, content in broken.items():
        path.write_bytes(content)
        with pytest.raises(LedgerCorrupt) as caught:
            open_ledger(path).append(NOTE)
        assert caught.value.why, name
        assert path.read_bytes() == content, name
        assert not path.with_name("ledger.csv.torn").exists(), name
    path.write_bytes(good)
    assert ledger.append(NOTE).seq == 5


def test_the_same_object_notices_what_others_did_to_the_tail(ledger: CsvLedger, path: Path) -> None:
    for entry in jobs(3):
        ledger.append(entry)
    good = path.read_bytes()
    with path.open("r+b") as file:  # in place: the inode stays
        file.write(good.replace(b"N2", b"N7"))
    with pytest.raises(LedgerCorrupt):
        ledger.append(NOTE)


def test_a_cut_tail_is_seen_against_the_kept_head(ledger: CsvLedger, path: Path) -> None:
    written = [ledger.append(entry) for entry in jobs(3)]
    head = LedgerHead(3, written[-1].row_hash)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert ledger.verify().ok
    assert not ledger.verify(head).ok
    path.write_bytes(b"".join(lines)[:-40])  # mid-row
    report = ledger.verify(head)
    assert report.torn_tail_bytes == len(lines[-1]) - 40
    assert report.expected_head_found is False
    assert report.problem_count == 0


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("large") / "ledger.csv"
    ledger = open_ledger(path)
    for size in (60_000,) * 75 + (10,) * 2000:
        ledger.append(NOTE._replace(operator_id="x" * size))
    return path.read_bytes()


def children() -> str:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


def test_two_processes_find_what_one_does(path: Path, large: bytes) -> None:
    before = children()
    assert len(large) > verify._LARGE_BYTES
    lines = large.splitlines(keepends=True)
    files = {
        "sound": large,
        "edited": large.replace(b",1900,", b",1901,", 1),
        "edited early": large.replace(b"x", b"y", 1),
        "dropped": b"".join(lines[:1500] + lines[1501:]),
        "swapped": b"".join([*lines[:700], lines[701], lines[700], *lines[702:]]),
        "cut": large[:-100],
        "two headers": large + lines[0],
        "no header": b"".join(lines[1:]),
        "another header": large.replace(b"event_id", b"eventid_", 1),
        "CRLF": large.replace(b"\n", b"\r\n"),
        "NUL": large[:-3000] + b"\0" + large[-2999:],
        "line without end": b"".join([*lines[:900], b"z" * 200_000 + b"\n", *lines[900:]]),
    }
    head = LedgerHead(2075, lines[-1][-65:-1].decode())
    for name, content in files.items():
        path.write_bytes(content)
        with path.open("rb") as file:
            fd, end = file.fileno(), len(content)
            sections = Sections((Section(fd, end, path, None, first_row_seq(fd, end) or 1, None),))
            alone = verify._check(sections, LedgerCheck(head), None)
            both = verify.verify_sections(sections, head)
            helped = verify._with_helper(sections, head, None)
        assert both == alone, name
        assert both.ok is (name == "sound"), name
        # a hash that does not match sends all the work to one process
        hashes_match = name in ("sound", "cut", "another header")
        assert (helped and helped[0]) == (alone if hashes_match else None), name
    assert children() == before


def cut(path: Path, keep: int) -> bytes:
    content = path.read_bytes()
    path.write_bytes(content[:keep])
    return content[content.rfind(b"\n", 0, keep) + 1 : keep]


def three_rows() -> bytes:
    return b"".join(GOLDEN.read_bytes().splitlines(keepends=True)[:4])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.integers(1, len(three_rows())))
def test_a_file_cut_anywhere_is_recovered(tmp_path: Path, keep: int) -> None:
    path = tmp_path / f"cut-{keep}.csv"
    side = tmp_path / f"cut-{keep}.csv.torn"
    side.unlink(missing_ok=True)
    path.write_bytes(three_rows())
    torn = cut(path, keep)
    ledger = open_ledger(path)
    row = ledger.append(NOTE)
    report = ledger.verify()
    assert report.problem_count == 0
    assert report.torn_tail_bytes == 0
    assert list(ledger.rows())[-1] == row
    if not torn:
        assert not side.exists()
        return
    above = list(ledger.rows())[-2]
    assert isinstance(above, Row)
    assert above.entry.event_type is EventType.CHECKPOINT
    assert above.entry.error_code == "TORN_TAIL_RECOVERED"
    assert above.entry.input_hash == f"sha256:{hashlib.sha256(torn).hexdigest()}"
    assert (above.entry.node_id, above.entry.module_id) == (NOTE.node_id, NOTE.module_id)
    offset = len(three_rows()[:keep]) - len(torn)
    first, rest = side.read_bytes().split(b"\n", 1)
    assert rest == torn + b"\n"
    assert first.startswith(b"# %d bytes torn at offset %d, found " % (len(torn), offset))


def test_a_recovery_that_was_killed_before_its_cut_is_recovered(
    ledger: CsvLedger, path: Path
) -> None:
    ledger.append(NOTE)
    with path.open("ab") as file:
        file.write(b"t" * 2000)
    end = path.stat().st_size - 2000
    ledger.append(NOTE)
    recovered = path.read_bytes()
    checkpoint_end = recovered.index(b"\n", end) + 1
    # as it stands between the write over the torn bytes and the cut behind it
    path.write_bytes(recovered[:checkpoint_end] + b"t" * (2000 - (checkpoint_end - end)))
    open_ledger(path).append(NOTE)
    assert codes(ledger.rows()) == ["", "TORN_TAIL_RECOVERED", "TORN_TAIL_RECOVERED", ""]
    assert ledger.verify().ok


def test_the_longest_torn_tail(ledger: CsvLedger, path: Path) -> None:
    ledger.append(NOTE)
    with path.open("ab") as file:
        file.write(b"\0" * 65_535)
    ledger.append(NOTE)
    assert codes(ledger.rows()) == ["", "TORN_TAIL_RECOVERED", ""]
    assert ledger.verify().ok


def test_long_rows_fit_the_look_at_the_tail(ledger: CsvLedger) -> None:
    for size in (10, 500, 1500, 60_000, 65_000, 65_000, 10):
        ledger.append(NOTE._replace(operator_id="x" * size))
        assert open_ledger(Path(ledger._path)).append(NOTE)
    assert ledger.verify().ok
