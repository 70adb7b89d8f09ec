"""Jobs as OpenTelemetry spans in OTLP's JSON form. Pure.

Names: OpenTelemetry semantic conventions for generative AI (1.37 and later, where
`gen_ai.provider.name` took the place of `gen_ai.system`); they appear here and nowhere else.
The conventions count input and output tokens apart. The ledger knows their sum alone, so it
goes under a name of our own, and neither `gen_ai.usage.*` is made up.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from yoyo.core.unsafe_text import visible
from yoyo.model.ledger import RESERVED_NODES, CompletionStatus, EventType, Row

ROW_TYPES = (str(EventType.JOB_START), str(EventType.JOB_COMPLETE))
SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"
PROVIDER = "llama.cpp"  # the conventions let a provider that they do not list name itself
OPERATION = "chat"  # the only kind of request that yoyo books: POST /v1/chat/completions
SPANS_A_LINE = 200
# As many open jobs as the verifier follows: memory stays bounded whatever the file holds.
MAX_OPEN = 50_000

_CLIENT = 3  # SPAN_KIND_CLIENT of opentelemetry-proto's trace.proto
_STATUS_OK, _STATUS_ERROR = 1, 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Json = dict[str, Any]


class _Place(NamedTuple):
    module_id: str
    node_id: str


class JobSpans:
    """A fold over the job rows in file order."""

    def __init__(
        self,
        version: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        modules: tuple[str, ...] = (),
    ) -> None:
        self.spans = 0
        self.without_start = 0  # jobs whose JOB_START is not in the ledger, or forgotten
        self.forgotten = 0  # the oldest open jobs, where there were more than MAX_OPEN
        self._version, self._since, self._until = version, since, until
        self._modules = modules
        # Ordered: its first is found in no time, and a dict's in as long as many were removed.
        self._open: OrderedDict[str, tuple[datetime, str]] = OrderedDict()
        self._ready: dict[_Place, list[Json]] = {}
        self._waiting = 0

    @property
    def unfinished(self) -> int:
        """Jobs without an outcome: a span has an end, so they have none."""
        return len(self._open)

    def take(self, row: Row) -> str | None:
        """A line of OTLP JSON once there are enough spans for one."""
        entry = row.entry
        if entry.node_id in RESERVED_NODES:
            return None  # staging, registering: work of yoyo's own, no inference
        if entry.event_type is EventType.JOB_START:
            self._open[entry.job_id] = (row.timestamp, row.event_id)
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
                self.forgotten += 1
        elif entry.event_type is EventType.JOB_COMPLETE:
            begun = self._open.pop(entry.job_id, None)
            if not self._wanted(row):
                return None
            if begun is None:
                self.without_start += 1
                return None
            place = _Place(entry.module_id, entry.node_id)
            self._ready.setdefault(place, []).append(_span(row, *begun))
            self.spans += 1
            self._waiting += 1
        return self.rest() if self._waiting >= SPANS_A_LINE else None

    def rest(self) -> str | None:
        """The spans that wait as one line; None: none wait."""
        if not self._waiting:
            return None
        groups = [
            {
                "resource": {"attributes": self._resource(place)},
                "scopeSpans": [
                    {
                        "scope": {"name": "yoyo.ledger", "version": self._version},
                        "spans": spans,
                        "schemaUrl": SCHEMA_URL,
                    }
                ],
                "schemaUrl": SCHEMA_URL,
            }
            for place, spans in self._ready.items()
        ]
        self._ready, self._waiting = {}, 0
        return json.dumps({"resourceSpans": groups}, separators=(",", ":")) + "\n"

    def _resource(self, place: _Place) -> list[Json]:
        return [
            _text("service.name", "yoyo"),
            _text("service.version", self._version),
            _text("yoyo.node.id", place.node_id),
            _text("yoyo.module.id", place.module_id),
        ]

    def _wanted(self, row: Row) -> bool:
        return (
            (self._since is None or row.timestamp >= self._since)
            and (self._until is None or row.timestamp < self._until)
            and (not self._modules or row.entry.module_id in self._modules)
        )


def _span(row: Row, begun: datetime, start_event: str) -> Json:
    """Ids come from the start row's event_id, so that a span leads back to its row."""
    trace = start_event.replace("-", "")
    end = max(row.timestamp, begun)  # a clock that was set back must not end it too early
    span: Json = {
        "traceId": trace,
        "spanId": trace[16:],
        "name": OPERATION,
        "kind": _CLIENT,
        "startTimeUnixNano": _nanoseconds(begun),
        "endTimeUnixNano": _nanoseconds(end),
        "attributes": _attributes(row),
        "status": {"code": _STATUS_OK},
    }
    if row.entry.completion_status is not CompletionStatus.SUCCESS:
        span["status"] = {"code": _STATUS_ERROR, "message": visible(row.entry.error_code)}
    return span


def _attributes(row: Row) -> list[Json]:
    entry = row.entry
    found = [
        _text("gen_ai.operation.name", OPERATION),
        _text("gen_ai.provider.name", PROVIDER),
        _text("yoyo.job.id", entry.job_id),
        _text("yoyo.operator.id", entry.operator_id),
        _text("yoyo.ledger.event_id", row.event_id),
        {"key": "yoyo.ledger.seq", "value": {"intValue": str(row.seq)}},
    ]
    if entry.completion_status is not CompletionStatus.SUCCESS:
        found.append(_text("error.type", entry.error_code or str(entry.completion_status)))
    if entry.tokens_processed is not None:
        found.append(
            {"key": "yoyo.usage.total_tokens", "value": {"intValue": str(entry.tokens_processed)}}
        )
    # Measures, not money: OTLP's only number with a fraction is a double.
    for name, amount in (
        ("yoyo.gpu.seconds", entry.gpu_seconds),
        ("yoyo.cache.hit_ratio", entry.cache_hit_ratio),
    ):
        if amount is not None:
            found.append({"key": name, "value": {"doubleValue": float(amount)}})
    if entry.input_hash:
        found.append(_text("yoyo.input.hash", entry.input_hash))
    if entry.adapter_versions:
        values = [{"stringValue": visible(each)} for each in entry.adapter_versions]
        found.append({"key": "yoyo.adapters", "value": {"arrayValue": {"values": values}}})
    return found


def _text(key: str, value: str) -> Json:
    return {"key": key, "value": {"stringValue": visible(value)}}


def _nanoseconds(when: datetime) -> str:
    """A 64-bit integer of OTLP JSON is a decimal string."""
    return str((when - _EPOCH) // _MICROSECOND * 1000)
