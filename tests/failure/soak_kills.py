"""The full kill campaigns: every system call of a daemon's life, thousands of random moments.

`make soak` runs them and writes the figures to docs/reliability.md. CLOUDFN_SOAK says how much is
done: 1 is the full campaign, 0.02 a look whether it works.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.failure.campaigns import Campaign, campaign, size, tabled
from tests.failure.daemon_fixtures import (
    CLOCK,
    World,
    new_world,
    strace_or_skip,
    wait_for,
)
from tests.failure.strace import Point, start_with_kill
from tests.failure.workload import MORE, Workload, shuffled

__all__ = ["campaign", "size"]
pytestmark = [pytest.mark.soak, pytest.mark.integration]

SEEDS = (1, 2, 3)
#: system calls of a daemon that starts and serves one workload, by how far they are counted: some
#: more than it makes, of which the campaign says how many were never reached
REACH = {
    "fdatasync": 15, "pwrite64": 240, "sendto": 130, "sendmsg": 15, "unlink": 25, "rename": 15,
    "recvfrom": 140, "close": 140,
}  # fmt: skip


@pytest.fixture(scope="session")
def table(size: float) -> Iterator[list[Campaign]]:
    """The campaigns of this session; in the end they go into the document."""
    with tabled("soak", size) as campaigns:
        yield campaigns


def in_world(campaign: Campaign, work: Callable[[World], None]) -> None:
    """Do something in a world of its own; what is left of it counts as leaked."""
    with pytest.MonkeyPatch.context() as patch:
        world = new_world(patch)
        try:
            world.set(CLOUDFN_CLIENT_GRACE=2)
            world.deploy(MORE)
            work(world)
            try:
                world.finish()
            except AssertionError as error:
                campaign.leaked += 1
                campaign.report.problems.append(str(error))
        finally:
            world.destroy()
    campaign.runs += 1


def test_kill_at_every_system_call(campaign: Campaign, size: float) -> None:
    """kill at each system call"""
    strace = strace_or_skip()
    for name, most in REACH.items():
        points = [Point(name, number) for number in range(1, most + 1)]
        missed = 0
        for point in shuffled(SEEDS[0], points)[: max(1, round(size * most))]:
            killed = one_point(campaign, strace, point)
            missed += not killed
            campaign.kills += killed
        print(f"{name}: {missed} of the points were not reached")


def one_point(campaign: Campaign, strace: str, point: Point) -> bool:
    killed = False

    def work(world: World) -> None:
        nonlocal killed
        world.stop()
        daemon = start_with_kill(strace, world, point)
        load = Workload(world, size=4)
        load.begin()
        campaign.report.add(load.check(deaths=1))
        killed = daemon.poll() is not None

    in_world(campaign, work)
    return killed


def test_kill_at_random_moments(campaign: Campaign, size: float) -> None:
    """kill at random moments"""
    for number in range(max(1, round(size * 1000))):
        choose = random.Random(f"{SEEDS[0]}-{number}")

        def work(world: World, choose: random.Random = choose) -> None:
            load = Workload(world, size=20)
            load.begin()
            kills = 0
            for _ in range(choose.randint(1, 5)):
                began = world.trace("begin").total()
                target = min(began + choose.randint(1, 25), 95)
                with suppress(AssertionError):
                    wait_for("work", lambda: world.trace("begin").total() >= target, 3)  # noqa: B023
                if not world.strike():
                    continue
                at, count = CLOCK.monotonic(), world.trace("begin").total()
                kills += 1
                with suppress(AssertionError):
                    wait_for("more work", lambda: world.trace("begin").total() > count, 3)  # noqa: B023
                    campaign.recoveries.append(CLOCK.monotonic() - at)
            campaign.kills += kills
            campaign.report.add(load.check(deaths=kills))

        in_world(campaign, work)


def test_kill_of_everything(campaign: Campaign, size: float) -> None:
    """kill of the daemon and all below at once"""
    for number in range(max(1, round(size * 200))):
        choose = random.Random(f"{SEEDS[1]}-{number}")

        def work(world: World, choose: random.Random = choose) -> None:
            load = Workload(world, size=20)
            load.begin()
            target = choose.randint(1, 60)
            with suppress(AssertionError):
                wait_for("work", lambda: world.trace("begin").total() >= target, 3)
            for pid in [*world.workers(), world.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
            campaign.kills += 1
            # A container that was killed before its daemon was is one more loss.
            campaign.report.add(load.check(deaths=2))

        in_world(campaign, work)


def test_a_long_life(campaign: Campaign, size: float) -> None:
    """one environment, killed again and again"""

    def work(world: World) -> None:
        choose = random.Random(SEEDS[2])
        deadline = CLOCK.monotonic() + size * 1800
        number = 0
        while CLOCK.monotonic() < deadline or not number:
            load = Workload(world, size=40, first=number * 10_000)
            load.begin()
            target = choose.randint(1, 150)
            with suppress(AssertionError):
                wait_for("work", lambda: world.trace("begin").total() >= target, 3)  # noqa: B023
            kills = int(world.strike() > 0)
            campaign.kills += kills
            campaign.report.add(load.check(deaths=kills))
            number += 1
            (world.home / "trace").unlink(missing_ok=True)

    in_world(campaign, work)
