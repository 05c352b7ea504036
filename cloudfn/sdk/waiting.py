"""Small parts of a connection: a signal between threads, and what waits for an answer."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from cloudfn.sdk.client import FAILED, Mailbox
from cloudfn.sdk.session import error_of
from cloudfn.wire.messages import Kind

if TYPE_CHECKING:
    from cloudfn.sdk.session import Session


class Waker:
    """A signal from one thread to another; one that came before the wait counts."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Give the signal."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it was given already

    def wait(self, seconds: float | None) -> bool:
        """Wait for the signal and take it; False after `seconds`."""
        return self._lock.acquire(blocking=True, timeout=-1 if seconds is None else max(seconds, 0))


class Request:
    """A request without its reply yet."""

    __slots__ = ("body", "box", "session", "tag")

    def __init__(self, body: bytes, box: Mailbox, tag: int) -> None:
        self.body = body
        self.box = box
        self.tag = tag
        #: the session it was sent in
        self.session: Session | None = None


class Listener:
    """A subscription: what follows its request goes to `sink`."""

    __slots__ = ("fields", "pumped", "sink")

    def __init__(
        self, fields: dict[str, Any], sink: Callable[[dict[str, Any]], None], *, pumped: bool
    ) -> None:
        self.fields = fields
        self.sink = sink
        #: nobody waits for it, so that the pump has to
        self.pumped = pumped


def reply_of(kind: int, told: Any) -> dict[str, Any]:
    """Return the reply that a mailbox held; raises the error that it is."""
    if kind == FAILED:
        raise told
    if "error" in told:
        raise error_of(told["error"])
    return dict(told)


def events_of(box: Mailbox, wait: Callable[[], object]) -> Iterator[dict[str, Any]]:
    """Yield what follows a `logs` or `events` request, up to the message that says `end`.

    Args:
        box: Where it arrives, and the reply to the request, which may be an error, beside it.
        wait: Waits for mail, or for a moment.
    """
    while True:
        while not box.messages:
            wait()
        kind, told = box.messages.popleft()
        if kind != Kind.EVENT:
            reply_of(kind, told)
            continue
        yield told
        if told.get("end"):
            return
