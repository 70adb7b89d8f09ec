"""Reading ModelCache documents from text: YAML's traps, positions, stdin, several at once."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.config.model_cache import load_caches
from yoyo.errors import ManifestInvalid
from yoyo.model.cache import HuggingFace, Inline, ModelCache

ONE = """\
apiVersion: yoyo.dev/v1alpha1
kind: ModelCache
metadata:
  name: qwen
  annotations:
    yoyo.dev/refetch: 2026-11-21
spec:
  artifact:
    kind: Weights
    source:
      huggingFace:
        repo: org/model
        revision: v1.0
"""
TEMPLATE = """\
apiVersion: yoyo.dev/v1alpha1
kind: ModelCache
metadata: {name: template}
spec:
  artifact:
    kind: Bytes
    source:
      inline:
        text: |
          {{ a }}
          -- no marker
"""


def read(text: str) -> tuple[ModelCache, ...]:
    return load_caches("-", stdin=io.BytesIO(text.encode()))


def mistakes_of(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ManifestInvalid) as caught:
        load_caches("-", stdin=io.BytesIO(data))
    assert caught.value.details
    return list(caught.value.details)


def test_a_file_with_one_document(tmp_path: Path) -> None:
    path = tmp_path / "cache.yaml"
    path.write_text(ONE)
    (cache,) = load_caches(str(path))
    assert cache.source == HuggingFace("org/model", None, "v1.0", None)
    assert cache.refetch == "2026-11-21"


def test_several_documents_with_comments_and_blank_ones() -> None:
    first, second = read(f"# mine\n---\n{ONE}---\n# nothing\n--- # and now\n{TEMPLATE}---\n")
    assert (first.name, second.name) == ("qwen", "template")
    assert second.source == Inline("{{ a }}\n-- no marker\n", None)


def test_json_is_taken_too() -> None:
    tree = {
        "apiVersion": "yoyo.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": {"name": "j"},
        "spec": {"artifact": {"kind": "Bytes", "source": {"inline": {"text": 'a"b\n\u00e4'}}}},
    }
    assert read(json.dumps(tree))[0].source == Inline('a"b\nä', None)
    assert read(json.dumps(tree, indent="\t"))[0].name == "j"


def test_positions_are_of_the_whole_file() -> None:
    broken = TEMPLATE.replace("kind: Bytes", "kind: Byte")
    (told,) = mistakes_of(ONE + "---\n" + broken)
    line = len(ONE.splitlines()) + 1 + 6
    assert told == (
        f"stdin:{line}:11: spec.artifact.kind: expected Weights or Tokenizer or Bytes, "
        "found 'Byte'. Did you mean Bytes?"
    )


def test_mistakes_of_all_documents_come_at_once() -> None:
    told = mistakes_of(ONE.replace("qwen", "Q") + "---\n" + TEMPLATE.replace("spec:", "sepc:"))
    assert [each.split(": ")[1] for each in told] == [
        "metadata.name",
        "the key spec is missing",
        "sepc",
    ]


@pytest.mark.parametrize("value", ["1", "1.5", "true", "null", "~", "0x10", ".inf", "1e3"])
def test_what_yaml_takes_for_no_text_has_to_be_quoted(value: str) -> None:
    assert mistakes_of(ONE.replace("2026-11-21", value))
    assert read(ONE.replace("2026-11-21", f'"{value}"'))[0].refetch == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no document"),
        ("# nothing\n---\n---\n", "has no document"),
        (ONE + "---\n" + ONE, "has the name qwen too"),
        (ONE.replace("kind: ModelCache", "kind: ModelCache\nkind: ModelCache"), "twice"),
        (ONE.replace("name: qwen", "name: &a qwen"), "anchors"),
        (ONE.replace("name: qwen", "name: *a"), "anchors"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "anchors"),
        (ONE.replace("name: qwen", "name: !!str qwen"), "tag"),
        (ONE.replace("name: qwen", "<<: {name: qwen}"), "not known here"),
        ("[" * 100, "nested deeper"),
        ("a: [", "is not YAML"),
        ("? [a]\n: b\n", "a key has to be a word"),
        ("\x00", "is not allowed"),
        ("---\n".join([ONE] * 65), "more than 64 documents"),
        ("- a\n", "expected a mapping"),
        ("%YAML 1.2\n---\n" + ONE, "stdin"),
    ],
    ids=lambda text: text[:30],
)
def test_hostile_text_is_refused_with_a_reason(text: str, why: str) -> None:
    assert why in " ".join(mistakes_of(text))


def test_bytes_that_are_no_text_and_too_many_of_them() -> None:
    assert "not UTF-8" in mistakes_of(b"\xff\xfe")[0]
    assert "larger than" in mistakes_of(b"a" * (1 << 21))[0]


def test_what_is_no_file(tmp_path: Path) -> None:
    for path, why in [(tmp_path, "not a regular file"), (tmp_path / "no", "cannot be read")]:
        with pytest.raises(ManifestInvalid) as caught:
            load_caches(str(path))
        assert why in caught.value.details[0]


def test_hundreds_of_mistakes_are_cut_to_one_hundred() -> None:
    assert len(mistakes_of(ONE + "".join(f"x{n}: 1\n" for n in range(200)))) == 101


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=" \n-:[]{}abc#'\"|>&*!%,?0\t.", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ManifestInvalid):
        assert isinstance(read(text), tuple)
