"""What follows from the end of an attempt: the three counters, their caps, and what is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import FunctionTimeoutError
from cloudfn.model.call import (
    Again,
    CallKind,
    ContainerLost,
    Counters,
    Crashed,
    Ending,
    Finish,
    Overran,
    Raised,
    Status,
    TimedOut,
    settle,
)
from cloudfn.model.retry import Retries

FIXED = Retries(max_retries=2, backoff_coefficient=1, initial_delay=5)
SEGFAULT = "the container was ended by SIGSEGV (signal 11)"


@pytest.mark.parametrize(
    ("before", "ending", "retries", "verdict"),
    [
        pytest.param(
            Counters(),
            Raised(b"boom"),
            None,
            Finish(Counters(failures=1), Status.RAISED, b"boom"),
            id="an exception is the outcome where no retries are allowed",
        ),
        pytest.param(
            Counters(),
            Raised(b"boom"),
            FIXED,
            Again(Counters(failures=1), 5.0),
            id="an exception spends a retry",
        ),
        pytest.param(
            Counters(failures=1, crashes=2, losses=9),
            Raised(b"boom"),
            FIXED,
            Again(Counters(failures=2, crashes=2, losses=9), 5.0),
            id="and moves no other counter",
        ),
        pytest.param(
            Counters(failures=2),
            Raised(b"last"),
            FIXED,
            Finish(Counters(failures=3), Status.RAISED, b"last"),
            id="the last exception is the outcome",
        ),
        pytest.param(
            Counters(),
            Raised(b"no use", final=True),
            FIXED,
            Finish(Counters(failures=1), Status.RAISED, b"no use"),
            id="an exception that retries give up on is the outcome at once",
        ),
        pytest.param(
            Counters(),
            TimedOut(30),
            Retries(max_retries=2, give_up_on=FunctionTimeoutError),
            Finish(
                Counters(failures=1),
                Status.TIMED_OUT,
                reason="it ran longer than its timeout of 30s",
            ),
            id="and so is a timeout that they give up on",
        ),
        pytest.param(
            Counters(failures=1),
            TimedOut(30),
            FIXED,
            Again(Counters(failures=2), 5.0),
            id="a timeout spends a retry",
        ),
        pytest.param(
            Counters(failures=2),
            TimedOut(1.5),
            FIXED,
            Finish(
                Counters(failures=3),
                Status.TIMED_OUT,
                reason="it ran longer than its timeout of 1.5s",
            ),
            id="the last timeout is the outcome",
        ),
        pytest.param(
            Counters(),
            Crashed(SEGFAULT),
            None,
            Again(Counters(crashes=1), 0.0, alone=True),
            id="a crash is tried again alone, whatever the retries",
        ),
        pytest.param(
            Counters(crashes=2),
            Crashed(SEGFAULT),
            None,
            Finish(
                Counters(crashes=3),
                Status.LOST,
                reason=f"it took its container down 3 times, the last time: {SEGFAULT}",
            ),
            id="the third crash is the end",
        ),
        pytest.param(
            Counters(crashes=2),
            Crashed(SEGFAULT),
            Retries(max_retries=4),
            Again(Counters(crashes=3), 0.0, alone=True),
            id="many retries allow as many crashes",
        ),
        pytest.param(
            Counters(crashes=4),
            Crashed(SEGFAULT),
            Retries(max_retries=4),
            Finish(
                Counters(crashes=5),
                Status.LOST,
                reason=f"it took its container down 5 times, the last time: {SEGFAULT}",
            ),
            id="and no more",
        ),
        pytest.param(
            Counters(crashes=2),
            Crashed(SEGFAULT, alone=False),
            None,
            Again(Counters(crashes=2), 0.0, alone=True),
            id="a crash among several inputs blames none of them",
        ),
        pytest.param(
            Counters(failures=1, losses=8),
            ContainerLost("its agent died"),
            FIXED,
            Again(Counters(failures=1, losses=9), 0.0),
            id="a loss spends no retry and waits for nothing",
        ),
        pytest.param(
            Counters(losses=9),
            ContainerLost("its agent died"),
            FIXED,
            Finish(
                Counters(losses=10),
                Status.LOST,
                reason="it was lost 10 times, the last time because its agent died",
            ),
            id="the tenth loss is the end",
        ),
    ],
)
def test_what_follows(before, ending, retries, verdict):
    assert settle(before, ending, retries) == verdict


def test_the_delay_grows_with_the_failures_and_not_with_losses():
    policy = Retries(max_retries=5, initial_delay=1, backoff_coefficient=2)

    verdicts = [settle(Counters(failures=n, losses=7), Raised(b""), policy) for n in range(3)]

    assert [v.delay for v in verdicts if isinstance(v, Again)] == [1, 2, 4]


def test_jitter_reaches_the_delay():
    verdict = settle(Counters(), Raised(b""), FIXED, 0.5)

    assert verdict == Again(Counters(failures=1), 4.75)


endings = st.sampled_from(
    [
        Raised(b"x"),
        TimedOut(1),
        Crashed("x"),
        Crashed("x", alone=False),
        ContainerLost("x"),
    ]
)


@given(st.lists(endings, min_size=80, max_size=80), st.none() | st.integers(0, 5))
def test_every_input_ends_and_its_counters_never_go_back(script: list[Ending], allowed):
    retries = None if allowed is None else Retries(max_retries=allowed)
    counters = Counters()
    counted = 0
    for ending in script:
        verdict = settle(counters, ending, retries)
        moved = (
            verdict.counters.failures - counters.failures,
            verdict.counters.crashes - counters.crashes,
            verdict.counters.losses - counters.losses,
        )
        blamed = not (isinstance(ending, Crashed) and not ending.alone)
        assert sorted(moved) == [0, 0, int(blamed)]
        counted += blamed
        counters = verdict.counters
        if isinstance(verdict, Finish):
            assert verdict.status.terminal
            break

    assert counters.failures <= (allowed or 0) + 1
    assert counters.crashes <= max(3, (allowed or 0) + 1)
    assert counters.losses <= 10
    assert counted == counters.failures + counters.crashes + counters.losses


@pytest.mark.parametrize("kind", CallKind, ids=lambda kind: kind.name.lower())
def test_only_what_is_spawned_outlives_its_client(kind):
    assert kind.durable == kind.name.startswith("SPAWN")


@pytest.mark.parametrize("status", Status, ids=lambda status: status.name.lower())
def test_everything_but_waiting_and_running_is_an_outcome(status):
    assert status.terminal == (status.name not in ("PENDING", "RUNNING"))


@pytest.mark.parametrize(("left", "again"), [(5.1, True), (5.0, False), (0.0, False)])
def test_no_retry_waits_beyond_the_deadline(left, again):
    verdict = settle(Counters(), Raised(b"boom"), FIXED, left=left)

    assert isinstance(verdict, Again) is again
    if not again:
        assert verdict == Finish(Counters(failures=1), Status.RAISED, b"boom")


def test_an_input_that_overran_its_deadline_is_not_run_again():
    verdict = settle(Counters(failures=1), Overran(), FIXED, left=0.0)

    assert isinstance(verdict, Finish)
    assert verdict.status == Status.TIMED_OUT
