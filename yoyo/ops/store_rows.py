"""Rows of the ledger about the store, and jobs that a killed command left open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from yoyo.core.lives import read_book
from yoyo.errors import Interrupted, YoyoError
from yoyo.model.ledger import STORE_NODE, CompletionStatus, Entry, EventType
from yoyo.ops.store_context import StoreContext

INTERRUPTED: Final = "INTERRUPTED"


def book(
    ctx: StoreContext,
    kind: EventType,
    job: str,
    status: CompletionStatus = CompletionStatus.SUCCESS,
    code: str = "",
    digest: str = "",
) -> None:
    """Append one row; `digest` is of a manifest's document.

    Raises:
        LedgerCorrupt, LedgerWriteFailed.
    """
    ctx.ledger.append(
        Entry(
            kind,
            ctx.module_id,
            STORE_NODE,
            job,
            status,
            ctx.operator,
            error_code=code,
            input_hash=f"sha256:{digest}" if digest else "",
        )
    )


def is_open(ctx: StoreContext, job_id: str) -> bool:
    """Whether the ledger has the intent of that job, and no outcome."""
    opened = read_book(ctx.ledger.rows()).jobs_of(STORE_NODE)
    return any(each.job_id == job_id for each in opened)


@contextmanager
def job(ctx: StoreContext, job_id: str, failure: str) -> Iterator[None]:
    """Intent before, and an outcome after where the work fails; success the caller books.

    For a caller that holds a lock on `job_id`: whoever left it open is gone, and it is closed.

    Raises:
        LedgerCorrupt, LedgerWriteFailed.
    """
    if is_open(ctx, job_id):
        book(ctx, EventType.JOB_COMPLETE, job_id, CompletionStatus.ERROR, INTERRUPTED)
    book(ctx, EventType.JOB_START, job_id, CompletionStatus.PENDING)
    try:
        yield
    except BaseException as error:
        meant = isinstance(error, YoyoError) and not isinstance(error, Interrupted)
        code = failure if meant else INTERRUPTED
        book(ctx, EventType.JOB_COMPLETE, job_id, CompletionStatus.ERROR, code)
        raise
