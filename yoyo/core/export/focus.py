"""The ledger as a FOCUS dataset: one charge for each machine's life and each disk row. Pure.

Columns: FinOps Open Cost and Usage Specification 1.2, its mandatory ones and those that a
ledger can fill. docs/formats/exports.md says where every value comes from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from yoyo.core.corrections import Corrections
from yoyo.core.export.amended import Amended, amended_of, correcting_events
from yoyo.core.export.cells import plain, stamp
from yoyo.model.ledger import CLOSING, DISK_COST, EventType, Row

# What FocusCharges has to see; everything else may be left out of the reading.
ROW_TYPES = tuple(
    str(kind)
    for kind in (EventType.BOOT_REQUEST, EventType.JOB_COMPLETE, EventType.CHECKPOINT, *CLOSING)
)

COLUMNS = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName",
    "BillingAccountType", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountCategory",
    "CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountStatus",
    "CommitmentDiscountType", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost",
    "ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName",
    "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName",
    "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId",
    "SkuPriceId", "SubAccountId", "SubAccountName", "Tags", "x_BookedCost",
    "x_ConsumedTokens", "x_CorrectedBy", "x_CostBasis", "x_EndedBy", "x_GpuSeconds",
    "x_Jobs", "x_LedgerEventId", "x_LedgerRowHash", "x_LedgerSeq", "x_LifeId",
    "x_ModuleId", "x_NodeId", "x_OperatorId",
)  # fmt: skip

# The names that FOCUS 0.5 had for five of them. focus-validator 1.0.0 still asks for these in
# its rules for version 1.0, so a file for it carries them as well.
OLD_NAMES = {
    "InvoiceIssuer": "InvoiceIssuerName",
    "Provider": "ProviderName",
    "Publisher": "PublisherName",
    "ResourceID": "ResourceId",
    "ChargeType": "ChargeCategory",
}

_HOUR = Decimal(3600)
_NANO = Decimal("0.000000001")
_SECOND = timedelta(seconds=1)


class NodeFacts(NamedTuple):
    """What the configuration, and not the ledger, knows about a node."""

    provider: str
    machine_type: str = ""


class _Life(NamedTuple):
    job_id: str
    started: datetime
    tokens: int = 0
    asked_tokens: int = 0  # of jobs of the time and the modules that are asked for
    known: int = 0  # jobs whose tokens are known
    jobs: int = 0


class _Charge(NamedTuple):
    row: Row
    amounts: Amended
    cost: Decimal
    start: datetime
    is_disk: bool
    life: _Life | None


class FocusCharges:
    """A fold over the rows in file order; holds one life for each node and nothing of jobs."""

    def __init__(
        self,
        account: str,
        nodes: Mapping[str, NodeFacts],
        corrections: Corrections,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        modules: tuple[str, ...] = (),
    ) -> None:
        self.charges = 0
        self.unpriced = 0  # charges that FOCUS has no place for: their cost is unknown
        self._outside = 0
        self._account, self._nodes, self._corrections = account, nodes, corrections
        self._events = correcting_events(corrections)
        self._since, self._until, self._modules = since, until, modules
        self._lives: dict[str, _Life] = {}
        self._disks: dict[str, datetime] = {}  # node -> up to when its disk is booked

    @property
    def tokens_outside(self) -> int:
        """Tokens of jobs that are asked for and in no charge up to now.

        Their jobs ran in no life that the ledger knows, in one whose end is not booked or not
        among the rows, or in one whose charge is left out.
        """
        return self._outside + sum(life.asked_tokens for life in self._lives.values())

    def take(self, row: Row) -> dict[str, str] | None:
        """The charge that this row books, by column; None: it books none."""
        entry, node = row.entry, row.entry.node_id
        kind = entry.event_type
        if kind is EventType.BOOT_REQUEST:
            lost = self._lives.get(node)
            self._outside += lost.asked_tokens if lost is not None else 0
            self._lives[node] = _Life(entry.job_id, row.timestamp)
            self._disks.setdefault(node, row.timestamp)
        elif kind is EventType.JOB_COMPLETE:
            self._job(row)
        elif kind in CLOSING:
            life = self._lives.get(node)
            if life is not None and life.job_id == entry.job_id:
                del self._lives[node]
            else:
                life = None
            return self._charge(row, life, is_disk=False)
        elif kind is EventType.CHECKPOINT and entry.error_code == DISK_COST:
            return self._charge(row, self._lives.get(node), is_disk=True)
        return None

    def _job(self, row: Row) -> None:
        life = self._lives.get(row.entry.node_id)
        tokens = amended_of(row, self._corrections, self._events).tokens
        asked = (tokens or 0) if self._wanted(row) else 0
        if life is None:
            self._outside += asked
            return
        self._lives[row.entry.node_id] = life._replace(
            tokens=life.tokens + (tokens or 0),
            asked_tokens=life.asked_tokens + asked,
            known=life.known + (tokens is not None),
            jobs=life.jobs + 1,
        )

    def _charge(self, row: Row, life: _Life | None, *, is_disk: bool) -> dict[str, str] | None:
        amounts = amended_of(row, self._corrections, self._events)
        start = self._start(row, life, amounts, is_disk=is_disk)
        if is_disk:
            self._disks[row.entry.node_id] = row.timestamp
        lost = 0 if life is None or is_disk else life.asked_tokens
        if not self._wanted(row):
            self._outside += lost
            return None
        if amounts.cost_usd is None:
            self.unpriced += 1
            self._outside += lost
            return None
        self.charges += 1
        charge = _Charge(row, amounts, amounts.cost_usd, start, is_disk, None if is_disk else life)
        facts = self._nodes.get(row.entry.node_id, NodeFacts("yoyo"))
        return {**_money(charge), **_times(charge), **_things(charge, facts, self._account)}

    def _start(self, row: Row, life: _Life | None, amounts: Amended, *, is_disk: bool) -> datetime:
        found = None
        if is_disk:
            found = self._disks.get(row.entry.node_id)
        elif life is not None:
            found = life.started
        elif amounts.gpu_seconds is not None:
            found = row.timestamp - timedelta(seconds=int(amounts.gpu_seconds))
        # FOCUS has no empty period; and a clock that was set back must not make a negative one.
        return min(found or row.timestamp, row.timestamp - _SECOND)

    def _wanted(self, row: Row) -> bool:
        return (
            (self._since is None or row.timestamp >= self._since)
            and (self._until is None or row.timestamp < self._until)
            and (not self._modules or row.entry.module_id in self._modules)
        )


def _money(charge: _Charge) -> dict[str, str]:
    """List cost is what the price list gave; the other three are what is owed."""
    amounts, cost = charge.amounts, charge.cost
    listed = cost
    if amounts.basis == "billed" and amounts.booked_usd is not None:
        listed = amounts.booked_usd
    hours = _hours(charge)
    return {
        "BilledCost": plain(cost),
        "EffectiveCost": plain(cost),
        "ContractedCost": plain(cost),
        "ListCost": plain(listed),
        "ContractedUnitPrice": plain(_per_hour(cost, hours)),
        "ListUnitPrice": plain(_per_hour(listed, hours)),
        "PricingQuantity": plain(hours),
        "PricingUnit": "Hours",
        "PricingCategory": "Standard",
        "ConsumedQuantity": plain(hours),
        "ConsumedUnit": "Hours",
        "BillingCurrency": "USD",
        "x_BookedCost": plain(amounts.booked_usd),
        "x_CostBasis": amounts.basis,
        "x_CorrectedBy": amounts.by,
        "x_GpuSeconds": "" if charge.is_disk else plain(amounts.gpu_seconds),
    }


def _hours(charge: _Charge) -> Decimal:
    """Of a machine the platform's seconds where they are known, else the charge period's."""
    seconds = charge.amounts.gpu_seconds
    if charge.is_disk or not seconds:
        seconds = Decimal(int((charge.row.timestamp - charge.start).total_seconds()))
    return max((seconds / _HOUR).quantize(_NANO, ROUND_HALF_EVEN), _NANO)


def _per_hour(cost: Decimal, hours: Decimal) -> Decimal:
    return (cost / hours).quantize(_NANO, ROUND_HALF_EVEN)


def _times(charge: _Charge) -> dict[str, str]:
    """Money counts at its row's time, so the billing period is that of the row."""
    month = charge.row.timestamp.astimezone(UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    following = (month + timedelta(days=32)).replace(day=1)
    return {
        "ChargePeriodStart": stamp(charge.start),
        "ChargePeriodEnd": stamp(charge.row.timestamp),
        "BillingPeriodStart": stamp(month),
        "BillingPeriodEnd": stamp(following),
    }


def _things(charge: _Charge, facts: NodeFacts, account: str) -> dict[str, str]:
    row, entry, life = charge.row, charge.row.entry, charge.life
    what = "disk" if charge.is_disk else "machine"
    sku = f"{facts.machine_type or entry.node_id}/{what}"
    tokens = jobs = ""
    if life is not None:
        jobs = str(life.jobs)
        tokens = "" if life.jobs and not life.known else str(life.tokens)
    return {
        "BillingAccountId": account,
        "BillingAccountName": account,
        "BillingAccountType": "yoyo ledger",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": f"{what} of node {entry.node_id}",
        "ProviderName": facts.provider,
        "PublisherName": facts.provider,
        "InvoiceIssuerName": facts.provider,
        "ResourceId": f"{entry.node_id}/disk" if charge.is_disk else entry.job_id,
        "ResourceName": entry.node_id,
        "ResourceType": "Disk" if charge.is_disk else "GPU machine",
        "ServiceCategory": "Storage" if charge.is_disk else "Compute",
        "ServiceSubcategory": "Block Storage" if charge.is_disk else "Virtual Machines",
        "ServiceName": "Node disk" if charge.is_disk else "GPU node",
        "SkuId": sku,
        "SkuPriceId": entry.input_hash or f"{sku}/unrecorded",
        "SubAccountId": entry.module_id,
        "SubAccountName": entry.module_id,
        "Tags": json.dumps({"moduleId": entry.module_id, "node": entry.node_id}),
        "x_ConsumedTokens": tokens,
        "x_Jobs": jobs,
        "x_EndedBy": "" if charge.is_disk else entry.error_code,
        "x_LedgerEventId": row.event_id,
        "x_LedgerRowHash": row.row_hash,
        "x_LedgerSeq": str(row.seq),
        "x_LifeId": "" if charge.is_disk else entry.job_id,
        "x_ModuleId": entry.module_id,
        "x_NodeId": entry.node_id,
        "x_OperatorId": entry.operator_id,
    }
