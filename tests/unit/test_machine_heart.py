"""The heart of a machine: when it beats, what it hears, what it makes of silence and refusal."""

from dataclasses import dataclass, field, replace

import pytest

from cloudfn.errors import ConnectionError  # noqa: A004 - ours
from cloudfn.machine.config import Timing
from cloudfn.machine.heart import Heart
from cloudfn.providers.machines import MachineReport, MachineState, Orders
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.cloud import Guarded
from cloudfn.testing.memory_machines import MemoryMachines

REPORT = MachineReport("i-1", "small", MachineState.READY, 2.0, 1024)


@dataclass
class Body:
    """What a heart tells."""

    told: list[object] = field(default_factory=list)
    shape: MachineReport = REPORT

    def report(self) -> MachineReport:
        return self.shape

    def hear(self, orders: Orders) -> None:
        self.told.append(dict(orders.quotas))

    def answered(self, *, answered: bool) -> None:
        self.told.append(answered)

    def lost(self) -> None:
        self.told.append("lost")

    def take(self) -> list[object]:
        told, self.told = self.told, []
        return told


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def machines():
    return Guarded(MemoryMachines())


@pytest.fixture
def body():
    return Body()


@pytest.fixture
def heart(machines, body, clock):
    heart = Heart(machines, body, Timing(), clock)
    heart.step()
    assert body.take() == [True, {}]
    return heart


def test_a_machine_that_has_nothing_to_do_beats_and_hears_orders_with_that(
    heart, machines, body, clock
):
    pause = heart.step()

    clock.advance(pause)
    heart.step()

    assert machines.asked.get("beat", 0) == 1
    assert pause == 5.0


def test_orders_are_looked_at_each_second_while_anything_runs(heart, machines, body, clock):
    heart.active = True
    machines.order({"i-1": Orders(1, {"fu-f@1": 3})})
    clock.advance(1.0)

    pause = heart.step()

    assert pause == 1.0
    assert body.take() == [{"fu-f@1": 3}]
    assert "beat" not in machines.asked


def test_a_beat_without_an_answer_is_told_and_repeated_soon(heart, machines, body, clock):
    clock.advance(5.0)
    machines.fail_next("beat", ConnectionError("no answer"))

    pause = heart.step()
    assert body.take() == [False]
    assert pause == 1.0

    clock.advance(pause)
    heart.step()
    assert body.take() == [True, {}]


def test_a_machine_that_was_given_up_loses_everything_and_joins_anew(heart, machines, body, clock):
    machines.remove("i-1")
    clock.advance(5.0)

    assert heart.step() == 0.0
    assert body.take() == [False, "lost"]

    heart.step()
    assert body.take() == [True, {}]
    assert [row.report.machine_id for row in machines.list()] == ["i-1"]


def test_a_nudge_makes_it_beat_at_once(heart, machines, body, clock):
    body.shape = replace(REPORT, state=MachineState.EMPTY)

    heart.nudge()
    heart.step()

    assert machines.list()[0].report.state is MachineState.EMPTY


def test_a_machine_that_cannot_join_tries_again(machines, body, clock):
    heart = Heart(machines, body, Timing(), clock)
    machines.fail_next("join", ConnectionError("no answer"))

    assert heart.step() == 1.0
    heart.step()

    assert body.take() == [True, {}]


def test_the_lease_counts_from_when_the_beat_was_sent(heart, machines, clock):
    clock.advance(5.0)
    heart.step()

    [row] = machines.list()
    assert row.lease_until == clock.wall() + 30.0
