"""The planner of an environment over every adapter on AWS, against a fake account."""

from dataclasses import replace
from pathlib import Path

import pytest

from cloudfn import settings as settings_module
from cloudfn.control.planner.handler import open_planner
from cloudfn.control.planner.survey import described, survey
from cloudfn.errors import Error
from cloudfn.model.call import CallKind, Status
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.aws.outputs import Group, Outputs, QueueDefaults
from cloudfn.providers.aws.provider import put_together
from cloudfn.providers.base import Place
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.ledger import CallSpec, Entry
from cloudfn.providers.machines import MachineReport, MachineState, PoolReport
from cloudfn.testing.aws import FakeAws, Knobs
from tests.contract.test_fleet import OnAws

LEASE, BEAT = 30.0, 5.0


class Environment:
    """An environment on a fake account, as its planner, its clients and its machines open it."""

    def __init__(self, knobs, tmp_path):
        self.aws = FakeAws(knobs=knobs)
        self.clock, self.folder = self.aws.clock, tmp_path
        self.groups = OnAws(self.aws)
        table, bucket = self.aws.make_table(), self.aws.make_bucket()
        self.settings = settings_module.load({"CLOUDFN_HOME": str(tmp_path)})
        self.settings = replace(self.settings, keep_alive=60.0)
        self.aws.client("logs").create_log_group(logGroupName="/cloudfn/main")
        sqs = self.aws.client("sqs")
        sqs.create_queue(QueueName="cloudfn-main-dead")
        small = Group("cloudfn-main-small", ("m7i.large",), "x86_64", False, False, 10)
        self.outputs = Outputs(
            "main", "123456789012", "eu-central-1",
            table, bucket, "0" * 64, "/cloudfn/main", {"small": small}, "cloudfn-main-planner",
            QueueDefaults("cloudfn-main-", {}, ""), "r/cloudfn/main", {}, "cloudfn-main",
            "arn:aws:iam::123456789012:role/cloudfn-main-scheduler",
        )  # fmt: skip
        self.agents = {}
        self.client = self.open("client")
        spec = RevisionSpec(
            "b1", "jobs", (FunctionSpec(name="f", module="jobs", qualname="f"),), "/usr/bin/python3"
        )
        app = self.client.catalog.create_app("jobs", "deployed", spec, self.clock.wall())
        (function,) = self.client.catalog.functions(app.app_id)
        self.function_id, self.pool = function.function_id, f"{function.function_id}@1"
        self.client.doorbells.open(self.function_id)

    def open(self, holder, *, on_machine=False):
        """Return the cloud as somebody opens it."""
        place = Place(self.settings, holder, Path(self.folder) / holder, on_machine)
        key, clients = (lambda: bytes(32)), self.aws.clients()
        return put_together(clients, self.outputs, key, place, lambda: None, self.clock)

    def submit(self, count):
        spec = CallSpec(
            "fc-1", self.function_id, self.pool, CallKind.SPAWN_MAP, self.clock.wall(), durable=True
        )
        payloads = [b"x"] * count
        self.client.ledger.submit(spec, 0, payloads, sealed=True, now=self.clock.wall())
        self.client.doorbells.ring(self.client.ledger.rings())

    def run(self, planner, seconds, done):
        """Let time pass until something is so; return how many looks failed."""
        failed = 0
        for _ in range(seconds):
            self.clock.advance(1)
            self.step_machines()
            try:
                planner.tick()
            except Error:
                failed += 1
            if done():
                return failed
        raise AssertionError(described(survey(self.open("people"), self.clock.wall())))

    def step_machines(self):
        states = {
            each.id: each.state
            for each in self.aws.fleet.of(self.aws.fleet.instances)
            if each.state in {"Pending:Wait", "InService", "Terminating:Wait"}
        }
        for machine_id, state in states.items():
            if machine_id not in self.agents and state == "Pending:Wait":
                self.agents[machine_id] = Agent(self, machine_id)
        for machine_id in [each for each in self.agents if each not in states]:
            del self.agents[machine_id]
        for machine_id, agent in self.agents.items():
            agent.step(states[machine_id])


class Agent:
    """Runs an input in ten seconds, in as many containers as it may have."""

    def __init__(self, environment, machine_id):
        self.environment, self.machine_id = environment, machine_id
        self.cloud = environment.open(machine_id, on_machine=True)
        self.running, self.heard, self.state = [], 0.0, MachineState.READY
        self.joined = environment.clock.wall()
        self.cloud.machines.join(self.report(), self.joined, LEASE)
        self.cloud.fleet.joined(machine_id)

    def step(self, state):
        now, pool = self.environment.clock.wall(), self.environment.pool
        over = [claim for claim, until in self.running if until <= now]
        self.running = [each for each in self.running if each[1] > now]
        if over:
            entries = [Entry(c.seq, c.fence, Status.RETURNED, b"r") for c in over]
            assert all(self.cloud.ledger.record(entries))
        orders = self.cloud.machines.orders(self.machine_id)
        if orders.drain:
            self.state = MachineState.DRAINING if self.running else MachineState.EMPTY
        free = 0 if orders.drain else orders.quotas.get(pool, 0) - len(self.running)
        if free > 0:
            claims = self.cloud.ledger.claim(pool, min(4, free), now)
            self.running += [(claim, now + 10) for claim in claims]
        if now - self.heard >= BEAT:
            self.heard = now
            self.cloud.machines.beat(self.report(), now, LEASE)
        if state == "Terminating:Wait":
            self.cloud.fleet.drained(self.machine_id)

    def report(self):
        count = len(self.running)
        pools = {self.environment.pool: PoolReport(busy=count, held=count, service=10.0)}
        return MachineReport(
            self.machine_id, "small", self.state, 2.0, 7_300, joined=self.joined, pools=pools
        )


@pytest.mark.parametrize("knobs", [Knobs.calm(), Knobs()], ids=["calm", "nasty"])
def test_inputs_bring_machines_and_when_they_are_done_the_machines_go(knobs, tmp_path):
    environment = Environment(knobs, tmp_path)
    cloud = environment.open("planner")
    planner = open_planner(cloud, "planner", environment.clock, environment.settings)
    planner.tick()
    assert environment.groups.group().desired == 0

    environment.submit(12)
    environment.run(planner, 900, lambda: environment.client.ledger.call("fc-1").finished == 12)
    seen = described(survey(environment.open("people"), environment.clock.wall()))
    environment.run(planner, 900, lambda: not environment.groups.group().instances)

    assert seen["led"]
    assert environment.groups.group().desired == 0
    statuses = environment.client.ledger.statuses("fc-1")
    assert statuses == [Status.RETURNED] * 12
