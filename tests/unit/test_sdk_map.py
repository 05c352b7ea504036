"""`.map` and its relatives as users see them, against a daemon of a few dicts."""

import asyncio
import itertools
import shutil
import tempfile
import threading
import warnings
from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.model.call import Status
from tests.unit.sdk_daemon import TIMEOUT, Ended, FakeDaemon, daemon_settings


def _odd(x):
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x


def _late(x):
    if x == 1:
        return Ended(Status.TIMED_OUT, {"error": "FunctionTimeoutError", "message": "too long"})
    return x


@pytest.fixture
def daemon():
    root = tempfile.mkdtemp(prefix="cf-")
    functions = {
        "square": lambda x: x * x,
        "add": lambda x, y=0: x + y,
        "odd": _odd,
        "late": _late,
        "echo": lambda x: x,
        "nothing": lambda x: None,
    }
    fake = FakeDaemon(daemon_settings(Path(root)), functions)
    fake.start()
    yield fake
    fake.stop()
    shutil.rmtree(root)


@pytest.fixture
def client(daemon):
    connection = daemon.client()
    yield connection
    connection.close()


@pytest.fixture
def square(daemon, client):
    return daemon.function("square", client)


@pytest.fixture
def odd(daemon, client):
    return daemon.function("odd", client)


@pytest.mark.parametrize("window", [0, -1, 1.5, "3", True], ids=repr)
def test_a_window_is_a_whole_number_of_at_least_one(square, window):
    with pytest.raises(errors.InvalidError, match="`window` must be a whole number"):
        square.map([1], window=window)
    with pytest.raises(errors.InvalidError, match="`window` must be a whole number"):
        square.for_each([1], window=window)


def test_a_reader_runs_no_further_ahead_than_the_window(square):
    read = itertools.count()
    results = iter(square.map(read, window=2))

    for done in range(1, 20):
        next(results)
        assert next(read) <= done + 2 + done  # each look takes a number away
    results.close()


def test_a_window_above_the_engines_limit_is_that_limit(square):
    assert list(square.map(range(100), window=10**9)) == [n * n for n in range(100)]


async def counting(n):
    for number in range(n):
        await asyncio.sleep(0)
        yield number


def test_results_come_in_the_order_of_the_inputs(square):
    assert list(square.map(range(1000))) == [n * n for n in range(1000)]


def test_results_of_an_unordered_map_are_all_there(square):
    assert sorted(square.map(range(300), order_outputs=False)) == [n * n for n in range(300)]


def test_several_iterables_are_zipped_up_to_the_shortest(daemon, client):
    assert list(daemon.function("add", client).map([1, 2, 3], [10, 20])) == [11, 22]


def test_starmap_takes_sequences_of_arguments(daemon, client):
    assert list(daemon.function("add", client).starmap([(1, 2), [3, 4]])) == [3, 7]


def test_kwargs_go_to_every_input(daemon, client):
    assert list(daemon.function("add", client).map([1, 2], kwargs={"y": 5})) == [6, 7]


def test_none_is_a_result(daemon, client):
    assert list(daemon.function("nothing", client).map(range(3))) == [None] * 3


def test_no_inputs_need_no_daemon(daemon, square):
    assert list(square.map([])) == []
    assert daemon.hellos == 0


def test_the_result_is_an_iterator(square):
    results = square.map([1, 2])

    assert iter(results) is results
    assert (next(results), list(results), list(results)) == (1, [4], [])


def test_nothing_is_read_before_the_first_result_is_wanted(square):
    read = []
    results = square.map(read.append(n) or n for n in range(3))
    assert read == []

    list(results)

    assert read == [None] * 3 or len(read) == 3


def test_an_unconsumed_map_runs_nothing_and_warns(daemon, square):
    results = square.map([1, 2])
    with pytest.warns(errors.UserWarning, match="will never be executed"):
        results.__del__()
    results.close()

    assert daemon.submits == 0


def test_a_map_in_async_code_can_be_iterated_over_with_async_for(square):
    async def main():
        return [r async for r in square.map.aio(range(300))], [
            r async for r in square.map(range(3))
        ]

    assert asyncio.run(main()) == ([n * n for n in range(300)], [0, 1, 4])


def test_a_plain_for_inside_an_event_loop_is_refused_with_a_hint(square):
    async def main():
        return list(square.map([1]))

    with pytest.raises(errors.InvalidError) as info:
        asyncio.run(main())

    assert "square.map.aio" in info.value.hint


def test_asynchronous_iterables_are_read_with_and_without_a_loop(square):
    async def main():
        return [r async for r in square.map.aio(counting(50))]

    assert list(square.map(counting(50))) == asyncio.run(main()) == [n * n for n in range(50)]


def test_results_go_out_while_an_asynchronous_input_is_awaited(square):
    # Each input is only made from the result before, so that reading ahead would wait for ever.
    async def main():
        results = asyncio.Queue()
        results.put_nowait(2)

        async def inputs():
            for _ in range(3):
                yield await results.get()

        seen = []
        async for result in square.map.aio(inputs()):
            seen.append(result)
            results.put_nowait(result)
        return seen

    assert asyncio.run(asyncio.wait_for(main(), TIMEOUT)) == [4, 16, 256]


def test_a_map_can_be_the_input_of_a_map(square):
    assert list(square.map(square.map(range(20)))) == [n**4 for n in range(20)]


def test_a_map_can_be_the_input_of_an_awaited_map(square):
    async def main():
        return [r async for r in square.map.aio(square.map(range(20)))]

    assert asyncio.run(main()) == [n**4 for n in range(20)]


def test_the_first_failure_is_raised_and_says_which_input(odd):
    with pytest.raises(ValueError, match="odd: 1") as info:
        list(odd.map([0, 1, 2]))

    assert info.value.__notes__[-1].startswith("input 1 of odd.map: in-")


def test_a_failure_is_raised_although_earlier_results_are_missing(daemon, odd):
    # The first input never comes back: only a failure on arrival can end this.
    from cloudfn.wire.messages import Kind, Outcomes

    daemon.open_gate.clear()
    results = odd.map([0, 1])

    def fail():
        daemon.submitted.wait(TIMEOUT)
        connection = daemon._connections[-1]
        (call,) = daemon.calls.values()
        ref = next(iter(connection.refs))
        status, payload = connection.run(call, call.payloads[1])
        connection.send(Kind.OUTCOMES, Outcomes(ref, [1], [status], [payload]).encode())

    thread = threading.Thread(target=fail)
    thread.start()
    with pytest.raises(ValueError, match="odd: 1"):
        next(results)
    thread.join(TIMEOUT)


def test_failures_can_be_among_the_results(odd):
    results = list(odd.map(range(4), return_exceptions=True))

    assert [results[0], results[2]] == [0, 2]
    assert [(type(r), str(r)) for r in results[1::2]] == [
        (ValueError, "odd: 1"),
        (ValueError, "odd: 3"),
    ]


def test_a_timeout_is_among_the_results_too(daemon, client):
    results = list(daemon.function("late", client).map(range(3), return_exceptions=True))

    assert [type(r) for r in results] == [int, errors.FunctionTimeoutError, int]


def test_an_argument_that_cannot_be_pickled_fails_in_its_place(square, daemon):
    inputs = [1, threading.Lock(), 3]

    results = list(square.map(inputs, return_exceptions=True))

    assert [results[0], results[2]] == [1, 9]
    assert isinstance(results[1], errors.SerializationError)
    with pytest.raises(errors.SerializationError) as info:
        list(square.map(inputs))
    assert "input 1 of square.map" in info.value.__notes__[-1]


def test_an_exception_of_the_input_iterator_reaches_the_caller(square):
    def inputs():
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(square.map(inputs()))


def test_an_infinite_generator_is_read_no_further_than_the_window(daemon, square):
    read = itertools.count()
    results = square.map(read)

    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert next(read) <= 4 * daemon.window
    assert daemon.most_outstanding <= daemon.window


def test_leaving_the_loop_releases_the_call(daemon, client, square):
    for _ in square.map(itertools.count()):
        break
    client.request("status")

    assert len(daemon.released) == 1


def test_the_window_is_never_exceeded(daemon, square):
    daemon.window = 7

    assert list(square.map(range(200))) == [n * n for n in range(200)]
    assert daemon.most_outstanding <= 7


def test_refusals_are_waited_out_and_warned_of_every_eighth_time(daemon, square):
    """C050."""
    daemon.refusals = 17

    with pytest.warns(errors.ServerWarning, match="progress is limited") as caught:
        assert list(square.map(range(50))) == [n * n for n in range(50)]

    # Refusals that arrive together are warned of together.
    assert 1 <= len(caught) <= 2


def test_outcomes_that_overtake_the_acknowledgement_are_neither_lost_nor_doubled(daemon, square):
    """C052."""
    daemon.late_acks = True

    assert list(square.map(range(200))) == [n * n for n in range(200)]
    assert len(daemon.runs) == 200


def test_outcomes_are_reported_as_delivered(daemon, client, square):
    list(square.map(range(50)))
    client.request("status")

    (call,) = daemon.calls.values()
    assert call.delivered == set(range(50))
    assert call.sealed


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("lost", [1, 2, 5])
def test_a_map_survives_lost_connections_and_runs_each_input_once(daemon, square, ordered, lost):
    daemon.lose_submit = lambda number: number == lost
    daemon.lose_outcomes = lambda number: number == lost

    results = list(square.map(range(400), order_outputs=ordered))

    assert sorted(results) == [n * n for n in range(400)]
    assert len(daemon.runs) == 400


def test_big_inputs_and_results_come_back_in_order(daemon, client):
    inputs = [bytes([n]) * 100_000 for n in range(10)]

    assert list(daemon.function("echo", client).map(inputs)) == inputs
    assert all(len(payload) < 1000 for payload in daemon.runs)


def test_for_each_runs_all_and_returns_nothing(daemon, square, odd):
    assert square.for_each(range(20)) is None
    assert len(daemon.runs) == 20
    with pytest.raises(ValueError, match="odd"):
        odd.for_each(range(4))
    assert odd.for_each(range(4), ignore_exceptions=True) is None


def test_for_each_can_be_awaited(daemon, square):
    async def main():
        return await square.for_each.aio(counting(5))

    assert asyncio.run(main()) is None
    assert len(daemon.runs) == 5


@pytest.mark.parametrize("inputs", [(), (3,), ([1], None)])
def test_what_cannot_be_iterated_over_is_refused_at_once(square, inputs):
    with pytest.raises(errors.InvalidError, match=r"\.map"):
        square.map(*inputs)


def test_wrap_returned_exceptions_is_accepted_and_ignored(odd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = list(odd.map([1], return_exceptions=True, wrap_returned_exceptions=True))

    assert type(results[0]) is ValueError


def test_a_generator_function_cannot_be_mapped(daemon, client):
    daemon.functions["gen"] = lambda x: x
    function = daemon.function("gen", client)
    function.hydrate()

    for method, name in ((function.map, "map"), (function.starmap, "starmap")):
        with pytest.raises(errors.InvalidError, match=rf"cannot be called with `\.{name}"):
            method([1])
    with pytest.raises(errors.InvalidError, match=r"`\.for_each"):
        function.for_each([1])
