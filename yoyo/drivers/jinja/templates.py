"""Implements the templates port with Jinja2."""

from __future__ import annotations

from collections.abc import Callable


class JinjaTemplates:
    """Renders templates whose texts `source` gives by name."""

    def __init__(self, source: Callable[[str], str]) -> None:
        self._source = source

    def render(self, name: str, **values: object) -> str:
        """Fill in a template; an undefined value raises jinja2.UndefinedError.

        A template may include others, and quotes a value for a shell with the filter `sh`.
        """
        import shlex

        import jinja2

        # Autoescape is for HTML: a unit or a crontab must hold the very bytes that were quoted.
        environment = jinja2.Environment(
            autoescape=False,  # noqa: S701
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            loader=jinja2.FunctionLoader(self._source),
        )
        environment.filters["sh"] = lambda value: shlex.quote(str(value))
        return environment.from_string(self._source(name)).render(values)
