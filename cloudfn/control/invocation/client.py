"""The SDK's `Client` over a front in the same process: no daemon, no socket."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from cloudfn import errors
from cloudfn.clock import Clock
from cloudfn.control.invocation.caller import Caller
from cloudfn.control.invocation.front import Front
from cloudfn.control.operations import Fields
from cloudfn.sdk.client import FAILED, RESUMED, Mailbox, Stream, Welcome
from cloudfn.sdk.session import error_of
from cloudfn.sdk.twins import Steps, run
from cloudfn.sdk.waiting import Waker, events_of, reply_of
from cloudfn.wire.messages import BlobRef, Delivered, Kind, Submit, Taken, decode_json
from cloudfn.wire.version import VERSION

_OF_CALLS = frozenset({Kind.OUTCOMES, Kind.ACK, Kind.ITEMS})

Sink = Callable[[dict[str, Any]], None]


class PrivateFolder:
    """The files of a client: payloads on their way, in a folder of this process alone.

    Args:
        folder: It is made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, ref: BlobRef) -> Path:
        """Return where the file of a payload is, or is to be; see `Files`."""
        path = (self._folder / ref.name).resolve()
        if not path.is_relative_to(self._folder):
            raise errors.DataLossError(f"The name of a payload leads elsewhere: {ref.name!r}.")
        return path

    def drop(self, ref: BlobRef) -> None:
        """Delete the file of a payload; see `Files`."""
        self.path(ref).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self._folder, ignore_errors=True)


class CloudClient:
    """A process's way to a cloud; any thread may call any method.

    Args:
        front: Answers.
        name: Who we are, for people who read who changed what.
        folder: For payloads; of this process alone, and removed by `close`.
        map_window: Inputs of a map that may be out.
    """

    def __init__(self, front: Front, name: str, folder: Path, map_window: int) -> None:
        self._pid = os.getpid()
        self._front = front
        self._files = PrivateFolder(folder.resolve())
        self._conversation = front.converse(Caller(self._files, name), self._hear)
        payloads = str(folder.resolve())
        self._welcome = Welcome(
            VERSION, payloads, payloads, str(front.bundles), map_window, places=True
        )
        self._numbers = count(1)
        self._streams: dict[int, Stream] = {}
        self._sinks: dict[int, Sink] = {}
        #: who waits for an answer, so that closing can tell them
        self._asked: dict[int, Mailbox] = {}
        self._closed = False

    # The port

    @property
    def clock(self) -> Clock:
        """See `Client`."""
        return self._front.clock

    def ready(self) -> Steps[Welcome]:
        """See `Client`; nothing has to be connected."""
        yield from ()
        if self._closed:
            raise errors.ClientClosed
        return self._welcome

    def ask(self, op: str, **fields: Any) -> Steps[dict[str, Any]]:
        """See `Client`."""
        yield from self.ready()
        box, number = Mailbox(), next(self._numbers)
        self._asked[number] = box
        try:
            self._conversation.request({"op": op, **fields}, partial(box.put, Kind.REPLY))
            yield self.arrival(box)
            return reply_of(*box.messages.popleft())
        finally:
            self._asked.pop(number, None)

    def open(self, stream: Stream) -> int:
        """See `Client`."""
        ref = next(self._numbers)
        self._streams[ref] = stream
        return ref

    def submit(self, stream: Stream, body: bytes) -> None:
        """See `Client`."""
        stream.opened = True
        self._conversation.submit(Submit.decode(body))

    def attach(self, stream: Stream, ref: int, op: str, **fields: Any) -> None:
        """See `Client`."""
        stream.opened = True
        request = {"op": op, "ref": ref, **fields}
        self._conversation.request(request, partial(stream.box.put, RESUMED))

    def release(self, ref: int, *, tell: bool) -> None:
        """See `Client`."""
        self._streams.pop(ref, None)
        self._sinks.pop(ref, None)
        self._conversation.release(ref, unfinished=tell)

    def delivered(self, ref: int, indices: Sequence[int], *, now: bool = False) -> None:
        """See `Client`; `now` makes no difference, as nothing waits for a message here."""
        del now
        self._conversation.delivered(Delivered(ref, indices))

    def taken(self, ref: int, end: int) -> None:
        """See `Client`."""
        self._conversation.taken(Taken(ref, end))

    def arrival(self, box: Mailbox, timeout: float | None = None) -> Arrival:
        """See `Client`."""
        return Arrival(self.clock, box, timeout)

    def poll(self) -> None:
        """See `Client`; what arrives comes by itself."""

    def listen(self, op: str, fields: dict[str, Any], sink: Sink) -> int:
        """See `Client`."""
        ref = next(self._numbers)
        self._sinks[ref] = sink
        self._conversation.request({"op": op, "ref": ref, **fields}, _ignore)
        return ref

    def keep(self, owned: str) -> None:
        """See `Client`; there is no connection that could break."""

    def unkeep(self, owned: str) -> None:
        """See `Client`."""

    # For the command line

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Return the reply to one request, blocking; raises what was answered."""
        return run(self.ask(op, **fields))

    def subscribe(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Return what follows a `logs` or `events` request, up to the message that says `end`."""
        box, ref = Mailbox(), next(self._numbers)
        self._sinks[ref] = partial(box.put, Kind.EVENT)
        self._asked[ref] = box
        request = {"op": op, "ref": ref, **fields}
        self._conversation.request(request, partial(box.put, Kind.REPLY))
        try:
            yield from events_of(box, self.arrival(box).block)
        finally:
            self._asked.pop(ref, None)
            self.release(ref, tell=True)

    def close(self) -> None:
        """Let go of everything; who waits still gets a `ClientClosed`. Idempotent."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        streams, self._streams = self._streams, {}
        error = errors.ClientClosed("The client was closed while this was under way.")
        boxes = [*self._asked.values(), *(stream.box for stream in streams.values())]
        for box in boxes:
            box.put(FAILED, error)
        self._conversation.close()
        self._front.close()
        self._front.cloud.close()
        self._files.remove()

    # What the front says

    def _hear(self, kind: Kind, body: bytes) -> None:
        if kind in _OF_CALLS:
            stream = self._streams.get(int.from_bytes(body[:4], "little"))
            if stream is not None:
                stream.box.put(kind, body)
            return
        told = decode_json(body)
        ref = told.get("ref", 0)
        if told.get("event") == "rejected":
            stream = self._streams.get(ref)
            if stream is not None:
                stream.box.put(FAILED, error_of(told["error"]))
            return
        sink = self._sinks.get(ref)
        if sink is not None:
            try:
                sink(told)
            except Exception:  # noqa: BLE001 - output that nobody takes must not disturb calls
                self.release(ref, tell=True)


class Arrival:
    """The step that waits for mail, which other threads deliver.

    Args:
        clock: The time.
        box: Where it comes.
        timeout: Seconds to wait; None: for ever.
    """

    __slots__ = ("_box", "_clock", "_timeout")

    def __init__(self, clock: Clock, box: Mailbox, timeout: float | None) -> None:
        self._clock = clock
        self._box = box
        self._timeout = timeout

    def block(self) -> bool:
        """Wait; False after the timeout."""
        box, waker = self._box, Waker()
        deadline = None if self._timeout is None else self._clock.monotonic() + self._timeout
        box.waker = waker.set
        try:
            while not box.messages:
                left = None if deadline is None else deadline - self._clock.monotonic()
                if not waker.wait(left):
                    break
            return bool(box.messages)
        finally:
            box.waker = None

    async def wait(self) -> bool:
        """Do the same, and let the event loop run meanwhile."""
        from asyncio import Event, get_running_loop, timeout

        box, loop, arrived = self._box, get_running_loop(), Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(arrived.set)
            except RuntimeError:
                return  # the loop is closed, and so nobody waits there

        box.waker = wake
        try:
            if not box.messages:
                async with timeout(self._timeout):
                    await arrived.wait()
        except TimeoutError:
            pass
        finally:
            box.waker = None
        return bool(box.messages)


def _ignore(_told: Fields) -> None:
    """Nobody waits for this answer."""
