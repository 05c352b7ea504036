"""The daemon dies at the N-th system call of a kind; a handful per run, all of them in the soak."""

import random
from pathlib import Path

import pytest

from tests.failure.daemon_fixtures import World, ended, strace_or_skip, wait_for, world
from tests.failure.strace import Point, start_with_kill
from tests.failure.workload import MORE, Workload

__all__ = ["world"]
pytestmark = pytest.mark.integration

#: changes with the calendar of nobody: a seed names the points of one run for ever
SEED = 20_261_123
#: system calls of interest, and how many of them the workload makes at the least
REACH = {"fdatasync": 5, "pwrite64": 60, "sendto": 40, "sendmsg": 6, "unlink": 8, "rename": 4}


def points_of(seed: int) -> list[Point]:
    """Return one point for each kind of system call."""
    choose = random.Random(seed)
    return [Point(name, choose.randint(1, most)) for name, most in REACH.items()]


@pytest.mark.parametrize("point", points_of(SEED), ids=str)
def test_kill_at_a_system_call(world: World, point: Point) -> None:
    strace = strace_or_skip()
    world.deploy(MORE)
    world.stop()
    tracer = start_with_kill(strace, world, point)
    work = Workload(world, size=4)
    work.begin()
    report = work.check(deaths=1)
    killed = tracer.poll() is not None
    assert report.clean, report
    print(f"{point}: killed={killed} inputs={report.inputs} executions={report.executions}")
    world.close_clients()
    wait_for("no blob left", lambda: not world.blobs())


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_kill_at_random_moments(world: World, seed: int) -> None:
    world.deploy(MORE)
    choose = random.Random(seed)
    work = Workload(world, size=8)
    work.begin()
    kills = 0
    for _ in range(3):
        target = choose.randint(1, 12)
        before = world.trace("begin").total()
        wait_for("progress", lambda: world.trace("begin").total() >= min(before + target, 30))  # noqa: B023
        world.kill()
        kills += 1
    report = work.check(deaths=kills)
    assert report.clean, (seed, report)


def test_a_kill_during_the_very_first_start_leaves_an_environment_that_works(world: World) -> None:
    strace = strace_or_skip()
    for number in (1, 4, 9):
        tracer = start_with_kill(strace, world, Point("pwrite64", number))
        wait_for("death", lambda tracer=tracer: tracer.poll() is not None)
    world.deploy()
    assert world.function("echo").remote("there") == "there"
    assert not list(Path(world.state).glob("*.damaged-*"))
    assert not ended(world.pid, 0)
