"""Offline runs: the whole SDK in one process, with pickling, retries, timeouts and failures."""

import asyncio
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import cloudfn
from cloudfn.exception import (
    ContainerCrashed,
    ExecutionError,
    FunctionTimeoutError,
    InputLost,
    InvalidError,
    NotFoundError,
    OutputExpiredError,
    RemoteError,
    ResourceExhaustedError,
    SerializationError,
    ServerWarning,
)
from cloudfn.settings import Limits
from cloudfn.testing import ScriptedError, offline

app = cloudfn.App("offline-tests")
other = cloudfn.App("other")

effects: list[object] = []


class OddError(Exception):
    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"{number}: {why}")
        self.number = number


@app.function()
def double(x):
    return 2 * x


@app.function()
def call(f, *args):
    return f(*args)


@app.function()
def add(a, b=10):
    return a + b


@app.function(retries=cloudfn.Retries(max_retries=2, initial_delay=4.0), timeout=60)
def stubborn(x):
    effects.append(x)
    return x


@app.function(timeout=60)
def fragile(x):
    effects.append(x)
    return x


@app.function(
    retries=cloudfn.Retries(
        max_retries=2, retry_on=(OddError, ConnectionError), give_up_on=BrokenPipeError
    )
)
def choosy(x):
    effects.append(x)
    return x


@app.function()
def halve(x):
    if x % 2:
        raise OddError(x, "odd")
    return x // 2


@app.function()
def extend(items):
    items.append("remote")
    return items


@app.function()
def fibonacci(n):
    return n if n < 2 else fibonacci.remote(n - 1) + fibonacci.remote(n - 2)


@app.function()
def doubled_sum(n):
    return sum(double.map(range(n)))


@app.function()
async def doubled_list(n):
    return [x async for x in double.map.aio(range(n))]


@app.function()
async def gathered(n):
    return await asyncio.gather(*(double.remote.aio(x) for x in range(n)))


@app.function()
def spoken(x):
    print(f"out {x}")
    return x


@app.function()
def quoted(x):
    print("before")
    spoken.remote(x)
    print("after")


@app.function(env={"CLOUDFN_TEST_COLOUR": "green"})
def colour():
    return os.path.expandvars("$CLOUDFN_TEST_COLOUR")


@app.function()
def identity():
    return cloudfn.current_function_call_id(), cloudfn.current_input_id(), cloudfn.is_local()


@app.function()
def wait_for_itself():
    return cloudfn.FunctionCall.from_id(cloudfn.current_function_call_id()).get()


@app.function()
def nested_call():
    return double.spawn(4)


@app.function()
def parallel(n):
    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(double.remote, range(n)))


@app.function()
def big(size):
    return b"x" * size


@app.function()
def unsendable():
    return threading.Lock()


@app.function()
def interrupted():
    raise KeyboardInterrupt


@other.function()
def triple(x):
    return 3 * x


@app.local_entrypoint()
def main(n: int = 3):
    return sum(double.map(range(n)))


@pytest.fixture
def world():
    effects.clear()
    with offline() as made, app.run():
        yield made


# --- calls


def test_remote_runs_the_function_and_counts_it(world):
    assert double.remote(21) == 42
    assert (world.count("double"), world.count("double", 1)) == (1, 0)
    assert world.attempts[0].args == (21,)
    assert world.attempts[0].ended == "returned"


def test_maps_yield_results_in_order(world):
    assert list(double.map(range(300))) == [2 * x for x in range(300)]
    assert list(add.map([1, 2], [3, 4])) == [4, 6]
    assert list(add.starmap([(1, 2), (3,)])) == [3, 13]
    assert list(add.map([1], kwargs={"b": 5})) == [6]
    assert sorted(double.map(range(9), order_outputs=False)) == [2 * x for x in range(9)]


def test_an_endless_generator_is_read_only_as_far_as_needed(world):
    def numbers():
        number = 0
        while True:
            read.append(number)
            yield number
            number += 1

    read: list[int] = []
    results = double.map(numbers())

    assert [next(results) for _ in range(3)] == [0, 2, 4]
    results.close()
    assert len(read) < 2_000


def test_for_each_runs_all(world):
    fragile.for_each([1, 2, 3])

    assert effects == [1, 2, 3]


def test_a_local_entrypoint_can_be_called(world):
    assert main(4) == 12


def test_spawned_inputs_run_when_somebody_waits_for_them(world):
    call = fragile.spawn(7)

    assert effects == []
    assert call.get() == 7
    assert effects == [7]


def test_run_pending_runs_what_nobody_waits_for(world):
    fragile.spawn(1)
    fragile.spawn_map([2, 3])

    assert world.run_pending() == 3
    assert effects == [1, 2, 3]
    assert world.run_pending() == 0


def test_a_spawned_map_can_be_read_in_every_way(world):
    call = double.spawn_map(range(5))

    assert call.num_inputs() == 5
    assert call.get(index=3) == 6
    assert list(call.iter(start=1)) == [2, 4, 6, 8]
    assert cloudfn.FunctionCall.from_id(call.object_id).get(index=4) == 8
    with pytest.raises(ValueError, match="no input 5"):
        call.get(index=5)


def test_gather_waits_for_all_calls(world):
    calls = [double.spawn(x) for x in range(3)]

    assert cloudfn.FunctionCall.gather(*reversed(calls)) == [4, 2, 0]


def test_a_cancelled_call_does_not_run(world):
    call = fragile.spawn(1)
    call.cancel()

    with pytest.raises(RemoteError, match="cancelled"):
        call.get()
    assert effects == []


def test_unknown_calls_are_not_found(world):
    with pytest.raises(NotFoundError):
        cloudfn.FunctionCall.from_id("fc-nothing").get()


def test_results_expire_on_the_fake_clock(world):
    call = double.spawn(1)
    assert call.get() == 2

    world.clock.advance(8 * 86_400)

    with pytest.raises(OutputExpiredError):
        call.get()


# --- what travels


def test_arguments_are_copies(world):
    items = ["local"]

    assert extend.remote(items) == ["local", "remote"]
    assert items == ["local"]


def test_arguments_that_do_not_pickle_are_refused_before_anything_runs(world):
    with pytest.raises(SerializationError, match="lock"):
        double.remote(threading.Lock())
    assert world.attempts == []


def test_results_that_do_not_pickle_are_failures(world):
    with pytest.raises(SerializationError, match="lock"):
        unsendable.remote()


def test_exceptions_keep_type_attributes_and_remote_lines(world):
    with pytest.raises(OddError) as caught:
        halve.remote(3)

    assert (caught.value.number, caught.value.args) == (3, ("3: odd",))
    assert caught.traceback[-1].name == "halve"


def test_a_map_may_return_its_exceptions(world):
    results = list(halve.map([2, 3, 4], return_exceptions=True))

    assert (results[0], results[2]) == (1, 2)
    assert isinstance(results[1], OddError)
    assert "input 1 of halve.map" in results[1].__notes__[0]


@pytest.mark.parametrize("size", [1 << 20, 70_000])
def test_big_arguments_and_results_go_through_files_and_leave_none_behind(world, size):
    assert len(big.remote(size)) == size
    assert len(double.remote(b"y" * size)) == 2 * size
    assert len(double.spawn(b"z" * size).get()) == 2 * size

    fast = world.provider.blobs.fast
    assert [path for path in fast.rglob("*") if path.is_file()] == []


# --- functions that call functions


def test_functions_call_functions(world):
    assert doubled_sum.remote(5) == 20
    assert doubled_list.remote(5) == [0, 2, 4, 6, 8]
    assert gathered.remote(4) == [0, 2, 4, 6]
    assert list(doubled_sum.map([4] * 60)) == [12] * 60


def test_deep_recursion_over_a_wide_map_is_no_trouble(world):
    assert list(fibonacci.map([7] * 50)) == [13] * 50


def test_functions_may_call_from_threads_of_their_own(world):
    assert parallel.remote(4) == [0, 2, 4, 6]


def test_a_handle_of_a_nested_call_comes_back(world):
    assert nested_call.remote().get() == 8


def test_functions_know_which_input_they_run(world):
    call = identity.spawn()
    call_id, input_id, is_local = call.get()

    assert call_id == call.object_id
    assert input_id == f"in-{call_id.removeprefix('fc-')}-0"
    assert is_local is False
    assert cloudfn.current_input_id() is None
    assert cloudfn.is_local()


def test_the_call_graph_shows_who_called_whom(world):
    call = nested_call.spawn()
    call.get()
    world.run_pending()

    [root] = call.get_call_graph()
    assert root.function_name == "nested_call"
    assert [child.function_name for child in root.children] == ["double"]


def test_a_function_that_waits_for_itself_is_told_so(world):
    with pytest.raises(ExecutionError, match="for ever"):
        wait_for_itself.remote()


# --- asyncio


def test_everything_has_its_asynchronous_twin(world):
    async def program():
        call = await double.spawn.aio(4)
        mapped = [x async for x in double.map.aio(range(3))]
        together = await asyncio.gather(double.remote.aio(1), doubled_sum.remote.aio(3))
        return await double.remote.aio(2), await call.get.aio(), mapped, together

    assert asyncio.run(program()) == (4, 8, [0, 2, 4], [2, 6])


def test_asynchronous_sources_are_read_as_they_come(world):
    async def numbers():
        for number in range(20):
            await asyncio.sleep(0)
            yield number

    async def program():
        return [x async for x in double.map.aio(numbers())]

    assert asyncio.run(program()) == [2 * x for x in range(20)]


def test_asynchronous_functions_run_inside_a_running_loop(world):
    async def program():
        return await doubled_list.remote.aio(3)

    assert asyncio.run(program()) == [0, 2, 4]


# --- failures by script


def test_a_script_lets_attempts_fail_in_turn(world):
    world.script["stubborn", 0] = ["die", "raise", "lose", "ok"]

    assert stubborn.remote(5) == 5
    assert [each.ended for each in world.attempts] == ["crashed", "raised", "lost", "returned"]
    assert effects == [5]


def test_retries_wait_on_the_fake_clock(world):
    world.script["stubborn"] = ["raise", "raise"]
    before = world.clock.monotonic()

    assert stubborn.remote(1) == 1
    assert world.clock.monotonic() - before == 4.0 + 8.0


def test_retries_come_to_an_end(world):
    world.script["stubborn"] = [OddError(1, "a"), OddError(2, "b"), OddError(3, "c"), "ok"]
    with pytest.raises(OddError, match="3: c"):
        stubborn.remote(1)
    assert world.count("stubborn") == 3


def test_an_input_without_retries_fails_at_once(world):
    world.script["double", 1] = ["raise"]

    results = list(double.map(range(3), return_exceptions=True))

    assert (results[0], results[2]) == (0, 4)
    assert isinstance(results[1], ScriptedError)


def test_crashes_are_bounded(world):
    world.script["fragile"] = ["die"] * 9

    with pytest.raises(ContainerCrashed):
        fragile.remote(1)
    assert world.count("fragile") == 3


def test_losses_are_bounded(world):
    world.script["fragile"] = ["lose"] * 99

    with pytest.raises(InputLost):
        fragile.remote(1)
    assert world.count("fragile") == 10


def test_a_late_loss_runs_the_code_twice_and_has_one_result(world):
    world.script["fragile"] = ["lose late"]

    assert list(fragile.map(["x"])) == ["x"]
    assert effects == ["x", "x"]


def test_a_timeout_takes_its_time_on_the_fake_clock(world):
    world.script["fragile"] = ["timeout"]
    before = world.clock.monotonic()

    with pytest.raises(FunctionTimeoutError, match="60s"):
        fragile.remote(1)
    assert world.clock.monotonic() - before == 60.0
    assert effects == []


def test_code_that_moves_the_clock_too_far_times_out(world):
    world.script["stubborn"] = [30.0, 61.0]
    world.script["fragile"] = [61.0]

    assert stubborn.remote(1) == 1
    with pytest.raises(FunctionTimeoutError):
        fragile.remote(1)


def test_get_gives_up_on_the_fake_clock_and_the_call_goes_on(world):
    world.script["fragile"] = [30.0]
    call = fragile.spawn(1)

    for timeout in (0, 10):
        with pytest.raises(TimeoutError):
            call.get(timeout=timeout)
    assert fragile.get_current_stats().num_running_inputs == 1
    before = world.clock.monotonic()
    assert call.get(timeout=60) == 1
    assert world.clock.monotonic() - before == 20.0


def test_slow_inputs_overlap(world):
    world.script["fragile"] = [30.0]
    before = world.clock.monotonic()

    assert list(fragile.map(range(5))) == [0, 1, 2, 3, 4]
    assert world.clock.monotonic() - before == 30.0


def test_a_running_call_can_be_cancelled(world):
    world.script["fragile"] = [30.0]
    call = fragile.spawn(1)
    with pytest.raises(TimeoutError):
        call.get(timeout=1)

    call.cancel()

    with pytest.raises(RemoteError, match="cancelled"):
        call.get()


def test_a_script_that_nothing_came_of_is_an_error():
    with (
        pytest.raises(InvalidError, match=r"\('double', 5\)"),
        offline(script={("double", 5): ["die"]}),
        app.run(),
    ):
        double.remote(1)


def test_the_same_program_takes_the_same_course_each_time():
    def course():
        script = {"stubborn": ["raise"], ("fragile", 2): ["lose", 5.0], ("double", 1): ["die"]}
        with offline(script=script) as made, app.run():
            stubborn.for_each(range(3))
            list(fragile.map(range(4)))
            doubled_sum.remote(4)
            return [repr(each) for each in made.attempts], made.clock.monotonic()

    assert course() == course()


# --- failures of the store


def test_a_full_disk_refuses_a_spawn_and_keeps_nothing_of_it(world):
    world.fail_next("ledger.commit", ResourceExhaustedError("The disk is full."))

    with pytest.raises(ResourceExhaustedError, match="full"):
        fragile.spawn(1)
    assert world.run_pending() == 0
    assert fragile.spawn(2).get() == 2


@pytest.mark.parametrize("point", ["ledger.record", "ledger.commit", "ledger.retry"])
def test_an_outcome_outlives_a_failure_to_record_it(world, point):
    world.script["stubborn"] = ["raise"]
    call = stubborn.spawn(1)
    world.fail_next(point, OSError("a hiccup"))

    assert call.get() == 1
    assert effects == [1]


def test_a_deploy_that_fails_says_so():
    with offline() as world:
        world.fail_next("catalog.create_app", ResourceExhaustedError("The disk is full."))
        with pytest.raises(ResourceExhaustedError):
            other.deploy()
        other.deploy()
        assert triple.remote(2) == 6


def test_limits_are_kept_and_maps_wait_for_room():
    with offline(limits=Limits(pending=3, total=5, spawn_pending=2)), app.run():
        with pytest.warns(ServerWarning, match="progress is limited"):
            assert list(double.map(range(20))) == [2 * x for x in range(20)]
        double.spawn(1)
        double.spawn(2)
        with pytest.raises(ResourceExhaustedError):
            double.spawn(3)


# --- apps


def test_deployed_functions_are_found_by_name():
    with offline():
        other.deploy()
        found = cloudfn.Function.from_name("other", "triple")
        assert found.remote(2) == 6
        with pytest.raises(NotFoundError, match="no such function"):
            cloudfn.Function.from_name("other", "quadruple").remote(1)
        with pytest.raises(NotFoundError, match="no deployed app"):
            cloudfn.Function.from_name("another", "triple").remote(1)


def test_a_handle_in_a_global_works_in_each_world_that_has_the_app():
    found = cloudfn.Function.from_name("other", "triple")
    for _ in range(2):
        with offline():
            other.deploy()
            assert found.remote(3) == 9
    with offline(), pytest.raises(NotFoundError):
        found.remote(3)


def test_a_second_deploy_without_a_change_is_none():
    with offline():
        assert other.deploy().deployment.changed
        assert not other.deploy().deployment.changed
        assert cloudfn.App.lookup("other").app_id == other.app_id


def test_a_stopped_app_is_gone_with_its_pending_inputs():
    with offline():
        other.deploy()
        call = triple.spawn(1)
        cloudfn.App.lookup("other").stop()
        with pytest.raises(RemoteError, match="cancelled"):
            call.get()
        with pytest.raises(NotFoundError):
            cloudfn.Function.from_name("other", "triple").remote(1)


def test_what_was_spawned_ends_with_an_app_that_only_runs():
    with offline() as world:
        with app.run():
            call = fragile.spawn(1)
        assert world.run_pending() == 0
        with pytest.raises(RemoteError, match="cancelled"):
            call.get()
        assert app.summary == {"containers_peak": 0, "done": 0, "failed": 0}


def test_autoscaler_settings_are_merged_and_checked(world):
    assert double.update_autoscaler(min_containers=2).min_containers == 2
    assert double.update_autoscaler(max_containers=4).min_containers == 2
    with pytest.raises(InvalidError):
        double.update_autoscaler(max_containers=1)
    assert double.autoscaler.settings().max_containers == 4


def test_stats_count_what_waits(world):
    double.spawn_map(range(6))

    assert double.get_current_stats().backlog == 6


# --- surroundings


def test_output_is_kept_and_shown(world, capsys):
    quoted.remote(1)

    assert world.output("spoken") == "out 1\n"
    assert world.output("quoted") == "before\nafter\n"
    assert capsys.readouterr().out == "before\nout 1\nafter\n"


def test_output_goes_to_who_enabled_it_and_nowhere_else(capsys):
    told: list[str] = []

    def sink(message):
        told.extend(entry["text"] for entry in message.get("entries", ()))

    with offline(), cloudfn.enable_output(sink=sink), app.run():
        spoken.remote(1)

    assert "".join(told) == "out 1\n"
    assert capsys.readouterr().out == ""


def test_variables_of_a_function_are_set_while_it_runs(world):
    assert colour.remote() == "green"
    assert colour.local() == "$CLOUDFN_TEST_COLOUR"


def test_an_interrupt_reaches_the_test_and_the_input_is_not_lost(world):
    call = interrupted.spawn()

    with pytest.raises(KeyboardInterrupt):
        call.get()
    assert interrupted.get_current_stats().backlog == 1


def test_nothing_is_left_behind():
    with offline() as world, app.run():
        big.remote(1 << 20)
        doubled_list.remote(2)
        folder = world.provider.folder
        assert folder.exists()
    assert not folder.exists()


def test_worlds_can_be_nested_and_do_not_know_each_other():
    with offline() as outer:
        other.deploy()
        with offline() as inner, pytest.raises(NotFoundError):
            cloudfn.Function.from_name("other", "triple").remote(1)
        assert cloudfn.Function.from_name("other", "triple").remote(1) == 3
        assert (outer.count("triple"), inner.count("triple")) == (1, 0)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        pytest.param(OddError(1, "odd"), 2, id="named"),
        pytest.param(ConnectionResetError(), 2, id="a subclass of one named"),
        pytest.param(BrokenPipeError(), 1, id="given up on, though its base is retried"),
        pytest.param(KeyError("k"), 1, id="not named"),
        pytest.param("timeout", 2, id="a timeout"),
    ],
)
def test_retries_choose_among_exceptions(error, attempts):
    with offline(script={"choosy": [error]}) as made, app.run():
        outcome = next(choosy.map([1], return_exceptions=True))

        assert len(made.attempts) == attempts
        assert (outcome == 1) is (attempts == 2)


def test_an_executor_runs_its_calls_offline():
    with offline(), app.run(), cloudfn.Executor(call) as executor:
        assert list(executor.map(len, ["a", "bc", ""])) == [1, 2, 0]


def test_a_callback_is_called_when_an_offline_call_is_done():
    heard: Future[object] = Future()
    with offline(), app.run():
        spawned = double.spawn_map(range(3))
        spawned.add_done_callback(heard.set_result)

        assert heard.result(10) is spawned
        assert spawned.done()


def test_apps_and_functions_tell_what_they_are():
    with offline():
        made = cloudfn.App.lookup("made-offline", create_if_missing=True)
        assert made.info().functions == ()
        app.deploy(name="telling")

        info = double.info()

        assert (info.name, info.app_name, info.version) == ("double", "telling", 1)
        assert cloudfn.Function.from_id(double.object_id).remote(4) == 8
        assert app.info().state == "deployed"
        assert app.stats() == double.stats()
