"""Templates of a machine: made when first asked for, closed when nobody needs them.

Containers that are processes share one template per program; a Docker container has its own.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Hashable

from cloudfn.agent.homes import Here
from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.ports import AgentConfig
from cloudfn.agent.zygotes import Template, TemplateOwner
from cloudfn.model.gpu import visible, wish_for

_HERE = Here()


class Programs:
    """Keeps one template per program and variables of pools, and starts those of Docker."""

    def __init__(self, loop: AbstractEventLoop, config: AgentConfig, owner: TemplateOwner) -> None:
        self._loop = loop
        self._config = config
        self._owner = owner
        self._templates: dict[Hashable, Template] = {}

    def template(self, spec: PoolSpec, container_id: str, gpus: tuple[str, ...] = ()) -> Template:
        """Return the template that a new container of a pool comes from, started if need be.

        Args:
            spec: The pool.
            container_id: The container's.
            gpus: Ids of its devices. An import sees those of the container that it is made for.

        Raises:
            OSError: The program's interpreter cannot be started.
            Error: Something that the container needs is not there.
        """
        if spec.program.runtime.image:
            return self._config.cells.start(spec, container_id, gpus, self._owner)
        key = self._key(spec)
        template = self._templates.get(key)
        if template is None or template.closed:
            runtime = spec.program.runtime
            zygote = self._config.zygotes.get(runtime)
            # What is imported may look at the variables, so they are there before.
            machine = {**self._config.environ, **dict(runtime.environ)}
            environ = {**machine, **self.variables(spec, gpus)}
            template = Template(self._loop, spec.program, environ, self._owner, _HERE)
            self._templates[key] = template
            zygote.start_template(template)
        return template

    def variables(self, spec: PoolSpec, gpus: tuple[str, ...]) -> dict[str, str]:
        """Return what a function declares, with what makes CUDA see these devices and no others.

        A Docker container has no others.
        """
        declared = spec.function.variables
        if not self._config.gpus or spec.program.runtime.image:
            return declared
        return {**declared, **visible(gpus)} if gpus else {**visible(()), **declared}

    def serves(self, template: Template, spec: PoolSpec) -> bool:
        """Whether a pool's containers come from this template."""
        if spec.program.runtime.image:
            return template.program is spec.program
        return self._templates.get(self._key(spec)) is template

    def keeps(self, template: Template) -> bool:
        """Whether new containers may come from this template."""
        return template in self._templates.values()

    def forget(self, template: Template) -> None:
        """Start no more containers from this template."""
        self._templates = {k: t for k, t in self._templates.items() if t is not template}

    def release(self, spec: PoolSpec, others: list[PoolSpec]) -> Template | None:
        """Forget the template of a pool that is gone unless `others` need it; return it."""
        key = self._key(spec)
        if any(self._key(other) == key for other in others):
            return None
        return self._templates.pop(key, None)

    def _key(self, spec: PoolSpec) -> Hashable:
        program, function = spec.program, spec.function
        variables = tuple(sorted(function.variables.items()))
        # Modules that look at GPUs while they are imported shall see as many as their functions.
        wish = wish_for(function.gpu, function.gpu_memory, self._config.gpus)
        place = program.bundle, program.runtime, program.fork, spec.revision, spec.app_id
        return *place, program.attached, program.workdir, variables, wish and wish.count

    def close(self) -> None:
        """End every process that was started here."""
        for template in self._templates.values():
            template.close()
        self._config.zygotes.close()
        self._config.cells.close()
