"""Google's discovery document of compute v1: its methods, and strict checks made from it."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Literal, NamedTuple

JSON = dict[str, Any]
Side = Literal["request", "response"]

INTEGER = re.compile(r"-?\d+")
RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
# What the document's text recommends and its parameter lists do not have; see Document.query_of.
PARTIAL_SUCCESS = "returnPartialSuccess"


class Method(NamedTuple):
    """One method of the API."""

    id: str  # compute.instances.insert
    verb: str
    template: re.Pattern[str]  # of the path below compute/v1/
    parameters: Mapping[str, JSON]
    request: str  # schema name, "" for none
    response: str
    description: str

    @property
    def item(self) -> str:
        """The collection that the method is of, such as `instances`."""
        return self.id.split(".")[1]


class Problem(NamedTuple):
    """One thing that the document does not allow."""

    where: str
    message: str
    reason: str = "invalid"  # as Google's errors have it


class Document:
    """The document, with its methods indexed."""

    def __init__(self, raw: JSON) -> None:
        self.schemas: dict[str, JSON] = raw["schemas"]
        self.standard: dict[str, JSON] = raw["parameters"]
        self.methods: dict[str, Method] = {}
        self._by_shape: dict[tuple[str, int], list[Method]] = {}
        for resource in raw["resources"].values():
            for entry in resource.get("methods", {}).values():
                self._add(entry)

    def _add(self, entry: JSON) -> None:
        path: str = entry["flatPath"]
        template = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))
        method = Method(
            entry["id"],
            entry["httpMethod"],
            re.compile(template),
            entry["parameters"],
            entry.get("request", {}).get("$ref", ""),
            entry.get("response", {}).get("$ref", ""),
            entry["description"],
        )
        self.methods[method.id] = method
        self._by_shape.setdefault((method.verb, path.count("/")), []).append(method)

    def find(self, verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """The method for a path below `compute/v1/`, and the path's parameters."""
        found = [
            (method, match.groupdict())
            for method in self._by_shape.get((verb, path.count("/")), [])
            if (match := method.template.fullmatch(path))
        ]
        return min(found, key=lambda pair: len(pair[1])) if found else None

    def query_of(self, method: Method) -> dict[str, JSON]:
        """The query parameters that a method takes."""
        own = {name: p for name, p in method.parameters.items() if p["location"] == "query"}
        if PARTIAL_SUCCESS in method.description:
            own[PARTIAL_SUCCESS] = {"type": "boolean", "location": "query"}
        return {**self.standard, **own}

    def check_call(
        self, method: Method, path: Mapping[str, str], query: Sequence[tuple[str, str]]
    ) -> Iterator[Problem]:
        """What is wrong with a call's parameters."""
        for name, value in path.items():
            pattern = method.parameters[name].get("pattern", ".*")
            if not re.fullmatch(pattern, value):
                yield Problem(name, f"Invalid value for field '{name}': '{value}'.")
        known = self.query_of(method)
        for name, value in query:
            if name not in known:
                yield Problem(name, f'Invalid query parameter: Unknown name "{name}".')
            else:
                yield from _check_parameter(name, known[name], value)
        given = {name for name, _ in query}
        for name, parameter in known.items():
            if parameter.get("required") and name not in given:
                yield Problem(name, f"Required parameter: {name}", "required")

    def check(self, schema: str, value: object, side: Side, method: str = "") -> Iterator[Problem]:
        """What is wrong with a body; `method` is the id of the method that it is sent to."""
        yield from self._walk({"$ref": schema}, value, "resource", side, method)

    def _walk(
        self, schema: JSON, value: object, at: str, side: Side, method: str
    ) -> Iterator[Problem]:
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        kind = schema.get("type", "any")
        if kind == "any":
            return
        if value is None and side == "request":
            return  # JSON's null is "not set" in a request
        if kind == "object" and isinstance(value, dict):
            yield from self._walk_object(schema, value, at, side, method)
        elif kind == "array" and isinstance(value, list):
            for index, item in enumerate(value):
                yield from self._walk(schema["items"], item, f"{at}[{index}]", side, method)
        else:
            yield from _check_scalar(schema, value, at, side)

    def _walk_object(
        self, schema: JSON, value: JSON, at: str, side: Side, method: str
    ) -> Iterator[Problem]:
        properties: JSON = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for name, item in value.items():
            if name in properties:
                yield from self._walk(properties[name], item, f"{at}.{name}", side, method)
            elif others is not None:
                yield from self._walk(others, item, f"{at}.{name}", side, method)
            else:
                yield Problem(
                    f"{at}.{name}",
                    f"Invalid JSON payload received. Unknown name \"{name}\" at '{at}': "
                    "Cannot find field.",
                )
        for name, item in properties.items() if side == "request" else ():
            if method in item.get("annotations", {}).get("required", ()) and not value.get(name):
                where = f"{at}.{name}"
                yield Problem(where, f"Required field '{where}' not specified", "required")


def _check_parameter(name: str, parameter: JSON, value: str) -> Iterator[Problem]:
    typed: object = value
    if parameter["type"] == "boolean" and value.lower() in ("true", "false"):
        typed = value == "true"
    elif parameter["type"] == "integer" and INTEGER.fullmatch(value):
        typed = int(value)
    yield from _check_scalar(parameter, typed, name, "request")


def _check_scalar(schema: JSON, value: object, at: str, side: Side) -> Iterator[Problem]:
    kind, form = schema["type"], schema.get("format", "")
    invalid = Problem(
        at, f"Invalid value for field '{at}': '{str(value)[:200]}'. Not {kind} {form}"
    )
    if kind == "string" and form in RANGES:
        # 64-bit numbers are strings in JSON; a request may have them as numbers.
        number = value if side == "request" and _is_int(value) else None
        if isinstance(value, str) and INTEGER.fullmatch(value):
            number = int(value)
        if not _is_int(number) or not _in_range(number, form, schema):
            yield invalid
    elif kind == "integer":
        if not _is_int(value) or not _in_range(value, form, schema):
            yield invalid
    elif kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield invalid
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield invalid
    elif kind == "string" and isinstance(value, str):
        yield from _check_text(schema, value, at, invalid)
    else:
        yield invalid


def _check_text(schema: JSON, value: str, at: str, invalid: Problem) -> Iterator[Problem]:
    if "enum" in schema and value not in schema["enum"]:
        yield Problem(at, f"Invalid value for field '{at}': '{value}'. Not one of {schema['enum']}")
    pattern = schema.get("pattern")
    if pattern and not re.fullmatch(pattern, value):
        yield Problem(
            at,
            f"Invalid value for field '{at}': '{value}'. Must be a match of regex '{pattern}'",
        )
    if schema.get("format") == "byte":
        try:
            base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            yield invalid


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _in_range(value: object, form: str, schema: JSON) -> bool:
    low, high = RANGES.get(form, (-(2**63), 2**64))
    low, high = int(schema.get("minimum", low)), int(schema.get("maximum", high))
    return isinstance(value, int) and low <= value <= high


@functools.cache
def load() -> Document:
    """Google's document as google-api-python-client brings it along."""
    place = files("googleapiclient").joinpath("discovery_cache/documents/compute.v1.json")
    return Document(json.loads(place.read_bytes()))
