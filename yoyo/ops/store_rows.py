"""Rows of the ledger about the store, and jobs that a killed command left open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from yoyo.core.lives import read_book
from yoyo.core.staging import lock_of
from yoyo.errors import Interrupted, NodeBusy, YoyoError
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
    opened = read_book(ctx.ledger.state_rows()).jobs_of(STORE_NODE)
    return any(each.job_id == job_id for each in opened)


def settle(ctx: StoreContext) -> None:
    """Book the end of jobs whose command is gone: nobody holds their lock. Never raises.

    What a killed staging left stays where it is; staging it again goes on with it.
    """
    try:
        for each in read_book(ctx.ledger.state_rows()).jobs_of(STORE_NODE):
            action, _, target = each.job_id.partition("/")
            kind, _, name = target.partition("/")
            lock = lock_of(kind, name) if action == "stage" else action
            take = {"operator": ctx.operator, "command": "settle"}
            try:
                with ctx.locks.hold(lock, wait_s=0, **take):
                    if is_open(ctx, each.job_id):
                        book(
                            ctx,
                            EventType.JOB_COMPLETE,
                            each.job_id,
                            CompletionStatus.ERROR,
                            INTERRUPTED,
                        )
            except NodeBusy:
                continue  # somebody is at it
    except YoyoError:
        return  # a ledger or a lock that cannot be written stops no look at the store


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
