"""What the tests of large ledgers share: files made fast, sealed ones too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from yoyo.core.ledger_format import HEADER, encode_entry, encode_row
from yoyo.core.uuid7 import uuid7
from yoyo.drivers.duckdb.accounts import DuckdbAccounts
from yoyo.model.accounts import Accounts, Wanted
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import GENESIS_HASH, CompletionStatus, Entry, EventType

E = EventType
S = CompletionStatus
BEGIN = datetime(2026, 9, 28, 23, 0, tzinfo=UTC)
STEP = timedelta(hours=7)


class Never:
    """A plain reader that must not be needed."""

    def read(self, *_: object) -> Accounts:
        raise AssertionError("the file was taken line by line")


def fast() -> DuckdbAccounts:
    return DuckdbAccounts(Never())


def lines_of(entries: Iterable[Entry], step: timedelta = STEP) -> list[bytes]:
    """The rows with their newlines."""
    lines, prev = [], GENESIS_HASH
    for seq, entry in enumerate(entries, 1):
        at = BEGIN + seq * step
        event_id = uuid7(int(at.timestamp() * 1000), seq.to_bytes(10, "big"))
        text = encode_entry(entry, event_id)
        line = encode_row(text, event_id=event_id, timestamp=at, seq=seq, prev_hash=prev)
        lines.append(line)
        prev = line[-65:-1].decode()
    return lines


def files(
    folder: Path, lines: Sequence[bytes], cuts: Sequence[int] = (), torn: bytes = b""
) -> tuple[LedgerPart, ...]:
    """Those rows as sealed months and a live file; a cut is how many rows are before it."""
    parts, bounds = [], [0, *cuts, len(lines)]
    for place, (begin, end) in enumerate(pairwise(bounds)):
        month = None if place == len(cuts) else f"2026-{place + 1:02d}"
        path = folder / ("ledger.csv" if month is None else f"ledger-{month}.csv")
        path.write_bytes(HEADER + b"".join(lines[begin:end]) + (b"" if month else torn))
        parts.append(LedgerPart(path, begin + 1, month))
    return tuple(parts)


def life(number: int, *, jobs: int = 3, module: str = "", node: str = "") -> list[Entry]:
    """A machine's life with some jobs and what its disk cost."""
    module, node = module or f"team-{number % 3}", node or f"node-{number % 2}"
    first = Entry(E.BOOT_REQUEST, module, node, f"life-{number}", S.PENDING, "alice")
    made = [first, first._replace(event_type=E.BOOT_COMPLETE, completion_status=S.SUCCESS)]
    for job in range(jobs):
        start = first._replace(
            event_type=E.JOB_START, job_id=f"job-{number}-{job}", input_hash="sha256:" + "ab" * 32
        )
        made.append(start)
        made.append(
            start._replace(
                event_type=E.JOB_COMPLETE,
                completion_status=S.ERROR if job % 3 == 2 else S.SUCCESS,
                adapter_versions=("tone@1.0.0", "law@2") if job % 2 else (),
                tokens_processed=None if job % 4 == 1 else 100 + job,
                gpu_seconds=Decimal("1.000000000000000001") * (job + 1),
                operator_id="carol, of ops" if number % 5 == 4 else "bob",
            )
        )
    made.append(first._replace(event_type=E.TEARDOWN_REQUEST, operator_id="guard:monitor"))
    made.append(
        first._replace(
            event_type=E.TEARDOWN_COMPLETE, completion_status=S.SUCCESS,
            gpu_seconds=Decimal("3600.25"), cost_usd=Decimal("0.710049"),
        )
    )  # fmt: skip
    made.append(
        first._replace(
            event_type=E.CHECKPOINT, completion_status=S.SUCCESS, error_code="DISK_COST",
            cost_usd=Decimal("0.01"), job_id=f"life-{number}",
        )
    )  # fmt: skip
    return made


def lives(count: int, jobs: int = 3) -> list[Entry]:
    return [entry for number in range(count) for entry in life(number, jobs=jobs)]


ALL = Wanted("hour", modules=True, nodes=True, adapters=True, operators=True)
