"""Firing: what is submitted, noted and told, over crashes and failures at each step."""

from dataclasses import replace
from typing import Any

import pytest

from cloudfn.control.schedules.agenda import Agenda
from cloudfn.control.schedules.plan import Live
from cloudfn.daemon.calls import Calls
from cloudfn.daemon.journal import Journal
from cloudfn.daemon.schedules import Scheduler
from cloudfn.errors import InvalidError, NotFoundError, ResourceExhaustedError
from cloudfn.model.call import Status
from cloudfn.model.function import FunctionSpec
from cloudfn.model.schedule import Period, ScaleAt
from cloudfn.providers.ledger import Entry
from cloudfn.testing import FakeClock
from cloudfn.testing.memory_ledger import MemoryLedger
from cloudfn.testing.memory_schedules import MemorySchedules
from cloudfn.wire.codec import loads
from tests.unit.fake_loop import Loop

HOUR = 3600.0
POOL = "fu-1@1"


class Surroundings:
    """The rest of a daemon, as a list of what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.rung: list[str] = []
        self.settings: dict[str, int | None] = {}
        self.error: Exception | None = None

    def pool_for(self, function_id: str) -> str:
        if self.error is not None:
            raise self.error
        return f"{function_id}@1"

    def inputs_arrived(self, pool: str) -> None:
        self.rung.append(pool)

    def update_settings(self, _function_id: str, changes: Any, by: str) -> None:
        if self.error is not None:
            raise self.error
        self.settings |= {**changes, "by": by}

    def note(self, _function_id: str, text: str) -> None:
        self.notes.append(text)

    def delivering(self) -> None:
        pass

    def stop_input(self, *_: Any, **__: Any) -> None:
        pass


class Engine:
    """A daemon's scheduler over stores that outlive it."""

    def __init__(self, ledger: MemoryLedger, store: MemorySchedules, clock: FakeClock) -> None:
        self.ledger, self.store, self.clock = ledger, store, clock
        self.loop: Any = Loop()
        self.around: Any = Surroundings()
        self.journal = Journal(self.loop, ledger)
        self.calls = Calls(self.loop, self.journal, ledger, self.around, clock)
        self.scheduler = Scheduler(
            self.loop, Agenda(store), self.around, self.journal, ledger, self.calls, clock
        )

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the loop turn once; the sync has not come to its end."""
        self.clock.advance(seconds)
        self.scheduler.look()
        self.loop.turn()

    def settle(self) -> None:
        """Let what was synced be noted."""
        self.loop.turn_until(lambda: not self.journal._sync and not self.journal._unsynced)

    def finish(self, status: Status = Status.RETURNED) -> None:
        """Run what waits."""
        for claim in self.ledger.claim(POOL, 10, self.clock.wall()):
            self.journal.record([Entry(claim.seq, claim.fence, status, b"")])
            self.calls.recorded(claim.call_id, [claim.index], [status], [b""])
        self.settle()

    def history(self) -> list[Any]:
        (record, *_) = self.scheduler.agenda.records()
        return list(reversed(self.store.history(record.schedule_id, 100)))

    def made(self) -> list[str]:
        return [record.spec.call_id for record in self.ledger.calls(limit=100)]


def spec(schedule=None, *scaling):
    return FunctionSpec(name="f", module="m", qualname="f", schedule=schedule, scaling=scaling)


@pytest.fixture
def make():
    engines = []
    ledger, store, clock = MemoryLedger(), MemorySchedules(), FakeClock()

    def made(*declared):
        engine = Engine(ledger, store, clock)
        engines.append(engine)
        if declared:
            engine.scheduler.revise(Live("ap-1", clock.wall(), [("fu-1", spec(*declared))]))
        engine.scheduler.start(["ap-1"])
        engine.loop.turn()
        return engine

    yield made
    for engine in engines:
        engine.scheduler.stop()
        engine.journal.close()


def test_a_fire_is_a_durable_call_without_arguments_that_ends_in_the_history(make):
    engine = make(Period(hours=1))

    engine.pass_time(HOUR)
    (call_id,) = engine.made()
    record = engine.ledger.call(call_id)
    assert (record.spec.durable, record.spec.pool, record.sealed) == (True, POOL, True)
    assert engine.around.rung == [POOL]
    (claim,) = engine.ledger.claim(POOL, 10, engine.clock.wall())
    assert loads(claim.payload) == ((), {})
    engine.ledger.give_back([(claim.seq, claim.fence)])

    engine.settle()
    assert [fire.outcome for fire in engine.history()] == [""]
    engine.finish()
    assert [(fire.call_id, fire.outcome) for fire in engine.history()] == [(call_id, "returned")]
    assert engine.around.notes == []


@pytest.mark.parametrize("later", [0.0, 5 * HOUR], ids=["at once", "when more was missed"])
@pytest.mark.parametrize("point", ["before the commit", "before the note", "after the note"])
def test_a_crash_at_any_point_neither_loses_nor_doubles_a_run(make, point, later):
    engine = make(Period(hours=1))
    engine.clock.advance(HOUR)
    engine.scheduler.look()
    (call_id,) = engine.made()
    if point != "before the commit":
        engine.ledger.commit()
    if point == "after the note":
        engine.loop.turn()
        engine.settle()

    engine.ledger.crash(engine.clock.wall())
    engine.clock.advance(later)
    engine = make()
    engine.settle()
    engine.finish()

    missed = 1 if later else 0
    assert len(engine.made()) == missed + (point != "before the commit" or not later)
    if not later:
        assert engine.made() == [call_id]
    assert {fire.call_id for fire in engine.history()} == set(engine.made())
    assert {fire.outcome for fire in engine.history()} == {"returned"}


def test_a_call_that_could_not_be_committed_is_made_again_with_the_same_id(make):
    engine = make(Period(hours=1))
    engine.ledger.fail_next("commit", ResourceExhaustedError("The disk is full."))

    engine.pass_time(HOUR)
    assert engine.made() == []
    engine.loop.wait()
    engine.settle()
    assert [fire.call_id for fire in engine.history()] == []

    engine.pass_time(1.0)
    engine.settle()
    engine.finish()
    (fire,) = engine.history()
    assert ([fire.call_id], fire.outcome) == (engine.made(), "returned")


def test_a_failure_and_a_cancellation_are_told_in_the_log(make):
    engine = make(Period(hours=1))
    engine.pass_time(HOUR)
    engine.finish(Status.RAISED)
    engine.pass_time(HOUR)
    engine.settle()

    engine.calls.cancel(engine.history()[-1].call_id, terminate=False)
    engine.settle()

    assert [fire.outcome for fire in engine.history()] == ["raised", "cancelled"]
    assert "ended as raised; see `cloudfn call get fc-" in engine.around.notes[0]
    assert "ended as cancelled" in engine.around.notes[1]


def test_what_cannot_be_called_is_noted_and_the_schedule_goes_on(make):
    engine = make(Period(hours=1))
    engine.around.error = NotFoundError("There is no function fu-1.")
    engine.pass_time(HOUR)
    with pytest.raises(NotFoundError):
        engine.scheduler.run_now(engine.history()[0].schedule_id)
    engine.around.error = None
    engine.pass_time(HOUR)
    engine.settle()
    engine.finish()

    outcomes = [fire.outcome for fire in engine.history()]
    assert outcomes == ["failed: There is no function fu-1.", "returned"]


def test_trouble_of_one_schedule_keeps_no_other_from_firing(make):
    morning = ScaleAt("0 6 * * *", min_containers=4)
    engine = make(Period(hours=1), morning)
    assert engine.around.settings == {"min_containers": 4, "by": "schedule 0 6 * * * UTC"}
    engine.around.error = RuntimeError("not foreseen")
    engine.pass_time(22 * HOUR)
    assert engine.made() == []

    engine.around.error = None
    engine.around.settings.clear()
    engine.pass_time(1.0)
    engine.settle()

    assert len(engine.made()) == 1
    assert engine.around.settings["min_containers"] == 4


def test_a_schedule_of_an_app_that_lives_no_more_goes(make):
    engine = make(Period(hours=1))
    (record,) = engine.store.schedules()
    engine.store.put([replace(record, schedule_id="sc-gone", app_id="ap-gone")])

    assert [each.app_id for each in make().scheduler.agenda.records()] == ["ap-1"]


def test_only_what_was_made_by_hand_is_removed_by_hand(make):
    engine = make(Period(hours=1))
    (declared,) = engine.scheduler.agenda.records()
    added = engine.scheduler.add("ap-1", "fu-1", ScaleAt("0 6 * * *", min_containers=4))

    with pytest.raises(InvalidError, match="declared in the code"):
        engine.scheduler.agenda.remove_dynamic(declared.schedule_id)
    engine.scheduler.agenda.remove_dynamic(added.schedule_id)

    assert engine.scheduler.agenda.records() == [declared]
