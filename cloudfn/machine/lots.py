"""How many inputs a machine should have of a pool, and how many to claim at a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import NamedTuple

from cloudfn.agent.dispatch import ServiceTime, batch_size
from cloudfn.model.function import AutoscalerSettings

#: seconds of work that wait here beyond what containers hold: some round trips to the ledger
LOOKAHEAD = 0.1
#: seconds that an input waits here at most, as is to be expected: else others may be idle meanwhile
_SHORT = 0.3
#: times the mean that no input exceeded lately, where long ones wait here
_EVEN = 3.0
#: part of its time, and seconds, that the outcome of a long input waits at most for others
_PART, _LONGEST_WAIT = 0.1, 0.1
#: inputs of a container that wait here at most
MOST_AHEAD = 1024
#: inputs on one page of the ledger, which are claimed together for little more than one
PAGE = 128


@dataclass(frozen=True, slots=True)
class Taking:
    """What a pool's containers on this machine can take."""

    #: containers that it may have
    quota: int
    #: inputs that each of its containers runs at once; those that leave are left out
    slots: tuple[int, ...]
    #: what a container has that is still to come
    slots_each: int
    service: ServiceTime = field(default_factory=ServiceTime)
    single_use: bool = False


class Wanted(NamedTuple):
    """How many inputs of a pool should be here, in containers or waiting for them."""

    #: at most
    most: int
    #: no more are claimed while there are so many
    enough: int


def wanted(taking: Taking) -> Wanted:
    """Return how many inputs of a pool should be here.

    As many as run at once in the containers that there are, or in the first one; and of short
    inputs some more, so that no container waits for the ledger. Of long ones some more are claimed
    where one is missing, if it is not long until a container has them.
    """
    slots = taking.slots[: taking.quota]
    if not slots and taking.quota:
        slots = (taking.slots_each,)
    running = sum(slots)
    if taking.single_use:
        return Wanted(running, running)
    if taking.slots_each == 1:
        running *= batch_size(taking.service)
    if ahead := len(slots) * _ahead(taking.service):
        return Wanted(running + ahead, running + ahead)
    return Wanted(running + _along(taking.service, running), running)


def lot(wanted: Wanted, have: int) -> int:
    """Return how many inputs to claim where some are here: whole pages where many are wanted.

    Claiming costs a round trip, so that of many it waits until there is room for half a page.
    """
    room = wanted.most - have
    if have >= wanted.enough:
        return 0
    if wanted.most < PAGE:
        return room
    return 0 if room < PAGE // 2 else -(-room // PAGE) * PAGE


def patience(service: ServiceTime) -> float:
    """Return how many seconds an outcome may wait, where others of its call are to come.

    What is recorded, told and received together costs as much as one. Of short inputs many end
    together anyway.
    """
    if service.mean is None or service.mean <= _SHORT:
        return 0.0
    return min(_LONGEST_WAIT, service.mean * _PART)


def _ahead(service: ServiceTime) -> int:
    if service.mean is None:
        return 0
    expected = max(service.mean, service.slowest, 1e-9)
    if expected > _SHORT:
        return 0
    return min(MOST_AHEAD, ceil(LOOKAHEAD / expected))


def _along(service: ServiceTime, slots: int) -> int:
    """Return how many long inputs are claimed along with one that a container waits for.

    For so many there will be room soon, since some of those that run end each moment.
    """
    if service.mean is None or service.mean <= _SHORT or service.slowest > _EVEN * service.mean:
        return 0
    return min(slots // 4, int(slots * _SHORT / service.mean))


def within(declared: AutoscalerSettings, quota: int, kept: int) -> AutoscalerSettings:
    """Return the settings of a pool on this machine, whose planner gave it a quota of at least 1.

    Minimum, maximum and buffer are the whole environment's. Of what they are now this machine's
    part is in its orders; what it read of them itself may be older.
    """
    return replace(
        declared,
        min_containers=min(kept, quota),
        buffer_containers=0,
        max_containers=quota,
    )
