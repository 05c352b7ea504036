"""An environment on fake AWS in real time, with a machine that runs what waits."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Condition

from cloudfn import settings
from cloudfn.clock import SystemClock
from cloudfn.control.invocation.client import CloudClient
from cloudfn.control.invocation.front import Front
from cloudfn.model import ids
from cloudfn.providers.aws.outputs import Group, Outputs, QueueDefaults
from cloudfn.providers.aws.provider import put_together
from cloudfn.providers.base import Cloud, Place
from cloudfn.providers.machines import MachineReport, MachineState
from cloudfn.sdk.client import using
from cloudfn.testing import FakeAws
from cloudfn.testing.aws import Knobs
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.cloud_machine import CloudMachine
from cloudfn.testing.memory_images import MemoryImages

KEY = bytes(range(32))


class LiveClock(FakeClock):
    """The machine's time for fakes, which wait on a clock of their own."""

    def __init__(self) -> None:
        super().__init__()
        self._system = SystemClock()

    def wall(self) -> float:
        return self._system.wall()

    def monotonic(self) -> float:
        return self._system.monotonic()

    def sleep(self, seconds: float) -> None:
        self._system.sleep(seconds)

    def wait(self, condition: Condition, until: float) -> None:
        condition.wait(max(0.0, until - self.wall()))


class AwsWorld:
    """All that Terraform makes, as far as clients and machines use it."""

    def __init__(self, folder: Path, knobs: Knobs) -> None:
        self.folder = folder
        self.clock = LiveClock()
        self.aws = FakeAws(self.clock, knobs=knobs)
        self.woken: list[object] = []
        self.aws.functions.define("cloudfn-main-planner", self.woken.append)
        self.aws.client("scheduler").create_schedule_group(Name="cloudfn-main")
        self.aws.client("logs").create_log_group(logGroupName="/cloudfn/main")
        self.images = MemoryImages(python=".".join(map(str, sys.version_info[:2])))
        self.outputs = Outputs(
            environment="main",
            account_id="123456789012",
            region="eu-central-1",
            table=self.aws.make_table(),
            bucket=self.aws.make_bucket(),
            bundle_sha256="0" * 64,
            log_group="/cloudfn/main",
            machines={"cpu": Group("cloudfn-main-cpu", ("m7i.large",), "x86_64", False, False, 3)},
            planner="cloudfn-main-planner",
            queues=QueueDefaults("cloudfn-main-", {"MessageRetentionPeriod": "345600"}, ""),
            repository="123456789012.dkr.ecr.eu-central-1.amazonaws.com/cloudfn-main",
            roles={},
            schedule_group="cloudfn-main",
            schedule_role="arn:aws:iam::123456789012:role/cloudfn-main-scheduler",
        )
        self.clients: list[CloudClient] = []
        self.machine = CloudMachine(self, "i-1", folder / "machines")

    def place(self, holder: str, *, on_machine: bool) -> Place:
        known = settings.load({"CLOUDFN_PROVIDER": "aws", "CLOUDFN_REGION": "eu-central-1"})
        return Place(known, holder, self.folder / holder, on_machine=on_machine)

    def at(self, place: Place) -> Cloud:
        clients = self.aws.clients()
        cloud = put_together(clients, self.outputs, lambda: KEY, place, lambda: None, self.clock)
        return replace(cloud, images=self.images)

    # What a machine needs

    def open(self, machine_id: str) -> Cloud:
        return self.at(self.place(machine_id, on_machine=True))

    def join(self, machine_id: str) -> None:
        report = MachineReport(machine_id, "cpu", MachineState.READY, 1.0, 1024)
        self.open(machine_id).machines.join(report, self.clock.wall(), 600.0)

    def client(self) -> CloudClient:
        place = self.place(ids.mint("cl"), on_machine=False)
        front = Front(self.at(place), place)
        client = CloudClient(front, "ada@laptop", place.cache / "payloads", 1_000)
        self.clients.append(client)
        return client

    @contextmanager
    def program(self) -> Iterator[CloudClient]:
        with using(self.client()) as client:
            yield client
        client.close()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.machine.close()
