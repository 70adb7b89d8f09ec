"""The lines of the generated year: id, time, number and hash to the text of each row."""

from __future__ import annotations

import hashlib
import random
from datetime import timedelta

from year_facts import CLOCK_STEP_S, Event, Marked

from yoyo.core.uuid7 import uuid7
from yoyo.model.ledger import GENESIS_HASH


class YearLines:
    """Makes lines in their order; `seq` and `prev` are those of the last row that is there."""

    def __init__(self, seed: int) -> None:
        self.seq, self.prev = 0, GENESIS_HASH
        self._chance = random.Random(f"{seed} ids")
        self._marks: dict[str, Marked] = {}
        self._skew = timedelta(0)

    def line(self, event: Event) -> bytes:
        """The next row's line with its LF."""
        self.seq += 1
        text = event.text if isinstance(event.text, str) else event.text(self._marks)
        if ",clock/" in text:
            self._skew = timedelta(0) if self._skew else timedelta(seconds=-CLOCK_STEP_S)
        at = event.at + self._skew
        event_id = uuid7(int(at.timestamp() * 1000), self._chance.randbytes(10))
        stamp = at.isoformat(timespec="microseconds")[:26]
        prefix = f"{event_id},{stamp}Z,{text},{self.seq}"
        self.prev = hashlib.sha256(f"{self.prev}{prefix}".encode()).hexdigest()
        if event.mark:
            self._marks[event.mark] = Marked(self.seq, event_id, self.prev)
        return f"{prefix},{self.prev}\n".encode()
