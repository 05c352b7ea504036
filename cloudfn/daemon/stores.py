"""What programs share, as a daemon serves it: objects that live with a client, and a timer."""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle

from cloudfn.clock import Clock
from cloudfn.control.stores.broker import Broker
from cloudfn.control.stores.later import Later
from cloudfn.control.stores.stores import Stores
from cloudfn.daemon.session import Session
from cloudfn.providers.base import Provider
from cloudfn.settings import Settings


class SharedState(Stores):
    """Dicts and queues of the environment. Single-threaded, on an event loop."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        provider: Provider,
        settings: Settings,
        clock: Clock,
        key: bytes,
    ) -> None:
        self.broker = Broker(provider.queues, settings.client_grace)
        super().__init__(
            provider,
            provider.blobs,
            self.broker,
            settings.stores,
            settings.client_grace,
            clock,
            lambda: key,
        )
        self._loop = loop
        #: ephemeral object → the client that it lives with
        self._owners: dict[str, Session] = {}
        #: ephemeral object → until when its client may come back, on the wall clock
        self._orphans: dict[str, float] = {}
        self._timer: TimerHandle | None = None

    def recover(self) -> None:
        """After a start: clients of an earlier daemon have time to come back."""
        now = self._clock.wall()
        self.broker.recover(now)
        self._orphans = dict.fromkeys(self.registry.ephemeral(), now + self._grace)
        self.arm()

    def adopt(self, object_id: str, session: Session) -> None:
        """An ephemeral object lives with this client from here on."""
        self._owners[object_id] = session
        self._orphans.pop(object_id, None)

    def delete(self, object_id: str) -> None:
        """Delete an object with everything in it. Idempotent."""
        self._owners.pop(object_id, None)
        self._orphans.pop(object_id, None)
        self.registry.delete(object_id)

    def closed(self, session: Session) -> None:
        """A client is gone."""
        now = self._clock.wall()
        self.broker.closed(session, now)
        for object_id, owner in list(self._owners.items()):
            if owner is session:
                del self._owners[object_id]
                self._orphans[object_id] = now + self._grace
        self.arm()

    def awaited(self, later: Later) -> Later:
        """Return an answer, and look after it when time has passed."""
        if not later.given:
            self.arm()
        return later

    def arm(self) -> None:
        """Look again when the next one has waited long enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        moments = [self.broker.next_moment(), *self._orphans.values()]
        moment = min((each for each in moments if each is not None), default=None)
        if moment is not None:
            delay = max(0.0, moment - self._clock.wall())
            self._timer = self._loop.call_later(delay, self._pass_time)

    def close(self) -> None:
        """Give the stores back; nobody is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
        super().close()

    def _pass_time(self) -> None:
        self._timer = None
        now = self._clock.wall()
        self.broker.pass_time(now)
        for object_id in [each for each, until in self._orphans.items() if until <= now]:
            self.delete(object_id)
        self.arm()
