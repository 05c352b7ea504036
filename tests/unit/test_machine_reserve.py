"""A machine in a warm pool: when it says that it is ready, and when it goes on."""

import pytest

from cloudfn.errors import ConflictError
from cloudfn.machine.metadata import Notice
from cloudfn.machine.reserve import Reserve
from cloudfn.testing.clock import FakeClock


class Fleet:
    def __init__(self, *failures):
        self.failures = list(failures)
        self.told = []

    def prepared(self, machine_id):
        if self.failures:
            raise self.failures.pop()
        self.told.append(machine_id)


class World:
    """A machine that hears one notice after the other, and the last one for ever.

    Args:
        root: Of its file system.
        aside: How many notices say that it is put aside, before one says otherwise.
        fleet: Whom it tells.
    """

    def __init__(self, root, aside, fleet):
        self.clock, self.fleet, self.looks = FakeClock(sleepless=True), fleet, 0
        self.heard, self._aside = root / "run" / "heard", aside
        self.reserve = Reserve(self.ask, fleet, "i-1", self.heard, self.clock, 5.0, root)

    def ask(self):
        self.looks += 1
        return Notice(aside=self.looks <= self._aside)


def test_a_machine_that_is_not_put_aside_goes_on_at_once(tmp_path):
    fleet = Fleet()
    World(tmp_path, 0, fleet).reserve.wait()

    assert fleet.told == []


def test_a_machine_that_is_put_aside_says_once_that_it_is_ready_and_waits(tmp_path):
    fleet = Fleet()
    world = World(tmp_path, 3, fleet)
    world.reserve.wait()

    assert fleet.told == ["i-1"]
    assert world.looks == 4
    assert world.heard.exists()


def test_it_is_not_ready_before_user_data_is_through(tmp_path):
    (tmp_path / "var/lib/cloud/instance").mkdir(parents=True)
    fleet = Fleet()
    World(tmp_path, 3, fleet).reserve.wait()
    assert fleet.told == []

    (tmp_path / "var/lib/cloud/instance/boot-finished").touch()
    World(tmp_path, 1, fleet).reserve.wait()

    assert fleet.told == ["i-1"]


def test_what_the_fleet_did_not_hear_is_said_again(tmp_path):
    fleet = Fleet(ConflictError("not there yet"))
    World(tmp_path, 3, fleet).reserve.wait()

    assert fleet.told == ["i-1"]


def test_a_machine_that_cannot_know_whether_it_is_put_aside_does_not_serve(tmp_path):
    world = World(tmp_path, 0, Fleet())
    world.reserve = Reserve(_raises, world.fleet, "i-1", world.heard, world.clock, 5.0, tmp_path)

    with pytest.raises(ConflictError):
        world.reserve.wait()


def _raises():
    raise ConflictError("no answer")
