"""Spawned calls and their handles, against a daemon of a few dicts."""

import asyncio
import pickle
import shutil
import tempfile
from pathlib import Path

import pytest

import cloudfn
from cloudfn import errors
from cloudfn.sdk.function_call import FunctionCall
from tests.unit.sdk_daemon import FakeDaemon, daemon_settings


def _fail(x):
    raise LookupError(x)


@pytest.fixture
def daemon():
    root = tempfile.mkdtemp(prefix="cf-")
    fake = FakeDaemon(daemon_settings(Path(root)), {"square": lambda x: x * x, "fail": _fail})
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


def test_a_spawned_call_has_an_id_and_a_result_that_stays(square):
    call = square.spawn(4)

    assert call.object_id.startswith("fc-")
    assert [call.get(), call.get(), call.num_inputs()] == [16, 16, 1]


def test_a_call_can_be_taken_up_by_its_id(client, square):
    call = square.spawn(4)

    assert FunctionCall.from_id(call.object_id, client=client).get() == 16


def test_an_id_that_names_nothing_fails_only_when_it_is_used(client):
    call = FunctionCall.from_id("fc-nothing", client=client)

    with pytest.raises(errors.NotFoundError):
        call.get()


def test_a_result_that_is_not_there_in_time_is_the_builtin_timeout(daemon, square):
    daemon.open_gate.clear()
    call = square.spawn(4)

    with pytest.raises(TimeoutError) as info:
        call.get(timeout=0.01)
    assert not isinstance(info.value, errors.Error)
    with pytest.raises(TimeoutError):
        call.get(timeout=0)
    daemon.open_gate.set()

    assert call.get(timeout=20) == 16


def test_a_look_without_waiting_finds_a_result_that_is_there(square):
    call = square.spawn(4)
    call.get()

    assert call.get(timeout=0) == 16


def test_what_the_function_raised_is_raised(daemon, client):
    with pytest.raises(LookupError, match="3"):
        daemon.function("fail", client).spawn(3).get()


def test_a_cancelled_call_says_so(daemon, square):
    daemon.open_gate.clear()
    call = square.spawn(4)
    call.cancel()

    with pytest.raises(errors.RemoteError, match="cancelled"):
        call.get(timeout=20)


def test_an_expired_result_is_told_and_is_no_builtin_timeout(daemon, client, square):
    call = square.spawn(4)
    call.get()
    record = daemon.calls[call.object_id]
    record.cancelled, record.outcomes = True, {}

    with pytest.raises(errors.OutputExpiredError) as info:
        call.get()
    assert not isinstance(info.value, TimeoutError)


def test_a_spawn_survives_a_lost_connection(daemon, square):
    square.remote(0)
    daemon.lose_submit = lambda number: number == 2

    assert square.spawn(5).get() == 25
    assert len(daemon.runs) == 2


def test_waiting_for_a_result_survives_a_lost_connection(daemon, square):
    daemon.open_gate.clear()
    call = square.spawn(5)
    # The connection that asked is gone before there is an answer.
    daemon.answers["call_attach"] = lambda _: daemon.answers.clear() or daemon.drop() or {}
    daemon.open_gate.set()

    assert call.get(timeout=20) == 25
    assert daemon.hellos == 2


def test_a_refused_spawn_says_so(daemon, square):
    daemon.refusals = 1

    with pytest.raises(errors.ResourceExhaustedError):
        square.spawn(1)


def test_spawn_map_makes_one_call_of_many_inputs(daemon, square):
    call = square.spawn_map(range(2, 7))

    assert call.num_inputs() == 5
    assert call.get(index=1) == 9
    assert list(call.iter()) == [4, 9, 16, 25, 36]
    assert list(call.iter(start=1, end=3)) == [9, 16]
    assert len(daemon.calls) == 1


def test_spawn_map_sends_more_than_its_window(daemon, square):
    assert square.spawn_map(range(5000)).num_inputs() == 5000
    (call,) = daemon.calls.values()
    assert len(call.payloads) == 5000
    assert call.sealed


def test_spawn_map_waits_refusals_out(daemon, square):
    daemon.refusals = 3

    assert list(square.spawn_map(range(3)).iter()) == [0, 1, 4]


def test_spawn_map_of_nothing_is_a_call_without_inputs(square):
    call = square.spawn_map([])

    assert (call.num_inputs(), list(call.iter())) == (0, [])


def test_indices_that_make_no_sense_are_refused(square):
    call = square.spawn_map(range(3))

    for read in (
        lambda: call.get(index=-1),
        lambda: call.get(index=3),
        lambda: call.iter(start=-1),
        lambda: call.iter(start=2, end=1),
        lambda: list(call.iter(end=4)),
    ):
        with pytest.raises(ValueError, match="Invalid index range"):
            read()


def test_gather_returns_results_in_the_order_of_its_arguments(square):
    calls = [square.spawn(n) for n in (3, 1, 2)]

    assert FunctionCall.gather(*calls) == [9, 1, 4]
    assert FunctionCall.gather() == []


def test_gather_raises_the_first_failure(daemon, client, square):
    with pytest.raises(LookupError):
        FunctionCall.gather(square.spawn(1), daemon.function("fail", client).spawn(2))


def test_everything_can_be_awaited(square):
    async def main():
        call = await square.spawn.aio(3)
        many = await square.spawn_map.aio([1, 2])
        return (
            await call.get.aio(),
            await call.num_inputs.aio(),
            [r async for r in many.iter.aio()],
            await FunctionCall.gather.aio(call, call),
        )

    assert asyncio.run(main()) == (9, 1, [1, 4], [9, 9])


def test_a_call_can_be_pickled_and_compared(square):
    call = square.spawn(3)
    back = pickle.loads(pickle.dumps(call))

    assert back == call
    assert hash(back) == hash(call)


def test_the_call_graph_hangs_inputs_below_those_that_called_them(daemon, client):
    def node(name, parent, status):
        return {
            "call": name.split("-")[1],
            "index": 0,
            "input_id": name,
            "status": status,
            "function_name": "f",
            "module_name": "m",
            "container": "ta-1",
            "parent": parent,
        }

    daemon.answers["call_graph"] = lambda _: {
        "nodes": [node("in-a-0", None, "RETURNED"), node("in-b-0", "in-a-0", "TIMED_OUT")]
    }

    (root,) = FunctionCall.from_id("fc-a", client=client).get_call_graph()

    assert (root.input_id, root.status) == ("in-a-0", cloudfn.InputStatus.SUCCESS)
    assert [c.status for c in root.children] == [cloudfn.InputStatus.TIMEOUT]


def test_autoscaler_changes_leave_out_what_is_not_given(daemon, square):
    settings = {
        "min_containers": 1,
        "max_containers": None,
        "buffer_containers": 0,
        "scaledown_window": 60,
    }
    daemon.answers["settings_update"] = lambda _: {"settings": settings}
    daemon.answers["settings_get"] = lambda _: {"settings": settings}

    told = square.update_autoscaler(min_containers=1)
    square.autoscaler.update(max_containers=None, buffer_containers=None)

    changes = [f["changes"] for f in daemon.requests if f["op"] == "settings_update"]
    assert changes == [{"min_containers": 1}, {"max_containers": None, "buffer_containers": 0}]
    assert told == square.autoscaler.settings()
    assert (told.min_containers, told.max_containers) == (1, None)


def test_stats_are_told(daemon, square):
    daemon.answers["stats"] = lambda _: {"backlog": 3, "num_total_runners": 2}

    assert square.get_current_stats() == cloudfn.FunctionCurrentStats(3, 2, 0, 0)
