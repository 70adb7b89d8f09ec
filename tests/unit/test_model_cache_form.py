"""ModelCache documents: the parser, and the JSON Schema that says the same."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yoyo.core.model_cache import CacheInvalid, parse, render, request
from yoyo.core.model_cache_form import MAX_INLINE, json_schema
from yoyo.model.cache import ModelCache

PAGE = Path(__file__).parents[2] / "docs" / "formats" / "model-cache.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
DIGEST = "ab" * 32

SOURCES: list[dict[str, Any]] = [
    {"huggingFace": {"repo": "org/model"}},
    {"huggingFace": {"repo": "org/model", "file": "q4/model.gguf", "revision": "v1.0"}},
    {"huggingFace": {"repo": "org/model", "file": "model.gguf", "sha256": DIGEST}},
    {"s3": {"uri": "s3://bucket/some/key.gguf"}},
    {"s3": {"uri": "s3://bucket/key", "sha256": DIGEST}},
    {"gcs": {"uri": "gs://bucket/some/key.gguf"}},
    {"http": {"url": "https://example.com/model.gguf", "sha256": DIGEST}},
    {
        "http": {
            "url": "http://h:8080/m",
            "sha256": DIGEST,
            "mirrors": ["https://a/m", "https://b/m"],
        }
    },
    {"inline": {"text": "{{ bos_token }}\n"}},
    {"inline": {"base64": "aGVsbG8="}},
    {"configMap": {"path": "/etc/yoyo/templates"}},
    {"configMap": {"path": "/etc/yoyo/templates", "key": "chat.jinja"}},
]


def document(source: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A document with that source."""
    artifact: dict[str, Any] = {"kind": "Weights"}
    if source is not None:
        artifact["source"] = source
    return {
        "apiVersion": "yoyo.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": {"name": "qwen"},
        "spec": {"artifact": artifact, **spec},
    }


EXISTING = {"backend": "ExistingPath", "existingPath": {"path": "/srv/models/qwen"}}
GOOD = [
    *(document(source) for source in SOURCES),
    document(SOURCES[0], mountPath="/models/qwen", storage={"backend": "Store"}),
    document(SOURCES[0], storage={}),
    document(storage=EXISTING),
]


def mistakes_of(tree: object) -> list[str]:
    """Every mistake as `key: message`."""
    with pytest.raises(CacheInvalid) as caught:
        parse(tree)
    return [f"{each.key}: {each.message}" for each in caught.value.mistakes]


def changed(path: str, value: Any, base: dict[str, Any] | None = None) -> dict[str, Any]:
    """A good document with one value put at a path; None removes it."""
    tree: dict[str, Any] = copy.deepcopy(base or document(SOURCES[1]))
    at = tree
    *way, last = path.split(".")
    for key in way:
        at = at.setdefault(key, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return tree


@pytest.mark.parametrize("tree", GOOD, ids=str)
def test_a_good_document_is_taken_and_given_back(tree: dict[str, Any]) -> None:
    cache = parse(tree)
    assert parse(render(cache)) == cache
    VALIDATOR.validate(tree)
    VALIDATOR.validate(render(cache))


def test_each_source_becomes_what_stage_takes() -> None:
    asked = [request(parse(document(source))) for source in SOURCES]
    assert [each.source for each in asked] == [
        "hf://org/model@main",
        "hf://org/model/q4/model.gguf@v1.0",
        "hf://org/model/model.gguf@main",
        "s3://bucket/some/key.gguf",
        "s3://bucket/key",
        "gs://bucket/some/key.gguf",
        "https://example.com/model.gguf",
        "http://h:8080/m",
        "inline:{{ bos_token }}\n",
        "inline:hello",
        "file:///etc/yoyo/templates",
        "file:///etc/yoyo/templates/chat.jinja",
    ]
    assert [each.sha256 for each in asked[6:8]] == [DIGEST, DIGEST]
    assert asked[7].mirrors == ("https://a/m", "https://b/m")


def test_bytes_that_are_no_text_stay_in_base64() -> None:
    asked = request(parse(document({"inline": {"base64": "/w=="}})))
    assert asked.source == "inline;base64:/w=="


BAD = [
    ("apiVersion", "modelplane.ai/v1alpha1"),
    ("kind", "Modelcache"),
    ("metadata.name", "Qwen"),
    ("metadata.name", "qwen\n"),
    ("metadata.name", "../x"),
    ("metadata.name", 7),
    ("metadata.namespace", "ml"),
    ("metadata.labels", {"a b": "c"}),
    ("metadata.labels", {"a": 1}),
    ("metadata.labels", {str(n): "x" for n in range(65)}),
    ("metadata.annotations", {"yoyo.dev/refetsh": "1"}),
    ("metadata.annotations", {"yoyo.dev/refetch": 2}),
    ("status", {"phase": "Ready"}),
    ("spec.artifacts", []),
    ("spec.artifact.kind", "weights"),
    ("spec.artifact.source", {}),
    ("spec.artifact.source", []),
    ("spec.artifact.source", {**SOURCES[0], **SOURCES[3]}),
    ("spec.artifact.source", {"azure": {}}),
    ("spec.artifact.source.huggingFace.repo", "model"),
    ("spec.artifact.source.huggingFace.repo", "org/../x"),
    ("spec.artifact.source.huggingFace.file", "../../etc/passwd"),
    ("spec.artifact.source.huggingFace.file", "/etc/passwd"),
    ("spec.artifact.source.huggingFace.file", "a//b"),
    ("spec.artifact.source.huggingFace.revision", "a@b"),
    ("spec.artifact.source.huggingFace.revision", "../main"),
    ("spec.artifact.source.huggingFace.token", "x"),
    ("spec.artifact.source", {"huggingFace": {"repo": "o/m", "sha256": DIGEST}}),
    ("spec.artifact.source", {"http": {"url": "https://h/m"}}),
    ("spec.artifact.source", {"http": {"url": "https://u:p@h/m", "sha256": DIGEST}}),
    ("spec.artifact.source", {"http": {"url": "https://h/m?X-Amz-Signature=1", "sha256": DIGEST}}),
    ("spec.artifact.source", {"http": {"url": "https://h/a/../b", "sha256": DIGEST}}),
    ("spec.artifact.source", {"http": {"url": "ftp://h/m", "sha256": DIGEST}}),
    ("spec.artifact.source", {"http": {"url": "https://h/m", "sha256": "x"}}),
    ("spec.artifact.source", {"http": {"url": "https://h/m", "sha256": DIGEST, "mirrors": "x"}}),
    ("spec.artifact.source",
     {"http": {"url": "https://h/m", "sha256": DIGEST, "mirrors": ["https://a/m"] * 2}}),
    ("spec.artifact.source",
     {"http": {"url": "https://h/m", "sha256": DIGEST,
               "mirrors": [f"https://a/{n}" for n in range(9)]}}),
    ("spec.artifact.source", {"s3": {"uri": "s3://bucket/a/../b"}}),
    ("spec.artifact.source", {"gcs": {"uri": "s3://bucket/a"}}),
    ("spec.artifact.source", {"inline": {}}),
    ("spec.artifact.source", {"inline": {"text": "a", "base64": "aGVsbG8="}}),
    ("spec.artifact.source", {"inline": {"base64": "aGVsbG8"}}),
    ("spec.artifact.source", {"inline": {"text": "x" * (MAX_INLINE + 1)}}),
    ("spec.artifact.source", {"configMap": {"path": "templates"}}),
    ("spec.artifact.source", {"configMap": {"path": "/a/../b"}}),
    ("spec.artifact.source", {"configMap": {"path": "/a", "key": "b/c"}}),
    ("spec.mountPath", "/a/\u202eb"),
    ("spec.mountPath", "/" + "a" * 5000),
    ("spec.storage", {"backend": "PVC"}),
    ("spec.storage", EXISTING),
    ("spec.storage", {"backend": "ExistingPath"}),
    ("spec.storage", {"existingPath": {"path": "/srv"}}),
    ("spec.storage", "Store"),
    ("spec", []),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), BAD, ids=lambda value: str(value)[:60])
def test_a_bad_document_is_refused_by_parser_and_schema(path: str, value: Any) -> None:
    tree = changed(path, value)
    assert mistakes_of(tree)
    assert not VALIDATOR.is_valid(tree)


@pytest.mark.parametrize(
    "path", ["apiVersion", "kind", "metadata", "spec", "metadata.name", "spec.artifact"]
)
def test_what_is_required_is_missed(path: str) -> None:
    tree = changed(path, None)
    assert f"the key {path.rpartition('.')[2]} is missing" in " ".join(mistakes_of(tree))
    assert not VALIDATOR.is_valid(tree)


@pytest.mark.parametrize("tree", [None, [], "x", 1, True, {}], ids=str)
def test_what_is_no_mapping_is_refused(tree: object) -> None:
    assert mistakes_of(tree)
    assert not VALIDATOR.is_valid(tree)


def test_all_mistakes_come_at_once_with_their_paths() -> None:
    tree = changed("metadata.name", "Bad")
    tree["spec"]["artefact"] = tree["spec"].pop("artifact")
    tree["sepc"] = {}
    told = mistakes_of(tree)
    assert [each.partition(": ")[0] for each in told] == [
        "sepc",
        "metadata.name",
        "spec.artefact",
        "spec",
    ]
    assert "Did you mean spec?" in told[0]
    assert "Did you mean artifact?" in told[2]


def test_hints_for_what_similar_documents_have() -> None:
    assert "HF_TOKEN" in mistakes_of(changed("spec.artifact.source.huggingFace.token", {}))[0]
    assert "derived" in mistakes_of(changed("status", {}))[0]
    assert "quotes" in mistakes_of(changed("metadata.annotations", {"a": 1}))[0]


@pytest.mark.parametrize(
    "token",
    [
        "hf_" + "a" * 34,
        "ghp_" + "a" * 36,
        "AKIA" + "A" * 16,
        "Authorization: Bearer abcdefghijklmnop123",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_a_token_is_refused_wherever_it_stands_and_never_repeated(token: str) -> None:
    trees = [
        changed("metadata.annotations", {"a": token}),
        changed("spec.artifact.source", {"inline": {"text": f"x {token}"}}),
        changed("spec.mountPath", f"/{token}"),
        changed("spec.artifact.kind", token),
        changed("spec.artifact.source", {token: {}}),
        changed("spec.artifact.source.huggingFace.file", token),
    ]
    for tree in trees:
        told = " ".join(mistakes_of(tree))
        assert token not in told
        assert token[:12] not in told or "BEGIN" in token or "Authorization" in token


def test_a_secret_address_is_never_repeated() -> None:
    url = "https://user:hunter2@h/m?sig=topsecret"
    told = " ".join(
        mistakes_of(changed("spec.artifact.source", {"http": {"url": url, "sha256": DIGEST}}))
    )
    assert "hunter2" not in told
    assert "topsecret" not in told


def test_mistakes_are_bounded() -> None:
    tree = document(SOURCES[0])
    tree["metadata"]["labels"] = {f"{n} x": n for n in range(64)}
    assert len(mistakes_of(tree)) == 100


def test_the_published_schema_is_the_code_s() -> None:
    assert json.loads(PAGE.read_text()) == json_schema()
    jsonschema.Draft202012Validator.check_schema(json_schema())


WORDS = st.sampled_from(
    ["main", "org/model", "a.gguf", "s3://bucket/key", "gs://bucket/key", "https://h/m", "/srv/x",
     "Store", "ExistingPath", "Weights", "Bytes", "aGVsbG8=", DIGEST, "../x", "", "x\n", "a b", "~"]
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = (
    WORDS | st.text(max_size=20) | st.none() | st.booleans() | st.integers() | st.just({})
    | st.just([]) | st.lists(WORDS, max_size=3) | st.sampled_from(SOURCES)
    | st.sampled_from([each for source in SOURCES for each in source.values()])
    | st.dictionaries(st.sampled_from(["path", "uri", "text", "a/b", "backend"]), WORDS, max_size=2)
)  # fmt: skip
KEYS = st.sampled_from(
    ["apiVersion", "kind", "metadata", "name", "labels", "annotations", "spec", "artifact",
     "source", "huggingFace", "repo", "file", "revision", "sha256", "s3", "http", "gcs", "inline",
     "configMap", "uri", "url", "mirrors", "text", "base64", "path", "key", "mountPath",
     "storage", "backend", "existingPath", "colour"]
)  # fmt: skip


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(tree, dict):
        for key in tree:
            found += _places(tree[key], (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A good document with up to three things in it exchanged, added or removed."""
    tree: Any = copy.deepcopy(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(_places(tree)))
        at, up = tree, None
        for key in path:
            at, up = at[key], at
        if isinstance(at, dict) and draw(st.booleans()):
            key = draw(KEYS)
            if key in at and draw(st.booleans()):
                del at[key]
            else:
                at[key] = copy.deepcopy(draw(VALUES))
        elif up is not None:
            up[path[-1]] = copy.deepcopy(draw(VALUES))
    return tree


def _accepted(tree: Any) -> ModelCache | None:
    try:
        return parse(tree)
    except CacheInvalid:
        return None


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_schema_and_parser_agree(tree: Any) -> None:
    cache = _accepted(tree)
    assert VALIDATOR.is_valid(tree) == (cache is not None)
    if cache is not None:
        assert parse(render(cache)) == cache


@st.composite
def by_pattern(draw: st.DrawFn) -> Any:
    """A document with one text of each kind made from the schema's own pattern."""
    schema = json_schema()["properties"]
    spec = schema["spec"]["properties"]
    sources = spec["artifact"]["properties"]["source"]["properties"]
    scheme = draw(st.sampled_from(sorted(set(sources) - {"inline"})))
    made: dict[str, Any] = {}
    for key, each in sources[scheme]["properties"].items():
        if "pattern" in each:
            made[key] = draw(st.from_regex(each["pattern"], fullmatch=draw(st.booleans())))
    tree = document({scheme: made})
    tree["metadata"]["name"] = draw(
        st.from_regex(schema["metadata"]["properties"]["name"]["pattern"])
    )
    tree["spec"]["mountPath"] = draw(st.from_regex(spec["mountPath"]["pattern"]))
    return tree


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(by_pattern())
def test_what_the_patterns_make_is_judged_alike(tree: Any) -> None:
    assert VALIDATOR.is_valid(tree) == (_accepted(tree) is not None)


@settings(max_examples=300, deadline=None)
@given(st.recursive(VALUES, lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=12))
def test_anything_is_refused_with_a_mistake_and_nothing_worse(tree: Any) -> None:
    assert VALIDATOR.is_valid(tree) == (_accepted(tree) is not None)
