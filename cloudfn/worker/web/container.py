"""A container whose function answers requests: tasks of one event loop, on the main thread."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from asyncio import AbstractEventLoop, Task
from collections import deque
from contextlib import suppress
from types import FrameType
from typing import Any

from cloudfn.errors import NotFoundError
from cloudfn.wire.current import current
from cloudfn.wire.messages import CHANNEL_LOST, INLINE_LIMIT, ContainerKind, Run, Visit
from cloudfn.wire.web import Event
from cloudfn.worker.container import Container
from cloudfn.worker.orders import FunctionOrder
from cloudfn.worker.web.apps import application
from cloudfn.worker.web.asgi import Application, Lifespan, answer

_PACKET = INLINE_LIMIT + 1024


class WebContainer(Container):
    """Answers requests, and runs inputs of plain methods between them.

    Args:
        order: The function, with what its web decorators said.
        *args: See `Container`.
    """

    def __init__(self, order: FunctionOrder, *args: Any) -> None:
        super().__init__(*args)
        self._order = order
        self._apps: dict[str, tuple[Application, Lifespan]] = {}
        self._visits: dict[int, Task[None]] = {}
        self._inputs: deque[bytes] = deque()
        self._no_more = False
        self._news = asyncio.Event()

    def enter(self) -> None:
        """Make the applications, and start them up."""
        super().enter()
        self._awaited(self._start_up())

    def serve(self) -> None:
        """Answer requests until the agent has no more, or wants this container to leave."""
        loop = self._event_loop()
        os.set_blocking(self._packets.fileno(), False)
        loop.add_reader(self._packets.fileno(), self._read)
        while (packet := self._awaited(self._next_input())) is not None:
            self._run_packet(packet)
        loop.remove_reader(self._packets.fileno())

    def leave(self) -> None:
        """Shut the applications down; then leave as others do."""
        for _, lifespan in self._apps.values():
            try:
                self._awaited(lifespan.stop())
            except BaseException as error:
                self._complain(error)
        super().leave()

    async def _start_up(self) -> None:
        for web in self._order.web:
            handler = self._service.handler(web.of)
            app = await application(web, handler, self._order.slots, self._clock)
            lifespan = Lifespan(app)
            await lifespan.start()
            self._apps[web.of] = app, lifespan

    def _run_packet(self, packet: bytes) -> None:
        """Run one input of a plain method; requests wait meanwhile, unless it awaits something."""
        run = Run.decode(packet)
        self._blobs.durable = run.durable
        try:
            self._run(run.seq, run.fence, memoryview(run.payload))
        except BaseException as error:
            self._complain(error)
        current.seq = self._stream.seq = 0

    def _choose(self, method: str) -> tuple[Application, Event]:
        found = self._apps.get(method)
        if found is None:
            raise NotFoundError(f"There is no web method {method!r}.")
        return found[0], found[1].state

    async def _next_input(self) -> bytes | None:
        """Return the next input of a plain method; None when nothing more will come."""
        while not self._inputs:
            if self._leaves or (self._no_more and not self._visits):
                return None
            self._news.clear()
            await self._news.wait()
        return self._inputs.popleft()

    def _read(self) -> None:
        """Read one packet."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._packets, _PACKET, 1)
        except BlockingIOError:
            return
        except OSError:
            os._exit(CHANNEL_LOST)
        if not packet:
            self._no_more = True
            self._event_loop().remove_reader(self._packets.fileno())
        elif packet[0] == ContainerKind.VISIT and descriptors:
            self._admit(Visit.decode(packet).number, socket.socket(fileno=descriptors[0]))
        elif packet[0] == ContainerKind.END_VISIT:
            if (task := self._visits.get(Visit.decode(packet).number)) is not None:
                task.cancel()
        else:
            self._inputs.append(packet)
        self._news.set()

    def _admit(self, number: int, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003
        task = self._event_loop().create_task(answer(sock, self._choose, self._complain))
        self._visits[number] = task
        task.add_done_callback(lambda done: self._visit_ended(number, done))

    def _visit_ended(self, number: int, task: Task[None]) -> None:
        del self._visits[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._complain(error)
        with suppress(ValueError):
            self._standard.flush()
        self._news.set()

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """Leave: whoever is still here is cut off."""
        super()._on_interrupt(number, frame)
        loop = self._loop
        if number == signal.SIGINT and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._cut_off)

    def _cut_off(self) -> None:
        for task in self._visits.values():
            task.cancel()
        self._news.set()

    def _event_loop(self) -> AbstractEventLoop:
        assert self._loop is not None, "`enter` made it"
        return self._loop
