"""The pools that a machine serves: how many containers each may have, and what it is to claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from math import isinf

from cloudfn.agent.agent import Agent
from cloudfn.agent.container import Container
from cloudfn.agent.pool import Pool
from cloudfn.clock import Clock
from cloudfn.machine.bells import Listeners
from cloudfn.machine.claims import AheadAndBehind
from cloudfn.machine.lots import Taking, Wanted, patience, wanted, within
from cloudfn.machine.openings import Opening
from cloudfn.model.variant import base_id
from cloudfn.providers.ledger import PoolCounts
from cloudfn.providers.machines import MOST_NAMED, ContainerReport, ContainerState, PoolReport

#: inputs of a pool that cannot run which are ended at a time
_DOOMED = 512


@dataclass(slots=True)
class _Served:
    """A pool that is served here."""

    opening: Opening
    quota: int = 0
    kept: int = 0
    #: why no container of it can be started now
    trouble: str = ""
    #: why its program cannot be imported, and the exception; None: as far as is known, it can
    doom: tuple[str, bytes] | None = None


class Serving:
    """All pools that are served. Single-threaded, on the loop.

    Args:
        agent: Runs their containers.
        claims: Claims their inputs.
        listeners: Listen to their doorbells.
        clock: The time.
    """

    def __init__(
        self, agent: Agent, claims: AheadAndBehind, listeners: Listeners, clock: Clock
    ) -> None:
        self._agent = agent
        self._claims = claims
        self._listeners = listeners
        self._clock = clock
        self._served: dict[str, _Served] = {}
        #: has the planner look
        self.poke: Callable[[], None] = lambda: None

    def __contains__(self, pool: object) -> bool:
        """Whether a pool is served; any thread may ask."""
        return pool in self._served

    # What is served

    def serve(self, opening: Opening, quota: int, kept: int) -> None:
        """Run a pool, or go on with it as it is now.

        Args:
            opening: What it runs.
            quota: Containers that it may have here; 0: those that there are finish and leave.
            kept: Containers that it keeps when there is nothing to do.
        """
        spec, settings = opening.spec, opening.settings
        served = self._served.setdefault(spec.pool, _Served(opening))
        served.opening, served.quota, served.kept = opening, quota, kept
        served.trouble, served.doom = "", None
        pool = self._agent.pool(spec.pool)
        if pool is not None and pool.spec != spec:
            self._agent.renew(pool, spec)
        if quota:
            self._agent.add_pool(spec, within(settings, quota, kept), live=opening.live)
            self._claims.serve(spec.pool, base_id(spec.function_id))
        else:
            self._retire(self._agent.add_pool(spec, settings, live=False))
        self.poke()

    def _retire(self, pool: Pool) -> None:
        """Let a pool's containers finish what they have begun."""
        for container in pool.containers.values():
            self._agent.give_back_unread(container)
        self._claims.desert(pool.spec.pool)
        serving = (each.opening.spec for each in self._served.values() if each.quota)
        self._listeners.keep(frozenset(base_id(spec.function_id) for spec in serving))

    def retire_all(self) -> None:
        """Let all containers finish what they have begun."""
        for served in list(self._served.values()):
            self.serve(served.opening, 0, 0)

    def forget_settled(self) -> None:
        """Forget the pools that may have nothing here, and of which nothing is left."""
        for name, served in list(self._served.items()):
            pool = self._agent.pool(name)
            if not served.quota and (pool is None or not pool.containers):
                del self._served[name]
                self._agent.drop_pool(name)

    def served(self) -> dict[str, tuple[Opening, int, int]]:
        """Return what is served, with quota and what is kept, by pool."""
        return {name: (each.opening, each.quota, each.kept) for name, each in self._served.items()}

    def app_of(self, pool: str) -> str:
        """Return the id of a pool's app; empty where it is not served. Any thread may ask."""
        served = self._served.get(pool)
        return "" if served is None else served.opening.spec.app_id

    def secrets(self, pool: str) -> dict[str, str]:
        """Return the variables that containers of a pool get and nobody else sees."""
        return dict(self._served[pool].opening.secrets)

    # What is claimed

    def wanted(self, name: str) -> tuple[Wanted, int]:
        """Return how many inputs of a pool should be here, and how many its containers hold."""
        pool, served = self._agent.pool(name), self._served.get(name)
        if pool is None or served is None or not served.quota:
            return Wanted(0, 0), 0
        function = pool.spec.function
        staying = [each for each in pool.containers.values() if not each.draining]
        if served.trouble and not staying:
            return Wanted(0, 0), 0
        if served.doom is not None:
            return Wanted(_DOOMED, _DOOMED), 0
        # Beyond their target only where there will be no more of them.
        most = function.slots if len(staying) >= served.quota else function.target_slots
        taking = Taking(
            served.quota,
            tuple(min(most, each.slots) for each in staying),
            function.target_slots,
            pool.service,
            single_use=function.single_use,
        )
        return wanted(taking), sum(len(each.held) for each in staying)

    def may_grow(self, name: str) -> bool:
        """Whether a pool may have more containers here than it has."""
        pool, served = self._agent.pool(name), self._served.get(name)
        return pool is not None and served is not None and len(pool.containers) < served.quota

    def patience(self, name: str) -> float:
        """Return how many seconds an outcome of a pool may wait for others of its call."""
        pool = self._agent.pool(name)
        return 0.0 if pool is None else patience(pool.service)

    def starved(self, name: str) -> bool:
        """Whether a pool has no container here, not even one that starts."""
        pool = self._agent.pool(name)
        return pool is None or not pool.containers

    def arrived(self, name: str) -> None:
        """Inputs of a pool wait here, or are known to wait."""
        pool, served = self._agent.pool(name), self._served.get(name)
        if pool is not None and served is not None and served.doom is not None:
            doom, served.doom = served.doom, None
            if not any(each.ready for each in pool.containers.values()):
                self._agent.give_up(pool, *doom)
        self._agent.kick(name)
        if self._claims.waiting(name):
            self.poke()

    def counts(self, pool: str) -> PoolCounts:
        """Return what the planner sees waiting of a pool."""
        served = self._served.get(pool)
        return PoolCounts(self._claims.waiting(pool) if served and served.quota else 0, 0, 0)

    def gave_up(self, name: str, reason: str, packed: bytes) -> None:
        """No container of a pool can start: end what waits in the ledger as well.

        Only where user code says so itself: else this machine may be to blame, and others may not.
        """
        served = self._served.get(name)
        if served is not None and packed and self._claims.waiting(name):
            served.doom = reason, packed
            self._claims.poke()

    def troubled(self, name: str, reason: str) -> None:
        """No container of a pool can be started now, through no fault of its program."""
        if name in self._served:
            self._served[name].trouble = reason

    # What is reported

    def reports(self) -> dict[str, PoolReport]:
        """Return what there is of each pool."""
        pools = {each.spec.pool: each for each in self._agent.pools()}
        # The same ones for as long as they live: a container's id does not come and go.
        named = frozenset(
            each.container_id for each in islice(self._agent.containers(), MOST_NAMED)
        )
        return {
            name: self._report(pools[name], served, named)
            for name, served in self._served.items()
            if name in pools
        }

    def _report(self, pool: Pool, served: _Served, named: frozenset[str]) -> PoolReport:
        containers = list(pool.containers.values())
        ready = [each for each in containers if each.ready]
        busy = sum(each.busy for each in ready)
        quiet = self._clock.monotonic() - pool.last_active
        if ready:
            served.trouble = ""
        return PoolReport(
            starting=len(containers) - len(ready),
            idle=len(ready) - busy,
            busy=busy,
            held_up=sum(each.busy and each.waits for each in ready),
            held=sum(len(each.held) for each in containers),
            waiting=self._claims.here(pool.spec.pool),
            service=pool.service.mean,
            start_time=pool.start_time,
            quiet=None if isinf(quiet) else quiet,
            trouble=served.trouble,
            containers=tuple(
                self._container(each) for each in containers if each.container_id in named
            ),
        )

    def _container(self, container: Container) -> ContainerReport:
        age = self._clock.monotonic() - container.started
        started = int(self._clock.wall() - age)
        return ContainerReport(
            container.container_id, _state(container), started, container.inputs_done
        )


def _state(container: Container) -> ContainerState:
    if container.draining or container.doom is not None:
        return ContainerState.DRAINING
    if not container.ready:
        return ContainerState.STARTING
    return ContainerState.BUSY if container.busy else ContainerState.IDLE
