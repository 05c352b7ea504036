"""Conformance 3.5: retries and timeouts."""
# ruff: noqa: TID251 - this is user code as well

import builtins
import os
import time
from pathlib import Path

import pytest

import cloudfn
from cloudfn.exception import Error, ExecutionError, FunctionTimeoutError, InvalidError
from tests.integration.conformance_world import World, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("retries")
AT_ONCE = cloudfn.Retries(max_retries=3, backoff_coefficient=1.0, initial_delay=0.0)


def attempts(path: str | Path) -> int:
    """Return how often an input began."""
    try:
        return len(Path(path).read_text().splitlines())
    except FileNotFoundError:
        return 0


def begin(path: str) -> int:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return attempts(path)


class CustomError(Exception):
    """One that travels."""


@app.function(retries=AT_ONCE)
def always_fail(path):
    raise CustomError(f"attempt {begin(path)}")


@app.function(retries=AT_ONCE)
def succeed_at(path, wanted):
    number = begin(path)
    if number < wanted:
        raise CustomError(f"attempt {number}")
    return number


@app.function(retries=AT_ONCE, max_containers=1)
def one_by_one(path, wanted):
    return succeed_at.local(path, wanted)


@app.function(retries=cloudfn.Retries(max_retries=1, initial_delay=0.0), timeout=1)
def sleep_once(path):
    number = begin(path)
    if number == 1:
        time.sleep(30)
    return number


@app.function()
def fail_without_retries(path):
    raise CustomError(f"attempt {begin(path)}")


@app.function(timeout=1)
def sleep_too_long(path):
    begin(path)
    time.sleep(30)


@app.function(timeout=1)
async def sleep_too_long_later(path):
    import asyncio

    begin(path)
    await asyncio.sleep(30)


@app.function(timeout=1)
def busy(path):
    begin(path)
    while True:
        pass


@app.function(timeout=2, max_containers=1)
def half_a_second(x):
    time.sleep(0.5)
    return x


@app.function(retries=2)
def exit_hard(path):
    if begin(path) == 1:
        os._exit(1)
    return "survived"


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield world


def test_after_the_last_retry_the_last_exception_is_raised(tmp_path):
    """C071."""
    path = tmp_path / "trace"
    with pytest.raises(CustomError, match="attempt 4"):
        always_fail.remote(str(path))
    assert attempts(path) == 4


def test_a_first_success_is_the_only_attempt(tmp_path):
    """C073."""
    path = tmp_path / "trace"
    assert succeed_at.remote(str(path), 1) == 1
    assert attempts(path) == 1


def test_a_spawned_input_is_retried_with_nobody_waiting(tmp_path):
    path = tmp_path / "trace"
    call = succeed_at.spawn(str(path), 3)
    assert call.get(timeout=30) == 3


def test_without_retries_the_first_failure_ends_the_map(tmp_path):
    """C076."""
    paths = [tmp_path / name for name in "abc"]
    with pytest.raises(CustomError, match="attempt 1"):
        list(fail_without_retries.map(map(str, paths)))
    assert max(map(attempts, paths)) == 1


def test_failures_in_a_map_are_retried_each_for_itself(tmp_path):
    """C077."""
    paths = [str(tmp_path / name) for name in "abc"]
    assert list(succeed_at.map(paths, [1, 2, 3])) == [1, 2, 3]
    assert [attempts(path) for path in paths] == [1, 2, 3]


def test_what_is_retried_until_a_counter_is_high_enough_comes_to_the_same_results(tmp_path):
    """C077."""
    path = tmp_path / "trace"
    assert set(one_by_one.map([str(path)] * 3, [3, 3, 3])) == {3, 4, 5}
    assert attempts(path) == 5


def test_an_input_over_its_time_is_a_function_timeout(tmp_path):
    """C080."""
    for function in (sleep_too_long, sleep_too_long_later, busy):
        path = tmp_path / function.name
        began = time.monotonic()
        with pytest.raises(FunctionTimeoutError, match=r"(?i)1 ?s") as caught:
            function.remote(str(path))
        assert 1.0 <= time.monotonic() - began < 20
        assert isinstance(caught.value, Error)
        assert isinstance(caught.value, cloudfn.exception.TimeoutError)
        assert attempts(path) == 1


def test_a_function_timeout_of_a_spawned_call_is_told_from_the_wait_for_it(tmp_path):
    call = sleep_too_long.spawn(str(tmp_path / "trace"))
    with pytest.raises(builtins.TimeoutError) as caught:
        call.get(timeout=0)
    assert not isinstance(caught.value, FunctionTimeoutError)
    with pytest.raises(FunctionTimeoutError):
        call.get(timeout=20)


def test_a_timeout_spends_a_retry(tmp_path):
    assert sleep_once.remote(str(tmp_path / "trace")) == 2


def test_waiting_in_the_queue_is_no_time_of_the_input():
    """C082."""
    assert list(half_a_second.map(range(6))) == list(range(6))


def test_the_death_of_a_container_runs_its_input_again(tmp_path):
    path = tmp_path / "trace"
    assert exit_hard.remote(str(path)) == "survived"
    assert attempts(path) == 2


def test_delays_grow_up_to_the_longest_one():
    """C074."""
    policy = cloudfn.Retries(
        max_retries=9, backoff_coefficient=3.0, initial_delay=2.0, max_delay=10.0
    )
    assert [policy.delay(n) for n in (1, 2, 3)] == [2.0, 6.0, 10.0]
    with pytest.raises(ValueError, match="1"):
        policy.delay(0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -2},
        {"max_retries": 1, "backoff_coefficient": 0.0},
        {"max_retries": 1, "backoff_coefficient": 11.0},
        {"max_retries": 1, "max_delay": 0.5},
        {"max_retries": 1, "max_delay": 61.0},
        {"max_retries": 1, "initial_delay": 61.0},
    ],
)
def test_retries_outside_of_their_ranges_are_refused(wrong):
    """C079."""
    with pytest.raises(InvalidError):
        cloudfn.Retries(**wrong)


@pytest.mark.parametrize("wrong", [-1, 1.5])
def test_a_number_of_retries_that_makes_no_sense_is_refused(wrong):
    """C079."""
    with pytest.raises(InvalidError):
        cloudfn.App("wrong").function(retries=wrong)(begin)


def test_retries_need_their_names():
    """C079."""
    with pytest.raises(TypeError):
        cloudfn.Retries()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        cloudfn.Retries(3)  # type: ignore[misc]
    with pytest.raises((TypeError, InvalidError)):
        cloudfn.App("wrong").function(retries=True)(begin)


def test_a_program_that_cannot_be_imported_in_a_container_fails_its_inputs(running: World):
    source = """
    import cloudfn
    app = cloudfn.App("broken")
    if not cloudfn.is_local():
        raise RuntimeError("only here")

    @app.function()
    def f():
        return 1

    if __name__ == "__main__":
        with app.run():
            try:
                f.remote()
            except Exception as error:
                print(type(error).__name__, "only here" in str(error))
    """
    done = running.python(running.write(source))
    assert "True" in done.stdout


def test_a_container_that_starts_for_too_long_fails_its_inputs(running: World):
    """C083."""
    source = """
    import time
    import cloudfn
    app = cloudfn.App("slow")
    if not cloudfn.is_local():
        time.sleep(WAIT)

    @app.function(startup_timeout=STARTUP, timeout=1)
    def f():
        return 1

    if __name__ == "__main__":
        with app.run():
            try:
                print(f.remote())
            except Exception as error:
                print(error)
    """
    slow = source.replace("WAIT", "60").replace("STARTUP", "1")
    assert "startup_timeout" in running.python(running.write(slow)).stdout
    well = source.replace("WAIT", "1.5").replace("STARTUP", "30")
    assert running.python(running.write(well)).stdout == "1\n"


def test_the_error_of_a_function_over_its_time_is_no_other(tmp_path):
    with pytest.raises(FunctionTimeoutError) as caught:
        sleep_too_long.remote(str(tmp_path / "trace"))
    assert not isinstance(caught.value, ExecutionError)


class HopelessError(CustomError):
    """One that no retry helps."""


CHOOSY = cloudfn.Retries(
    max_retries=2, initial_delay=0.0, retry_on=(CustomError, OSError), give_up_on=HopelessError
)


@app.function(retries=CHOOSY)
def choosy(path, error):
    begin(path)
    raise error


@app.function(retries=CHOOSY, serialized=True)
def choosy_by_value(path, kind):
    class LocalError(HopelessError):
        pass

    with open(path, "a") as file:
        file.write("attempt\n")
    raise LocalError("given up") if kind == "hopeless" else CustomError("again")


@app.function(
    retries=cloudfn.Retries(max_retries=2, initial_delay=0.0, give_up_on=FunctionTimeoutError),
    timeout=1,
)
def too_slow(path):
    begin(path)
    time.sleep(30)


@pytest.mark.parametrize(
    ("error", "times"),
    [
        pytest.param(CustomError("again"), 3, id="of a class to be retried"),
        pytest.param(ConnectionResetError("again"), 3, id="of a subclass of one"),
        pytest.param(HopelessError("given up"), 1, id="of a class to be given up on"),
        pytest.param(KeyError("unknown"), 1, id="of no class that is named"),
    ],
)
def test_retries_are_for_the_exceptions_that_they_name(world: World, tmp_path, error, times):
    path = str(tmp_path / "attempts")
    with pytest.raises(type(error)):
        choosy.remote(path, error)

    assert attempts(path) == times


def test_exceptions_are_told_apart_in_functions_that_travel_by_value(world: World, tmp_path):
    for kind in ("hopeless", "other"):
        with pytest.raises(CustomError):
            choosy_by_value.remote(str(tmp_path / kind), kind)

    assert (attempts(tmp_path / "hopeless"), attempts(tmp_path / "other")) == (1, 3)


def test_a_timeout_that_is_given_up_on_is_not_run_again(world: World, tmp_path):
    path = str(tmp_path / "attempts")
    with pytest.raises(FunctionTimeoutError):
        too_slow.remote(path)

    assert attempts(path) == 1
