"""Progress of operations on many bytes: a bar on a terminal, a line now and then elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from yoyo.cli.output import Output, clean
from yoyo.cli.render import size

if TYPE_CHECKING:
    from rich.progress import Progress

_QUIET_S, _BAR_EVERY_S, _LINE_EVERY_S = 2.0, 0.1, 10.0


class TransferProgress:
    """Implements BytesProgress. What takes less than two seconds is not shown at all."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._begun = self._next = 0.0
        self._name = ""
        self._bar: Progress | None = None

    def phase(self, name: str, detail: str = "") -> None:
        """What takes long is said, once, as a line."""
        if name in ("waiting", "fetching", "building", "converting"):
            self._output.note(f"{name}: {detail}" if detail else name)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """Show it, if it is time to."""
        now = time.monotonic()
        if name != self._name:
            self._close()
            self._name, self._begun, self._next = name, now, now + _QUIET_S
        if now < self._next and not (self._bar is not None and done == total):
            return
        if self._output.live:
            self._draw(done, total)
            self._next = now + _BAR_EVERY_S
            return
        share = f"{done / total:.0%}, " if total else ""
        speed = size(int(done / max(now - self._begun, 0.001)))
        self._output.note(f"{name}: {share}{size(done)}, {speed}/s")
        self._next = now + _LINE_EVERY_S

    def _draw(self, done: int, total: int | None) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=Console(file=self._output.stderr),
                auto_refresh=False,
                transient=True,
            )
            self._bar.start()
            self._bar.add_task(clean(self._name)[-48:], total=total)
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, refresh=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
