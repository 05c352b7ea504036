"""Retries: which policies there are, and how long each waits."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import FunctionTimeoutError, InvalidError
from cloudfn.model.retry import Retries, parse_retries

policies = st.builds(
    Retries,
    max_retries=st.integers(0, 100),
    backoff_coefficient=st.floats(1, 10),
    initial_delay=st.floats(0, 60),
    max_delay=st.floats(1, 60),
    retry_on=st.sampled_from([(), OSError, (KeyError, "some.module:Class.Inner")]),
    give_up_on=st.sampled_from([(), ValueError]),
)


class OwnError(ConnectionError):
    pass


def test_the_defaults_double_from_one_second_to_a_minute():
    policy = Retries(max_retries=9)

    assert [policy.delay(n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        pytest.param(
            Retries(max_retries=2, initial_delay=2, backoff_coefficient=3), [2, 6, 18], id="grows"
        ),
        pytest.param(
            Retries(max_retries=2, initial_delay=2, backoff_coefficient=1), [2, 2, 2], id="is fixed"
        ),
        pytest.param(Retries(max_retries=2, initial_delay=0), [0, 0, 0], id="is none"),
        pytest.param(
            Retries(max_retries=2, initial_delay=5, max_delay=7), [5, 7, 7], id="stops at max_delay"
        ),
        pytest.param(
            Retries(max_retries=2, initial_delay=9, max_delay=1),
            [1, 1, 1],
            id="is cut to max_delay from the start",
        ),
    ],
)
def test_the_delay(policy, delays):
    assert [policy.delay(n) for n in (1, 2, 3)] == delays


def test_the_thousandth_retry_overflows_nothing():
    assert Retries(max_retries=10**6, backoff_coefficient=10).delay(10**6) == 60


@pytest.mark.parametrize("retry", [0, -1])
def test_retries_count_from_one(retry):
    with pytest.raises(ValueError, match="count from 1"):
        Retries(max_retries=3).delay(retry)


@given(policies, st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_jitter_takes_off_at_most_a_tenth(policy, retry, jitter):
    full, cut = policy.delay(retry), policy.delay(retry, jitter)

    assert full * 0.9 <= cut <= full <= policy.max_delay


@given(policies, st.integers(1, 50))
def test_later_retries_never_wait_less(policy, retry):
    assert policy.delay(retry + 1) >= policy.delay(retry)


@given(policies)
def test_a_policy_survives_as_plain_data(policy):
    again = Retries(**policy.to_json())

    assert again == policy
    assert hash(again) == hash(policy)


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_retries": -2},
        {"max_retries": 1.5},
        {"max_retries": True},
        {"max_retries": "3"},
        {"max_retries": 3, "backoff_coefficient": 0},
        {"max_retries": 3, "backoff_coefficient": 11},
        {"max_retries": 3, "backoff_coefficient": "2"},
        {"max_retries": 3, "initial_delay": -0.1},
        {"max_retries": 3, "initial_delay": 61},
        {"max_retries": 3, "initial_delay": math.nan},
        {"max_retries": 3, "max_delay": 0.5},
        {"max_retries": 3, "max_delay": 61},
        {"max_retries": 3, "max_delay": math.inf},
        {"max_retries": 3, "max_delay": True},
    ],
    ids=lambda arguments: ", ".join(f"{name}={value!r}" for name, value in arguments.items()),
)
def test_what_is_out_of_range_is_refused_by_name(arguments: dict[str, Any]):
    name = tuple(arguments)[-1]

    with pytest.raises(InvalidError, match=f"Invalid retries: `{name}`"):
        Retries(**arguments)


def test_the_number_of_retries_must_be_given():
    with pytest.raises(TypeError, match="max_retries"):
        Retries()  # type: ignore[call-arg]


def test_arguments_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        Retries(3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("value", "policy"),
    [
        pytest.param(None, None, id="none means none"),
        pytest.param(
            3,
            Retries(max_retries=3, backoff_coefficient=1, initial_delay=1),
            id="a number waits for a second each time",
        ),
        pytest.param(0, Retries(max_retries=0, backoff_coefficient=1), id="zero is a number"),
        pytest.param(Retries(max_retries=1), Retries(max_retries=1), id="a policy is itself"),
    ],
)
def test_what_a_decorator_may_say(value, policy):
    assert parse_retries(value) == policy


@pytest.mark.parametrize("value", [-1, 1.5, True, "3", [1]], ids=repr)
def test_what_a_decorator_may_not_say(value):
    with pytest.raises(InvalidError, match="Invalid retries"):
        parse_retries(value)


@pytest.mark.parametrize(
    ("policy", "kind", "gives_up"),
    [
        pytest.param({}, ValueError, False, id="without classes everything is run again"),
        pytest.param({"retry_on": OSError}, ValueError, True, id="another class is not"),
        pytest.param({"retry_on": OSError}, OwnError, False, id="a class means its subclasses too"),
        pytest.param({"retry_on": (KeyError, OSError)}, KeyError, False, id="one of several"),
        pytest.param({"give_up_on": OSError}, OwnError, True, id="given up on by a base class"),
        pytest.param({"give_up_on": OSError}, KeyError, False, id="not given up on"),
        pytest.param(
            {"retry_on": Exception, "give_up_on": OSError}, OwnError, True, id="giving up wins"
        ),
    ],
)
def test_which_exceptions_are_run_again(policy, kind, gives_up):
    assert Retries(max_retries=1, **policy).gives_up_on(kind) is gives_up


def test_a_class_of_the_users_file_is_the_same_under_both_names_of_its_module():
    as_script = type("AppError", (Exception,), {"__module__": "__main__"})
    as_module = type("AppError", (Exception,), {"__module__": "script"})

    for declared in (as_script, as_module):
        policy = Retries(max_retries=1, give_up_on=declared)
        assert policy.gives_up_on(as_script, "script")
        assert policy.gives_up_on(as_module, "script")
    assert not Retries(max_retries=1, give_up_on=as_script).gives_up_on(as_module, "other")


@pytest.mark.parametrize(
    ("policy", "gives_up"),
    [
        pytest.param({}, False, id="not by itself"),
        pytest.param({"retry_on": ValueError}, False, id="not because it is not named"),
        pytest.param({"give_up_on": FunctionTimeoutError}, True, id="named"),
        pytest.param({"give_up_on": (ValueError, Exception)}, True, id="named by a base class"),
    ],
)
def test_timeouts_are_run_again_unless_they_are_given_up_on(policy, gives_up):
    assert Retries(max_retries=1, **policy).gives_up_on_timeouts is gives_up


@pytest.mark.parametrize("name", ["retry_on", "give_up_on"])
@pytest.mark.parametrize("value", [3, int, (ValueError, 3), "ValueError", ValueError()], ids=repr)
def test_what_is_no_class_of_exceptions_is_refused(name, value):
    with pytest.raises(InvalidError, match=f"`{name}` must be an exception's class"):
        Retries(max_retries=1, **{name: value})
