"""A thread that hears of many calls, for callers who do not wait themselves.

It lives while there is something to hear of, and a moment longer. What it calls runs in it, one
after the other: whoever takes long holds the others up.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Protocol
from weakref import WeakKeyDictionary

from cloudfn import errors
from cloudfn.sdk.calls import Attachment
from cloudfn.sdk.client import FAILED, RESUMED, SOURCE, Client, Mailbox
from cloudfn.sdk.session import error_of
from cloudfn.sdk.twins import run
from cloudfn.wire.messages import Kind, Outcomes

_log = logging.getLogger("cloudfn")

#: seconds between two ticks
_TICK = 1.0
#: seconds that the thread stays for the next one
_LINGER = 2.0


class Listener(Protocol):
    """Somebody whose mail is looked after."""

    def heard(self) -> None:
        """There is mail. Called in the thread."""
        ...

    def tick(self) -> None:
        """Some time has passed. Called in the thread."""
        ...


class Lookout:
    """The thread of one client.

    Args:
        client: The engine.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = Lock()
        self._bell = Mailbox()
        self._listeners: dict[Listener, None] = {}
        self._thread: Thread | None = None
        self._news = Event()

    def open(self, listener: Listener) -> Mailbox:
        """Return a mailbox that is looked after until `close`; any thread may ask."""
        box = Mailbox()
        box.waker = lambda: self._bell.put(SOURCE, listener)
        with self._lock:
            self._listeners[listener] = None
            if self._thread is None:
                self._thread = Thread(target=self._run, name="cloudfn-lookout", daemon=True)
                self._thread.start()
        self._news.set()
        return box

    def close(self, listener: Listener) -> None:
        """Look after it no more. Idempotent."""
        with self._lock:
            self._listeners.pop(listener, None)

    def _run(self) -> None:
        while self._listeners or self._stays():
            self._wait()
            if not self._bell.messages:
                for listener in list(self._listeners):
                    _call(listener.tick)
            while self._bell.messages:
                _, listener = self._bell.messages.popleft()
                _call(listener.heard)

    def _wait(self) -> None:
        try:
            self._client.arrival(self._bell, _TICK).block()
        except errors.Error:
            # Those who wait have it in their mail; nobody else may keep us busy.
            if not self._bell.messages:
                self._news.clear()
                self._news.wait(_TICK)

    def _stays(self) -> bool:
        self._news.clear()
        if self._listeners or self._news.wait(_LINGER):
            return True
        with self._lock:
            if self._listeners:
                return True
            self._thread = None
            return False


def lookout_of(client: Client) -> Lookout:
    """Return the lookout of a client; it has one."""
    key = os.getpid()
    with _lock:
        known = _lookouts.setdefault(client, {})
        if key not in known:
            known[key] = Lookout(client)
        return known[key]


def when_done(client: Client, call_id: str, then: Callable[[], object]) -> None:
    """Have `then` called in the lookout's thread, once, when all inputs of a call are finished.

    Raises:
        ConnectionError: The engine cannot be reached.
    """
    run(client.ready())
    _Ending(client, call_id, then)


class _Ending:
    """Waits for the end of one call."""

    def __init__(self, client: Client, call_id: str, then: Callable[[], object]) -> None:
        self._call_id = call_id
        self._then = then
        self._lookout = lookout_of(client)
        self._finished: set[int] = set()
        self._known = 0
        self._sealed = False
        self._is_closed = False
        self._box = self._lookout.open(self)
        self._attachment = Attachment(client, call_id, box=self._box, bare=True)
        self._attachment.ask()

    def heard(self) -> None:
        """Count outcomes."""
        if self._is_closed:
            return  # rung for more than once before we looked
        messages = self._box.messages
        while messages:
            kind, body = messages.popleft()
            if kind == Kind.OUTCOMES:
                self._finished.update(Outcomes.decode(body).indices)
            elif kind == FAILED or "error" in body:
                error = body if kind == FAILED else error_of(body["error"])
                _log.warning("nobody can say when call %s is done: %s", self._call_id, error)
                self._close()
                return
            elif kind == RESUMED:
                self._known = body["known"]
                self._sealed = body["sealed"] or body["cancelled"]
                if body["expired"]:
                    self._finished.update(range(self._known))
        if self._sealed and len(self._finished) >= self._known:
            self._close()
            self._then()

    def tick(self) -> None:
        """Ask again where inputs may still have been added."""
        if not self._sealed and len(self._finished) >= self._known:
            self._attachment.ask()

    def _close(self) -> None:
        self._is_closed = True
        self._lookout.close(self)
        self._attachment.close()


def _call(function: Callable[[], object]) -> None:
    try:
        function()
    except Exception:  # noqa: BLE001 - one caller's trouble
        _log.exception("a callback failed")


_lock = Lock()
_lookouts: WeakKeyDictionary[Client, dict[int, Lookout]] = WeakKeyDictionary()
