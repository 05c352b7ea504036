"""Lives of instances, second by second."""

import pytest

from cloudfn.rehearsal.lifecycle import (
    ALIVE,
    LAUNCHING,
    TERMINATING,
    Hook,
    Life,
    Phase,
    completed,
    ended,
    heard,
    passed,
)

JOIN = Hook("join", LAUNCHING, 600.0, "ABANDON")
DRAIN = Hook("drain", TERMINATING, 120.0, "CONTINUE")
HOOKS = (JOIN, DRAIN)
NEW = Life(Phase.PENDING, launched=100.0)


def waiting():
    return passed(NEW, HOOKS, 5.0, 105.0)


def test_there_is_no_machine_before_the_boot_is_over():
    assert passed(NEW, HOOKS, 5.0, 104.9).phase is Phase.PENDING
    assert Phase.PENDING not in ALIVE


def test_a_booted_instance_waits_for_whoever_joins_it():
    assert waiting().phase is Phase.PENDING_WAIT
    assert completed(waiting(), "CONTINUE").phase is Phase.IN_SERVICE


def test_without_a_hook_a_booted_instance_serves():
    assert passed(NEW, (DRAIN,), 5.0, 105.0).phase is Phase.IN_SERVICE


@pytest.mark.parametrize("now", [704.9, 705.0])
def test_an_instance_that_nobody_joins_is_abandoned(now):
    gone = now >= 705.0
    assert (passed(waiting(), HOOKS, 5.0, now).phase is Phase.TERMINATED) == gone


def test_heartbeats_put_the_end_of_a_wait_off_but_not_for_ever():
    longer = heard(waiting(), 700.0)
    assert passed(longer, HOOKS, 5.0, 1299.0).phase is Phase.PENDING_WAIT
    drains = ended(completed(waiting(), "CONTINUE"), HOOKS, 200.0)
    assert heard(drains, 200.0 + 99 * 120).until == 200.0 + 100 * 120
    assert heard(drains, 200.0 + 100 * 120).until == 200.0 + 100 * 120


def test_an_instance_that_serves_drains_before_it_ends():
    drains = ended(completed(waiting(), "CONTINUE"), HOOKS, 200.0)
    assert drains.phase is Phase.TERMINATING_WAIT
    assert ended(drains, HOOKS, 250.0) == drains
    assert completed(drains, "CONTINUE").phase is Phase.TERMINATED
    assert completed(drains, "ABANDON").phase is Phase.TERMINATED
    assert passed(drains, HOOKS, 5.0, 320.0).phase is Phase.TERMINATED


def test_an_instance_that_has_not_booted_ends_at_once():
    assert ended(NEW, HOOKS, 101.0).phase is Phase.TERMINATED
