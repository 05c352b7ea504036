"""The planner's loop: observe, decide, act, and keep the story.

Single-threaded, on an event loop.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cloudfn.clock import Clock
from cloudfn.control.planner.decide import decide
from cloudfn.control.planner.snapshot import PoolDecision, PoolSnapshot, Snapshot

_log = logging.getLogger(__name__)

#: seconds between decisions while inputs wait for something that time alone brings
_BUSY_PAUSE = 0.05
#: while anything is alive
_PAUSE = 1.0
#: at least, however often it is poked
_SHORTEST_PAUSE = 0.005
_STORY = 500
#: more waiting does not help: an event ends these, and an event pokes
_WALLS = ("machine", "gpu", "max")


class Hands(Protocol):
    """What the planner observes with and acts through."""

    def observe(self) -> Snapshot:
        """Return what there is now."""
        ...

    def act(self, decision: PoolDecision) -> None:
        """Start and stop containers as decided."""
        ...


@dataclass(frozen=True, slots=True)
class Chapter:
    """One change that the planner made, or could not make: when, what it saw and did, and why.

    `decide(saw)` makes the same decision again.
    """

    #: seconds since the epoch
    at: float
    saw: Snapshot
    did: PoolDecision


class PlannerLoop:
    """Decides on events and each second while anything is alive; never when nothing is."""

    def __init__(self, loop: AbstractEventLoop, hands: Hands, clock: Clock) -> None:
        self._loop = loop
        self._hands = hands
        self._clock = clock
        self._timer: TimerHandle | None = None
        self._due = float("inf")
        self._last = float("-inf")
        self._stopped = False
        #: pools that lack a GPU, and of which that was told
        self._lacking: frozenset[str] = frozenset()
        self.story: deque[Chapter] = deque(maxlen=_STORY)

    def poke(self) -> None:
        """Something changed: decide soon."""
        self._schedule(max(self._last + _SHORTEST_PAUSE, self._loop.time()))

    def stop(self) -> None:
        """Decide nothing any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, due: float) -> None:
        if self._stopped or due >= self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._due = None, float("inf")
        self._last = self._loop.time()
        try:
            pause = self._decide()
        except Exception:  # noqa: BLE001 - whatever went wrong, there is a next time
            _log.exception("the planner failed; it goes on in %gs", _PAUSE)
            pause = _PAUSE
        if pause is not None:
            self._schedule(self._last + pause)

    def _decide(self) -> float | None:
        """Decide for all pools and act; return the seconds until the next time, if it needs one."""
        snapshot = self._hands.observe()
        decisions = decide(snapshot)
        lacking = frozenset(each.pool for each in decisions if each.limiting == "gpu")
        news, self._lacking = lacking - self._lacking, lacking
        changes = [each for each in decisions if each.start or each.stop or each.pool in news]
        failed = [decision for decision in changes if not self._carry_out(snapshot, decision)]
        return _PAUSE if failed else _pause(snapshot.pools, decisions)

    def _carry_out(self, snapshot: Snapshot, decision: PoolDecision) -> bool:
        """Act for one pool; what fails there does not keep the others waiting."""
        try:
            self._hands.act(decision)
        except Exception:  # noqa: BLE001 - one pool's trouble
            _log.exception("a decision for %s could not be carried out", decision.pool)
            return False
        self.story.append(Chapter(self._clock.wall(), snapshot, decision))
        return True


def _pause(pools: Sequence[PoolSnapshot], decisions: Sequence[PoolDecision]) -> float | None:
    """Return the seconds until the next decision; None: until somebody pokes."""
    if any(
        pool.waiting and decision.limiting not in _WALLS
        for pool, decision in zip(pools, decisions, strict=True)
    ):
        return _BUSY_PAUSE
    if any(_is_alive(pool) for pool in pools):
        return _PAUSE
    return None


def _is_alive(pool: PoolSnapshot) -> bool:
    wants_some = pool.live and pool.settings.min_containers > 0
    return bool(pool.waiting or pool.containers or wants_some)
