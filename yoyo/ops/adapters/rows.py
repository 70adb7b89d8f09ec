"""Rows of the ledger about the registry file: intent before, outcome after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from yoyo.core.lives import read_book
from yoyo.errors import Interrupted, YoyoError
from yoyo.model.adapter import Stage
from yoyo.model.ledger import ADAPTERS_NODE, CompletionStatus, Entry, EventType

if TYPE_CHECKING:
    from yoyo.model.adapter import AdapterBook, AdapterVersion
    from yoyo.ops.adapters.context import AdapterContext

LOCK: Final = "adapters"
_PATIENCE_S: Final = 60
# What each action leaves a version as, to tell whether one that was killed was done.
_DONE: Final = {
    "register": (Stage.EVAL_PENDING, Stage.EVAL_OK, Stage.REJECTED, Stage.PROMOTED, Stage.RETIRED),
    "promote": (Stage.PROMOTED,),
    "rollback": (Stage.PROMOTED,),
    "retire": (Stage.RETIRED,),
    "reject": (Stage.REJECTED,),
}


@contextmanager
def change(
    ctx: AdapterContext, action: str, adapter: AdapterVersion, digest: str
) -> Iterator[None]:
    """Around one change of the registry file: JOB_START before, JOB_COMPLETE after.

    `digest` is of the artefact's manifest. What a killed command left open is closed first, by
    what the file says.

    Raises:
        NodeBusy, LedgerCorrupt, LedgerWriteFailed.
    """
    job_id = f"{action}/{adapter.name}"
    with ctx.locks.hold(LOCK, operator=ctx.operator, command=action, wait_s=_PATIENCE_S):
        settle(ctx)
        _book(ctx, EventType.JOB_START, job_id, adapter, digest, CompletionStatus.PENDING)
        try:
            yield
        except BaseException as error:
            meant = isinstance(error, YoyoError) and not isinstance(error, Interrupted)
            code = f"{action.upper()}_REFUSED" if meant else "INTERRUPTED"
            end = CompletionStatus.ERROR
            _book(ctx, EventType.JOB_COMPLETE, job_id, adapter, digest, end, code)
            raise
        end = CompletionStatus.SUCCESS
        _book(ctx, EventType.JOB_COMPLETE, job_id, adapter, digest, end)


def settle(ctx: AdapterContext) -> None:
    """Book the end of changes whose command is gone; the caller holds the lock.

    Raises:
        LedgerCorrupt, LedgerWriteFailed, AdapterBookInvalid.
    """
    left = read_book(ctx.ledger.rows()).jobs_of(ADAPTERS_NODE)
    if not left:
        return
    book = ctx.book.read()
    for each in left:
        action, _, name = each.job_id.partition("/")
        done = _was_done(book, action, name)
        ctx.ledger.append(
            Entry(
                EventType.JOB_COMPLETE,
                each.module_id,
                ADAPTERS_NODE,
                each.job_id,
                CompletionStatus.SUCCESS if done else CompletionStatus.ERROR,
                ctx.operator,
                error_code="" if done else "INTERRUPTED",
                input_hash=each.input_hash,
                adapter_versions=(name,),
            )
        )


def _was_done(book: AdapterBook, action: str, name: str) -> bool:
    found = book.find(name)
    return found is not None and found.stage in _DONE.get(action, ())


def _book(
    ctx: AdapterContext,
    kind: EventType,
    job_id: str,
    adapter: AdapterVersion,
    digest: str,
    status: CompletionStatus,
    code: str = "",
) -> None:
    ctx.ledger.append(
        Entry(
            kind,
            adapter.module_id,
            ADAPTERS_NODE,
            job_id,
            status,
            ctx.operator,
            error_code=code,
            input_hash=digest,
            adapter_versions=(adapter.name,),
        )
    )
