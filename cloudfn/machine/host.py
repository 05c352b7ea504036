"""A machine in its fleet: obeys orders, reports, drains, and says when it is of use."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import NamedTuple

from cloudfn.agent.machine import Machine
from cloudfn.clock import Clock
from cloudfn.errors import Error
from cloudfn.machine.config import MachineConfig
from cloudfn.machine.engine import Engine
from cloudfn.machine.heart import Heart
from cloudfn.machine.leaving import Drain
from cloudfn.machine.metadata import Identity, Notice
from cloudfn.machine.openings import Opening, Openings
from cloudfn.machine.sockets import Sockets
from cloudfn.providers.base import Cloud
from cloudfn.providers.machines import MachineReport, MachineState, Orders, PoolReport, Stop
from cloudfn.wire.version import code_version

_log = logging.getLogger(__name__)

#: seconds between looks at what is left, while it drains
_DRAINING_LOOK = 0.1
#: seconds before the end that a notice names, in which running inputs are given back
_MARGIN = 15.0
#: seconds until a pool that could not be opened is tried again: at first, and at most
_OPENING_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
#: seconds that the ledger has to answer at the end
_FLUSH = 15.0
#: seconds that are left for the ledger when what runs was given back
_LAST = 8.0
#: seconds in which containers that come together are told of together
_TOGETHER = 0.05
#: seconds between tries to tell the fleet something
_TELL_PAUSE = 10.0


class _Trouble(NamedTuple):
    """A pool that cannot be opened."""

    why: str
    #: when that is tried again; monotonic seconds
    until: float
    #: how often in a row it was tried
    failures: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What a machine consists of."""

    #: runs containers
    engine: Engine
    #: brings pools here
    openings: Openings
    #: answers containers
    sockets: Sockets


class Host:
    """One machine. Single-threaded, on the loop, but for what the heart asks and says.

    Args:
        loop: The loop.
        config: What it was told about its place.
        identity: Who it is.
        machine: What it has.
        cloud: Whose machine it is.
        parts: What does the work.
        clock: The time.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        config: MachineConfig,
        identity: Identity,
        machine: Machine,
        cloud: Cloud,
        parts: Parts,
        clock: Clock,
    ) -> None:
        self._loop = loop
        self._config = config
        self._cloud = cloud
        self._engine = parts.engine
        self._openings = parts.openings
        self._sockets = parts.sockets
        self._clock = clock
        self._orders = Orders()
        self._drain: Drain | None = None
        self._answered = False
        self._asked_for_time = float("-inf")
        #: pools that are being opened or looked at again
        self._opening: set[str] = set()
        self._troubles: dict[str, _Trouble] = {}
        #: pool → when it is looked at again; monotonic seconds
        self._stale: dict[str, float] = {}
        self._random = Random()
        self._last_led = float("-inf")
        #: how many containers each pool had when that was said, and when that is said again
        self._counted: dict[str, int] = {}
        self._counted_at = float("-inf")
        self._counting = False
        self._engine.on_change = self._containers_changed
        self._told_joined = False
        #: inputs that were stopped, until the row does not name them any more
        self._stopped: set[tuple[int, int]] = set()
        #: containers that were stopped, likewise; and whether that is being said
        self._seen_to: frozenset[Stop] = frozenset()
        self._saying = False
        self._report = MachineReport(
            identity.instance_id,
            config.machine_class,
            MachineState.READY,
            machine.cores,
            machine.memory,
            machine.gpus,
            identity.zone,
            identity.spot,
            code_version(),
            identity.address,
            clock.wall(),
            host_keys=identity.host_keys,
        )
        self.heart = Heart(cloud.machines, self, config.timing, clock)
        self.done: Future[None] = loop.create_future()

    def start(self) -> None:
        """Join the fleet, and work."""
        self.heart.active = True  # it looks for its first orders
        self.heart.start()
        self._tick()

    # What the heart asks and says, in its thread (Body)

    def report(self) -> MachineReport:
        """Return how this machine was a moment ago."""
        return self._report

    def hear(self, orders: Orders) -> None:
        """Orders came."""
        self._loop.call_soon_threadsafe(self._obey, orders)

    def answered(self, *, answered: bool) -> None:
        """The last beat was answered, or not."""
        self._loop.call_soon_threadsafe(self._note_answer, answered)

    def lost(self) -> None:
        """What this machine holds belongs to others."""
        self._loop.call_soon_threadsafe(self._give_up)

    # Orders

    def _note_answer(self, answered: bool) -> None:  # noqa: FBT001 - by call_soon
        self._answered = answered
        self._engine.open(intake=answered and self._drain is None)
        if answered and not self._told_joined:
            self._told_joined = True
            self._tell_fleet("joined", self._cloud.fleet.joined)

    def _give_up(self) -> None:
        # Who gave this machine up does not count on it: it waits for orders.
        self._orders = Orders(self._orders.epoch)
        self._engine.drop()
        self._apply()

    def _obey(self, orders: Orders) -> None:
        if orders.epoch < self._orders.epoch:
            return  # of a planner that leads no longer
        if orders.epoch > self._orders.epoch:
            self._touch()
        self._orders = orders
        self._stop_cancelled(orders.cancelled)
        self._stop_containers(orders.stops)
        if orders.drain and self._drain is None:
            self._begin_drain(Drain("the planner needs this machine no more", None, ordered=True))
        elif not orders.drain and self._drain is not None and self._drain.ordered:
            _log.info("the planner needs this machine after all")
            self._drain = None
            self._engine.open(intake=self._answered)
        self._apply()

    def _stop_cancelled(self, inputs: Sequence[tuple[int, int]]) -> None:
        self._stopped &= set(inputs)
        news = [each for each in inputs if each not in self._stopped]
        if not news:
            return
        self._stopped.update(news)
        for seq, fence in news:
            # First that nobody wants it: what comes of it is to be dropped.
            self._engine.claims.surrender(seq, fence)
            self._engine.agent.cancel(seq, fence, terminate=False)
        self._engine.asking.do(
            lambda: self._cloud.machines.cancelled(self._report.machine_id, news),
            lambda _: None,
            lambda _: self._stopped.difference_update(news),
        )

    def _stop_containers(self, stops: Sequence[Stop]) -> None:
        # Once: containers that a pool got since then are not meant.
        for each in stops:
            if each not in self._seen_to:
                self._engine.stop(each.name, graceful=each.graceful)
        self._seen_to = frozenset(stops)
        if stops and not self._saying:
            self._saying = True
            say = partial(self._cloud.machines.stopped, self._report.machine_id, stops)
            self._engine.asking.do(say, self._said, self._said)

    def _said(self, _: object) -> None:
        self._saying = False

    def _apply(self) -> None:
        """Have as many containers of each pool as the planner says."""
        quotas = {} if self._drain is not None else self._orders.quotas
        served = self._engine.serving.served()
        for name, (opening, quota, kept) in served.items():
            due = quotas.get(name, 0), self._orders.kept.get(name, 0)
            if due != (quota, kept):
                self._engine.serving.serve(opening, *due)
        now = self._clock.monotonic()
        for name in [name for name in self._troubles if not quotas.get(name)]:
            del self._troubles[name]
        for name, quota in quotas.items():
            trouble = self._troubles.get(name)
            if quota and name not in served and (trouble is None or now >= trouble.until):
                self._look_up(name)

    def _look_up(self, name: str) -> None:
        """Open a pool, or see whether it is still as it was."""
        if name in self._opening:
            return
        self._opening.add(name)
        # Spread: many machines look at the same pools.
        pause = self._config.timing.refresh * self._random.uniform(0.5, 1.5)
        self._stale[name] = self._clock.monotonic() + pause

        def opened(opening: Opening) -> None:
            self._opening.discard(name)
            self._troubles.pop(name, None)
            quota = 0 if self._drain is not None else self._orders.quotas.get(name, 0)
            if quota or name in self._engine.serving.served():
                self._engine.serving.serve(opening, quota, self._orders.kept.get(name, 0))

        def failed(error: Error) -> None:
            self._opening.discard(name)
            _log.warning("the pool %s cannot be run: %s", name, error)
            known = self._troubles.get(name)
            self._complain(name, error, new=known is None or known.why != error.message)
            failures = 1 if known is None else known.failures + 1
            pause = min(_LONGEST_PAUSE, _OPENING_PAUSE * 2 ** min(failures - 1, 10))
            until = self._clock.monotonic() + pause
            self._troubles[name] = _Trouble(error.message, until, failures)

        self._engine.asking.do(partial(self._openings.look_up, name), opened, failed)

    def _complain(self, name: str, error: Error, *, new: bool) -> None:
        """Tell people why what they wait for does not begin; who runs already, goes on."""
        spec = self._openings.spec(name)
        if new and spec is not None and name not in self._engine.serving.served():
            self._engine.complain(spec, str(error))

    # Going on

    def _tick(self) -> None:
        look = self._config.timing.look
        pause = look if self._drain is None else min(look, _DRAINING_LOOK)
        self._loop.call_later(pause, self._tick)
        self._engine.serving.forget_settled()
        self._engine.claims.trim()
        self._apply()
        now, served = self._clock.monotonic(), self._engine.serving.served()
        known = served.keys() | self._opening
        self._stale = {name: at for name, at in self._stale.items() if name in known}
        for name, (_, quota, _) in served.items():
            if quota and now >= self._stale.get(name, now):
                self._look_up(name)
        self._go_on_draining()
        self._renew_report()
        busy = self._engine.busy
        waiting = any(each.waiting or each.starting for each in self._report.pools.values())
        # One that has just come has no orders of any planner yet, and is waited for.
        fresh = not self._orders.epoch
        self.heart.active = fresh or busy or waiting or bool(self._orders.quotas)
        if busy and self._answered:
            self._touch()
        elif now - self._last_led >= self._config.timing.led:
            self._see_whether_led()

    def _renew_report(self) -> None:
        troubled = {name: PoolReport(trouble=each.why) for name, each in self._troubles.items()}
        pools = {**troubled, **self._engine.serving.reports()}
        self._report = replace(self._report, pools=pools, epoch=self._orders.epoch)

    def _containers_changed(self) -> None:
        """Have it said how many there are, soon: in the next beat they may be gone again."""
        if not self._counting:
            self._counting = True
            since = self._clock.monotonic() - self._counted_at
            pause = max(_TOGETHER, self._config.timing.look - since)
            self._loop.call_later(pause, self._count_containers)

    def _count_containers(self) -> None:
        self._counting = False
        self._renew_report()
        pools = self._report.pools.items()
        there = {name: each.starting + each.idle + each.busy for name, each in pools}
        if there != self._counted:
            self._counted, self._counted_at = there, self._clock.monotonic()
            self.heart.nudge()

    def _see_whether_led(self) -> None:
        self._last_led = self._clock.monotonic()
        self._engine.asking.do(
            lambda: self._cloud.leadership.led(self._clock.wall()),
            lambda led: self._touch() if led else None,
            lambda _: None,
        )

    def _touch(self) -> None:
        """This machine is of use to somebody: it need not end itself."""
        self._last_led = self._clock.monotonic()
        try:
            self._config.heard.parent.mkdir(parents=True, exist_ok=True)
            self._config.heard.touch()
        except OSError as error:
            _log.warning("%s cannot be touched: %s", self._config.heard, error.strerror)

    # Leaving

    def noticed(self, notice: Notice) -> None:
        """The metadata service says what is about to befall this machine."""
        if notice.ends is not None and self._report.ends is None:
            self._report = replace(self._report, ends=notice.ends)
        if not notice.reason:
            return
        seconds: float | None = self._config.timing.drain
        if notice.ends is not None:
            seconds = notice.ends - self._clock.wall() - _MARGIN
        elif not notice.leaving and not notice.aside:
            seconds = None
        # One that is put aside begins anew, and waits: systemd starts it again.
        self._leave(
            notice.reason,
            seconds,
            final=notice.aside,
            more=notice.leaving and notice.ends is None,
        )

    def leave(self) -> None:
        """The process is told to end."""
        self._leave("it was told to end", self._config.timing.drain, final=True)

    def _leave(
        self, reason: str, seconds: float | None, *, final: bool, more: bool = False
    ) -> None:
        now, old = self._clock.monotonic(), self._drain
        deadline = None if seconds is None else now + max(0.0, seconds)
        # What began just now has its whole timeout, if the group waits for it.
        longest = min(self._engine.longest, self._config.timing.hold)
        latest = now + longest if more else None
        drain = Drain(reason, deadline, latest, final=final)
        if old is None or old.ordered:
            self._begin_drain(drain)
        else:
            self._drain = old.and_also(drain)

    def _begin_drain(self, drain: Drain) -> None:
        _log.info("draining: %s", drain.reason)
        self._drain = drain
        self._report = replace(self._report, state=MachineState.DRAINING)
        self._engine.drain()
        self.heart.nudge()
        self._loop.call_soon(self._go_on_draining)

    def _go_on_draining(self) -> None:
        drain = self._drain
        if drain is None:
            if self._report.state is not MachineState.READY:
                self._report = replace(self._report, state=MachineState.READY)
            return
        engine, now = self._engine, self._clock.monotonic()
        self._ask_for_time(drain, now)
        late = drain.deadline is not None and now >= drain.deadline
        if late and engine.agent.containers():
            engine.hand_back()
        patient = drain.deadline is None or now < drain.deadline + _LAST
        if (engine.busy or engine.agent.containers()) and patient:
            return
        if self._report.state is not MachineState.EMPTY:
            self._report = replace(self._report, state=MachineState.EMPTY)
            _log.info("nothing runs here any more")
            self.heart.nudge()
            self._tell_fleet("drained", self._cloud.fleet.drained)
        if drain.final and not self.done.done():
            self.done.set_result(None)

    def _ask_for_time(self, drain: Drain, now: float) -> None:
        """Have the group wait on; what it does not grant does not count."""
        pause = self._config.timing.drain / 4
        if not drain.wants_time() or not self._engine.busy or now < self._asked_for_time + pause:
            return
        self._asked_for_time = now

        def told(waits: bool) -> None:  # noqa: FBT001 - an answer
            if waits and self._drain is not None:
                self._drain = self._drain.held(now + self._config.timing.drain)

        self._engine.asking.do(
            partial(self._cloud.fleet.hold, self._report.machine_id),
            told,
            lambda error: _log.warning("the group was not asked to wait: %s", error),
        )

    def _tell_fleet(self, what: str, tell: Callable[[str], None]) -> None:
        """Tell the fleet something, until it has heard."""

        def failed(error: Error) -> None:
            _log.warning("the fleet was not told that this machine has %s: %s", what, error)
            self._loop.call_later(_TELL_PAUSE, self._tell_fleet, what, tell)

        self._engine.asking.do(partial(tell, self._report.machine_id), lambda _: None, failed)

    def close(self) -> None:
        """End everything; what is not told to the ledger by now is for others to find."""
        self.heart.stop()
        if not self._engine.outbox.flush(_FLUSH):
            _log.warning("the ledger was not told everything: others find it when the lease ends")
        try:
            self.heart.last_beat()
            self._cloud.fleet.drained(self._report.machine_id)
        except Error as error:
            _log.warning("the last report was not heard: %s", error)
        self._sockets.close()
        self._engine.close()
