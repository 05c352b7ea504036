"""What is due when, over deploys, pauses, missed times and crashes; time is an argument."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cloudfn.control.schedules.agenda import LATE, SKIPPED, Agenda
from cloudfn.control.schedules.plan import Live, check_schedules, revise
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.schedule import Cron, Period, ScaleAt, rule_from_json
from cloudfn.providers.schedules import ScheduleRecord
from cloudfn.testing.memory_schedules import MemorySchedules

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86_400.0


def function(schedule=None, *scaling, name="f"):
    return FunctionSpec(name=name, module="m", qualname=name, schedule=schedule, scaling=scaling)


def live(*functions, created=NOON, overridden=()):
    named = [(f"fu-{spec.name}", spec) for spec in functions]
    return Live("ap-1", created, named, overridden)


@pytest.fixture
def store():
    return MemorySchedules()


@pytest.fixture
def agenda(store):
    return Agenda(store)


def dues(agenda, now):
    """Take what is due, and say that it is done."""
    taken = agenda.take(now)
    for each in taken:
        agenda.kept(each.fire)
    return [each.fire.due - NOON for each in taken]


def test_a_period_is_due_one_period_after_the_deploy_and_then_again_and_again(agenda):
    agenda.revise(live(function(Period(hours=1))))

    assert agenda.next_due == NOON + HOUR
    assert dues(agenda, NOON + HOUR - 1) == []
    assert dues(agenda, NOON + HOUR) == [HOUR]
    assert dues(agenda, NOON + HOUR) == []
    assert agenda.next_due == NOON + 2 * HOUR
    assert dues(agenda, NOON + 2 * HOUR + 5) == [2 * HOUR]


def test_what_was_missed_is_made_up_for_by_one_late_run(agenda):
    agenda.revise(live(function(Period(hours=1)), function(Cron("30 * * * *"), name="g")))

    taken = agenda.take(NOON + 5 * HOUR + 60)

    assert [(each.fire.due - NOON, each.fire.late) for each in taken] == [
        (4.5 * HOUR, True), (5 * HOUR, True),
    ]  # fmt: skip
    assert agenda.take(NOON + 5 * HOUR + 60) == []
    assert not agenda.take(NOON + 5.5 * HOUR + LATE)[0].fire.late


def test_a_crash_before_the_note_gives_the_same_call_out_again(store, agenda):
    agenda.revise(live(function(Period(hours=1))))
    (before,) = agenda.take(NOON + HOUR)

    (again,) = Agenda(store).take(NOON + HOUR + 5)
    assert again.fire.call_id == before.fire.call_id

    agenda.kept(before.fire)
    assert Agenda(store).take(NOON + HOUR + 5) == []


def test_a_call_of_before_the_crash_is_found_although_a_later_time_is_due(store, agenda):
    agenda.revise(live(function(Period(hours=1))))
    (made,) = agenda.take(NOON + HOUR)

    after = Agenda(store)
    schedule_id = made.record.schedule_id
    found = after.first_missed(schedule_id, NOON + 5 * HOUR)
    assert found.call_id == made.fire.call_id
    after.kept(found)

    assert after.first_missed(schedule_id, NOON + 5 * HOUR).due == NOON + 2 * HOUR
    assert [each.fire.due for each in after.take(NOON + 5 * HOUR)] == [NOON + 5 * HOUR]
    assert after.first_missed(schedule_id, NOON + 5 * HOUR) is None


def test_call_ids_differ_by_schedule_and_due_time(agenda):
    agenda.revise(live(function(Period(hours=1)), function(Period(hours=1), name="g")))

    first = agenda.take(NOON + HOUR)
    second = agenda.take(NOON + 2 * HOUR)

    assert len({each.fire.call_id for each in first + second}) == 4


def test_what_could_not_be_done_is_given_out_again_later(agenda):
    agenda.revise(live(function(Period(hours=1))))
    (due,) = agenda.take(NOON + HOUR)

    agenda.back(due, NOON + HOUR + 1)

    assert agenda.next_due == NOON + HOUR + 1
    assert agenda.take(NOON + HOUR) == []
    assert agenda.take(NOON + HOUR + 1)[0].fire.call_id == due.fire.call_id


def test_runs_may_overlap_unless_told_otherwise(agenda, store):
    agenda.revise(live(
        function(Period(hours=1)), function(Period(hours=1, overlap=False), name="g"),
    ))  # fmt: skip
    first = agenda.take(NOON + HOUR)
    for each in first:
        agenda.kept(each.fire)

    second = {each.record.function_id: each.fire for each in agenda.take(NOON + 2 * HOUR)}
    assert second["fu-f"].outcome == ""
    assert (second["fu-g"].outcome, second["fu-g"].call_id) == (SKIPPED, "")
    for fire in second.values():
        agenda.kept(fire)

    agenda.ended(next(e.fire for e in first if e.record.function_id == "fu-g"), "returned")
    third = {each.record.function_id: each.fire for each in agenda.take(NOON + 3 * HOUR)}
    assert third["fu-g"].outcome == ""


def test_an_unfinished_run_of_before_a_restart_counts_as_running(store, agenda):
    agenda.revise(live(function(Period(hours=1, overlap=False))))
    (due,) = agenda.take(NOON + HOUR)
    agenda.kept(due.fire)

    after = Agenda(store)
    assert after.unfinished() == [due.fire]

    assert after.take(NOON + 2 * HOUR)[0].fire.outcome == SKIPPED


def test_a_call_that_ends_before_it_is_noted_is_not_taken_for_running(agenda):
    agenda.revise(live(function(Period(hours=1, overlap=False))))
    (due,) = agenda.take(NOON + HOUR)
    agenda.ended(due.fire, "returned")
    agenda.kept(due.fire)

    assert agenda.take(NOON + 2 * HOUR)[0].fire.outcome == ""
    assert agenda.history(due.record.schedule_id, 1)[0].outcome == "returned"


def test_a_paused_schedule_rests_and_goes_on_without_catching_up(agenda):
    agenda.revise(live(function(Period(hours=1))))
    (record,) = agenda.records()

    agenda.pause([record.schedule_id], NOON + 60, paused=True)
    assert agenda.next_due is None
    assert agenda.take(NOON + 5 * HOUR) == []

    agenda.pause([record.schedule_id], NOON + 5.5 * HOUR, paused=False)
    assert agenda.next_due == NOON + 6 * HOUR
    with pytest.raises(NotFoundError):
        agenda.pause(["sc-none"], NOON, paused=True)


def test_a_run_by_hand_leaves_the_times_alone(agenda):
    agenda.revise(live(function(Period(hours=1))))
    (record,) = agenda.records()
    agenda.pause([record.schedule_id], NOON, paused=True)

    due = agenda.by_hand(record.schedule_id, NOON + 60)
    agenda.kept(due.fire)

    assert due.fire.manual
    assert agenda.history(record.schedule_id, 1) == [due.fire]
    assert agenda.record(record.schedule_id) == replace(record, paused=True)


def test_the_next_times_are_told_also_of_a_paused_schedule(agenda):
    agenda.revise(live(function(Period(hours=1))))
    (record,) = agenda.records()
    agenda.pause([record.schedule_id], NOON, paused=True)

    times = agenda.times(record.schedule_id, NOON + 90, 3)

    assert [time - NOON for time in times] == [HOUR, 2 * HOUR, 3 * HOUR]


def test_a_run_by_hand_that_fails_does_not_count_as_running(agenda):
    agenda.revise(live(function(Period(hours=1, overlap=False))))
    (record,) = agenda.records()

    agenda.back(agenda.by_hand(record.schedule_id, NOON + 60), NOON + 60)

    assert agenda.take(NOON + HOUR)[0].fire.outcome == ""


def test_a_time_zone_that_is_unknown_by_now_keeps_nothing_else_from_firing(store):
    gone = rule_from_json({"cron_string": "0 * * * *", "timezone": "Gone/Away"})
    records = [
        ScheduleRecord("sc-1", "ap-1", "fu-f", gone, NOON, NOON),
        ScheduleRecord("sc-2", "ap-1", "fu-g", Period(hours=1), NOON, NOON),
    ]
    store.put(records)

    agenda = Agenda(store)

    assert agenda.next_of("sc-1") is None
    assert [each.record.schedule_id for each in agenda.take(NOON + HOUR)] == ["sc-2"]
    with pytest.raises(InvalidError, match="knows no time zone"):
        agenda.times("sc-1", NOON, 1)


# Deploys


def test_a_schedule_that_did_not_change_goes_on_as_if_there_had_been_no_deploy(agenda):
    agenda.revise(live(function(Period(hours=2)), function(Period(hours=2), name="g")))

    later = live(
        function(Period(hours=2)), function(Period(hours=3), name="g"), created=NOON + HOUR
    )
    agenda.revise(later)

    assert dues(agenda, NOON + 2 * HOUR) == [2 * HOUR]
    assert dues(agenda, NOON + 4 * HOUR) == [4 * HOUR, 4 * HOUR]
    assert revise(later, agenda.records()) == revise(live(), [])


def test_a_changed_schedule_stays_paused_and_keeps_its_history(agenda):
    agenda.revise(live(function(Period(hours=1))))
    dues(agenda, NOON + HOUR)
    (record,) = agenda.records()
    agenda.pause([record.schedule_id], NOON + HOUR, paused=True)

    agenda.revise(live(function(Cron("0 6 * * *")), created=NOON + 2 * HOUR))

    (changed,) = agenda.records()
    assert (changed.schedule_id, changed.paused) == (record.schedule_id, True)
    assert len(agenda.history(record.schedule_id, 5)) == 1


def test_what_the_revision_does_not_have_goes(agenda):
    agenda.revise(live(function(Period(hours=1)), function(Period(hours=1), name="g")))

    agenda.revise(live(function(Period(hours=1)), function(name="g")))
    assert [record.function_id for record in agenda.records()] == ["fu-f"]

    agenda.drop("ap-1")
    assert agenda.records() == []
    assert agenda.next_due is None


# Scheduled settings

MORNING = ScaleAt("0 6 * * *", min_containers=4)
EVENING = ScaleAt("0 22 * * *", min_containers=0, buffer_containers=1)
OFFICE = function(None, MORNING, EVENING)


def rules(taken):
    return [each.record.rule for each in taken]


def test_settings_that_are_in_force_by_now_are_due_at_once_in_the_order_of_their_times(agenda):
    agenda.revise(live(OFFICE))

    taken = agenda.take(NOON)

    # Yesterday evening's buffer is still in force; this morning's minimum came after it.
    assert rules(taken) == [EVENING, MORNING]
    assert not any(each.fire.late for each in taken)
    for each in taken:
        agenda.kept(each.fire)
    assert dues(agenda, NOON + DAY) == [10 * HOUR, 18 * HOUR]


def test_a_deploy_that_clears_overrides_has_scheduled_settings_applied_again(agenda):
    agenda.revise(live(OFFICE))
    dues(agenda, NOON)

    agenda.revise(live(OFFICE, overridden=["fu-f"]))
    assert agenda.take(NOON + 1) == []

    agenda.revise(live(OFFICE))
    assert rules(agenda.take(NOON + 1)) == [EVENING, MORNING]


def test_with_kept_overrides_new_scheduled_settings_wait_for_their_time(agenda):
    agenda.revise(live(OFFICE, overridden=["fu-f"]))

    assert agenda.take(NOON + 1) == []
    assert dues(agenda, NOON + 10 * HOUR) == [10 * HOUR]


def test_settings_scheduled_by_hand_wait_for_their_time_and_stay_with_their_function(agenda):
    by_hand = ScheduleRecord("sc-1", "ap-1", "fu-f", MORNING, NOON, NOON, dynamic=True)
    agenda.put([by_hand])

    agenda.revise(live(function()))
    assert agenda.records() == [by_hand]
    assert agenda.next_due == NOON + 18 * HOUR

    agenda.revise(live(function(name="g")))
    assert agenda.records() == []


def test_a_deploy_takes_away_what_was_scheduled_by_hand(agenda):
    agenda.revise(live(OFFICE))
    agenda.put([ScheduleRecord("sc-1", "ap-1", "fu-f", MORNING, NOON, NOON, dynamic=True)])

    agenda.drop_dynamic("ap-1")

    assert not any(record.dynamic for record in agenda.records())
    assert len(agenda.records()) == 2


def test_a_deploy_with_a_schedule_that_is_never_due_is_refused():
    check_schedules([function(Period(hours=1), MORNING)], NOON)
    never = "30 2 * 3 SUN#2"
    for spec in (
        function(Cron(never, "America/New_York")),
        function(None, ScaleAt(never, timezone="America/New_York", min_containers=1)),
    ):
        with pytest.raises(InvalidError, match="never due"):
            check_schedules([spec], NOON)
