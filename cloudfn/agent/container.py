"""One container as the agent holds it: its channels, and the inputs in its hands."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from asyncio import AbstractEventLoop
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol

from cloudfn.agent.hands import Hands, Line, Slots
from cloudfn.agent.zygotes import Template
from cloudfn.errors import DataLossError
from cloudfn.model.call import ContainerLost, Crashed
from cloudfn.providers.ledger import Claim
from cloudfn.wire.messages import (
    ContainerItem,
    ContainerKind,
    ContainerOutcome,
    ContainerTaken,
    Log,
    LogSource,
    RunBatch,
    Visit,
    claims_in,
    decode_json,
    encode_run,
    is_blob,
)

if TYPE_CHECKING:
    from cloudfn.agent.pool import PoolSpec

_log = logging.getLogger(__name__)

_HEAD = Struct("<IB")
_CANCEL = Struct("<QI")
_SLOTS = Struct("<I")
_OUTCOME = int(ContainerKind.OUTCOME)
#: bytes read at a time; larger buffers come from the kernel page by page, for each read anew
_READ_SIZE = 64 << 10
#: nothing that a container says is longer; what user code may have put there is not kept
_LARGEST_FRAME = 64 << 20
#: a packet of the largest inline payload and its header
_PACKET_SIZE = 80 << 10


class ContainerOwner(Protocol):
    """Who is told what a container says."""

    def on_ready(self, container: Container) -> None:
        """It takes inputs from now on."""
        ...

    def on_outcomes(self, container: Container, outcomes: list[ContainerOutcome]) -> None:
        """Attempts ended, in this order."""
        ...

    def on_drain(self, container: Container) -> None:
        """It wants no further inputs."""
        ...

    def on_room(self, container: Container) -> None:
        """It takes more inputs at once than before, or its socket does."""
        ...

    def on_leaving(self, container: Container, interrupted_by: str) -> None:
        """It was interrupted: it takes no more inputs, and those that it holds have no outcome."""
        ...

    def on_item(self, container: Container, item: ContainerItem) -> None:
        """A generator yielded."""
        ...

    def on_broken(self, container: Container, error: dict[str, Any]) -> None:
        """It failed to start."""
        ...

    def on_output(self, container: Container, seq: int, source: LogSource, data: bytes) -> None:
        """It printed something while input `seq` ran (0: none)."""
        ...

    def on_channel_closed(self, container: Container) -> None:
        """It can say nothing any more: it has ended, or user code closed its descriptors."""
        ...


class Container:
    """One worker process.

    The agent keeps both ends of the packet socket: `take_back` reads what the container has not,
    so that the kernel decides who gets a packet, even while user code holds the GIL.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        spec: PoolSpec,
        container_id: str,
        template: Template,
        now: float,
        gpus: tuple[str, ...] = (),
    ) -> None:
        self.container_id = container_id
        #: ids of the devices that it has, or has a part of, until it is gone
        self.gpus = gpus
        function = spec.function
        self.spec = spec
        self.pool = spec.pool
        self.template = template
        #: what it sees of payloads in files; None: everything
        self.payloads = template.home.payloads
        #: 0 until it runs; -1 where its number is not known here
        self.pid = 0
        self.started = now
        self.ready = False
        #: it said that it is ready before its template said that it started
        self.early = False
        self.draining = False
        #: it is over: nothing that it says counts any more
        self.gone = False
        #: why we ended it, for the input that ran in it; None: it ended by itself
        self.doom: Crashed | ContainerLost | None = None
        #: the most inputs that it runs at once
        self.slots = function.slots
        #: claims in its hands
        self.held: Hands = Line() if self.slots == 1 else Slots(function.batch_size)
        #: requests that it answers, by number
        self.visits: dict[int, Any] = {}
        #: when anything last happened; monotonic seconds
        self.last_used = now
        self.inputs_done = 0
        #: it has an `alone` input and takes no other
        self.exclusive = False
        #: nested calls that its inputs wait for, by number of the input
        self.waiting_calls: dict[int, int] = {}
        #: seconds that its turns on a processor should last
        self.slice = 0.0
        self._launched = False
        #: the socket took no further packet
        self._full = False
        self._batch_size = function.batch_size
        self._loop = loop
        #: the begin of a frame whose end is still to come
        self._cut_off = b""
        near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._near = near
        self._stream, self._stream_theirs = socket.socketpair()
        self._stdout, self._stdout_theirs = os.pipe()
        self._stderr, self._stderr_theirs = os.pipe()
        self._cancel_theirs, self._cancel = os.pipe()
        near.setblocking(False)  # noqa: FBT003
        self._far_reader = self._far.dup()
        self._stream.setblocking(False)  # noqa: FBT003
        for fd in (self._stdout, self._stderr, self._cancel):
            os.set_blocking(fd, False)
        self._owner: ContainerOwner | None = None

    @property
    def busy(self) -> bool:
        """Whether it holds inputs, or answers requests."""
        return len(self.held) > 0 or bool(self.visits)

    @property
    def taken(self) -> int:
        """How many of its slots are taken."""
        return self.held.taken() + len(self.visits)

    @property
    def waits(self) -> bool:
        """Whether all that it runs waits for nested calls."""
        return not self.visits and self.held.all_among(self.waiting_calls)

    def count_waiting(self, seq: int, change: int) -> None:
        """An input began (+1) or ended (−1) to wait for a nested call."""
        waiting = self.waiting_calls.pop(seq, 0) + change
        if waiting > 0:
            self.waiting_calls[seq] = waiting

    def launch(self, owner: ContainerOwner, message: dict[str, Any]) -> None:
        """Have the template start the process, and listen to it."""
        self._owner = owner
        self._launched = True
        theirs = self._theirs()
        self.template.order({"op": "container", "container": self.container_id, **message}, theirs)
        self._close_theirs()
        self._loop.add_reader(self._stream, self._read_stream)
        self._loop.add_reader(self._stdout, self._read_pipe, self._stdout, LogSource.STDOUT)
        self._loop.add_reader(self._stderr, self._read_pipe, self._stderr, LogSource.STDERR)

    def _theirs(self) -> list[int]:
        return [
            self._far.fileno(),
            self._stream_theirs.fileno(),
            self._stdout_theirs,
            self._stderr_theirs,
            self._cancel_theirs,
        ]

    def _close_theirs(self) -> None:
        self._far.close()
        self._stream_theirs.close()
        for fd in (self._stdout_theirs, self._stderr_theirs, self._cancel_theirs):
            os.close(fd)

    def give(self, claims: list[Claim], now: float) -> list[Claim]:
        """Hand inputs over; return those that do not fit into the socket now."""
        send = self._near.send
        position = 0
        for claim in claims:
            self._show(claim)
            try:
                send(encode_run(claim.seq, claim.fence, claim.payload, claim.durable))
            except (BlockingIOError, BrokenPipeError, ConnectionResetError) as error:
                self._full = isinstance(error, BlockingIOError)
                break
            position += 1
            if not is_blob(claim.payload):
                # The container has the bytes; keeping them would let memory grow with payloads.
                claim.payload = b""
        if position == len(claims):
            self.held.take(claims, now)
            return []
        self.held.take(claims[:position], now)
        return claims[position:]

    def give_batch(self, claims: list[Claim], now: float) -> list[Claim]:
        """Hand inputs over for one call of user code, all or none; return them if none."""
        batch = RunBatch(
            [claim.seq for claim in claims],
            [claim.fence for claim in claims],
            [claim.durable for claim in claims],
            [len(claim.payload) for claim in claims],
        )
        for claim in claims:
            self._show(claim)
        payloads = os.memfd_create("batch")
        try:
            with open(payloads, "wb", closefd=False) as file:
                file.writelines(claim.payload for claim in claims)
            socket.send_fds(self._near, [batch.encode()], [payloads])
        except (BlockingIOError, BrokenPipeError, ConnectionResetError) as error:
            self._full = isinstance(error, BlockingIOError)
            return claims
        finally:
            os.close(payloads)
        for claim in claims:
            if not is_blob(claim.payload):
                claim.payload = b""
        self.held.take(claims, now)
        return []

    def _show(self, claim: Claim) -> None:
        if self.payloads is not None and is_blob(claim.payload):
            self.payloads.show(claim.payload)

    def forget(self, claim: Claim) -> None:
        """It does not run an input any more."""
        if self.payloads is not None and is_blob(claim.payload):
            self.payloads.hide(claim.payload)

    def may_name(self, payload: bytes) -> bool:
        """Whether it may say that a payload is what one of its inputs came to."""
        return self.payloads is None or not is_blob(payload) or self.payloads.owns(payload)

    def tell_room(self) -> None:
        """Have the owner told when its socket, if it is full, takes packets again."""
        if self._full and not self.gone:
            self._loop.add_writer(self._near, self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._near)
        if self._owner is not None:
            self._owner.on_room(self)

    def give_visit(self, number: int, far: socket.socket) -> bool:
        """Hand a request over: a socket for its events; return whether there was room for it."""
        try:
            socket.send_fds(self._near, [Visit(number).encode()], [far.fileno()])
        except OSError:
            return False
        return True

    def end_visit(self, number: int) -> None:
        """Have user code see that a request is over its time."""
        with contextlib.suppress(OSError):
            self._near.send(Visit(number, ends=True).encode())

    def take_back(self) -> list[Claim]:
        """Remove and return the held inputs that the container has not read; they never started."""
        if not self.held or self.visits:  # the socket of a request would be lost
            return []
        unread: set[int] = set()
        while True:
            try:
                packet = self._far_reader.recv(_PACKET_SIZE, socket.MSG_DONTWAIT)
            except OSError:
                break
            if not packet:
                break
            unread.update(claims_in(packet))
        dropped = self.held.drop(unread)
        for claim in dropped:
            self.forget(claim)
        return dropped

    def cancel_running(self, seq: int, fence: int) -> None:
        """Raise InputCancellation in user code if that input still runs."""
        with contextlib.suppress(OSError):
            os.write(self._cancel, _CANCEL.pack(seq, fence))
        self.signal(signal.SIGUSR1)

    def tell_taken(self, claim: Claim, end: int) -> None:
        """Tell a generator that items 0 … end − 1 are wanted no more."""
        # There is always room: no more messages are unread than there are items in a window.
        with contextlib.suppress(OSError):
            self._stream.send(ContainerTaken(claim.seq, claim.fence, end).encode())

    def finish_intake(self) -> None:
        """Tell the container that no input follows: it leaves when it is done."""
        self.draining = True
        with contextlib.suppress(OSError):
            self._near.shutdown(socket.SHUT_WR)

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it lives."""
        if self.pid and not self.gone:
            self.template.home.signal(self.template, self.container_id, self.pid, number)

    def kill(self) -> None:
        """End the process and its process group at once."""
        if self.pid and not self.gone:
            self.template.home.kill(self.template, self.container_id, self.pid)

    def drain_output(self) -> None:
        """Read what the container said before it ended, as much as the kernel still holds."""
        while self._read_stream():
            pass
        for fd, source in ((self._stdout, LogSource.STDOUT), (self._stderr, LogSource.STDERR)):
            self._read_pipe(fd, source)

    def close(self) -> None:
        """Close every channel. Idempotent."""
        if self.gone:
            return
        self.gone = True
        if not self._launched:
            self._close_theirs()
        if self._stream.fileno() >= 0:
            self._loop.remove_reader(self._stream)
        self._loop.remove_writer(self._near)
        for sock in (self._near, self._far_reader, self._stream):
            sock.close()
        for fd in (self._stdout, self._stderr):
            if fd >= 0:
                self._loop.remove_reader(fd)
                os.close(fd)
        if self._cancel >= 0:
            os.close(self._cancel)
        self._stdout = self._stderr = self._cancel = -1

    def _read_stream(self) -> bool:
        """Read once; return whether there may be more.

        User code may have written nonsense there: then nothing that follows makes sense either.
        """
        try:
            return self._take_frames()
        except (DataLossError, ValueError) as error:
            _log.warning("%s says nonsense: %s", self.container_id, error)
            assert self._owner is not None
            self._end_stream(self._owner)
            return False

    def _take_frames(self) -> bool:
        owner = self._owner
        assert owner is not None
        try:
            data = self._stream.recv(_READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data or len(self._cut_off) > _LARGEST_FRAME:
            self._end_stream(owner)
            return False
        if self._cut_off:
            data = self._cut_off + data
        outcomes: list[ContainerOutcome] = []
        position, size = 0, len(data)
        while size - position >= _HEAD.size:
            length, kind = _HEAD.unpack_from(data, position)
            end = position + 4 + length
            if end > size:
                break
            start, position = position + _HEAD.size, end
            if kind == _OUTCOME:
                outcomes.append(ContainerOutcome.decode(data, start, end))
                continue
            if outcomes:
                owner.on_outcomes(self, outcomes)
                outcomes = []
            self._other(owner, kind, data[start:end])
        self._cut_off = data[position:]
        if outcomes:
            owner.on_outcomes(self, outcomes)
        return True

    def _end_stream(self, owner: ContainerOwner) -> None:
        if self._stream.fileno() < 0:
            return
        self._loop.remove_reader(self._stream)
        self._stream.close()
        if not self.gone:
            owner.on_channel_closed(self)

    def _other(self, owner: ContainerOwner, kind: int, body: bytes) -> None:
        if kind == ContainerKind.LOG:
            log = Log.decode(body)
            owner.on_output(self, log.seq, LogSource(log.source), log.data)
        elif kind == ContainerKind.ITEM:
            owner.on_item(self, ContainerItem.decode(body))
        elif kind == ContainerKind.READY:
            owner.on_ready(self)
        elif kind == ContainerKind.LEAVING:
            owner.on_leaving(self, body.decode())
        elif kind == ContainerKind.BROKEN:
            owner.on_broken(self, decode_json(body))
        elif kind == ContainerKind.DRAIN:
            owner.on_drain(self)
        elif kind == ContainerKind.SLOTS:
            self.slots = _SLOTS.unpack(body)[0] * self._batch_size
            owner.on_room(self)

    def _read_pipe(self, fd: int, source: LogSource) -> None:
        if fd < 0:
            return
        try:
            data = os.read(fd, 65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and self._owner is not None:
            self._owner.on_output(self, self.held.sole(), source, data)
        elif not data:
            self._loop.remove_reader(fd)
