"""A program on a rehearsal of its own: deployed, called and changed as users do, and given back.

What is asked of AWS is read from what the rehearsal's front noted. Nothing is left, whatever ends
it; a second Ctrl-C changes nothing of that.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.aws.reading import Block, Reaction, launched, updated
from cloudfn.clock import SystemClock
from cloudfn.errors import Error
from cloudfn.rehearsal import life
from cloudfn.rehearsal.requests import Caller, Request, recorded
from tests.docker.engine import Engine, own_engine
from tests.rehearsal.world import World, free_port

_CLOCK = SystemClock()
_PROGRAM = Path(__file__).with_name("program.py")
#: seconds of silence after which no planner is there
_SILENT = 4.0
#: seconds after an update until everybody has heard of it
_HEARD = 6.0
_UPDATES = 3
#: seconds until a map runs in all of its containers
_UNDER_WAY = 8.0
#: seconds for all machines to go, and for anything else
_PATIENCE = 400.0


class Missing(Exception):  # noqa: N818 - not an error of the benchmark
    """There can be no rehearsal here; says what is missing."""


class Found(NamedTuple):
    """What was noted, and when what was done."""

    requests: list[Request]
    blocks: list[Block]
    #: from the first input to the first machine asked for
    asleep: Reaction | None
    awake: list[Reaction | None]
    #: from new settings to new orders, while nothing runs and while something does
    idle_updates: list[Reaction | None]
    busy_updates: list[Reaction | None]
    #: how many machines there were at most, how many are left, and how long they took to go
    most: int
    left: int
    gone_after: float
    #: processes that wanted a processor, on average over a minute, before and after
    load: tuple[float, float]


def measure() -> Found:
    """Return what a program takes on a rehearsal.

    Raises:
        Missing: There can be none here.
    """
    with _rehearsal() as world:
        return _Run(world).all()


@contextmanager
def _rehearsal() -> Iterator[World]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Not below a long path: that of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cfr-") as root, ExitStack() as stack:
        world = World(Path(root), Path.home() / ".cache" / "cloudfn-tests", free_port())
        world.engine = _engine(stack, Path(root))
        stack.callback(_down, world)
        _say(f"starts a rehearsal in {root}")
        world.up("--boot-delay", "1")
        yield world


def _engine(stack: ExitStack, folder: Path) -> Engine:
    try:
        if platform.machine() != "x86_64":
            raise Missing("its machines are x86-64")
        engine = stack.enter_context(own_engine(folder))
        life.check(os.geteuid())
    except Error as error:
        raise Missing(f"{error.message} {error.hint or ''}") from None
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        raise Missing(f"no Docker engine to build images with: {error}") from None
    return engine


def _down(world: World) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _say("ends the rehearsal")
    world.cloudfn("rehearse", "down", check=False)
    for each in world.leftovers():
        _say(f"left: {each}")


class _Run:
    def __init__(self, world: World) -> None:
        self._world = world
        self._blocks: list[Block] = []
        self._most = 0

    def all(self) -> Found:
        """Do everything, one thing after the other."""
        load = os.getloadavg()[0]
        program = self._world.root / "bench.py"
        shutil.copy(_PROGRAM, program)
        self._cloudfn("deploy", str(program))
        self._await_sleep()
        (first,) = self._call("first")
        self._call("warm")
        idle = self._updates()
        self._call("tiny")
        self._call("slow")
        with self._calling("busy") as busy:
            _CLOCK.sleep(_UNDER_WAY)
            changed = self._updates()
            self._told(busy)
        self._update(0)
        large = self._call("large")
        left, gone_after = self._await_end()
        noted = recorded(self._world.site.requests)
        return Found(
            requests=noted,
            blocks=self._blocks,
            asleep=launched(noted, first.began),
            awake=[launched(noted, each.began) for each in large],
            idle_updates=[updated(noted, each) for each in idle],
            busy_updates=[updated(noted, each) for each in changed],
            most=self._most,
            left=left,
            gone_after=gone_after,
            load=(load, os.getloadavg()[0]),
        )

    def _call(self, what: str) -> list[Block]:
        with self._calling(what) as client:
            return self._told(client)

    @contextmanager
    def _calling(self, what: str) -> Iterator[subprocess.Popen[str]]:
        _say(f"calls: {what}")
        environ = {**self._world.environ(), "CLOUDFN_PROVIDER": "aws"}
        client = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.aws.calling", what],
            env=environ, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield client
        finally:
            client.kill()
            client.wait()

    def _told(self, client: subprocess.Popen[str]) -> list[Block]:
        told, _ = client.communicate(timeout=_PATIENCE)
        if client.returncode:
            raise RuntimeError(f"the client failed\n{self._world.logs()}")
        blocks = [Block(**json.loads(line)) for line in told.splitlines()]
        self._blocks += blocks
        self._most = max(self._most, len(self._world.machines()))
        return blocks

    def _updates(self) -> list[float]:
        return [self._update(number + 1) for number in range(_UPDATES)]

    def _update(self, containers: int) -> float:
        """Change settings; return when."""
        began = _CLOCK.wall()
        self._cloudfn("update-autoscaler", "bench", "square", "--min-containers", str(containers))
        _CLOCK.sleep(_HEARD)
        return began

    def _cloudfn(self, command: str, *words: str) -> None:
        _say(f"cloudfn {command}")
        self._world.cloudfn(command, "--provider", "aws", *words)

    def _await_sleep(self) -> None:
        """Wait until no planner is there that a deploy or the last minute woke."""
        deadline = _CLOCK.monotonic() + _PATIENCE
        while _CLOCK.monotonic() < deadline:
            since = _CLOCK.wall() - _SILENT
            lately = recorded(self._world.site.requests, since)
            if all(each.caller is not Caller.PLANNER for each in lately):
                return
            _CLOCK.sleep(0.5)

    def _await_end(self) -> tuple[int, float]:
        _say("waits until no machine is left")
        began = _CLOCK.monotonic()
        while (left := len(self._world.machines())) and _CLOCK.monotonic() < began + _PATIENCE:
            self._most = max(self._most, left)
            _CLOCK.sleep(1.0)
        return left, _CLOCK.monotonic() - began


def _say(text: str) -> None:
    sys.stderr.write(f"[rehearsal] {text}\n")
