"""`@concurrent` and `@batched` when they are written down: order, places, values."""

import pytest

import cloudfn
from cloudfn.errors import InvalidError
from cloudfn.model.concurrency import Batching, Concurrency
from cloudfn.model.function import FunctionSpec
from cloudfn.sdk.slots import batching_of, concurrency_of

# Functions are declared at the top of the module: `App.function` takes no others.
app = cloudfn.App()


@app.function()
@cloudfn.concurrent(max_inputs=20, target_inputs=10)
def fetch(url):
    return url


@app.function()
@cloudfn.concurrent(max_inputs=3)
@cloudfn.batched(max_batch_size=8, wait_ms=50)
async def score(text, *, model):
    return [len(each) for each in text]


@app.function()
def plain(x):
    return x


def other(x):
    return x


class Reader:
    def read(self, path):
        return path


def test_a_function_says_how_many_inputs_a_container_runs():
    assert fetch.spec.concurrency == Concurrency(20, 10)
    assert (fetch.spec.slots, fetch.spec.target_slots) == (20, 10)


def test_batches_multiply_the_slots():
    assert score.spec.batching == Batching(8, 50)
    assert (score.spec.slots, score.spec.target_slots, score.spec.batch_size) == (24, 24, 8)


def test_a_plain_function_has_one_slot():
    assert (plain.spec.slots, plain.spec.target_slots, plain.spec.batch_size) == (1, 1, 1)


def test_the_decorated_function_is_still_the_users_own():
    assert fetch.local("a") == "a"


def test_a_class_can_be_concurrent_and_its_subclasses_are_not():
    class Server:
        pass

    marked = cloudfn.concurrent(max_inputs=4)(Server)

    class Derived(Server):
        pass

    assert marked is Server
    assert concurrency_of(Server) == Concurrency(4)
    assert concurrency_of(Derived) is None


def test_a_method_can_take_batches():
    def embed(self, text):
        return text

    embed.__qualname__ = "Model.embed"

    assert batching_of(cloudfn.batched(max_batch_size=2, wait_ms=0)(embed)) == Batching(2, 0)


def test_the_spec_travels_as_plain_data():
    for spec in (fetch.spec, score.spec, plain.spec):
        assert FunctionSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("decorator", "what", "message"),
    [
        pytest.param(
            cloudfn.concurrent(max_inputs=2), plain, "Cannot stack `@concurrent`", id="order"
        ),
        pytest.param(
            cloudfn.batched(max_batch_size=2, wait_ms=1),
            plain,
            "Cannot stack `@batched`",
            id="order of batched",
        ),
        pytest.param(
            cloudfn.concurrent(max_inputs=2), Reader.read, "on a method", id="concurrent method"
        ),
        pytest.param(
            cloudfn.batched(max_batch_size=2, wait_ms=1), Reader, "on a class", id="batched class"
        ),
    ],
)
def test_a_decorator_in_the_wrong_place_says_where_it_belongs(decorator, what, message):
    """C115."""
    with pytest.raises(InvalidError, match=message) as caught:
        decorator(what)

    assert caught.value.hint


def with_default(x, y=1):
    return x


def with_keyword_default(x, *, y=1):
    return x


def generator(x):
    yield x


async def async_generator(x):
    yield x


@pytest.mark.parametrize("raw", [with_default, with_keyword_default])
def test_a_batched_function_has_no_default_arguments(raw):
    with pytest.raises(InvalidError, match="default arguments"):
        cloudfn.batched(max_batch_size=2, wait_ms=1)(raw)


@pytest.mark.parametrize("raw", [generator, async_generator])
def test_a_batched_function_is_no_generator(raw):
    with pytest.raises(InvalidError, match="generator"):
        cloudfn.batched(max_batch_size=2, wait_ms=1)(raw)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"max_inputs": 0}, "`max_inputs` must be between 1 and 1000", id="none"),
        pytest.param({"max_inputs": 1001}, "`max_inputs` must be between", id="too many"),
        pytest.param({"max_inputs": "9"}, "`max_inputs` must be an int, not str", id="text"),
        pytest.param({"max_inputs": True}, "`max_inputs` must be an int, not bool", id="a bool"),
        pytest.param({"max_inputs": 2.0}, "`max_inputs` must be an int, not float", id="a float"),
        pytest.param(
            {"max_inputs": 2, "target_inputs": 3},
            r"`target_inputs` \(3\) cannot be greater than `max_inputs` \(2\)",
            id="a target above max",
        ),
        pytest.param(
            {"max_inputs": 2, "target_inputs": 0}, "`target_inputs` must be between", id="target 0"
        ),
    ],
)
def test_what_concurrent_refuses(values, message):
    with pytest.raises(InvalidError, match=message):
        cloudfn.concurrent(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param((0, 1), "`max_batch_size` must be between 1 and 1000", id="none"),
        pytest.param((1001, 1), "`max_batch_size` must be between 1 and 1000", id="too many"),
        pytest.param((2, -1), "`wait_ms` must be between 0 and 600000", id="a negative wait"),
        pytest.param((2, 600_001), "`wait_ms` must be between 0 and 600000", id="too long a wait"),
        pytest.param((2, 0.5), "`wait_ms` must be an int, not float", id="a float"),
    ],
)
def test_what_batched_refuses(values, message):
    with pytest.raises(InvalidError, match=message):
        cloudfn.batched(max_batch_size=values[0], wait_ms=values[1])


@pytest.mark.parametrize(
    ("decorator", "values"),
    [
        (cloudfn.concurrent, {}),
        (cloudfn.concurrent, {"target_inputs": 1}),
        (cloudfn.batched, {"max_batch_size": 2}),
        (cloudfn.batched, {"wait_ms": 2}),
    ],
)
def test_what_has_to_be_given(decorator, values):
    with pytest.raises(TypeError, match="missing"):
        decorator(**values)


def test_a_container_for_one_input_cannot_run_several():
    with pytest.raises(InvalidError, match="cannot run several"):
        app.function(single_use_containers=True)(cloudfn.concurrent(max_inputs=2)(other))
