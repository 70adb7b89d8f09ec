"""A bar for work whose share is known. Rich is imported only when there is a bar to show."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from yoyo.cli.output import Output

if TYPE_CHECKING:
    from rich.progress import Progress

_QUIET_S, _BAR_EVERY_S, _LINE_EVERY_S = 2.0, 0.1, 5.0


class Share:
    """A bar for work whose share is known; silent for the first two seconds.

    It starts no thread: the verifier forks, and does so only in a process of one thread.
    """

    def __init__(self, output: Output, name: str) -> None:
        self._output, self._name = output, name
        self._next = time.monotonic() + _QUIET_S
        self._bar: Progress | None = None

    def __call__(self, share: float) -> None:
        """Show that share, from 0 to 1, if it is time to."""
        if time.monotonic() < self._next:
            return
        if not self._output.live:
            self._output.note(f"{self._name}: {share:.0%}")
            self._next = time.monotonic() + _LINE_EVERY_S
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(
                console=Console(file=self._output.stderr), auto_refresh=False, transient=True
            )
            self._bar.start()
            self._bar.add_task(self._name, total=1.0)
        self._bar.update(self._bar.task_ids[0], completed=share, refresh=True)
        self._next = time.monotonic() + _BAR_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
