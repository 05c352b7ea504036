"""Where the program runs: here or in a container, for which input, and whether output is wanted."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

from cloudfn.sdk.client import current_settings, default_client
from cloudfn.sdk.twins import run
from cloudfn.wire.current import current

Sink = Callable[[dict[str, Any]], None]

_sink: ContextVar[Sink | None] = ContextVar("cloudfn_output", default=None)


def is_local() -> bool:
    """Whether the program runs here, rather than in a container."""
    if current.seq:
        return False
    settings = current_settings()
    return settings.container is None and not settings.worker


def current_input_id() -> str | None:
    """Return the id of the input that runs in this container; None outside of one."""
    found = _current_input()
    return found["input_id"] if found else None


def current_function_call_id() -> str | None:
    """Return the id of the call whose input runs in this container; None outside of one."""
    found = _current_input()
    return found["call"] if found else None


def current_attempt() -> int | None:
    """Return which attempt of its input runs in this container, from 1; None outside of one.

    Exceptions, timeouts, crashes and losses of earlier attempts count.
    """
    found = _current_input()
    return found["attempt"] if found else None


def _current_input() -> dict[str, Any] | None:
    claim = current.claim()
    if claim is None or is_local():
        return None
    engine = default_client()
    key = engine, claim
    # One reference, so that inputs which run at the same time cannot see half of another's.
    told: dict[str, Any]
    known, told = _last.get("told", (None, {}))
    if known != key:
        told = run(engine.ask("input_current", seq=claim[0]))
        _last["told"] = key, told
    return told


# What the engine said of the input that asked last.
_last: dict[str, tuple[object, dict[str, Any]]] = {}


class enable_output:  # noqa: N801 - Modal's name
    """While open, an app that runs streams its containers' output to stdout and stderr.

    Args:
        show_progress: Accepted and ignored: progress is what `cloudfn run` shows.
        sink: Gets the engine's messages instead, one dict at a time, on any thread.
    """

    def __init__(
        self,
        show_progress: bool = True,  # noqa: ARG002, FBT001, FBT002 - Modal's signature
        *,
        sink: Sink | None = None,
    ) -> None:
        self._wanted = sink or write_through
        self._token: Token[Sink | None] | None = None

    def __enter__(self) -> Self:
        self._token = _sink.set(self._wanted)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            _sink.reset(self._token)
            self._token = None

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__(None, None, None)


def wanted_sink() -> Sink | None:
    """Return where output is to go; None when nobody asked for it."""
    return _sink.get()


def write_through(message: dict[str, Any]) -> None:
    """Write what containers printed to stdout and stderr, as it is, and builds of images did."""
    import sys

    for line in message.get("lines", ()) if message.get("event") == "image" else ():
        sys.stderr.write(f"{line}\n")
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    for entry in message.get("entries", ()):
        stream = streams.get(entry.get("source"))
        if stream is not None:
            stream.write(entry.get("text", ""))
            stream.flush()
