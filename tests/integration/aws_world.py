"""An environment on AWS within this process: fakes, planners, machines with containers, clients.

Only time, containers and threads are real. Containers are processes, since there is no Docker: the
machines' catalog says so, and images are not asked for.
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, cast

from cloudfn.control.invocation.client import CloudClient
from cloudfn.control.invocation.front import Front
from cloudfn.control.planner.handler import open_planner, plan
from cloudfn.machine.config import Timing
from cloudfn.machine.metadata import Notice
from cloudfn.model import ids
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.outputs import parse_outputs
from cloudfn.providers.aws.provider import put_together
from cloudfn.providers.base import Cloud, Place
from cloudfn.providers.catalog import RevisionRecord
from cloudfn.providers.machines import MachineState
from cloudfn.rehearsal.names import Names, outputs
from cloudfn.rehearsal.site import MachineClass, Wanted
from cloudfn.settings import Settings, load
from cloudfn.testing.aws import FakeAws, FleetKnobs, Knobs
from cloudfn.testing.clock import RunningClock
from cloudfn.testing.memory_images import MemoryImages
from tests.integration.aws_plugs import Plug, Scissors
from tests.integration.machine_world import PATIENCE, Machine, quick, until

#: seconds between looks of those who play the world outside
_LOOK = 0.05
#: machines that come quickly, with all the nastiness that takes no long time
FLEET = replace(FleetKnobs.calm(), boot=(0.1, 0.4), shutdown=0.1, reaction=0.1)
CLASSES = {"cpu": MachineClass(("m7i.large",), 4)}
REGION = "eu-central-1"


class _ProcessCatalog:
    """The catalog of a machine whose containers are processes under this interpreter."""

    def __init__(self, catalog: Any) -> None:
        self._catalog = catalog

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    def revision(self, app_id: str, number: int) -> RevisionRecord | None:
        found = self._catalog.revision(app_id, number)
        return None if found is None else _as_process(found)


def _as_process(record: RevisionRecord) -> RevisionRecord:
    paths = tuple(sys.path)
    changes = {"runtime": "process", "interpreter": sys.executable, "import_paths": paths}
    return replace(record, spec=replace(record.spec, **cast(Any, changes)))


class Planner:
    """One planner, in a thread."""

    def __init__(self, world: "AwsWorld", name: str) -> None:
        self.plug = world.plug("planner")
        cloud = world.open(name, self.plug)
        planner = open_planner(cloud, name, world.clock, world.settings())
        self._over = False
        # One that dies resigns as little as a process that was killed.
        self._thread = threading.Thread(
            target=plan, args=(planner, world.clock, lambda _: not self._over), daemon=True
        )
        self._thread.start()

    def die(self) -> None:
        """Vanish without a word; nothing that its thread still tries gets through."""
        self.plug.pulled = self._over = True

    def end(self) -> None:
        """Leave, and wait for it."""
        self._over = True
        self._thread.join(PATIENCE)


class AwsWorld:
    """One environment.

    Args:
        root: A folder of the test's own.
        knobs: How nasty the services are.
        seed: Of everything that happens by chance.
        variables: Further settings.
        warm: How many machines of each class are kept warm.
        classes: Machine classes.
        pace: Seconds that pass in one; leases of clients and machines last as much longer.
        timing: Of machines, in place of quick ones.
    """

    def __init__(
        self,
        root: Path,
        knobs: Knobs | None = None,
        seed: int = 0,
        variables: dict[str, str] | None = None,
        warm: int = 0,
        pace: float = 1.0,
        timing: Timing | None = None,
        *,
        classes: Mapping[str, MachineClass] | None = None,
    ) -> None:
        self.root = root
        self._timing = timing or quick(lease=4.0 * pace)
        self.clock = RunningClock(pace)
        self.scissors = Scissors()
        #: chance that a request is carried out, and the answer to it is lost
        self.lost_answers = 0.0
        self._random = Random(seed)
        calm = replace(Knobs.calm(), fleet=FLEET)
        self.aws = FakeAws(self.clock, knobs=knobs or calm, seed=seed, region=REGION)
        self.clients = self.aws.clients()
        self._variables = {"CLOUDFN_KEEP_ALIVE": "1", "CLOUDFN_CLIENT_GRACE": f"{5 * pace:g}"}
        self._variables |= variables or {}
        self._warm = warm
        self._wanted = Wanted(region=REGION, classes=dict(classes or CLASSES))
        self.names = Names("main", REGION)
        self._make_base()
        self.outputs = parse_outputs(json.dumps(outputs(self._wanted, "0" * 64)), "outputs")
        self._images = MemoryImages(python=".".join(map(str, sys.version_info[:2])))
        #: ids of machines that are unplugged, as `Machine.die` adds to them
        self.outages = _Outages(self)
        self.plugs: dict[str, Plug] = {}
        self.machines: dict[str, Machine] = {}
        self.planners: list[Planner] = []
        self._clients: dict[CloudClient, Plug] = {}
        self._over = threading.Event()
        self._launcher = threading.Thread(target=self._launch, daemon=True)
        self._launcher.start()

    # What Terraform makes

    def _make_base(self) -> None:
        of, names = self.aws.client, self.names
        self.aws.make_table(names.prefix)
        self.aws.make_bucket(names.bucket)
        of("sqs").create_queue(QueueName=names.dead)
        of("ecr").create_repository(repositoryName=names.repository)
        of("logs").create_log_group(logGroupName=names.log_group)
        of("scheduler").create_schedule_group(Name=names.prefix)
        for name, each in self._wanted.classes.items():
            self._make_class(names.group(name), each)

    def _make_class(self, group: str, shape: MachineClass) -> None:
        scaling = self.aws.client("autoscaling")
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=group,
            MinSize=0,
            MaxSize=shape.max_machines,
            DesiredCapacity=0,
            AvailabilityZones=[f"{REGION}a", f"{REGION}b"],
            NewInstancesProtectedFromScaleIn=True,
            LaunchTemplate={"LaunchTemplateName": group, "Version": "$Default"},
        )
        for hook, transition in (("join", "LAUNCHING"), ("drain", "TERMINATING")):
            scaling.put_lifecycle_hook(
                AutoScalingGroupName=group,
                LifecycleHookName=hook,
                LifecycleTransition=f"autoscaling:EC2_INSTANCE_{transition}",
                HeartbeatTimeout=30 if hook == "drain" else 600,
                DefaultResult="CONTINUE" if hook == "drain" else "ABANDON",
            )
        if self._warm:
            scaling.put_warm_pool(AutoScalingGroupName=group, MaxGroupPreparedCapacity=self._warm)

    # Those who use it

    def plug(self, part: str) -> Plug:
        """Return the way to AWS of one process."""
        return Plug(self.clients, self.loses, part, self.scissors)

    def settings(self) -> Settings:
        """Return the settings of everybody here."""
        known = {"CLOUDFN_PROVIDER": "aws", "HOME": str(self.root), **self._variables}
        return load(known, environment="main")

    def open(self, holder: str, clients: ClientSource, *, on_machine: bool = False) -> Cloud:
        """Return the cloud as somebody sees it."""
        place = Place(self.settings(), holder, self.root / holder, on_machine)
        made = put_together(
            clients, self.outputs, lambda: b"k" * 32, place, lambda: None, self.clock
        )
        made = replace(made, images=self._images)
        if not on_machine:
            return made
        return replace(made, catalog=cast(Any, _ProcessCatalog(made.catalog)))

    def cloud(self, machine_id: str) -> Cloud:
        """Return the cloud as a machine sees it."""
        plug = self.plugs[machine_id] = self.plug("agent")
        return self.open(machine_id, plug, on_machine=True)

    def client(self, part: str = "client") -> CloudClient:
        """Return a client, as another process would have one; scissors know it as a part."""
        holder = ids.mint("cl")
        plug = self.plug(part)
        cloud = self.open(holder, plug)
        place = Place(self.settings(), holder, self.root / holder)
        folder = self.root / f"payloads-{holder}"
        client = CloudClient(Front(cloud, place, self.clock), "laptop", folder, 1_000)
        self._clients[client] = plug
        return client

    def vanish(self, client: CloudClient) -> None:
        """Let a client's process end without a word."""
        self._clients[client].pulled = True

    def planner(self) -> Planner:
        """Start a planner."""
        planner = Planner(self, ids.mint("pl"))
        self.planners.append(planner)
        return planner

    # Machines

    def instances(self) -> dict[str, str]:
        """Return the lifecycle state of each instance that there is, whatever AWS says of it."""
        fleet = self.aws.fleet
        with fleet.changed:
            fleet.pass_time(self.clock.wall())
            there = [each for each in fleet.instances.values() if each.ec2 != "terminated"]
            return {each.id: each.state for each in there}

    def class_of(self, machine_id: str) -> str:
        """Return the name of a machine's class."""
        group = self.aws.fleet.instances[machine_id].group
        return next(name for name in self._wanted.classes if self.names.group(name) == group)

    def _launch(self) -> None:
        """Be the hypervisor: machines for instances, and none without one."""
        while not self._over.wait(_LOOK):
            states = self.instances()
            for machine_id, state in states.items():
                if machine_id not in self.machines and state.startswith("Pending"):
                    self.boot(machine_id)
                if state == "Warmed:Pending:Wait":
                    self.open(machine_id, self.clients).fleet.prepared(machine_id)
                if machine_id in self.machines and state.startswith("Terminating"):
                    self.notice(machine_id, Notice(leaving=True))
            for machine_id, machine in list(self.machines.items()):
                if machine_id not in states and not machine.gone:
                    machine.die()

    def boot(self, machine_id: str) -> None:
        """Start the process of a machine."""
        self._boot(machine_id, None)

    def _boot(self, machine_id: str, state: Path | None) -> None:
        self.machines[machine_id] = Machine(
            cast(Any, self), machine_id, self._timing, self.clock, state, self.class_of(machine_id)
        )

    def restart(self, machine_id: str) -> None:
        """Let the process of a machine vanish, and systemd start it anew."""
        earlier = self.machines[machine_id]
        earlier.crash()
        self._boot(machine_id, earlier.state)

    def notice(self, machine_id: str, notice: Notice) -> None:
        """Let a machine's metadata service say something."""
        machine = self.machines[machine_id]
        if not machine.gone:
            machine.tell(notice)

    def drains(self, machine_id: str) -> bool:
        """Tell a machine to drain, as `cloudfn machine drain` does; return whether it does."""
        machines = self.open("looker", self.clients).machines
        [report] = [r.report for r in machines.list() if r.report.machine_id == machine_id]
        if report.state is MachineState.READY:
            orders = machines.orders(machine_id)
            machines.order({machine_id: replace(orders, quotas={}, kept={}, drain=True)})
        return report.state is MachineState.DRAINING

    def alive(self) -> list[str]:
        """Return the ids of machines that have not gone."""
        return [machine_id for machine_id, each in self.machines.items() if not each.gone]

    def containers(self) -> int:
        """Return how many containers all machines have."""
        return sum(each.containers() for each in self.machines.values() if not each.gone)

    def busy(self) -> int:
        """Return how many inputs machines say that they have."""
        rows = self.open("looker", self.clients).machines.list()
        return sum(p.held + p.waiting for row in rows for p in row.report.pools.values())

    @property
    def most_machines(self) -> int:
        """How many machines there may be."""
        return sum(each.max_machines for each in self._wanted.classes.values())

    def loses(self) -> bool:
        """Whether an answer gets lost."""
        return self.lost_answers > 0 and self._random.random() < self.lost_answers

    def soon(self, seconds: float) -> float:
        """Return a time on the clock."""
        return self.clock.wall() + seconds

    def unplug(self, machine_id: str) -> None:
        """Pull a machine's plug; EC2 notices some time later."""
        self.machines[machine_id].die()
        self.aws.fleet.kill(machine_id)

    def wait_for_no_machines(self) -> None:
        """Wait until the planner has given back every machine."""
        until(lambda: not self.instances(), "machines are left")

    # The end

    @contextmanager
    def running(self) -> Iterator["AwsWorld"]:
        """Have one planner, and end everything at the end."""
        try:
            self.planner()
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """End everything."""
        for client in self._clients:
            client.close()
        for planner in self.planners:
            planner.end()
        self._over.set()
        self._launcher.join(PATIENCE)
        for machine in self.machines.values():
            machine.leave()


class _Outages:
    """Pulls the plugs of machines that are added."""

    def __init__(self, world: AwsWorld) -> None:
        self._world = world

    def add(self, machine_id: str) -> None:
        self._world.plugs[machine_id].pulled = True


def wait(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something."""
    return until(condition, what)
