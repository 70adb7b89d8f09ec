"""Reads the file that says how an adapter was trained, for its provenance."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from yoyo.config.document import Mapping, Scalar, Tree, parse, read_text
from yoyo.config.mistakes import UNSAFE, Origin, Report, TooMany
from yoyo.core.adapters.statements import MAX_SEED, Training
from yoyo.errors import ConfigInvalid

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
_COMMIT: Final = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", re.ASCII)
_FORM: Final = "%Y-%m-%dT%H:%M:%SZ"
_MAX: Final = 2048
# Key -> whether it is needed, and what its value has to look like.
_KEYS: Final[dict[str, tuple[bool, re.Pattern[str] | None, str]]] = {
    "base.ref": (True, None, "the base model as you name it"),
    "base.uri": (False, None, "where the base model is"),
    "dataset.uri": (True, None, "where the training data are"),
    "trainer.uri": (False, None, "the trainer: a package, an image"),
    "trainer.digest": (False, _DIGEST, "sha256: and 64 of 0-9, a-f"),
    "source.uri": (False, None, "the repository of the training code"),
    "source.commit": (False, _COMMIT, "a git commit in full"),
    "builder": (True, None, "the URI of who ran the training; see trust.builder_ids"),
    "invocation": (False, None, "the run's own name"),
    "seed": (False, re.compile(r"(?:0|[1-9][0-9]{0,15})\Z"), "a whole number"),
    "started": (False, _TIME, "a time such as 2026-11-21T17:00:00Z"),
    "finished": (False, _TIME, "a time such as 2026-11-21T19:00:00Z"),
}
_HYPERPARAMETERS: Final = "hyperparameters."


def load_training(path: Path) -> Training:
    """The training that the YAML file at `path` describes.

    Raises:
        ConfigInvalid: with every mistake.
    """
    report = Report()
    found: dict[str, Scalar] = {}
    with suppress(TooMany):
        _read(path, found, report)
    if report.mistakes:
        raise ConfigInvalid(
            f"{path} does not say how the adapter was trained.",
            why=f"{len(report.mistakes)} mistake(s).",
            fix="Correct them; docs/guides/adapters.md has a whole one.",
            details=tuple(str(mistake) for mistake in report.mistakes),
        )
    return _training(lambda key: found[key].text if key in found else "", found)


def _read(path: Path, found: dict[str, Scalar], report: Report) -> None:
    text, _ = read_text(str(path), str(path), report)
    if text is not None and not any(map(_says, text.splitlines())):
        needed_keys = ", ".join(key for key, (needed, _, _) in _KEYS.items() if needed)
        report.add(Origin(str(path), 1, 1), "", f"is empty; needed are {needed_keys}")
        return
    tree = parse(text, str(path), report) if text is not None else None
    if tree is not None:
        _flatten(tree, "", found, report)
    for key, (needed, pattern, expected) in _KEYS.items():
        value = found.get(key)
        if value is None and needed and not report.mistakes:
            report.add(Origin(str(path), 1, 1), key, f"is missing: {expected}")
        elif value is not None and not _fits(value.text, pattern):
            report.add(value.at, key, f"expected {expected}")
    for key, value in found.items():
        if key.startswith(_HYPERPARAMETERS) and not _fits(value.text, None):
            report.add(value.at, key, "expected one value without control characters")
        if key not in _KEYS and not key.startswith(_HYPERPARAMETERS):
            report.add(value.at, key, f"unknown key; known here: {', '.join(_KEYS)}, "
                       "hyperparameters")  # fmt: skip
    seed = found.get("seed")
    if seed is not None and not report.mistakes and int(seed.text) > MAX_SEED:
        report.add(seed.at, "seed", f"is above {MAX_SEED}, where JSON's numbers end")


def _says(line: str) -> bool:
    """Whether the line is more than a comment or a mark where a document begins or ends."""
    return line.partition("#")[0].strip() not in ("", "---", "...")


def _fits(text: str, pattern: re.Pattern[str] | None) -> bool:
    if not text or len(text) > _MAX or UNSAFE.search(text):
        return False
    if pattern is _TIME:
        return pattern.match(text) is not None and _time(text) is not None
    return pattern is None or pattern.match(text) is not None


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _FORM).replace(tzinfo=UTC)
    except ValueError:
        return None


def _flatten(tree: Tree, prefix: str, found: dict[str, Scalar], report: Report) -> None:
    if not isinstance(tree, Mapping):
        report.add(tree.at, prefix.rstrip("."), "expected keys and values")
        return
    for key, value in tree.pairs:
        name = key.text if isinstance(key, Scalar) else ""
        path = prefix + name
        if not name or path in found:
            report.add(key.at, path, "a key must be a plain word, and stand once")
        elif isinstance(value, Scalar):
            found[path] = value
        elif prefix:
            report.add(value.at, path, "expected one value")
        else:
            _flatten(value, f"{path}.", found, report)


def _training(text: Callable[[str], str], found: dict[str, Scalar]) -> Training:
    return Training(
        base_ref=text("base.ref"),
        base_uri=text("base.uri"),
        dataset_uri=text("dataset.uri"),
        hyperparameters=tuple(
            (key.removeprefix(_HYPERPARAMETERS), value.text)
            for key, value in found.items()
            if key.startswith(_HYPERPARAMETERS)
        ),
        seed=int(text("seed")) if text("seed") else None,
        trainer=(text("trainer.uri"), text("trainer.digest")),
        source=(text("source.uri"), text("source.commit")),
        builder_id=text("builder"),
        invocation_id=text("invocation"),
        started=_time(text("started")),
        finished=_time(text("finished")),
    )
