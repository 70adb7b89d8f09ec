"""What a trace says of each thing it found, read from rows and from the documents they name."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.boot_record import BootFacts, read_boot_record
from yoyo.core.corrections import apply, corrections_of
from yoyo.core.manifest_fields import ManifestError
from yoyo.core.money import cost_of, seconds_between
from yoyo.core.trace import Chain, LifeRows, as_digest, covering, target_of
from yoyo.model.ledger import (
    ADAPTERS_NODE,
    RESERVED_NODES,
    STORE_NODE,
    CompletionStatus,
    EventType,
    Row,
)
from yoyo.model.row_filter import RowFilter
from yoyo.ops.trace_form import (
    AdapterFacts,
    CorrectionFacts,
    CostFacts,
    Covered,
    Facts,
    JobFacts,
    LifeFacts,
    Origin,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from yoyo.core.adapters.record import Record
    from yoyo.model.prices import PriceRecord
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.proofs import Proofs

_HOUR = Decimal(3600)  # seconds
_NANO = Decimal("0.000000001")  # a short job costs less than a millionth of a dollar


class Sources(NamedTuple):
    """Where a trace looks things up."""

    proofs: Proofs
    checkpoints: tuple[str, ...]  # names
    now: datetime
    hourly_usd: Mapping[str, Decimal | None]


def facts_of(chains: tuple[Chain, ...], sources: Sources, ledger: Ledger) -> tuple[Facts, ...]:
    """All that is known of each; one more pass over the ledger where names of stores or
    registries are to be followed to who put them there.

    Raises:
        LedgerUnreadable.
    """
    builders = [_Builder(chain, sources) for chain in chains]
    wanted = {pair for each in builders for pair in each.names()}
    origins: dict[tuple[str, str], list[Row]] = {}
    if wanted:
        chosen = RowFilter(
            nodes=(STORE_NODE, ADAPTERS_NODE),
            jobs=tuple(sorted({job for job, _ in wanted})),
            types=(str(EventType.JOB_COMPLETE),),
            statuses=(str(CompletionStatus.SUCCESS),),
        )
        for row in ledger.matching(chosen):
            key = (row.entry.job_id, row.entry.input_hash) if isinstance(row, Row) else ("", "")
            if isinstance(row, Row) and key in wanted:
                kept = origins.setdefault(key, [])
                kept.append(row)
                # The first is what a subject older than all others needs; the newest, most.
                del kept[1:-32]
    return tuple(each.facts(origins) for each in builders)


class _Builder:
    """The facts of one chain; what is missing is noted on the way."""

    def __init__(self, chain: Chain, sources: Sources) -> None:
        self._chain, self._sources = chain, sources
        self._unknown: list[str] = []
        self._of_store = RESERVED_NODES.get(chain.subject.node_id)
        self._fixes = corrections_of(chain.corrections, self._targets().get)
        self._record = self._load_record()
        self._boot, self._boot_digest = self._boot_record()

    def facts(self, origins: Mapping[tuple[str, str], list[Row]]) -> Facts:
        chain = self._chain
        job = self._job() if chain.subject.kind == "job" else None
        life = self._life(chain.life) if chain.life is not None else None
        if life is None and self._of_store is None:
            self._unknown.append(
                "the boot: the ledger has no open life of this node at that time, so neither "
                "engine, weights, price nor cost are known"
            )
        adapters = self._adapters(job, origins)
        cost = self._cost(job, life) if life is not None else None
        size = max([chain.subject.last_seq, *(job.rows if job is not None else ())])
        if chain.subject.kind == "life" and chain.life is not None:
            size = chain.life.last_seq
        covered = covering(self._sources.checkpoints, size)
        if covered is None:
            self._unknown.append(f"no checkpoint covers row {size} yet")
        return Facts(
            chain.subject.kind,
            job,
            chain.subject.row,
            adapters,
            life,
            self._boot,
            self._boot_digest,
            self._origin(origins, self._staged("engine")),
            self._origin(origins, self._staged("weights")),
            cost,
            self._correction_facts(),
            Covered(*covered) if covered is not None else None,
            tuple(self._unknown),
        )

    def names(self) -> list[tuple[str, str]]:
        """job_id and input_hash of the rows that put adapters, engine and weights there."""
        pairs = [self._staged("engine"), self._staged("weights")]
        for each in self._record.signed if self._record is not None else ():
            pairs.append((f"register/{each.name}", each.digest))
        return [pair for pair in pairs if pair is not None]

    def _staged(self, what: str) -> tuple[str, str] | None:
        if self._boot is None:
            return None
        found = self._boot.engine if what == "engine" else self._boot.weights
        name, manifest = found.get("name"), found.get("manifest")
        if not isinstance(name, str) or not isinstance(manifest, str):
            return None
        digest = as_digest(manifest)
        return (f"stage/{what}/{name}", digest) if digest is not None else None

    def _origin(
        self, origins: Mapping[tuple[str, str], list[Row]], pair: tuple[str, str] | None
    ) -> Origin | None:
        if pair is None:
            return None
        before = self._before()
        rows = [row for row in origins.get(pair, []) if row.seq < before]
        if not rows:
            self._unknown.append(f"who made {pair[0]} stand for these bytes: not in this ledger")
            return None
        return Origin(rows[-1].seq, rows[-1].timestamp, rows[-1].entry.operator_id)

    def _before(self) -> int:
        life = self._chain.life
        if life is not None and life.request is not None:
            return max(life.request.seq, self._chain.subject.anchor) + 1
        return self._chain.subject.anchor + 1

    def _document(self, row: Row | None, what: str) -> bytes | None:
        """The document that a row names; where there is none it is noted that there is not."""
        if row is None or not row.entry.input_hash:
            return None
        document = self._sources.proofs.find(row.entry.input_hash)
        if document is None:
            self._unknown.append(
                f"{what}: row {row.seq} names {row.entry.input_hash}, and no such document lies "
                "beside this ledger"
            )
        return document

    def _load_record(self) -> Record | None:
        document = self._document(self._chain.load, "who signed the adapters")
        if document is None:
            return None
        from yoyo.core.adapters.record import read_record
        from yoyo.core.adapters.statement_form import StatementError

        try:
            return read_record(document)
        except StatementError as error:
            self._unknown.append(f"who signed the adapters: the record cannot be read: {error}")
            return None

    def _boot_record(self) -> tuple[BootFacts | None, str | None]:
        life = self._chain.life
        if life is None:
            return None, None
        request = life.request
        if request is None:
            self._unknown.append("engine and weights: the boot's request is not in this ledger")
            return None, None
        if not request.entry.input_hash:
            self._unknown.append(
                f"engine and weights: the boot's request, row {request.seq}, names no boot record"
            )
            return None, None
        document = self._document(request, "engine and weights")
        if document is None:
            return None, request.entry.input_hash
        try:
            boot = read_boot_record(document)
        except ManifestError as error:
            self._unknown.append(f"engine and weights: the boot record cannot be read: {error}")
            return None, request.entry.input_hash
        for what, found in (("engine", boot.engine), ("weights", boot.weights)):
            if not found.get("manifest") and not found.get("sha256"):
                self._unknown.append(f"the digest of the {what}: not known when the node started")
        return boot, request.entry.input_hash

    def _targets(self) -> dict[int, Row]:
        """The rows whose corrections change what is said here."""
        subject, life = self._chain.subject, self._chain.life
        rows = (subject.start, subject.complete, subject.row, life.closing if life else None)
        return {row.seq: row for row in rows if row is not None}

    def _correction_facts(self) -> tuple[CorrectionFacts, ...]:
        why = {each.seq: each.why for each in self._fixes.problems}
        reasons = {each.row.seq: each.reason for each in self._fixes.applied}
        facts = []
        for row in self._chain.corrections:
            entry = row.entry
            facts.append(
                CorrectionFacts(
                    row.seq, (target_of(row) or (0, ""))[0], entry.error_code, row.timestamp,
                    entry.operator_id, reasons.get(row.seq, ""), row.seq in reasons,
                    why.get(row.seq, ""), entry.tokens_processed, entry.gpu_seconds,
                    entry.cost_usd,
                )
            )  # fmt: skip
        return tuple(facts)

    def _job(self) -> JobFacts:
        start, complete = self._chain.subject.start, self._chain.subject.complete
        row = complete or start
        assert row is not None  # noqa: S101 - a job has one row at least
        entry = apply(row, self._fixes).entry
        if start is None:
            self._unknown.append("when the job began: its JOB_START row is not in this ledger")
        if complete is None:
            self._unknown.append("how the job ended: its JOB_COMPLETE row is not there (yet)")
        started = start.timestamp if start is not None else None
        completed = complete.timestamp if complete is not None else None
        return JobFacts(
            job_id=entry.job_id,
            node_id=entry.node_id,
            module_id=entry.module_id,
            operator=entry.operator_id,
            status=str(entry.completion_status),
            error_code=entry.error_code,
            input_hash=entry.input_hash,
            adapters=entry.adapter_versions,
            started=started,
            completed=completed,
            seconds=seconds_between(started, completed),
            tokens=entry.tokens_processed,
            cache_hit_ratio=entry.cache_hit_ratio,
            gpu_seconds=entry.gpu_seconds,
            rows=tuple(each.seq for each in (start, complete) if each is not None),
        )

    def _life(self, rows: LifeRows) -> LifeFacts:
        closing = rows.closing
        seconds = apply(closing, self._fixes).entry.gpu_seconds if closing is not None else None
        up = rows.complete.timestamp if rows.complete is not None else None
        until = closing.timestamp if closing is not None else self._sources.now
        first = rows.request
        seqs = (rows.request, rows.complete, rows.load, rows.teardown, closing)
        return LifeFacts(
            job_id=rows.job_id,
            node_id=rows.node_id,
            operator=first.entry.operator_id if first is not None else None,
            requested=first.timestamp if first is not None else None,
            up=up,
            stop_asked=rows.teardown.timestamp if rows.teardown is not None else None,
            ended=closing.timestamp if closing is not None else None,
            ended_by=closing.entry.operator_id if closing is not None else None,
            status=str(closing.entry.completion_status) if closing is not None else "open",
            error_code=closing.entry.error_code if closing is not None else "",
            uptime_seconds=seconds_between(up, until),
            gpu_seconds=seconds,
            rows=tuple(sorted(row.seq for row in seqs if row is not None)),
        )

    def _adapters(
        self, job: JobFacts | None, origins: Mapping[tuple[str, str], list[Row]]
    ) -> tuple[AdapterFacts, ...]:
        load = self._chain.load
        signed = {each.name: each for each in self._record.signed} if self._record else {}
        loaded = load.entry.adapter_versions if load is not None else ()
        used = () if job is None or self._of_store is not None else job.adapters
        facts = []
        for name in dict.fromkeys((*used, *(loaded if self._of_store is None else ()))):
            who = signed.get(name)
            if who is None:
                self._unknown.append(f"digest and signers of {name}: no record of a load has it")
            facts.append(
                AdapterFacts(
                    name,
                    name in used,
                    who.digest if who else None,
                    who.weights if who else None,
                    who.signers if who else (),
                    self._record.at if who and self._record else None,
                    load.seq if load is not None and who else None,
                    self._origin(origins, (f"register/{name}", who.digest)) if who else None,
                )
            )
        return tuple(facts)

    def _cost(self, job: JobFacts | None, life: LifeFacts) -> CostFacts:
        rows = self._chain.life
        closing = rows.closing if rows is not None else None
        price, digest = self._price(closing)
        hourly = self._sources.hourly_usd.get(life.node_id)
        if closing is None:
            usd = cost_of(seconds_between(life.requested, self._sources.now), hourly)
            share = part = None
            if job is not None and job.gpu_seconds is not None and hourly is not None:
                part = (job.gpu_seconds * hourly / _HOUR).quantize(_NANO, ROUND_HALF_UP)
            how = "estimate" if usd is not None else "unknown"
            if usd is None:
                self._unknown.append("the cost: the life is open, and no price is configured here")
            return CostFacts(usd, how, part, share, price, digest)
        usd, how = apply(closing, self._fixes).entry.cost_usd, "booked"
        fix = self._fixes.of(closing)
        if fix is not None and fix.cost_usd is not None:
            how = "billed" if fix.billed else "corrected"
        if usd is None:
            self._unknown.append(f"the cost of the life: row {closing.seq} was booked without one")
            how = "unknown"
        share = None
        if job is not None and job.gpu_seconds is not None and life.gpu_seconds:
            share = (job.gpu_seconds / life.gpu_seconds).quantize(_NANO, ROUND_HALF_UP)
        elif job is not None:
            self._unknown.append("the job's share of the cost: its or the life's seconds")
        part = None
        if job is not None and job.gpu_seconds is not None and life.gpu_seconds and usd is not None:
            part = (job.gpu_seconds * usd / life.gpu_seconds).quantize(_NANO, ROUND_HALF_UP)
        return CostFacts(usd, how, part, share, price, digest)

    def _price(self, closing: Row | None) -> tuple[PriceRecord | None, str | None]:
        from yoyo.core.prices import PriceRecordError, read_price_record

        if closing is None:
            self._unknown.append("the price: it is booked when the life ends")
            return None, None
        if not closing.entry.input_hash:
            self._unknown.append(f"the price: row {closing.seq} names no price record")
            return None, None
        document = self._document(closing, "the price")
        if document is None:
            return None, closing.entry.input_hash
        try:
            return read_price_record(document), closing.entry.input_hash
        except PriceRecordError as error:
            self._unknown.append(f"the price: its record cannot be read: {error}")
            return None, closing.entry.input_hash
