"""A small ledger with everything behind it that a trace can find."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from yoyo.core.adapters.summary import verification_summary
from yoyo.core.corrections import Amounts, correction_entry
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.files.proofs import FileProofs
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.adapter import Signed
from yoyo.model.ledger import CompletionStatus, Entry, EventType, Row

E = EventType
BEGIN = datetime(2026, 10, 30, 12, 0, tzinfo=UTC)
PROMPT = "sha256:" + sha256(b"Why?").hexdigest()
SIGNED = Signed(
    "demo-tone@1.0.0",
    "sha256:" + "a1" * 32,
    "sha256:" + "b2" * 32,
    (("signature", "alice@example.com (https://id.example)"), ("sign-off", "bob@example.com")),
    ("sha256:" + "c3" * 32,),
)


class Ticking:
    """A clock that goes on by a second with every look."""

    def __init__(self, at: datetime = BEGIN) -> None:
        self.at = at

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at

    def monotonic(self) -> float:
        return (self.at - BEGIN).total_seconds()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Story:
    """A ledger that is written row by row."""

    def __init__(self, root: Path) -> None:
        self.path = root / "ledger.csv"
        self.clock = Ticking()
        self.ledger = CsvLedger(self.path, self.clock, SystemIds(self.clock))
        self.proofs = FileProofs(root / "ledger.proofs")

    def add(
        self, kind: EventType, job: str, node: str = "l4", status: str = "", **more: Any
    ) -> Row:
        pending = kind in (E.BOOT_REQUEST, E.JOB_START, E.TEARDOWN_REQUEST)
        how = CompletionStatus(status or ("pending" if pending else "success"))
        operator = more.pop("operator", "olga")
        return self.ledger.append(Entry(kind, "demo", node, job, how, operator, **more))

    def proof(self, document: dict[str, Any]) -> str:
        return self.proofs.keep(json.dumps(document, sort_keys=True).encode())

    def boot(self, life: str, node: str = "l4", record: str = "") -> Row:
        row = self.add(E.BOOT_REQUEST, life, node, input_hash=record)
        self.add(E.BOOT_COMPLETE, life, node)
        return row

    def load(self, life: str, signed: Iterable[Signed] = (SIGNED,)) -> Row:
        signed = tuple(signed)
        document = verification_summary(
            signed,
            resource="urn:yoyo:node:l4",
            policy_digest="sha256:" + "d4" * 32,
            verifier="https://yoyo.example",
            at=self.clock.at,
            passed=True,
        )
        names = tuple(each.name for each in signed)
        proof = self.proofs.keep(document)
        return self.add(E.ADAPTER_LOAD, life, input_hash=proof, adapter_versions=names)

    def job(self, job: str, node: str = "l4", **more: Any) -> Row:
        more = {"input_hash": PROMPT, **more}
        first = {key: more[key] for key in ("input_hash", "adapter_versions") if key in more}
        self.add(E.JOB_START, job, node, **first)
        figures = {"tokens_processed": 500, "gpu_seconds": Decimal("1.500")}
        return self.add(E.JOB_COMPLETE, job, node, **{**figures, **more})

    def end(self, life: str, node: str = "l4", kind: EventType = E.TEARDOWN_COMPLETE) -> Row:
        price = self.proof(
            {
                "_type": "urn:yoyo:price:v1",
                "currency": "USD",
                "hourly_usd": "0.72",
                "source": "https://prices.example",
                "valid_from": "2026-10-01",
                "version": "yoyo-2026-10",
            }
        )
        self.add(E.TEARDOWN_REQUEST, life, node)
        return self.add(
            kind,
            life,
            node,
            status="preempted" if kind is E.PREEMPTION else "success",
            gpu_seconds=Decimal("3600.000"),
            cost_usd=Decimal("0.720000"),
            input_hash=price,
        )

    def correct(self, row: Row, *, billed: bool = False, **amounts: Any) -> Row:
        fix = correction_entry(row, Amounts(**amounts, billed=billed), "the bill", "auditor")
        return self.ledger.append(fix)
