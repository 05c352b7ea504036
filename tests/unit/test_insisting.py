"""What is done again while a service fails, and for how long."""

import pytest

from cloudfn import errors
from cloudfn.control.invocation.insisting import insist
from cloudfn.testing import FakeClock


def failing(clock, until, error):
    """Return work that fails until a moment, and the moments at which it was tried."""
    tries = []

    def work():
        tries.append(clock.monotonic())
        if tries[-1] < until:
            raise error

    return work, tries


@pytest.mark.parametrize(
    "error",
    [
        errors.ServiceError("S3 is away"),
        errors.ConnectionError("no network"),
        errors.ResourceExhaustedError("too many requests"),
        errors.AuthError("the credentials have expired"),
    ],
)
def test_a_service_that_fails_for_minutes_is_outlasted(error):
    clock = FakeClock(sleepless=True)
    back = clock.monotonic() + 540.0
    work, tries = failing(clock, back, error)

    insist(clock, work)

    assert tries[-1] - back < 5.0


def test_a_service_that_is_gone_is_given_up():
    clock = FakeClock(sleepless=True)
    began = clock.monotonic()
    work, tries = failing(clock, float("inf"), errors.ServiceError("S3 is away"))

    with pytest.raises(errors.ServiceError, match="away"):
        insist(clock, work)

    assert 540.0 < tries[-1] - began <= 600.0


def test_what_no_patience_mends_is_tried_once():
    clock = FakeClock(sleepless=True)
    work, tries = failing(clock, float("inf"), errors.InvalidError("no such thing"))

    with pytest.raises(errors.InvalidError):
        insist(clock, work)

    assert len(tries) == 1


def test_it_is_said_once_that_something_is_tried_again(caplog):
    clock = FakeClock(sleepless=True)
    work, tries = failing(clock, clock.monotonic() + 60.0, errors.ServiceError("S3 is away"))

    insist(clock, work)

    assert len(tries) > 2
    assert [r.getMessage() for r in caplog.records] == ["what follows is tried again. S3 is away"]
