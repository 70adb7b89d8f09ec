"""Finding what carries yoyo's labels or names and belongs to no live node.

One call a kind covers every zone (aggregatedList); the kinds are asked side by side.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from yoyo.core.disk_cost import HOURS_A_MONTH
from yoyo.drivers.gce.cloud import Cloud, Document, last_part
from yoyo.drivers.gce.names import NODE, PREFIX, REQUEST
from yoyo.model.machine import Leftover
from yoyo.model.settings import NodeSettings

_RUNNING = ("PROVISIONING", "STAGING", "RUNNING", "REPAIRING", "STOPPING", "PENDING_STOP")
_KINDS = (
    ("instance", "Instances", "aggregated_list"),
    ("disk", "Disks", "aggregated_list"),
    ("address", "Addresses", "aggregated_list"),
    ("snapshot", "Snapshots", "list"),
    ("firewall", "Firewalls", "list"),
)


def leftovers(
    cloud: Cloud, node: NodeSettings, live: frozenset[str], known: frozenset[str]
) -> list[Leftover]:
    """See the port.

    Raises:
        CloudFault: a zone could not be asked, so that nothing is certain.
    """
    cloud.warm_up(tuple(service for _, service, _ in _KINDS))
    with ThreadPoolExecutor(len(_KINDS)) as pool:
        asked = {
            kind: pool.submit(cloud.every, service, method) for kind, service, method in _KINDS
        }
        found = {
            kind: [each for each in one.result() if _ours(each)] for kind, one in asked.items()
        }
    instances = {_node_of(each) for each in found["instance"]}
    up = {_node_of(each) for each in found["instance"] if _runs(each) and _request_of(each) in live}
    rows: list[Leftover] = []
    for instance in found["instance"]:
        rows += _instance(node, instance, live, known, up)
    for kind in ("disk", "address", "snapshot"):
        for each in found[kind]:
            if not _in_use(kind, each) and not _belongs(each, live, instances):
                rows.append(_row(node, kind, each, "no instance uses it", safe=True))
    if not found["instance"]:
        rows += [
            _row(node, "firewall", each, "no node is left that it could serve", safe=True)
            for each in found["firewall"]
        ]
    return rows


def _ours(document: Document) -> bool:
    return NODE in document.get("labels", {}) or str(document.get("name", "")).startswith(PREFIX)


def _node_of(document: Document) -> str:
    label = document.get("labels", {}).get(NODE)
    return str(label or document["name"].removeprefix(PREFIX))


def _runs(instance: Document) -> bool:
    return instance.get("status") in _RUNNING


def _request_of(document: Document) -> str:
    return str(document.get("labels", {}).get(REQUEST, ""))


def _in_use(kind: str, document: Document) -> bool:
    if kind == "address":
        return document.get("status") == "IN_USE"
    return kind == "disk" and bool(document.get("users"))


def _belongs(document: Document, live: frozenset[str], instances: set[str]) -> bool:
    """Part of a move under way, or of a start that has not got its instance yet."""
    return _request_of(document) in live and _node_of(document) in instances


def _instance(
    node: NodeSettings,
    instance: Document,
    live: frozenset[str],
    known: frozenset[str],
    up: set[str],
) -> list[Leftover]:
    request, name = _request_of(instance), _node_of(instance)
    if NODE not in instance.get("labels", {}):
        return []  # yoyo's way of naming, but not yoyo's label: somebody else's
    runs = _runs(instance)
    if not runs and name in up:
        # Not safe: until the node is healthy where it is, its data may be here alone.
        return [_row(node, "instance", instance, "its node moved and runs elsewhere", safe=False)]
    if request in live or (not runs and name in known):
        return []  # at work, or at rest until its next `up`
    if runs:
        why = "it runs, and no open life of this ledger is its own"
    else:
        why = f"it is stopped, and no node of the configuration is called {name}"
    return [_row(node, "instance", instance, why, safe=not runs)]


def _row(node: NodeSettings, kind: str, document: Document, why: str, *, safe: bool) -> Leftover:
    place = last_part(str(document.get("zone") or document.get("region") or "global"))
    return Leftover(
        kind, str(document["name"]), place, _request_of(document), why,
        _monthly(node, kind, document), safe,
    )  # fmt: skip


def _monthly(node: NodeSettings, kind: str, document: Document) -> Decimal | None:
    """What it costs a month at the configured prices."""
    disk, hourly = node.prices.disk_gb_month_usd, node.prices.hourly_usd
    cent = Decimal("0.01")
    if kind == "firewall":
        return Decimal(0)
    if kind == "disk" and disk is not None:
        return (disk * int(document.get("sizeGb", 0))).quantize(cent)
    if kind == "instance":
        sizes = [int(each.get("diskSizeGb", 0)) for each in document.get("disks", [])]
        if disk is None or (document.get("status") in _RUNNING and hourly is None):
            return None
        running = hourly * HOURS_A_MONTH if hourly and document["status"] in _RUNNING else 0
        return (disk * sum(sizes) + running).quantize(cent)
    return None
