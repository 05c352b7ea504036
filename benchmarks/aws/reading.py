"""What the requests of a rehearsal say: counts, chains, and what the emulators take. Pure.

What goes on whether anybody calls or not is told apart: planner, hearts and orders of machines,
output, and long polls that heard nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import NamedTuple

from cloudfn.providers.aws.costs import Load, Prices, cost
from cloudfn.providers.aws.ledger.pages import SLOTS
from cloudfn.rehearsal.requests import Caller, Request

#: answers of long polls that heard nothing are no longer, in bytes
_NOTHING = 64
#: partitions of machines, leadership, and clients that are there or call the planner
_PRESENCE = ("M#", "LEADER", "CALLED", "CL#")
#: what asks for machines
_LAUNCHES = frozenset({"LaunchInstances", "SetDesiredCapacity", "RunInstances"})
_READS = frozenset({"Query", "GetItem", "BatchGetItem"})

Span = tuple[float, float]


class Block(NamedTuple):
    """A time in which somebody called; seconds since the epoch."""

    what: str
    began: float
    #: the last result was there
    ended: float
    #: what comes after it was done, too
    settled: float
    inputs: int


def within(requests: Iterable[Request], began: float, ended: float) -> list[Request]:
    """Return requests that came in a time."""
    return [each for each in requests if began <= each.at <= ended]


def is_background(request: Request) -> bool:
    """Return whether a request is made whatever is called."""
    return (
        request.caller is Caller.PLANNER
        or request.service == "logs"
        or request.about.startswith(_PRESENCE)
        or (request.waits and request.answer <= _NOTHING)
    )


def work(requests: Iterable[Request]) -> list[Request]:
    """Return requests without background."""
    return [each for each in requests if not is_background(each)]


def emulated(requests: Sequence[Request], span: Span) -> float:
    """Return for how many seconds of a time emulators kept somebody waiting.

    They answer requests, and hand messages over late that others wait for: between the end of a
    send to a queue and the end of the long poll that got it.
    """
    spans = [(each.at, each.at + each.emulator) for each in requests if not each.waits]
    spans += _deliveries(requests)
    return _covered(spans, span)


def _deliveries(requests: Sequence[Request]) -> list[Span]:
    found = []
    for poll in requests:
        if not poll.waits or poll.answer <= _NOTHING:
            continue
        heard = poll.at + poll.emulator
        sent = [
            each.at + each.emulator
            for each in requests
            if each.action.startswith("SendMessage") and each.about == poll.about
        ]
        # What was sent before the poll came was on its way since then.
        ready = [max(each, poll.at) for each in sent if each <= heard]
        if ready:
            found.append((max(ready), heard))
    return found


def _covered(spans: Iterable[Span], within: Span) -> float:
    seconds, reached = 0.0, within[0]
    for first, last in sorted(spans):
        end = min(last, within[1])
        if end > reached:
            seconds += end - max(first, reached)
            reached = end
    return seconds


def in_sequence(requests: Sequence[Request]) -> int:
    """Return how many requests can at most have waited for each other, by their times.

    Long polls wait already when something comes; for the removal of a message nobody waits, nor for
    what a machine reads after a claim, to see whether there is more.
    """
    claims = (
        each.at
        for each in requests
        if each.caller is Caller.AGENT and each.action == "UpdateItem" and each.about[:2] == "P#"
    )
    claimed = min(claims, default=inf)
    counted = [
        each
        for each in requests
        if not each.waits
        and not each.action.startswith("DeleteMessage")
        and not (each.caller is Caller.AGENT and each.at >= claimed and each.action in _READS)
    ]
    number, free = 0, -inf
    for each in sorted(counted, key=lambda each: each.at + each.seconds):
        if each.at >= free:
            number, free = number + 1, each.at + each.seconds
    return number


def called(requests: Iterable[Request], block: Block) -> list[Request]:
    """Return what a call that was answered asked for, from its start to its result."""
    inside = within(work(requests), block.began, block.ended)
    return [each for each in inside if each.waits or each.at + each.seconds <= block.ended]


class Reaction(NamedTuple):
    """Something that was done because of something."""

    #: seconds since the epoch
    cause: float
    effect: float
    #: of the seconds between them, those in emulators
    emulator: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.effect - self.cause


def launched(requests: Sequence[Request], since: float) -> Reaction | None:
    """Return how long it took from the first input of a call to the first machine asked for.

    An input is there when its submission was answered.
    """
    inputs = (
        each.at + each.seconds
        for each in requests
        if each.at >= since
        and each.caller is Caller.CLIENT
        and each.action == "TransactWriteItems"
        and each.about.startswith("C#")
    )
    return _reaction(requests, min(inputs, default=None), _is_launch)


def woken(requests: Sequence[Request], since: float) -> float | None:
    """Return how long Lambda took to start a planner that a client called; None: none was."""
    calls = [
        each.at
        for each in requests
        if each.at >= since and each.service == "lambda" and each.caller is Caller.CLIENT
    ]
    looks = [
        each.at
        for each in requests
        if calls and each.at >= calls[0] and each.caller is Caller.PLANNER
    ]
    return min(looks) - calls[0] if looks else None


def updated(requests: Sequence[Request], since: float) -> Reaction | None:
    """Return how long it took from new settings to other orders for machines."""
    settings = (
        each.at + each.seconds
        for each in requests
        if each.at >= since
        and each.caller is Caller.CLIENT
        and each.action in {"UpdateItem", "PutItem"}
        and each.about.startswith("APP#")
    )
    return _reaction(requests, min(settings, default=None), _is_order)


def _reaction(
    requests: Sequence[Request], cause: float | None, is_effect: Callable[[Request], bool]
) -> Reaction | None:
    if cause is None:
        return None
    effect = min(
        (each.at for each in requests if each.at >= cause and is_effect(each)), default=None
    )
    if effect is None:
        return None
    return Reaction(cause, effect, emulated(requests, (cause, effect)))


def _is_launch(request: Request) -> bool:
    return request.action in _LAUNCHES


def _is_order(request: Request) -> bool:
    """Whether a planner tells a machine something."""
    told = request.action == "UpdateItem" and request.about.startswith("M#")
    return told and request.caller is Caller.PLANNER


def per_million(requests: Sequence[Request], inputs: int, prices: Prices | None = None) -> float:
    """Return what a million tiny inputs cost in US dollars, by the model of `costs.py`.

    Args:
        requests: What a map asked for, without background.
        inputs: Of the map.
        prices: What AWS asks for.
    """
    prices = prices or Prices()
    claims_and_records = _number(requests, Caller.AGENT, "UpdateItem", "P#")
    submissions = _number(requests, Caller.CLIENT, "SendMessage", "")
    at_once = max(1, min(SLOTS, round(2 * inputs / max(1, claims_and_records))))
    lot = max(1, round(inputs / max(1, submissions)))
    modelled = cost(Load(lot=lot, claimed=at_once, recorded=at_once), prices)
    messages = sum(each.service == "sqs" for each in requests) / inputs
    return 1e6 * (modelled.dollars + (messages - modelled.messages) * prices.message)


def _number(requests: Iterable[Request], caller: Caller, action: str, about: str) -> int:
    return sum(
        each.caller is caller and each.action.startswith(action) and each.about.startswith(about)
        for each in requests
    )


def by_caller(requests: Iterable[Request]) -> dict[Caller, int]:
    """Return how many requests each made."""
    listed = list(requests)
    return {caller: sum(each.caller is caller for each in listed) for caller in Caller}
