"""An environment on strict fakes of AWS, in which one part ends at a certain request.

The part is cut off for ever, before the request is carried out or before its answer arrives, which
is what `kill -9` and a pulled plug look like from outside. Then the rest of the world goes on.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module, invalidate_caches
from itertools import count
from pathlib import Path
from secrets import token_hex
from threading import Event
from typing import Any

import cloudfn
from cloudfn.control.invocation.client import CloudClient
from cloudfn.errors import NotFoundError
from cloudfn.testing.aws import Knobs
from tests.failure.conftest import Later
from tests.failure.workload import Report
from tests.integration.aws_plugs import Point
from tests.integration.aws_world import AwsWorld
from tests.integration.machine_world import until

#: Who may end: who calls a deployed app, who runs an app of its own, who deploys a new version, who
#: deploys and stops an app, the planner, the process of a machine, which systemd starts anew, or
#: the whole machine.
PARTS = ("client", "runner", "deployer", "stopper", "planner", "agent", "machine")
#: whose requests count, where it is not the part itself
_ASKS = {"runner": "client", "deployer": "client", "stopper": "client", "machine": "agent"}
#: seconds that pass in one of this machine's
PACE = 5.0
#: seconds after which sweeps are due, and mailboxes of the dead are old enough
_LATER = 1_700.0
#: seconds of this machine's that calls may take
_PATIENCE = 60.0
#: bytes that travel in more than one part
BIG = (16 << 20) + 1_000
#: inputs of the map
MAPPED = 4

#: no run of it is due while this runs
_CRON = "0 0 29 2 *"

_PROGRAM = """
import os
import cloudfn

app = cloudfn.App({name!r})

def begin(item):
    trace = os.open({trace!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(trace, f"{{item}}\\n".encode())
    os.close(trace)

@app.function(scaledown_window=2, max_containers=4)
def work(item):
    begin(item)
    return item, {version!r}, os.urandom(8).hex()

@app.function(scaledown_window=2, schedule=cloudfn.Cron({cron!r}))
def only_{version}():
    pass

@app.function(scaledown_window=2)
def mirror(item, data):
    begin(item)
    return data[::-1]
"""


@dataclass(frozen=True, order=True)
class Kill:
    """Who ends, and when."""

    part: str
    point: Point

    def __str__(self) -> str:
        return f"{self.part} ends {self.point}"


def kills_of(part: str, counts: Counter[tuple[str, str]]) -> list[Kill]:
    """Return every point at which a part may end, where these requests were made."""
    return [
        Kill(part, Point(asks(part), request, number, after))
        for (who, request), most in sorted(counts.items())
        if who == asks(part) and request != "*"
        for number in range(1, most + 1)
        for after in (False, True)
    ]


def asks(part: str) -> str:
    """Return whose requests are those of a part."""
    return _ASKS.get(part, part)


def work_of(part: str) -> str:
    """Return whose work is under way when a part ends."""
    return part if asks(part) == "client" else "client"


class Calls:
    """What one client does: a spawn, a map, a big payload there and back."""

    def __init__(self, client: CloudClient, first: int, mapped: int) -> None:
        self.client = client
        self.items = list(range(first, first + mapped + 2))
        #: the spawned call, once its client knows it
        self.spawned = ""

    def to_deployed(self) -> dict[int, Any]:
        """Call the deployed app; return what came back, by item."""
        of = partial(cloudfn.Function.from_name, "points", client=self.client)
        return self.through(of("work"), of("mirror"))

    def through(self, work: Any, mirror: Any) -> dict[int, Any]:
        """Do the same through handles of functions."""
        alone, *mapped, big = self.items
        call = work.spawn(alone)
        self.spawned = call.object_id
        found = dict(zip(mapped, work.map(mapped), strict=True))
        found[big] = mirror.remote(big, _data(big))
        found[alone] = call.get()
        return found

    def judge(self, found: dict[int, Any], version: str, report: Report) -> None:
        """Compare what came back with what had to."""
        *small, big = self.items
        report.wrong += sum(found[item][:2] != (item, version) for item in small)
        report.wrong += found[big] != _data(big)[::-1]
        report.double += len(small) - len({found[item][2] for item in small})


def _data(item: int) -> bytes:
    return item.to_bytes(8, "big") * (BIG // 8)


class Points:
    """A world for one kill after the other.

    Args:
        folder: Of its own.
        knobs: How nasty the services are; calm by default, so that requests can be counted.
        seed: Of everything that happens by chance.
    """

    def __init__(self, folder: Path, knobs: Knobs | None = None, seed: int = 0) -> None:
        self._programs = folder / "programs"
        self._programs.mkdir()
        self._trace = folder / "trace"
        self._numbers = count(1)
        self.world = AwsWorld(folder, knobs, seed, pace=PACE)
        self._home = self.world.client("home")
        self._looker = self.world.open("looker", self.world.clients)
        #: of the deployed app: all, and the live one
        self._versions: dict[str, cloudfn.App] = {}
        self._version = ""

    @contextmanager
    def running(self) -> Iterator["Points"]:
        """End everything at the end."""
        sys.path.insert(0, str(self._programs))
        try:
            with self.world.running():
                self._deploy(self._home, "v0")
                self._version = "v0"
                yield self
        finally:
            sys.path.remove(str(self._programs))

    def run(self, part: str, kill: Kill | None = None, mapped: int = MAPPED) -> tuple[Report, bool]:
        """Let a part do its work, and have somebody end meanwhile.

        Args:
            part: Who works.
            kill: Who ends, and when; None: nobody.
            mapped: Inputs of the map.

        Returns:
            What came of it, and whether the point was reached.
        """
        scissors, first = self.world.scissors, 1_000 * next(self._numbers)
        self._trace.unlink(missing_ok=True)
        calls = Calls(self.world.client(), first, mapped)
        report = Report(inputs=1 if part == "stopper" else len(calls.items))
        followed = Event()
        scissors.begin(kill.point if kill else None, partial(self._follow, kill, followed))
        caller = Later(lambda: self._work(part, calls))
        mortal = kill is not None and asks(kill.part) == "client"
        until(lambda: caller.done or (mortal and scissors.cut.is_set()), "calls take too long")
        if mortal and scissors.cut.is_set():
            self.world.vanish(calls.client)
            self._without_caller(part, calls, report)
        else:
            self._judge(part, calls, caller, report)
            calls.client.close()
        self._settle(report)
        reached = scissors.cut.is_set()
        if reached and not followed.wait(_PATIENCE):
            report.problems.append("nothing took the place of what ended")
        report.deaths = int(reached)
        begun = Counter(self._trace.read_text().split() if self._trace.exists() else ())
        report.executions = begun.total()
        often = {item: times for item, times in begun.items() if times > 1 + reached}
        if often:
            report.problems.append(f"ran more often than a loss explains: {often}")
        return report, reached

    # Who works

    def _work(self, part: str, calls: Calls) -> dict[int, Any]:
        match part:
            case "runner":
                app = self._program(f"run-{next(self._numbers)}", "own")
                with app.run(client=calls.client, runtime="docker"):
                    found = app.registered_functions
                    return calls.through(found["work"], found["mirror"])
            case "stopper":
                app = self._program(f"stopped-{calls.items[0]}", "own")
                app.deploy(client=calls.client, runtime="docker")
                app.registered_functions["work"].spawn(calls.items[0])
                app.stop()
                return {}
            case "deployer":
                self._deploy(calls.client, self._next_version)
        return calls.to_deployed()

    def _deploy(self, client: CloudClient, version: str) -> None:
        # The same program when it is deployed again: then nothing has changed.
        app = self._versions.get(version) or self._program("points", version)
        self._versions[version] = app
        app.deploy(client=client, runtime="docker")

    def _program(self, name: str, version: str) -> cloudfn.App:
        """Return an app, written just now."""
        module = f"points_{token_hex(8)}"
        text = _PROGRAM.format(name=name, version=version, cron=_CRON, trace=str(self._trace))
        (self._programs / f"{module}.py").write_text(text)
        invalidate_caches()
        found: cloudfn.App = import_module(module).app
        return found

    # What comes of it

    def _judge(self, part: str, calls: Calls, caller: Later, report: Report) -> None:
        try:
            found = caller.result(0)
        except BaseException as error:  # noqa: BLE001 - it goes into the report
            report.lost += len(calls.items)
            report.problems.append(f"{type(error).__name__}: {error}")
            return
        if part == "stopper":
            return
        if part == "deployer":
            self._version = self._next_version
        calls.judge(found, "own" if part == "runner" else self._version, report)
        if part != "runner":
            report.double += self._ask_again(calls) != found[calls.items[0]]

    def _without_caller(self, part: str, calls: Calls, report: Report) -> None:
        """See what others find after a client that ended."""
        if part == "deployer":
            # As its user would, who saw nothing come of it.
            self._deploy(self._home, self._next_version)
            self._version = self._next_version
            again = Calls(self._home, calls.items[-1] + 1, MAPPED)
            again.judge(again.to_deployed(), self._version, report)
            report.inputs += len(again.items)
        if part == "stopper":
            with suppress(NotFoundError):  # it was not begun, or is stopped
                cloudfn.App.lookup(f"stopped-{calls.items[0]}", client=self._home).stop()
        if part != "runner" and calls.spawned:
            first, second = self._ask_again(calls), self._ask_again(calls)
            report.wrong += first[0] != calls.items[0]
            report.double += first != second

    def _ask_again(self, calls: Calls) -> Any:
        found = cloudfn.FunctionCall.from_id(calls.spawned, client=self._home)
        return found.get(timeout=_PATIENCE * PACE)

    @property
    def _next_version(self) -> str:
        return f"v{int(self._version[1:]) + 1}"

    # Who takes the place of who ended

    def _follow(self, kill: Kill | None, followed: Event) -> None:
        world = self.world
        match kill.part if kill else "":
            case "planner":
                [ended] = [each for each in world.planners if each.plug.cut]
                ended.die()
                world.planners.remove(ended)
                world.planner()
            case "agent":
                world.restart(self._cut_machine())
            case "machine":
                world.unplug(self._cut_machine())
        followed.set()

    def _cut_machine(self) -> str:
        """Return the machine that was cut off, once it has its place in the world."""
        world = self.world
        [found] = [machine_id for machine_id, plug in world.plugs.items() if plug.cut]
        until(lambda: found in world.machines, "it never was")
        world.plugs[found].cut = False
        return found

    # What is left

    def _settle(self, report: Report) -> None:
        """Wait until all is over, and report what is left of it."""
        world = self.world
        try:
            until(lambda: not self._looker.ledger.open_calls(), "calls are open")
            world.wait_for_no_machines()
            world.clock.advance(_LATER)
            until(lambda: not self._left(), "not all is gone")
        except AssertionError as error:
            report.problems.append(f"{error}: {self._left()}")

    def _left(self) -> list[str]:
        """Return what is there and should not be, and what should be and is not."""
        there, items = self._looker, self._items()
        apps = there.catalog.apps()
        live = {each.function_id for app in apps for each in there.catalog.everything(app.app_id)}
        scheduled = {each.app_id for each in there.schedules.schedules()}
        left = [app.name for app in apps if app.state != "deployed"]
        left += live ^ set(there.doorbells.functions())
        left += {app.app_id for app in apps} ^ scheduled
        left += self._mailboxes()
        left += [row.client_id for row in there.presence.list()]
        left += [row.report.machine_id for row in there.machines.list()]
        left += [item["sk"]["S"] for item in items if item["pk"]["S"].startswith("L#OPEN")]
        for item in items:
            if item["sk"]["S"] == "COUNT":
                left += [f"{name} {v['N']}" for name, v in item.items() if v.get("N", "0") != "0"]
        return left

    def _items(self) -> list[Any]:
        return self.world.aws.dynamodb.truth(self.world.names.prefix)

    def _mailboxes(self) -> list[str]:
        prefix = f"{self.world.names.prefix}-reply-"
        answer = self.world.aws.client("sqs").list_queues(QueueNamePrefix=prefix)
        return [*answer.get("QueueUrls", ())]
