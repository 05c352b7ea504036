"""What befalls calls of any service, as data: failures, lost answers, delays. Thread-safe."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

What = Literal["fail", "lose the answer", "unreachable", "delay"]

#: HTTP status of codes that are not 400
STATUS = {
    "AccessDenied": 403,
    "ExpiredToken": 403,
    "InternalError": 500,
    "InternalServerError": 500,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "RequestLimitExceeded": 503,
}


@dataclass(slots=True)
class Fault:
    """One rule; the first that fits a call befalls it."""

    what: What
    #: such as "sqs" and "SendMessage"; "*" is any
    service: str
    operation: str
    #: calls that it still befalls; None: all, until its time
    times: int | None
    #: on the clock
    until: float
    code: str = ""
    message: str = ""
    seconds: float = 0.0

    def fits(self, service: str, operation: str, now: float) -> bool:
        """Say whether it befalls this call."""
        known = self.service in {"*", service} and self.operation in {"*", operation}
        return known and now < self.until and self.times != 0


@dataclass(slots=True)
class Faults:
    """The faults of one account. Services are named as in boto3, operations as in AWS's API."""

    _rules: list[Fault] = field(default_factory=list)
    #: how often each (service, operation) was tried, failures included
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def fail(
        self,
        service: str,
        operation: str,
        code: str,
        *,
        times: int | None = 1,
        until: float = float("inf"),
        message: str = "injected by the test",
    ) -> None:
        """Let calls fail with an error code, before anything is done.

        Args:
            service: Such as "sqs"; "*" for any.
            operation: Such as "SendMessage"; "*" for any.
            code: Such as "ThrottlingException".
            times: How many calls; None for all until then.
            until: A time of the account's clock (`wall`).
            message: What the error says.
        """
        self._add(Fault("fail", service, operation, times, until, code, message))

    def lose_answer(self, service: str, operation: str, *, times: int | None = 1) -> None:
        """Let calls be carried out, and time out."""
        self._add(Fault("lose the answer", service, operation, times, float("inf")))

    def cut(
        self, service: str = "*", *, times: int | None = None, until: float = float("inf")
    ) -> None:
        """Let a service be unreachable: nothing is done."""
        self._add(Fault("unreachable", service, "*", times, until))

    def delay(self, service: str, operation: str, seconds: float, *, times: int | None = 1) -> None:
        """Let calls wait on the account's clock before they are carried out."""
        self._add(Fault("delay", service, operation, times, float("inf"), seconds=seconds))

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._rules.clear()

    def met(self, service: str, operation: str, now: float) -> Fault | None:
        """Count the call, and return what befalls it."""
        with self._lock:
            self.calls[service, operation] += 1
            for rule in self._rules:
                if rule.fits(service, operation, now):
                    if rule.times is not None:
                        rule.times -= 1
                    return rule
            return None

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._rules.append(fault)
