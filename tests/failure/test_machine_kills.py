"""Processes of machines that are killed, and started again, in the middle of a map."""

import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloudfn.providers.local.blobs import memory_root
from tests.integration.machine_process import served, start
from tests.integration.machine_world import CLOCK, PATIENCE, World, function, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="the local engine is Linux first"),
]

#: says that it began, and goes on when there is a file `go`
PROGRAM = """
import os, pathlib, time

HERE = pathlib.Path({here!r})

def work(item):
    (HERE / f"began-{{item}}-{{os.urandom(4).hex()}}").touch()
    while item % 3 and not (HERE / "go").exists():
        time.sleep(0.005)
    return item
"""


@pytest.fixture
def world():
    with tempfile.TemporaryDirectory(prefix="cfw-", ignore_cleanup_errors=True) as folder:
        yield World(Path(folder))


@pytest.fixture
def machines(world):
    """Start machines as processes, and end what is left of them."""
    with ExitStack() as stack:
        address = stack.enter_context(served(world, world.root))
        processes = []

        def begin(machine_id):
            state = world.root / machine_id
            state.mkdir(mode=0o700, exist_ok=True)
            process = start(address, machine_id, state)
            processes.append(process)
            until(lambda: machine_id in [r.report.machine_id for r in world.machines.list()])
            return process

        yield begin
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait(PATIENCE)
        for log in world.root.glob("*.log"):
            print(log.read_text())
            shutil.rmtree(memory_root(log.with_suffix("")), ignore_errors=True)


@pytest.fixture
def pool(world, tmp_path):
    [pool] = world.deploy(PROGRAM.format(here=str(tmp_path)), function("work"))
    return pool


def halfway(world, call):
    finished = [each.terminal for each in world.statuses(call)]
    return any(finished) and not all(finished)


def test_another_machine_finishes_a_map_whose_machine_was_killed(world, machines, pool, tmp_path):
    victim = machines("i-1")
    world.order("i-1", {pool: 2})
    call = world.map(pool, range(12))
    until(lambda: halfway(world, call) and len(list(tmp_path.glob("began-*"))) >= 3)

    victim.send_signal(signal.SIGKILL)
    victim.wait(PATIENCE)
    machines("i-2")
    world.order("i-2", {pool: 2})
    repairs = world.ledger.repair(lambda holder: holder != "i-1", CLOCK.wall())
    world.doorbells.ring(repairs.rings)
    (tmp_path / "go").touch()

    assert world.results(call) == list(range(12))


def test_a_machine_whose_agent_was_killed_and_started_anew_finishes_its_map_itself(
    world, machines, pool, tmp_path
):
    victim = machines("i-1")
    world.order("i-1", {pool: 2})
    call = world.map(pool, range(12))
    until(lambda: halfway(world, call) and world.ledger.held(call))

    victim.send_signal(signal.SIGKILL)
    victim.wait(PATIENCE)
    machines("i-1")
    (tmp_path / "go").touch()

    assert world.results(call) == list(range(12))


def test_a_machine_that_is_told_to_end_finishes_what_runs_and_leaves_in_order(
    world, machines, pool, tmp_path
):
    process = machines("i-1")
    world.order("i-1", {pool: 1})
    call = world.map(pool, [1, 2])
    until(lambda: list(tmp_path.glob("began-*")))

    process.send_signal(signal.SIGTERM)
    until(lambda: world.ledger.counts(pool).pending == 1)
    (tmp_path / "go").touch()

    assert process.wait(PATIENCE) == 0
    assert ("drained", "i-1") in world.fleet.told
    assert sorted(each.terminal for each in world.statuses(call)) == [False, True]
