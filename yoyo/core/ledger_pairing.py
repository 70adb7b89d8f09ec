"""Which intents found their outcome: the state of every open life and job. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from yoyo.core.ledger_format import PAIRED
from yoyo.model.ledger import CLOSING, EventType, OpenIntent

# Past this many at once, later ones are no longer followed: memory stays bounded whatever
# the file holds (`verify` then peaks at 70 MB with the longest ids that the format allows).
MAX_OPEN = 50_000

_JOB_START = EventType.JOB_START.encode()
_JOB_COMPLETE = EventType.JOB_COMPLETE.encode()
_BOOT_REQUEST = EventType.BOOT_REQUEST.encode()
_BOOT_COMPLETE = EventType.BOOT_COMPLETE.encode()
_TEARDOWN_REQUEST = EventType.TEARDOWN_REQUEST.encode()
_PREEMPTION = EventType.PREEMPTION.encode()
_CLOSING = tuple(kind.encode() for kind in CLOSING)
_ALONE = frozenset(kind.encode() for kind in frozenset(EventType) - PAIRED)

# The newest row of a life -> what may follow. None: no row of that life is open.
_MAY_FOLLOW: dict[bytes | None, tuple[bytes, ...]] = {
    None: (_BOOT_REQUEST, _TEARDOWN_REQUEST),
    _BOOT_REQUEST: (_BOOT_COMPLETE, _TEARDOWN_REQUEST, *_CLOSING),
    _BOOT_COMPLETE: (_TEARDOWN_REQUEST, _PREEMPTION),
    _TEARDOWN_REQUEST: _CLOSING,
}


class Pairing:
    """Fold over the good rows of a ledger, in file order."""

    __slots__ = ("_jobs", "_lives", "_overflowed")

    def __init__(self) -> None:
        self._jobs: dict[bytes, tuple[bytes, int, bytes]] = {}  # job -> node, line, time
        self._lives: dict[bytes, tuple[bytes, int, bytes]] = {}  # node,job -> type, line, time
        self._overflowed = False

    def take(
        self,
        first_line: int,
        kinds: Sequence[bytes],
        nodes: Sequence[bytes],
        jobs: Sequence[bytes],
        stamps: Sequence[bytes],
    ) -> list[tuple[int, str]]:
        """Take rows that stand in consecutive lines; returns (line, reason) per broken rule.

        The four sequences are those rows' columns: event_type, node_id, job_id, timestamp_utc.
        """
        problems: list[tuple[int, str]] = []
        open_jobs, most = self._jobs, MAX_OPEN - len(self._lives)
        for line, kind, node, job, stamp in zip(count(first_line), kinds, nodes, jobs, stamps):
            if kind == _JOB_START and job not in open_jobs and len(open_jobs) < most:
                open_jobs[job] = (node, line, stamp)
            elif kind == _JOB_COMPLETE and job in open_jobs:
                del open_jobs[job]
            elif kind not in _ALONE:
                reason = self._other(line, kind, node, job, stamp)
                most = MAX_OPEN - len(self._lives)
                if reason:
                    problems.append((line, reason))
        return problems

    def _other(self, line: int, kind: bytes, node: bytes, job: bytes, stamp: bytes) -> str:
        if kind == _JOB_START:
            if job in self._jobs:
                return f"a second JOB_START of {_text(job)} while the first is open"
            return self._overflow()
        if kind == _JOB_COMPLETE:
            if self._overflowed:
                return ""
            return f"JOB_COMPLETE of {_text(job)} without an open JOB_START"
        return self._life(line, kind, node, job, stamp)

    def _life(self, line: int, kind: bytes, node: bytes, job: bytes, stamp: bytes) -> str:
        key = node + b"," + job  # unambiguous: a node's name holds no comma
        newest = self._lives.get(key)
        state = None if newest is None else newest[0]
        if state is None and self._overflowed:
            return ""  # its intent may be one of those no longer followed
        if kind in _CLOSING:
            self._lives.pop(key, None)
        elif kind in _MAY_FOLLOW[state]:
            if state is None and len(self._jobs) + len(self._lives) >= MAX_OPEN:
                return self._overflow()
            self._lives[key] = (kind, line, stamp)
        if kind in _MAY_FOLLOW[state]:
            return ""
        after = "nothing open" if state is None else state.decode()
        return f"{kind.decode()} of {_text(job)} on {_text(node)} after {after}"

    def _overflow(self) -> str:
        if self._overflowed:
            return ""
        self._overflowed = True
        return (
            f"more than {MAX_OPEN} lives and jobs are open at once: "
            "from here on pairing is not checked in full"
        )

    def saved(self) -> dict[str, Any]:
        """What `resume` goes on from, as JSON has it. Not to be asked after an overflow."""
        return {
            "jobs": [
                [_text(f) for f in (job, node, at)] for job, (node, _, at) in self._jobs.items()
            ],
            "lives": [
                [_text(f) for f in (key, kind, at)] for key, (kind, _, at) in self._lives.items()
            ],
        }

    def resume(self, saved: dict[str, Any]) -> None:
        """Go on where another one was saved. In which lines its rows stand is not known."""
        self._jobs = {
            job.encode(): (node.encode(), 0, at.encode()) for job, node, at in saved["jobs"]
        }
        self._lives = {
            key.encode(): (kind.encode(), 0, at.encode()) for key, kind, at in saved["lives"]
        }

    def open_intents(self) -> list[OpenIntent]:
        """Intents without an outcome, in file order. A life that is up is none."""
        found = [
            OpenIntent(line, EventType.JOB_START, _text(node), _text(job), _text(stamp))
            for job, (node, line, stamp) in self._jobs.items()
        ]
        for key, (kind, line, stamp) in self._lives.items():
            if kind != _BOOT_COMPLETE:
                node, _, job = key.partition(b",")
                kind_ = EventType(kind.decode())
                found.append(OpenIntent(line, kind_, _text(node), _text(job), _text(stamp)))
        return sorted(found, key=lambda intent: intent.line)


def _text(field: bytes) -> str:
    return field.decode()
