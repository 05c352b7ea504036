"""What waits behind a slow input is taken back, even while that input holds the GIL."""

import os

import pytest

from cloudfn.exception import ContainerCrashed, RemoteError

pytestmark = pytest.mark.integration

WORK = """
import ctypes
import re

def in_python():
    wait_for("go")

def in_c_with_the_gil():
    # Opening a FIFO for reading waits for its writer; PyDLL keeps the GIL meanwhile.
    ctypes.PyDLL(None).open(os.fsencode(HERE / "fifo"), os.O_RDONLY)

SLOW = {"python": in_python, "c": in_c_with_the_gil}

@app.function(max_containers=2)
def work(item):
    if item in SLOW:
        note("slow", os.getpid())
        SLOW[item]()
        note("fast again")
    elif item == "crash":
        note("slow", os.getpid())
        wait_for("go")
        os.abort()
    else:
        note("began", item)
    return item
"""


@pytest.mark.parametrize("slow", ["python", "c"])
def test_what_waits_behind_a_slow_input_finishes_before_it(running, slow):
    program = running(WORK)
    os.mkfifo(program.here / "fifo")
    list(program.work.map(range(2000)))  # so that many are handed over at once
    items = [*range(300), slow, *range(300, 1500)]
    finished = []

    def consume():
        for item in program.work.map(items, order_outputs=False):
            finished.append(item)  # noqa: PERF402 - the test looks at it meanwhile

    consuming = program.later(consume)
    try:
        program.machine.wait_for(lambda: len(finished) == len(items) - 1, "all but the slow one")
        assert program.notes("fast again") == []
    finally:
        program.allow("go")
        _open_for_a_moment(program)

    consuming.result()
    assert finished[-1] == slow
    assert len(finished) == len(items)
    # Taken back is not begun: everybody ran once.
    assert len(program.notes("began")) == 2000 + 1500
    assert len(program.notes("slow")) == 1


def _open_for_a_moment(program):
    """Let who waits for a writer of the FIFO go on; nobody waits when user code is elsewhere."""
    try:
        os.close(os.open(program.here / "fifo", os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return


def test_with_one_container_the_others_wait_and_nobody_runs_twice(running):
    program = running(WORK.replace("max_containers=2", "max_containers=1"))
    list(program.work.map(range(500)))
    call = program.work.spawn_map([*range(100), "python", *range(100, 300)])
    program.await_notes("slow")
    program.machine.wait_for(
        lambda: program.work.get_current_stats().num_running_inputs == 1, "all others taken back"
    )

    program.allow("go")

    assert list(call.iter()) == [*range(100), "python", *range(100, 300)]
    assert len(program.notes("began")) == 800
    assert len(program.notes("slow")) == 1


def test_a_crash_counts_for_the_slow_input_alone(running):
    program = running(WORK)
    list(program.work.map(range(2000)))
    items = [*range(100), "crash", *range(100, 1000)]
    results = program.later(lambda: list(program.work.map(items, return_exceptions=True)))
    program.await_notes("slow")

    program.allow("go")

    for item, result in zip(items, results.result(), strict=True):
        assert result == item or (item == "crash" and isinstance(result, ContainerCrashed))
    assert len(program.notes("began")) == 2000 + 1000
    assert len(program.notes("slow")) == 3


def test_what_is_cancelled_behind_a_slow_input_never_begins(running):
    program = running(WORK.replace("max_containers=2", "max_containers=1"))
    list(program.work.map(range(500)))
    slow = program.work.spawn("python")
    program.await_notes("slow")
    call = program.work.spawn_map([f"never {n}" for n in range(50)])

    call.cancel()
    program.allow("go")

    assert slow.get(timeout=30) == "python"
    for index in (0, 25, 49):
        with pytest.raises(RemoteError, match="cancel"):
            call.get(timeout=30, index=index)
    assert len(program.notes("began")) == 500
