"""How the arguments of a batch become those of one call, and its list the results of each."""

import pytest

from cloudfn.exception import InvalidError
from cloudfn.worker.batches import merged, split


def two(a, b, *, c=None):
    return a


def anything(a, **rest):
    return a


class Model:
    def embed(self, text, size):
        return text


@pytest.mark.parametrize(
    ("function", "calls", "args", "kwargs"),
    [
        pytest.param(two, [((1, 2), {}), ((3, 4), {})], [[1, 3], [2, 4]], {}, id="by position"),
        pytest.param(two, [((1,), {"b": 2})], [[1], [2]], {}, id="by name"),
        pytest.param(
            two, [((1, 2), {"c": 3}), ((), {"a": 4, "c": 6, "b": 5})], [[1, 4], [2, 5]],
            {"c": [3, 6]}, id="in any order",
        ),
        pytest.param(anything, [((1,), {"x": 2})], [[1]], {"x": [2]}, id="any keyword"),
        pytest.param(Model().embed, [(("a", 1), {})], [["a"], [1]], {}, id="a method"),
    ],
)  # fmt: skip
def test_arguments_become_lists(function, calls, args, kwargs):
    assert merged(function, calls) == (args, kwargs)


@pytest.mark.parametrize(
    ("function", "calls", "message"),
    [
        pytest.param(two, [((1, 2), {}), ((1,), {})], "different arguments", id="mixed"),
        pytest.param(two, [((1, 2, 3), {})], "3 arguments by position; it takes 2", id="too many"),
        pytest.param(two, [((1,), {"a": 2})], "'a' twice", id="twice"),
        pytest.param(two, [((1,), {"x": 2})], "'x' that it does not have", id="unknown"),
        pytest.param(two, [((), {"b": 2})], "lacks the argument 'a'", id="a gap"),
    ],
)
def test_arguments_that_make_no_call(function, calls, message):
    with pytest.raises(InvalidError, match=message):
        merged(function, calls)


def test_results_are_given_to_each():
    assert split(two, ["x", "y"], 2) == ["x", "y"]


@pytest.mark.parametrize("results", [None, ("x", "y"), "xy", ["x"], ["x", "y", "z"]])
def test_results_that_cannot_be_given_to_each(results):
    with pytest.raises(InvalidError, match="The batched function two returned"):
        split(two, results, 2)
