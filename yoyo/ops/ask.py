"""`yoyo ask`: a completion through the endpoint, booked as a job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.lives import Life
from yoyo.errors import EngineFailed
from yoyo.model.engine import Completion
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.machine import Endpoint
from yoyo.ops.context import Context
from yoyo.ops.lease import renew_if_due
from yoyo.ops.running import running

if TYPE_CHECKING:
    from yoyo.ops.adapters.load import Applied

# The command gives up this long before its job's lease ends, so that never two write the outcome.
_LEASE_MARGIN_S = 60


class Answer(NamedTuple):
    """The end of an answer and what it was booked as."""

    job_id: str
    completion: Completion
    adapters: tuple[str, ...] = ()  # id@version of those that weighed in


def ask(
    ctx: Context, prompt: str, *, max_tokens: int, task: str | None = None
) -> Iterator[str | Answer]:
    """Stream the answer: pieces of text, then one Answer.

    With a `task`, the loaded adapters that serve it weigh in; otherwise those that are active.
    The rows name each one that did.

    JOB_START is on the disk before the engine is asked, JOB_COMPLETE after the last piece;
    a stream that breaks, or a reader that goes away, is booked as an error.

    Raises:
        NodeNotReady, EngineFailed, AdapterNotLoaded, LedgerCorrupt, LedgerWriteFailed.
    """
    life, seen, endpoint = running(ctx)
    renew_if_due(ctx, seen)
    applied = _applied(ctx, life, endpoint, task)
    start = Entry(
        EventType.JOB_START,
        ctx.node.module_id,
        ctx.node.name,
        ctx.ids.new_id(),
        CompletionStatus.PENDING,
        ctx.operator,
        input_hash="sha256:" + hashlib.sha256(prompt.encode()).hexdigest(),
        adapter_versions=applied.names,
    )
    lease_s = ctx.node.guards.job_lease_s
    gives_up = ctx.clock.now() + timedelta(seconds=max(lease_s - _LEASE_MARGIN_S, lease_s / 2))
    ctx.ledger.append(start)
    failure = (CompletionStatus.ERROR, "INTERRUPTED")
    done: Completion | None = None
    try:
        for piece in ctx.engine.complete(
            endpoint,
            prompt,
            max_tokens=max_tokens,
            timeout=120.0,
            scales=applied.scales,
        ):
            if isinstance(piece, Completion):
                done = piece
                continue
            yield piece
            if ctx.clock.now() > gives_up:
                failure = (CompletionStatus.TIMEOUT, "JOB_DEADLINE")
                raise _too_long(lease_s)
        if done is None:
            failure = (CompletionStatus.ERROR, "ENGINE_DISCONNECTED")
            raise EngineFailed("The engine's answer had no end.", fix="See `yoyo logs`.")
    except EngineFailed:
        if failure[1] == "INTERRUPTED":
            failure = (CompletionStatus.ERROR, "ENGINE_FAILED")
        raise
    finally:
        if ctx.clock.now() <= gives_up + timedelta(seconds=_LEASE_MARGIN_S / 2):
            ctx.ledger.append(_outcome(start, done, failure))
    yield Answer(start.job_id, done, start.adapter_versions)


def _applied(ctx: Context, life: Life, endpoint: Endpoint, task: str | None) -> Applied:
    """What the request is to be answered with. The engine is always asked: what somebody else
    loaded or set weighs in, too."""
    from yoyo.ops.adapters.load import applied
    from yoyo.ops.adapters.stack import scales_for

    return applied(ctx, life, endpoint, None if task is None else scales_for(ctx, life, task))


def _outcome(start: Entry, done: Completion | None, failure: tuple[CompletionStatus, str]) -> Entry:
    status, code = (CompletionStatus.SUCCESS, "") if done else failure
    tokens = cached = seconds = None
    if done is not None and done.prompt_tokens is not None and done.completion_tokens is not None:
        tokens = done.prompt_tokens + done.completion_tokens
        if done.cached_tokens is not None and done.prompt_tokens > 0:
            cached = (Decimal(done.cached_tokens) / done.prompt_tokens).quantize(Decimal("0.0001"))
    if done is not None and done.engine_seconds is not None:
        seconds = Decimal(str(done.engine_seconds)).quantize(Decimal("0.001"))
    return Entry(
        EventType.JOB_COMPLETE,
        start.module_id,
        start.node_id,
        start.job_id,
        status,
        start.operator_id,
        error_code=code,
        input_hash=start.input_hash,
        adapter_versions=start.adapter_versions,
        cache_hit_ratio=cached,
        tokens_processed=tokens,
        gpu_seconds=seconds,
    )


def _too_long(lease_s: int) -> EngineFailed:
    return EngineFailed(
        "The answer took too long and was cut off.",
        why=f"A job's lease is {lease_s} s (`guards.job_lease`).",
        fix="Ask for fewer tokens, or raise `guards.job_lease`.",
    )
