"""The planner of an environment: leads, observes, decides, acts, and keeps the story. Thin I/O.

One thread. Each tick renews the lease first; a tick that took longer than the lease allows changes
nothing any more, and orders of an earlier leader are ignored by their epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cloudfn.clock import Clock
from cloudfn.control.planner.fleet_decide import FleetDecision, Grow, PoolFate, decide_fleet
from cloudfn.control.planner.fleet_leaving import Leave
from cloudfn.control.planner.fleet_snapshot import (
    AVOIDED,
    UNANSWERED,
    FleetMemory,
    FleetSnapshot,
)
from cloudfn.control.planner.janitor import REPAIR, Departed, Janitor
from cloudfn.control.planner.observing import Observer
from cloudfn.control.planner.story import Story
from cloudfn.control.stores.ring import Ring
from cloudfn.errors import ConflictError, ConnectionError, Error, ServiceError  # noqa: A004 - ours
from cloudfn.model.cls import shown_name
from cloudfn.model.log import LogEntry
from cloudfn.providers.base import Cloud
from cloudfn.providers.fleet import Grown
from cloudfn.providers.leadership import Called
from cloudfn.providers.machines import MachineRow, MachineState, Orders

_log = logging.getLogger(__name__)

#: seconds that one leads without renewing it
LEASE = 10.0
#: a tick acts only within this part of it
_SAFE_PART = 0.6
#: seconds without a look after which silent machines may be well: while the service fails, nobody
#: is heard; and for which they are waited for then, as a request of theirs may rest for 20
_AWAY, _WAITED = 10.0, 30.0
#: seconds between two writes of the memory while nothing happens
_REMEMBER = 20.0
#: seconds between two lines about one pool in its app's log
_TELL = 10.0
#: times that classes are tried in one tick, when others are refused
_TRIES = 4
#: seconds before something is due for which the planner stays awake
AHEAD = 60.0


class Fires(Protocol):
    """Fires what is due by itself."""

    def look(self, now: float) -> None:
        """Do what is due; seconds since the epoch."""
        ...

    def next_due(self) -> float | None:
        """Return when something is due next; None: never."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """How an environment is planned for."""

    #: seconds that a machine without work is kept; None: as long as one takes to boot, or 120
    keep_alive: float | None = None
    #: seconds that outcomes of durable calls are kept
    retention: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Tick:
    """What came of a tick."""

    #: this process leads
    led: bool
    #: there is something to look at again in a second
    active: bool = False
    #: another one is here, and goes on when this process resigns
    relieved: bool = False
    decision: FleetDecision | None = None
    #: what changed, in sentences
    did: tuple[str, ...] = ()


class EnvironmentPlanner:
    """Plans for an environment, while it leads.

    Args:
        cloud: The environment.
        holder: Who this is, among those that want to lead.
        clock: What time it is.
        fires: What is due by itself.
        departed: Ends what belongs to clients that are gone.
        options: How it is planned for.
    """

    def __init__(
        self,
        cloud: Cloud,
        holder: str,
        clock: Clock,
        fires: Fires,
        departed: Departed,
        options: Options,
    ) -> None:
        self._cloud = cloud
        self._holder = holder
        self._clock = clock
        self._fires = fires
        self._observer = Observer(cloud, options.keep_alive)
        self._janitor = Janitor(cloud, departed, options.retention)
        self._story = Story(Ring(cloud.dicts))
        self._epoch: int | None = None
        #: how often it had been called when it looked, and whether it saw inputs that wait
        self._called: Called | None = None
        self._waiting = self._relieved = False
        self._memory = FleetMemory()
        self._remembered = float("-inf")
        #: when machines were looked at last; since when nobody looked, before, and until when those
        #: are waited for that were well then
        self._looked = self._away_since = self._waits_until = float("-inf")
        self._orders: dict[str, Orders] = {}
        self._asked = 0
        self._notes: tuple[str, ...] = ()
        #: pool → (when its app's log was told, what)
        self._told: dict[str, tuple[float, tuple[int, str]]] = {}

    def tick(self) -> Tick:
        """Look at everything once, if this process leads."""
        now = self._clock.wall()
        epoch = self._cloud.leadership.lead(self._holder, now, LEASE)
        if epoch is None:
            self._epoch = None
            return Tick(led=False)
        if epoch != self._epoch:
            self._begin(epoch, now)
        # Before anything is looked at: whoever calls later means what this look may not see.
        self._hear()
        rows = self._observer.rows()
        waits = self._waits_for(rows, now)
        try:
            return self._look(rows, epoch, now, waits=waits)
        finally:
            # Whoever waits for a machine does not wait for these.
            done = {**self._memory.chores, REPAIR: now} if waits else self._memory.chores
            chores = self._janitor.work(rows, done, now)
            self._memory = replace(self._memory, chores=chores)

    def _waits_for(self, rows: Sequence[MachineRow], now: float) -> bool:
        """Whether machines are silent that nobody could hear, and are waited for."""
        if now - self._looked > _AWAY:
            self._away_since, self._waits_until = self._looked, now + _WAITED
        self._looked = now
        missed = (
            self._away_since < row.lease_until <= now and row.report.state != MachineState.EMPTY
            for row in rows
        )
        return now < self._waits_until and any(missed)

    def _look(self, rows: list[MachineRow], epoch: int, now: float, *, waits: bool) -> Tick:
        self._fire(now)
        if waits:
            return Tick(led=True, active=True, relieved=self._relieved)
        snapshot = self._observer.observe(rows, epoch, self._memory, self._clock.wall())
        self._waiting = any(pool.pending for pool in snapshot.pools)
        decision = decide_fleet(snapshot)
        if self._clock.wall() - now > LEASE * _SAFE_PART:
            _log.warning("a look took %.1fs; nothing is changed by it", self._clock.wall() - now)
            return Tick(led=True, active=True, relieved=self._relieved)
        did = self._act(snapshot, decision)
        self._keep(snapshot, decision, did)
        active = decision.active or self._is_expected(now)
        return Tick(
            led=True,
            active=active,
            relieved=self._relieved,
            decision=decision,
            did=tuple(did),
        )

    def is_called(self) -> bool:
        """Whether somebody called since the last look, and need not wait for the next one.

        That there is work is no news while some waits: it is looked at each second.
        """
        try:
            called = self._cloud.leadership.called()
        except Error as error:
            _log.warning("calls are not heard: %s", error.message)
            return False
        before = self._called
        if before is None or called.changes != before.changes or called.reliefs != before.reliefs:
            return True
        return called.work != before.work and not self._waiting

    def _hear(self) -> None:
        before, called = self._called, self._cloud.leadership.called()
        if before is None or called.changes != before.changes:
            self._observer.book.outdate()
        self._relieved = before is not None and called.reliefs != before.reliefs
        self._called = called

    def leave(self) -> None:
        """Lead no longer, and leave what is known to the next one."""
        if self._epoch is not None:
            self._story.remember(self._memory, self._clock.wall())
            self._epoch = None
        self._cloud.leadership.resign(self._holder)

    def _begin(self, epoch: int, now: float) -> None:
        self._epoch = epoch
        self._called = None
        self._memory = self._story.memory(now)
        self._looked = self._memory.chores.get(REPAIR, self._looked)
        self._orders.clear()
        _log.info("leads, epoch %d", epoch)

    def _fire(self, now: float) -> None:
        try:
            self._fires.look(now)
        except Exception:  # noqa: BLE001 - whatever went wrong, there is a next time
            _log.exception("schedules could not be looked at")

    def _is_expected(self, now: float) -> bool:
        """Whether something is due so soon that the planner stays awake."""
        due = [self._fires.next_due(), self._observer.next_due()]
        return any(each is not None and each - now <= AHEAD for each in due)

    # Acting

    def _act(self, snapshot: FleetSnapshot, decision: FleetDecision) -> list[str]:
        self._memory = decision.memory
        self._order(snapshot, decision)
        did = [f"machine {each.machine_id} drains: {each.reason}" for each in decision.drain]
        did += self._grow(snapshot, decision.grow)
        did += self._retire(decision.retire)
        for machine_id in decision.forget:
            self._cloud.machines.remove(machine_id)
            did.append(f"machine {machine_id} is gone")
        for sentence in did:
            _log.info("%s", sentence)
        return did

    def _order(self, snapshot: FleetSnapshot, decision: FleetDecision) -> None:
        """Tell machines what changed for them."""
        wanted = {}
        for row in snapshot.machines:
            name = row.report.machine_id
            wanted[name] = Orders(
                snapshot.epoch,
                decision.quotas.get(name, {}),
                decision.kept.get(name, {}),
                drain=name in decision.draining or row.report.state == MachineState.EMPTY,
            )
        changed = {name: each for name, each in wanted.items() if self._orders.get(name) != each}
        if changed:
            self._cloud.machines.order(changed)
        self._orders = wanted

    def _grow(self, snapshot: FleetSnapshot, wanted: Sequence[Grow]) -> list[str]:
        """Ask for machines; where some are refused, for others at once."""
        did: list[str] = []
        for _ in range(_TRIES):
            refused = False
            for each in wanted:
                try:
                    grown, seconds = self._ask(each, snapshot)
                except ConflictError as error:
                    _log.info("%s", error.message)  # the next tick asks again
                    continue
                now, name = self._clock.wall(), each.machine_class
                self._memory = self._memory.after_asking(name, *grown, now, seconds=seconds)
                refused |= bool(grown.refused)
                did.append(_told(each, grown))
            if not refused:
                break
            wanted = decide_fleet(replace(snapshot, memory=self._memory)).grow
        if did:
            self._observer.changed()
        return did

    def _ask(self, wanted: Grow, snapshot: FleetSnapshot) -> tuple[Grown, float]:
        """Ask for machines; return what came of it, and for how long it counts if it is a refusal.

        Raises:
            ConflictError: Something else goes on there.
        """
        self._asked += 1
        token = f"{snapshot.epoch}-{wanted.machine_class}-{self._asked}"
        try:
            return self._cloud.fleet.grow(wanted.machine_class, wanted.count, token), AVOIDED
        except ConflictError:
            raise
        except (ConnectionError, ServiceError) as error:
            return Grown(0, refused=error.message), UNANSWERED
        except Error as error:
            return Grown(0, refused=error.message), AVOIDED

    def _retire(self, wanted: Sequence[Leave]) -> list[str]:
        """End machines that are, at a second look, still as they were."""
        if not wanted:
            return []
        rows = {row.report.machine_id: row for row in self._observer.rows()}
        now = self._clock.wall()
        gone = [each for each in wanted if _may_go(rows.get(each.machine_id), now)]
        try:
            self._cloud.fleet.retire([each.machine_id for each in gone])
        except Error as error:
            _log.warning("machines could not be ended: %s", error.message)
            return []
        self._observer.changed()
        return [f"machine {each.machine_id} is ended: {each.reason}" for each in gone]

    # The story

    def _keep(self, snapshot: FleetSnapshot, decision: FleetDecision, did: Sequence[str]) -> None:
        now = snapshot.now
        notes = [note for note in decision.notes if note not in self._notes]
        self._notes = decision.notes
        news = [fate for fate in decision.pools if self._is_news(fate, now)]
        if did or notes or news:
            self._story.add(snapshot, decision, [*did, *notes])
        if did or now - self._remembered >= _REMEMBER:
            self._story.remember(self._memory, now)
            self._remembered = now
        lines = [self._line(fate, now) for fate in news]
        try:
            for line in filter(None, lines):
                self._cloud.logs.write(line)
            if lines:
                self._cloud.logs.flush()
        except Error as error:
            _log.warning("reasons could not be logged: %s", error.message)

    def _is_news(self, fate: PoolFate, now: float) -> bool:
        if fate.pool not in self._told:
            return fate.desired != fate.current
        at, said = self._told[fate.pool]
        return (fate.desired, fate.limiting) != said and now - at >= _TELL

    def _line(self, fate: PoolFate, now: float) -> LogEntry | None:
        self._told[fate.pool] = now, (fate.desired, fate.limiting)
        facts = self._observer.book.facts(fate.pool)
        if facts is None:
            return None
        text = f"{fate.current} → {fate.desired} containers: {fate.reason}\n"
        app, function = (facts.app_id, facts.app_name), shown_name(facts.function.name)
        return LogEntry(now, *app, function, "planner", "", "", "system", text)


def _may_go(row: MachineRow | None, now: float) -> bool:
    """Whether a machine has drained, or nobody hears of it."""
    return row is None or row.lease_until <= now or row.report.state == MachineState.EMPTY


def _told(wanted: Grow, grown: Grown) -> str:
    name = wanted.machine_class
    if not grown.granted:
        return f"no machine of {name} {wanted.reason}: {grown.refused}"
    short = f" of {wanted.count} ({grown.refused})" if grown.refused else ""
    come = "machine of {} is" if grown.granted == 1 else "machines of {} are"
    return f"{grown.granted}{short} {come.format(name)} to come, {wanted.reason}"
