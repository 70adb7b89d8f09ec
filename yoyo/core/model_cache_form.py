"""The form of a ModelCache document as one table: the parser and the JSON Schema both follow it."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple, TypeAlias

from yoyo.model.cache import API_VERSION, ARTIFACT_KINDS, KIND, REFETCH

STORE, EXISTING_PATH = "Store", "ExistingPath"

# 512 KiB; a document has at most 1 MiB. What is larger is no text any more and has an address.
MAX_INLINE: Final = 512 * 1024

# No control characters and none that reorder what is read; nor what would have to be escaped
# in an address.
_PART: Final = (
    "(?![.]{1,2}(/|$))"
    '[^/\\\\%?#"\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]{1,255}'
)
_KEY_PART: Final = "(?![.]{1,2}(/|$))[A-Za-z0-9_.][A-Za-z0-9._+=,()!~-]{0,254}"
_WEB: Final = (
    "(?!.*/[.]{1,2}(/|$))https?://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?"
    "(/[A-Za-z0-9._~!$&'()*+,;=:@%-]{0,1000}){1,32}"
)
_HUB_NAME: Final = "(?!.*[.]{2})[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# Kubernetes' qualified names: an optional DNS prefix, then 1 to 63 characters.
_QUALIFIED: Final = (
    "([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
)


class Text(NamedTuple):
    """A string. `form` is a regular expression of Python and ECMA-262 alike, for the whole of it.

    `low` and `high` are characters. `shown` False: a mistake does not repeat what was written.
    """

    expected: str
    doc: str
    form: str = ""
    low: int = 1
    high: int = 1024
    shown: bool = True

    @property
    def pattern(self) -> str:
        """For a search: "$" alone lets a newline pass in Python."""
        return f"^({self.form})$(?!\\n)" if self.form else ""

    def fits(self, text: str) -> bool:
        """Whether the text has the form."""
        if not self.low <= len(text) <= self.high:
            return False
        return not self.form or re.search(self.pattern, text) is not None


class Choice(NamedTuple):
    """One of some words."""

    choices: tuple[str, ...]
    doc: str


class Texts(NamedTuple):
    """A list of strings, none twice."""

    item: Text
    doc: str
    high: int


class Table(NamedTuple):
    """A mapping of free keys to strings."""

    key: Text
    value: Text
    doc: str
    high: int


class Object(NamedTuple):
    """A mapping of fixed keys. `one_of`: exactly one of its keys has to be there."""

    doc: str
    fields: dict[str, Node]
    required: tuple[str, ...] = ()
    one_of: bool = False
    needs: tuple[tuple[str, str], ...] = ()  # (key, another that has to be there with it)


Node: TypeAlias = Text | Choice | Texts | Table | Object

_SHA256 = Text("64 hexadecimal digits in lower case", "The file's sha256.", "[0-9a-f]{64}")
_ADDRESS = Text(
    "an https:// or http:// address without user, query or fragment",
    "Address of the file. A query string is refused: it may hold a secret, and documents are kept.",
    _WEB, high=2000, shown=False,
)  # fmt: skip

_HUGGING_FACE = Object(
    "A model on the Hugging Face hub. The token comes from HF_TOKEN or the hub's token file.",
    {
        "repo": Text("ORGANISATION/NAME", "The repository.", f"{_HUB_NAME}/{_HUB_NAME}"),
        "file": Text(
            "a file's path in the repository",
            "The file; of a sharded set any shard. Without it the folder of safetensors is meant.",
            f"{_KEY_PART}(/{_KEY_PART}){{0,15}}",
        ),
        "revision": Text(
            "a branch, a tag or a commit",
            "Branch, tag or commit; default `main`. What it stands for is fixed at staging.",
            "(?!.*([.]{2}|//))[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9_-])?",
        ),
        "sha256": _SHA256,
    },
    required=("repo",),
    needs=(("sha256", "file"),),
)  # fmt: skip

_SOURCE = Object(
    "Where the bytes come from: exactly one of these.",
    {
        "huggingFace": _HUGGING_FACE,
        "s3": Object(
            "An object in S3; credentials come from the usual places.",
            {
                "uri": Text(
                    "s3://BUCKET/KEY", "The object.",
                    f"s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9](/{_KEY_PART}){{1,16}}", shown=False,
                ),
                "sha256": _SHA256,
            },
            required=("uri",),
        ),
        "http": Object(
            "A file on a web server.",
            {
                "url": _ADDRESS,
                "sha256": _SHA256,
                "mirrors": Texts(_ADDRESS, "Other addresses of the same bytes.", 8),
            },
            required=("url", "sha256"),
        ),
        "gcs": Object(
            "An object in Cloud Storage; credentials come from the usual places.",
            {
                "uri": Text(
                    "gs://BUCKET/OBJECT", "The object.",
                    f"gs://[a-z0-9][a-z0-9._-]{{1,220}}[a-z0-9](/{_KEY_PART}){{1,16}}", shown=False,
                ),
                "sha256": _SHA256,
            },
            required=("uri",),
        ),
        "inline": Object(
            "The bytes themselves: a chat template, a grammar.",
            {
                "text": Text(
                    f"1 to {MAX_INLINE} characters", "As UTF-8.", high=MAX_INLINE, shown=False
                ),
                "base64": Text(
                    "base64 with padding and without line breaks", "In base64 (RFC 4648, 4).",
                    "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
                    low=4, high=(MAX_INLINE + 2) // 3 * 4, shown=False,
                ),
            },
            one_of=True,
        ),
        "configMap": Object(
            "A directory here with one file a key, as a ConfigMap looks where it is mounted.",
            {
                "path": Text("an absolute path without '..'", "The directory.",
                             f"(/{_PART}){{1,32}}", high=4096),
                "key": Text("a file's name", "One key of it; default all.",
                            "(?!.*[.]{2})[A-Za-z0-9._-]{1,253}", high=253),
            },
            required=("path",),
        ),
    },
    one_of=True,
)  # fmt: skip

DOCUMENT: Final = Object(
    "What should lie in the store under one name.",
    {
        "apiVersion": Choice((API_VERSION,), "Version of this form."),
        "kind": Choice((KIND,), "The kind of document."),
        "metadata": Object(
            "What the document is called.",
            {
                "name": Text(
                    "1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
                    "The cache's name, and the artefact's in the store.", _LABEL, high=63,
                ),
                "labels": Table(
                    Text("a label's key such as example.com/team", "", _QUALIFIED, high=317),
                    Text("at most 63 of A-Z, a-z, 0-9, '.', '_' and '-'", "",
                         "([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", low=0, high=63),
                    "For your own use; kept and shown.", 64,
                ),
                "annotations": Table(
                    Text(
                        f"an annotation's key; of yoyo.dev/ there is {REFETCH} alone", "",
                        f"(?!yoyo[.]dev/(?!refetch$)){_QUALIFIED}", high=317,
                    ),
                    Text("at most 4096 characters", "", low=0, high=4096, shown=False),
                    f"A new value of `{REFETCH}` causes one more fetch.", 64,
                ),
            },
            required=("name",),
        ),
        "spec": Object(
            "What is wanted.",
            {
                "artifact": Object(
                    "The bytes.",
                    {
                        "kind": Choice(
                            tuple(ARTIFACT_KINDS),
                            "Weights are read and checked as a model; Bytes are taken as they are.",
                        ),
                        "source": _SOURCE,
                    },
                    required=("kind",),
                ),
                "mountPath": Text(
                    "an absolute path without '..'",
                    "Where consumers look for the files; kept and shown.",
                    f"(/{_PART}){{1,32}}", high=4096,
                ),
                "storage": Object(
                    "Where the bytes are kept.",
                    {
                        "backend": Choice(
                            (STORE, EXISTING_PATH),
                            f"`{STORE}` (default): in the store. `{EXISTING_PATH}`: they stay "
                            "where they are, and only their digests are kept.",
                        ),
                        "existingPath": Object(
                            f"For `{EXISTING_PATH}`.",
                            {
                                "path": Text("an absolute path without '..'",
                                             "A file, or a directory with a set.",
                                             f"(/{_PART}){{1,32}}", high=4096),
                            },
                            required=("path",),
                        ),
                    },
                ),
            },
            required=("artifact",),
        ),
    },
    required=("apiVersion", "kind", "metadata", "spec"),
)  # fmt: skip


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of one document; published in docs/formats."""
    made = _schema(DOCUMENT)
    made["properties"]["spec"] |= _by_backend()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A ModelCache document of yoyo weights apply",
        **made,
    }


def _by_backend() -> dict[str, Any]:
    chosen = {"backend": {"const": EXISTING_PATH}}
    return {
        "if": {
            "required": ["storage"],
            "properties": {"storage": {"required": ["backend"], "properties": chosen}},
        },
        "then": {
            "properties": {
                "storage": {"required": ["existingPath"]},
                "artifact": {"properties": {"source": False}},
            }
        },
        "else": {
            "properties": {
                "storage": {"properties": {"existingPath": False}},
                "artifact": {"required": ["source"]},
            }
        },
    }


def _schema(node: Node) -> dict[str, Any]:
    match node:
        case Text():
            made: dict[str, Any] = {"type": "string", "maxLength": node.high}
            made |= {"minLength": node.low} if node.low else {}
            made |= {"pattern": node.pattern} if node.form else {}
        case Choice():
            made = {"enum": list(node.choices)}
        case Texts():
            made = {
                "type": "array",
                "items": _schema(node.item),
                "maxItems": node.high,
                "uniqueItems": True,
            }
        case Table():
            made = {
                "type": "object",
                "propertyNames": _schema(node.key),
                "additionalProperties": _schema(node.value),
                "maxProperties": node.high,
            }
        case Object():
            made = {
                "type": "object",
                "properties": {key: _schema(each) for key, each in node.fields.items()},
                "additionalProperties": False,
            }
            made |= {"required": list(node.required)} if node.required else {}
            made |= {"minProperties": 1, "maxProperties": 1} if node.one_of else {}
            if node.needs:
                made["dependentRequired"] = {key: [other] for key, other in node.needs}
    return ({"description": node.doc} if node.doc else {}) | made
