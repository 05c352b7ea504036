"""Conformance 2.10: several inputs in one container, one by one and in batches."""
# ruff: noqa: TID251 - this is user code as well

import asyncio
import os
import threading
import time

import pytest

import cloudfn
from cloudfn import experimental
from cloudfn.exception import InvalidError
from tests.integration.conformance_world import World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("slots")
MANY = 5
meeting = threading.Barrier(MANY)
present: list[int] = []
most = [0, 0]


def meet():
    """Return once `MANY` threads of this container are here."""
    meeting.wait(60)


async def meet_in_loop():
    present.append(1)
    deadline = time.monotonic() + 60
    while len(present) % MANY:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=MANY)
def in_threads(x):
    before = cloudfn.current_input_id()
    meet()
    after = cloudfn.current_input_id()
    meet()
    assert before == after
    return x, os.getpid(), threading.current_thread() is threading.main_thread(), after


@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=MANY)
async def in_tasks(x):
    await meet_in_loop()
    return x, os.getpid(), threading.current_thread() is threading.main_thread()


@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=3)
def counted(x):
    present.append(x)
    most.append(max(len(present), *most))
    time.sleep(0.01)
    present.remove(x)
    if x == 13:
        raise ValueError("thirteen")
    return most[-1]


@app.function()
@cloudfn.concurrent(max_inputs=4, target_inputs=2)
def targeted(path):
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return os.getpid()


@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=4)
def tuned(wanted):
    experimental.set_local_input_concurrency(wanted)
    return experimental.get_local_input_concurrency()


@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=4)
def throttled(x):
    experimental.set_local_input_concurrency(1)
    return counted.local(x) if x else 0


@app.function(max_containers=1)
def last_one(x):
    experimental.stop_fetching_inputs()
    return os.getpid()


@app.cls(max_containers=1)
@cloudfn.concurrent(max_inputs=4)
class Shared:
    @cloudfn.enter()
    def open(self):
        self.meeting = threading.Barrier(2)
        self.there = 0

    @cloudfn.method()
    def thread(self):
        self.meeting.wait(60)
        return os.getpid()

    @cloudfn.method()
    async def task(self):
        self.there += 1
        deadline = time.monotonic() + 60
        while self.there < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)
        return os.getpid()


@app.function(max_containers=1)
@cloudfn.batched(max_batch_size=4, wait_ms=60_000)
def full_batches(text, *, suffix):
    assert threading.current_thread() is threading.main_thread()
    return [f"{a}{b} of {len(text)}" for a, b in zip(text, suffix, strict=True)]


@app.function(max_containers=1)
@cloudfn.batched(max_batch_size=100, wait_ms=20)
async def in_time(x):
    return [(each, len(x)) for each in x]


@app.cls(max_containers=1)
class Model:
    @cloudfn.batched(max_batch_size=3, wait_ms=60_000)
    def embed(self, text):
        return [(each.upper(), len(text)) for each in text]


@app.function(max_containers=1)
@cloudfn.batched(max_batch_size=2, wait_ms=60_000)
def misbehaving(how, extra):
    match how[0]:
        case "number":
            return 7
        case "short":
            return [1]
        case "raise":
            raise LookupError("whole batch")
        case _:
            return how


@app.function(max_containers=1)
@cloudfn.batched(max_batch_size=2, wait_ms=60_000)
def two(a, b):
    return [sum(each) for each in zip(a, b, strict=True)]


@app.function(max_containers=1, retries=cloudfn.Retries(max_retries=2, initial_delay=0))
@cloudfn.batched(max_batch_size=2, wait_ms=10)
def second_time(path):
    failing = [each for each in path if not os.path.exists(each)]
    for each in failing:
        open(each, "w").close()
    if failing:
        raise RuntimeError("not yet")
    return [os.path.basename(each) for each in path]


@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=2)
@cloudfn.batched(max_batch_size=2, wait_ms=60_000)
def two_batches(x):
    pair.wait(60)
    return [len(x)] * len(x)


pair = threading.Barrier(2)


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield world


def test_a_plain_function_runs_in_a_thread_for_each_input():
    """C125."""
    results = list(in_threads.map(range(MANY)))

    assert [x for x, _, _, _ in results] == list(range(MANY))
    assert len({pid for _, pid, _, _ in results}) == 1
    assert not any(on_main for _, _, on_main, _ in results)
    assert len({input_id for _, _, _, input_id in results}) == MANY


def test_an_async_function_runs_in_tasks_of_one_loop_on_the_main_thread():
    """C125."""
    results = list(in_tasks.map(range(MANY)))

    assert [x for x, _, _ in results] == list(range(MANY))
    assert len({pid for _, pid, _ in results}) == 1
    assert all(on_main for _, _, on_main in results)


def test_never_more_than_max_inputs_and_one_that_raises_leaves_the_others_alone():
    results = list(counted.map(range(30), return_exceptions=True))

    assert isinstance(results[13], ValueError)
    assert {*results[:13], *results[14:]} <= {1, 2, 3}
    assert max(results[14:]) == 3


def test_containers_are_planned_for_the_target_and_take_more_at_the_limit(running, tmp_path):
    go = tmp_path / "go"
    calls = [targeted.spawn(str(go)) for _ in range(4)]
    wait_for("all run", lambda: targeted.get_current_stats().num_running_inputs == 4)
    # Two containers of 4 slots each, of which 4 are free.
    wait_for("a second container", lambda: targeted.get_current_stats().input_headroom == 4)
    decisions = running.ask("decisions", function_id=targeted.object_id, limit=10)["decisions"]
    go.touch()

    assert cloudfn.FunctionCall.gather(*calls)
    assert len(running.containers("targeted")) == 2
    assert "2 to a container" in decisions[0]["reason"]


def test_a_container_changes_its_own_concurrency():
    assert tuned.remote(2) == 2
    assert tuned.remote(3) == 3
    with pytest.raises(InvalidError, match="at least 1"):
        tuned.remote(0)


def test_a_lowered_concurrency_is_kept_to():
    assert throttled.remote(0) == 0

    assert set(throttled.map(range(1, 6))) == {1}


def test_a_container_that_stops_fetching_ends_after_its_input():
    assert last_one.remote(1) != last_one.remote(2)


def test_outside_of_a_container_there_is_nothing_to_tune():
    assert experimental.get_local_input_concurrency() == 0
    with pytest.raises(InvalidError, match="in a container"):
        experimental.stop_fetching_inputs()


def test_the_methods_of_a_class_share_its_slots():
    shared = Shared()
    calls = [shared.thread.spawn(), shared.task.spawn(), shared.task.spawn(), shared.thread.spawn()]

    assert len(set(cloudfn.FunctionCall.gather(*calls))) == 1


def test_a_batch_is_closed_when_it_is_full_and_its_results_are_split():
    assert list(full_batches.map("abcd", kwargs={"suffix": "!"})) == [
        "a! of 4",
        "b! of 4",
        "c! of 4",
        "d! of 4",
    ]


def test_a_batch_that_is_not_full_is_closed_in_time():
    assert in_time.remote(1) == (1, 1)
    assert [x for x, _ in in_time.map(range(10))] == list(range(10))


def test_separate_calls_share_a_batch():
    calls = [full_batches.spawn(text, suffix="?") for text in "wxyz"]

    assert cloudfn.FunctionCall.gather(*calls) == [f"{text}? of 4" for text in "wxyz"]


def test_a_method_takes_batches():
    assert list(Model().embed.map("abc")) == [("A", 3), ("B", 3), ("C", 3)]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        pytest.param("number", "returned a int, not a list", id="no list"),
        pytest.param("short", "returned 1 results for 2 inputs", id="wrong length"),
    ],
)
def test_a_result_that_cannot_be_split_is_an_error_of_every_caller(how, message):
    """C127."""
    outcomes = list(misbehaving.map([how, how], [1, 2], return_exceptions=True))

    assert [type(each) for each in outcomes] == [InvalidError] * 2
    assert all(message in str(each) for each in outcomes)


def test_an_exception_fails_the_whole_batch():
    """C127."""
    outcomes = list(misbehaving.map(["raise", "fine"], [1, 2], return_exceptions=True))

    assert [type(each) for each in outcomes] == [LookupError] * 2


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        pytest.param(((1, 2), {}), ((1,), {}), "different arguments", id="mixed arity"),
        pytest.param(((1, 2), {}), ((1,), {"c": 2}), "does not have", id="unknown keyword"),
        pytest.param(((1, 2), {}), ((1,), {"a": 2}), "'a' twice", id="given twice"),
        pytest.param(((1, 2), {}), ((1, 2, 3), {}), "3 arguments by position", id="too many"),
    ],
)
def test_inputs_that_make_no_batch_are_an_error_of_every_caller(first, second, message):
    """C127."""
    calls = [two.spawn(*args, **kwargs) for args, kwargs in (first, second)]

    for call in calls:
        with pytest.raises(InvalidError, match=message):
            call.get(timeout=30)


def test_arguments_by_name_and_by_position_make_a_batch_together():
    calls = [two.spawn(1, 2), two.spawn(b=4, a=3)]

    assert cloudfn.FunctionCall.gather(*calls) == [3, 7]


def test_every_input_of_a_batch_has_its_own_retries(tmp_path):
    names = ["one", "two"]

    assert list(second_time.map([str(tmp_path / name) for name in names])) == names


def test_with_both_decorators_several_batches_are_in_flight():
    assert list(two_batches.map(range(4))) == [2, 2, 2, 2]
