"""Offline runs of users' apps: everything happens in this process, on a fake clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloudfn.errors import InvalidError
from cloudfn.model.log import LogQuery, Source
from cloudfn.sdk.client import Mailbox, using
from cloudfn.settings import Limits, StoreLimits
from cloudfn.testing.attempts import Attempt
from cloudfn.testing.client import OfflineClient
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.engine import INSTANT, OfflineEngine, Went
from cloudfn.testing.provider import MemoryProvider
from cloudfn.testing.script import Key, Script
from cloudfn.testing.stores import OfflineStores

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloudfn.testing.script import Step

#: seconds of real time between looks at what another thread does
_LOOK = 1.0


class OfflineWorld:
    """What a test sees of an offline run.

    Attributes:
        clock: The time in it; only waiting and `clock.advance` move it.
        script: What attempts meet; more can be set at any time.
        provider: Where everything is kept; its `fail_next` says what fails next.
        client: The engine, for functions that take `client=`.
    """

    def __init__(self, script: Script, limits: Limits, stores: StoreLimits) -> None:
        self.clock = FakeClock(sleepless=True)
        self.script = script
        self.provider = MemoryProvider.make(limits, stores)
        shared = OfflineStores(self.provider, stores, self.clock)
        self._engine = OfflineEngine(self.provider, shared, self.clock, script)
        self.client = OfflineClient(self._engine, self.provider, shared, limits.map_window)

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts so far, in the order in which they began."""
        return list(self._engine.attempts)

    def count(self, function: str, number: int | None = None) -> int:
        """Return how many attempts a function had, or its input of that number."""
        return sum(
            each.function == function and number in (None, each.number)
            for each in self._engine.attempts
        )

    def run_pending(self) -> int:
        """Run all that was spawned or is due, and that nobody waits for; return the attempts."""
        return self._engine.run_pending()

    def pass_time(self, seconds: float) -> int:
        """Let time pass; schedules fire as they come to be due. Return how many attempts it took.

        Where the clock was moved by other means, `run_pending` makes up for what was missed, with
        one late run of each schedule.
        """
        engine, before = self._engine, len(self._engine.attempts)
        end = self.clock.wall() + seconds
        while True:
            engine.fire()
            due = engine.schedules.next_due
            if due is None or due > end:
                self._run_until(end)
                return len(engine.attempts) - before
            self._run_until(due + INSTANT)

    def _run_until(self, moment: float) -> None:
        """Run what waits, until the clock is there."""
        nobody = Mailbox()
        deadline = self.clock.monotonic() + max(moment - self.clock.wall(), 0.0)
        while (went := self._engine.go_on(nobody, deadline)) is not Went.BEYOND:
            if went is Went.ELSEWHERE:
                with self._engine.changed:
                    self._engine.changed.wait(_LOOK)

    def output(self, function: str | None = None, *, source: Source = "stdout") -> str:
        """Return what functions printed."""
        self.provider.logs.flush()
        query = LogQuery(function=function, source=source, tail=None)
        return "".join(entry.text for entry in self.provider.logs.read(query))

    def fail_next(self, point: str, error: Exception) -> None:
        """Let a method of a port fail once; see `MemoryProvider.fail_next`."""
        self.provider.fail_next(point, error)

    def close(self) -> None:
        """Remove what lies in files."""
        try:
            self._engine.close()
        finally:
            self.provider.close()


@contextmanager
def offline(
    *,
    script: Script | Mapping[Key, Iterable[Step]] | None = None,
    limits: Limits | None = None,
    stores: StoreLimits | None = None,
) -> Iterator[OfflineWorld]:
    """Run apps in this process, without a daemon, while the block is open.

    Everything that the SDK does goes to a world of its own that starts empty. Arguments, results
    and exceptions are pickled and unpickled. An input runs when somebody waits for it, on the
    thread that waits; time passes on the world's clock alone.

    Args:
        script: What attempts meet; see `Script`.
        limits: How many inputs a function may have; the defaults when omitted.
        stores: How much dicts and queues may hold; the defaults when omitted.

    Raises:
        InvalidError: At the end: the script speaks of an input that never ran.
    """
    known = script if isinstance(script, Script) else Script(script)
    world = OfflineWorld(known, limits or Limits(), stores or StoreLimits())
    try:
        with using(world.client):
            yield world
        if known.unmet:
            raise InvalidError(
                f"The script speaks of inputs that never ran: {', '.join(map(repr, known.unmet))}.",
                hint="Look at `world.attempts`, and at the function's name.",
            )
    finally:
        world.close()
