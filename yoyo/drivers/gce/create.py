"""Bringing an instance into being: the next zone when one is full, the old one when it is there.

Every call that changes something carries a requestId, so that sending it again changes nothing.
A command that was killed and is run again finds the machine by its name, which is taken then,
and by its label; a new requestId keeps Google from repeating an old refusal instead of trying.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from yoyo.core.failover import (
    Attempt,
    Refusal,
    Scope,
    attempts,
    backoff_s,
    is_stockout,
    next_attempt,
    scope_of,
)
from yoyo.drivers.gce import bodies
from yoyo.drivers.gce.cloud import Cloud, Document
from yoyo.drivers.gce.faults import CloudFault, for_operator, no_place
from yoyo.drivers.gce.look import (
    every_instance,
    metadata_of,
    request_of,
    started_in_this_life,
    zone_of,
)
from yoyo.drivers.gce.memory import Memory, parse_time
from yoyo.drivers.gce.names import gce_of, instance_name, labels_of
from yoyo.drivers.gce.removal import remove
from yoyo.errors import BootFailed, CloudUnavailable, ForeignNode
from yoyo.model.settings import NodeSettings
from yoyo.ports.clock import Clock

OPERATION_S = 300.0
_RESENDS = 5
_STOPPED = ("TERMINATED", "STOPPED")
_COMING_TO_REST = (*_STOPPED, "STOPPING", "PENDING_STOP")


class Start(NamedTuple):
    """One start: of which node, for which life, with what metadata."""

    node: NodeSettings
    request_id: str
    metadata: dict[str, str]


class Creator:
    """Carries out one start against one project."""

    def __init__(self, cloud: Cloud, memory: Memory, clock: Clock) -> None:
        self._cloud = cloud
        self._memory = memory
        self._clock = clock

    def insert(self, start: Start, snapshot: str = "", zones: tuple[str, ...] = ()) -> None:
        """Make the instance in the first zone that takes it.

        Raises:
            NoCapacity, QuotaExceeded, CloudDenied, CloudRefused, CloudUnavailable, BootFailed,
            ForeignNode.
        """
        gce = gce_of(start.node)
        order = attempts(zones or gce.zones, gce.provisioning)
        begun = self._clock.monotonic()
        number = 1
        while True:
            refusals = self._round(start, order, snapshot)
            if refusals is None:
                return
            waited = self._clock.monotonic() - begun
            pause = backoff_s(number, random.random())  # noqa: S311 - spreads, guards nothing
            if waited + pause > gce.max_wait_s or not any(is_stockout(r.code) for r in refusals):
                raise no_place(refusals, waited)
            self._pause(start, pause)
            number += 1

    def _round(
        self, start: Start, order: tuple[Attempt, ...], snapshot: str
    ) -> list[Refusal] | None:
        """Every zone once; None when one of them took it, else what they said."""
        done: list[tuple[Attempt, Refusal]] = []
        while (attempt := next_attempt(order, done)) is not None:
            self._refuse_cut_off(start)
            body = bodies.instance(start.node, attempt, start.request_id, start.metadata, snapshot)
            try:
                self._insert_once(start, attempt.zone, body)
                return None
            except CloudFault as fault:
                done.append((attempt, self._refusal(start, attempt, fault)))
        return [refusal for _, refusal in done]

    def _refusal(self, start: Start, attempt: Attempt, fault: CloudFault) -> Refusal:
        """What a fault means for the search; one that ends it is raised."""
        scope = scope_of(fault.code, fault.message, fault.status)
        if scope not in (Scope.ZONE, Scope.REGION):
            what = f"Node {start.node.name} could not be made in {attempt.zone}."
            raise for_operator(fault, what) from fault
        if is_stockout(fault.code):
            self._memory.note_stockout(attempt.zone, self._clock.now())
        return Refusal(attempt.zone, scope, fault.code, fault.message)

    def _insert_once(self, start: Start, zone: str, body: Document) -> None:
        try:
            self._cloud.carry_out(
                "Instances", "insert", OPERATION_S, zone=zone, instance_resource=body
            )
        except CloudFault as fault:
            if fault.status != 409:
                raise
            # A name that is taken is ours if an earlier try of this same start made it.
            self._refuse_other(start, zone, fault)
        self._yield_to_earlier(start, zone)

    def _yield_to_earlier(self, start: Start, zone: str) -> None:
        """Names are unique in a zone alone: of two starts in two zones the one made first stays.

        Each looks when its own is made, so the one made later sees the other. The order of the
        request ids would not do: the later machine may be that of the earlier request, and then
        each would stay, the one unseen and the other one preferred.

        Raises:
            ForeignNode: ours was removed again.
        """
        every = every_instance(self._cloud, start.node)
        own = [each for each in every if zone_of(each) == zone]
        earlier = [
            each
            for each in every
            if zone_of(each) != zone
            and each.get("status") not in _STOPPED
            and request_of(each, start.node) != start.request_id
            and all(_made(each) < _made(one) for one in own)
        ]
        if not earlier:
            return
        remove(self._cloud, "instance", instance_name(start.node), zone)
        raise ForeignNode(
            f"Another machine named {instance_name(start.node)} is in {zone_of(earlier[0])}.",
            why="It was started at the same time, by another controller, and a little earlier.",
            fix="Use that one, or give the node of this controller another name.",
        )

    def _refuse_other(self, start: Start, zone: str, fault: CloudFault) -> None:
        found = self._cloud.find("Instances", "get", zone=zone, instance=instance_name(start.node))
        if found is not None and request_of(found, start.node) == start.request_id:
            return
        raise ForeignNode(
            f"Another machine named {instance_name(start.node)} is in {zone}.",
            why="It does not carry this start's request id." if found else fault.message,
            fix="Give the node another name, or remove the machine if it is yours.",
        )

    def _pause(self, start: Start, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            self._refuse_cut_off(start)
            self._clock.sleep(min(left, 1.0))

    def _refuse_cut_off(self, start: Start) -> None:
        if self._memory.is_cut_off(start.request_id):
            raise BootFailed(
                f"The start of {start.node.name} was cut off.",
                why="`yoyo down --now` asked for it.",
                fix="Nothing was left running; run `yoyo up` again when it is wanted.",
            )

    def restart(self, start: Start, instance: Document) -> None:
        """Start a stopped instance of ours for a new life.

        First what it will read, then whose it is, then the start: a command that is killed in
        between leaves a stopped machine, whose former start is not taken for a new one.

        Raises:
            BootFailed: it was cut off.
            CloudFault: a stockout among them, which is the caller's to answer.
        """
        zone, name = zone_of(instance), str(instance["name"])
        instance = self._until_stopped(start, instance)
        if request_of(instance, start.node) != start.request_id:
            former = str(instance.get("lastStartTimestamp", ""))
            self._set_metadata(instance, start.metadata | {"yoyo-former-start": former})
            self._set_labels(instance, labels_of(start.node, start.request_id))
        self._rearm(start, instance)
        self._refuse_cut_off(start)
        self._cloud.carry_out("Instances", "start", OPERATION_S, zone=zone, instance=name)

    def _until_stopped(self, start: Start, instance: Document) -> Document:
        deadline = self._clock.monotonic() + OPERATION_S
        zone, name = zone_of(instance), str(instance["name"])
        while instance.get("status") not in _STOPPED:
            if self._clock.monotonic() > deadline:
                raise CloudUnavailable(
                    f"Node {start.node.name} does not come to rest.",
                    why=f"It is {instance.get('status')} in {zone}.",
                    fix="Look at it in the console, then run `yoyo up` again.",
                )
            self._clock.sleep(0.5)
            instance = self._cloud.read("Instances", "get", zone=zone, instance=name)
        return instance

    def _set_metadata(self, instance: Document, wanted: dict[str, str]) -> None:
        set_metadata(self._cloud, self._clock, instance, lambda _: wanted)

    def _set_labels(self, instance: Document, labels: dict[str, str]) -> None:
        zone, name = zone_of(instance), str(instance["name"])
        found = self._cloud.read("Instances", "get", zone=zone, instance=name)
        body = {
            "labels": {**found.get("labels", {}), **labels},
            "labelFingerprint": found.get("labelFingerprint", ""),
        }
        self._cloud.carry_out(
            "Instances",
            "set_labels",
            OPERATION_S,
            zone=zone,
            instance=name,
            instances_set_labels_request_resource=body,
        )

    def _rearm(self, start: Start, instance: Document) -> None:
        """Give it the platform's cap of this configuration, where it has another one or none."""
        if not bodies.scheduling_drift(start.node, instance):
            return
        spot = instance.get("scheduling", {}).get("provisioningModel") == "SPOT"
        self._cloud.carry_out(
            "Instances",
            "set_scheduling",
            OPERATION_S,
            zone=zone_of(instance),
            instance=instance["name"],
            scheduling_resource=bodies.scheduling(start.node, spot=spot),
        )


def set_metadata(
    cloud: Cloud,
    clock: Clock,
    instance: Document,
    change: Callable[[dict[str, str]], dict[str, str]],
) -> None:
    """Change the metadata; somebody else's change in between is read and kept.

    Raises:
        CloudFault.
    """
    zone, name = zone_of(instance), str(instance["name"])
    for number in range(1, _RESENDS + 1):
        found = cloud.read("Instances", "get", zone=zone, instance=name)
        items = change(metadata_of(found))
        body = {
            "items": bodies.metadata_items(items),
            "fingerprint": found.get("metadata", {}).get("fingerprint", ""),
        }
        try:
            operation = cloud.change(
                "Instances",
                "set_metadata",
                zone=zone,
                instance=name,
                metadata_resource=body,
                request_id=str(uuid.uuid4()),
            )
            cloud.wait(operation, OPERATION_S)
            return
        except CloudFault as fault:
            again = fault.status in (412, 429) or fault.unknown
            if not again or number == _RESENDS:
                raise
        clock.sleep(0.1 * 2**number)


def _made(instance: Document) -> tuple[datetime, str]:
    at = parse_time(instance.get("creationTimestamp"))
    return at or datetime.min.replace(tzinfo=UTC), str(instance.get("id", ""))


def refuse_foreign(start: Start, instance: Document) -> None:
    """Raise ForeignNode unless the instance is this node's and rests, or is of this start."""
    request = request_of(instance, start.node)
    resting = instance.get("status") in _COMING_TO_REST
    if request == start.request_id or (request and resting):
        return
    raise ForeignNode(
        f"A machine named {instance['name']} is in {zone_of(instance)}.",
        why=f"It carries the request id {request}."
        if request
        else "It does not carry yoyo's labels.",
        fix="Stop it with `yoyo down --now` in the place where it was started."
        if request
        else "Give the node another name: yoyo does not touch what it did not make.",
    )


def runs(instance: Document, start: Start) -> bool:
    """Whether this start's machine runs or is on its way, so that nothing is to be done."""
    if request_of(instance, start.node) != start.request_id:
        return False
    return instance.get("status") not in _COMING_TO_REST or (
        started_in_this_life(instance) is not None
    )
