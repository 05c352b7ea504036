"""Conformance 3.4: spawn, spawn_map and FunctionCall; cancellation; call graphs."""
# ruff: noqa: TID251 - this is user code as well

import asyncio
import builtins
import itertools
import os
import threading
import time

import pytest

import cloudfn
from cloudfn.exception import InvalidError, NotFoundError, RemoteError
from tests.integration.conformance_world import World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("calls")


class CustomError(Exception):
    """One that travels."""


@app.function()
def square(x):
    return x * x


@app.function()
def fail(message):
    raise CustomError(message)


@app.function()
def fail_on_four(x):
    if x == 4:
        raise CustomError("four")
    return x * x


@app.function(max_containers=4)
def wait_for_file(path, x):
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise RuntimeError("nobody made the file")
        time.sleep(0.005)
    return x


def note_began(path, x):
    with open(f"{path}.began", "a") as file:
        file.write(f"{x}\n")


def is_there(path):
    return os.path.exists(path)


@app.function(max_containers=1)
def one_at_a_time(path, x):
    note_began(path, x)
    wait_for_file.local(path, x)
    return x, os.getpid()


@app.function(max_containers=1)
async def one_at_a_time_later(path, x):
    note_began(path, x)
    deadline = time.monotonic() + 60
    while not is_there(path):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    return x, os.getpid()


@app.function(retries=3)
def wait_with_retries(path):
    note_began(path, "began")
    return wait_for_file.local(path, 1)


@app.function()
def meet(folder, mine, other):
    """Return once the other one runs as well."""
    open(os.path.join(folder, mine), "w").close()
    return wait_for_file.local(os.path.join(folder, other), mine)


@app.function()
def child(x):
    return square.remote(x) + 1


@app.function()
def parent(x):
    return child.remote(x) + sum(square.map([1, 2]))


@app.function()
def spawn_child(x):
    return square.spawn(x)


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield world


def began(gate) -> list[str]:
    try:
        return (gate.parent / f"{gate.name}.began").read_text().split()
    except FileNotFoundError:
        return []


def test_a_result_that_is_not_there_yet_is_the_builtin_timeout(tmp_path):
    """C058."""
    gate = tmp_path / "gate"
    call = wait_for_file.spawn(str(gate), "hello")
    assert call.object_id.startswith("fc-")
    for timeout in (0.01, 0):
        with pytest.raises(builtins.TimeoutError) as caught:
            call.get(timeout)
        assert type(caught.value) is builtins.TimeoutError
    with pytest.raises(builtins.TimeoutError):
        call.get(timeout=0)
    gate.touch()
    assert call.get(timeout=30) == "hello"


def test_a_result_can_be_had_again_and_at_once():
    """C058."""
    call = square.spawn(4)
    assert call.get() == 16
    assert call.get() == 16
    assert call.get(timeout=0) == 16


def test_a_call_is_known_to_other_processes_by_its_id(running: World):
    """C059."""
    call = square.spawn(5)
    source = f"""
    import cloudfn
    print(cloudfn.FunctionCall.from_id({call.object_id!r}).get())
    """
    assert running.python(running.write(source)).stdout == "25\n"
    assert cloudfn.FunctionCall.from_id(call.object_id).get() == 25
    assert cloudfn.FunctionCall.from_id(call.object_id).num_inputs() == 1


def test_an_unknown_id_is_an_error_only_when_it_is_used():
    call = cloudfn.FunctionCall.from_id("fc-" + "0" * 22)
    with pytest.raises(NotFoundError):
        call.get(timeout=5)
    with pytest.raises((NotFoundError, InvalidError)):
        cloudfn.FunctionCall.from_id("nonsense").get(timeout=5)


def test_gather_keeps_the_order_of_its_arguments_and_runs_in_parallel(tmp_path):
    """C061."""
    a = meet.spawn(str(tmp_path), "a", "b")
    b = meet.spawn(str(tmp_path), "b", "a")
    assert cloudfn.FunctionCall.gather(a, b) == ["a", "b"]
    assert cloudfn.FunctionCall.gather() == []


def test_gather_raises_the_first_failure_while_others_run(tmp_path):
    """C062."""
    gate = tmp_path / "gate"
    slow, bad = wait_for_file.spawn(str(gate), 1), fail.spawn("bad")
    with pytest.raises(CustomError, match="bad"):
        cloudfn.FunctionCall.gather(slow, bad)
    gate.touch()
    assert slow.get(timeout=30) == 1


def test_a_failed_call_raises_each_time():
    call = fail.spawn("again")
    for _ in range(2):
        with pytest.raises(CustomError, match="again"):
            call.get()


@pytest.mark.parametrize("method", ["spawn_map", "experimental_spawn_map"])
def test_spawn_map_is_one_call_of_many_inputs(method):
    """C064."""
    call = getattr(square, method)([1, 2, 3])
    assert isinstance(call, cloudfn.FunctionCall)
    assert call.num_inputs() == 3
    assert [call.get(index=n) for n in range(3)] == [1, 4, 9]
    assert cloudfn.FunctionCall.from_id(call.object_id).num_inputs() == 3
    with pytest.raises(ValueError, match=r"(?i)index"):
        call.get(timeout=5, index=3)
    with pytest.raises(ValueError, match=r"(?i)index"):
        call.get(timeout=5, index=-1)


def test_iter_takes_a_range():
    """C065."""
    call = square.spawn_map(range(2, 7))
    assert list(call.iter()) == [4, 9, 16, 25, 36]
    assert list(call.iter(start=1, end=3)) == [9, 16]
    assert list(call.iter(start=3)) == [25, 36]
    assert list(call.iter(start=5)) == []
    for wrong in ({"end": 6}, {"start": 6}, {"start": -1}, {"start": 3, "end": 2}):
        with pytest.raises(ValueError, match="Invalid index range"):
            list(call.iter(**wrong))


def test_iter_raises_at_the_first_failed_index():
    results = fail_on_four.spawn_map(range(6)).iter()
    assert [next(results) for _ in range(4)] == [0, 1, 4, 9]
    with pytest.raises(CustomError, match="four"):
        next(results)


def test_spawn_map_zips_takes_kwargs_and_many_inputs():
    call = square.spawn_map(range(3_000))
    assert call.num_inputs() == 3_000
    assert sum(call.iter()) == sum(x * x for x in range(3_000))
    zipped = wait_for_file.spawn_map(itertools.repeat("/dev/null"), range(3))
    assert list(zipped.iter()) == [0, 1, 2]
    named = wait_for_file.spawn_map(["/dev/null"], kwargs={"x": 5})
    assert named.get() == 5


def test_an_empty_spawn_map_has_no_inputs():
    call = square.spawn_map([])
    assert call.num_inputs() == 0
    assert list(call.iter()) == []


def test_cancelling_what_runs_ends_it(tmp_path):
    gate = tmp_path / "gate"
    call = one_at_a_time.spawn(str(gate), 1)
    wait_for("the input to run", lambda: began(gate))
    call.cancel()
    with pytest.raises(RemoteError, match=r"(?i)cancel"):
        call.get(timeout=20)


def test_cancelling_what_waits_keeps_it_from_running(tmp_path):
    gate = tmp_path / "gate"
    first, second = (one_at_a_time.spawn(str(gate), x) for x in (1, 2))
    wait_for("the first to run", lambda: began(gate))
    second.cancel()
    with pytest.raises(RemoteError, match=r"(?i)cancel"):
        second.get(timeout=20)
    gate.touch()
    assert first.get(timeout=30)[0] == 1
    assert began(gate) == ["1"]


def test_cancelling_what_is_finished_changes_nothing():
    call = square.spawn(3)
    assert call.get() == 9
    call.cancel()
    call.cancel(terminate_containers=True)
    assert call.get() == 9


@pytest.mark.parametrize("function", [one_at_a_time, one_at_a_time_later])
def test_only_the_cancelled_one_of_three_ends_and_its_container_goes_on(
    function, tmp_path, running: World
):
    """C119."""
    open_gate, gate = tmp_path / "open", tmp_path / "gate"
    open_gate.touch()
    calls = [
        function.spawn(str(open_gate), 1),
        function.spawn(str(gate), 2),
        function.spawn(str(open_gate), 3),
    ]
    wait_for("the second to run", lambda: began(gate))
    calls[1].cancel()
    first, last = calls[0].get(timeout=20), calls[2].get(timeout=20)
    assert (first[0], last[0]) == (1, 3)
    assert first[1] == last[1]
    with pytest.raises(RemoteError, match=r"(?i)cancel"):
        calls[1].get(timeout=20)


def test_cancelled_inputs_are_not_retried(tmp_path):
    gate = tmp_path / "gate"
    call = wait_with_retries.spawn(str(gate))
    wait_for("the input to run", lambda: began(gate))
    call.cancel()
    with pytest.raises(RemoteError, match=r"(?i)cancel"):
        call.get(timeout=20)
    assert began(gate) == ["began"]


def test_cancel_with_its_containers_kills_them(tmp_path, running: World):
    gate = tmp_path / "gate"
    call = one_at_a_time.spawn(str(gate), 1)
    wait_for("the input to run", lambda: began(gate))
    pids = {each["pid"] for each in running.containers("one_at_a_time")}
    call.cancel(terminate_containers=True)
    with pytest.raises(RemoteError, match=r"(?i)cancel"):
        call.get(timeout=20)
    wait_for(
        "the container's end",
        lambda: pids.isdisjoint({each["pid"] for each in running.containers("one_at_a_time")}),
    )


def test_cancelling_a_call_of_many_ends_what_is_not_finished(tmp_path):
    gate = tmp_path / "gate"
    call = one_at_a_time.spawn_map([str(gate)] * 5, range(5))
    wait_for("an input to run", lambda: began(gate))
    call.cancel()
    for index in range(5):
        with pytest.raises(RemoteError, match=r"(?i)cancel"):
            call.get(timeout=20, index=index)


def test_the_call_graph_shows_who_called_whom():
    """C070."""
    call = parent.spawn(3)
    assert call.get() == 10 + 1 + 4
    (root,) = call.get_call_graph()
    assert root.function_name == "parent"
    assert root.function_call_id == call.object_id
    assert root.status == cloudfn.InputStatus.SUCCESS
    assert root.module_name == __name__
    names = sorted(each.function_name for each in root.children)
    assert names == ["child", "square", "square"]
    (inner,) = next(e for e in root.children if e.function_name == "child").children
    assert inner.function_name == "square"
    assert inner.status == cloudfn.InputStatus.SUCCESS


def test_the_call_graph_tells_failures_and_what_runs(tmp_path):
    gate = tmp_path / "gate"
    bad = fail.spawn("bad")
    with pytest.raises(CustomError):
        bad.get()
    assert bad.get_call_graph()[0].status == cloudfn.InputStatus.FAILURE
    slow = wait_for_file.spawn(str(gate), 1)
    assert slow.get_call_graph()[0].status == cloudfn.InputStatus.PENDING
    slow.cancel()
    with pytest.raises(RemoteError):
        slow.get(timeout=20)
    assert slow.get_call_graph()[0].status == cloudfn.InputStatus.TERMINATED


def test_a_call_that_a_container_spawned_comes_back_as_a_handle():
    call = spawn_child.remote(6)
    assert isinstance(call, cloudfn.FunctionCall)
    assert call.get(timeout=30) == 36


def test_many_threads_wait_for_one_call(tmp_path):
    gate = tmp_path / "gate"
    call = wait_for_file.spawn(str(gate), 7)
    found = []
    threads = [threading.Thread(target=lambda: found.append(call.get(30))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.touch()
    for thread in threads:
        thread.join(30)
    assert found == [7] * 8


def test_a_wait_in_an_event_loop_lets_it_run(tmp_path):
    gate = tmp_path / "gate"

    async def program():
        call = await wait_for_file.spawn.aio(str(gate), 1)
        waiting = asyncio.create_task(call.get.aio(timeout=30))
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.touch()
        assert await waiting == 1
        with pytest.raises(builtins.TimeoutError):
            await (await wait_for_file.spawn.aio(str(gate) + "x", 1)).get.aio(timeout=0.01)

    asyncio.run(program())


def test_calls_are_equal_when_their_ids_are():
    call = square.spawn(1)
    same = cloudfn.FunctionCall.from_id(call.object_id)
    assert call == same
    assert len({call, same}) == 1
