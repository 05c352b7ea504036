"""One answer to a client: what a container says of it, or our own words where none can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cloudfn.daemon.web.requests import Scope, from_container
from cloudfn.errors import Error

Send = Callable[[dict[str, Any]], Awaitable[None]]

_INTERNAL_ERROR = 1011
_DENIALS = {
    "websocket.http.response.start": "http.response.start",
    "websocket.http.response.body": "http.response.body",
}


class Broken(Exception):  # noqa: N818 - ends a connection, and is no error of anybody's
    """The answer has begun and cannot be completed: the client has to see that."""


class Answer:
    """Passes events on to a client. Knows how far it is, so that there is never a second answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._websocket = scope["type"] == "websocket"
        self._may_deny = "websocket.http.response" in (scope.get("extensions") or {})
        self._send = send
        #: what the client was told; 0: nothing yet
        self.status = 0
        self.complete = False

    async def pass_on(self, event: dict[str, Any]) -> None:
        """Pass on what a container said; what comes after the end is dropped.

        Raises:
            Broken: It makes no sense, or contradicts what was said before.
        """
        if self.complete:
            return
        kind = event["type"]
        if kind == "cloudfn.failed":
            await self._failed()
            return
        if "headers" in event:
            event["headers"] = from_container(event["headers"])
        self._note(kind, event)
        try:
            await self._send(event)
        except OSError:
            self.complete = True  # the client is gone
        except Exception as error:
            # uvicorn and h11 see to it that an answer is one: its length, its order.
            raise Broken(str(error)) from error

    async def refuse(self, status: int, message: str, hint: str | None = None) -> None:
        """Answer ourselves where no container has begun to; otherwise break off.

        Raises:
            Broken: The answer has begun.
        """
        if self.complete:
            return
        if self.status and not self._websocket:
            raise Broken(message)
        if self.status:
            self.complete = True
            close = {"type": "websocket.close", "code": _INTERNAL_ERROR, "reason": message[:100]}
            await self._send(close)
            return
        await self._say(status, message, hint)

    async def refuse_for(self, status: int, error: Error) -> None:
        """Answer with one of our errors."""
        await self.refuse(status, error.message, error.hint)

    async def _failed(self) -> None:
        await self.refuse(
            500,
            "Internal Server Error",
            "The function failed; its logs say how: `cloudfn app logs`.",
        )

    async def _say(self, status: int, message: str, hint: str | None) -> None:
        self.status, self.complete = status, True
        if self._websocket and not self._may_deny:
            await self._send({"type": "websocket.close", "code": _INTERNAL_ERROR})
            return
        text = f"{message}\n" + (f"hint: {hint}\n" if hint else "")
        body = text.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        prefix = "websocket." if self._websocket else ""
        await self._send(
            {"type": f"{prefix}http.response.start", "status": status, "headers": headers}
        )
        await self._send({"type": f"{prefix}http.response.body", "body": body})

    def _note(self, kind: str, event: dict[str, Any]) -> None:
        """Note how far the answer is; raises Broken for what cannot come now."""
        plain = _DENIALS.get(kind, kind) if self._websocket else kind
        if plain == "http.response.start" and not self.status:
            self.status = int(event["status"])
        elif plain == "http.response.body" and self.status:
            self.complete = not event.get("more_body")
        elif self._websocket and kind == "websocket.accept" and not self.status:
            self.status = 101
        elif self._websocket and kind == "websocket.close":
            self.status = self.status or 403
            self.complete = True
        elif not (self._websocket and kind == "websocket.send" and self.status == 101):
            raise Broken(f"The application sent {kind!r} out of turn.")
