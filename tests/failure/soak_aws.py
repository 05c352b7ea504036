"""The full campaigns of kills on AWS: every request of every part, and random ones in bigger maps.

`make soak ARGS="-k test_aws_kill"` runs them and writes the figures to docs/reliability.md.
CLOUDFN_SOAK says how much is done: 1 is the full campaign, 0.02 a look whether it works.
"""

import random
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cloudfn.testing.aws import Knobs
from tests.failure.aws_points import MAPPED, PARTS, Kill, Points, asks, kills_of, work_of
from tests.failure.campaigns import Campaign, campaign, size, tabled
from tests.failure.workload import shuffled
from tests.integration.aws_plugs import Point
from tests.integration.aws_world import FLEET

__all__ = ["campaign", "size"]
pytestmark = [pytest.mark.soak, pytest.mark.integration]

SEED = 1
#: kills in one environment, until it is made anew
_LIFE = 40
#: random kills in all, and inputs of the map under way
_RANDOM, _MANY = 600, 300


@pytest.fixture(scope="session")
def table(size: float) -> Iterator[list[Campaign]]:
    """The campaigns of this session; in the end they go into the document."""
    with tabled("soak aws", size) as campaigns:
        yield campaigns


@pytest.mark.parametrize("part", PARTS)
def test_aws_kill_at_every_request(campaign: Campaign, size: float, part: str) -> None:
    """kill at each request"""
    campaign.name = f"{part}: {campaign.name}"
    with _life(0) as points:
        report, _ = points.run(work_of(part))
        campaign.report.add(report)
        every = kills_of(part, points.world.scissors.counts)
    some = shuffled(SEED, every)[: max(1, round(size * len(every)))]
    missed = _strike(campaign, some, MAPPED)
    print(f"{part}: {missed} of {len(some)} points were not reached")


def test_aws_kill_at_random_requests(campaign: Campaign, size: float) -> None:
    """kill at random requests in nasty services, maps of 300"""
    choose = random.Random(SEED)
    some = []
    for _ in range(max(1, round(size * _RANDOM))):
        part = choose.choice(PARTS)
        number = choose.randint(1, 400 if part == "planner" else 100)
        some.append(Kill(part, Point(asks(part), "*", number, choose.random() < 0.5)))
    knobs = replace(Knobs(), fleet=FLEET)
    missed = _strike(campaign, some, _MANY, knobs)
    print(f"at random: {missed} of {len(some)} points were not reached")


@contextmanager
def _life(seed: int, knobs: Knobs | None = None) -> Iterator[Points]:
    with (
        tempfile.TemporaryDirectory(prefix="cfp-", ignore_cleanup_errors=True) as folder,
        Points(Path(folder), knobs, seed).running() as points,
    ):
        yield points


def _strike(
    campaign: Campaign, kills: Iterable[Kill], mapped: int, knobs: Knobs | None = None
) -> int:
    """Run one kill after the other; return how many points were not reached."""
    left, missed = list(kills), 0
    while left:
        with _life(len(left), knobs) as points:
            for _ in range(min(_LIFE, len(left))):
                kill = left.pop()
                report, reached = points.run(work_of(kill.part), kill, mapped)
                campaign.report.add(report)
                campaign.runs += 1
                campaign.kills += reached
                campaign.leaked += bool(report.problems)
                missed += not reached
                if not report.clean:
                    print(f"{kill}: {report}")
                    break  # what is wrong here shall not spoil the next one
    return missed
