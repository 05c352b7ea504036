"""The agent of one machine: claims inputs, hands them to containers, settles how attempts end.

It knows nothing of clients, apps or settings: a composition root tells it which pools there are,
and listens to what happens.
"""

from __future__ import annotations

import signal
from asyncio import AbstractEventLoop
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cloudfn.agent.attempts import Attempts, start_failure
from cloudfn.agent.container import Container
from cloudfn.agent.departures import Departures
from cloudfn.agent.exits import explain_exit
from cloudfn.agent.handover import Handover
from cloudfn.agent.launcher import Launcher
from cloudfn.agent.memory import MemoryGuard
from cloudfn.agent.pool import Pool, PoolSpec
from cloudfn.agent.ports import AgentConfig, AgentEvents, Claims
from cloudfn.agent.streams import Streams
from cloudfn.agent.visits import Visits
from cloudfn.agent.watch import Watch
from cloudfn.clock import Clock
from cloudfn.errors import PermissionDeniedError
from cloudfn.model.call import ContainerLost, Crashed, Overran, TimedOut
from cloudfn.model.function import AutoscalerSettings
from cloudfn.model.gpu import wish_for
from cloudfn.providers.ledger import Claim
from cloudfn.wire.messages import ContainerItem, ContainerOutcome, LogSource

#: seconds that a cancelled input has before its container is ended
CANCEL_GRACE = 5.0
#: seconds between the end of a container's channel and its end, before it is helped along
CHANNEL_GRACE = 1.0
_NOT_ITS_OWN = PermissionDeniedError("Its container named a payload that it did not write.")


class Agent:
    """Runs the containers of one machine. Single-threaded: every method is called on the loop."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        ledger: Claims,
        events: AgentEvents,
        clock: Clock,
        config: AgentConfig,
        memory: MemoryGuard,
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._events = events
        self._clock = clock
        self._memory = memory
        self._pools: dict[str, Pool] = {}
        self._containers: dict[str, Container] = {}
        self._watch = Watch(loop, clock, self._pools, self._containers, memory, self)
        self._attempts = Attempts(ledger, events, clock)
        self.streams = Streams(self._attempts, events)
        self.departures = Departures()
        self._handover = Handover(
            loop,
            ledger,
            self._attempts,
            clock,
            self._watch.arm,
            one_at_a_time=config.one_at_a_time,
        )
        self._launcher = Launcher(
            loop, clock, config, events, memory, self._pools, self._containers, self
        )
        self._exit_grace = config.exit_grace
        self._gpus = config.gpus
        self._closing = False
        self.intake = True
        self.visits = Visits(
            loop,
            clock,
            self._pools,
            config.web_pending,
            events.changed,
            self._watch.arm,
            self.kick,
            self.stop,
        )

    # Pools

    def pool(self, name: str) -> Pool | None:
        """Return a pool by name."""
        return self._pools.get(name)

    def pools(self) -> list[Pool]:
        """Return all pools."""
        return list(self._pools.values())

    def containers(self) -> list[Container]:
        """Return all containers that are not gone."""
        return list(self._containers.values())

    def container(self, container_id: str) -> Container | None:
        """Return a container by id."""
        return self._containers.get(container_id)

    def add_pool(self, spec: PoolSpec, settings: AutoscalerSettings, *, live: bool) -> Pool:
        """Make a pool known. Idempotent; settings and liveness are replaced."""
        pool = self._pools.get(spec.pool)
        if pool is None:
            wish = wish_for(spec.function.gpu, spec.function.gpu_memory, self._gpus)
            pool = Pool(spec, settings, live, wish, last_active=float("-inf"))
            self._pools[spec.pool] = pool
        pool.settings = settings
        pool.live = live
        return pool

    def renew(self, pool: Pool, spec: PoolSpec) -> None:
        """Start new containers of a pool as another spec says; those that there are stay."""
        old, pool.spec = pool.spec, spec
        pool.failed_starts, pool.blocked_until = 0, 0.0
        self._launcher.release(old)

    def drop_pool(self, name: str) -> None:
        """Forget a pool, interrupting its containers; its inputs must have been dealt with."""
        pool = self._pools.pop(name, None)
        if pool is None:
            return
        self.visits.redirect(pool, None)
        has_hooks = pool.spec.function.cls is not None
        for container in list(pool.containers.values()):
            if container.busy or (has_hooks and container.ready):
                self.departures.add(container.container_id, pool.spec.app_id)
            self.interrupt(container, ContainerLost("its app was stopped", counted=False))
        self._launcher.release(pool.spec)

    # Dispatch

    def kick(self, name: str) -> None:
        """Hand waiting inputs of a pool to its containers."""
        pool = self._pools.get(name)
        if pool is not None and self.intake:
            self._handover.kick(pool)
            if pool.visitors:
                self.visits.admit(pool)

    def end_overdue(self, claims: Sequence[Claim]) -> None:
        """End inputs whose deadline passed before a container took them."""
        for claim in claims:
            pool = self._pools.get(claim.pool)
            if pool is None:
                self._attempts.give_back([claim])
            else:
                self._attempts.settle(pool, claim, Overran())

    # What containers say

    def on_ready(self, container: Container) -> None:
        """A container takes inputs from now on."""
        if not container.pid:
            # Its template will say who it is: no input may run before its memory is guarded.
            container.early = True
            return
        now = self._clock.monotonic()
        container.ready = True
        container.last_used = now
        pool = self._pools.get(container.pool)
        if pool is None:
            return
        pool.started(now - container.started)
        self.kick(container.pool)
        self._events.changed()

    def on_outcomes(self, container: Container, outcomes: list[ContainerOutcome]) -> None:
        """Attempts ended: record returns, settle the rest, refill the container."""
        pool = self._pools.get(container.pool)
        if pool is None or container.gone:
            return
        now = self._clock.monotonic()
        ended: list[tuple[Claim, ContainerOutcome]] = []
        micros = count = 0
        held = container.held
        streaming = self.streams.active
        for outcome in outcomes:
            claim = held.finish(outcome.seq, outcome.fence)
            if claim is None:
                # Settled already: it timed out or was cancelled, and the container is late.
                continue
            micros += outcome.micros
            count += 1
            if self._may_end(pool, container, claim, outcome) and not (
                streaming and self.streams.keeps(pool, claim, outcome)
            ):
                ended.append((claim, outcome))
        self._attempts.conclude(pool, ended)
        held.progressed(now)
        container.last_used = pool.last_active = now
        container.inputs_done += count
        container.exclusive = False
        if count:
            pool.service = pool.service.after(micros / 1e6, count)
        if not held and (container.draining or self._ledger_idle(pool)):
            self._events.changed()
        if container.draining:
            if not container.busy:
                self._kill_later(container)
            return
        if self.intake:
            self._refill(pool, container)

    def _may_end(
        self, pool: Pool, container: Container, claim: Claim, outcome: ContainerOutcome
    ) -> bool:
        """Whether a container may end an input so; if not, it ended by an error."""
        if container.payloads is None:
            return True
        container.forget(claim)
        if not container.may_name(outcome.payload):
            self._attempts.fail(pool, claim, _NOT_ITS_OWN)
            return False
        return True

    def _refill(self, pool: Pool, container: Container) -> None:
        self._handover.refill(pool, container)
        if pool.visitors:
            self.visits.admit(pool)

    def on_drain(self, container: Container) -> None:
        """User code wants its container to take no further inputs."""
        self.stop(container)
        self._events.changed()

    def on_room(self, container: Container) -> None:
        """A container takes more inputs than before."""
        self.kick(container.pool)
        self._events.changed()

    def _ledger_idle(self, pool: Pool) -> bool:
        return self._ledger.counts(pool.spec.pool).pending == 0

    def on_item(self, container: Container, item: ContainerItem) -> None:
        """A generator yielded."""
        pool = self._pools.get(container.pool)
        claim = container.held.find(item.seq)
        if pool is None or claim is None or claim.fence != item.fence:
            return
        if not container.may_name(item.payload):
            self._attempts.fail(pool, claim, _NOT_ITS_OWN)
            container.kill()
            return
        if not self.streams.item(pool, container, claim, item):
            self.cancel(claim.seq, claim.fence, terminate=False)

    def on_broken(self, container: Container, error: dict[str, Any]) -> None:
        """A container failed to start."""
        packed = b64decode(error.get("error") or "")
        self._start_failed(container, "it failed while it started", packed)
        container.draining = True
        container.kill()

    def on_leaving(self, container: Container, interrupted_by: str) -> None:
        """A container leaves: what it runs runs again elsewhere.

        A signal interrupted it, of ours or of others; without one, it leaves for a cancelled input.
        """
        if container.doom is None and interrupted_by:
            container.doom = ContainerLost(f"its container was interrupted by {interrupted_by}")
        elif container.doom is None:
            container.doom = _blameless("a neighbour was cancelled")
        self.give_back_unread(container)
        container.draining = True
        self._kill_later(container)
        self._events.changed()

    def on_output(self, container: Container, seq: int, source: LogSource, data: bytes) -> None:
        """A container printed something."""
        claim = container.held.find(seq) if seq else None
        self._events.print(container.spec, container.container_id, claim, source, data)

    def on_channel_closed(self, container: Container) -> None:
        """A container can say nothing any more; if it does not end by itself, end it."""
        # An exit that is under way explains itself better than this.
        self._loop.call_later(CHANNEL_GRACE, self._end_mute, container)

    def _end_mute(self, container: Container) -> None:
        if not container.gone and container.doom is None:
            container.doom = Crashed("user code closed the container's channel")
        container.kill()

    # Starting and stopping

    def start(self, name: str, count: int, gpus: Sequence[tuple[str, ...]] = ()) -> None:
        """Start containers for a pool.

        Args:
            name: The pool's.
            count: How many.
            gpus: Ids of the devices of each, where the pool needs some.
        """
        self._launcher.start(self._pools[name], count, gpus)
        self._watch.arm()

    def container_environ(self, pool: Pool, container: Container) -> dict[str, str]:
        """Return all variables that a container was started with."""
        return self._launcher.environ(pool, container)

    def stop(self, container: Container, why: ContainerLost | None = None) -> None:
        """Let a container go: after its input, or at once with the reason `why`."""
        if container.gone:
            return
        taken = container.take_back() if container.pid else []
        if taken:
            self._attempts.give_back(taken)
        container.draining = True
        if container.pid == 0:
            self.bury(container, None)
            return
        if why is not None:
            container.doom = why
            container.kill()
            return
        container.finish_intake()
        if not container.busy:
            self._kill_later(container)

    def interrupt(self, container: Container, why: ContainerLost) -> None:
        """Have a container leave now: what it runs is interrupted, and exit hooks run."""
        if container.gone or not container.pid:
            self.stop(container)
            return
        container.doom = container.doom or why
        self.give_back_unread(container)
        container.finish_intake()
        container.signal(signal.SIGINT)
        self._kill_later(container)

    def _kill_later(self, container: Container) -> None:
        """End a container that leaves, once its exit hooks have had their time."""
        self._loop.call_later(self._exit_grace, container.kill)

    def bury(self, container: Container, status: int | None) -> None:
        """A container has ended: settle the input that ran in it, give back the rest."""
        if container.gone:
            return
        pool = self._pools.get(container.pool)
        over_memory = self._memory.release(container.container_id)
        if over_memory is None:
            over_memory = container.template.home.over_memory()
        self._events.ended(container.container_id)
        self.departures.ended(container.container_id)
        self.give_back_unread(container)
        visits = self.visits.lose(container)
        container.close()
        del self._containers[container.container_id]
        if pool is None:
            self._launcher.close_unused(container.template)
            return
        pool.containers.pop(container.container_id, None)
        if not pool.containers:
            pool.turned = self._clock.monotonic()
        ending = container.doom or explain_exit(status, over_memory=over_memory)
        if over_memory is not None and isinstance(container.doom, Crashed | None):
            ending = explain_exit(status, over_memory=over_memory)
        if isinstance(ending, Crashed) and len(container.held) + visits > 1:
            ending = replace(ending, alone=False)
        for claim in container.held:
            self._attempts.settle(pool, claim, ending)
        container.held.clear()
        if not container.ready and not container.draining and not self._closing:
            self._start_ended(container, pool, ending)
        self._launcher.close_unused(container.template)
        self.kick(container.pool)
        self._events.changed()

    def give_back_unread(self, container: Container) -> bool:
        """Take back what a container has not read; return whether there was something."""
        taken = container.take_back()
        if taken:
            self._attempts.give_back(taken)
            self._events.changed()
        return bool(taken)

    def _start_ended(
        self, container: Container, pool: Pool, ending: Crashed | ContainerLost
    ) -> None:
        if isinstance(ending, Crashed):
            self._start_failed(container, ending.reason)
        elif pool.start_lost(self._clock.monotonic(), counted=ending.counted):
            self.give_up(pool, f"{ending.reason}, {pool.lost_starts} times in a row")

    def _start_failed(self, container: Container, reason: str, packed: bytes = b"") -> None:
        pool = self._pools.get(container.pool)
        if pool is None or container.ready:
            return
        if pool.start_failed(self._clock.monotonic()):
            self.give_up(pool, reason, packed)

    def give_up(self, pool: Pool, reason: str, packed: bytes = b"") -> None:
        """No container of the pool can start: end what waits with the reason."""
        self._attempts.fail_waiting(pool, reason, packed)
        self._events.gave_up(pool.spec, reason, packed)
        self.visits.fail(pool, start_failure(pool.spec, reason))

    # Time

    def cancel(self, seq: int, fence: int, *, terminate: bool) -> None:
        """Stop an input that runs; its outcome is recorded already."""
        for container in self._containers.values():
            claim = container.held.find(seq)
            if claim is None or claim.fence != fence:
                continue
            self.give_back_unread(container)
            if claim not in container.held:
                self.kick(container.pool)
            elif container.held.shares(claim):
                # The others of its batch go on; nobody wants its part of the results.
                container.held.finish(seq, fence)
            elif terminate:
                self.stop(container, _blameless("a neighbour was cancelled"))
            else:
                container.cancel_running(seq, fence)
                self._loop.call_later(CANCEL_GRACE, self._end_stubborn, container, claim)
            return

    def _end_stubborn(self, container: Container, claim: Claim) -> None:
        leaves = container.gone or container.doom is not None
        if not leaves and claim in container.held:
            self.stop(container, _blameless("a neighbour did not react to its cancellation"))

    def start_overdue(self, container: Container, limit: int) -> None:
        """A container was not ready within its startup_timeout: end it."""
        self._start_failed(container, f"it was not ready within its startup_timeout of {limit}s")
        container.ready = True  # its failure is counted
        self.stop(container, ContainerLost("it did not start in time"))
        self._launcher.kill_stuck(container.template)

    def run_overdue(
        self, container: Container, overdue: Sequence[Claim], ending: TimedOut | Overran
    ) -> None:
        """Inputs of a container are over their time: end it, and run the others again."""
        self.give_back_unread(container)
        for claim in overdue:
            self._attempts.settle(self._pools[container.pool], claim, ending)
        self.stop(container, _blameless("a neighbour ran longer than its timeout"))

    # Nested calls

    def waits(self, seq: int, change: int) -> bool:
        """A running input began (+1) or ended (−1) to wait for a nested call; return if it runs."""
        container = self._holder(seq)
        if container is not None:
            container.count_waiting(seq, change)
        return container is not None

    def running(self, seq: int) -> Claim | None:
        """Return the claim of an input that a container holds."""
        container = self._holder(seq)
        return None if container is None else container.held.find(seq)

    def _holder(self, seq: int) -> Container | None:
        return next((c for c in self._containers.values() if c.held.find(seq) is not None), None)

    # The end

    def hand_back(self) -> None:
        """Take no more inputs, end what runs, and return it to the ledger without blame."""
        self._closing = True
        self._watch.close()
        self.intake = False
        for container in self._containers.values():
            self._attempts.give_back([*container.take_back(), *container.held])
            container.held.clear()
            container.kill()
        self._attempts.give_back(self.streams.take_kept())

    def close(self) -> None:
        """End every process of this machine."""
        self._closing = True
        self.intake = False
        self._handover.close()
        self._watch.close()
        for container in list(self._containers.values()):
            container.kill()
            container.close()
        self._launcher.close()
        self._memory.close()


def _blameless(reason: str) -> ContainerLost:
    """Return why inputs lose a container that we end for what another one did."""
    return ContainerLost(reason, counted=False)
