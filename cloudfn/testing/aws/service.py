"""What the fakes have in common: a request, a refusal, and a service that carries requests out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from threading import Condition
from typing import Any, ClassVar

from cloudfn.testing.clock import FakeClock

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a client, its parameters checked by botocore's model of the operation."""

    operation: str
    params: Mapping[str, Any]
    #: which client asks: services that are eventually consistent answer each in its own way
    reader: int
    #: when it began, and what time it is, in seconds since the epoch
    begun: float
    now: float

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a parameter, or the default where it was not given."""
        return self.params.get(name, default)


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing to answer yet: ask again when something changes, or at a time."""

    until: float


class Refused(Exception):  # noqa: N818 - what happened
    """A service's answer that is no success; clients turn it into botocore's exception.

    Args:
        code: AWS's error code, or the name of the error in the service's model.
        message: As AWS says it, roughly.
        status: Of HTTP.
        more: What else is in the answer, such as CancellationReasons.
    """

    def __init__(
        self, code: str, message: str, status: int = 400, *, more: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.more = more or {}


@dataclass(slots=True)
class Bucket:
    """A rate, as a bucket of tokens that time fills; it holds one second's worth."""

    rate: float
    _left: float = field(init=False)
    _at: float = -float("inf")

    def __post_init__(self) -> None:
        self._left = self.rate

    def take(self, amount: float, now: float) -> bool:
        """Take so many tokens if any are there at all; it may go into debt, as AWS's do."""
        if self.rate == float("inf"):
            return True
        if now > self._at:
            self._left = min(self.rate, self._left + (now - max(self._at, 0.0)) * self.rate)
            self._at = now
        if self._left <= 0:
            return False
        self._left -= amount
        return True


class Service:
    """One service of one account and region; its operations are methods, named as boto3's.

    All state is guarded by one lock, so that an operation is atomic.

    Args:
        clock: What time it is.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: Twelve digits, in the names of things.
    """

    #: boto3's name
    name = ""
    #: codes as they are in answers, where the model's name of the error is another
    codes: ClassVar[Mapping[str, str]] = {}

    def __init__(self, clock: FakeClock, random: Random, region: str, account: str) -> None:
        self.clock = clock
        self.random = random
        self.region = region
        self.account = account
        self.changed = Condition()

    def carry_out(self, request: Request, method: str) -> Answer:
        """Carry a request out.

        Raises:
            Refused: The service does not.
            NotImplementedError: The fake has no such operation.
        """
        operation: Callable[[Request], Answer | Later | None] | None
        operation = getattr(self, method, None)
        if operation is None:
            raise NotImplementedError(f"The fake of {self.name} has no {request.operation}.")
        while True:
            with self.changed:
                request = replace(request, now=self.clock.wall())
                self.pass_time(request.now)
                answer = operation(request)
                if not isinstance(answer, Later):
                    self.changed.notify_all()
                    return answer or {}
                if not self.clock.sleepless:
                    self.clock.wait(self.changed, answer.until)
                    continue
            self.clock.sleep(answer.until - request.now)

    def prepared(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return parameters as boto3's own handlers make them, before they are checked."""
        return params

    def pass_time(self, now: float) -> None:
        """Do what has become due since the last request."""

    def chance(self, probability: float) -> bool:
        """Return True so often."""
        return self.random.random() < probability

    def arn(self, resource: str) -> str:
        """Return the ARN of something of this service."""
        return f"arn:aws:{self.name}:{self.region}:{self.account}:{resource}"
