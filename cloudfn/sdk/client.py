"""What the SDK needs of an engine, as a small port, and which engine this process talks to."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from cloudfn.clock import Clock
    from cloudfn.sdk.twins import Step, Steps
    from cloudfn.settings import Settings

#: tags of messages in a mailbox, beside the kinds of frames
RESUMED = -1
FAILED = -2
SOURCE = -3


class Welcome(NamedTuple):
    """What the engine says of itself."""

    version: str
    #: directories of blobs: those that may live in memory, and those that survive a power cut
    fast: str
    durable: str
    #: directory of source bundles
    bundles: str
    map_window: int
    #: in a Docker container: the one folder of theirs that it may write to; empty: any
    outbox: str = ""
    #: it has machines of several kinds, and says which are for a function: `app_place`
    places: bool = False


class Mailbox:
    """What arrived for one waiter, in order."""

    __slots__ = ("messages", "waker")

    def __init__(self) -> None:
        self.messages: deque[tuple[int, Any]] = deque()
        #: called after each delivery while somebody waits
        self.waker: Callable[[], None] | None = None

    def put(self, kind: int, body: Any) -> None:
        """Deliver a message; any thread may."""
        self.messages.append((kind, body))
        waker = self.waker
        if waker is not None:
            waker()


class Stream(Protocol):
    """A call that outcomes arrive for under a number of its own."""

    box: Mailbox
    #: the engine has heard of it
    opened: bool

    def resumption(self) -> dict[str, Any] | None:
        """Return the request that takes it up on a new connection, without ref; None for nothing.

        Called by the thread that reconnects, whichever that is.
        """
        ...


class Client(Protocol):
    """The engine as the SDK sees it."""

    @property
    def clock(self) -> Clock:
        """The clock that timeouts of waiting go by."""
        ...

    def ready(self) -> Steps[Welcome]:
        """Connect, if need be.

        Raises:
            ConnectionError: The engine cannot be reached.
        """
        ...

    def ask(self, op: str, **fields: Any) -> Steps[dict[str, Any]]:
        """Return the reply to one request; raises what the engine answered."""
        ...

    def open(self, stream: Stream) -> int:
        """Take a stream in; return the number that its messages carry."""
        ...

    def submit(self, stream: Stream, body: bytes) -> None:
        """Send inputs of a stream, now or when the connection is back."""
        ...

    def attach(self, stream: Stream, ref: int, op: str, **fields: Any) -> None:
        """Send a request whose reply goes to the stream's mailbox."""
        ...

    def release(self, ref: int, *, tell: bool) -> None:
        """Forget a stream; `tell` the engine that nothing more is wanted of it."""
        ...

    def delivered(self, ref: int, indices: Sequence[int], *, now: bool = False) -> None:
        """The outcomes are here: tell the engine with the next message, or `now`."""
        ...

    def taken(self, ref: int, end: int) -> None:
        """Items 0 … end − 1 of a generator are read: tell the engine, which may go on then."""
        ...

    def arrival(self, box: Mailbox, timeout: float | None = None) -> Step[bool]:
        """Return the step that waits for mail; its value is False after `timeout` seconds."""
        ...

    def poll(self) -> None:
        """Take in what has arrived, without waiting."""
        ...

    def listen(
        self, op: str, fields: dict[str, Any], sink: Callable[[dict[str, Any]], None]
    ) -> int:
        """Have `sink` called with what follows a `logs` or `events` request; return its number."""
        ...

    def keep(self, owned: str) -> None:
        """Say after a reconnect that the client of this ephemeral app or object is back."""
        ...

    def unkeep(self, owned: str) -> None:
        """The app or object is closed."""
        ...


class CloudClient(Client, Protocol):
    """What clients of clouds can do besides, as the command line needs it."""

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Return the reply to one request, blocking; raises what was answered."""
        ...

    def subscribe(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Return what follows a `logs` or `events` request, up to the message that says `end`."""
        ...

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        ...


def current_settings() -> Settings:
    """Return this process's settings, read once; a fork may have become a container."""
    return _settings(os.getpid())


@cache
def _settings(_pid: int) -> Settings:
    from cloudfn import settings

    return settings.load()


def default_client(environment: str | None = None) -> Client:
    """Return the client of an environment; a process has one, and after a fork another one."""
    if _in_use:
        return _in_use[-1]
    if environment is None:
        environment = current_settings().environment
    key = environment, os.getpid()
    client = _clients.get(key)
    if client is None:
        # Of threads that come at the same time all get the one that was put in first.
        client = _clients.setdefault(key, _connection(environment))
    return client


class using:  # noqa: N801 - reads as a statement
    """While open, `client` is this process's engine, whichever environment is asked for."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> Client:
        _in_use.append(self._client)
        return self._client

    def __exit__(self, *_: object) -> None:
        _in_use.remove(self._client)


def _connection(environment: str) -> Client:
    from cloudfn import settings

    known = current_settings()
    if environment != known.environment:
        known = settings.load(environment=environment)
    # User code in a container has its machine's agent for an engine, whatever machine that is.
    if known.provider != settings.LOCAL and known.container is None:
        return open_cloud_client(known)
    from cloudfn.sdk.connection import Connection

    return Connection(known)


def open_cloud_client(known: Settings) -> CloudClient:
    """Return a new client of the cloud that settings name.

    Raises:
        InvalidError: There is no such provider, or it lacks something that it needs.
    """
    from importlib.metadata import entry_points
    from typing import cast

    from cloudfn.errors import InvalidError

    found = {each.name: each for each in entry_points(group="cloudfn.clients")}
    if known.provider not in found:
        names = ", ".join(sorted(["local", *found]))
        raise InvalidError(
            f"There is no provider {known.provider!r}.",
            hint=f"Say one of {names} with --provider or CLOUDFN_PROVIDER.",
        )
    return cast("CloudClient", found[known.provider].load()(known))


_clients: dict[tuple[str, int], Client] = {}
_in_use: list[Client] = []
