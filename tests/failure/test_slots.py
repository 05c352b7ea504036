"""Containers with several inputs: what becomes of the others when one ends badly."""

import pytest

from cloudfn.exception import ContainerCrashed, FunctionTimeoutError, RemoteError

pytestmark = pytest.mark.integration

WORK = """
import asyncio

@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=3)
def work(item):
    note(f"began-{item}", os.getpid())
    note("began")
    wait_for("go")
    return item

@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=3)
async def doze(item):
    note(f"began-{item}", os.getpid())
    note("began")
    try:
        while not (HERE / "go").exists():
            await asyncio.sleep(0.005)
    except asyncio.CancelledError:
        note(f"cancelled-{item}")
        raise
    return item

@app.function(max_containers=2)
@cloudfn.concurrent(max_inputs=3)
def poisonous(item):
    note(f"began-{item}", os.getpid())
    note("began")
    wait_for("all")
    if item == 0:
        os.abort()
    wait_for("go")
    return item

@app.function(max_containers=1, timeout=2)
@cloudfn.concurrent(max_inputs=2)
def slow(item):
    note(f"began-{item}")
    if item == 0:
        time.sleep(0.5)
        note("late")
        wait_for("never")
    if len((HERE / "began-1").read_text().splitlines()) == 1:
        wait_for("never")
    return item

@app.cls(max_containers=1)
@cloudfn.concurrent(max_inputs=3)
class Served:
    @cloudfn.exit()
    def close(self):
        note("closed", os.getpid())

    @cloudfn.method()
    def work(self, item):
        note(f"began-{item}", os.getpid())
        note("began")
        wait_for("go")
        return item

    @cloudfn.method()
    async def doze(self, item):
        note(f"began-{item}", os.getpid())
        note("began")
        while not (HERE / "go").exists():
            await asyncio.sleep(0.005)
        return item

@app.function(max_containers=2)
@cloudfn.batched(max_batch_size=3, wait_ms=60_000)
def in_batches(item):
    note("pids", os.getpid())
    note("began", len(item))
    wait_for("all")
    if "poison" in item:
        os.abort()
    wait_for("go")
    return [each * 2 for each in item]

@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=2)
def chatty(item):
    print(f"<{item}", end="")
    note("began")
    wait_for("go")
    print(f"{item}>")
    print(f"!{item}!", file=sys.stderr)
"""

THREE = range(3)


def test_a_killed_container_loses_all_its_inputs_and_all_run_again(running):
    program = running(WORK)
    call = program.work.spawn_map(THREE)
    program.await_notes("began", 3)
    (pid,) = {pid for item in THREE for pid in program.notes(f"began-{item}")}

    program.machine.kill(pid)
    program.await_notes("began", 6)

    assert program.machine.scars() == [(0, 0, 1)] * 3
    program.allow("go")
    assert list(call.iter()) == [0, 1, 2]


def test_a_crash_among_several_blames_nobody_and_then_the_one_that_crashes_alone(running):
    program = running(WORK)
    call = program.poisonous.spawn_map(THREE)
    program.await_notes("began", 3)

    program.allow("all")
    program.await_notes("began-0", 2)
    program.allow("go")

    with pytest.raises(ContainerCrashed, match="SIGABRT"):
        call.get(timeout=60, index=0)
    assert [call.get(timeout=60, index=1), call.get(timeout=60, index=2)] == [1, 2]
    # Together once, then alone as often as a crash is forgiven.
    assert len(program.notes("began-0")) == 4
    assert {len(program.notes(f"began-{item}")) for item in (1, 2)} == {2}


def test_a_killed_daemon_loses_what_its_containers_run_and_the_next_one_runs_it(running):
    program = running(WORK)
    call = program.later(lambda: list(program.work.map(THREE)))
    program.await_notes("began", 3)

    program.machine.kill(program.machine.daemon)
    program.await_notes("began", 6)

    program.allow("go")
    assert call.result(60) == [0, 1, 2]


def test_one_of_several_tasks_is_cancelled(running):
    """C121."""
    program = running(WORK)
    calls = [program.doze.spawn(item) for item in THREE]
    program.await_notes("began", 3)

    calls[1].cancel()
    program.await_notes("cancelled-1")
    program.allow("go")

    assert [calls[0].get(timeout=30), calls[2].get(timeout=30)] == [0, 2]
    with pytest.raises(RemoteError, match="cancel"):
        calls[1].get(timeout=30)
    assert program.notes("began") == [""] * 3
    assert program.text("stderr").count("Successfully canceled input") == 1


def test_one_of_several_threads_is_cancelled_and_the_others_run_again_unharmed(running):
    """C121."""
    program = running(WORK)
    served = program.Served()
    calls = [served.work.spawn(item) for item in THREE]
    program.await_notes("began", 3)

    calls[1].cancel()
    program.await_notes("began", 5)
    program.await_notes("closed")

    assert program.machine.scars() == [(0, 0, 0)] * 2
    program.allow("go")
    assert [calls[0].get(timeout=30), calls[2].get(timeout=30)] == [0, 2]
    with pytest.raises(RemoteError, match="cancel"):
        calls[1].get(timeout=30)
    assert len(program.notes("began-1")) == 1


def test_an_interrupted_container_drops_its_inputs_and_runs_its_exit_hooks(running):
    program = running(WORK)
    served = program.Served()
    calls = [served.work.spawn(0), served.doze.spawn(1)]
    program.await_notes("began", 2)
    (pid,) = set(program.notes("began-0"))

    program.machine.kill(pid, 2)
    program.await_notes("began", 4)

    assert program.await_notes("closed") == [pid]
    program.allow("go")
    assert [call.get(timeout=30) for call in calls] == [0, 1]
    assert "Traceback" not in program.text("stderr")


def test_what_runs_beside_an_input_that_times_out_runs_again_and_spends_nothing(running):
    program = running(WORK)
    first = program.slow.spawn(0)
    program.await_notes("late")
    second = program.slow.spawn(1)

    with pytest.raises(FunctionTimeoutError):
        first.get(timeout=30)
    assert second.get(timeout=30) == 1
    assert program.notes("began-1") == ["", ""]


def test_a_crashing_input_takes_its_batch_down_once_and_not_the_others(running):
    program = running(WORK)
    call = program.in_batches.spawn_map(["a", "poison", "b"])
    assert program.await_notes("began") == ["3"]

    program.allow("all", "go")

    with pytest.raises(ContainerCrashed, match="SIGABRT"):
        call.get(timeout=60, index=1)
    # Each ran again alone: no batch waits for others then.
    assert [call.get(timeout=60, index=0), call.get(timeout=60, index=2)] == ["aa", "bb"]
    assert sorted(program.notes("began")) == ["1"] * 5 + ["3"]


def test_a_killed_container_loses_its_batch_and_the_batch_runs_again(running):
    program = running(WORK)
    call = program.in_batches.spawn_map("abc")
    program.await_notes("began")

    program.machine.kill(program.notes("pids")[0])
    program.await_notes("began", 2)

    program.allow("all", "go")
    assert list(call.iter()) == ["aa", "bb", "cc"]
    assert program.notes("began") == ["3", "3"]


def test_one_of_a_batch_is_cancelled_and_the_others_have_their_results(running):
    program = running(WORK)
    calls = [program.in_batches.spawn(item) for item in "abc"]
    program.await_notes("began")

    calls[1].cancel()
    with pytest.raises(RemoteError, match="cancel"):
        calls[1].get(timeout=30)
    program.allow("all", "go")

    assert [calls[0].get(timeout=30), calls[2].get(timeout=30)] == ["aa", "cc"]
    assert program.notes("began") == ["3"]


def test_a_batch_is_interrupted_when_all_its_inputs_are_cancelled(running):
    program = running(WORK)
    calls = [program.in_batches.spawn(item) for item in "abc"]
    program.await_notes("began")

    for call in calls:
        call.cancel()
    program.machine.wait_for(
        lambda: "Successfully canceled" in program.text("stderr"), "the batch is interrupted"
    )
    program.allow("all", "go")
    again = [program.in_batches.spawn(item) for item in "xyz"]

    assert [call.get(timeout=30) for call in again] == ["xx", "yy", "zz"]
    assert len(set(program.notes("pids"))) == 1


def test_what_inputs_print_at_the_same_time_is_kept_apart(running):
    program = running(WORK)
    calls = [program.chatty.spawn(item) for item in (1, 2)]
    program.await_notes("began", 2)
    program.allow("go")
    for call in calls:
        call.get(timeout=30)

    for item, call in zip((1, 2), calls, strict=True):
        assert program.text("stdout", call=call.object_id) == f"<{item}{item}>\n"
        assert program.text("stderr", call=call.object_id) == f"!{item}!\n"
