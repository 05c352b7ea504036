"""Conformance 3.1 and 2.6: one call, its arguments, its result and its exception.

This module is the program: its functions run in containers that import it.
"""
# ruff: noqa: TID251 - this is user code as well

import asyncio
import os
import threading
import traceback
from pathlib import Path

import pytest

import cloudfn
from cloudfn.exception import (
    AsyncUsageWarning,
    DeserializationError,
    ExecutionError,
    InvalidError,
    RemoteError,
)
from cloudfn.providers.local.blobs import memory_root
from tests.integration.conformance_world import World, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("invocation")
counter = 0
#: which thread imported this module
IMPORTED_BY_MAIN_THREAD = threading.current_thread() is threading.main_thread()


class CustomError(Exception):
    """One with an attribute."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Point:
    """A class that travels by reference."""

    def __init__(self, x: int) -> None:
        self.x = x


class Poison:
    """Can be pickled, and not unpickled in a container."""

    def __reduce__(self):
        return explode, ()


def explode() -> "Poison":
    if not cloudfn.is_local():
        raise ValueError("cannot be unpickled here")
    return Poison()


@app.function()
def power(base, exponent=2):
    """Raise a number to a power."""
    return base**exponent


@app.function()
async def power_later(base):
    await asyncio.sleep(0)
    return base**2


@app.function(max_containers=1)
def count_up():
    global counter  # noqa: PLW0603 - what the test is about
    counter += 1
    return counter, os.getpid()


@app.function()
def fail(message):
    raise CustomError(message, code=7)


@app.function()
async def fail_later(message):
    raise CustomError(message, code=8)


@app.function()
def fail_with_notes_and_cause():
    try:
        {}["missing"]
    except KeyError as error:
        outer = CustomError("outer", code=9)
        outer.add_note("a note from the container")
        raise outer from error


@app.function()
def fail_with_context():
    try:
        raise ValueError("first")
    except ValueError:
        raise CustomError("second") from None


@app.function()
def fail_in_groups():
    raise ExceptionGroup("several", [ValueError("one"), CustomError("two", code=2)])


@app.function(max_containers=1)
def echo(value):
    return value


@app.function(max_containers=1)
def measure(value):
    return len(value), os.getpid()


def blobs_of(*folders):
    return [path.stat().st_size for each in folders for path in Path(each).rglob("*")
            if path.is_file()]  # fmt: skip


@app.function()
def blobs_seen(_data, folders):
    return blobs_of(*folders)


@app.function()
def shift(point):
    assert isinstance(point, Point)
    return Point(point.x + 1)


@app.function()
def use_handle(function, value):
    return function.remote(value)


@app.function()
def join_call(call):
    return call.get()


@app.function()
def tell_where():
    return (
        cloudfn.is_local(),
        cloudfn.current_input_id(),
        cloudfn.current_function_call_id(),
        threading.current_thread() is threading.main_thread(),
        IMPORTED_BY_MAIN_THREAD,
    )


@app.function()
async def tell_where_later():
    return cloudfn.current_input_id(), threading.current_thread() is threading.main_thread()


@app.function()
def result_of_a_module_that_only_lives_here():
    import sys
    from types import ModuleType

    made = ModuleType("only_in_the_container")
    exec("class Thing:\n    pass", made.__dict__)
    sys.modules["only_in_the_container"] = made
    return made.Thing()


@app.function()
def leave():
    raise SystemExit(3)


@app.function()
def generator():
    yield 1


@app.function(env={"GREETING": "hello"})
def tell_environment():
    secret = os.environ.get("CONFORMANCE_SECRET")
    return os.environ.get("GREETING"), secret, os.getcwd(), str(Path(__file__))


def plain(x):
    return x


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield world


def test_a_function_is_not_callable():
    """C001."""
    with pytest.raises(TypeError, match="not callable"):
        power(2)  # type: ignore[operator]


def test_a_function_of_an_app_that_does_not_run_says_so():
    """C002."""
    idle = cloudfn.App("idle")
    f = idle.function()(plain)
    calls = [
        lambda: f.remote(2),
        lambda: f.spawn(2),
        lambda: f.for_each([2]),
        lambda: list(f.map([2])),
        lambda: f.spawn_map([2]),
        lambda: f.update_autoscaler(min_containers=1),
        f.get_current_stats,
        lambda: f.object_id,
    ]
    for call in calls:
        with pytest.raises(ExecutionError, match=r"(?s)has not been hydrated.*not running"):
            call()


def test_local_runs_the_body_right_here():
    assert power.local(3) == 9
    assert power.local(2, exponent=5) == 32


def test_local_of_an_async_function_is_a_coroutine():
    """C004."""
    coroutine = power_later.local(3)
    assert asyncio.iscoroutine(coroutine)
    assert asyncio.run(coroutine) == 9


def test_remote_returns_what_the_body_returns():
    """C005."""
    assert power.remote(2, 4) == 16
    assert power.remote(2, exponent=3) == 8
    assert power_later.remote(5) == 25
    assert echo.remote(None) is None


def test_every_call_has_an_aio_twin():
    async def program():
        assert await power.remote.aio(2, exponent=3) == 8
        assert await power_later.remote.aio(4) == 16
        call = await power.spawn.aio(3)
        assert await call.get.aio() == 9
        assert await call.num_inputs.aio() == 1
        assert await cloudfn.FunctionCall.gather.aio(call, await power.spawn.aio(5)) == [9, 25]
        assert [x async for x in power.map.aio([1, 2, 3])] == [1, 4, 9]
        assert [x async for x in power.map([1, 2, 3])] == [1, 4, 9]
        assert [x async for x in power.starmap.aio([(2, 3), (2, 4)])] == [8, 16]
        assert await power.for_each.aio([1, 2]) is None
        many = await power.spawn_map.aio([1, 2, 3])
        assert [x async for x in many.iter.aio()] == [1, 4, 9]
        settings = await power.update_autoscaler.aio(max_containers=5)
        assert settings.max_containers == 5
        stats = await power.get_current_stats.aio()
        assert stats.backlog == 0
        assert (await call.get_call_graph.aio())[0].function_name == "power"
        await call.cancel.aio()

    asyncio.run(program())


def test_blocking_calls_in_an_event_loop_work_and_warn():
    async def program():
        with pytest.warns(AsyncUsageWarning, match="remote"):
            return power.remote(3)

    assert asyncio.run(program()) == 9


def test_an_exception_keeps_its_type_its_message_and_its_attributes():
    """C007."""
    with pytest.raises(CustomError, match=r"^bad$") as caught:
        fail.remote("bad")
    assert type(caught.value) is CustomError
    assert caught.value.code == 7
    assert caught.value.args == ("bad",)


def test_the_traceback_shows_the_remote_line_and_the_call_site():
    """C007."""
    with pytest.raises(CustomError) as caught:
        fail.remote("bad")
    text = "".join(traceback.format_exception(caught.value))
    assert "raise CustomError(message, code=7)" in text
    assert "fail.remote(" in text
    assert __file__ in text


def test_an_async_exception_keeps_its_type():
    """C008."""

    async def program():
        await fail_later.remote.aio("later")

    with pytest.raises(CustomError, match=r"^later$") as caught:
        asyncio.run(program())
    assert caught.value.code == 8
    assert "raise CustomError(message, code=8)" in "".join(traceback.format_exception(caught.value))


def test_notes_and_causes_of_an_exception_arrive():
    with pytest.raises(CustomError, match="outer") as caught:
        fail_with_notes_and_cause.remote()
    assert "a note from the container" in caught.value.__notes__
    assert isinstance(caught.value.__cause__, KeyError)
    text = "".join(traceback.format_exception(caught.value))
    assert "direct cause of the following exception" in text
    assert '{}["missing"]' in text


def test_a_suppressed_context_stays_suppressed():
    with pytest.raises(CustomError) as caught:
        fail_with_context.remote()
    assert caught.value.__suppress_context__
    assert "first" not in "".join(traceback.format_exception(caught.value))


def test_an_exception_group_arrives_whole():
    with pytest.raises(ExceptionGroup) as caught:
        fail_in_groups.remote()
    one, two = caught.value.exceptions
    assert isinstance(one, ValueError)
    assert isinstance(two, CustomError)
    assert two.code == 2


def test_a_wrong_signature_is_a_type_error_from_the_container():
    with pytest.raises(TypeError, match="argument"):
        power.remote(1, 2, 3, 4)


def test_a_result_of_a_module_that_only_the_container_has_names_the_module():
    """C010."""
    with pytest.raises(DeserializationError, match="only_in_the_container"):
        result_of_a_module_that_only_lives_here.remote()


def test_an_argument_that_cannot_be_unpickled_fails_its_input_only():
    """C011."""
    _, before = measure.remote([1])
    with pytest.raises((RemoteError, ExecutionError, DeserializationError, ValueError)):
        measure.remote(Poison())
    assert measure.remote([1, 2]) == (2, before)


def test_big_arguments_and_results_come_through_in_files(running: World):
    """C013."""
    data = os.urandom(3 << 20)
    assert echo.remote(data) == data
    assert measure.remote(data)[0] == len(data)
    call = echo.spawn(data[: 64 << 10])
    assert call.get() == data[: 64 << 10]
    state = running.settings.state_dir
    (kept,) = blobs_of(state / "blobs" / call.object_id)
    assert kept > 64 << 10
    assert max(blobs_seen.remote(data, [str(state / "blobs"), str(memory_root(state))])) > len(data)


def test_a_function_handle_and_a_call_handle_are_arguments():
    """C016."""
    assert use_handle.remote(power, 6) == 36
    assert join_call.remote(power.spawn(7)) == 49


def test_a_container_is_used_again_and_keeps_its_globals():
    """C017."""
    (first, pid), (second, same) = count_up.remote(), count_up.remote()
    assert (second, same) == (first + 1, pid)
    assert counter == 0


def test_a_class_of_this_module_travels_by_reference():
    moved = shift.remote(Point(1))
    assert type(moved) is Point
    assert moved.x == 2


def test_a_nested_function_needs_serialized():
    """C019."""

    def nested():
        """Live in a function."""

    with pytest.raises(InvalidError, match="global scope"):
        cloudfn.App("nested").function()(nested)


def test_a_serialized_closure_and_a_lambda_run():
    factor = 3
    other = cloudfn.App("closures")

    @other.function(serialized=True)
    def times(x):
        return x * factor

    shifted = other.function(serialized=True, name="shifted")(lambda x: x + factor)
    with other.run():
        assert list(times.map([1, 2])) == [3, 6]
        assert shifted.remote(1) == 4


def test_a_huge_closure_is_refused_and_a_large_one_warned_of():
    """C020."""
    ballast = os.urandom(17 << 20)
    other = cloudfn.App("huge")
    other.function(serialized=True, name="huge")(lambda: len(ballast))
    with pytest.raises(InvalidError, match="MiB"), other.run():
        pass
    smaller = ballast[: 1 << 20]
    another = cloudfn.App("large")
    large = another.function(serialized=True, name="large")(lambda: len(smaller))
    with pytest.warns(cloudfn.exception.UserWarning, match="KiB"), another.run():
        assert large.remote() == 1 << 20


def test_user_code_knows_its_input_and_call_and_runs_on_the_main_thread():
    """C124, C130."""
    local, input_id, call_id, on_main, imported_on_main = tell_where.remote()
    assert not local
    assert input_id.startswith("in-")
    assert call_id.startswith("fc-")
    assert on_main
    assert imported_on_main
    later_id, later_on_main = tell_where_later.remote()
    assert later_id.startswith("in-")
    assert later_id != input_id
    assert later_on_main
    call = tell_where.spawn()
    assert call.get()[2] == call.object_id


def test_outside_of_a_container_there_is_no_input():
    """C130."""
    assert cloudfn.is_local()
    assert cloudfn.current_input_id() is None
    assert cloudfn.current_function_call_id() is None


def test_a_system_exit_fails_its_input_only():
    with pytest.raises((SystemExit, RemoteError, ExecutionError)):
        leave.remote()
    assert power.remote(2) == 4


def test_a_generator_function_refuses_what_it_cannot():
    """C023, C025, C026, C029."""
    with pytest.raises(InvalidError, match="remote_gen"):
        generator.remote()
    with pytest.raises(InvalidError, match="A generator function cannot be called with"):
        list(generator.map([1]))
    with pytest.raises(InvalidError, match="A generator function cannot be called with"):
        generator.for_each([1])
    with pytest.raises(InvalidError, match="Cannot `spawn` a generator function"):
        generator.spawn()
    with pytest.raises(InvalidError, match="Generator Functions do not support retries"):
        cloudfn.App("generators").function(retries=0)(generator.get_raw_f())


def test_the_environment_of_a_container_is_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CONFORMANCE_SECRET", "hidden")
    greeting, secret, folder, file = tell_environment.remote()
    assert greeting == "hello"
    assert secret is None
    assert Path(file).is_relative_to(folder)
    assert file != __file__


def test_a_function_keeps_the_name_and_documentation_of_its_body():
    assert power.__name__ == "power"
    assert power.__doc__ == "Raise a number to a power."
    assert power.get_raw_f()(3) == 9
    assert power.object_id.startswith("fu-")
