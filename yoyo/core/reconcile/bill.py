"""A billing export added up by life, one line at a time. Pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from yoyo.model.reconcile import Bill, BilledLife, BillKind, BillLine

_ZERO = Decimal(0)


class BillTally:
    """Feed every line; memory grows with the lines that are ours, by 100 bytes each."""

    def __init__(self) -> None:
        self._lives: dict[str, BilledLife] = {}
        self._seen: set[str] = set()
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._lines = self._ours = self._duplicates = 0
        self._other = self._unlabelled = self._twice = _ZERO

    def take(self, line: BillLine | None) -> None:
        """Count one line; None is one that is not ours."""
        self._lines += 1
        if line is None:
            return
        if line.digest in self._seen:
            self._duplicates += 1
            self._twice += line.cost + line.credits
            life = self._lives.get(line.request_id)
            if life is not None and line.kind is BillKind.MACHINE:
                self._lives[line.request_id] = life._replace(duplicates=life.duplicates + 1)
            return
        self._seen.add(line.digest)
        self._ours += 1
        self._first = min(self._first or line.start, line.start)
        self._last = max(self._last or line.end, line.end)
        if line.kind is BillKind.OTHER:
            self._other += line.cost + line.credits
        elif not line.request_id:
            self._unlabelled += line.cost + line.credits
        else:
            self._add(line)

    def _add(self, line: BillLine) -> None:
        new = BilledLife(
            line.request_id, line.node_id, _ZERO, _ZERO, _ZERO, line.start, line.end
        )  # fmt: skip
        life = self._lives.get(line.request_id, new)
        life = life._replace(first=min(life.first, line.start), last=max(life.last, line.end))
        if line.kind is BillKind.DISK:
            life = life._replace(disk_usd=life.disk_usd + line.cost + line.credits)
        else:
            life = life._replace(
                machine_usd=life.machine_usd + line.cost,
                credits_usd=life.credits_usd + line.credits,
            )
        self._lives[line.request_id] = life

    def bill(self) -> Bill:
        """What came together."""
        return Bill(
            tuple(self._lives.values()),
            self._first,
            self._last,
            self._lines,
            self._ours,
            self._other,
            self._unlabelled,
            self._duplicates,
            self._twice,
        )
