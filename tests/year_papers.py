"""What stands beside the year's ledger: configuration, Google's bill, the platform's own view."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from year_facts import DISK_GB, DISK_GB_MONTH, MICRO, NODES, Place, YearLife
from year_parts import Year

PROJECT = "yoyo-year"
STRANGER = "01990000-0000-7000-8000-00000000dead"  # the request id of a machine without rows
BILLING_COLUMNS = (
    "billing_account_id", "invoice.month", "cost_type", "service.id", "service.description",
    "sku.id", "sku.description", "usage_start_time", "usage_end_time", "project.id", "labels",
    "location.location", "location.region", "location.zone", "resource.name",
    "resource.global_name", "cost", "currency", "currency_conversion_rate", "usage.amount",
    "usage.unit", "credits", "export_time",
)  # fmt: skip
SKUS = (
    ("2E27-4F75-95CD", "G2 Instance Core running in Americas", Decimal("0.35")),
    ("1E5E-1B4A-2C3D", "G2 Instance Ram running in Americas", Decimal("0.15")),
    ("9E4C-6A1B-77F0", "Nvidia L4 GPU running in Americas", Decimal(1)),  # what is left
)
DISK_SKU = ("5D9F-3B6A-11E2", "Balanced PD Capacity in Americas")

CONFIG = """\
version: 1
operator: alice
nodes:
"""
NODE_CONFIG = """\
  {name}:
    moduleId: {module}
    driver: gce
    engine: {{model: "https://models.example.com/qwen-32b-q4.gguf"}}
    weights: {{sha256: "{sha256}"}}
    gce: {{project: {project}, zones: [{zone}], provisioning: {provisioning}}}
    prices: {{hourly_usd: "{hourly}", disk_gb_month_usd: "{disk}"}}
    budget: {{month_usd: "400.00"}}
"""


def write_papers(year: Year, directory: Path) -> None:
    """Write yoyo.yaml, billing.csv and platform.json."""
    (directory / "yoyo.yaml").write_text(config_text())
    with (directory / "billing.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(BILLING_COLUMNS)
        writer.writerows(bill(year))
    (directory / "platform.json").write_text(json.dumps(platform(year), indent=1) + "\n")


def config_text() -> str:
    """A configuration of the three nodes."""
    parts = [CONFIG]
    for index, node in enumerate(NODES):
        provisioning = "spot" if node.spot else "standard"
        parts.append(NODE_CONFIG.format(
            name=node.name, module=("acme", "globex", "initech")[index], sha256="ab" * 32,
            project=PROJECT, zone=node.zone, provisioning=provisioning, hourly=node.hourly,
            disk=DISK_GB_MONTH,
        ))  # fmt: skip
    return "".join(parts)


def bill(year: Year) -> Iterator[list[str]]:
    """Rows of Google's detailed usage cost export, by life and day."""
    for life in year.lives:
        if life.stopped is not None:
            yield from _machine(life, life.stopped)
    at = year.end - timedelta(days=2)
    there = NODES[0]._replace(name="l4-x")
    stranger = YearLife(STRANGER, there, "acme", at, None, Decimal("3.550245"), None)
    yield from _machine(stranger, at + timedelta(hours=5))
    for node in NODES:
        lives = [life for life in year.lives if life.place is node]
        if lives:
            last = lives[-1].stopped or lives[-1].started
            yield from _disk(lives[0].request_id, node, lives[0].started, last)
    if year.left_disk is not None:
        request, node, since = year.left_disk
        yield from _disk(request, node, since, year.end, "yoyo-l4-b-left")


def _machine(life: YearLife, stopped: datetime, name: str = "") -> Iterator[list[str]]:
    whole, second = stopped - life.started, timedelta(seconds=1)
    at, left, credit = life.started, life.real, life.credits
    while at < stopped:
        end = min(stopped, (at + timedelta(days=1)).replace(hour=0, minute=0, second=0,
                                                            microsecond=0))  # fmt: skip
        day = left
        if end < stopped:
            day = (life.real * ((end - at) // second) / (whole // second)).quantize(MICRO)
        left -= day
        rest = day
        for sku, text, share in SKUS:
            cost = rest if share == 1 else (day * share).quantize(MICRO)
            rest -= cost
            given = [{"name": "Committed use", "amount": str(credit)}] if credit else []
            credit = Decimal(0)
            yield _line(life.place, life.request_id, sku, text, at, end, cost, given,
                        name or f"yoyo-{life.place.name}", life.module)  # fmt: skip
        at = end


def _disk(
    request: str, node: Place, since: datetime, until: datetime, name: str = ""
) -> Iterator[list[str]]:
    at = since
    while at < until:
        end = min(until, (at + timedelta(days=1)).replace(hour=0, minute=0, second=0,
                                                          microsecond=0))  # fmt: skip
        seconds = Decimal((end - at) // timedelta(milliseconds=1)) / 1000
        cost = (DISK_GB_MONTH * DISK_GB * seconds / (730 * 3600)).quantize(MICRO)
        yield _line(node, request, *DISK_SKU, at, end, cost, [], name or f"yoyo-{node.name}", "")
        at = end


def _line(
    node: Place, request: str, sku: str, text: str, start: datetime, end: datetime, cost: Decimal,
    credits: list[dict[str, str]], name: str, module: str,
) -> list[str]:  # fmt: skip
    labels = [{"key": "yoyo-node", "value": node.name}, {"key": "yoyo-request", "value": request}]
    if module:
        labels.append({"key": "yoyo-module", "value": module})
    kind = "disks" if sku == DISK_SKU[0] else "instances"
    return [
        "01AB23-4567CD-89EF01", f"{start:%Y%m}", "regular", "6F81-5844-456A", "Compute Engine",
        sku, text, f"{start:%Y-%m-%d %H:%M:%S} UTC", f"{end:%Y-%m-%d %H:%M:%S} UTC", PROJECT,
        json.dumps(labels), node.zone.rpartition("-")[0], node.zone.rpartition("-")[0], node.zone,
        name, f"//compute.googleapis.com/projects/{PROJECT}/zones/{node.zone}/{kind}/{name}",
        str(cost), "USD", "1", str(int((end - start).total_seconds())), "seconds",
        json.dumps(credits), f"{end + timedelta(hours=6):%Y-%m-%d %H:%M:%S} UTC",
    ]  # fmt: skip


def platform(year: Year) -> dict[str, object]:
    """What the platform would say at the year's end."""
    now = year.end
    instances: list[dict[str, object]] = []
    disks: list[dict[str, object]] = []
    for node in NODES:
        last = [life for life in year.lives if life.place is node][-1:]
        for life in last:
            labels = {"yoyo-node": node.name, "yoyo-request": life.request_id}
            common = {"name": f"yoyo-{node.name}", "zone": node.zone, "labels": labels}
            stopped = life.stopped.isoformat() if life.stopped else None
            instances.append(
                common | {
                    "status": "TERMINATED" if stopped else "RUNNING",
                    "lastStartTimestamp": life.started.isoformat(),
                    "lastStopTimestamp": stopped,
                }
            )  # fmt: skip
            disks.append(common | {"sizeGb": DISK_GB, "users": [f"yoyo-{node.name}"]})
    stranger = {"yoyo-node": "l4-x", "yoyo-request": STRANGER}
    instances.append(
        {
            "name": "yoyo-l4-x", "zone": NODES[0].zone, "labels": stranger, "status": "RUNNING",
            "lastStartTimestamp": (now - timedelta(days=2)).isoformat(), "lastStopTimestamp": None,
        }
    )  # fmt: skip
    if year.left_disk is not None:
        request, node, since = year.left_disk
        disks.append(
            {
                "name": "yoyo-l4-b-left", "zone": node.zone, "sizeGb": DISK_GB, "users": [],
                "labels": {"yoyo-node": node.name, "yoyo-request": request},
                "creationTimestamp": since.isoformat(),
            }
        )  # fmt: skip
    return {"asked_at": now.isoformat(), "instances": instances, "disks": disks}
