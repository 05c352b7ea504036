"""Containers whose function answers requests: tasks of one event loop, on the main thread."""

from __future__ import annotations

import asyncio
import os
import socket
from types import FrameType
from typing import Any

from cloudfn.wire.current import current
from cloudfn.wire.messages import CHANNEL_LOST, INLINE_LIMIT, Run
from cloudfn.worker.concurrent import ConcurrentContainer
from cloudfn.worker.container import Container
from cloudfn.worker.inputs import Inputs, decoded
from cloudfn.worker.orders import FunctionOrder
from cloudfn.worker.web.visitors import Visitors

_PACKET = INLINE_LIMIT + 1024


class WebContainer(Container):
    """Answers one request at a time, or runs one input of a plain method.

    Args:
        order: The function, with what its web decorators said.
        *args: See `Container`.
        **kwargs: See `Container`.
    """

    def __init__(self, order: FunctionOrder, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._news = asyncio.Event()
        self._visitors = Visitors(
            order, self._service, self._clock, self._standard, self._complain, self._news.set
        )
        self._input: bytes | None = None
        self._no_more = False

    def enter(self) -> None:
        """Make the applications, and start them up."""
        super().enter()
        self._awaited(self._visitors.start_up())

    def serve(self) -> None:
        """Answer requests until the agent has no more, or wants this container to leave."""
        os.set_blocking(self._packets.fileno(), False)
        while (packet := self._awaited(self._next_input())) is not None:
            self._run_packet(packet)

    def leave(self) -> None:
        """Shut the applications down; then leave as others do."""
        self._awaited(self._visitors.shut_down())
        super().leave()

    def _run_packet(self, packet: bytes) -> None:
        """Run one input of a plain method; requests wait meanwhile, unless it awaits something."""
        run = Run.decode(packet)
        self._blobs.durable = run.durable
        try:
            self._run(run.seq, run.fence, memoryview(run.payload))
        except BaseException as error:
            self._complain(error)
        current.seq = self._stream.seq = 0

    async def _next_input(self) -> bytes | None:
        """Return the next input of a plain method; None when nothing more will come.

        Packets are read only meanwhile: what is not begun can be taken back.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self._packets.fileno(), self._read, loop)
        self._input = None
        while self._input is None:
            if self._leaves or (self._no_more and not self._visitors.are_here):
                break
            self._news.clear()
            await self._news.wait()
        loop.remove_reader(self._packets.fileno())
        return self._input

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read one packet."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._packets, _PACKET, 1)
        except BlockingIOError:
            return
        except OSError:
            os._exit(CHANNEL_LOST)
        if not packet:
            self._no_more = True
        elif not self._visitors.take(packet, descriptors):
            self._input = packet
        if not packet or self._input is not None:
            loop.remove_reader(self._packets.fileno())
        self._news.set()

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """Leave: whoever is still here is cut off."""
        super()._on_interrupt(number, frame)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cut_off)

    def _cut_off(self) -> None:
        self._visitors.cut_off()
        self._news.set()


class ConcurrentWebContainer(ConcurrentContainer):
    """Answers several requests at once, beside inputs of plain methods.

    Args:
        order: The function, with what its web decorators said.
        *args: See `Container`.
        **kwargs: See `Container`.
    """

    def __init__(self, order: FunctionOrder, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._visitors = Visitors(
            order, self._service, self._clock, self._standard, self._complain, self._end_if_done
        )

    def enter(self) -> None:
        """Make the applications, and start them up."""
        super().enter()
        self._awaited(self._visitors.start_up())

    def leave(self) -> None:
        """Shut the applications down; then leave as others do."""
        self._awaited(self._visitors.shut_down())
        super().leave()

    def _received(self) -> Inputs | None:
        packet, descriptors, _, _ = socket.recv_fds(self._packets, _PACKET, 1)
        if self._visitors.take(packet, descriptors):
            raise BlockingIOError
        return decoded(packet, descriptors)

    def _end_if_done(self) -> None:
        if not self._visitors.are_here:
            super()._end_if_done()

    def _depart(self, interrupted_by: str) -> None:
        self._visitors.cut_off()
        super()._depart(interrupted_by)
