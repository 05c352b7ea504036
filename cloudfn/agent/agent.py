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
from cloudfn.agent.memory import MemoryGuard
from cloudfn.agent.pool import Pool, PoolSpec
from cloudfn.agent.ports import AgentConfig, AgentEvents, Claims
from cloudfn.agent.programs import Programs
from cloudfn.agent.streams import Streams
from cloudfn.agent.visits import Visits
from cloudfn.agent.watch import Watch
from cloudfn.agent.zygotes import Template
from cloudfn.clock import Clock
from cloudfn.errors import Error
from cloudfn.model.call import ContainerLost, Crashed, Overran, TimedOut
from cloudfn.model.function import AutoscalerSettings
from cloudfn.providers.base import Claim
from cloudfn.wire.messages import ContainerItem, ContainerOutcome, LogSource

#: seconds that a cancelled input has before its container is ended
CANCEL_GRACE = 5.0
#: seconds that a container has to leave after its last input, with its exit hooks
LEAVE_GRACE = 30.0
#: seconds between the end of a container's channel and its end, before it is helped along
CHANNEL_GRACE = 1.0


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
        self._config = config
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
        self._programs = Programs(loop, config, self)
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
            pool = Pool(spec, settings, live, last_active=float("-inf"))
            self._pools[spec.pool] = pool
        pool.settings = settings
        pool.live = live
        return pool

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
        template = self._programs.release(pool.spec, [other.spec for other in self._pools.values()])
        if template is not None:
            self._close_unused(template)

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
            if not (streaming and self.streams.keeps(pool, claim, outcome)):
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
                self._loop.call_later(LEAVE_GRACE, container.kill)
            return
        if self.intake:
            self._refill(pool, container)

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
        self._loop.call_later(LEAVE_GRACE, container.kill)
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

    def start(self, name: str, count: int) -> None:
        """Start containers for a pool."""
        pool = self._pools[name]
        try:
            template = self._programs.template(pool.spec)
        except OSError as error:
            interpreter = pool.spec.program.runtime.interpreter
            reason = f"its interpreter {interpreter} cannot be started ({error.strerror})"
            pool.start_failed(self._clock.monotonic())
            self._fail_waiting(pool, reason)
            return
        for _ in range(count):
            container = Container(self._loop, pool.spec, template, self._clock.monotonic())
            pool.containers[container.container_id] = container
            self._containers[container.container_id] = container
            pool.peak = max(pool.peak, sum(not c.draining for c in pool.containers.values()))
            if template.ready:
                self._launch(pool, container)
        self._watch.arm()

    def _launch(self, pool: Pool, container: Container) -> None:
        env = self._own_environ(pool, container.container_id)
        message: dict[str, Any] = {"function": pool.spec.function.name, "env": env, "nice": 0}
        function = pool.spec.function
        if pool.spec.parameters:
            message["parameters"] = pool.spec.parameters
        if function.concurrency is not None:
            message["concurrency"] = function.concurrency.max_inputs
        if function.batching is not None:
            message["batched"] = True
        try:
            message |= self._config.supplies(pool.spec, container.container_id)
        except Error as error:
            container.draining = True
            if pool.start_failed(self._clock.monotonic()):
                self._attempts.fail_waiting(pool, f"it lacks what it needs: {error}", b"")
            self._bury(container, None)
            return
        container.launch(self, message)

    def _own_environ(self, pool: Pool, container_id: str) -> dict[str, str]:
        identity = self._config.identity(container_id, pool.spec.app_id)
        own = {"CLOUDFN_CONTAINER_FUNCTION": pool.spec.function_id}
        return {**pool.spec.function.variables, **identity, **own}

    def container_environ(self, pool: Pool, container_id: str) -> dict[str, str]:
        """Return all variables that a container was started with."""
        return {**self._config.environ, **self._own_environ(pool, container_id)}

    def stop(self, container: Container, why: ContainerLost | None = None) -> None:
        """Let a container go: after its input, or at once with the reason `why`."""
        if container.gone:
            return
        taken = container.take_back() if container.pid else []
        if taken:
            self._attempts.give_back(taken)
        container.draining = True
        if container.pid == 0:
            self._bury(container, None)
            return
        if why is not None:
            container.doom = why
            container.kill()
            return
        container.finish_intake()
        if not container.busy:
            self._loop.call_later(LEAVE_GRACE, container.kill)

    def interrupt(self, container: Container, why: ContainerLost) -> None:
        """Have a container leave now: what it runs is interrupted, and exit hooks run."""
        if container.gone or not container.pid:
            self.stop(container)
            return
        container.doom = container.doom or why
        self.give_back_unread(container)
        container.finish_intake()
        container.signal(signal.SIGINT)
        self._loop.call_later(LEAVE_GRACE, container.kill)

    def on_template_event(self, template: Template, event: dict[str, Any]) -> None:
        """A template said something."""
        kind = event.get("event")
        if kind == "imported" and event.get("ok"):
            self._template_ready(template, event)
        elif kind == "imported":
            self._template_failed(template, event)
        elif kind == "started":
            self._container_started(event)
        elif kind == "exited":
            self._container_exited(event)

    def _template_ready(self, template: Template, event: dict[str, Any]) -> None:
        template.ready = True
        for container in self._of_template(template):
            self._launch(self._pools[container.pool], container)
        if not event.get("fork_safe", True):
            text = f"cloudfn: containers are started afresh, not forked: {event.get('why')}\n"
            self.on_template_output(template, text.encode())

    def _template_failed(self, template: Template, event: dict[str, Any]) -> None:
        """The program cannot be imported: fail the pools that wait for it."""
        packed = b64decode(event.get("error") or "")
        failed: list[Pool] = []
        self._programs.forget(template)
        for container in self._of_template(template):
            pool = self._pools.get(container.pool)
            container.draining = True
            self._bury(container, None)
            if pool is not None and pool not in failed:
                failed.append(pool)
        for pool in failed:
            pool.start_failed(self._clock.monotonic())
            self._fail_waiting(pool, "its module cannot be imported", packed)
        template.close()

    def _container_started(self, event: dict[str, Any]) -> None:
        container = self._containers.get(event["container"])
        if container is None or container.gone:
            return
        container.pid = event["pid"]
        pool = self._pools.get(container.pool)
        if pool is not None:
            self._memory.watch(container.container_id, container.pid, pool.spec.function.resources)
        if container.doom is not None:
            container.kill()
        elif container.early:
            self.on_ready(container)

    def _container_exited(self, event: dict[str, Any]) -> None:
        container = self._containers.get(event["container"])
        if container is not None:
            container.drain_output()
            status = event.get("status")
            self._bury(container, status if isinstance(status, int) and status >= 0 else None)

    def on_template_output(self, template: Template, data: bytes) -> None:
        """The user's module printed something while it was imported."""
        for pool in self._pools.values():
            if self._programs.serves(template, pool.spec):
                self._events.print(pool.spec, template.template_id, None, LogSource.STDOUT, data)
                return

    def on_template_closed(self, template: Template) -> None:
        """A template is gone, and its containers with it."""
        self._programs.forget(template)
        ending = explain_exit(template.status)
        blamed: set[str] = set()
        for container in self._of_template(template):
            if container.pid:
                container.drain_output()
                container.kill()
            elif (
                not template.ready and isinstance(ending, Crashed) and container.pool not in blamed
            ):
                # The import took it down: one failed start of each pool that waits.
                blamed.add(container.pool)
                container.doom = ending
            self._bury(container, None)

    def _of_template(self, template: Template) -> list[Container]:
        return [c for c in self._containers.values() if c.template is template]

    def _bury(self, container: Container, status: int | None) -> None:
        """A container has ended: settle the input that ran in it, give back the rest."""
        if container.gone:
            return
        pool = self._pools.get(container.pool)
        over_memory = self._memory.release(container.container_id)
        self._events.ended(container.container_id)
        self.departures.ended(container.container_id)
        self.give_back_unread(container)
        visits = self.visits.lose(container)
        container.close()
        del self._containers[container.container_id]
        if pool is None:
            self._close_unused(container.template)
            return
        pool.containers.pop(container.container_id, None)
        ending = container.doom or explain_exit(status, over_memory=over_memory)
        if over_memory is not None and isinstance(container.doom, Crashed | None):
            ending = explain_exit(status, over_memory=over_memory)
        if isinstance(ending, Crashed) and len(container.held) + visits > 1:
            ending = replace(ending, alone=False)
        for claim in container.held:
            self._attempts.settle(pool, claim, ending)
        container.held.clear()
        if not container.ready and not container.draining and not self._closing:
            if isinstance(ending, Crashed):
                self._start_failed(container, ending.reason)
            else:
                pool.start_lost(self._clock.monotonic())
        self._close_unused(container.template)
        self.kick(container.pool)
        self._events.changed()

    def give_back_unread(self, container: Container) -> bool:
        """Take back what a container has not read; return whether there was something."""
        taken = container.take_back()
        if taken:
            self._attempts.give_back(taken)
            self._events.changed()
        return bool(taken)

    def _start_failed(self, container: Container, reason: str, packed: bytes = b"") -> None:
        pool = self._pools.get(container.pool)
        if pool is None or container.ready:
            return
        if pool.start_failed(self._clock.monotonic()):
            self._fail_waiting(pool, reason, packed)

    def _fail_waiting(self, pool: Pool, reason: str, packed: bytes = b"") -> None:
        """No container of the pool can start: end what waits with the reason."""
        self._attempts.fail_waiting(pool, reason, packed)
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
        template = container.template
        if not template.ready and not self._of_template(template):
            template.kill()

    def run_overdue(
        self, container: Container, overdue: Sequence[Claim], ending: TimedOut | Overran
    ) -> None:
        """Inputs of a container are over their time: end it, and run the others again."""
        self.give_back_unread(container)
        for claim in overdue:
            self._attempts.settle(self._pools[container.pool], claim, ending)
        self.stop(container, _blameless("a neighbour ran longer than its timeout"))

    # Nested calls

    def waits(self, seq: int, change: int) -> str | None:
        """A running input began (+1) or ended (−1) to wait for a nested call; return its pool."""
        for container in self._containers.values():
            if container.held.find(seq) is not None:
                container.count_waiting(seq, change)
                return container.pool
        return None

    def running(self, seq: int) -> Claim | None:
        """Return the claim of an input that a container holds."""
        for container in self._containers.values():
            claim = container.held.find(seq)
            if claim is not None:
                return claim
        return None

    # The end

    def _close_unused(self, template: Template) -> None:
        """Close a template that no pool asks for any more, once its last container has ended."""
        if not self._programs.keeps(template) and not self._of_template(template):
            template.close()

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
        self._programs.close()
        self._memory.close()


def _blameless(reason: str) -> ContainerLost:
    """Return why inputs lose a container that we end for what another one did."""
    return ContainerLost(reason, counted=False)
