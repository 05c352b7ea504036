"""Conformance 3.3: map, starmap and for_each over real containers."""
# ruff: noqa: TID251 - this is user code as well

import asyncio
import itertools
import os
import re
import threading
import time
import warnings
from math import ceil

import pytest

import cloudfn
from cloudfn.control.planner.need import START_FLOOR
from cloudfn.exception import FunctionTimeoutError, InvalidError, SerializationError
from tests.integration.conformance_world import World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("maps")


class CustomError(Exception):
    """One that travels."""


@app.function()
def combine(x, y, z=0):
    return x**2 + y**2 + z


@app.function()
def subtract(x, y):
    return x**2 + y


@app.function()
def square(x):
    return x * x


@app.function()
async def square_later(x):
    await asyncio.sleep(0.001)
    return x * x


@app.function()
def even_or_none(x):
    return x if x % 2 == 0 else None


@app.function()
def fail_on_four(x):
    if x == 4:
        raise CustomError("four")
    return x * x


@app.function()
def note(folder, x, bad=-1):
    file = os.open(folder, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{x}\n".encode())
    os.close(file)
    if x == bad:
        raise CustomError(f"bad {x}")
    return x


@app.function(max_containers=2)
def wait_for_file(path, x):
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise RuntimeError("nobody made the file")
        time.sleep(0.005)
    return x


@app.function()
def unread(path):
    return wait_for_file.local(path, 0)


@app.function(max_containers=2)
def first_waits(path, x):
    return wait_for_file.local(path, x) if x == 0 else x


@app.function(max_containers=20, scaledown_window=2)
def sleep_a_little(x):
    time.sleep(0.2)
    return os.getpid()


@app.function(max_containers=20, scaledown_window=2)
def tiny(x):
    return os.getpid()


@app.function(timeout=1)
def sleep_too_long_on_two(x):
    if x == 2:
        time.sleep(30)
    return x


@app.function()
def outer(n):
    return sum(square.map(range(n)))


@app.function()
def length(data):
    return len(data)


@app.function()
def big(n):
    return bytes([n]) * (200 << 10)


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield world


def test_map_zips_its_iterables_and_keeps_their_order():
    """C031."""
    assert list(combine.map([5, 2], [4, 3])) == [41, 13]


def test_unordered_results_are_the_same_set():
    """C032."""
    assert set(combine.map([5, 2], [4, 3], order_outputs=False)) == {41, 13}


def test_unordered_results_come_as_they_finish(tmp_path):
    """C032."""
    gate = tmp_path / "gate"
    results = first_waits.map(itertools.repeat(str(gate), 10), range(10), order_outputs=False)
    early = [next(results) for _ in range(9)]
    assert sorted(early) == list(range(1, 10))
    gate.touch()
    assert list(results) == [0]


def test_ordered_results_wait_for_the_first(tmp_path):
    gate = tmp_path / "gate"
    threading.Timer(0.2, gate.touch).start()
    assert list(first_waits.map(itertools.repeat(str(gate)), range(10))) == list(range(10))


def test_starmap_unpacks_each_item():
    """C034."""
    assert list(subtract.starmap([[5, 2], (4, 3)])) == [27, 19]
    assert list(subtract.starmap((x, 1) for x in range(3))) == [1, 2, 5]
    assert set(subtract.starmap([[5, 2], [4, 3]], order_outputs=False)) == {27, 19}


def test_kwargs_go_to_every_input():
    """C035."""
    assert list(combine.map([1, 2], [1, 2], kwargs={"z": 100})) == [102, 108]
    assert list(combine.starmap([(1, 1)], kwargs={"z": 3})) == [5]


def test_none_is_a_result():
    """C037."""
    assert list(even_or_none.map(range(4))) == [0, None, 2, None]


def test_the_shortest_iterable_ends_the_map():
    assert list(combine.map(itertools.count(), [1, 2])) == [1, 5]


def test_no_inputs_are_no_results():
    assert list(square.map([])) == []
    assert list(square.map(iter(()))) == []
    assert list(square.starmap([])) == []
    assert square.for_each([]) is None


@pytest.mark.parametrize("method", ["map", "starmap", "for_each", "spawn_map"])
def test_what_the_input_iterator_raises_reaches_the_caller(method):
    """C038."""

    def inputs():
        yield (1,) if method == "starmap" else 1
        raise CustomError("from the iterator")

    def carry_out():
        return list(getattr(square, method)(inputs()) or ())

    with pytest.raises(CustomError, match="from the iterator"):
        carry_out()


def test_return_exceptions_does_not_cover_the_input_iterator():
    def inputs():
        yield 1
        raise CustomError("from the iterator")

    with pytest.raises(CustomError, match="from the iterator"):
        list(square.map(inputs(), return_exceptions=True))


def test_the_input_iterator_runs_on_the_callers_thread():
    """C040."""
    threads = set()

    def inputs():
        for x in range(3):
            threads.add(threading.current_thread())
            yield x

    assert list(square.map(inputs())) == [0, 1, 4]
    assert threads == {threading.current_thread()}


def test_a_map_is_the_input_of_another_map():
    """C041."""
    assert list(square.map(square.map([1, 2]))) == [1, 16]
    # As they come: the inner one never ends.
    endless = square.map(square.map(itertools.count()))
    assert list(itertools.islice(endless, 3)) == [0, 1, 16]
    endless.close()


def test_a_map_inside_of_a_container_runs():
    assert list(outer.map([3, 4])) == [5, 14]


def test_the_first_failure_is_raised_and_names_its_input():
    """C043."""
    with pytest.raises(CustomError, match="four") as caught:
        list(fail_on_four.map(range(6)))
    assert any("input 4" in each for each in caught.value.__notes__)


def test_a_failure_does_not_wait_for_what_still_runs(tmp_path):
    gate = tmp_path / "gate"

    # The second input, of one argument too many, fails while the first one runs.
    results = wait_for_file.starmap([(str(gate), 0), (str(gate), 1, 2)])
    with pytest.raises(TypeError):
        list(results)
    gate.touch()


def test_returned_exceptions_stand_at_their_place():
    """C043."""
    results = list(fail_on_four.map(range(6), return_exceptions=True))
    assert results[:4] == [0, 1, 4, 9]
    assert type(results[4]) is CustomError
    assert results[5] == 25


@pytest.mark.parametrize("wrap", [True, False])
def test_wrap_returned_exceptions_changes_nothing(wrap):
    """C044; without its warning, as decided."""
    results = list(fail_on_four.map([4], return_exceptions=True, wrap_returned_exceptions=wrap))
    assert type(results[0]) is CustomError


def test_returned_exceptions_cover_timeouts_and_unpicklable_arguments():
    results = list(sleep_too_long_on_two.map([1, 2, 3], return_exceptions=True))
    assert results[0] == 1
    assert isinstance(results[1], FunctionTimeoutError)
    assert results[2] == 3
    mixed = list(length.map([b"ab", (threading.Lock(),)], return_exceptions=True))
    assert mixed[0] == 2
    assert isinstance(mixed[1], SerializationError)


def test_for_each_raises_unless_told_to_ignore(tmp_path):
    """C046."""
    path = str(tmp_path / "notes")
    with pytest.raises(CustomError, match="bad 2"):
        note.for_each([path] * 5, range(5), kwargs={"bad": 2})
    path = str(tmp_path / "all")
    assert note.for_each([path] * 5, range(5), kwargs={"bad": 2}, ignore_exceptions=True) is None
    assert sorted((tmp_path / "all").read_text().split()) == ["0", "1", "2", "3", "4"]


def test_a_map_that_nobody_reads_warns_and_sends_nothing(tmp_path, running: World):
    """C047."""
    with pytest.warns(cloudfn.exception.UserWarning, match=r"not consumed.*never"):
        unread.map([str(tmp_path / "never made")])
    assert running.ask("call_list", app=app.app_id, function="unread")["calls"] == []


def test_an_infinite_generator_is_safe_and_read_no_further_than_the_window():
    """C049, C056."""
    read = itertools.count()
    results = square.map(read)
    found = [next(results) for _ in range(3)]
    results.close()
    assert found == [0, 1, 4]
    assert next(read) < 5_000


def test_a_loop_over_an_infinite_generator_can_be_left():
    """C056."""
    seen = []
    for value in square.map(itertools.count()):
        seen.append(value)
        if len(seen) == 2_500:
            break
    assert seen == [x * x for x in range(2_500)]
    assert list(square.map([3])) == [9]


def test_inputs_of_a_loop_that_was_left_are_cancelled(tmp_path, running: World):
    """C056."""
    gate = tmp_path / "gate"
    for _ in first_waits.map(
        itertools.repeat(str(gate), 40), [1, *([0] * 39)], order_outputs=False
    ):
        break
    wait_for(
        "no input left", lambda: not first_waits.get_current_stats().num_running_inputs
        and not first_waits.get_current_stats().backlog,
    )  # fmt: skip


def test_never_more_than_the_window_is_read_while_inputs_block(tmp_path):
    """C049."""
    gate = tmp_path / "gate"
    read = 0

    def inputs():
        nonlocal read
        for x in range(3_000):
            read = x + 1
            if read > 1_100:
                gate.touch()
            yield x

    results = wait_for_file.map(itertools.repeat(str(gate)), inputs())

    def open_later():
        wait_for("the window to fill", lambda: read >= 900)
        gate.touch()

    opener = threading.Thread(target=open_later)
    opener.start()
    first = next(results)
    assert first == 0
    assert read <= 1_100
    opener.join(30)
    assert list(results) == list(range(1, 3_000))


def test_ten_big_inputs_and_results_keep_their_order():
    """C055."""
    blobs = [bytes([n]) * (300 << 10) for n in range(10)]
    assert list(length.map(blobs)) == [300 << 10] * 10
    results = list(big.map(range(10)))
    assert [each[0] for each in results] == list(range(10))
    assert {len(each) for each in results} == {200 << 10}


def test_a_map_is_an_iterator_of_one_pass_without_a_length():
    results = square.map([1, 2])
    with pytest.raises(TypeError):
        len(results)  # type: ignore[arg-type]
    assert next(results) == 1
    assert list(results) == [4]
    assert list(results) == []


def test_what_is_no_iterable_is_refused():
    with pytest.raises((AssertionError, TypeError, InvalidError)):
        list(square.map(3))


def test_maps_and_async_iterables_go_together():
    async def numbers():
        for x in range(5):
            await asyncio.sleep(0)
            yield x

    async def program():
        assert [x async for x in square_later.map.aio(numbers())] == [0, 1, 4, 9, 16]
        assert [x async for x in square_later.map(numbers())] == [0, 1, 4, 9, 16]
        assert [x async for x in square.map.aio(square.map(numbers()))] == [0, 1, 16, 81, 256]
        found = []
        async for x in square.map.aio(itertools.count()):
            found.append(x)
            if len(found) == 3:
                break
        assert found == [0, 1, 4]
        several = await asyncio.gather(*(square.remote.aio(x) for x in range(50)))
        assert several == [x * x for x in range(50)]
        with pytest.raises(CustomError, match="four"):
            async for _ in fail_on_four.map.aio(range(6)):
                pass

    asyncio.run(program())
    assert list(square.map(numbers())) == [0, 1, 4, 9, 16]


def test_a_blocking_map_in_an_event_loop_is_refused():
    async def program():
        with pytest.raises(InvalidError, match="aio"):
            list(square.map([1]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(program())


def test_a_hundred_sleeping_inputs_scale_out():
    pids = set(sleep_a_little.map(range(100)))
    assert len(pids) > 2


def test_tiny_inputs_do_not_start_a_container_each(running: World):
    """As many as there are cores at first; from then on what they were seen to take is worth."""
    pids = set(tiny.map(range(500)))

    decisions = running.ask("decisions", function_id=tiny.object_id)["decisions"]
    assert len(pids) <= max(each["to"] for each in decisions)
    assert decisions[0]["from"] == 0
    assert decisions[0]["to"] <= len(os.sched_getaffinity(0))
    # On a busy machine they are not tiny, and are worth more containers.
    unit = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
    for waiting, busy, needed, service, of in re.findall(
        r"(\d+) waiting and (\d+) busy need (\d+) at ([\d.]+) (\S+) each",
        " ".join(each["reason"] for each in decisions),
    ):
        seconds = (float(service) + 0.5) * unit[of]
        worth = ceil(int(waiting) * seconds / START_FLOOR)
        assert int(needed) - int(busy) <= max(1, int(busy), worth)


def test_ten_thousand_inputs_each_have_their_result():
    assert list(square.map(range(10_000))) == [x * x for x in range(10_000)]


def test_maps_of_several_threads_run_beside_each_other():
    results = {}

    def work(n):
        results[n] = list(square.map(range(n, n + 100)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {n: [x * x for x in range(n, n + 100)] for n in range(8)}
