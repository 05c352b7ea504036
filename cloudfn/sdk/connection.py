"""The daemon as a `Client`: one socket per process, read by whoever waits.

There is no thread that reads. A caller who waits takes the reader's role if it is free, receives,
hands out what is for others, and passes the role on when its own mail has come; so a warm call
costs one send and one receive. `Pump` stands in for callers that must not block.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from cloudfn import errors
from cloudfn.clock import Clock, SystemClock
from cloudfn.sdk.client import FAILED, RESUMED, Mailbox, Stream, Welcome
from cloudfn.sdk.pump import Pump
from cloudfn.sdk.session import Session, error_of
from cloudfn.sdk.starter import Starter
from cloudfn.sdk.twins import Blocking, Steps, run
from cloudfn.sdk.waiting import Listener, Request, Waker, events_of, reply_of
from cloudfn.settings import Settings
from cloudfn.wire.messages import Delivered, Kind, Taken, decode_json, encode_json

#: outcomes whose receipt may wait for the next message
_MOST_UNTOLD = 512
#: how long one who only listens leaves the socket to those who call
_LISTENING_PAUSE = 0.05
#: sessions in turn that end before anything arrives, after which we give up
_MOST_FRUITLESS = 5
#: kinds of frames that begin with the number of a call
_OF_CALLS = frozenset({Kind.OUTCOMES, Kind.ACK, Kind.ITEMS})
_SUBSCRIPTIONS = frozenset({"logs", "events"})


def connect(settings: Settings, *, start: bool = True) -> Connection:
    """Return a connection of its own to the daemon of an environment.

    Args:
        settings: Which environment.
        start: Start the daemon where none runs.

    Raises:
        ConnectionError: There is none and it may not be started, or it does not start.
    """
    connection = Connection(settings, start=start)
    connection.connect()
    return connection


def prestart(settings: Settings) -> None:
    """Begin to start the daemon where none runs, and do not wait for it."""
    Starter.shared(settings).prestart()


class Connection:
    """A process's way to the daemon of one environment; any thread may call any method."""

    def __init__(
        self,
        settings: Settings,
        *,
        start: bool = True,
        starter: Starter | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self._pid = os.getpid()
        self._clock = clock or SystemClock()
        own = None if start else Starter(settings, start=False, clock=self._clock)
        self._starter = starter or own or Starter.shared(settings)
        self._session: Session | None = None
        self._send_lock = allocate_lock()
        # Who reads is an entry in a dict: taking and leaving the role are single, atomic steps.
        self._role: dict[str, object] = {}
        self._followers: dict[Waker, None] = {}
        self._numbers = count(1)
        self._requests: dict[int, Request] = {}
        self._streams: dict[int, Stream] = {}
        self._listeners: dict[int, Listener] = {}
        self._owned: dict[str, None] = {}
        self._untold: deque[tuple[int, Sequence[int]]] = deque()
        self._untold_count = 0
        #: sessions in turn in which nothing was ever received
        self._fruitless = 0
        self._closed = False
        self._pump = Pump(self)

    # ------------------------------------------------------------------------------- the port

    @property
    def clock(self) -> Clock:
        """The clock that timeouts of waiting go by; see `Client`."""
        return self._clock

    def ready(self) -> Steps[Welcome]:
        """Connect, if need be; see `Client`."""
        session = self._session
        if session is None or session.over:
            yield Blocking(self.connect)
            session = self._session
        assert session is not None
        return session.welcome

    def ask(self, op: str, **fields: Any) -> Steps[dict[str, Any]]:
        """Return the reply to one request; see `Client`."""
        yield from self.ready()
        box = Mailbox()
        number = self._request(op, fields, box, Kind.REPLY)
        try:
            yield Arrival(self, box, None)
            return reply_of(*box.messages.popleft())
        finally:
            self._requests.pop(number, None)

    def open(self, stream: Stream) -> int:
        """Take a stream in; see `Client`."""
        ref = next(self._numbers)
        self._streams[ref] = stream
        return ref

    def submit(self, stream: Stream, body: bytes) -> None:
        """Send inputs of a stream; see `Client`."""
        with self._send_lock:
            # From here on a reconnect asks what arrived, and what did not is sent again.
            stream.opened = True
            self._send([(Kind.SUBMIT, body)])

    def attach(self, stream: Stream, ref: int, op: str, **fields: Any) -> None:
        """Send a request whose reply goes to the stream's mailbox; see `Client`."""
        stream.opened = True
        self._request(op, {"ref": ref, **fields}, stream.box, RESUMED)

    def release(self, ref: int, *, tell: bool) -> None:
        """Forget a stream; see `Client`."""
        if self._streams.pop(ref, None) is None:
            listener = self._listeners.pop(ref, None)
            if listener is None:
                return
            if listener.pumped:
                self._pump.listen(-1)
        session = self._session
        if tell and session is not None and not session.over:
            self._tell("call_release", ref=ref)

    def delivered(self, ref: int, indices: Sequence[int], *, now: bool = False) -> None:
        """The outcomes are here; see `Client`."""
        self._untold.append((ref, indices))
        self._untold_count += len(indices)
        if now or self._untold_count >= _MOST_UNTOLD:
            with self._send_lock:
                self._send([])

    def taken(self, ref: int, end: int) -> None:
        """Items of a generator are read; see `Client`."""
        with self._send_lock:
            self._send([(Kind.TAKEN, Taken(ref, end).encode())])

    def arrival(self, box: Mailbox, timeout: float | None = None) -> Arrival:
        """Return the step that waits for mail; see `Client`."""
        return Arrival(self, box, timeout)

    def poll(self) -> None:
        """Take in what has arrived, without waiting; see `Client`."""
        session = self._session
        if session is None or session.over or self._role:
            return
        me = object()
        try:
            is_free = self._role.setdefault("reader", me) is me
            if is_free and session.check_receiving() and session.wait_readable(0):
                self._receive(session)
        finally:
            self._leave_role(me)

    def listen(
        self, op: str, fields: dict[str, Any], sink: Callable[[dict[str, Any]], None]
    ) -> int:
        """Have `sink` called with what follows a request; see `Client`."""
        ref = next(self._numbers)
        self._listeners[ref] = Listener({"op": op, **fields}, sink, pumped=True)
        self._tell(op, ref=ref, **fields)
        self._pump.listen(1)
        return ref

    def keep(self, owned: str) -> None:
        """Say after a reconnect that the client of this app or object is back; see `Client`."""
        self._owned[owned] = None

    def unkeep(self, owned: str) -> None:
        """The app or object is closed; see `Client`."""
        self._owned.pop(owned, None)

    # --------------------------------------------------------------- for the command line

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Return the reply to one request, blocking; raises what the daemon answered."""
        return run(self.ask(op, **fields))

    def subscribe(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Return what follows a `logs` or `events` request, up to the message that says `end`."""
        assert op in _SUBSCRIPTIONS
        run(self.ready())
        box = Mailbox()
        ref = next(self._numbers)
        self._listeners[ref] = Listener(
            {"op": op, **fields}, lambda told: box.put(Kind.EVENT, told), pumped=False
        )
        # The reply, an error perhaps, lands in the same mailbox.
        number = self._request(op, {"ref": ref, **fields}, box, Kind.REPLY)
        try:
            yield from events_of(box, lambda: self._wait_aside(box))
        finally:
            self._requests.pop(number, None)
            self.release(ref, tell=True)

    def close(self) -> None:
        """Hang up; who waits still gets a `ClientClosed`."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        session = self._session
        with self._send_lock:
            self._send([])
        self._fail_all(errors.ClientClosed("The client was closed while this was under way."))
        self._pump.stop()
        if session is not None:
            session.give_up()
            self._hang_up(session)

    # -------------------------------------------------------------------------------- waiting

    def connect(self) -> None:
        """Connect, if need be; blocks."""
        self.wait_until(lambda: self._session is not None and not self._session.over, None)

    def wait_for(self, box: Mailbox, timeout: float | None) -> bool:
        """Block until there is mail; False after `timeout` seconds."""
        if box.messages:
            return True
        messages = box.messages
        return self.wait_until(lambda: bool(messages), timeout, box)

    def wait_until(
        self, arrived: Callable[[], bool], timeout: float | None, box: Mailbox | None = None
    ) -> bool:
        """Block until `arrived()`, reading or following; False after `timeout` seconds."""
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        waker: Waker | None = None
        me = object()
        try:
            while not arrived():
                if self._role.setdefault("reader", me) is me:
                    return self._lead(arrived, deadline)
                if waker is None:
                    waker = self._follow(box)
                    continue  # the role may have become free just before we queued for it
                if not waker.wait(self._remaining(deadline)) and not arrived():
                    return False
            return True
        finally:
            if waker is not None:
                self._followers.pop(waker, None)
                if box is not None:
                    box.waker = None
            self._leave_role(me)

    def _follow(self, box: Mailbox | None) -> Waker:
        waker = Waker()
        self._followers[waker] = None
        if box is not None:
            box.waker = waker.set
        return waker

    def _wait_aside(self, box: Mailbox) -> None:
        """Wait for mail of a subscription for a moment, in the shadow of those who call."""
        session = self._session
        if session is None or session.over:
            self.wait_for(box, _LISTENING_PAUSE)
            return
        waker = Waker()
        box.waker = waker.set
        try:
            if not box.messages and not waker.wait(_LISTENING_PAUSE):
                self.poll()
        finally:
            box.waker = None

    def _remaining(self, deadline: float | None) -> float | None:
        return None if deadline is None else deadline - self._clock.monotonic()

    def _leave_role(self, me: object) -> None:
        if self._role.get("reader") is me:
            del self._role["reader"]
            if self._closed and self._session is not None:
                self._hang_up(self._session)
        if self._followers and "reader" not in self._role:
            for waker in list(self._followers):
                waker.set()
                break

    def _hang_up(self, session: Session) -> None:
        """Let go of the socket; whoever reads just now does it on leaving."""
        me = object()
        if self._role.setdefault("reader", me) is me:
            with self._send_lock:
                session.close()
            del self._role["reader"]

    def _lead(self, arrived: Callable[[], bool], deadline: float | None) -> bool:
        """Receive, with the reader's role, until `arrived()`; False after the deadline."""
        while not arrived():
            if self._closed:
                raise errors.ClientClosed
            session = self._session
            if session is None or not session.check_receiving():
                self._reconnect()
                continue
            remaining = self._remaining(deadline)
            if not session.wait_readable(remaining):
                return False
            self._receive(session)
        return True

    def _receive(self, session: Session) -> None:
        try:
            messages = session.receive()
        except errors.AuthError:
            session.give_up()  # what was under way is taken up by the next session
            return
        for kind, body in messages:
            self._dispatch(kind, body)
        if messages:
            self._fruitless = 0
        session.settle()

    def _dispatch(self, kind: int, body: bytes) -> None:
        if kind in _OF_CALLS:
            self._starter.served()
            stream = self._streams.get(int.from_bytes(body[:4], "little"))
            if stream is not None:
                stream.box.put(kind, body)
            return
        told = decode_json(body)
        if kind == Kind.REPLY:
            request = self._requests.get(told.get("id", 0))
            if request is not None:
                request.box.put(request.tag, told)
                self._requests.pop(told["id"], None)
        elif kind in (Kind.LOGS, Kind.EVENT):
            ref = told.get("ref", 0)
            listener = self._listeners.get(ref)
            if listener is not None:
                self._hand(ref, listener, told)
            elif told.get("event") == "rejected" and ref in self._streams:
                self._streams[ref].box.put(FAILED, error_of(told["error"]))

    def _hand(self, ref: int, listener: Listener, told: dict[str, Any]) -> None:
        try:
            listener.sink(told)
        except Exception:  # noqa: BLE001 - output that nobody takes must not disturb calls
            self.release(ref, tell=False)

    # -------------------------------------------------------------------------------- sending

    def _request(self, op: str, fields: dict[str, Any], box: Mailbox, tag: int) -> int:
        number = next(self._numbers)
        body = encode_json({"id": number, "op": op, **fields})
        request = Request(body, box, tag)
        self._requests[number] = request
        with self._send_lock:
            # Whoever reconnected in the meantime has sent it already.
            if request.session is None or request.session is not self._session:
                request.session = self._session
                self._send([(Kind.REQUEST, body)])
        return number

    def _tell(self, op: str, **fields: Any) -> None:
        """Send a request whose reply nobody waits for."""
        body = encode_json({"id": 0, "op": op, **fields})
        with self._send_lock:
            self._send([(Kind.REQUEST, body)])

    def _send(self, messages: list[tuple[int, bytes]]) -> None:
        """Send with the lock held, after what waited for the next message."""
        session = self._session
        # After a fork the socket is the parent's.
        if session is None or self._pid != os.getpid() or not session.check_sending():
            return
        while self._untold:
            ref, indices = self._untold.popleft()
            self._untold_count -= len(indices)
            messages.append((Kind.DELIVERED, Delivered(ref, indices).encode()))
        if not messages:
            return
        rest = session.send(messages)
        while rest is not None:
            # The daemon may wait for us to read before it reads on.
            session.wait_writable(0.01)
            self.poll()
            rest = session.send_rest(rest)

    # ----------------------------------------------------------------------------- reconnecting

    def _reconnect(self) -> None:
        """Open the next session, with the reader's role, and take up what was under way."""
        old = self._session
        if old is not None:
            with self._send_lock:
                old.close()
        try:
            self._fruitless += 1
            if self._fruitless > _MOST_FRUITLESS:
                raise errors.ConnectionError(
                    "The daemon closes the connection again and again.",
                    hint="Look at `cloudfn daemon logs`; `cloudfn doctor` looks for causes.",
                )
            session = self._starter.open()
        except errors.Error as error:
            self._fruitless = 0
            self._fail_all(error)
            raise
        if old is None:
            self._close_at_exit()
        with self._send_lock:
            self._untold.clear()
            self._untold_count = 0
            self._session = session
            self._send(self._resumption(session))
        for waker in list(self._followers):
            waker.set()  # some wait for nothing but a session

    def _resumption(self, session: Session) -> list[tuple[int, bytes]]:
        for number, request in list(self._requests.items()):
            if request.tag == RESUMED:
                del self._requests[number]  # its stream asks anew
        bodies = [encode_json({"id": 0, **_reattachment(owned)}) for owned in self._owned]
        for ref, listener in list(self._listeners.items()):
            again = {"tail": 0} if listener.fields["op"] == "logs" else {}
            bodies.append(encode_json({"id": 0, "ref": ref, **listener.fields, **again}))
        for ref, stream in list(self._streams.items()):
            fields = stream.resumption() if stream.opened else None
            if fields is not None:
                number = next(self._numbers)
                body = encode_json({"id": number, "ref": ref, **fields})
                self._requests[number] = Request(body, stream.box, RESUMED)
        for request in list(self._requests.values()):
            request.session = session
            bodies.append(request.body)
        return [(Kind.REQUEST, body) for body in bodies]

    def _fail_all(self, error: errors.Error) -> None:
        """Tell everybody who waits that there will be no answer."""
        requests, self._requests = self._requests, {}
        streams, self._streams = self._streams, {}
        boxes = {id(box): box for box in [r.box for r in requests.values()]}
        boxes |= {id(stream.box): stream.box for stream in streams.values()}
        for box in boxes.values():
            box.put(FAILED, error)

    def _close_at_exit(self) -> None:
        import atexit

        atexit.register(self.close)


def _reattachment(owned: str) -> dict[str, Any]:
    if owned.startswith("ap-"):
        return {"op": "app_reattach", "app_id": owned}
    return {"op": "object_reattach", "object_id": owned}


class Arrival:
    """The step that waits for mail."""

    __slots__ = ("_box", "_connection", "_timeout")

    def __init__(self, connection: Connection, box: Mailbox, timeout: float | None) -> None:
        self._connection = connection
        self._box = box
        self._timeout = timeout

    def block(self) -> bool:
        """Wait, and read the socket meanwhile."""
        return self._connection.wait_for(self._box, self._timeout)

    async def wait(self) -> bool:
        """Wait while the pump reads the socket."""
        if self._box.messages:
            return True
        return await self._connection._pump.arrival(self._box, self._timeout)  # noqa: SLF001
