"""Phases on a terminal: the one at work spins, the ones done stay with their seconds."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.text import Text

from yoyo.cli.output import Output, clean, step_text
from yoyo.model.machine import BootStep


class LiveProgress:
    """Implements the progress port with a Rich status line on stderr."""

    def __init__(self, output: Output) -> None:
        self._console = Console(file=output.stderr, highlight=False)
        self._status: Status | None = None
        self._phase = ""
        self._begun = 0.0
        self._done: set[str] = set()

    def phase(self, name: str, detail: str = "") -> None:
        """Close the phase before and begin this one."""
        self._close("[green]✓[/]")
        self._phase, self._begun = clean(name), time.monotonic()
        text = Text.assemble((self._phase, "bold"), "  ", (clean(detail), "dim"))
        self._status = self._console.status(text)
        self._status.start()

    def note(self, text: str) -> None:
        """A line above the phase at work; it stays when that is done."""
        self._console.print(escape(clean(text)))

    def steps(self, steps: tuple[BootStep, ...]) -> None:
        """Show the steps at work behind the phase; those that are done stay as lines."""
        for step in steps:
            if step.state != "running" and step.name not in self._done:
                self._done.add(step.name)
                mark = "[red]✗[/]" if step.state == "failed" else "[green]✓[/]"
                self._console.print(f"  {mark} {escape(clean(step_text(step)))}")
        at_work = [clean(step_text(step)) for step in steps if step.state == "running"]
        if self._status is not None and at_work:
            seconds = f"{time.monotonic() - self._begun:.0f} s"
            text = (self._phase, "bold"), "  ", (f"{seconds}: {', '.join(at_work)}", "dim")
            self._status.update(Text.assemble(*text))

    def _close(self, mark: str) -> None:
        if self._status is None:
            return
        self._status.stop()
        seconds = time.monotonic() - self._begun
        self._console.print(f"{mark} {self._phase:<14} [dim]{seconds:6.2f} s[/]")
        self._status = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close("[green]✓[/]" if error is None else "[red]✗[/]")
