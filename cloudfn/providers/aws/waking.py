"""Wakes the planner of an environment: an asynchronous invocation of its Lambda function."""

from __future__ import annotations

import json
import logging

from cloudfn.errors import Error
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained

_log = logging.getLogger(__name__)


class LambdaWaking:
    """Has a planner come, once, where none is; what `DynamoLeadership` calls.

    Args:
        clients: Where the client of Lambda comes from.
        function: Name of the planner's function.
    """

    def __init__(self, clients: ClientSource, function: str) -> None:
        self._clients = clients
        self._function = function

    def __call__(self) -> None:
        """Invoke the function and wait for nothing; a failure is logged, and made up for."""
        try:
            with explained("lambda", "Invoke", f"function {self._function}"):
                self._clients.of("lambda").invoke(
                    FunctionName=self._function,
                    InvocationType="Event",
                    Payload=json.dumps({"source": "wake"}).encode(),
                )
        except Error as error:
            # The next minute brings a planner anyway.
            _log.warning("the planner could not be woken: %s", error.message)
