"""Containers of Docker and their daemon are killed at random, while maps and spawns run.

CLOUDFN_SOAK says how much is done: 1 is the full campaign. What it found is printed.
"""

import os
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.docker.cells import Cells
from tests.failure.conftest import CLOCK, Later

pytestmark = [pytest.mark.soak, pytest.mark.integration]

_ROUNDS = 60
_INPUTS = 40
_PATIENCE = 240.0
_BIG = 100_000


def test_nothing_is_lost_where_containers_and_the_daemon_are_killed(cells: Cells):
    rounds = max(1, round(_ROUNDS * float(os.environ.get("CLOUDFN_SOAK") or "1")))  # noqa: TID251
    kills = {"container": 0, "daemon": 0}
    began = CLOCK.monotonic()
    for number in range(rounds):
        choose = random.Random(number)
        calls = _begin(cells, number)
        for _ in range(choose.randint(1, 3)):
            CLOCK.sleep(choose.uniform(0.1, 2.0))
            kind = choose.choice(sorted(kills))
            kills[kind] += _strike(cells, kind, choose)
        for wanted, call in calls:
            assert call.result(_PATIENCE) == wanted
    seconds = CLOCK.monotonic() - began
    inputs = 3 * _INPUTS * rounds
    print(f"{rounds} rounds, {inputs:,} inputs, {kills}, none lost or wrong, {seconds:,.0f} s")


def _begin(cells: Cells, number: int) -> list[tuple[list[Any], Later]]:
    """Begin a map, spawned calls and a map of big payloads; return what each has to come to."""
    values = [1_000 * number + index for index in range(_INPUTS)]
    blocks = [value.to_bytes(4, "big") * _BIG for value in values]
    slow = [f"import time; time.sleep(0.02); result = {value}" for value in values]
    works: list[tuple[list[Any], Callable[[], list[Any]]]] = [
        (values, lambda: list(cells.run.map(slow))),
        (values, lambda: [call.get() for call in [cells.echo.spawn(each) for each in values]]),
        (blocks, lambda: list(cells.echo.map(blocks))),
    ]
    return [(wanted, Later(work)) for wanted, work in works]


def _strike(cells: Cells, kind: str, choose: random.Random) -> int:
    """Kill a container or the daemon, if there is one; return how many."""
    machine = cells.machine
    if kind == "daemon":
        with suppress(ProcessLookupError, ValueError, OSError):
            machine.kill(machine.daemon)
            return 1
        return 0
    found = machine.docker_containers("status=running")
    with suppress(RuntimeError):  # it ended meanwhile
        if found:
            machine.docker("kill", choose.choice(found))
            return 1
    return 0
