"""What a cache needs and how far it is: every pair of what is wanted and what is there."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.cache_record import RecordInvalid, decode, document, encode, wanted
from yoyo.core.cache_state import Observed, diff, drift, hydration_seconds, status_of
from yoyo.core.model_cache import parse, request
from yoyo.model.cache import (
    Failure,
    HuggingFace,
    Hydrated,
    Inline,
    ModelCache,
    Phase,
    Record,
    Stamp,
    Verb,
)
from yoyo.model.fetch import RemoteFile, Resolved
from yoyo.model.ledger import CompletionStatus, Entry, EventType, Row
from yoyo.model.store import WEIGHTS, Manifest, Source, StoredFile

T0 = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOW = T0 + timedelta(days=1)
A, B, M = "a" * 64, "b" * 64, "c" * 64
URL = "hf://org/model/m.gguf@main"
CACHE = ModelCache("qwen", WEIGHTS, HuggingFace("org/model", "m.gguf", "main", None), None)
ADOPTED = ModelCache("qwen", WEIGHTS, None, "/srv/qwen")
AGAIN = (("yoyo.dev/refetch", "1"),)
STAMPS = (Stamp("/srv/qwen/m.gguf", 5, "x"),)


def manifest(digest: str = A, revision: str = "1" * 40, url: str = URL) -> Manifest:
    stored = StoredFile("m.gguf", 5, digest, (digest,), "application/octet-stream")
    return Manifest(WEIGHTS, "qwen", (stored,), Source(url, revision), "", T0, "me")


def resolved(digest: str | None = A, revision: str = "1" * 40, size: int | None = 5) -> Resolved:
    return Resolved(URL, revision, "", (RemoteFile("m.gguf", size, digest),))


def record(
    cache: ModelCache = CACHE, failure: Failure | None = None, drifted: datetime | None = None
) -> Record:
    done = Hydrated(wanted(request(cache)), M, cache.refetch, T0)
    return Record(cache, T0, "me", done, failure, drifted)


def verb_of(cache: ModelCache, seen: Observed) -> Verb:
    (action,) = diff((cache,), {cache.name: seen})
    return action.verb


def conditions(cache: ModelCache, seen: Observed) -> dict[str, tuple[str, str]]:
    found = status_of(cache, seen, NOW).conditions
    return {each.type: (each.status, each.reason) for each in found}


V2 = CACHE._replace(source=HuggingFace("org/model", "m.gguf", "v2", None))
TABLE = [
    ("nothing there", CACHE, Observed(None, None, ""), Verb.STAGE, Phase.PENDING),
    ("somebody at it", CACHE, Observed(None, None, "", busy=True), Verb.WAIT, Phase.POPULATING),
    ("as recorded", CACHE, Observed(record(), manifest(), M, resolved()), Verb.NONE, Phase.READY),
    ("source silent", CACHE, Observed(record(), manifest(), M), Verb.NONE, Phase.READY),
    ("tag moved", CACHE, Observed(record(), manifest(), M, resolved(B, "2" * 40)), Verb.NONE,
     Phase.READY),
    ("removed", CACHE, Observed(record(), None, ""), Verb.STAGE, Phase.PENDING),
    ("staged by hand, same", CACHE, Observed(None, manifest(), M, resolved()), Verb.RECORD,
     Phase.PENDING),
    ("staged by hand, other", CACHE, Observed(None, manifest(B), M, resolved()), Verb.STAGE,
     Phase.PENDING),
    ("staged by hand, source silent", CACHE, Observed(None, manifest(), M), Verb.STAGE,
     Phase.PENDING),
    ("replaced by hand", CACHE, Observed(record(), manifest(B), B, resolved()), Verb.NONE,
     Phase.READY),
    ("replaced by hand, same", CACHE, Observed(record(), manifest(), B, resolved()), Verb.RECORD,
     Phase.READY),
    ("refetch", CACHE._replace(annotations=AGAIN), Observed(record(), manifest(), M, resolved()),
     Verb.REPLACE, Phase.PENDING),
    ("refetched", CACHE._replace(annotations=AGAIN),
     Observed(record(CACHE._replace(annotations=AGAIN)), manifest(), M, resolved()), Verb.NONE,
     Phase.READY),
    ("annotation taken away", CACHE,
     Observed(record(CACHE._replace(annotations=AGAIN)), manifest(), M, resolved()), Verb.NONE,
     Phase.READY),
    ("other revision", V2, Observed(record(), manifest(), M, resolved(B, "2" * 40)), Verb.REPLACE,
     Phase.PENDING),
    ("other revision, same bytes", V2, Observed(record(), manifest(), M, resolved()), Verb.RECORD,
     Phase.PENDING),
    ("other revision, replaced by hand", V2,
     Observed(record(), manifest(B), B, resolved(A, "2" * 40)), Verb.STAGE, Phase.PENDING),
    ("failed", CACHE,
     Observed(Record(CACHE, T0, "me", None, Failure("SourceFailed", "gone", T0)), None, ""),
     Verb.STAGE, Phase.FAILED),
    ("replacing failed", V2,
     Observed(record(failure=Failure("SourceFailed", "gone", T0)), manifest(), M,
              resolved(B, "2" * 40)), Verb.REPLACE, Phase.FAILED),
    ("nothing adopted", ADOPTED, Observed(None, None, ""), Verb.ADOPT, Phase.PENDING),
    ("adopted",  ADOPTED, Observed(record(ADOPTED), manifest(), M), Verb.NONE, Phase.READY),
    ("adopted, other path", ADOPTED._replace(existing="/srv/b"),
     Observed(record(ADOPTED), manifest(), M), Verb.REPLACE, Phase.PENDING),
    ("name taken", ADOPTED, Observed(None, manifest(), M), Verb.ADOPT, Phase.PENDING),
    ("from adopted to stored", CACHE,
     Observed(record(ADOPTED), manifest(url="existing:///srv/qwen"), M, resolved()), Verb.REPLACE,
     Phase.PENDING),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cache", "seen", "verb", "phase"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_every_state_has_its_step_and_phase(
    cache: ModelCache, seen: Observed, verb: Verb, phase: Phase
) -> None:
    assert verb_of(cache, seen) is verb
    found = status_of(cache, seen, NOW)
    assert found.phase is phase
    ready = conditions(cache, seen)["Ready"]
    assert (ready[0] == "True") == (phase is Phase.READY)
    assert (conditions(cache, seen)["Stalled"][0] == "True") == (phase is Phase.FAILED)
    assert found.digest == (f"sha256:{seen.digest}" if seen.digest else "")


def touched(size: int, mark: str) -> Observed:
    done = Hydrated(wanted(request(ADOPTED)), M, "", T0, STAMPS)
    now = (Stamp(STAMPS[0].path, size, mark),)
    return Observed(Record(ADOPTED, T0, "me", done), manifest(), M, stamps=now)


@pytest.mark.parametrize(
    ("seen", "verb", "phase", "drifted"),
    [
        (touched(5, "x"), Verb.NONE, Phase.READY, "False"),
        (touched(5, "y"), Verb.VERIFY, Phase.PENDING, "Unknown"),
        (touched(6, "y"), Verb.NONE, Phase.FAILED, "True"),
        (touched(-1, ""), Verb.NONE, Phase.FAILED, "True"),
    ],
    ids=["same", "touched", "grown", "gone"],
)
def test_adopted_files_that_change(seen: Observed, verb: Verb, phase: Phase, drifted: str) -> None:
    assert verb_of(ADOPTED, seen) is verb
    assert status_of(ADOPTED, seen, NOW).phase is phase
    assert conditions(ADOPTED, seen)["Drifted"][0] == drifted


@pytest.mark.parametrize(
    ("now", "status", "reason"),
    [
        (resolved(), "False", "Unchanged"),
        (resolved(A, "2" * 40), "True", "RevisionMoved"),
        (resolved(B, "2" * 40), "True", "RevisionMoved"),
        (resolved(B, ""), "True", "ContentChanged"),
        (resolved(None, "", size=6), "True", "ContentChanged"),
        (resolved(None, "", size=None), "False", "Unchanged"),
        (None, "Unknown", "SourceUnknown"),
    ],
)
def test_drift_of_a_tag(now: Resolved | None, status: str, reason: str) -> None:
    found = drift(CACHE, Observed(record(), manifest(), M, now))
    assert (found.status, found.reason) == (status, reason)


def test_a_moved_tag_says_whether_the_files_are_the_same() -> None:
    same = drift(CACHE, Observed(record(), manifest(), M, resolved(A, "2" * 40)))
    other = drift(CACHE, Observed(record(), manifest(), M, resolved(B, "2" * 40)))
    assert "with the same files" in same.message
    assert "with other files" in other.message


def test_the_time_of_a_drift_is_when_it_was_first_seen() -> None:
    for first, shown in [(None, NOW), (T0, T0)]:
        seen = Observed(record(drifted=first), manifest(), M, resolved(B, "2" * 40))
        (found,) = (c for c in status_of(CACHE, seen, NOW).conditions if c.type == "Drifted")
        assert found.since == shown


def test_the_status_as_a_document() -> None:
    seen = Observed(
        record(), manifest(), M, resolved(), references=("n1",), seconds=Decimal("12.5")
    )
    tree = document(CACHE, status_of(CACHE, seen, NOW))
    found = tree.pop("status")
    assert parse(tree) == CACHE
    assert found["phase"] == "Ready"
    assert found["resolvedDigest"] == f"sha256:{M}"
    assert found["hydrationSeconds"] == "12.5"
    assert found["references"] == ["n1"]
    assert found["conditions"][0] == {
        "type": "Ready",
        "status": "True",
        "reason": "Staged",
        "message": "The store has its bytes.",
        "lastTransitionTime": "2026-11-01T12:00:00Z",
    }


def rows(*given: tuple[EventType, str, str, CompletionStatus, int]) -> list[Row]:
    return [
        Row(Entry(kind, "m", "store", job, status, "me", input_hash=digest), "id",
            T0 + timedelta(milliseconds=ms), n, "", n)
        for n, (kind, job, digest, status, ms) in enumerate(given)
    ]  # fmt: skip


def test_hydration_seconds_are_the_ledger_s() -> None:
    start, end = EventType.JOB_START, EventType.JOB_COMPLETE
    good, bad, open_ = CompletionStatus.SUCCESS, CompletionStatus.ERROR, CompletionStatus.PENDING
    job = "stage/weights/qwen"
    given = rows(
        (start, job, "", open_, 0), (end, job, "", bad, 5000),
        (start, job, "", open_, 6000), (start, "stage/weights/other", "", open_, 6500),
        (end, "stage/weights/other", f"sha256:{M}", good, 6600),
        (end, job, f"sha256:{M}", good, 18_250),
        (end, job, f"sha256:{M}", good, 99_000),
    )  # fmt: skip
    assert hydration_seconds(given, WEIGHTS, "qwen", M) == Decimal("12.25")
    assert hydration_seconds(given, WEIGHTS, "qwen", A) is None
    assert hydration_seconds([], WEIGHTS, "qwen", M) is None


TIMES = st.integers(0, 4_000_000_000).map(lambda at: datetime.fromtimestamp(at, UTC))
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
RECORDS = st.builds(
    Record,
    st.sampled_from([CACHE, ADOPTED, V2, ModelCache("t", "bytes", Inline("x", None), None)]),
    TIMES,
    TEXTS,
    st.none()
    | st.builds(
        Hydrated, HEX, HEX, TEXTS, TIMES,
        st.lists(st.builds(Stamp, TEXTS, st.integers(0, 2**60), TEXTS), max_size=3).map(tuple),
    ),
    st.none() | st.builds(Failure, TEXTS, TEXTS, TIMES),
    st.none() | TIMES,
)  # fmt: skip


@settings(deadline=None)
@given(RECORDS)
def test_a_record_is_given_back(made: Record) -> None:
    assert decode(encode(made)) == made


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_record_is_refused_or_read(data: st.DataObject) -> None:
    good = bytearray(encode(record()))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(decode(bytes(good)), Record)
    except RecordInvalid:
        return


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"a": NaN}', b"[" * 100_000, b"\xff", b'{"a": 1, "a": 1}',
     encode(record()).replace(b'"schema": 1', b'"schema": 2'),
     encode(record()).replace(b'"schema": 1', b'"schema": true'),
     encode(record()).replace(b"2026-11-01", b"2026-13-01"),
     encode(record()).replace(M.encode(), b"C" * 64)],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_record(data: bytes) -> None:
    with pytest.raises(RecordInvalid):
        decode(data)
