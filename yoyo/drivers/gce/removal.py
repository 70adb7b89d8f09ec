"""Removing one resource; one that is gone already is fine."""

from __future__ import annotations

from yoyo.drivers.gce.cloud import Cloud
from yoyo.drivers.gce.faults import CloudFault

_OPERATION_S = 300.0
# Kind -> the library's service, and what the fields for place and name are called.
_KINDS = {
    "instance": ("Instances", "zone", "instance"),
    "disk": ("Disks", "zone", "disk"),
    "address": ("Addresses", "region", "address"),
    "snapshot": ("Snapshots", "", "snapshot"),
    "firewall": ("Firewalls", "", "firewall"),
}


def remove(cloud: Cloud, kind: str, name: str, place: str = "") -> None:
    """Remove it and wait; an instance takes the disks along that were made with it.

    Raises:
        CloudFault.
    """
    service, place_field, name_field = _KINDS[kind]
    where = {place_field: place} if place_field else {}
    try:
        cloud.carry_out(service, "delete", _OPERATION_S, **where, **{name_field: name})
    except CloudFault as fault:
        if fault.status != 404:
            raise
