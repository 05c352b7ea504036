"""The working parts of one machine, put together: agent, claims, containers, output, planner."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from cloudfn.agent.agent import Agent
from cloudfn.agent.memory import memory_guard
from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.zygotes import Zygotes
from cloudfn.clock import Clock
from cloudfn.control.planner.loop import PlannerLoop
from cloudfn.control.stores.registry import Registry
from cloudfn.control.stores.volumes import VolumeDesk
from cloudfn.daemon.desk import CellDesk, worker_ids
from cloudfn.daemon.output import Output
from cloudfn.daemon.place import Place, agent_config, open_cells
from cloudfn.daemon.scaling import Scaling
from cloudfn.daemon.workspaces import Workspaces
from cloudfn.errors import Error
from cloudfn.machine.bells import Listener, Listeners
from cloudfn.machine.claims import AheadAndBehind, Surroundings
from cloudfn.machine.items import Items, Ways
from cloudfn.machine.logs import LogsBehind
from cloudfn.machine.lots import Wanted
from cloudfn.machine.notes import Teller
from cloudfn.machine.outbox import Outbox, Recorded
from cloudfn.machine.payloads import Payloads
from cloudfn.machine.serving import Serving
from cloudfn.machine.threads import Threads
from cloudfn.model.call import ContainerLost, Status
from cloudfn.providers.base import Cloud
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import Claim, Entry
from cloudfn.providers.local.blobs import LocalBlobs
from cloudfn.settings import Settings
from cloudfn.wire.messages import BlobRef, LogSource, encode_json

_log = logging.getLogger(__name__)

#: questions to the ledger, and files on their way, at one time
_ASKERS, _CARRIERS = 16, 16
#: seconds that output has to be stored when this machine leaves
_LOGS_GRACE = 5.0


class Engine:
    """Runs containers of a cloud's pools. Single-threaded, on the loop.

    Args:
        loop: The loop.
        settings: What the environment says.
        place: Where this is.
        cloud: Whose pools they are.
        zygotes: What processes come from.
        clock: The time.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        settings: Settings,
        place: Place,
        cloud: Cloud,
        zygotes: Zygotes,
        clock: Clock,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._cloud = cloud
        self.blobs = LocalBlobs.open(place.state_dir)
        # What an earlier agent left: its containers died with it.
        self.blobs.sweep(lambda _: False, older_than=0.0, now=clock.wall())
        self.asking = Threads(loop, _ASKERS, "ask")
        self._carrying = Threads(loop, _CARRIERS, "carry")
        self.logs = LogsBehind(cloud.logs)
        self.output = Output(loop, self.logs, clock, self)
        volumes = VolumeDesk(cloud.volumes, Registry(cloud.objects, {}))
        folder = place.state_dir / "workspaces"
        self.workspaces = Workspaces(loop, volumes, folder, clock, far=True)
        self.desk = CellDesk(
            loop, place.state_dir, place.runtime_folder, self.blobs, self.workspaces, worker_ids()
        )
        self.cells = open_cells(loop, settings, place, self.desk, self.complain)
        self._teller = Teller(cloud.ledger, cloud.wakeups)
        self.outbox = Outbox(cloud.ledger, cloud.doorbells, self._told, self._soon)
        self.payloads = Payloads(loop, self.blobs, cloud.depot, self._carrying, self.outbox.record)
        self._items = Items(
            loop,
            cloud.streams,
            self._carrying,
            Ways(
                self.payloads.store,
                self._teller.yielded,
                self._items_taken,
                self.payloads.forget,
                self._items_ended,
            ),
        )
        self._listeners = Listeners(self._listener)
        self.claims = AheadAndBehind(
            loop,
            cloud.ledger,
            cloud.doorbells,
            self.outbox,
            self.asking,
            clock,
            Surroundings(
                wanted=self._wanted,
                starved=self._starved,
                may_grow=self._may_grow,
                arrived=self._arrived,
                overdue=self._overdue,
                fetch=lambda claim: self.payloads.fetch(claim.payload),
                ended=self._ended,
                released=lambda claim: self.payloads.forget([claim.payload]),
                listen=self._listeners.listen,
            ),
        )
        config = agent_config(
            settings, place, zygotes, self.cells, self.desk, self.blobs, self._supplies
        )
        guard = memory_guard(place.marker)
        self.agent = Agent(loop, self.claims, self, clock, config, guard)
        self.serving = Serving(self.agent, self.claims, self._listeners, clock)
        scaling = Scaling(self.agent, self.serving, self.output, clock, place.machine)
        self.planner = PlannerLoop(loop, scaling, clock)
        self.serving.poke = self.planner.poke
        #: is called when containers came, went or changed state
        self.on_change: Callable[[], None] = lambda: None

    def _listener(self, function_id: str) -> Listener:
        return Listener(
            function_id,
            self._cloud.doorbells,
            self._cloud.ledger,
            lambda pool: pool in self.serving,
            self._heard,
        )

    # What the claims need; agent and pools are there after them

    def _wanted(self, pool: str) -> tuple[Wanted, int]:
        return self.serving.wanted(pool)

    def _starved(self, pool: str) -> bool:
        return self.serving.starved(pool)

    def _may_grow(self, pool: str) -> bool:
        return self.serving.may_grow(pool)

    def _ended(self, claim: Claim, entry: Entry) -> None:
        patience = self.serving.patience(claim.pool)
        others = patience > 0 and self.claims.holds_of(claim.call_id)
        self.payloads.ended(claim, entry, patience if others else 0.0)

    def _arrived(self, pool: str) -> None:
        self.serving.arrived(pool)

    def _overdue(self, claims: Sequence[Claim]) -> None:
        self.agent.end_overdue(claims)

    def _heard(self, rings: Sequence[Ring]) -> None:
        self._soon(partial(self.claims.heard, rings))

    def _soon(self, work: Callable[[], object]) -> None:
        """Have something done on the loop; from any thread, which may outlive the loop."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work)

    @property
    def busy(self) -> bool:
        """Whether something runs here, or is not told to the ledger."""
        return (
            self.claims.holding > 0
            or self.payloads.under_way > 0
            or not self.outbox.empty
            or self.workspaces.committing
            or any(each.busy for each in self.agent.containers())
        )

    @property
    def longest(self) -> float:
        """Seconds that what runs here may take, by the timeouts of its functions."""
        busy = (each for each in self.agent.containers() if each.busy)
        return max((float(each.spec.function.timeout) for each in busy), default=0.0)

    # Leaving

    def open(self, *, intake: bool) -> None:
        """Whether anything new may be claimed."""
        self.claims.open(intake=intake)

    def drain(self) -> None:
        """Begin nothing new; give back what has not begun, and let the rest finish."""
        self.serving.retire_all()
        self.claims.leave()
        for container in self.agent.containers():
            self.agent.stop(container)

    def stop(self, name: str, *, graceful: bool) -> None:
        """End a container, or all that a pool has; what they run, runs again.

        Args:
            name: Of a container or of a pool; one that is not here is left to be so.
            graceful: They finish what they run.
        """
        why = ContainerLost("it was told to stop", counted=False)
        for container in self.agent.containers():
            if name in (container.container_id, container.pool):
                if graceful:
                    self.agent.stop(container)
                else:
                    self.agent.interrupt(container, why)
        self.planner.poke()

    def drop(self) -> None:
        """What this machine holds belongs to others: stop it, and record nothing of it."""
        self.payloads.drop()
        self.claims.drop()
        self.agent.streams.take_kept()
        self._items.clear()
        for container in self.agent.containers():
            if container.busy:
                container.held.clear()
                container.kill()

    def hand_back(self) -> None:
        """End what runs, and return it without blame."""
        self.planner.stop()
        self.claims.leave()
        self.agent.hand_back()

    def close(self) -> None:
        """End every container and thread; what is to be told was told, or never will be."""
        self.planner.stop()
        self._listeners.close()
        self.agent.close()
        self.output.close()
        self.workspaces.close()
        self.desk.close()
        self.outbox.close()
        self._carrying.close()
        self.asking.close()
        self._teller.close()
        self.logs.close(_LOGS_GRACE)
        self.blobs.close()

    # What the agent tells (AgentEvents)

    def recorded(self, ended: Sequence[tuple[Claim, Entry]]) -> None:
        """Outcomes are on their way to the ledger: clients are told when it has them."""

    def adopt(self, claim: Claim, payload: bytes) -> bytes:
        """A container's result lies in a blob: make it the call's."""
        # Not synced: the outcome is not recorded before the result lies where all reach it.
        return self.blobs.adopt(BlobRef.decode(payload), claim.call_id, durable=False).encode()

    def yielded(self, claim: Claim, position: int, payload: bytes) -> int:
        """A generator yielded; return how many of its items are wanted no more."""
        return self._items.yielded(claim, position, payload)

    def _items_taken(self, call_id: str, end: int) -> None:
        self.agent.streams.taken(call_id, end)

    def _items_ended(self, claim: Claim, error: Error | None) -> None:
        """Nobody takes what a generator yields: it would wait for that for ever."""
        self.agent.streams.drop(claim)
        if error is not None:
            body = {"error": "DataLossError", "message": error.message, "hint": error.hint}
            entry = Entry(claim.seq, claim.fence, Status.LOST, encode_json(body))
            self.claims.record([entry])
        self.claims.surrender(claim.seq, claim.fence)
        self.agent.cancel(claim.seq, claim.fence, terminate=False)

    def waits(self, seq: int, change: int) -> None:
        """A running input began or ended to wait for a nested call."""
        if self.agent.waits(seq, change):
            self.planner.poke()

    def gave_up(self, pool: PoolSpec, reason: str, packed: bytes) -> None:
        """No container of a pool can start: what waits elsewhere need not wait for that in turn."""
        self.serving.gave_up(pool.pool, reason, packed)

    def discarded(self, payload: bytes) -> None:
        """A result came too late, and was told to nobody."""
        self.payloads.forget([payload])

    def delayed(self) -> None:
        """An input waits for the time of its retry: the claims look for it then."""

    def ended(self, container_id: str) -> None:
        """A container is gone, and whatever results it had not delivered with it."""
        if self.desk.view(container_id) is None:
            self.blobs.delete_results(container_id)
        self.workspaces.ended(container_id)

    def changed(self) -> None:
        """Containers came, went or changed state."""
        self.claims.poke()
        self.planner.poke()
        self.on_change()

    def print(
        self,
        pool: PoolSpec,
        container_id: str,
        claim: Claim | None,
        source: LogSource,
        data: bytes,
    ) -> None:
        """A container printed something."""
        self.output.write(pool, container_id, claim, source, data)

    def progress(self, _app_id: str) -> dict[str, Any]:
        """Return nothing: nobody watches an app through this machine."""
        return {}

    # What the outbox tells, in its thread

    def _told(self, recorded: Sequence[Recorded]) -> None:
        news = [
            (each.claim.call_id, each.claim.index, each.entry) for each in recorded if each.taken
        ]
        if news:
            pools = {each.claim.call_id: each.claim.pool for each in recorded if each.taken}
            apps = {call_id: self.serving.app_of(pool) for call_id, pool in pools.items()}
            printed = {call: self.logs.printing.of(app) for call, app in apps.items() if app}
            self._teller.ended(news, printed)
        self._soon(partial(self._clear_up, recorded))

    def _clear_up(self, recorded: Sequence[Recorded]) -> None:
        """Delete the payloads that nobody needs."""
        for claim, entry, taken in recorded:
            self._items.ended(claim)
            self.payloads.forget([claim.payload])
            if taken is False:
                self.payloads.delete([entry.payload])
            elif taken and not (claim.durable and entry.status.dead):
                self.payloads.delete([claim.payload])

    # What containers get

    def complain(self, pool: PoolSpec, reason: str) -> None:
        """A container cannot be started now: people and the planner shall know."""
        self.serving.troubled(pool.pool, reason)
        text = f"No container can be started now: {reason}"
        self.output.write(pool, "docker", None, LogSource.SYSTEM, text.encode())

    def _supplies(self, pool: PoolSpec, container_id: str) -> dict[str, Any]:
        """Return what a container gets beside its orders."""
        secrets = self.serving.secrets(pool.pool)
        supplies: dict[str, Any] = {"secrets": secrets} if secrets else {}
        if pool.function.volumes and self.desk.view(container_id) is None:
            supplies["mounts"] = self.workspaces.prepare(container_id, pool.function.volumes)()
        return supplies
