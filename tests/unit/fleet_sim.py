"""An environment in virtual time: scripted work, machines that boot, agents that obey quotas."""

from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from random import Random
from types import SimpleNamespace

from cloudfn.control.planner.environment import EnvironmentPlanner, Options
from cloudfn.model.function import AutoscalerSettings, FunctionSpec, Resources
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.fleet import InstanceState, MachineClass
from cloudfn.providers.ledger import PoolCounts
from cloudfn.providers.machines import MachineReport, MachineState, Orders, PoolReport
from cloudfn.providers.queues import Leftovers
from cloudfn.providers.shared_ledger import Overview, Repairs
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.memory_catalog import MemoryCatalog
from cloudfn.testing.memory_dicts import MemoryDicts
from cloudfn.testing.memory_fleet import MemoryFleet
from cloudfn.testing.memory_leadership import MemoryLeadership
from cloudfn.testing.memory_machines import MemoryMachines
from cloudfn.testing.provider import MemoryLogs

LEASE, BEAT = 30.0, 5.0
SMALL = MachineClass("small", cores=2, memory=4_096, max_machines=12, boot_seconds=60, price=0.1)


@dataclass(eq=False)
class Work:
    """An input: how long it takes, and who has it."""

    seconds: float
    holder: str = ""
    done: bool = False


class Ledger:
    """What the planner asks of a ledger, over scripted inputs."""

    def __init__(self):
        self.inputs = defaultdict(list)

    def add(self, pool, *seconds):
        self.inputs[pool] += [Work(each) for each in seconds]

    def waiting(self, pool):
        return [each for each in self.inputs[pool] if not each.holder and not each.done]

    def running(self, pool):
        return [each for each in self.inputs[pool] if each.holder and not each.done]

    def counts(self, pool):
        return PoolCounts(len(self.waiting(pool)), 0, len(self.running(pool)))

    def pools(self):
        return [pool for pool in self.inputs if any(not w.done for w in self.inputs[pool])]

    def repair(self, alive, now):
        lost = [w for pool in self.inputs for w in self.running(pool) if not alive(w.holder)]
        for each in lost:
            each.holder = ""
        return Repairs(len(lost), 0, ())

    def overdue(self, now):
        return []

    def overview(self, now):
        counts = {pool: self.counts(pool) for pool in self.pools()}
        return Overview(counts, None, len(counts))

    def expire(self, now, retention):
        return []

    @property
    def left(self):
        return sum(not w.done for works in self.inputs.values() for w in works)


@dataclass(eq=False)
class Container:
    pool: str
    ready_at: float
    work: Work | None = None
    ends: float = 0.0
    used: float = 0.0


@dataclass(eq=False)
class Agent:
    """A machine's agent: obeys its quotas as the machine's own planner does."""

    world: "World"
    machine_id: str
    shape: MachineClass
    containers: list[Container] = field(default_factory=list)
    orders: Orders = field(default_factory=Orders)
    state: MachineState = MachineState.READY
    joined: float = 0.0
    beaten: float = 0.0
    served: dict[str, float] = field(default_factory=dict)
    ends: float | None = None
    alive: bool = True

    def step(self, now):
        world = self.world
        fresh = world.machines.orders(self.machine_id)
        if fresh.epoch >= self.orders.epoch:
            self.orders = fresh
        draining = self.orders.drain or self.ends is not None
        quotas = {} if draining else self.orders.quotas
        self._finish(now)
        for pool in {*quotas, *(c.pool for c in self.containers)}:
            self._scale(pool, quotas.get(pool, 0), self.orders.kept.get(pool, 0), now)
        if draining and not self.containers:
            self.state = MachineState.EMPTY
        elif draining:
            self.state = MachineState.DRAINING
        if now - self.beaten >= BEAT:
            self.beat(now)

    def _finish(self, now):
        for each in self.containers:
            if each.work is not None and each.ends <= now:
                each.work.done = True
                self.served[each.pool] = each.work.seconds
                each.work, each.used = None, now

    def _scale(self, pool, quota, kept, now):
        ledger, own = self.world.ledger, [c for c in self.containers if c.pool == pool]
        window = self.world.window
        waiting = ledger.waiting(pool)
        for each in own[:quota]:
            if each.work is None and each.ready_at <= now and waiting:
                each.work = waiting.pop()
                each.work.holder, each.ends = self.machine_id, now + each.work.seconds
        idle = [c for c in own if c.work is None]
        busy = len(own) - len(idle)
        wanted = min(quota, max(kept, busy + len(waiting)))
        for _ in range(wanted - len(own)):
            self.containers.append(Container(pool, now + 1.0, used=now))
        over = len(own) - max(wanted, 0)
        for each in idle[: max(0, over)]:
            if (
                len([c for c in self.containers if c.pool == pool]) > quota
                or now - each.used > window
            ):
                self.containers.remove(each)

    def beat(self, now):
        self.beaten = now
        report = MachineReport(
            self.machine_id, self.shape.name, self.state, self.shape.cores, self.shape.memory,
            joined=self.joined, epoch=self.orders.epoch, pools=self._pools(now), ends=self.ends,
        )  # fmt: skip
        join = self.world.machines.join if not self.joined else self.world.machines.beat
        if not self.joined:
            self.joined = now
            report = replace(report, joined=now)
            self.world.fleet.joined(self.machine_id)
        join(report, now, LEASE)

    def _pools(self, now):
        found = {}
        for pool in {*self.served, *(c.pool for c in self.containers)}:
            own = [c for c in self.containers if c.pool == pool]
            busy = sum(c.work is not None for c in own)
            starting = sum(c.work is None and c.ready_at > now for c in own)
            found[pool] = PoolReport(
                starting, len(own) - busy - starting, busy, busy, 0, self.served.get(pool)
            )
        return found


class World:
    """Everything, second by second.

    Args:
        seed: Of what happens by chance.
        classes: Machine classes.
        boot: Seconds.
    """

    def __init__(self, seed=0, classes=(SMALL,), boot=45.0):
        self.random = Random(seed)
        self.clock = FakeClock(sleepless=True)
        self.began = self.clock.wall()
        self.classes = {each.name: each for each in classes}
        self.ledger, self.catalog = Ledger(), MemoryCatalog()
        self.machines, self.leadership = MemoryMachines(), MemoryLeadership()
        self.fleet = MemoryFleet(classes, self.clock, boot=boot, shutdown=20)
        self.logs, self.dicts = MemoryLogs(), MemoryDicts(1e9)
        self.window = 20.0
        self.agents: dict[str, Agent] = {}
        self.limits: dict[str, int | None] = {}
        self.planners = deque()
        #: what was wrong, in sentences
        self.wrong: list[str] = []
        self.most_machines = 0
        self.machine_seconds = 0.0

    @property
    def now(self):
        return self.clock.wall() - self.began

    def add_function(self, name, cpu=0.5, memory=512, **settings):
        """Deploy an app with one function; return its pool."""
        settings = AutoscalerSettings(scaledown_window=int(self.window), **settings)
        function = FunctionSpec(
            name=name, module="jobs", qualname=name, autoscaler=settings,
            resources=Resources(cpu=cpu, memory=memory),
        )  # fmt: skip
        spec = RevisionSpec("b1", "jobs", (function,), "/usr/bin/python3")
        app = self.catalog.create_app(name, "deployed", spec, 0.0)
        (record,) = self.catalog.functions(app.app_id)
        pool = f"{record.function_id}@1"
        self.limits[pool] = settings.max_containers
        return pool

    def add_planner(self, name):
        fires = SimpleNamespace(look=lambda now: None, next_due=lambda: None)
        planner = EnvironmentPlanner(
            self._cloud(), name, self.clock, fires, lambda now: None, Options(keep_alive=60.0)
        )
        self.planners.append(planner)
        return planner

    def _cloud(self):
        return SimpleNamespace(
            ledger=self.ledger,
            catalog=self.catalog,
            machines=self.machines,
            leadership=self.leadership,
            scheduled=None,
            fleet=self.fleet,
            logs=self.logs,
            dicts=self.dicts,
            queues=SimpleNamespace(expire=lambda now, patience: Leftovers((), ())),
            volumes=SimpleNamespace(expire=lambda now, patience: None),
            depot=SimpleNamespace(delete=len),
            doorbells=SimpleNamespace(ring=len, dead=lambda limit: [], answer=len),
            wakeups=SimpleNamespace(sweep=lambda now, patience: 0),
        )

    def run(self, seconds, each_second=lambda: None):
        """Let time pass."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            each_second()
            self._machines()
            for planner in list(self.planners):
                planner.tick()
            self._check()

    def settle(self, most=4_000):
        """Let time pass until everything is served and all machines are gone."""
        for _ in range(most):
            self.run(1)
            if not self.ledger.left and not self.fleet.instances():
                return
        raise AssertionError(f"{self.ledger.left} inputs, machines: {self.fleet.instances()}")

    def kill(self, machine_id):
        """Let a machine be gone, without a word."""
        self.fleet.kill(machine_id)
        self.agents.pop(machine_id, None)

    def reclaim(self, machine_id):
        """Let a machine be taken away in two minutes."""
        self.agents[machine_id].ends = self.fleet.reclaim(machine_id)

    def serving(self):
        return sorted(self.agents)

    def _machines(self):
        now = self.clock.wall()
        there = {each.machine_id: each for each in self.fleet.instances()}
        for machine_id in [each for each in self.agents if each not in there]:
            del self.agents[machine_id]
        for each in self.fleet.booted():
            if each.machine_id not in self.agents:
                shape = self.classes[each.machine_class]
                self.agents[each.machine_id] = Agent(self, each.machine_id, shape)
        for agent in self.agents.values():
            agent.step(now)
        self.most_machines = max(self.most_machines, len(there))
        self.machine_seconds += len(there)

    def _check(self):
        for pool, limit in self.limits.items():
            count = sum(c.pool == pool for a in self.agents.values() for c in a.containers)
            if limit is not None and count > limit:
                self.wrong.append(f"at {self.now:.0f}s {pool} has {count} of {limit} containers")
        for each in self.fleet.instances():
            agent = self.agents.get(each.machine_id)
            retired = each.machine_id in self.fleet.retired
            if (
                retired
                and agent is not None
                and agent.containers
                and each.state == InstanceState.ENDING
            ):
                self.wrong.append(f"at {self.now:.0f}s {each.machine_id} is ended with work")
        for name, machine_class in self.classes.items():
            alive = [i for i in self.fleet.instances() if i.machine_class == name]
            if sum(i.state != InstanceState.ENDING for i in alive) > machine_class.max_machines:
                self.wrong.append(f"at {self.now:.0f}s there are {len(alive)} machines of {name}")
