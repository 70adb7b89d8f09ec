"""The parts of a manifest that say what a model or an engine is, to and from its document."""

from __future__ import annotations

from typing import Any, Final

from yoyo.core.manifest_fields import ManifestError, exact_keys, integer, text
from yoyo.model.machine import ModelFacts
from yoyo.model.store import EngineBuild

MAX_LIST: Final = 4096  # llama.cpp knows about 150 architectures

_MODEL_TEXTS = ("name", "path", "architecture", "quantisation")
_MODEL_NUMBERS = ("file_bytes", "weight_bytes", "layers")
_ENGINE_LISTS = ("flags", "sm", "architectures", "licences")


def model_out(model: ModelFacts) -> dict[str, Any]:
    """As it stands in the document."""
    return model._asdict()


def model_in(value: object) -> ModelFacts:
    """From the document.

    Raises:
        ManifestError.
    """
    model = ModelFacts(**exact_keys(value, ModelFacts._fields, "model"))
    check_model(model)
    return model


def check_model(model: ModelFacts) -> None:
    """Every field has its type and is within bounds.

    Raises:
        ManifestError.
    """
    for field, value in model._asdict().items():
        if field in _MODEL_TEXTS:
            text(value, f"model.{field}")
        elif value is not None or field in _MODEL_NUMBERS:
            integer(value, f"model.{field}")


def engine_out(engine: EngineBuild) -> dict[str, Any]:
    """As it stands in the document."""
    return {
        field: list(value) if field in _ENGINE_LISTS else value
        for field, value in engine._asdict().items()
    }


def engine_in(value: object) -> EngineBuild:
    """From the document.

    Raises:
        ManifestError.
    """
    fields = dict(exact_keys(value, EngineBuild._fields, "engine"))
    for field in _ENGINE_LISTS:
        if not isinstance(fields[field], list):
            raise ManifestError(f"engine.{field} is not a list")
        fields[field] = tuple(fields[field])
    engine = EngineBuild(**fields)
    check_engine(engine)
    return engine


def check_engine(engine: EngineBuild) -> None:
    """Every field has its type and is within bounds.

    Raises:
        ManifestError.
    """
    for field, value in engine._asdict().items():
        if field not in _ENGINE_LISTS:
            text(value, f"engine.{field}")
            continue
        if type(value) is not tuple or len(value) > MAX_LIST:
            raise ManifestError(f"engine.{field} is not a list of at most {MAX_LIST}")
        for entry in value:
            text(entry, f"engine.{field}")
