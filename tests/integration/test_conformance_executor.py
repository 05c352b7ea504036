"""Executors, joblib and callbacks: code that knows futures, over real containers."""

import asyncio
import threading
from concurrent import futures
from pathlib import Path

import joblib
import pytest

import cloudfn
from cloudfn.exception import ExecutionError, InvalidError, SerializationError
from tests.integration.conformance_world import CLOCK, PATIENCE, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("executor")


@app.function(max_containers=2)
def call(f, *args, **kwargs):
    return f(*args, **kwargs)


@app.function(max_containers=1)
def call_alone(f, *args, **kwargs):
    return f(*args, **kwargs)


@app.cls()
class Caller:
    plus: int = cloudfn.parameter(default=0)

    @cloudfn.method()
    def call(self, f, *args):
        return f(*args) + self.plus


@app.function()
def square(x):
    return x * x


def double(x, plus=0):
    return 2 * x + plus


def fail(x):
    raise KeyError(x)


def wait_for_file(path):
    while not Path(path).exists():
        CLOCK.sleep(0.01)
    return "seen"


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield


def test_submitted_calls_give_real_futures():
    with cloudfn.Executor(call) as executor:
        future = executor.submit(double, 3, plus=1)
        failed = executor.submit(fail, "missing")

        assert isinstance(future, futures.Future)
        assert future.result(PATIENCE) == 7
        with pytest.raises(KeyError, match="missing"):
            failed.result(PATIENCE)
        assert future.done()


def test_map_keeps_the_order_and_knows_a_timeout(tmp_path):
    with cloudfn.Executor(call) as executor:
        assert list(executor.map(double, range(50))) == [2 * x for x in range(50)]
        with pytest.raises(TimeoutError):
            list(executor.map(wait_for_file, [tmp_path / "never"], timeout=0.2))
        executor.shutdown(cancel_futures=True)


def test_as_completed_and_wait_work_as_with_other_executors():
    with cloudfn.Executor(call) as executor:
        tasks = [executor.submit(double, x) for x in range(20)]
        assert sorted(t.result() for t in futures.as_completed(tasks)) == list(range(0, 40, 2))

        done, left = futures.wait([executor.submit(fail, 1)], PATIENCE, futures.FIRST_EXCEPTION)
        assert (len(done), len(left)) == (1, 0)


def test_more_calls_than_may_be_out_need_no_more_threads():
    before = threading.active_count()
    with cloudfn.Executor(call) as executor:
        tasks = [executor.submit(double, x) for x in range(3000)]
        assert threading.active_count() <= before + 1
        assert [task.result(PATIENCE) for task in tasks] == [2 * x for x in range(3000)]


def test_what_waits_and_what_runs_can_be_cancelled(tmp_path):
    gate, last = tmp_path / "gate", tmp_path / "last"
    last.touch()
    with cloudfn.Executor(call_alone) as executor:
        running = executor.submit(wait_for_file, gate)
        waiting = executor.submit(wait_for_file, gate)
        wait_for("the first one runs", lambda: call_alone.get_current_stats().num_running_inputs)

        assert waiting.cancel()
        assert running.cancel()
        assert running.cancel(), "cancelling again says the same"
        assert futures.wait([running, waiting], PATIENCE).not_done == set()
        assert executor.submit(wait_for_file, last).result(PATIENCE) == "seen"


def test_a_cancelled_future_is_over_for_good():
    with cloudfn.Executor(call) as executor:
        done = executor.submit(double, 1)
        done.result(PATIENCE)

        assert not done.cancel()
        assert not done.cancelled()


def test_after_its_shutdown_it_takes_nothing(tmp_path):
    executor = cloudfn.Executor(call)
    task = executor.submit(wait_for_file, tmp_path / "never")
    executor.shutdown(wait=False, cancel_futures=True)

    assert task.cancelled()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(double, 1)


def test_what_cannot_be_pickled_fails_alone():
    with cloudfn.Executor(call) as executor:
        failed, fine = executor.submit(double, threading.Lock()), executor.submit(double, 2)

        with pytest.raises(SerializationError):
            failed.result(PATIENCE)
        assert fine.result(PATIENCE) == 4


def test_an_event_loop_uses_it_as_any_executor():
    async def main():
        loop = asyncio.get_running_loop()
        with cloudfn.Executor(call) as executor:
            tasks = [loop.run_in_executor(executor, double, x) for x in range(5)]
            return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]


def test_big_arguments_and_results_travel():
    with cloudfn.Executor(call) as executor:
        assert executor.submit(double, b"x" * 200_000, plus=b"").exception(PATIENCE) is None


@pytest.mark.parametrize("function", [double, "call", None], ids=["plain", "name", "none"])
def test_it_needs_a_function(function):
    with pytest.raises(InvalidError, match="needs a Function"):
        cloudfn.Executor(function)


def test_a_function_that_is_not_running_is_refused_at_once():
    @cloudfn.App("other").function(serialized=True)
    def elsewhere(f):
        return f()

    with cloudfn.Executor(elsewhere) as executor, pytest.raises(ExecutionError, match="hydrated"):
        executor.submit(double, 1)


def test_joblib_runs_its_tasks_in_containers():
    with cloudfn.joblib_backend(call):
        results = joblib.Parallel()(joblib.delayed(double)(x) for x in range(20))
        as_they_come = joblib.Parallel(return_as="generator")(
            joblib.delayed(double)(x) for x in range(3)
        )
        assert list(as_they_come) == [0, 2, 4]
        with pytest.raises(KeyError):
            joblib.Parallel()(joblib.delayed(fail)(x) for x in range(3))

    assert results == [2 * x for x in range(20)]


def test_callbacks_of_a_call_are_called_once_with_it(tmp_path):
    heard: futures.Future[list] = futures.Future()
    calls = []
    one = call.spawn(wait_for_file, tmp_path / "gate")
    assert not one.done()
    one.add_done_callback(lambda done: calls.append(("first", done)))
    one.add_done_callback(lambda done: 1 / 0)
    one.add_done_callback(lambda done: heard.set_result(calls))

    assert not calls
    (tmp_path / "gate").touch()
    assert heard.result(PATIENCE) == [("first", one)]
    assert one.done()


@pytest.mark.parametrize(
    "spawn",
    [
        pytest.param(lambda: call.spawn(fail, 1), id="one that failed"),
        pytest.param(lambda: square.spawn_map(range(9)), id="of many inputs"),
    ],
)
def test_a_callback_added_late_is_called_as_well(spawn):
    finished = spawn()
    wait_for("the call is done", finished.done)
    heard: futures.Future[object] = futures.Future()
    finished.add_done_callback(heard.set_result)

    assert heard.result(PATIENCE) is finished


def test_no_callback_is_called_twice():
    heard = []
    last: futures.Future[object] = futures.Future()
    for x in range(100):
        spawned = square.spawn(x)
        spawned.add_done_callback(heard.append)
        spawned.get(PATIENCE)
    spawned.add_done_callback(last.set_result)
    last.result(PATIENCE)

    wait_for("all of them", lambda: len(set(heard)) == 100)
    assert len(heard) == 100


def test_in_an_event_loop_a_callback_is_called_there():
    async def main():
        spawned = await square.spawn.aio(3)
        heard = asyncio.get_running_loop().create_future()
        spawned.add_done_callback(heard.set_result)  # of no use from another thread
        return await asyncio.wait_for(heard, PATIENCE) is spawned

    assert asyncio.run(main())


def test_a_method_is_a_function_too():
    method = Caller(plus=100).call
    with cloudfn.Executor(method) as executor:
        assert list(executor.map(double, range(3))) == [100, 102, 104]
    assert method.spawn(double, 1, delay=0.01).get(PATIENCE) == 102
    assert method.spawn_with(priority=3, deadline=60).spawn(double, 2).get(PATIENCE) == 104
    for _ in range(2):
        assert list(method.starmap([(double, 3), (double, 4)], resume="methods")) == [106, 108]
