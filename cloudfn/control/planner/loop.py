"""The planner's loop: observe, decide, act, and keep the story. Single-threaded, on an event loop."""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from cloudfn.clock import Clock
from cloudfn.control.planner.decide import decide
from cloudfn.control.planner.snapshot import PoolDecision, PoolSnapshot, Snapshot

#: seconds between decisions while inputs wait, while containers live, and at least
_BUSY_PAUSE = 0.05
_PAUSE = 1.0
_SHORTEST_PAUSE = 0.005
_STORY = 500


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
    """One change that the planner made: when, what it saw, what it did and why."""

    #: seconds since the epoch
    at: float
    saw: PoolSnapshot
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
        snapshot = self._hands.observe()
        for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
            if decision.start or decision.stop:
                self.story.append(Chapter(self._clock.wall(), pool, decision))
                self._hands.act(decision)
        if any(pool.waiting for pool in snapshot.pools):
            self._schedule(self._last + _BUSY_PAUSE)
        elif any(pool.containers or pool.settings.min_containers for pool in snapshot.pools):
            self._schedule(self._last + _PAUSE)
