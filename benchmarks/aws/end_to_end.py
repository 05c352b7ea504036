"""A program on an environment in this process: client, planner, machines with real containers.

Only AWS is not real, so that times say what cloudfn adds to AWS's own: its fakes answer in less
than a millisecond. Machines are there within half a second of being asked for.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.aws.account import Calls, total
from cloudfn.clock import SystemClock
from cloudfn.machine.config import Timing
from cloudfn.sdk.client import using
from tests.integration.aws_world import AwsWorld

_PROGRAM = """
import time
import cloudfn

app = cloudfn.App("bench")

@app.function(scaledown_window=60, max_containers=4)
def square(number):
    return number * number

@app.function(scaledown_window=60, max_containers=4)
def slow(number):
    # A second on average, and no two together.
    time.sleep(0.7 + 0.6 * (number * 0.618 % 1))
    return number
"""


class Measured(NamedTuple):
    """How long something took, and what was asked of AWS meanwhile."""

    what: str
    seconds: float
    calls: Calls
    #: requests a second of everybody who does nothing at that time
    idle: float
    inputs: int

    @property
    def each(self) -> float:
        """Requests for each input, without those of who does nothing."""
        return max(0.0, total(self.calls) - self.idle * self.seconds) / self.inputs


def measure(folder: Path, inputs: int = 10_000) -> list[Measured]:
    """Return what a program takes.

    Args:
        folder: An empty one.
        inputs: Of the map of tiny inputs.
    """
    (folder / "aws_bench_program.py").write_text(_PROGRAM)
    sys.path.insert(0, str(folder))
    program = import_module("aws_bench_program")
    found: list[Measured] = []
    keep = {"CLOUDFN_KEEP_ALIVE": "120"}
    with AwsWorld(folder, variables=keep, timing=Timing()).running() as world:
        meter = _Meter(world)
        with using(world.client()), program.app.run(runtime="docker"):
            found.append(meter("first .remote, no machine", lambda: program.square.remote(1), 1))
            meter.settle()
            found += [meter(".remote, warm", lambda: program.square.remote(2), 1) for _ in range(3)]
            found.append(
                meter("map of tiny inputs", lambda: list(program.square.map(range(inputs))), inputs)
            )
            list(program.slow.map(range(8)))
            found.append(
                meter("map of a second each", lambda: list(program.slow.map(range(80))), 80)
            )
    return found


class _Meter:
    def __init__(self, world: AwsWorld) -> None:
        self._world = world
        self._idle = 0.0

    def __call__(self, what: str, act: Callable[[], Any], inputs: int) -> Measured:
        before, began = Counter(self._world.aws.faults.calls), SystemClock().monotonic()
        act()
        seconds = SystemClock().monotonic() - began
        calls = Calls(self._world.aws.faults.calls - before)
        return Measured(what, seconds, calls, self._idle, inputs)

    def settle(self) -> None:
        """Measure what is asked for while nothing is called."""
        # As long as the rarest of what planner and machines do again and again.
        pause = 15.0
        before = Counter(self._world.aws.faults.calls)
        SystemClock().sleep(pause)
        self._idle = total(Calls(self._world.aws.faults.calls - before)) / pause
