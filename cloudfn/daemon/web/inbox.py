"""What a client says, read a little ahead, so that its leaving is noticed while it waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]

GONE = ("http.disconnect", "websocket.disconnect")
#: bytes of a body that are kept for a request that waits for a container
_AHEAD = 64 << 10


class Inbox:
    """The events of one request, in their order."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._next: asyncio.Task[dict[str, Any]] | None = None

    async def get(self) -> dict[str, Any]:
        """Return the next event."""
        if self._kept:
            return self._kept.popleft()
        task, self._next = self._next, None
        return await (task or self._receive())

    async def leaves_before(self, other: asyncio.Future[Any]) -> bool:
        """Wait for something; return whether the client left before it came."""
        while not other.done():
            waiting: list[asyncio.Future[Any]] = [other]
            if self._next is None and self._bytes < _AHEAD:
                self._next = asyncio.ensure_future(self._receive())
            if self._next is not None:
                waiting.append(self._next)
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._next is not None and self._next.done():
                event = self._next.result()
                self._next = None
                self._kept.append(event)
                self._bytes += len(event.get("body") or b"")
                if event["type"] in GONE:
                    return not other.done()
        return False

    def close(self) -> None:
        """Read no more."""
        if self._next is not None:
            self._next.cancel()
