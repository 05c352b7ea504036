"""The requests in a container's hands: its applications, and a task for each visit."""

from __future__ import annotations

import socket
from asyncio import AbstractEventLoop, Task, get_running_loop
from collections.abc import Callable, Sequence
from contextlib import suppress

from cloudfn.clock import Clock
from cloudfn.errors import NotFoundError
from cloudfn.wire.messages import ContainerKind, Visit
from cloudfn.wire.web import Event
from cloudfn.worker.capture import Standard
from cloudfn.worker.orders import FunctionOrder
from cloudfn.worker.service import Service
from cloudfn.worker.web.apps import application
from cloudfn.worker.web.asgi import Application, Complain, Lifespan, answer


class Visitors:
    """Answers requests as tasks of the container's event loop.

    Args:
        order: The function, with what its web decorators said.
        service: Where the applications come from.
        clock: Tells when patience is over.
        standard: The standard streams.
        complain: Is told what applications raise.
        ended: Called when a visit has ended.
    """

    def __init__(
        self,
        order: FunctionOrder,
        service: Service,
        clock: Clock,
        standard: Standard,
        complain: Complain,
        ended: Callable[[], None],
    ) -> None:
        self._order = order
        self._service = service
        self._clock = clock
        self._standard = standard
        self._complain = complain
        self._ended = ended
        self._apps: dict[str, tuple[Application, Lifespan]] = {}
        self._visits: dict[int, Task[None]] = {}
        self._loop: AbstractEventLoop | None = None

    @property
    def are_here(self) -> bool:
        """Whether any request is being answered."""
        return bool(self._visits)

    async def start_up(self) -> None:
        """Make the applications, and start them up; raises whatever user code raises."""
        self._loop = get_running_loop()
        for web in self._order.web:
            handler = self._service.handler(web.of)
            app = await application(web, handler, self._order.slots, self._clock)
            lifespan = Lifespan(app)
            await lifespan.start()
            self._apps[web.of] = app, lifespan

    async def shut_down(self) -> None:
        """Shut the applications down; what goes wrong is told."""
        for _, lifespan in self._apps.values():
            try:
                await lifespan.stop()
            except BaseException as error:
                self._complain(error)

    def take(self, packet: bytes, descriptors: Sequence[int]) -> bool:
        """Take a packet that is about a visit; return whether it was one."""
        if packet[:1] == bytes((ContainerKind.VISIT,)) and descriptors:
            self._admit(Visit.decode(packet).number, socket.socket(fileno=descriptors[0]))
        elif packet[:1] == bytes((ContainerKind.END_VISIT,)):
            if (task := self._visits.get(Visit.decode(packet).number)) is not None:
                task.cancel()
        else:
            return False
        return True

    def cut_off(self) -> None:
        """End all visits: the container has to leave."""
        for task in self._visits.values():
            task.cancel()

    def _choose(self, method: str) -> tuple[Application, Event]:
        found = self._apps.get(method)
        if found is None:
            raise NotFoundError(f"There is no web method {method!r}.")
        return found[0], found[1].state

    def _admit(self, number: int, sock: socket.socket) -> None:
        assert self._loop is not None, "`start_up` noted it"
        sock.setblocking(False)  # noqa: FBT003
        task = self._loop.create_task(answer(sock, self._choose, self._complain))
        self._visits[number] = task
        task.add_done_callback(lambda done: self._end(number, done))

    def _end(self, number: int, task: Task[None]) -> None:
        del self._visits[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._complain(error)
        with suppress(ValueError):
            self._standard.flush()
        self._ended()
