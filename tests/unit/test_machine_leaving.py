"""How long a machine that leaves lets run what runs."""

from cloudfn.machine.leaving import Drain

BY_GROUP = Drain("its group ends the machine", 75.0, latest=300.0)
BY_SPOT = Drain("its provider takes the machine away", 105.0)
BY_CHANCE = Drain("its provider may take the machine away soon", None)


def test_a_group_that_waits_gives_time_as_far_as_timeouts_go_and_takes_none():
    assert BY_GROUP.held(95.0).deadline == 95.0
    assert BY_GROUP.held(95.0).held(80.0).deadline == 95.0
    assert BY_GROUP.held(1_000.0).deadline == 300.0
    assert BY_GROUP.wants_time()
    assert not BY_GROUP.held(300.0).wants_time()


def test_where_no_group_waits_nothing_is_put_off():
    for drain in (BY_SPOT, BY_CHANCE):
        assert drain.held(1_000.0) == drain
        assert not drain.wants_time()


def test_the_sooner_of_two_reasons_counts_however_long_the_group_would_wait():
    both = BY_GROUP.and_also(BY_SPOT)

    assert both.deadline == 75.0
    assert both.held(1_000.0).deadline == 105.0
    assert both.held(1_000.0).and_also(BY_GROUP).deadline == 75.0


def test_a_machine_that_was_at_risk_is_put_off_when_its_group_ends_it():
    assert BY_CHANCE.and_also(BY_GROUP).held(1_000.0).deadline == 300.0
    assert BY_CHANCE.and_also(BY_CHANCE).deadline is None


def test_timeouts_of_what_is_left_count_each_time_that_it_is_looked_at():
    later = BY_GROUP.held(95.0).and_also(Drain("its group ends the machine", 100.0, latest=200.0))

    assert later.deadline == 95.0
    assert later.held(1_000.0).deadline == 200.0


def test_a_process_that_is_told_to_end_ends_whatever_else_was_the_reason():
    assert BY_GROUP.and_also(Drain("it was told to end", 80.0, final=True)).final
