"""Templates of a machine: made when first asked for, closed when nobody needs them.

Containers that are processes share one template per program; a Docker container has its own.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Hashable

from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.ports import AgentConfig
from cloudfn.agent.zygotes import Here, Template, TemplateOwner

_HERE = Here()


class Programs:
    """Keeps one template per program and variables of pools, and starts those of Docker."""

    def __init__(self, loop: AbstractEventLoop, config: AgentConfig, owner: TemplateOwner) -> None:
        self._loop = loop
        self._config = config
        self._owner = owner
        self._templates: dict[Hashable, Template] = {}

    def template(self, spec: PoolSpec, container_id: str) -> Template:
        """Return the template that a new container of a pool comes from, started if need be.

        Raises:
            OSError: The program's interpreter cannot be started.
            Error: Something that the container needs is not there.
        """
        if spec.program.runtime.image:
            return self._config.cells.start(spec, container_id, self._owner)
        key = _key(spec)
        template = self._templates.get(key)
        if template is None or template.closed:
            runtime = spec.program.runtime
            zygote = self._config.zygotes.get(runtime)
            # What is imported may look at the variables, so they are there before.
            machine = {**self._config.environ, **dict(runtime.environ)}
            environ = {**machine, **spec.function.variables}
            template = Template(self._loop, spec.program, environ, self._owner, _HERE)
            self._templates[key] = template
            zygote.start_template(template)
        return template

    def serves(self, template: Template, spec: PoolSpec) -> bool:
        """Whether a pool's containers come from this template."""
        if spec.program.runtime.image:
            return template.program is spec.program
        return self._templates.get(_key(spec)) is template

    def keeps(self, template: Template) -> bool:
        """Whether new containers may come from this template."""
        return template in self._templates.values()

    def forget(self, template: Template) -> None:
        """Start no more containers from this template."""
        self._templates = {k: t for k, t in self._templates.items() if t is not template}

    def release(self, spec: PoolSpec, others: list[PoolSpec]) -> Template | None:
        """Forget the template of a pool that is gone unless `others` need it; return it."""
        key = _key(spec)
        if any(_key(other) == key for other in others):
            return None
        return self._templates.pop(key, None)

    def close(self) -> None:
        """End every process that was started here."""
        for template in self._templates.values():
            template.close()
        self._config.zygotes.close()
        self._config.cells.close()


def _key(spec: PoolSpec) -> Hashable:
    program = spec.program
    variables = tuple(sorted(spec.function.variables.items()))
    return program.bundle, program.runtime, program.fork, spec.revision, spec.app_id, variables
