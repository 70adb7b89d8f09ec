"""The machines port on Google Compute Engine. Each part of the work has a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoyo.drivers.gce.memory import as_observation
from yoyo.drivers.gce.names import SSH_USER, gce_of, model_of
from yoyo.drivers.gce.remote import GceRemote
from yoyo.errors import NoCapacity, NodeBusy, YoyoError
from yoyo.model.engine import Health
from yoyo.model.ids import Secret
from yoyo.model.machine import Endpoint, MachinePlan, MachineState, Observation
from yoyo.model.settings import NodeSettings

if TYPE_CHECKING:
    from yoyo.drivers.gce.create import Start

# A guest has 90 s for its shutdown, and Google some more for its own part
# (cloud.google.com/compute/docs/instances/deleting-instance#delete_timeout).
_STOP_BOUND_S = 300.0
_STOP_ACCEPTED_S = 90.0
_NODE_ANSWERS_S = 2.0


class GceMachines(GceRemote):
    """Implements Machines, NeedsHandover and HasPrerequisites; and, inherited, the rest."""

    def plan(self, node: NodeSettings) -> MachinePlan:
        """See the port."""
        from yoyo.drivers.gce.plan import plan

        return plan(self._cloud(node), node, self._memory(node), self._tools)

    def caps(self, node: NodeSettings) -> tuple[tuple[str, int], ...]:
        """See the port."""
        from yoyo.drivers.gce.bodies import platform_cap_s

        return (
            ("dead-man", node.guards.lease_s),
            ("lifetime", node.guards.lifetime_s),
            ("platform-cap", platform_cap_s(node)),
        )

    def stop_bound_s(self, node: NodeSettings) -> float:
        """See the port."""
        return node.guards.stop_grace_s + _STOP_BOUND_S

    def create(self, node: NodeSettings, request_id: str) -> None:
        """See the port. Also raises what a search for capacity may end with.

        Raises:
            NoCapacity, QuotaExceeded, CloudDenied, CloudRefused, CloudUnavailable,
            FirewallDrift, ForeignNode, BootFailed, StateUnwritable.
        """
        self._memory(node).clear_cut_off()
        what = f"Node {node.name} could not be started."
        with self._memory(node).starting(), self._faults_say(what):
            self._create(node, request_id)

    def _create(self, node: NodeSettings, request_id: str) -> None:
        from yoyo.core.failover import is_stockout
        from yoyo.drivers.gce.create import Creator, refuse_foreign, runs
        from yoyo.drivers.gce.faults import CloudFault
        from yoyo.drivers.gce.look import find_instance, zone_of
        from yoyo.drivers.gce.network import ensure_rules
        from yoyo.drivers.gce.relocate import relocate

        cloud, memory = self._cloud(node), self._memory(node)
        instance = find_instance(cloud, node)
        start = self._start(node, request_id)
        if instance is not None:
            refuse_foreign(start, instance)
            if runs(instance, start):
                return
        ensure_rules(cloud, node)
        start = self._with_key(start, seal_now=instance is not None)
        creator = Creator(cloud, memory, self._tools.clock)
        if instance is None:
            creator.insert(start)
            return
        try:
            creator.restart(start, instance)
        except CloudFault as fault:
            if not is_stockout(fault.code):
                raise
            memory.note_stockout(zone_of(instance), self._tools.clock.now())
            if not gce_of(node).relocate:
                raise _no_room_here(node, zone_of(instance), fault.message) from fault
            relocate(cloud, creator, start, instance)

    def _start(self, node: NodeSettings, request_id: str) -> Start:
        from yoyo.drivers.gce import bodies
        from yoyo.drivers.gce.create import Start
        from yoyo.drivers.gce.keys import ssh_public_key
        from yoyo.drivers.gce.script import render

        metadata = bodies.node_metadata(
            request_id,
            render(node, self._tools.templates),
            ssh_public_key(self._memory(node).ssh_key()),
            SSH_USER,
            self._token(),
            self._memory(node).identity(),
        )
        return Start(node, request_id, metadata)

    def _with_key(self, start: Start, *, seal_now: bool) -> Start:
        """A fresh bearer key for this life, sealed already where the disk's seal key is known."""
        from yoyo.drivers.gce.keys import BadSealKey, digest_of, new_bearer_key, seal

        node, memory = start.node, self._memory(start.node)
        bearer = node.engine.api_key or Secret(new_bearer_key())
        memory.forget()
        memory.keep_bearer(bearer)
        seal_key = memory.seal_key() if seal_now else ""
        if not seal_key:
            return start
        try:
            sealed = seal(bearer.reveal(), seal_key, start.request_id)
        except BadSealKey:
            return start
        memory.note_sent(start.request_id, digest_of(bearer.reveal() + seal_key))
        return start._replace(metadata=start.metadata | {"yoyo-key": sealed})

    def hand_over(self, node: NodeSettings) -> None:
        """See the port: the node waits for its bearer key once it has published a seal key."""
        from yoyo.drivers.gce.faults import CloudFault
        from yoyo.drivers.gce.handover import hand_over_key

        try:
            hand_over_key(self._cloud(node), node, self._memory(node), self._tools.clock)
        except (CloudFault, YoyoError):
            return  # the next look tries again, and a start that waits too long says so

    def reconnect(self, node: NodeSettings) -> None:
        """See the port: the controller's address may have changed since the rules were made."""
        from yoyo.drivers.gce.network import ensure_rules

        with self._faults_say(f"The way to {node.name} was not mended."):
            ensure_rules(self._cloud(node), node)

    def settled_in(self, node: NodeSettings) -> None:
        """See the port: a node that moved leaves its old place now."""
        from yoyo.drivers.gce.relocate import drop_old_places

        if gce_of(node).relocate:
            with self._faults_say(f"What {node.name} left in its old zone was not removed."):
                drop_old_places(self._cloud(node), node)

    def observe(self, node: NodeSettings) -> Observation:
        """See the port. The node itself is asked first, and Google only if it does not answer."""
        memory = self._memory(node)
        seen, key = memory.seen(), memory.bearer()
        if seen is not None and key is not None:
            known = as_observation(seen, key)
            if seen.url.startswith("ssh:"):
                known = known._replace(endpoint=self._through_tunnel(node, Endpoint(seen.url, key)))
            if known.endpoint is not None:
                health = self._tools.engine.health(known.endpoint, timeout=_NODE_ANSWERS_S)
                if health in (Health.OK, Health.LOADING):
                    return known._replace(health=health, model=model_of(node))
        from yoyo.drivers.gce.look import observe

        try:
            found = observe(self._cloud(node), node, memory, self._now())
        except YoyoError as error:
            # No credentials, no library: whoever looks is told, and nothing is taken for absent.
            detail = f"{error.what} {error.why} {error.fix}"
            return Observation(MachineState.UNKNOWN, detail=detail)
        if found.endpoint is None or not found.endpoint.url.startswith("ssh:"):
            return found
        return found._replace(endpoint=self._through_tunnel(node, found.endpoint))

    def stop(self, node: NodeSettings, request_id: str = "") -> None:
        """See the port. A start under way on this controller ends as well."""
        from yoyo.drivers.gce.stop import Stopper

        memory = self._memory(node)
        # It may have no machine yet, or be about to try another zone.
        memory.cut_off(request_id or "*")
        with self._faults_say(f"Node {node.name} could not be stopped."):
            stopper = Stopper(self._cloud(node), self._tools.clock)
            stopper.request_stop(node, request_id, _STOP_ACCEPTED_S)
        memory.forget()

    def delete(self, node: NodeSettings) -> None:
        """See the port: instance, disks, snapshots, addresses, and the last node's firewall."""
        from yoyo.drivers.gce.stop import remove_node

        with self._faults_say(f"Node {node.name} was not deleted whole."):
            running = remove_node(self._cloud(node), node)
        if running:
            raise NodeBusy(
                f"Node {node.name} still runs.",
                why=f"Google says that it is {running}.",
                fix=f"Run `yoyo down --node {node.name} --delete`, which stops it first.",
            )
        self._memory(node).erase()

    def renew_lease(self, node: NodeSettings) -> None:
        """See the port."""
        from yoyo.drivers.gce.create import set_metadata
        from yoyo.drivers.gce.faults import CloudFault
        from yoyo.drivers.gce.look import find_instance, request_of

        memory, token = self._memory(node), self._token()
        try:
            instance = find_instance(self._cloud(node), node, memory.zone())
            if instance is None or not request_of(instance, node):
                return
            if instance.get("status") != "RUNNING":
                return
            set_metadata(
                self._cloud(node),
                self._tools.clock,
                instance,
                lambda items: items | {"yoyo-lease": token},
            )
        except (CloudFault, YoyoError):
            return  # a lease that cannot be renewed: the guard then acts early
        memory.lease_renewed(token, node.guards.lease_s)

    def prerequisites(self, node: NodeSettings) -> list[tuple[str, bool, str, str]]:
        """See the port."""
        from yoyo.drivers.gce.prerequisites import prerequisites

        return prerequisites(self._cloud(node), node)

    def _token(self) -> str:
        return self._now().isoformat(timespec="microseconds").replace("+00:00", "Z")


def _no_room_here(node: NodeSettings, zone: str, message: str) -> YoyoError:
    return NoCapacity(
        f"Node {node.name} is stopped in {zone}, and {zone} has no capacity.",
        why=message,
        fix="`yoyo up --relocate` starts it in another zone from its data; or wait, or "
        "`yoyo down --delete` and begin anew.",
    )
