"""Starts Docker containers, one for each of ours, and removes them. Single-threaded, but for jobs.

In a Docker container there is a cell: zygote, template and container, which talk to the agent as
processes of this machine do, over a socket that the zygote connects to once. The engine itself is
asked in threads.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from cloudfn.agent.docker.cell import Cell, Desk
from cloudfn.agent.docker.engine import Engine, quietly
from cloudfn.agent.docker.networks import Networks
from cloudfn.agent.machine import Machine
from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.zygotes import Template, TemplateOwner

#: starts and removals at one time
_STARTERS, _ENDERS = 8, 8
#: seconds that removing all containers may take when the daemon leaves
_LEAVE = 30.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where this agent is."""

    environment: str
    #: tells this environment's containers from those of others
    marker: str
    #: tells them from those of earlier daemons
    instance: str
    machine: Machine


class Cells:
    """All cells of a machine. Nothing asks Docker before the first one.

    Args:
        loop: The agent's loop.
        engine: Docker.
        desk: Furnishes.
        site: Where this is.
        networks: The networks that containers are in.
        complain: Told once, for people, of a pool whose containers cannot be started now.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        engine: Engine,
        desk: Desk,
        site: Site,
        networks: Networks,
        complain: Callable[[PoolSpec, str], None],
    ) -> None:
        self.loop = loop
        self.engine = engine
        self.desk = desk
        self.site = site
        self.networks = networks
        self._complain = complain
        self._complained: set[str] = set()
        self._cells: set[Cell] = set()
        self._starters = ThreadPoolExecutor(_STARTERS, thread_name_prefix="docker")
        self._enders = ThreadPoolExecutor(_ENDERS, thread_name_prefix="docker-end")
        self._jobs: set[Future[Any]] = set()
        self._used = False
        self._closed = False

    def start(
        self, spec: PoolSpec, container_id: str, gpus: tuple[str, ...], owner: TemplateOwner
    ) -> Template:
        """See `agent.ports.Cells`."""
        self._used = True
        cell = Cell(self, spec, container_id, gpus, self.desk.furnish(spec, container_id))
        self._cells.add(cell)
        # Variables of its runtime speak of this machine; those of its image are there already.
        cell.template = Template(self.loop, spec.program, spec.function.variables, owner, cell)
        self.later(self._starters, cell.bring_up, cell.brought_up)
        return cell.template

    def docker_id(self, container_id: str) -> str | None:
        """Return what Docker calls a container; None: it has none, or not yet."""
        found = (cell for cell in self._cells if cell.container_id == container_id)
        return next((cell.docker_id or None for cell in found), None)

    def end_leftovers(self) -> None:
        """Remove, in the background, what an earlier daemon left."""
        self._used = True
        work = partial(quietly, partial(self._remove_all, of_others=True))
        self.later(self._enders, work, lambda _: None)

    def trouble(self, spec: PoolSpec, reason: str) -> None:
        """A container could not be started for a reason that may pass."""
        if spec.pool not in self._complained:
            self._complained.add(spec.pool)
            self._complain(spec, reason)

    def works(self, spec: PoolSpec) -> None:
        """A container was started."""
        self._complained.discard(spec.pool)

    def ending(self, work: Callable[[], Any], done: Callable[[Future[Any]], None]) -> None:
        """Do something about a container's end in a thread, and go on here."""
        self.later(self._enders, work, done)

    def later(
        self,
        threads: ThreadPoolExecutor,
        work: Callable[[], Any],
        done: Callable[[Future[Any]], None],
    ) -> None:
        """Do work in a thread, and go on here with what came of it."""
        if self._closed:
            return
        future = threads.submit(work)
        self._jobs.add(future)

        def finished(future: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left who cares
                self.loop.call_soon_threadsafe(self._back, future, done)

        future.add_done_callback(finished)

    def _back(self, future: Future[Any], done: Callable[[Future[Any]], None]) -> None:
        self._jobs.discard(future)
        if not self._closed:
            done(future)

    def removed(self, cell: Cell) -> None:
        """A cell is no more."""
        self._cells.discard(cell)
        self.desk.clear(cell.container_id)

    def close(self) -> None:
        """End everything, and wait for it; what Docker does not do now, the next daemon does."""
        if self._closed:
            return
        for cell in list(self._cells):
            cell.close()
        self._closed = True
        self._starters.shutdown(wait=False, cancel_futures=True)
        late = wait([each for each in self._jobs if not each.cancelled()], _LEAVE).not_done
        self._enders.shutdown(wait=False, cancel_futures=True)
        if self._used and not late:
            quietly(self._remove_all)
            quietly(self.networks.remove)

    def _remove_all(self, *, of_others: bool = False) -> None:
        for docker_id, instance in self.engine.containers(self.site.marker):
            if not (of_others and instance == self.site.instance):
                quietly(partial(self.engine.remove, docker_id))
