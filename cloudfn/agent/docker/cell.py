"""One Docker container: how it starts, is reached, and ends. Single-threaded, but for `bring_up`.

In a Docker container there is a cell: zygote, template and container, which talk to the agent as
processes of this machine do, over a socket that the zygote connects to once. The engine itself is
asked in threads.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from asyncio import TimerHandle
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol

from cloudfn.agent.control import ControlChannel
from cloudfn.agent.docker.engine import State, quietly
from cloudfn.agent.docker.order import SOURCE, Bind, DockerOrder
from cloudfn.agent.homes import Payloads
from cloudfn.agent.memory import counts_kills, events_of
from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.zygotes import Program, Template
from cloudfn.errors import (
    ConnectionError,  # noqa: A004 - ours
    Error,
    ExecutionError,
)
from cloudfn.model.call import ContainerLost, Crashed

if TYPE_CHECKING:
    from cloudfn.agent.docker.cells import Cells

_log = logging.getLogger(__name__)

#: seconds between looks at a container that has not connected
_PAUSE = 0.25
#: seconds that a template has to end its container, before Docker does
_KILL_GRACE = 2.0
#: looks, with pauses, until the engine knows of an end
_END_LOOKS = 12
#: struct ucred
_CREDENTIALS = Struct("=iII")


@dataclass(frozen=True, slots=True)
class Furnishing:
    """What one container gets of this machine."""

    #: a listening socket for packets, where the zygote connects, and its name in our eyes
    listener: socket.socket
    path: Path
    #: uid:gid that it runs as
    user: str
    payloads: Payloads
    #: makes ready what it sees of this machine, in a thread; raises Error or OSError
    prepare: Callable[[], tuple[Bind, ...]]


class Desk(Protocol):
    """Who furnishes cells."""

    def furnish(self, spec: PoolSpec, container_id: str) -> Furnishing:
        """Return what a container gets; raises an Error where something is not there."""
        ...

    def clear(self, container_id: str) -> None:
        """A container is removed: nothing of it is needed any more. Idempotent."""
        ...


class Cell:
    """One Docker container, and the home of the one template in it."""

    limits_memory = True
    #: seconds; the engine is asked how it ended
    patience = 6.0
    template: Template

    def __init__(
        self,
        cells: Cells,
        spec: PoolSpec,
        container_id: str,
        gpus: tuple[str, ...],
        furnishing: Furnishing,
    ) -> None:
        self.container_id = container_id
        self.payloads: Payloads = furnishing.payloads
        #: what Docker calls it; empty: it is not created
        self.docker_id = ""
        self._cells = cells
        self._spec = spec
        self._gpus = gpus
        self._furnishing = furnishing
        self._connected = threading.Event()
        self._control: ControlChannel | None = None
        self._zygote_pid = 0
        self._memory: Path | None = None
        self._timer: TimerHandle | None = None
        #: its start is still under way in a thread
        self._rising = True
        self._closed = False
        cells.loop.add_reader(furnishing.listener, self._accept)

    # Starting

    def bring_up(self) -> None:
        """Create and start it, and wait for its zygote; in a thread."""
        engine, order = self._cells.engine, self._order(self._furnishing.prepare())
        self._cells.networks.ensure(order.network, order.image)
        self.docker_id = engine.create(order)
        if self._closed:
            return
        engine.start(self.docker_id)
        while not self._connected.wait(_PAUSE) and not self._closed:
            state = engine.state(self.docker_id)
            if not state.running and not self._connected.is_set():
                raise ExecutionError(_first_end(state, engine.output(self.docker_id)))

    def _order(self, binds: tuple[Bind, ...] = ()) -> DockerOrder:
        spec, site = self._spec, self._cells.site
        return DockerOrder(
            image=spec.program.runtime.image,
            interpreter=spec.program.runtime.interpreter,
            container_id=self.container_id,
            name=spec.shown,
            environment=site.environment,
            marker=site.marker,
            instance=site.instance,
            user=self._furnishing.user,
            resources=spec.function.resources,
            cores=site.machine.cores,
            memory=site.machine.memory,
            binds=binds,
            network="none" if spec.function.block_network else self._cells.networks.name,
            gpus=self._gpus,
        )

    def brought_up(self, future: Future[None]) -> None:
        """Its start is over, one way or the other."""
        self._rising = False
        if self._closed:
            self._remove()
            return
        error = future.exception()
        if error is None:
            self._cells.works(self._spec)
            return
        if isinstance(error, ConnectionError):
            self._cells.trouble(self._spec, f"{error.message} {error.hint or ''}")
            self._end(ContainerLost(error.message, counted=False))
            return
        if not isinstance(error, Error | OSError):
            _log.error("starting %s failed", self.container_id, exc_info=error)
        self._end(Crashed(f"its Docker container cannot be started: {error}"))

    def _accept(self) -> None:
        try:
            sock, _ = self._furnishing.listener.accept()
        except OSError:
            return
        # Nobody else is let in: what runs in the container later finds no such socket.
        self._stop_listening()
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self._zygote_pid = _CREDENTIALS.unpack(credentials)[0]
        self._memory = events_of(self._zygote_pid) if self._zygote_pid > 0 else None
        self._control = ControlChannel(self._cells.loop, sock, self._on_event, self._gone)
        self._connected.set()
        message, fds = self.template.request()
        self._control.send(message, fds)
        self.template.handed_over()

    def _stop_listening(self) -> None:
        listener = self._furnishing.listener
        if listener.fileno() >= 0:
            self._cells.loop.remove_reader(listener)
            listener.close()
            self._furnishing.path.unlink(missing_ok=True)

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "template":
            self.template.born(int(event["pid"]))
        elif event.get("event") == "exited":
            status = int(event["status"])
            self.template.exited(status if status >= 0 else None)

    # Home

    def order(self, program: Program) -> dict[str, Any]:
        """See `Home.order`."""
        cwd = program.workdir or SOURCE
        return {"bundle": SOURCE, "cwd": cwd, "import_paths": [], "inherit": True}

    def pid_of(self, told: int) -> int:  # noqa: ARG002
        """See `Home.pid_of`: that of its zygote, with which all of it ends."""
        return self._zygote_pid or -1

    def signal(self, template: Template, container_id: str, pid: int, number: int) -> None:  # noqa: ARG002
        """See `Home.signal`."""
        template.order({"op": "signal", "container": container_id, "signal": number})

    def kill(self, template: Template, container_id: str, pid: int) -> None:
        """See `Home.kill`: user code may have stopped the template, but not Docker."""
        self.signal(template, container_id, pid, signal.SIGKILL)
        if self._timer is None and not self._closed:
            self._timer = self._cells.loop.call_later(_KILL_GRACE, self.kill_template, 0)

    def kill_template(self, pid: int) -> None:  # noqa: ARG002
        """See `Home.kill_template`; what follows is as if somebody else had done it."""
        if self.docker_id and not self._closed:
            work = partial(quietly, partial(self._cells.engine.remove, self.docker_id))
            self._cells.ending(work, lambda _: None)

    def over_memory(self) -> str | None:
        """See `Home.over_memory`."""
        if self._memory is None or not counts_kills(self._memory):
            return None
        return f"{self._order().memory_limit} MiB"

    def close(self) -> None:
        """See `Home.close`: with its control socket, its zygote and so the container ends."""
        if self._closed:
            return
        self._closed = True
        self._stop_listening()
        if self._timer is not None:
            self._timer.cancel()
        if self._control is not None:
            self._control.close()
        else:
            self.template.handed_over()
        self._connected.set()
        if not self._rising:
            self._remove()

    # Ending

    def _gone(self) -> None:
        """Its zygote can say nothing any more: ask Docker what happened."""
        self._cells.ending(self._look_back, self._looked_back)

    def _look_back(self) -> State:
        state = self._cells.engine.state(self.docker_id)
        for _ in range(_END_LOOKS):
            if not state.running:
                break
            threading.Event().wait(_PAUSE)
            state = self._cells.engine.state(self.docker_id)
        return state

    def _looked_back(self, future: Future[State]) -> None:
        error = future.exception()
        if isinstance(error, ConnectionError):
            self._end(ContainerLost("its Docker container ended, and Docker does not answer"))
        elif error is not None:
            self._end(ContainerLost("its Docker container was removed from outside"))
        elif future.result().over_memory:
            limit = self._order().memory_limit
            self._end(Crashed(f"it exceeded its memory limit of {limit} MiB"))
        else:
            self._end(ContainerLost("its Docker container was ended from outside"))

    def _end(self, ending: Crashed | ContainerLost) -> None:
        self.template.ending = ending
        self.template.exited(None)
        self.close()

    def _remove(self) -> None:
        def work() -> None:
            if self.docker_id:
                quietly(partial(self._cells.engine.remove, self.docker_id))

        self._cells.ending(work, lambda _: self._cells.removed(self))


def _first_end(state: State, output: str) -> str:
    """Return why a container ended before it said anything."""
    if state.error:
        return state.error
    last = output.splitlines()[-1] if output else "it printed nothing"
    return (
        f"its first process ended with code {state.exit_code} ({last}); "
        "it needs Python 3.11 or newer"
    )
