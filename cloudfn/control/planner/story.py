"""What the planner remembers and what it did, where the next leader and people find it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from cloudfn.control.planner.fleet_decide import FleetDecision
from cloudfn.control.planner.fleet_snapshot import FleetMemory, FleetSnapshot
from cloudfn.control.stores.ring import Ring
from cloudfn.errors import Error

_log = logging.getLogger(__name__)

_MEMORY = "memory"


class Story:
    """Keeps the planner's memory and its latest chapters.

    A chapter is plain data: `at`, `epoch`, `did` (sentences), `pools` (each a `PoolFate`), `cost`,
    and `saw`, which `FleetSnapshot.from_json` reads.

    Args:
        ring: Where they are kept.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def memory(self, now: float) -> FleetMemory:
        """Return what the last leader remembered; nothing where none did, or it cannot be read."""
        try:
            data = self._ring.get(_MEMORY, now)
            return FleetMemory() if data is None else FleetMemory.from_json(data)
        except (Error, KeyError, TypeError, ValueError):
            _log.exception("the planner's memory cannot be read; it begins anew")
            return FleetMemory()

    def remember(self, memory: FleetMemory, now: float) -> None:
        """Keep what the leader remembers."""
        self._try(lambda: self._ring.put(_MEMORY, memory.to_json(), now))

    def add(self, snapshot: FleetSnapshot, decision: FleetDecision, did: Sequence[str]) -> None:
        """Keep a chapter, in place of the oldest."""
        chapter: dict[str, Any] = {
            "at": snapshot.now,
            "epoch": snapshot.epoch,
            "did": list(did),
            "pools": [asdict(fate) for fate in decision.pools],
            "cost": decision.cost,
            "saw": snapshot.to_json(),
        }
        self._try(lambda: self._ring.add(chapter, snapshot.now))

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Error:
            # The next leader begins anew, or people miss a line: no reason not to plan.
            _log.exception("the planner's story could not be kept")
