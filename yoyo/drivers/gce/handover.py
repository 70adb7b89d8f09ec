"""Giving the node its bearer key, sealed for it alone. See docs/adr/0007."""

from __future__ import annotations

from yoyo.drivers.gce.cloud import Cloud
from yoyo.drivers.gce.create import set_metadata
from yoyo.drivers.gce.keys import BadSealKey, digest_of, seal
from yoyo.drivers.gce.look import find_instance, read_guest, request_of
from yoyo.drivers.gce.memory import Memory
from yoyo.model.ids import Secret
from yoyo.model.settings import NodeSettings
from yoyo.ports.clock import Clock


def hand_over_key(cloud: Cloud, node: NodeSettings, memory: Memory, clock: Clock) -> None:
    """Send the key to a node that asks for it and does not have it yet.

    Raises:
        CloudFault.
    """
    bearer = memory.bearer()
    if bearer is not None:
        send_key(cloud, node, memory, clock, bearer)


def send_key(
    cloud: Cloud, node: NodeSettings, memory: Memory, clock: Clock, bearer: Secret
) -> bool:
    """Put the sealed key into the node's metadata; whether the node was ready for it.

    Raises:
        CloudFault.
    """
    instance = find_instance(cloud, node, memory.zone())
    if instance is None or instance.get("status") != "RUNNING":
        return False
    request_id = request_of(instance, node)
    said = read_guest(cloud, instance)
    if not request_id or said.request_id != request_id or not said.seal_key:
        return False
    if said.key_digest == digest_of(bearer.reveal()):
        return True
    parcel = digest_of(bearer.reveal() + said.seal_key)
    if memory.sent_key(request_id) == parcel:
        return True  # on its way: sealing it again would only make the node start over
    try:
        sealed = seal(bearer.reveal(), said.seal_key, request_id)
    except BadSealKey:
        return False
    memory.keep_seal_key(said.seal_key)
    set_metadata(cloud, clock, instance, lambda items: items | {"yoyo-key": sealed})
    memory.note_sent(request_id, parcel)
    return True
