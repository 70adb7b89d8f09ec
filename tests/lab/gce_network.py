"""Firewall rules and addresses."""

from __future__ import annotations

from gce_errors import ApiError, already_exists
from gce_lists import aggregated, listed
from gce_operations import begin
from gce_state import JSON, LINK, Call, Cloud, Handler, stamp


def _firewall(call: Call) -> str:
    return f"{call.scope}/firewalls/{call.path['firewall']}"


def _insert(cloud: Cloud, call: Call) -> JSON:
    path = f"{call.scope}/firewalls/{call.body['name']}"
    if path in cloud.resources:
        raise already_exists(path)
    cloud.put(path, {**_checked(cloud, call, call.body), "creationTimestamp": stamp()})
    return begin(cloud, call, path)


def _update(cloud: Cloud, call: Call) -> JSON:
    """PUT: the rule is what the body says, and nothing of the old one stays."""
    path = f"{call.scope}/firewalls/{call.path['firewall']}"
    kept = {name: cloud.get(path)[name] for name in ("id", "creationTimestamp")}
    cloud.put(path, {**_checked(cloud, call, call.body), **kept})
    return begin(cloud, call, path)


def _patch(cloud: Cloud, call: Call) -> JSON:
    path = _firewall(call)
    kept = cloud.get(path)
    # A PATCH leaves alone what it does not name; a field that it sets to null goes.
    merged = {**kept, **call.body}
    merged = {name: value for name, value in merged.items() if value is not None}
    kept.update(_checked(cloud, call, merged))
    for name in set(kept) - set(merged):
        del kept[name]
    cloud.touch()
    return begin(cloud, call, path)


def _checked(cloud: Cloud, call: Call, wanted: JSON) -> JSON:
    network = wanted.get("network", "global/networks/default")
    path = cloud.resolve(network, call.path["project"], "resource.network")
    cloud.get(path)
    if not wanted.get("allowed") and not wanted.get("denied"):
        raise ApiError(400, "Must specify at least one of allowed or denied.")
    rule: JSON = {
        "kind": "compute#firewall",
        "priority": 1000,
        "direction": "INGRESS",
        "disabled": False,
        "logConfig": {"enable": False},
        **wanted,
        "network": LINK + path,
    }
    if rule["direction"] == "INGRESS" and not (wanted.get("sourceRanges") or _by_tag(wanted)):
        rule["sourceRanges"] = ["0.0.0.0/0"]
    return rule


def _by_tag(wanted: JSON) -> bool:
    return bool(wanted.get("sourceTags") or wanted.get("sourceServiceAccounts"))


def _delete_firewall(cloud: Cloud, call: Call) -> JSON:
    return _delete(cloud, call, _firewall(call))


def _delete_address(cloud: Cloud, call: Call) -> JSON:
    return _delete(cloud, call, f"{call.scope}/addresses/{call.path['address']}")


def _delete(cloud: Cloud, call: Call, path: str) -> JSON:
    cloud.get(path)

    operation = begin(cloud, call, path)
    if not call.fault.operation_error:
        cloud.drop(path)
    return operation


def add_address(cloud: Cloud, name: str, region: str, address: str) -> None:
    """Reserve a regional address, as somebody did by hand."""
    with cloud.changed:
        cloud.put(
            f"projects/{cloud.settings.project}/regions/{region}/addresses/{name}",
            {
                "kind": "compute#address",
                "creationTimestamp": stamp(),
                "address": address,
                "addressType": "EXTERNAL",
                "networkTier": "PREMIUM",
                "status": "RESERVED",
            },
        )


def _addresses_everywhere(cloud: Cloud, call: Call) -> JSON:
    regions = [path.split("/")[-1] for path, _ in cloud.collection(f"{call.project}/regions")]
    scopes = ["global", *(f"regions/{region}" for region in regions)]
    return aggregated(cloud, call, "Address", "addresses", scopes)


METHODS: dict[str, Handler] = {
    "compute.firewalls.insert": _insert,
    "compute.firewalls.patch": _patch,
    "compute.firewalls.update": _update,
    "compute.firewalls.delete": _delete_firewall,
    "compute.firewalls.get": lambda cloud, call: cloud.get(_firewall(call)),
    "compute.firewalls.list": lambda cloud, call: listed(
        cloud, call, "Firewall", f"{call.scope}/firewalls"
    ),
    "compute.addresses.delete": _delete_address,
    "compute.addresses.list": lambda cloud, call: listed(
        cloud, call, "Address", f"{call.scope}/addresses"
    ),
    "compute.addresses.aggregatedList": _addresses_everywhere,
}
