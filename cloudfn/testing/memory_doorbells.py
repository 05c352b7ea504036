"""Doorbells in memory, as true to their word as queues can be. Safe to share between threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from threading import Condition

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import InvalidError
from cloudfn.providers.doorbells import Heard, Ring
from cloudfn.testing.clock import wait_on


@dataclass(slots=True, eq=False)
class _Message:
    ring: Ring
    visible: float
    receives: int = 0
    receipt: str = ""


class MemoryDoorbells:
    """The `Doorbells` port as lists.

    Args:
        clock: What time it is.
        visibility: Seconds after which a ring that was not answered comes again.
        most_receives: How often one comes before it is dead.
    """

    def __init__(
        self, clock: Clock | None = None, visibility: float = 30.0, most_receives: int = 10
    ) -> None:
        self._clock = clock or SystemClock()
        self._visibility = visibility
        self._most_receives = most_receives
        self._queues: dict[str, list[_Message]] = {}
        self._dead: list[_Message] = []
        self._receipts = count(1)
        self._changed = Condition()

    def open(self, function_id: str) -> None:
        with self._changed:
            self._queues.setdefault(_plain(function_id), [])

    def remove(self, function_id: str) -> None:
        with self._changed:
            self._queues.pop(_plain(function_id), None)

    def functions(self) -> list[str]:
        with self._changed:
            return sorted(self._queues)

    def ring(self, rings: Sequence[Ring]) -> int:
        with self._changed:
            known = [each for each in rings if _plain(each.function_id) in self._queues]
            for ring in known:
                message = _Message(ring, self._clock.wall())
                self._queues[_plain(ring.function_id)].append(message)
            self._changed.notify_all()
        return len(known)

    def listen(self, function_id: str, seconds: float, limit: int) -> list[Heard]:
        until = self._clock.wall() + seconds
        with self._changed:
            while True:
                queue = self._queues.get(_plain(function_id), [])
                self._bury(queue)
                if found := self._take(queue, limit):
                    return found
                if self._clock.wall() >= until:
                    return []
                wait_on(self._clock, self._changed, min([until, *(each.visible for each in queue)]))

    def answer(self, heard: Sequence[Heard]) -> None:
        receipts = {each.receipt for each in heard}
        with self._changed:
            for queue in (*self._queues.values(), self._dead):
                queue[:] = [each for each in queue if each.receipt not in receipts]

    def dead(self, limit: int) -> list[Heard]:
        with self._changed:
            for queue in self._queues.values():
                self._bury(queue)
            return self._take(self._dead, limit)

    def close(self) -> None:
        """See the port; memory needs none."""

    def _bury(self, queue: list[_Message]) -> None:
        now = self._clock.wall()
        for message in list(queue):
            if message.receives >= self._most_receives and message.visible <= now:
                queue.remove(message)
                self._dead.append(message)

    def _take(self, queue: list[_Message], limit: int) -> list[Heard]:
        now = self._clock.wall()
        found = [each for each in queue if each.visible <= now][:limit]
        for message in found:
            message.visible = now + self._visibility
            message.receives += 1
            message.receipt = f"receipt-{next(self._receipts)}"
        return [Heard(each.ring, each.receipt) for each in found]


def _plain(function_id: str) -> str:
    """Return the function whose queue it is: variants have none of their own."""
    plain = function_id.partition("+")[0]
    if not plain.startswith("fu-"):
        raise InvalidError(f"{function_id!r} is no id of a function.")
    return plain
