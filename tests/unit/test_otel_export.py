"""OpenTelemetry: lines of OTLP JSON, with nothing in them that the ledger does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from export_parts import Made, at, entry, rows_of, story
from jsonschema import Draft202012Validator

from yoyo.core.export.otel import SPANS_A_LINE, JobSpans
from yoyo.model.ledger import CompletionStatus, EventType

SCHEMA = Path(__file__).parents[1] / "golden" / "otlp-traces.schema.json"
VALID = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def exported(made: Made, **more: Any) -> tuple[JobSpans, list[dict[str, Any]]]:
    fold = JobSpans("1.2.3", **more)
    lines = [fold.take(row) for row in rows_of(made)] + [fold.rest()]
    documents = [json.loads(line) for line in lines if line is not None]
    for document in documents:
        VALID.validate(document)
    return fold, documents


def spans(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        span
        for document in documents
        for group in document["resourceSpans"]
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    ]


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


def test_one_span_for_each_finished_job() -> None:
    fold, documents = exported(story())
    first, second = spans(documents)

    assert (fold.spans, fold.unfinished, fold.without_start) == (2, 1, 0)
    assert int(first["endTimeUnixNano"]) - int(first["startTimeUnixNano"]) == 1800 * 10**9
    assert first["startTimeUnixNano"] == str(int(at(1).timestamp()) * 10**9)
    assert first["status"] == {"code": 1}
    assert second["status"] == {"code": 2, "message": "ENGINE_FAILED"}
    assert attributes(second)["error.type"] == "ENGINE_FAILED"


def test_names_of_the_conventions_and_no_split_of_tokens_that_nobody_knows() -> None:
    found = attributes(spans(exported(story())[1])[0])

    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.provider.name"] == "llama.cpp"
    assert found["yoyo.usage.total_tokens"] == "1200"
    assert found["yoyo.gpu.seconds"] == 1800.5
    assert found["yoyo.adapters"] == {
        "values": [{"stringValue": "tone@1"}, {"stringValue": "tone@2"}]
    }
    assert not [name for name in found if name.startswith("gen_ai.usage")]
    assert "gen_ai.request.model" not in found  # the ledger does not say which
    assert "yoyo.usage.total_tokens" not in attributes(spans(exported(story())[1])[1])


def test_ids_lead_back_to_the_start_row() -> None:
    start = rows_of(story())[2]
    span = spans(exported(story())[1])[0]

    assert span["traceId"] == start.event_id.replace("-", "")
    assert span["spanId"] == span["traceId"][16:]


def test_work_on_the_store_is_no_inference() -> None:
    made: Made = []
    for node in ("store", "adapters"):
        for kind, status in (
            (EventType.JOB_START, CompletionStatus.PENDING),
            (EventType.JOB_COMPLETE, CompletionStatus.SUCCESS),
        ):
            made.append((at(len(made)), entry(kind, f"gc-{node}", status, node_id=node)))

    assert spans(exported(made)[1]) == []


def test_a_window_keeps_jobs_that_began_before_it() -> None:
    assert len(spans(exported(story(), since=at(1.2), until=at(1.6))[1])) == 1
    assert spans(exported(story(), modules=("other",))[1]) == []


def test_many_jobs_are_many_lines_and_little_memory() -> None:
    made: Made = []
    for number in range(SPANS_A_LINE * 2 + 1):
        made.append(
            (at(number), entry(EventType.JOB_START, f"j{number}", CompletionStatus.PENDING))
        )
        made.append((at(number), entry(EventType.JOB_COMPLETE, f"j{number}")))
    _, documents = exported(made)

    assert [len(spans([document])) for document in documents] == [SPANS_A_LINE, SPANS_A_LINE, 1]


def test_a_clock_set_back_does_not_end_a_span_before_it_begins() -> None:
    made = [(at(2), story()[2][1]), (at(1), story()[3][1])]
    span = spans(exported(made)[1])[0]

    assert span["startTimeUnixNano"] == span["endTimeUnixNano"]


@pytest.mark.parametrize(
    "broken",
    [
        {"resourceSpans": [{"scope_spans": []}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]},
        {"spans": []},
    ],
)
def test_the_schema_refuses_what_is_no_otlp(broken: dict[str, Any]) -> None:
    assert not VALID.is_valid(broken)


def test_past_the_most_open_jobs_the_oldest_is_forgotten_and_later_ones_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("yoyo.core.export.otel.MAX_OPEN", 2)
    made: Made = [
        (at(n), entry(EventType.JOB_START, f"j{n}", CompletionStatus.PENDING)) for n in range(4)
    ]
    made += [(at(5 + n), entry(EventType.JOB_COMPLETE, f"j{n}")) for n in (3, 2, 0)]
    fold, documents = exported(made)

    assert [attributes(each)["yoyo.job.id"] for each in spans(documents)] == ["j3", "j2"]
    assert (fold.forgotten, fold.without_start, fold.unfinished) == (2, 1, 0)
