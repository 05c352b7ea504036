"""Schedules in offline runs: time passes when the test says so, and functions run as it does."""

import pytest

import cloudfn
from cloudfn.exception import InvalidError
from cloudfn.testing import offline

ran: list[str] = []
app = cloudfn.App("offline-schedules")


@app.function(schedule=cloudfn.Period(hours=1))
def hourly():
    ran.append("hourly")


@app.function(schedule=cloudfn.Cron("30 * * * *"))
def half_past():
    ran.append("half past")


@app.function(
    scaling=[
        cloudfn.ScaleAt("0 6 * * *", min_containers=4),
        cloudfn.ScaleAt("0 22 * * *", min_containers=0),
    ]
)
def serve():
    """Be scaled."""


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


# The clock of an offline run starts at 08:00 on a day in January, in UTC.


def test_schedules_fire_as_time_passes(cloudfn_offline):
    with app.run():
        assert cloudfn_offline.pass_time(1800) == 1
        assert ran == ["half past"]
        assert cloudfn_offline.pass_time(2 * 3600) == 4
        assert ran == ["half past", "hourly", "half past", "hourly", "half past"]
    assert cloudfn_offline.pass_time(3600) == 0


def test_a_clock_that_was_moved_is_caught_up_with_by_one_run_each(cloudfn_offline):
    with app.run():
        cloudfn_offline.clock.advance(5 * 3600)
        assert cloudfn_offline.run_pending() == 2
    assert sorted(ran) == ["half past", "hourly"]


def test_scheduled_functions_follow_the_script():
    with offline(script={("hourly", 0): ["raise"]}) as world, app.run():
        world.pass_time(3600)
        world.pass_time(3600)
        attempts = [each for each in world.attempts if each.function == "hourly"]
        assert [each.ended for each in attempts] == ["raised", "returned"]


def test_a_slow_run_overlaps_the_next_unless_told_otherwise():
    slow = cloudfn.App("slow")

    @slow.function(schedule=cloudfn.Period(seconds=10), serialized=True, name="together")
    def together():
        pass

    @slow.function(
        schedule=cloudfn.Period(seconds=10, overlap=False), serialized=True, name="apart"
    )
    def apart():
        pass

    with offline(script={"together": [15] * 6, "apart": [15] * 3}) as world, slow.run():
        world.pass_time(60)
        assert (world.count("together"), world.count("apart")) == (6, 3)


def test_settings_are_those_of_the_time_of_day(cloudfn_offline):
    app.deploy()
    deployed = cloudfn.Function.from_name("offline-schedules", "serve")

    def minimum():
        return deployed.autoscaler.settings().min_containers

    cloudfn_offline.pass_time(0)
    assert minimum() == 4
    cloudfn_offline.pass_time(14 * 3600)
    assert minimum() == 0
    deployed.update_autoscaler(min_containers=2)
    assert minimum() == 2
    cloudfn_offline.pass_time(8 * 3600)
    assert minimum() == 4


def test_a_schedule_that_is_never_due_is_refused(cloudfn_offline):
    never = cloudfn.App("never")
    schedule = cloudfn.Cron("30 2 * 3 SUN#2", timezone="America/New_York")
    never.function(schedule=schedule, serialized=True, name="f")(lambda: None)

    with pytest.raises(InvalidError, match="never due"):
        never.deploy()
