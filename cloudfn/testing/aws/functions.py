"""Fake Lambda: functions that tests define, invoked at once or by and by, at least once.

From the API reference of Invoke, "Invoking a Lambda function asynchronously" and "Lambda quotas".
`run` carries out what was invoked asynchronously.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from itertools import count
from random import Random
from typing import Any

from cloudfn.testing.aws.knobs import LambdaKnobs
from cloudfn.testing.aws.service import Answer, Refused, Request, Service
from cloudfn.testing.clock import FakeClock

#: bytes of a payload
_LARGEST = 6 << 20
_LARGEST_EVENT = 1 << 20

Handler = Callable[[Any], Any]


class Functions(Service):
    """All functions of an account and region.

    Args:
        clock: What time it is.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: In the names of things.
        knobs: How nasty.
    """

    name = "lambda"

    def __init__(
        self, clock: FakeClock, random: Random, region: str, account: str, knobs: LambdaKnobs
    ) -> None:
        super().__init__(clock, random, region, account)
        self._knobs = knobs
        self._handlers: dict[str, Handler] = {}
        #: reserved concurrency, where there is one
        self._reserved: dict[str, int] = {}
        #: (when, number, function, event)
        self._coming: list[tuple[float, int, str, Any]] = []
        self._numbers = count(1)

    def define(self, name: str, handler: Handler) -> str:
        """Have a function; return its ARN.

        Args:
            name: Of it.
            handler: Gets events, and returns what is JSON.
        """
        self._handlers[name] = handler
        return self.arn(f"function:{name}")

    def run(self) -> None:
        """Carry out what was invoked asynchronously and is due by now."""
        with self.changed:
            now = self.clock.wall()
            due = sorted(
                (each for each in self._coming if each[0] <= now), key=lambda each: each[:2]
            )
            self._coming = [each for each in self._coming if each[0] > now]
        for _, _, name, event in due:
            self._handlers[name](event)

    def invoke(self, request: Request) -> Answer:
        name = self._named(request["FunctionName"])
        payload = _bytes(request.get("Payload", b"{}"))
        kind = request.get("InvocationType", "RequestResponse")
        largest = _LARGEST if kind == "RequestResponse" else _LARGEST_EVENT
        if len(payload) > largest:
            raise Refused(
                "RequestTooLargeException",
                f"Request must be smaller than {largest} bytes for the InvokeFunction operation",
                413,
            )
        try:
            event = json.loads(payload)
        except ValueError:
            raise Refused(
                "InvalidRequestContentException", "Could not parse request body into json"
            ) from None
        if kind == "DryRun":
            return {"StatusCode": 204}
        if kind == "Event":
            for _ in range(1 + self.chance(self._knobs.doubled)):
                at = request.now + self.random.uniform(0, self._knobs.event_takes)
                self._coming.append((at, next(self._numbers), name, event))
            return {"StatusCode": 202}
        if self._reserved.get(name) == 0:
            raise Refused("TooManyRequestsException", "Rate Exceeded.", 429)
        return _answered(self._handlers[name], event)

    def put_function_concurrency(self, request: Request) -> Answer:
        name = self._named(request["FunctionName"])
        self._reserved[name] = request["ReservedConcurrentExecutions"]
        return {"ReservedConcurrentExecutions": self._reserved[name]}

    def _named(self, name: str) -> str:
        short = name.rpartition(":function:")[2]
        if short not in self._handlers:
            raise Refused(
                "ResourceNotFoundException",
                f"Function not found: {self.arn(f'function:{short}')}",
                404,
            )
        return short


def _answered(handler: Handler, event: Any) -> Answer:
    answer: Answer = {"StatusCode": 200, "ExecutedVersion": "$LATEST"}
    try:
        told = handler(event)
    except Exception as error:  # noqa: BLE001 - whatever a function raises is its answer
        told = {"errorMessage": str(error), "errorType": type(error).__name__}
        answer["FunctionError"] = "Unhandled"
    # Its import opens a socket.
    from botocore.response import StreamingBody

    body = json.dumps(told).encode()
    return {**answer, "Payload": StreamingBody(BytesIO(body), len(body))}


def _bytes(payload: Any) -> bytes:
    if hasattr(payload, "read"):
        payload = payload.read()
    return payload.encode() if isinstance(payload, str) else bytes(payload)
