"""What the planner sees of the pools on this machine, and how its decisions are carried out."""

from __future__ import annotations

from typing import Protocol

from cloudfn.agent.agent import Agent
from cloudfn.agent.container import Container
from cloudfn.agent.machine import Machine
from cloudfn.agent.pool import Pool
from cloudfn.clock import Clock
from cloudfn.control.planner.snapshot import ContainerView, PoolDecision, PoolSnapshot, Snapshot
from cloudfn.daemon.output import Output
from cloudfn.providers.ledger import PoolCounts
from cloudfn.wire.messages import LogSource


class Backlog(Protocol):
    """Who knows how many inputs of a pool wait for a container."""

    def counts(self, pool: str) -> PoolCounts:
        """Return a pool's counts; `pending` is what matters."""
        ...


class Scaling:
    """Observes and acts for the planner (Hands); a change goes into its app's log."""

    def __init__(
        self, agent: Agent, backlog: Backlog, output: Output, clock: Clock, machine: Machine
    ) -> None:
        self._agent = agent
        self._backlog = backlog
        self._output = output
        self._clock = clock
        self._machine = machine

    def observe(self) -> Snapshot:
        """Return what there is now."""
        now = self._clock.monotonic()
        pools = tuple(self._observe(pool, now) for pool in self._agent.pools())
        machine = self._machine
        return Snapshot(now, pools, machine.cores, machine.memory, machine.gpus)

    def _observe(self, pool: Pool, now: float) -> PoolSnapshot:
        behind = 0
        views = []
        for container in pool.containers.values():
            behind += len(container.held) - container.held.running
            views.append(
                ContainerView(
                    container.container_id,
                    ready=container.ready,
                    held=container.taken,
                    waiting=container.waits,
                    last_used=container.last_used,
                    draining=container.draining,
                    running=_running(container, now),
                    slots=container.slots,
                    gpus=container.gpus,
                )
            )
        resources = pool.spec.function.resources
        return PoolSnapshot(
            pool=pool.spec.pool,
            settings=pool.settings,
            live=pool.live,
            waiting=self._backlog.counts(pool.spec.pool).pending + behind + len(pool.visitors),
            service=pool.service.mean,
            start_time=pool.start_time,
            last_active=pool.last_active,
            cpu=min(resources.cpu, self._machine.cores),
            memory=min(resources.memory, self._machine.memory),
            containers=tuple(views),
            single_use=pool.spec.function.single_use,
            target=pool.spec.function.target_slots,
            alone=pool.alone_waits,
            blocked_until=pool.blocked_until,
            last_lowered=pool.last_lowered,
            gpu=pool.gpu,
            turned=pool.turned,
        )

    def act(self, decision: PoolDecision) -> None:
        """Start and stop containers as decided."""
        pool = self._agent.pool(decision.pool)
        if pool is None:
            return
        if decision.start:
            self._agent.start(decision.pool, decision.start, decision.gpus)
        for container_id in decision.stop:
            container = pool.containers.get(container_id)
            if container is not None:
                self._agent.stop(container)
        if decision.stop:
            pool.last_lowered = self._clock.monotonic()
        text = f"{decision.current} → {decision.desired} containers: {decision.reason}\n"
        self._output.write(pool.spec, "planner", None, LogSource.SYSTEM, text.encode())
        self._output.changed()


def _running(container: Container, now: float) -> float:
    """Return how many seconds a container has been at what it does."""
    if container.held:
        return container.held.age(now)
    return max((now - visit.began for visit in container.visits.values()), default=0.0)
