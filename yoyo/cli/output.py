"""One output object: data on stdout, everything else on stderr, JSON alone with --json."""

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from yoyo.core.unsafe_text import json_safe, visible_lines
from yoyo.errors import YoyoError

if TYPE_CHECKING:
    from yoyo.model.machine import BootStep

_PLAIN = frozenset((str, int, bool, type(None)))


def clean(text: str) -> str:
    """`text` with control and bidi characters made visible, so that it cannot act."""
    return visible_lines(text)


def _one_line(text: str) -> str:
    """A name with a line break in it must not look like a line of its own."""
    return text.replace("\n", "\\n")


def to_plain(value: Any) -> Any:  # noqa: PLR0911 - one return a type reads best
    """Value types as what `json` can write. Money stays exact: Decimals become text."""
    if type(value) in _PLAIN:
        return value
    from datetime import datetime
    from decimal import Decimal
    from enum import Enum
    from pathlib import PurePath

    match value:
        case Enum():
            return str(value.value)
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case PurePath():
            return str(value)
        case dict():
            return {str(key): to_plain(item) for key, item in value.items()}
        case tuple() if hasattr(value, "_asdict"):
            return to_plain(value._asdict())
        case list() | tuple():
            return [to_plain(item) for item in value]
        case str():
            return str(value)
        case _:
            return value


def json_line(plain: Any) -> str:
    """One JSON document on one line; what could act on a terminal is `\\uXXXX`."""
    import json

    return json_safe(json.dumps(plain, ensure_ascii=False)) + "\n"


def _error_document(error: YoyoError) -> dict[str, Any]:
    return {
        "code": error.code,
        "exit_code": error.exit_code,
        "what": error.what,
        "why": error.why,
        "fix": error.fix,
        "details": error.details,
    }


class Output:
    """Where a command puts what it has to say."""

    def __init__(
        self, *, json: bool, stdout: IO[str] | None = None, stderr: IO[str] | None = None
    ) -> None:
        self.json = json
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr

    @property
    def fancy(self) -> bool:
        """Whether people look at stdout on a terminal that can show a table."""
        return not self.json and self.stdout.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def live(self) -> bool:
        """Whether stderr can show progress that rewrites itself."""
        return self.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def emit(self, data: Any, people: Callable[[], str], trouble: YoyoError | None = None) -> None:
        """Print the result: `data` as JSON, or the text that `people` makes.

        `trouble` is what the command ends with all the same: raised here, and part of the one
        document that there is.
        """
        if not self.json:
            self.print(people())
        elif trouble is None:
            self.document(data)
        else:
            self.document({**to_plain(data), "error": _error_document(trouble)})
            trouble.documented = True
        if trouble is not None:
            raise trouble

    def document(self, data: Any) -> None:
        """One JSON document on one line of stdout."""
        self.stdout.write(json_line(to_plain(data)))
        self.stdout.flush()

    def print(self, text: str) -> None:
        """Lines for people, on stdout."""
        self.stdout.write(clean(text).rstrip("\n") + "\n")
        self.stdout.flush()

    def note(self, text: str) -> None:
        """A line beside the data, on stderr."""
        self.stderr.write(clean(text).rstrip("\n") + "\n")
        self.stderr.flush()

    def raw(self, stream: int, data: bytes) -> None:
        """Bytes of a command that ran elsewhere, as they are: to stdout (1) or stderr (2)."""
        sink = self.stdout if stream == 1 else self.stderr
        sink.flush()
        os.write(sink.fileno(), data)

    def error(self, error: YoyoError) -> None:
        """What happened, why, what to do; with --json also as a document on stdout."""
        if self.json and not error.documented:
            self.document({"error": _error_document(error)})
        for line in error.details:
            self.note(f"  {_one_line(line)}")
        self.note(f"error: {_one_line(error.what)}")
        if error.why:
            self.note(f"  why: {_one_line(error.why)}")
        if error.fix:
            self.note(f"  fix: {_one_line(error.fix)}")


def step_text(step: "BootStep") -> str:
    """`weights 40% 12 s`, or how it ended."""
    if step.state == "running":
        return f"{step.name} {step.percent}% {step.seconds} s"
    return f"{step.name} {step.state} {step.seconds} s"


class PlainProgress:
    """Phases as plain lines on stderr."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._states: dict[str, str] = {}

    def phase(self, name: str, detail: str = "") -> None:
        """One line for the phase that begins."""
        self._output.note(f"{name}: {detail}" if detail else name)

    def note(self, text: str) -> None:
        """One line."""
        self._output.note(text)

    def steps(self, steps: "tuple[BootStep, ...]") -> None:
        """One line for each step whose state has changed."""
        for step in steps:
            if self._states.get(step.name) != step.state:
                self._states[step.name] = step.state
                self._output.note(f"  {step_text(step)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None
