"""The fake clock: it moves when told, and never by itself."""

from threading import Thread

import pytest

from cloudfn.testing import FakeClock


def test_time_stands_still_until_it_is_advanced():
    clock = FakeClock(wall=100.0, monotonic=5.0)

    assert (clock.wall(), clock.monotonic()) == (100.0, 5.0)
    clock.advance(2.5)
    assert (clock.wall(), clock.monotonic()) == (102.5, 7.5)


def test_time_does_not_go_back():
    clock = FakeClock()

    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_a_sleeper_wakes_when_its_time_has_come_and_not_before():
    clock = FakeClock()
    woken = []

    def sleep(seconds):
        clock.sleep(seconds)
        woken.append(seconds)

    threads = [Thread(target=sleep, args=(seconds,), daemon=True) for seconds in (10, 30)]
    for thread in threads:
        thread.start()
    clock.wait_for_waiters(2)

    clock.advance(9)
    assert clock.waiters == 2
    clock.advance(1)
    threads[0].join(10)
    assert (woken, clock.waiters) == ([10], 1)
    clock.advance(20)
    threads[1].join(10)
    assert (woken, clock.waiters) == ([10, 30], 0)


def test_waiting_for_a_sleeper_that_never_comes_ends():
    with pytest.raises(TimeoutError, match="0 of 1"):
        FakeClock().wait_for_waiters(1, patience=0.01)


def test_a_sleepless_clock_moves_by_itself():
    clock = FakeClock(monotonic=0.0, sleepless=True)

    clock.sleep(3)

    assert clock.monotonic() == 3.0
