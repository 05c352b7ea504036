"""Wakeups in memory: a post office, and who has a mailbox there. Safe to share between threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition

from cloudfn.clock import Clock, SystemClock
from cloudfn.model.ids import mint
from cloudfn.providers.wakeups import Note
from cloudfn.testing.clock import wait_on


@dataclass(slots=True)
class _Mailbox:
    #: seconds since the epoch
    heard: float
    notes: list[Note] = field(default_factory=list)


class Post:
    """The mailboxes of an environment.

    Args:
        clock: What time it is.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.boxes: dict[str, _Mailbox] = {}
        self.changed = Condition()


class MemoryWakeups:
    """The `Wakeups` port of one client or machine.

    Args:
        post: Where the mailboxes are; those of all clients and machines.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._own = ""

    def open(self) -> str:
        with self._post.changed:
            if not self._own:
                self._own = mint("reply")
                self._box()
            return self._own

    def tell(self, address: str, notes: Sequence[Note]) -> None:
        with self._post.changed:
            if box := self._post.boxes.get(address):
                box.notes += notes
                self._post.changed.notify_all()

    def listen(self, seconds: float) -> list[Note]:
        self.open()
        until = self._post.clock.wall() + seconds
        with self._post.changed:
            while True:
                box = self._box()
                box.heard = self._post.clock.wall()
                if box.notes or box.heard >= until:
                    notes, box.notes = box.notes, []
                    return notes
                wait_on(self._post.clock, self._post.changed, until)

    def sweep(self, now: float, patience: float) -> int:
        with self._post.changed:
            old = [name for name, box in self._post.boxes.items() if now - box.heard > patience]
            for name in old:
                del self._post.boxes[name]
            return len(old)

    def close(self) -> None:
        with self._post.changed:
            self._post.boxes.pop(self._own, None)
            self._own = ""

    def _box(self) -> _Mailbox:
        """Return the client's mailbox, made anew where it was swept."""
        return self._post.boxes.setdefault(self._own, _Mailbox(self._post.clock.wall()))
