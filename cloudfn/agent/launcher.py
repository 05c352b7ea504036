"""Starts containers, from templates that have imported their program."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cloudfn.agent.container import Container, ContainerOwner
from cloudfn.agent.exits import explain_exit
from cloudfn.agent.memory import MemoryGuard
from cloudfn.agent.pool import Pool, PoolSpec
from cloudfn.agent.ports import AgentConfig, AgentEvents
from cloudfn.agent.programs import Programs
from cloudfn.agent.zygotes import Template
from cloudfn.clock import Clock
from cloudfn.errors import Error
from cloudfn.model import ids
from cloudfn.model.call import ContainerLost, Crashed
from cloudfn.model.gpu import lack_of
from cloudfn.wire.messages import LogSource


class LaunchOwner(ContainerOwner, Protocol):
    """Who is told what becomes of containers, from their start on."""

    def bury(self, container: Container, status: int | None) -> None:
        """A container is over, with this wait status where somebody saw it."""
        ...

    def give_up(self, pool: Pool, reason: str, packed: bytes = b"") -> None:
        """No container of the pool can start; `packed` is the exception of user code, if any."""
        ...


class Launcher:
    """Starts the containers of one machine. Single-threaded, on the agent's loop.

    Args:
        loop: The agent's loop.
        clock: The time.
        config: What containers get, and what their processes come from.
        events: Gets what user code prints while it is imported.
        memory: Is told which processes to watch.
        pools: The agent's pools, by name.
        containers: The agent's containers, by id; those that start here are added.
        owner: Is told what becomes of them.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        clock: Clock,
        config: AgentConfig,
        events: AgentEvents,
        memory: MemoryGuard,
        pools: Mapping[str, Pool],
        containers: dict[str, Container],
        owner: LaunchOwner,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._config = config
        self._events = events
        self._memory = memory
        self._pools = pools
        self._containers = containers
        self._owner = owner
        self._programs = Programs(loop, config, self)

    def start(self, pool: Pool, count: int, gpus: Sequence[tuple[str, ...]] = ()) -> None:
        """Start containers for a pool.

        Args:
            pool: The pool.
            count: How many.
            gpus: Ids of the devices of each, where the pool needs some.
        """
        function = pool.spec.function
        if function.gpu and pool.gpu is None:
            lack, _ = lack_of(function.gpu, function.gpu_memory, self._config.gpus)
            pool.start_failed(self._clock.monotonic())
            self._owner.give_up(pool, f"it asks for {' or '.join(function.gpu)}, and {lack}")
            return
        for devices in gpus or ((),) * count:
            container_id = ids.mint("ta")
            try:
                template = self._programs.template(pool.spec, container_id, devices)
            except OSError as error:
                runtime = pool.spec.program.runtime
                reason = (
                    f"its interpreter {runtime.interpreter} cannot be started ({error.strerror})"
                )
                if runtime.environ:
                    reason += "; deploy the app again to have its image built anew"
                pool.start_failed(self._clock.monotonic())
                self._owner.give_up(pool, reason)
                return
            except Error as error:
                self._lacks(pool, error)
                return
            now = self._clock.monotonic()
            container = Container(self._loop, pool.spec, container_id, template, now, devices)
            if not pool.containers:
                pool.turned = now
            pool.containers[container.container_id] = container
            self._containers[container.container_id] = container
            pool.peak = max(pool.peak, sum(not c.draining for c in pool.containers.values()))
            if template.ready:
                self._launch(pool, container)

    def _launch(self, pool: Pool, container: Container) -> None:
        function = pool.spec.function
        env = self._own_environ(pool, container)
        message: dict[str, Any] = {"function": function.name, "env": env, "nice": 0}
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
            self._lacks(pool, error)
            self._owner.bury(container, None)
            return
        container.launch(self._owner, message)

    def _lacks(self, pool: Pool, error: Error) -> None:
        if pool.start_failed(self._clock.monotonic()):
            self._owner.give_up(pool, f"it lacks what it needs: {error}")

    def _own_environ(self, pool: Pool, container: Container) -> dict[str, str]:
        declared = self._programs.variables(pool.spec, container.gpus)
        identity = self._config.identity(container.container_id, pool.spec.app_id)
        return {**declared, **identity, "CLOUDFN_CONTAINER_FUNCTION": pool.spec.function_id}

    def environ(self, pool: Pool, container: Container) -> dict[str, str]:
        """Return all variables that a container was started with."""
        machine = {**self._config.environ, **dict(pool.spec.program.runtime.environ)}
        return {**machine, **self._own_environ(pool, container)}

    # What templates say (TemplateOwner)

    def on_template_event(self, template: Template, event: dict[str, Any]) -> None:
        """A template said something."""
        kind = event.get("event")
        if kind == "imported" and event.get("ok"):
            self._imported(template, event)
        elif kind == "imported":
            self._import_failed(template, event)
        elif kind == "started":
            self._started(template, event)
        elif kind == "exited":
            self._exited(template, event)

    def _imported(self, template: Template, event: dict[str, Any]) -> None:
        template.ready = True
        for container in self._of(template):
            self._launch(self._pools[container.pool], container)
        if not event.get("fork_safe", True):
            text = f"cloudfn: containers are started afresh, not forked: {event.get('why')}\n"
            self.on_template_output(template, text.encode())

    def _import_failed(self, template: Template, event: dict[str, Any]) -> None:
        """The program cannot be imported: fail the pools that wait for it."""
        packed = b64decode(event.get("error") or "")
        failed: list[Pool] = []
        self._programs.forget(template)
        for container in self._of(template):
            pool = self._pools.get(container.pool)
            container.draining = True
            self._owner.bury(container, None)
            if pool is not None and pool not in failed:
                failed.append(pool)
        for pool in failed:
            pool.start_failed(self._clock.monotonic())
            self._owner.give_up(pool, "its module cannot be imported", packed)
        template.close()

    def _container(self, template: Template, event: dict[str, Any]) -> Container | None:
        """Return the container that a template speaks of; it has a say in its own alone."""
        container = self._containers.get(event["container"])
        return container if container is not None and container.template is template else None

    def _started(self, template: Template, event: dict[str, Any]) -> None:
        container = self._container(template, event)
        if container is None or container.gone:
            return
        container.pid = template.home.pid_of(event["pid"])
        pool = self._pools.get(container.pool)
        if pool is not None and not template.home.limits_memory:
            self._memory.watch(container.container_id, container.pid, pool.spec.function.resources)
        if container.doom is not None:
            container.kill()
        elif container.early:
            self._owner.on_ready(container)

    def _exited(self, template: Template, event: dict[str, Any]) -> None:
        container = self._container(template, event)
        if container is not None:
            container.drain_output()
            status = event.get("status")
            seen = isinstance(status, int) and status >= 0
            self._owner.bury(container, status if seen else None)

    def on_template_output(self, template: Template, data: bytes) -> None:
        """The user's module printed something while it was imported."""
        for pool in self._pools.values():
            if self._programs.serves(template, pool.spec):
                self._events.print(pool.spec, template.template_id, None, LogSource.STDOUT, data)
                return

    def on_template_closed(self, template: Template) -> None:
        """A template is gone, and its containers with it."""
        self._programs.forget(template)
        ending = template.ending or explain_exit(
            template.status, over_memory=template.home.over_memory()
        )
        # The import took it down: one failed start of each pool that waits.
        to_blame = not template.ready and isinstance(ending, Crashed)
        blamed: set[str] = set()
        for container in self._of(template):
            if container.pid:
                container.drain_output()
                container.kill()
                container.doom = container.doom or template.ending
            elif isinstance(ending, ContainerLost):
                container.doom = ending
            elif to_blame and container.pool not in blamed:
                blamed.add(container.pool)
                container.doom = ending
            self._owner.bury(container, None)

    # Templates that nobody needs

    def release(self, spec: PoolSpec) -> None:
        """No pool has this spec any more: let its template go unless others need it."""
        template = self._programs.release(spec, [other.spec for other in self._pools.values()])
        if template is not None:
            self.close_unused(template)

    def close_unused(self, template: Template) -> None:
        """Close a template that no pool asks for any more, once its last container has ended."""
        if not self._programs.keeps(template) and not self._of(template):
            template.close()

    def kill_stuck(self, template: Template) -> None:
        """End a template whose import takes too long, once no container waits for it."""
        if not template.ready and not self._of(template):
            template.kill()

    def _of(self, template: Template) -> list[Container]:
        return [c for c in self._containers.values() if c.template is template]

    def close(self) -> None:
        """End every process that was started here."""
        self._programs.close()
