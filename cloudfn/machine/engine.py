"""The working parts of one machine, put together: agent, claims, containers, output, planner."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isinf
from pathlib import Path
from typing import Any

from cloudfn.agent.agent import Agent
from cloudfn.agent.docker.cells import Cells, Site
from cloudfn.agent.docker.engine import DockerContainers
from cloudfn.agent.docker.networks import Networks
from cloudfn.agent.machine import Machine
from cloudfn.agent.memory import memory_guard
from cloudfn.agent.pool import Pool, PoolSpec
from cloudfn.agent.ports import AgentConfig
from cloudfn.agent.zygotes import Zygotes
from cloudfn.clock import Clock
from cloudfn.control.planner.loop import PlannerLoop
from cloudfn.control.stores.registry import Registry
from cloudfn.control.stores.volumes import VolumeDesk
from cloudfn.daemon.desk import CellDesk, worker_ids
from cloudfn.daemon.output import Output
from cloudfn.daemon.scaling import Scaling
from cloudfn.daemon.session import container_key
from cloudfn.daemon.workspaces import Workspaces
from cloudfn.machine.bells import Listener, Listeners
from cloudfn.machine.claims import AheadAndBehind, Surroundings
from cloudfn.machine.items import Items, Ways
from cloudfn.machine.logs import LogsBehind
from cloudfn.machine.lots import Taking, wanted, within
from cloudfn.machine.notes import Teller
from cloudfn.machine.openings import Opening
from cloudfn.machine.outbox import Outbox, Recorded
from cloudfn.machine.payloads import Payloads
from cloudfn.machine.threads import Threads
from cloudfn.model import ids
from cloudfn.model.variant import base_id
from cloudfn.providers.base import Cloud
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import Claim, Entry, PoolCounts
from cloudfn.providers.local.blobs import LocalBlobs
from cloudfn.providers.machines import PoolReport
from cloudfn.settings import Settings
from cloudfn.wire.messages import BlobRef, LogSource

_log = logging.getLogger(__name__)

#: questions to the ledger, and files on their way, at one time
_ASKERS, _CARRIERS = 16, 16
#: inputs of a pool that cannot run that are ended at a time
_DOOMED = 512
#: seconds that output has to be stored when this machine leaves
_LOGS_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where this engine is: paths and secrets of its machine."""

    state_dir: Path
    #: of containers that are processes
    socket: str
    #: of this life of the process: no container outlives it
    key: bytes
    #: value that marks every process that belongs to this machine's agent
    marker: str
    #: variables that containers get from this machine
    environ: dict[str, str]
    machine: Machine
    #: gives the runtime folder
    library: Callable[[], Path]


@dataclass(slots=True)
class _Opened:
    """A pool that is served here."""

    opening: Opening
    quota: int = 0
    kept: int = 0
    trouble: str = ""
    #: why its program cannot be imported, and the exception; None: as far as is known, it can
    doom: tuple[str, bytes] | None = None


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
        self._settings = settings
        self._place = place
        self._clock = clock
        self._cloud = cloud
        self._opened: dict[str, _Opened] = {}
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
            loop, place.state_dir, place.library, self.blobs, self.workspaces, worker_ids()
        )
        self.cells = self._cells()
        self._teller = Teller(cloud.ledger, cloud.wakeups)
        self.outbox = Outbox(cloud.ledger, cloud.doorbells, self._told, loop.call_soon_threadsafe)
        self.payloads = Payloads(loop, self.blobs, cloud.depot, self._carrying, self.outbox.record)
        self._items = Items(
            loop,
            cloud.streams,
            self._carrying,
            Ways(
                self.payloads.store, self._teller.yielded, self._items_taken, self.payloads.forget
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
                arrived=self._arrived,
                overdue=self._overdue,
                fetch=lambda claim: self.payloads.fetch(claim.payload),
                ended=self.payloads.ended,
                released=lambda claim: self.payloads.forget([claim.payload]),
                listen=self._listeners.listen,
            ),
        )
        config = AgentConfig(
            zygotes=zygotes,
            cells=self.cells,
            environ=place.environ,
            identity=self._identity,
            supplies=self._supplies,
            gpus=place.machine.gpus,
            one_at_a_time=settings.one_at_a_time,
            web_pending=settings.limits.web_pending,
            exit_grace=settings.exit_grace,
        )
        guard = memory_guard(place.marker)
        self.agent = Agent(loop, self.claims, self, clock, config, guard)
        scaling = Scaling(self.agent, self, self.output, clock, place.machine)
        self.planner = PlannerLoop(loop, scaling, clock)

    def _cells(self) -> Cells:
        docker, place = self._settings.docker, self._place
        engine = DockerContainers(DockerEngine(docker.environ))
        networks = Networks(engine, place.marker, allow_metadata=docker.allow_metadata)
        site = Site(self._settings.environment, place.marker, ids.mint("da"), place.machine)
        return Cells(self._loop, engine, self.desk, site, networks, self._complain)

    def _listener(self, function_id: str) -> Listener:
        return Listener(
            function_id,
            self._cloud.doorbells,
            self._cloud.ledger,
            self._opened.__contains__,
            self._heard,
        )

    # Pools

    def serve(self, opening: Opening, quota: int, kept: int) -> None:
        """Run a pool, or go on with it as it is now.

        Args:
            opening: What it runs.
            quota: Containers that it may have here; 0: those that there are finish and leave.
            kept: Containers that it keeps when there is nothing to do.
        """
        name = opening.spec.pool
        opened = self._opened.get(name)
        if opened is None:
            opened = self._opened[name] = _Opened(opening)
        opened.opening, opened.quota, opened.kept = opening, quota, kept
        opened.trouble, opened.doom = "", None
        settings = opening.settings
        if quota:
            settings = within(settings, quota, kept)
        live = opening.live and quota > 0
        pool = self.agent.pool(name)
        if pool is not None and pool.spec != opening.spec:
            self.agent.renew(pool, opening.spec)
        pool = self.agent.add_pool(opening.spec, settings, live=live)
        if quota:
            self.claims.serve(name, base_id(opening.spec.function_id))
        else:
            self._retire(pool)
        self.planner.poke()

    def _retire(self, pool: Pool) -> None:
        """Let a pool's containers finish what they have begun."""
        name = pool.spec.pool
        for container in pool.containers.values():
            self.agent.give_back_unread(container)
        self.claims.desert(name)
        self._listeners.keep(frozenset(map(_function_of, self._serving())))

    def _serving(self) -> list[Opening]:
        return [each.opening for each in self._opened.values() if each.quota]

    def forget_settled(self) -> None:
        """Forget the pools that may have nothing here, and of which nothing is left."""
        for name, opened in list(self._opened.items()):
            pool = self.agent.pool(name)
            if not opened.quota and (pool is None or not pool.containers):
                del self._opened[name]
                self.agent.drop_pool(name)

    def served(self) -> dict[str, tuple[Opening, int, int]]:
        """Return what is run here, with quota and what is kept, by pool."""
        return {name: (each.opening, each.quota, each.kept) for name, each in self._opened.items()}

    def _wanted(self, name: str) -> tuple[int, int]:
        pool, opened = self.agent.pool(name), self._opened.get(name)
        if pool is None or opened is None or not opened.quota:
            return 0, 0
        function = pool.spec.function
        staying = [each for each in pool.containers.values() if not each.draining]
        if opened.trouble and not staying:
            return 0, 0
        if opened.doom is not None:
            return _DOOMED, 0
        # Beyond their target only where there will be no more of them.
        most = function.slots if len(staying) >= opened.quota else function.target_slots
        taking = Taking(
            opened.quota,
            tuple(min(most, each.slots) for each in staying),
            function.target_slots,
            pool.service,
            single_use=function.single_use,
        )
        return wanted(taking), sum(len(each.held) for each in staying)

    def _overdue(self, claims: Sequence[Claim]) -> None:
        self.agent.end_overdue(claims)

    def _arrived(self, name: str) -> None:
        pool, opened = self.agent.pool(name), self._opened.get(name)
        if pool is not None and opened is not None and opened.doom is not None:
            doom, opened.doom = opened.doom, None
            if not any(each.ready for each in pool.containers.values()):
                self.agent.give_up(pool, *doom)
        self.agent.kick(name)
        if self.claims.waiting(name):
            self.planner.poke()

    def _heard(self, rings: Sequence[Ring]) -> None:
        self._loop.call_soon_threadsafe(self.claims.heard, rings)

    def counts(self, pool: str) -> PoolCounts:
        """Return what the planner sees waiting of a pool."""
        opened = self._opened.get(pool)
        return PoolCounts(self.claims.waiting(pool) if opened and opened.quota else 0, 0, 0)

    def reports(self) -> dict[str, PoolReport]:
        """Return what there is of each pool."""
        pools = {each.spec.pool: each for each in self.agent.pools()}
        return {name: self._report(pools[name]) for name in self._opened if name in pools}

    def _report(self, pool: Pool) -> PoolReport:
        name = pool.spec.pool
        containers = list(pool.containers.values())
        ready = [each for each in containers if each.ready]
        busy = sum(each.busy for each in ready)
        quiet = self._clock.monotonic() - pool.last_active
        if ready:
            self._opened[name].trouble = ""
        return PoolReport(
            starting=len(containers) - len(ready),
            idle=len(ready) - busy,
            busy=busy,
            held_up=sum(each.busy and each.waits for each in ready),
            held=sum(len(each.held) for each in containers),
            waiting=self.claims.here(name),
            service=pool.service.mean,
            start_time=pool.start_time,
            quiet=None if isinf(quiet) else quiet,
            trouble=self._opened[name].trouble,
        )

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

    # Leaving

    def open(self, *, intake: bool) -> None:
        """Whether anything new may be claimed."""
        self.claims.open(intake=intake)

    def drain(self) -> None:
        """Begin nothing new; give back what has not begun, and let the rest finish."""
        for opened in list(self._opened.values()):
            self.serve(opened.opening, 0, 0)
        self.claims.leave()
        for container in self.agent.containers():
            self.agent.stop(container)

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

    def waits(self, seq: int, change: int) -> None:
        """A running input began or ended to wait for a nested call."""
        if self.agent.waits(seq, change):
            self.planner.poke()

    def gave_up(self, pool: PoolSpec, reason: str, packed: bytes) -> None:
        """No container of a pool can start: what waits elsewhere shall not wait for that in turn.

        Only where user code says so itself: else this machine may be to blame, and others may not.
        """
        opened = self._opened.get(pool.pool)
        if opened is not None and packed and self.claims.waiting(pool.pool):
            opened.doom = reason, packed
            self.claims.poke()

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
            self._teller.ended(news)
        self._loop.call_soon_threadsafe(partial(self._clear_up, recorded))

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

    def _complain(self, pool: PoolSpec, reason: str) -> None:
        """A container cannot be started now: people and the planner shall know."""
        if pool.pool in self._opened:
            self._opened[pool.pool].trouble = reason
        text = f"No container can be started now: {reason}"
        self.output.write(pool, "docker", None, LogSource.SYSTEM, text.encode())

    def _supplies(self, pool: PoolSpec, container_id: str) -> dict[str, Any]:
        """Return what a container gets beside its orders."""
        secrets = dict(self._opened[pool.pool].opening.secrets)
        supplies: dict[str, Any] = {"secrets": secrets} if secrets else {}
        if pool.function.volumes and self.desk.view(container_id) is None:
            supplies["mounts"] = self.workspaces.prepare(container_id, pool.function.volumes)()
        return supplies

    def _identity(self, container_id: str, app_id: str) -> dict[str, str]:
        places = self.desk.places(container_id) or {
            "CLOUDFN_CONTAINER_SOCKET": self._place.socket,
            "CLOUDFN_HOME": str(self._settings.root),
            "CLOUDFN_BLOBS_FAST": str(self.blobs.fast),
            "CLOUDFN_BLOBS_DURABLE": str(self.blobs.durable),
        }
        environment = self._settings.environment
        return {
            **places,
            "CLOUDFN_CONTAINER_ID": container_id,
            "CLOUDFN_CONTAINER_KEY": container_key(self._place.key, container_id).hex(),
            "CLOUDFN_CONTAINER_APP": app_id,
            "CLOUDFN_ENVIRONMENT": environment,
            # Names that programs written for Modal look at.
            "MODAL_TASK_ID": container_id,
            "MODAL_IS_REMOTE": "1",
            "MODAL_ENVIRONMENT": environment,
        }


def _function_of(opening: Opening) -> str:
    return base_id(opening.spec.function_id)
