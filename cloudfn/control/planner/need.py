"""How many containers the present work of a pool keeps busy. Pure.

A new container must find at least its own start time's worth of work. So thousands of tiny inputs
start few containers, and sleeping ones as many as there are inputs.
"""

from __future__ import annotations

from math import ceil

from cloudfn.control.planner.snapshot import ContainerView, PoolSnapshot

#: no container is taken to start faster than this, in seconds
START_FLOOR = 0.02
_ROUNDING = 1e-9


def need(pool: PoolSnapshot, cores: float) -> int:
    """Return how many containers the pool's work needs, those included that it keeps busy now.

    Slots are counted, `target` of them to a container. It does not depend on idle and starting
    containers, and more waiting inputs never need less.
    """
    busy = [c for c in pool.containers if c.busy]
    if pool.single_use:
        return len(busy) + ceil(pool.waiting / pool.target)
    if not pool.waiting and not pool.live:
        return len(busy)
    # Below 0 where containers have more than their target: they took what came in a burst.
    room = sum(min(pool.target, c.slots) - c.held for c in busy if not c.draining)
    beyond = min(pool.waiting, _useful(pool, cores, max(0, room))) - room
    return len(busy) + max(ceil(beyond / pool.target), min(pool.alone, pool.waiting), 0)


def _useful(pool: PoolSnapshot, cores: float, room: int) -> int:
    """Return how many slots the waiting inputs are worth, those free in busy containers first."""
    computing = [c for c in pool.containers if c.busy and not c.waiting]
    if pool.service is not None:
        return _worth_starting(pool, computing, pool.service)
    # Nothing has finished: as many containers as can compute at once.
    guess = room + max(0, ceil(cores) - len(computing)) * pool.target
    shortest = min((c.running for c in computing), default=0.0)
    if shortest < _start_time(pool):
        return guess
    return max(guess, _worth_starting(pool, computing, shortest))


def _worth_starting(pool: PoolSnapshot, computing: list[ContainerView], service: float) -> int:
    """Return how many slots find enough to do when an input takes `service` seconds."""
    start = _start_time(pool)
    worth = max(start, service)
    helping = sum(c.held for c in computing if c.running <= worth and not c.draining)
    work = pool.waiting * service - helping * start
    further = ceil(work / worth - _ROUNDING)
    if helping:
        return max(0, further)
    # Nobody comes to them. If all that run are slower than inputs used to be, the waiting ones may
    # be slow too: double, and look again.
    slow = sum(c.held for c in computing if c.running > worth)
    return max(1, further, slow)


def _start_time(pool: PoolSnapshot) -> float:
    return max(pool.start_time, START_FLOOR)
