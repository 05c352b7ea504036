"""Call → Input → Attempt → Outcome: the life of an input and how an attempt's end is settled. Pure.

PENDING ──claim (fence + 1)──▶ RUNNING ──▶ RETURNED | RAISED | TIMED_OUT | CANCELLED | LOST
   ▲                              │
   └── given back, retried, lost ─┘
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from math import inf

from cloudfn.model.retry import Retries

#: losses after which an input is given up
LOSS_CAP = 10
#: crashes that an input may always have, however few retries its function allows
CRASH_FLOOR = 3
#: why an input ends whose deadline passed
OVERDUE = "the deadline of its call passed before it had ended"


class CallKind(IntEnum):
    """Which method made the call."""

    REMOTE = 0
    MAP = 1
    SPAWN = 2
    SPAWN_MAP = 3
    #: one input, whose result is a stream of items
    REMOTE_GEN = 4

    @property
    def durable(self) -> bool:
        """Whether its outcomes outlive their delivery and its inputs a power cut."""
        return CallKind.SPAWN <= self <= CallKind.SPAWN_MAP


class Status(IntEnum):
    """Where an input is in its life; from RETURNED on it has an outcome, for ever."""

    PENDING = 0
    RUNNING = 1
    RETURNED = 2
    RAISED = 3
    TIMED_OUT = 4
    CANCELLED = 5
    LOST = 6

    @property
    def terminal(self) -> bool:
        """Whether the input has its outcome."""
        return self >= Status.RETURNED

    @property
    def dead(self) -> bool:
        """Whether it ended by a failure of its own: somebody may want to run it once more."""
        return self in (Status.RAISED, Status.TIMED_OUT, Status.LOST)


@dataclass(frozen=True, slots=True)
class Counters:
    """What happened to an input so far; the three are never mixed."""

    #: user exceptions and timeouts; these spend `retries`
    failures: int = 0
    #: containers that it took down while it ran alone
    crashes: int = 0
    #: containers, machines, agents and leases that were lost under it
    losses: int = 0

    @property
    def attempt(self) -> int:
        """The number of the attempt that runs, or is about to; the first one is 1."""
        return 1 + self.failures + self.crashes + self.losses


@dataclass(frozen=True, slots=True)
class Raised:
    """The attempt ended with an exception of user code; `payload` is the packed exception."""

    payload: bytes
    #: `retries` give up on exceptions of its class, says who had it in its hands
    final: bool = False


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt ran longer than the function's timeout, in seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Crashed:
    """User code took the container down; `alone`: no other started input ran in it."""

    reason: str
    alone: bool = True


@dataclass(frozen=True, slots=True)
class ContainerLost:
    """The container, machine or agent went away for reasons outside user code."""

    reason: str
    #: False where we took it away ourselves, which may happen to an input any number of times
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Overran:
    """The deadline of its call passed before the input had ended."""


Ending = Raised | TimedOut | Crashed | ContainerLost | Overran


@dataclass(frozen=True, slots=True)
class Again:
    """Run the input once more after `delay` seconds; `alone`: with no other input beside it."""

    counters: Counters
    delay: float
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """The input has its outcome. `payload` is the packed exception for RAISED, else empty."""

    counters: Counters
    status: Status
    payload: bytes = b""
    #: why, in a sentence, when user code did not say it itself
    reason: str = ""


def settle(
    counters: Counters,
    ending: Ending,
    retries: Retries | None,
    jitter: float = 0.0,
    left: float = inf,
) -> Again | Finish:
    """Say what follows from the end of an attempt that did not return.

    Args:
        counters: What happened to the input before.
        ending: How the attempt ended.
        retries: What its function allows.
        jitter: A number in [0, 1); see `Retries.delay`.
        left: Seconds until the deadline of its call; no retry is left for what is later.

    Failures spend `retries` and wait for its delay. Crashes have a cap of their own,
    max(3, retries + 1), and losses one of 10; neither spends retries. A crash among several started
    inputs blames none of them: all run again, alone.
    """
    match ending:
        case Raised() | TimedOut():
            return _settle_failure(counters, ending, retries, jitter, left)
        case Overran():
            return Finish(counters, Status.TIMED_OUT, reason=OVERDUE)
        case Crashed(reason, alone):
            if not alone:
                return Again(counters, 0.0, alone=True)
            counters = replace(counters, crashes=counters.crashes + 1)
            allowed = 0 if retries is None else retries.max_retries
            if counters.crashes < max(CRASH_FLOOR, allowed + 1):
                return Again(counters, 0.0, alone=True)
            times = f"{counters.crashes} times, the last time: " if counters.crashes > 1 else ""
            return Finish(
                counters, Status.LOST, reason=f"it took its container down {times}{reason}"
            )
        case ContainerLost(reason, counted):
            counters = replace(counters, losses=counters.losses + counted)
            if counters.losses < LOSS_CAP:
                return Again(counters, 0.0)
            return Finish(
                counters,
                Status.LOST,
                reason=f"it was lost {counters.losses} times, the last time because {reason}",
            )


def _settle_failure(
    counters: Counters,
    ending: Raised | TimedOut,
    retries: Retries | None,
    jitter: float,
    left: float,
) -> Again | Finish:
    counters = replace(counters, failures=counters.failures + 1)
    if (
        retries is not None
        and counters.failures <= retries.max_retries
        and not _is_final(ending, retries)
        and (delay := retries.delay(counters.failures, jitter)) < left
    ):
        return Again(counters, delay)
    if isinstance(ending, Raised):
        return Finish(counters, Status.RAISED, ending.payload)
    reason = f"it ran longer than its timeout of {ending.timeout:g}s"
    return Finish(counters, Status.TIMED_OUT, reason=reason)


def _is_final(ending: Raised | TimedOut, retries: Retries) -> bool:
    """Whether a failure ends its input, however many retries are left."""
    return ending.final if isinstance(ending, Raised) else retries.gives_up_on_timeouts
