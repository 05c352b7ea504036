"""Clients of AWS that belong to one process, and what cuts that process off."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any

from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from cloudfn.providers.aws.clients import ClientSource
from cloudfn.testing.aws import models


@dataclass(frozen=True, order=True)
class Point:
    """A request at which a process ends: the `number`-th of its kind that its part makes."""

    #: "client", "planner" or "agent"
    part: str
    #: service and method, as in boto3: "sqs.send_message"; "*" is any
    request: str
    #: from 1
    number: int
    #: it is carried out, and the answer finds nobody
    after: bool

    def __str__(self) -> str:
        when = "after" if self.after else "before"
        return f"{self.part} {when} {self.request} {self.number}"


class Scissors:
    """Counts the requests of each part, and cuts off the process that makes a certain one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._point: Point | None = None
        self._then: Callable[[], object] = _nothing
        #: (part, request) → how often it was made since all was begun anew
        self.counts: Counter[tuple[str, str]] = Counter()
        #: set when somebody was cut off
        self.cut = Event()

    def begin(self, point: Point | None = None, then: Callable[[], object] | None = None) -> None:
        """Count from zero.

        Args:
            point: Who is cut off, and when; None: nobody.
            then: Is called in a thread of its own when that has happened.
        """
        with self._lock:
            self.counts.clear()
            self.cut.clear()
            self._point, self._then = point, then or _nothing

    def strikes(self, part: str, request: str) -> Point | None:
        """Count a request, and return the point if this is where its process ends."""
        with self._lock:
            self.counts[part, request] += 1
            self.counts[part, "*"] += 1
            point = self._point
            if point is None or point.part != part or point.request not in {"*", request}:
                return None
            if self.counts[part, point.request] != point.number:
                return None
            self._point = None
            return point

    def done(self) -> None:
        """Somebody was cut off."""
        self.cut.set()
        Thread(target=self._then, name="after the cut", daemon=True).start()


def _nothing() -> None:
    """Nobody cares."""


class Plug:
    """Clients of one process, until it is unplugged.

    Args:
        clients: Those of the account.
        loses: Whether the answer to this call gets lost, after all tries.
        part: What kind of process it is.
        scissors: May cut it off.
    """

    def __init__(
        self,
        clients: ClientSource,
        loses: Callable[[], bool] = lambda: False,
        part: str = "",
        scissors: Scissors | None = None,
    ) -> None:
        self._clients = clients
        self._part = part
        self._scissors = scissors or Scissors()
        self.loses = loses
        self.pulled = False
        #: it was the one that the scissors cut off
        self.cut = False

    def of(self, service: str) -> Any:
        return _Plugged(self._clients.of(service), service, self)

    def ask(self, request: str, carry_out: Callable[[], Any]) -> Any:
        """Have a request carried out, as far as there is somebody who makes it."""
        if self.pulled:
            raise EndpointConnectionError(endpoint_url="unplugged")
        point = self._scissors.strikes(self._part, request)
        if point is not None:
            self.cut = self.pulled = True
        try:
            if point is None or point.after:
                answer = carry_out()
        finally:
            if point is not None:
                self._scissors.done()
        if self.pulled or self.loses():
            raise ReadTimeoutError(endpoint_url=request)
        return answer


class _Plugged:
    def __init__(self, client: Any, service: str, plug: Plug) -> None:
        self._client = client
        self._service = service
        self._plug = plug

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name in {"meta", "exceptions", "can_paginate", "generate_presigned_url"}:
            return found
        return lambda **params: self._plug.ask(f"{self._service}.{name}", lambda: found(**params))

    def get_paginator(self, name: str) -> Any:
        """Return a paginator, each page of which is a request."""
        operation = models.operations(self._service)[name]
        return models.paginator(self._service, operation, getattr(self, name))
