"""A cloud in memory for tests of the planner's loop, with machines that can be had."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from cloudfn import settings as settings_module
from cloudfn.control.planner.handler import invoked, open_planner
from cloudfn.model.call import CallKind
from cloudfn.model.function import AutoscalerSettings, FunctionSpec
from cloudfn.model.log import LogQuery
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.fleet import MachineClass
from cloudfn.providers.ledger import CallSpec
from cloudfn.providers.machines import MachineReport, MachineState
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.cloud import MemoryCloud
from cloudfn.testing.memory_doorbells import MemoryDoorbells
from cloudfn.testing.memory_fleet import MemoryFleet
from cloudfn.testing.memory_leadership import MemoryLeadership
from cloudfn.testing.memory_shared_ledger import MemorySharedLedger
from cloudfn.testing.memory_wakeups import MemoryWakeups, Post

SETTINGS = settings_module.load({"CLOUDFN_HOME": "/nowhere"})
SMALL = MachineClass("small", cores=2, memory=4_096, max_machines=10, boot_seconds=60, price=0.1)


class World:
    """A cloud with one app that has one function, `f`.

    Args:
        classes: Machine classes.
        boot: Seconds.
        warm: Machines of class "small" that are put aside.
        settings: Of the function's autoscaler.
    """

    def __init__(self, *, classes=(SMALL,), boot=45.0, warm=0, **settings):
        self.clock = FakeClock(sleepless=True)
        self.memory = MemoryCloud(Path("/nowhere"))
        self.fleet = MemoryFleet(classes, self.clock, boot=boot, warm={"small": warm})
        self.doorbells = MemoryDoorbells(self.clock, visibility=10, most_receives=1)
        self.wakeups = MemoryWakeups(Post(self.clock))
        self.leadership = MemoryLeadership()
        self.ledger: Any = self.opened_by("planner")
        self.closed = 0
        self.cloud = replace(
            self.memory.open("planner"),
            ledger=cast("Any", self.ledger),
            fleet=self.fleet,
            doorbells=self.doorbells,
            wakeups=self.wakeups,
            leadership=self.leadership,
            close=self._close,
        )
        self.machines, self.logs, self.dicts = (
            self.cloud.machines,
            self.cloud.logs,
            self.cloud.dicts,
        )
        self.catalog, self.schedules = self.cloud.catalog, self.cloud.schedules
        function = FunctionSpec(
            name="f", module="jobs", qualname="f", autoscaler=AutoscalerSettings(**settings)
        )
        spec = RevisionSpec("b1", "jobs", (function,), "/usr/bin/python3")
        self.app = self.catalog.create_app("jobs", "deployed", spec, self.clock.wall())
        (self.function,) = self.catalog.functions(self.app.app_id)
        self.function_id = self.function.function_id
        self.pool = f"{self.function_id}@1"
        self.doorbells.open(self.function_id)

    def opened_by(self, holder):
        """Return the ledger as a machine or client has it."""
        return MemorySharedLedger(self.memory.records, holder)

    def submit(self, count=1, *, call_id="fc-1", reply="", **more):
        """Make a call of `f`."""
        spec = CallSpec(
            call_id, self.function_id, self.pool, CallKind.SPAWN_MAP, self.clock.wall(),
            durable=True, reply=reply, **more,
        )  # fmt: skip
        client = self.opened_by("client")
        client.submit(spec, 0, [b"x"] * count, sealed=True, now=self.clock.wall())
        return client

    def said(self):
        """Return what the app's log has."""
        return [each.text for each in self.logs.read(LogQuery(tail=None))]

    def _close(self):
        self.closed += 1


def a_planner(world, holder="p1"):
    return open_planner(world.cloud, holder, world.clock, SETTINGS)


def join(world, machine_id, **more):
    """Let the agent of a machine say that it is there."""
    report = MachineReport(
        machine_id, "small", MachineState.READY, 2.0, 4_096, joined=world.clock.wall()
    )
    world.machines.join(replace(report, **more), world.clock.wall(), 30.0)


def wake(world, holder="p1", **event):
    return invoked(world.cloud, event, holder, world.clock, SETTINGS)


def noted(port, name):
    """Note the calls of a method."""
    method, calls = getattr(port, name), []

    def call(*args):
        calls.append(args)
        return method(*args)

    setattr(port, name, call)
    return calls


def raises(error):
    """Return what fails, whatever it is asked."""

    def call(*_, **__):
        raise error

    return call
