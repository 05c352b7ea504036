"""What a daemon does now and then: ends what nobody wants, forgets what is old, leaves if idle."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection

from cloudfn.daemon.engine import Engine
from cloudfn.daemon.operations.apps import AppOperations
from cloudfn.daemon.session import Session

_log = logging.getLogger(__name__)

#: seconds between looks
_PAUSE = 1.0
#: seconds between looks for what is kept for a time only, and the age of leftovers
_EXPIRY_PAUSE = 600.0


class Housekeeping:
    """Looks after an engine.

    Args:
        loop: The engine's loop.
        engine: The engine.
        apps: Knows which client keeps which app, and closes apps.
        sessions: The clients that are here, always as it is now.
        can_be_found: Whether new clients find this daemon.
        shut_down: Has the daemon leave.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        engine: Engine,
        apps: AppOperations,
        sessions: Collection[Session],
        can_be_found: Callable[[], bool],
        shut_down: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._engine = engine
        self._apps = apps
        self._sessions = sessions
        self._can_be_found = can_be_found
        self._shut_down = shut_down
        #: ephemeral apps whose client is gone, and since when (monotonic seconds)
        self._orphans: dict[str, float] = {}
        self._last_busy = engine.clock.monotonic()
        self._last_expiry = float("-inf")
        self._stopped = False

    def start(self) -> None:
        """Begin to look."""
        self._loop.call_later(_PAUSE, self._keep_house)

    def stop(self) -> None:
        """Look no more: the daemon leaves."""
        self._stopped = True

    def orphaned(self, app_id: str) -> None:
        """The client of an ephemeral app is gone; the app ends unless it comes back in time."""
        self._orphans[app_id] = self._engine.clock.monotonic()

    def _keep_house(self) -> None:
        if self._stopped:
            return
        if not self._can_be_found():
            _log.warning("the socket was taken away: no client finds this daemon any more")
            self._shut_down("drain")
            return
        self._loop.call_later(_PAUSE, self._keep_house)
        engine = self._engine
        now = engine.clock.monotonic()
        engine.calls.end_orphans(engine.settings.client_grace)
        # Places also become free without an outcome: what waited began to run.
        engine.calls.receipts.feed_starved()
        self._end_orphaned_apps(now)
        engine.schedules.look()
        engine.ring_due()
        unfinished = set(engine.ledger.pools())
        engine.apps.drop_finished(unfinished)
        self._end_detached(unfinished)
        # Results that are kept for a short time are looked for as often as that takes.
        if now - self._last_expiry >= min(_EXPIRY_PAUSE, engine.settings.retention / 4):
            self._last_expiry = now
            self._expire()
        self._leave_when_idle(now, unfinished)

    def _end_orphaned_apps(self, now: float) -> None:
        grace = self._engine.settings.client_grace
        for app_id, since in list(self._orphans.items()):
            if self._apps.owners.get(app_id) is not None:
                del self._orphans[app_id]
            elif now - since >= grace:
                del self._orphans[app_id]
                self._apps.close(app_id)

    def _end_detached(self, unfinished: set[str]) -> None:
        """A detached app lives while it has inputs or requests, and a moment after its start."""
        now = self._engine.clock.wall()
        grace = self._engine.settings.client_grace
        for app in self._engine.catalog.apps():
            if app.state != "detached" or now - app.created < grace:
                continue
            pools = [p for p in self._engine.agent.pools() if p.spec.app_id == app.app_id]
            is_asked = any(
                p.visitors or any(c.visits for c in p.containers.values()) for p in pools
            )
            if not is_asked and not unfinished.intersection(p.spec.pool for p in pools):
                self._engine.apps.close(app.app_id)

    def _expire(self) -> None:
        engine = self._engine
        for call_id in engine.ledger.expire(engine.clock.wall(), engine.settings.retention):
            engine.blobs.delete_call(call_id)
        engine.journal.after_commit(lambda: None)
        engine.logs.prune(engine.clock.wall())
        engine.stores.expire()
        engine.blobs.sweep(
            lambda name: (
                engine.ledger.call(name) is not None
                or engine.agent.container(name) is not None
                or engine.stores.registry.knows(name)
            ),
            older_than=_EXPIRY_PAUSE,
            now=engine.clock.wall(),
        )

    def _leave_when_idle(self, now: float, unfinished: set[str]) -> None:
        engine = self._engine
        waits = engine.schedules.active or any(
            app.state == "deployed" for app in engine.catalog.apps()
        )
        if self._sessions or unfinished or waits or engine.agent.containers():
            self._last_busy = now
        elif now - self._last_busy >= engine.settings.daemon_idle_exit:
            self._shut_down("now")
