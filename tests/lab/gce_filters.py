"""The `filter` parameter of lists: AIP-160 comparisons, AND, OR, NOT and parentheses."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

JSON = dict[str, Any]
Test = Callable[[JSON], bool]

TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[()]|!=|<=|>=|[=:<>])
    |"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'
    |(?P<word>[^\s()=:<>!"']+))""",
    re.VERBOSE,
)


class BadFilter(ValueError):
    """The expression is none."""


class _Token(str):
    """A token; a quoted one is never a keyword or a mark."""

    quoted: bool = False


def compile_filter(text: str) -> Test:
    """The test that an expression means.

    Raises:
        BadFilter
    """
    tokens = _tokens(text)
    if not tokens:
        return lambda _: True
    parser = _Parser(tokens)
    test = parser.either()
    if parser.tokens:
        raise BadFilter(f"unexpected {parser.tokens[0]!r}")
    return test


def fields_of(text: str) -> set[str]:
    """The top-level fields that an expression compares."""
    tokens = _tokens(text)
    operators = ("=", "!=", ":", "<", ">", "<=", ">=", "eq", "ne")
    return {
        token.split(".")[0]
        for token, following in itertools.pairwise(tokens)
        if following in operators and not following.quoted
    }


def _tokens(text: str) -> list[_Token]:
    found, position = [], 0
    while text[position:].strip():
        match = TOKEN.match(text, position)
        if not match:
            raise BadFilter(f"cannot read {text[position:]!r}")
        quoted = match["double"] if match["double"] is not None else match["single"]
        token = _Token(match["mark"] or match["word"] or re.sub(r"\\(.)", r"\1", quoted or ""))
        token.quoted = quoted is not None
        found.append(token)
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens

    def _next_is(self, *words: str) -> bool:
        return bool(self.tokens) and self.tokens[0] in words and not self.tokens[0].quoted

    def _take(self) -> _Token:
        if not self.tokens:
            raise BadFilter("unexpected end")
        return self.tokens.pop(0)

    def either(self) -> Test:
        tests = [self._both()]
        while self._next_is("OR"):
            self._take()
            tests.append(self._both())
        return lambda item: any(test(item) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self.tokens and not self._next_is(")", "OR"):
            if self._next_is("AND"):
                self._take()
            tests.append(self._one())
        return lambda item: all(test(item) for test in tests)

    def _one(self) -> Test:
        if self._next_is("NOT"):
            self._take()
            negated = self._one()
            return lambda item: not negated(item)
        if self._next_is("("):
            self._take()
            inner = self.either()
            if not self._next_is(")"):
                raise BadFilter("a parenthesis is not closed")
            self._take()
            return inner
        return self._comparison()

    def _comparison(self) -> Test:
        name, operator = self._take(), self._take()
        value = self._take()
        # A value may have marks in it: a time has colons, a URL as well.
        while self._next_is(":", "=") and len(self.tokens) > 1 and not value.quoted:
            value = _Token(value + self._take() + self._take())
        if name in "()=:<>" or value in ("(", ")"):
            raise BadFilter(f"no comparison: {name}{operator}{value}")
        if operator not in OPERATORS:
            raise BadFilter(f"unknown operator {operator!r}")
        compare = OPERATORS[operator]
        return lambda item: compare(_field(item, name), str(value))


def _field(item: JSON, name: str) -> str | None:
    value: object = item
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _has(found: str | None, value: str) -> bool:
    if found is None:
        return False
    return fnmatchcase(found, value) if "*" in value else value.lower() in found.lower()


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[str | None, str], bool]:
    def compare(found: str | None, value: str) -> bool:
        if found is None:
            return False
        try:
            return test(float(found), float(value))
        except ValueError:
            return test(found, value)

    return compare


OPERATORS: dict[str, Callable[[str | None, str], bool]] = {
    "=": lambda found, value: found is not None and fnmatchcase(found, value),
    "!=": lambda found, value: found is None or not fnmatchcase(found, value),
    ":": _has,
    "<": _ordered(lambda a, b: a < b),
    ">": _ordered(lambda a, b: a > b),
    "<=": _ordered(lambda a, b: a <= b),
    ">=": _ordered(lambda a, b: a >= b),
    "eq": lambda found, value: found is not None and re.fullmatch(value, found) is not None,
    "ne": lambda found, value: found is None or re.fullmatch(value, found) is None,
}
