"""Manifests to try the format with: one that is written down for ever, and any there can be."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

from hypothesis import strategies as st

from yoyo.core.manifest import NAME_PATTERN
from yoyo.model.machine import ModelFacts
from yoyo.model.store import (
    BYTES,
    CHUNK_BYTES,
    ENGINE,
    TOKENIZER,
    WEIGHTS,
    EngineBuild,
    Manifest,
    Source,
    StoredFile,
)


def digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def stored(path: str, size: int, *, media_type: str = "application/octet-stream") -> StoredFile:
    """A file of that size, with digests that a real one could have."""
    whole = digest_of(path if size else "")
    count = -(-size // CHUNK_BYTES)
    chunks = (whole,) if count == 1 else tuple(digest_of(f"{path} {n}") for n in range(count))
    return StoredFile(path, size, whole, chunks, media_type)


GOLDEN = Manifest(
    kind=WEIGHTS,
    name="qwen2.5-32b@q4_k_m",
    files=(
        stored("LICENSE", 11_343, media_type="text/plain"),
        stored("empty", 0),
        stored("q4/modèle-00001-of-00002.gguf", 2 * CHUNK_BYTES + 1),
        stored("q4/modèle-00002-of-00002.gguf", CHUNK_BYTES),
    ),
    source=Source("hf://Qwen/Qwen2.5-32B-Instruct-GGUF/q4", "0123456789abcdef" * 2 + "01234567"),
    licence="Apache-2.0",
    created=datetime(2026, 11, 1, 12, 0, tzinfo=UTC),
    created_by="ops@example.com",
    model=ModelFacts(
        name="Qwen2.5 32B Instruct",
        path="q4/modèle-00001-of-00002.gguf",
        architecture="qwen2",
        file_bytes=3 * CHUNK_BYTES + 1,
        weight_bytes=3 * CHUNK_BYTES - 6_000_000,
        layers=64,
        kv_bytes_per_token=262_144,
        context_length=32_768,
        quantisation="Q4_K_M",
        vocabulary=152_064,
        embedding_length=5_120,
        heads=None,
    ),
)  # fmt: skip

BUNDLE = Manifest(
    kind=ENGINE,
    name="llama.cpp-cuda",
    files=(stored("bundle.tar.zst", 200_000_000, media_type="application/zstd"),),
    source=Source("git+https://github.com/ggml-org/llama.cpp", "b6900"),
    licence="MIT",
    created=datetime(2026, 11, 1, 12, 0, tzinfo=UTC),
    created_by="ops",
    engine=EngineBuild(
        commit="0123456789abcdef0123456789abcdef01234567",
        source_sha256=digest_of("source"),
        flags=("-DGGML_CUDA=ON",),
        compiler="gcc 12.2.0",
        cuda="12.9",
        sm=("89",),
        glibc="2.34",
        machine="x86_64",
        architectures=("llama", "qwen2"),
        licences=("MIT",),
    ),
)

_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), max_size=40
)
_PART = st.text("abcXYZ019._é漢 ", min_size=1, max_size=12).filter(lambda part: part.strip("."))
_PATH = st.lists(_PART, min_size=1, max_size=3).map("/".join)
_SIZE = st.one_of(
    st.integers(0, 3 * CHUNK_BYTES), st.sampled_from([0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
)
_COUNT = st.integers(0, 2**63 - 1)


@st.composite
def _files(draw: st.DrawFn) -> tuple[StoredFile, ...]:
    paths = sorted(draw(st.sets(_PATH, min_size=1, max_size=6)))
    taken: list[str] = []
    for path in paths:
        clash = any(path.startswith(f"{other}/") or path == f"{other}.part" for other in taken)
        if not clash and not any(other == f"{path}.part" for other in paths):
            taken.append(path)
    return tuple(stored(path, draw(_SIZE)) for path in taken)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that the format takes."""
    kind = draw(st.sampled_from([WEIGHTS, TOKENIZER, BYTES, ENGINE]))
    files = draw(_files())
    texts = st.lists(_TEXT, max_size=3).map(tuple)
    model = engine = None
    if kind == WEIGHTS and draw(st.booleans()):
        optional = st.none() | _COUNT
        model = ModelFacts(
            draw(_TEXT), draw(st.sampled_from(files)).path, draw(_TEXT), draw(_COUNT),
            draw(_COUNT), draw(_COUNT), draw(optional), draw(optional), draw(_TEXT),
            draw(optional), draw(optional), draw(optional),
        )  # fmt: skip
    if kind == ENGINE:
        engine = EngineBuild(
            draw(_TEXT), draw(_TEXT), draw(texts), draw(_TEXT), draw(_TEXT), draw(texts),
            draw(_TEXT), draw(_TEXT), draw(texts), draw(texts),
        )  # fmt: skip
    return Manifest(
        kind=kind,
        name=draw(st.from_regex(NAME_PATTERN.strip("^$"), fullmatch=True)),
        files=files,
        source=Source(draw(_TEXT), draw(_TEXT)),
        licence=draw(_TEXT),
        created=draw(
            st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
        ).replace(microsecond=0),
        created_by=draw(_TEXT),
        model=model,
        engine=engine,
    )
