"""What scripts/fuzz runs: a target a reader, each in a process of its own, and the seeds."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# libFuzzer's: inputs as long as a small header, and no more memory than a node could spare.
OPTIONS = ("-print_final_stats=1", "-max_len=32768", "-rss_limit_mb=1024", "-timeout=10")
SHOWN_LINES = 12
BIG = 10**12


def gguf_target(data: bytes) -> None:
    """A header is read, refused, or more of it is asked for: at most as much as there can be."""
    from yoyo.core.gguf import (
        MAX_HEADER_BYTES,
        GgufError,
        GgufHeader,
        HeaderIncomplete,
        model_facts,
        parse_header,
    )

    def read(size: int | None) -> GgufHeader | None:
        needed = None
        try:
            return parse_header(data, size)
        except HeaderIncomplete as short:
            needed = short.needed
        except GgufError:
            pass
        most = MAX_HEADER_BYTES if size is None else min(size, MAX_HEADER_BYTES)
        assert needed is None or len(data) < needed <= most
        return None

    whole, known, open_end = read(len(data)), read(BIG), read(None)
    assert whole is None or whole == known == open_end
    if open_end is not None:
        try:
            model_facts(open_end, path="m.gguf", file_bytes=BIG)
        except GgufError:
            pass


def manifest_target(data: bytes) -> None:
    """A document is refused, or it is the only one of its manifest."""
    from yoyo.core.manifest import ManifestError, check_path, decode, encode

    try:
        manifest = decode(data)
    except ManifestError:
        return
    assert encode(manifest) == data
    for file in manifest.files:
        assert check_path(file.path) == file.path
        assert ".." not in Path("/set", file.path).parts


def safetensors_target(data: bytes) -> None:
    """A header is refused, or its tensors fill the file; an index names nothing outside."""
    from yoyo.core.model_set import ModelSetError, indexed_files
    from yoyo.core.safetensors import SafetensorsError, parse_safetensors

    for size in (len(data), len(data) + 16, BIG):
        try:
            header = parse_safetensors(data, size)
        except SafetensorsError:
            continue
        assert header.header_bytes + header.weight_bytes == size
    try:
        files = indexed_files(data)
    except ModelSetError:
        return
    assert all(".." not in Path("/set", path).parts for path in files)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "gguf": gguf_target,
    "manifest": manifest_target,
    "safetensors": safetensors_target,
}


def _leaf(rng: random.Random, old: object) -> object:
    choices: list[Any] = [
        -1, 0, 1, 2**26, 2**26 + 1, 2**63, 2**64, 1.5, float("nan"), None, True, [], {}, "",
        "../x", "/x", "a/../b", "a\\b", "\x00", "\ud7ff", "x" * 300, "0" * 64, [old, old],
        {"a": old},
    ]  # fmt: skip
    if type(old) is int:
        choices += [old + 1, old - 1, -old, old * 2]
    if type(old) is str and old:
        at = rng.randrange(len(old))
        choices += [old[:at], old + old, old[:at] + chr(rng.randrange(0xD800)) + old[at + 1 :]]
    return rng.choice(choices)


def _tree(rng: random.Random, tree: Any) -> Any:
    """The same tree with one place changed."""
    if not tree or not isinstance(tree, dict | list):
        return _leaf(rng, tree)
    action = rng.random()
    if isinstance(tree, dict):
        key = rng.choice(sorted(tree))
        if action < 0.05:
            return {other: value for other, value in tree.items() if other != key}
        return {**tree, key + ("x" if action < 0.1 else ""): _tree(rng, tree[key])}
    at = rng.randrange(len(tree))
    if action < 0.1:
        return tree[:at] + tree[at + 1 :]
    changed = tree[at] if action < 0.2 else _tree(rng, tree[at])
    return [*tree[:at], changed, *tree[at + (action >= 0.2) :]]


def json_mutator(prefix: int) -> Callable[[bytes, int, int], bytes]:
    """Changes the JSON after `prefix` bytes as a tree, half of the time; else byte by byte.

    Bytes alone would be refused as no JSON nearly always.
    """

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        import atheris  # type: ignore[import-untyped]

        rng = random.Random(seed)
        if rng.random() < 0.5:
            try:
                tree = _tree(rng, json.loads(data[prefix:]))
                text = json.dumps(tree, ensure_ascii=False, indent=1, sort_keys=True).encode()
            except (ValueError, TypeError, RecursionError):
                pass
            else:
                if prefix:
                    return (len(text).to_bytes(prefix, "little") + text)[:most]
                return (text + b"\n")[:most]
        mutated: bytes = atheris.Mutate(data, most)
        return mutated

    return mutate


def fuzz(name: str, arguments: list[str]) -> None:
    """Run one target in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["yoyo"]):
        import yoyo.core.gguf
        import yoyo.core.manifest
        import yoyo.core.model_set  # noqa: F401
    more: dict[str, Any] = {}
    if name != "gguf":
        more["custom_mutator"] = json_mutator(8 if name == "safetensors" else 0)
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name], **more)
    atheris.Fuzz()


def write_seeds(folder: Path) -> None:
    """Files that are right: the smoke model's header, manifests, a safetensors header."""
    from manifest_samples import BUNDLE, GOLDEN

    from yoyo.core.gguf import parse_header
    from yoyo.core.manifest import encode
    from yoyo.drivers.local.smoke_model import ensure

    for name in TARGETS:
        (folder / name).mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        model = ensure(Path(scratch)).read_bytes()
    (folder / "gguf" / "smoke").write_bytes(model[: parse_header(model).data_offset])
    (folder / "manifest" / "golden").write_bytes(encode(GOLDEN))
    (folder / "manifest" / "bundle").write_bytes(encode(BUNDLE))
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "b": {"dtype": "F16", "shape": [2, 3], "data_offsets": [4, 16]},
        }
    ).encode()
    (folder / "safetensors" / "two").write_bytes(len(header).to_bytes(8, "little") + header)
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (folder / "safetensors" / "index").write_bytes(json.dumps(index).encode())


def run_target(name: str, work: Path, seconds: int) -> dict[str, Any]:
    """One target for so long; what it did and what it found."""
    findings = work / "findings" / name
    corpus = work / "corpus" / name
    for folder in (findings, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    begun = time.monotonic()
    done = subprocess.run(
        [
            sys.executable, __file__, "target", name, *OPTIONS, f"-max_total_time={seconds}",
            f"-artifact_prefix={findings}/", str(corpus), str(work / "seeds" / name),
        ],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    took = time.monotonic() - begun
    ran = re.search(r"number_of_executed_units:\s+(\d+)", done.stderr)
    covered = re.findall(r"\bcov: (\d+)", done.stderr)
    made = sorted(str(path) for path in set(findings.iterdir()) - before)
    broke = done.returncode != 0
    return {
        "seconds": round(took, 1),
        "executions": int(ran[1]) if ran else 0,
        "coverage": int(covered[-1]) if covered else 0,
        "corpus": sum(1 for _ in corpus.iterdir()),
        "findings": made,
        "broke": broke,
        "why": _why(done.stderr) if broke else [],
    }


def _why(text: str) -> list[str]:
    """The lines that say what broke; at the end where nothing does."""
    lines = text.splitlines()
    at = text.find("=== Uncaught Python exception")
    return text[at:].splitlines()[:SHOWN_LINES] if at >= 0 else lines[-SHOWN_LINES:]


def main(arguments: list[str]) -> int:
    """See scripts/fuzz."""
    if arguments[0] == "seeds":
        write_seeds(Path(arguments[1]))
        return 0
    if arguments[0] == "target":
        fuzz(arguments[1], arguments[2:])
        return 0
    work, seconds = Path(arguments[1]), int(arguments[2])
    each = max(seconds // len(TARGETS), 1)
    results = {name: run_target(name, work, each) for name in TARGETS}
    json.dump(results, sys.stdout, indent=1)
    print()
    return 1 if any(result["broke"] for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
