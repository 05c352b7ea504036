"""Scripts: what attempts meet, as data."""

import pytest

from cloudfn.errors import InvalidError
from cloudfn.testing import Script


def test_steps_come_in_turn_and_then_all_is_well():
    script = Script({("f", 0): ["die", "raise"]})

    assert [script.step("f", 0, attempt) for attempt in range(3)] == ["die", "raise", "ok"]
    assert script.step("f", 1, 0) == "ok"


def test_a_function_alone_means_each_of_its_inputs_without_an_entry_of_its_own():
    script = Script({"f": ["lose"], ("f", 1): ["timeout"]})

    assert [script.step("f", number, 0) for number in range(3)] == ["lose", "timeout", "lose"]
    assert script.step("g", 0, 0) == "ok"


def test_a_single_word_is_one_step():
    assert Script({"f": "lose late"})["f"] == ("lose late",)


def test_what_no_attempt_belonged_to_is_known():
    script = Script({"f": ["die"], ("f", 7): ["die"], "typo": ["die"]})
    script.step("f", 0, 0)

    assert script.unmet == [("f", 7), "typo"]


@pytest.mark.parametrize("key", [3, ("f",), ("f", "0"), ("f", 0, 0), None])
def test_a_key_that_means_nothing_is_refused(key):
    with pytest.raises(InvalidError, match="cannot speak of"):
        Script({key: ["ok"]})


@pytest.mark.parametrize(
    "step", ["explode", -1, float("nan"), float("inf"), True, None, int, b"ok"]
)
def test_a_step_that_means_nothing_is_refused(step):
    with pytest.raises(InvalidError, match="no step"):
        Script({"f": [step]})


def test_it_can_be_changed_like_a_dictionary():
    script = Script()
    script["f"] = [0.5, ValueError, ValueError("x")]
    assert (len(script), list(script)) == (1, ["f"])

    del script["f"]

    assert script.step("f", 0, 0) == "ok"
