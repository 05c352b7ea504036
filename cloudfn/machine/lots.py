"""How many inputs a machine should have of a pool, and how many to claim at a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil

from cloudfn.agent.dispatch import ServiceTime, batch_size
from cloudfn.model.function import AutoscalerSettings

#: seconds of work that wait here beyond what containers hold: some round trips to the ledger
LOOKAHEAD = 0.1
#: seconds that an input takes at most for which one waits here: else others may be idle meanwhile
_SHORT = 0.3
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


def wanted(taking: Taking) -> int:
    """Return how many inputs of a pool should be here, in containers or waiting for them.

    As many as run at once in the containers that there are, or in the first one; and of short
    inputs some more, so that no container waits for the ledger.
    """
    slots = taking.slots[: taking.quota]
    if not slots and taking.quota:
        slots = (taking.slots_each,)
    running = sum(slots)
    if taking.single_use:
        return running
    if taking.slots_each == 1:
        running *= batch_size(taking.service)
    return running + len(slots) * _ahead(taking.service)


def lot(wanted: int, have: int) -> int:
    """Return how many inputs to claim where some are here: whole pages where many are wanted.

    Claiming costs a round trip, so that of many it waits until there is room for half a page.
    """
    room = wanted - have
    if wanted < PAGE:
        return max(0, room)
    return 0 if room < PAGE // 2 else -(-room // PAGE) * PAGE


def _ahead(service: ServiceTime) -> int:
    if service.mean is None:
        return 0
    expected = max(service.mean, service.slowest, 1e-9)
    if expected > _SHORT:
        return 0
    return min(MOST_AHEAD, ceil(LOOKAHEAD / expected))


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
