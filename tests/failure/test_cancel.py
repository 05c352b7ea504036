"""Cancelled inputs end at once for their callers, and soon for their containers."""

import pytest

from cloudfn.exception import RemoteError

pytestmark = pytest.mark.integration

WORK = """
import asyncio
from cloudfn.exception import InputCancellation

@app.function(max_containers=1)
def work(item=0):
    # Whoever sees a note may cancel: all that is noted is noted where that is handled.
    try:
        note("pids", os.getpid())
        note("began", item)
        wait_for("go")
    except Exception:
        note("swallowed")
        raise
    except InputCancellation:
        note("cancelled", threading.current_thread() is threading.main_thread())
        raise
    finally:
        note("cleaned up")
    return item

@app.function(max_containers=1)
def quick(item):
    note("began", item)
    return item, os.getpid()

@app.function(max_containers=1)
async def doze():
    note("pids", os.getpid())
    try:
        while not (HERE / "go").exists():
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    return "awake"

@app.function(max_containers=1)
def stubborn():
    try:
        note("pids", os.getpid())
        wait_for("go")
    except BaseException:
        note("swallowed")
        wait_for("go")
    return "went on"

@app.function(max_containers=1)
def deaf():
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    note("pids", os.getpid())
    wait_for("go")

@app.function(max_containers=1)
def polite():
    try:
        note("pids", os.getpid())
        wait_for("go")
    except InputCancellation:
        return "my own answer"
    return os.getpid()
"""


def test_a_running_input_sees_its_cancellation_on_the_main_thread_and_its_container_goes_on(
    running,
):
    program = running(WORK)
    call = program.work.spawn()
    program.await_notes("began")

    call.cancel()

    with pytest.raises(RemoteError, match="cancel"):
        call.get(timeout=30)
    assert program.await_notes("cancelled") == ["True"]
    program.await_notes("cleaned up")
    assert program.notes("swallowed") == []
    program.allow("go")
    assert program.work.remote(5) == 5
    assert len(set(program.notes("pids"))) == 1


def test_a_waiting_input_never_begins(running):
    program = running(WORK)
    first = program.work.spawn(1)
    program.await_notes("began")
    second = program.work.spawn(2)
    third = program.work.spawn(3)

    second.cancel()

    with pytest.raises(RemoteError, match="cancel"):
        second.get(timeout=30)
    program.allow("go")
    assert (first.get(timeout=30), third.get(timeout=30)) == (1, 3)
    assert program.notes("began") == ["1", "3"]


def test_a_finished_input_keeps_its_result(running):
    program = running(WORK)
    program.allow("go")
    call = program.work.spawn(4)
    assert call.get(timeout=30) == 4

    call.cancel()

    assert call.get(timeout=30) == 4


def test_of_many_inputs_those_that_are_not_finished_are_cancelled(running):
    program = running(
        WORK
        + """
@app.function(max_containers=2)
def some(item):
    note("began", item)
    if item > 1:
        wait_for("go")
    return item
"""
    )
    call = program.some.spawn_map(range(8))
    program.await_notes("began", 4)
    assert [call.get(timeout=30, index=index) for index in (0, 1)] == [0, 1]

    call.cancel()

    assert [call.get(timeout=30, index=index) for index in (0, 1)] == [0, 1]
    for index in range(2, 8):
        with pytest.raises(RemoteError, match="cancel"):
            call.get(timeout=30, index=index)
    program.allow("go")
    assert program.some.remote(9) == 9
    assert len(program.notes("began")) == 5


def test_a_coroutine_is_cancelled_as_a_task(running):
    program = running(WORK)
    call = program.doze.spawn()
    program.await_notes("pids")

    call.cancel()

    with pytest.raises(RemoteError, match="cancel"):
        call.get(timeout=30)
    program.await_notes("cancelled")
    program.allow("go")
    assert program.doze.remote() == "awake"
    assert len(set(program.notes("pids"))) == 1


@pytest.mark.parametrize("function", ["stubborn", "deaf"])
def test_an_input_that_ignores_its_cancellation_goes_with_its_container(running, function):
    program = running(WORK)
    call = getattr(program, function).spawn()
    pid = int(program.await_notes("pids")[0])

    call.cancel()

    with pytest.raises(RemoteError, match="cancel"):
        call.get(timeout=30)
    program.machine.wait_for(lambda: pid not in program.machine.processes(), "the container's end")
    program.allow("go")
    getattr(program, function).remote()
    assert len(program.notes("pids")) == 2


def test_what_a_cancelled_input_answers_is_too_late(running):
    program = running(WORK)
    call = program.polite.spawn()
    program.await_notes("pids")

    call.cancel()

    with pytest.raises(RemoteError, match="cancel"):
        call.get(timeout=30)
    program.allow("go")
    pid = program.polite.remote()
    assert program.notes("pids") == [str(pid)] * 2


def test_terminating_the_container_ends_what_runs_in_it(running):
    program = running(WORK)
    call = program.work.spawn()
    program.await_notes("began")
    pid = int(program.notes("pids")[0])

    call.cancel(terminate_containers=True)

    with pytest.raises(RemoteError, match="cancel"):
        call.get(timeout=30)
    program.machine.wait_for(lambda: pid not in program.machine.processes(), "the container's end")
    assert program.notes("cleaned up") == []
    assert len(program.notes("began")) == 1


def test_cancelling_twice_is_cancelling(running):
    program = running(WORK)
    call = program.work.spawn()
    program.await_notes("began")

    call.cancel()
    call.cancel()

    with pytest.raises(RemoteError, match="cancel"):
        call.get(timeout=30)
    program.await_notes("cleaned up")
    assert len(program.notes("cancelled")) == 1


def test_cancelling_while_inputs_come_and_go_leaves_one_outcome_each(running):
    program = running(WORK)
    calls = [program.quick.spawn(item) for item in range(40)]

    for call in calls[::2]:
        call.cancel()

    for item, call in enumerate(calls):
        try:
            assert call.get(timeout=30)[0] == item
        except RemoteError as error:
            assert "cancel" in str(error)  # noqa: PT017
            assert item % 2 == 0
    began = program.notes("began")
    assert len(began) == len(set(began))
    assert program.quick.remote(99)[0] == 99


def test_an_app_that_ends_cancels_what_runs(running, baseline):
    program = running(WORK)
    program.work.spawn()
    pid = int(program.await_notes("pids")[0])

    baseline.ask("app_close", app_id=program.app.app_id)

    baseline.wait_for(lambda: pid not in baseline.processes(), "the container's end")
