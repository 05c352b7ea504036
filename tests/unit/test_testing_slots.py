"""Concurrent and batched functions in offline runs."""

import pytest

import cloudfn
from cloudfn.exception import InvalidError
from cloudfn.testing import offline

app = cloudfn.App("offline-slots")


@app.function()
@cloudfn.concurrent(max_inputs=3)
def square(x):
    return x * x


@app.function()
@cloudfn.batched(max_batch_size=4, wait_ms=1_000)
async def double(x, *, plus):
    return [2 * a + b for a, b in zip(x, plus, strict=True)]


@app.function()
@cloudfn.batched(max_batch_size=4, wait_ms=1_000)
def broken(x):
    return x[0]


@pytest.fixture(autouse=True)
def world():
    with offline() as world, app.run():
        yield world


def test_a_concurrent_function_runs():
    assert list(square.map(range(4))) == [0, 1, 4, 9]


def test_a_batched_function_gets_lists():
    assert list(double.map([1, 2], kwargs={"plus": 1})) == [3, 5]


def test_a_batched_function_that_returns_no_list_is_an_error():
    with pytest.raises(InvalidError, match="not a list"):
        broken.remote(3)
