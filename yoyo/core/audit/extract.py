"""A tenant's rows with their proofs: what it may have, checkable without the rest of the ledger.

JSON Lines: one header, then one object a row. `docs/formats/extract.md` is the format, and says
what an extract proves and what it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from yoyo.core.audit.documents import (
    DocumentError,
    dump_object,
    encode_hash,
    hashes_of,
    load_object,
    text_of,
    whole_of,
)
from yoyo.core.audit.merkle import leaf_hash, verify_inclusion
from yoyo.core.audit.note import NoteError, Verifies, check_note, parse_checkpoint
from yoyo.core.ledger_format import BadLine, split_fields
from yoyo.model.audit import Checkpoint, InclusionProof, VerifierKey
from yoyo.model.ids import InvalidLabel, ModuleId
from yoyo.model.ledger import COLUMNS

FORMAT: Final = "yoyo-extract/1"
# A ledger line of 64 KiB in JSON's longest spelling, six bytes a character, and its path.
MAX_EXTRACT_LINE: Final = 512 * 1024
MAX_PROBLEMS: Final = 100  # as many are listed; all are counted
_HEADER_KEYS: Final = frozenset(("format", "module", "rows", "checkpoint"))
_ROW_KEYS: Final = frozenset(("seq", "line", "path"))
_MODULE_AT: Final = COLUMNS.index("moduleId")
_SEQ_AT: Final = COLUMNS.index("seq")


class ExtractError(ValueError):
    """The document is no extract, or its checkpoint does not hold; the message says why."""


class ExtractHeader(NamedTuple):
    """An extract's first line. Nothing in it is verified."""

    module: str
    rows: int  # how many follow
    note: bytes
    checkpoint: Checkpoint


class ExtractRow(NamedTuple):
    """One row of an extract. Nothing in it is verified."""

    seq: int
    line: bytes  # without its newline
    path: tuple[bytes, ...]


class ExtractProblem(NamedTuple):
    """What is wrong with one line of an extract; the first one has the number 1."""

    number: int
    seq: int | None
    reason: str


class ExtractReport(NamedTuple):
    """What was found. `ok`: every row is in the signed tree, and of that module."""

    module: str
    checkpoint: Checkpoint
    signers: tuple[VerifierKey, ...]  # whose signature of the checkpoint holds
    rows: int  # row lines that were read
    first_seq: int | None
    last_seq: int | None
    problems: tuple[ExtractProblem, ...]  # the first ones; see problem_count
    problem_count: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem_count == 0

    @property
    def others(self) -> int:
        """How many rows of the tree are not in the extract: others', or left out."""
        return max(0, self.checkpoint.head.size - self.rows)


def header_line(note: bytes, module: str, rows: int) -> bytes:
    """The first line, its LF included.

    Raises:
        ExtractError: the note is no checkpoint, or the module no label.
    """
    try:
        parse_checkpoint(note)
        ModuleId.parse(module)
    except (NoteError, InvalidLabel) as error:
        raise ExtractError(str(error)) from error
    fields: dict[str, object] = {
        "format": FORMAT,
        "module": module,
        "rows": rows,
        "checkpoint": note.decode(),
    }
    return dump_object(fields) + b"\n"


def row_line(line: bytes, proof: InclusionProof) -> bytes:
    """One row's line, its LF included. `line` is the ledger's own, without its newline.

    Raises:
        ExtractError: the ledger's line is not UTF-8, so that JSON cannot carry it.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ExtractError(f"row {proof.position + 1} is not UTF-8") from None
    fields: dict[str, object] = {
        "seq": proof.position + 1,
        "line": text,
        "path": [encode_hash(node) for node in proof.path],
    }
    return dump_object(fields) + b"\n"


def module_of(line: bytes) -> str | None:
    """The moduleId of a ledger's line; None: it is no row."""
    fields = _fields(line)
    return None if fields is None else fields[_MODULE_AT].decode(errors="replace")


def parse_header(line: bytes) -> ExtractHeader:
    """Read the first line strictly.

    Raises:
        ExtractError.
    """
    try:
        fields = load_object(_bounded(line), _HEADER_KEYS)
        if text_of(fields, "format") != FORMAT:
            raise DocumentError(f"its format is not {FORMAT}")
        module = ModuleId.parse(text_of(fields, "module"))
        note = text_of(fields, "checkpoint").encode()
        return ExtractHeader(module, whole_of(fields, "rows"), note, parse_checkpoint(note))
    except (DocumentError, InvalidLabel) as error:
        raise ExtractError(f"the first line is no extract's header: {error}") from error
    except NoteError as error:
        raise ExtractError(f"the checkpoint is malformed: {error}") from error


def parse_row(line: bytes) -> ExtractRow:
    """Read a line after the first strictly.

    Raises:
        ExtractError.
    """
    try:
        fields = load_object(_bounded(line), _ROW_KEYS)
        text = text_of(fields, "line").encode()
        return ExtractRow(whole_of(fields, "seq", 1), text, hashes_of(fields, "path"))
    except DocumentError as error:
        raise ExtractError(str(error)) from error


def check_extract(
    document: Iterable[bytes], keys: Sequence[VerifierKey], verifier: Verifies
) -> ExtractReport:
    """Check an extract, given line by line, in constant memory.

    Raises:
        ExtractError: the header is malformed, or no key of `keys` signed its checkpoint.
    """
    lines = iter(document)
    header = parse_header(next(lines, b""))
    checkpoint = header.checkpoint
    try:
        signers = check_note(checkpoint, keys, verifier)
    except NoteError as error:
        raise ExtractError(f"the checkpoint does not hold: {error}") from error
    problems: list[ExtractProblem] = []
    count, rows, first, last = 0, 0, None, 0

    def found(number: int, seq: int | None, reason: str) -> None:
        nonlocal count
        count += 1
        if len(problems) < MAX_PROBLEMS:
            problems.append(ExtractProblem(number, seq, reason))

    for number, line in enumerate(lines, 2):
        rows += 1
        try:
            row = parse_row(line)
        except ExtractError as error:
            found(number, None, str(error))
            continue
        for reason in _reasons(row, header, last):
            found(number, row.seq, reason)
        first = row.seq if first is None else first
        last = max(last, row.seq)
    if rows != header.rows:
        found(1, None, f"the header says {header.rows} rows, and there are {rows}")
    return ExtractReport(
        header.module, checkpoint, signers, rows, first, last or None, tuple(problems), count
    )


def _reasons(row: ExtractRow, header: ExtractHeader, last: int) -> Iterator[str]:
    if row.seq <= last:
        yield "the row is there twice" if row.seq == last else "the rows are not in order"
    fields = _fields(row.line)
    if fields is None:
        yield "the line is no row of a ledger"
    else:
        if fields[_MODULE_AT] != header.module.encode():
            yield "the row is of another module"
        if fields[_SEQ_AT] != b"%d" % row.seq:
            yield "the line's own seq is another one"
    proof = InclusionProof(row.seq - 1, row.path)
    if not verify_inclusion(leaf_hash(row.line), proof, header.checkpoint.head):
        yield "the row is not in the signed tree: its path does not lead to the root"


def _fields(line: bytes) -> list[bytes] | None:
    try:
        fields = split_fields(line)
    except BadLine:
        return None
    return fields if len(fields) == len(COLUMNS) else None


def _bounded(line: bytes) -> bytes:
    if len(line) > MAX_EXTRACT_LINE:
        raise DocumentError(f"the line is longer than {MAX_EXTRACT_LINE} bytes")
    return line.removesuffix(b"\n")
