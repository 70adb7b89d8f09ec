"""Rows of the ledger about the registry file: intent before, outcome after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yoyo.core.lives import read_book
from yoyo.errors import Interrupted, YoyoError
from yoyo.model.adapter import Stage
from yoyo.model.ledger import ADAPTERS_NODE, CompletionStatus, Entry, EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yoyo.core.lives import OpenJob
    from yoyo.model.adapter import AdapterBook, AdapterVersion, Registered
    from yoyo.ops.adapters.context import AdapterContext

LOCK: Final = "adapters"
INTERRUPTED: Final = "INTERRUPTED"
_PATIENCE_S: Final = 60
# The stages that the last step of each action can end in.
_ENDS: Final = {
    "register": (Stage.EVAL_PENDING, Stage.EVAL_OK, Stage.REJECTED),
    "promote": (Stage.PROMOTED,),
    "rollback": (Stage.PROMOTED,),
    "retire": (Stage.RETIRED,),
    "reject": (Stage.REJECTED,),
}


def change(
    ctx: AdapterContext,
    action: str,
    adapter: AdapterVersion,
    digest: str,
    decide: Callable[[AdapterBook], Sequence[Registered]],
) -> AdapterBook:
    """One change of the registry file: JOB_START before, JOB_COMPLETE after.

    `digest` is of the artefact's manifest, `decide` as the port's. Where the change is broken off,
    the file says which end is booked. What a killed command left open is closed first.

    Raises:
        NodeBusy, LedgerCorrupt, LedgerWriteFailed, AdapterBookInvalid, StateUnwritable, and what
        `decide` raises.
    """
    job_id = f"{action}/{adapter.name}"
    wanted: list[Registered] = []

    def deciding(book: AdapterBook) -> Sequence[Registered]:
        wanted.extend(decide(book))
        return wanted

    with ctx.locks.hold(LOCK, operator=ctx.operator, command=action, wait_s=_PATIENCE_S):
        settle(ctx)
        _book(ctx, EventType.JOB_START, job_id, adapter, digest, CompletionStatus.PENDING)
        end, code = CompletionStatus.SUCCESS, ""
        try:
            book = ctx.book.change(deciding)
        except BaseException as error:
            if not _stands(ctx, wanted):
                meant = isinstance(error, YoyoError) and not isinstance(error, Interrupted)
                code = f"{action.upper()}_REFUSED" if meant else INTERRUPTED
                end = CompletionStatus.ERROR
            _book(ctx, EventType.JOB_COMPLETE, job_id, adapter, digest, end, code)
            raise
        _book(ctx, EventType.JOB_COMPLETE, job_id, adapter, digest, end, code)
        return book


def _stands(ctx: AdapterContext, wanted: Sequence[Registered]) -> bool:
    """Whether the file has exactly what was to be written; the caller holds the lock."""
    if not wanted:
        return False
    try:
        book = ctx.book.read()
    except YoyoError:
        return False
    return all(book.find(each.adapter.name) == each for each in wanted)


def settle_if_free(ctx: AdapterContext) -> None:
    """Book the end of changes whose command is gone, unless another one is at work. Never fails:
    a ledger or a file that is damaged is told by the command that needs it.

    It reads the whole ledger, about 11 us a row.
    """
    try:
        if read_book(ctx.ledger.state_rows()).jobs_of(ADAPTERS_NODE):
            with ctx.locks.hold(LOCK, operator=ctx.operator, command="settle", wait_s=0):
                settle(ctx)
    except YoyoError:
        return


def settle(ctx: AdapterContext) -> None:
    """Book the end of changes whose command is gone; the caller holds the lock.

    Raises:
        LedgerCorrupt, LedgerWriteFailed, AdapterBookInvalid.
    """
    left = read_book(ctx.ledger.state_rows()).jobs_of(ADAPTERS_NODE)
    if not left:
        return
    book = ctx.book.read()
    for each in left:
        done = _was_done(book, each)
        ctx.ledger.append(
            Entry(
                EventType.JOB_COMPLETE,
                each.module_id,
                ADAPTERS_NODE,
                each.job_id,
                CompletionStatus.SUCCESS if done else CompletionStatus.ERROR,
                ctx.operator,
                error_code="" if done else INTERRUPTED,
                input_hash=each.input_hash,
                adapter_versions=(each.job_id.partition("/")[2],),
            )
        )


def _was_done(book: AdapterBook, job: OpenJob) -> bool:
    """Whether the file has a step of that action on that artefact since the job began.

    Other changes wait for the lock and settle first, so that such a step is the job's own. A
    `register` that was to change the notes or the scale alone leaves no step: it counts as not
    done, and registering again is harmless.
    """
    action, _, name = job.job_id.partition("/")
    found = book.find(name)
    return (
        found is not None
        and found.digest == job.input_hash
        and found.stage in _ENDS.get(action, ())
        and found.history[-1].at >= job.started
    )


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
