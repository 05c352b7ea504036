"""The ASGI application of the gateway: finds a request's container, and relays events both ways.

A request is given to one container and never to a second one: it may have had effects. It waits
for a free slot without an error; only a queue that is full turns it away.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from typing import Protocol

from cloudfn.agent.pool import Pool
from cloudfn.agent.visits import Visit
from cloudfn.clock import Clock
from cloudfn.daemon.web.answer import Answer, Broken, Send
from cloudfn.daemon.web.doors import Door, Doors
from cloudfn.daemon.web.inbox import GONE, Inbox, Receive
from cloudfn.daemon.web.requests import Scope, body_length, for_container, target_of
from cloudfn.errors import DataLossError, Error, NotFoundError, ResourceExhaustedError
from cloudfn.settings import Web
from cloudfn.wire.web import PIECE, Event, encode_event, read_event

#: what the log says of a client that did not wait for its answer
_CLIENT_LEFT = 499


class Rooms(Protocol):
    """Where the containers are; see `agent.visits.Visits`."""

    def ask(self, name: str) -> asyncio.Future[Visit]:
        """Return the future visit of a request to a pool."""
        ...

    def end(self, visit: Visit) -> None:
        """A visit is over."""
        ...

    def expire(self, visit: Visit) -> None:
        """A visit is over its time."""
        ...


class Proxy:
    """Serves the doors of one environment.

    Args:
        doors: Which label leads where.
        rooms: Where the containers are.
        pool_of: Returns the pool that a request goes to, by its door and its query.
        tell: Writes a line to an app's log: pool, container id, text.
        clock: The time.
        settings: What the gateway takes.
    """

    def __init__(
        self,
        doors: Doors,
        rooms: Rooms,
        pool_of: Callable[[Door, bytes], Pool],
        tell: Callable[[Pool, str, str], None],
        clock: Clock,
        settings: Web,
    ) -> None:
        self._doors = doors
        self._rooms = rooms
        self._pool_of = pool_of
        self._tell = tell
        self._clock = clock
        self._settings = settings
        self._endings: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an ASGI application."""
        answer = Answer(scope, send)
        target = target_of(scope, any_host=self._settings.host != Web().host)
        if target is None:
            await answer.refuse(
                421,
                "This gateway serves this machine alone, and the Host header names another.",
                "Use http://127.0.0.1:PORT/LABEL or http://LABEL.localhost:PORT.",
            )
            return
        door = self._doors.find(target.label)
        if door is None:
            await answer.refuse(
                404,
                f"There is no web function {target.label!r}.",
                "`cloudfn app list --json` has the URLs of those that there are.",
            )
            return
        try:
            pool = self._pool_of(door, scope["query_string"])
        except Error as error:
            await answer.refuse_for(404 if isinstance(error, NotFoundError) else 400, error)
            return
        inbox = Inbox(receive)
        opening = {
            "type": "cloudfn.scope",
            "scope": for_container(scope, target.root_path),
            "of": door.web.of,
        }
        try:
            await self._answer(scope, opening, pool, inbox, answer)
        finally:
            inbox.close()

    async def _answer(
        self, scope: Scope, opening: Event, pool: Pool, inbox: Inbox, answer: Answer
    ) -> None:
        began = self._clock.monotonic()
        container_id = "gateway"
        try:
            if body_length(scope["headers"]) > self._settings.body_limit:
                await answer.refuse(*_TOO_LARGE)
                return
            visit = await self._borrow(pool, inbox, answer)
            if visit is None:
                return
            container_id = visit.container.container_id
            exchange = _Exchange(visit, inbox, answer, self._settings.body_limit)
            await self._carry_out(exchange, opening, float(pool.spec.function.timeout))
        finally:
            self._note(pool, container_id, scope, answer, self._clock.monotonic() - began)

    async def _borrow(self, pool: Pool, inbox: Inbox, answer: Answer) -> Visit | None:
        """Return a slot of a container for a request, or None where it was answered."""
        asked: asyncio.Future[Visit] | None = None
        try:
            asked = self._rooms.ask(pool.spec.pool)
            if await inbox.leaves_before(asked):
                return None
            visit, asked = asked.result(), None
            return visit
        except ResourceExhaustedError as error:
            await answer.refuse_for(503, error)
        except NotFoundError as error:
            await answer.refuse_for(404, error)
        except Error as error:
            await answer.refuse_for(500, error)
        finally:
            if asked is not None and not asked.cancel() and asked.exception() is None:
                # It came at the very moment that nobody wanted it any more.
                asked.result().socket.close()
                self._rooms.end(asked.result())
        return None

    async def _carry_out(self, exchange: _Exchange, opening: Event, seconds: float) -> None:
        """Relay until the answer is complete; the slot is free when the container has ended."""
        visit = exchange.visit
        over = True
        try:
            await exchange.open(opening)
            async with asyncio.timeout(seconds):
                await exchange.relay()
        except TimeoutError:
            over = False
            self._rooms.expire(visit)
            await exchange.answer.refuse(
                504,
                f"The request took longer than the function's timeout of {seconds:g} s.",
                "Give the function a longer `timeout`.",
            )
        except (Broken, DataLossError):
            over = False
            raise
        except asyncio.CancelledError:
            over = False
            raise
        else:
            await exchange.conclude()
        finally:
            exchange.hang_up()
            if over:
                exchange.close()
                self._rooms.end(visit)
            else:
                self._end_later(exchange)

    def _end_later(self, exchange: _Exchange) -> None:
        """Free the slot once the container has ended what nobody waits for."""

        async def end() -> None:
            try:
                await exchange.drain()
            finally:
                exchange.close()
                self._rooms.end(exchange.visit)

        task = asyncio.create_task(end())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    def _note(
        self, pool: Pool, container_id: str, scope: Scope, answer: Answer, seconds: float
    ) -> None:
        """Write the line of a request; the query is left out, since it may hold secrets."""
        verb = scope.get("method", "WEBSOCKET")
        status = answer.status or _CLIENT_LEFT
        path = ascii(scope["path"])[1:-1]
        self._tell(pool, container_id, f"{verb} {path} {status} {seconds * 1e3:.0f} ms\n")


_TOO_LARGE = (413, "The body is larger than this gateway takes.", "See CLOUDFN_LIMIT_WEB_BODY.")


class _Exchange:
    """One request and its answer, in the hands of one container."""

    def __init__(self, visit: Visit, inbox: Inbox, answer: Answer, body_limit: int) -> None:
        self.visit = visit
        self.answer = answer
        self._inbox = inbox
        self._body_limit = body_limit
        self._reader: StreamReader | None = None
        self._writer: StreamWriter | None = None
        self._uploading: asyncio.Task[None] | None = None

    async def open(self, opening: Event) -> None:
        """Begin to talk to the container."""
        self._reader, self._writer = await asyncio.open_connection(
            sock=self.visit.socket, limit=PIECE
        )
        self._writer.write(encode_event(opening))
        self._uploading = asyncio.create_task(self._upload(self._writer))

    async def relay(self) -> None:
        """Pass on what the container says until it closes its end."""
        assert self._reader is not None
        while (event := await read_event(self._reader)) is not None:
            await self.answer.pass_on(event)

    async def conclude(self) -> None:
        """The container has closed its end: see to it that the client is not left without one."""
        await self.answer.refuse(
            502, "The container ended in the midst of the request.", "See `cloudfn app logs`."
        )

    async def drain(self) -> None:
        """Read what the container still says, which nobody wants to know."""
        with contextlib.suppress(DataLossError):
            while self._reader is not None and await read_event(self._reader) is not None:
                pass

    def hang_up(self) -> None:
        """Tell the container that the client is gone."""
        if self._uploading is not None:
            self._uploading.cancel()
        self._half_close()

    def close(self) -> None:
        """Close our end."""
        if self._writer is not None:
            self._writer.close()
        else:
            self.visit.socket.close()

    async def _upload(self, writer: StreamWriter) -> None:
        """Pass on what the client says, no faster than the container reads it."""
        received = 0
        with contextlib.suppress(OSError, Broken):
            while (event := await self._inbox.get())["type"] not in GONE:
                received += len(event.get("body") or b"")
                if received > self._body_limit:
                    await self.answer.refuse(*_TOO_LARGE)
                    break
                writer.write(encode_event(event))
                await writer.drain()
            if event["type"] == "websocket.disconnect":
                writer.write(encode_event(event))
            self._half_close()

    def _half_close(self) -> None:
        if self._writer is not None and not self._writer.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write_eof()
