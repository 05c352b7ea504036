"""Docker containers that do not start, or end: what their templates are said to have come to."""

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloudfn.agent.docker.cell import Furnishing
from cloudfn.agent.docker.cells import Cells, Site
from cloudfn.agent.docker.engine import State
from cloudfn.agent.docker.networks import Networks
from cloudfn.agent.docker.order import Bind, DockerOrder
from cloudfn.agent.machine import Machine
from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.zygotes import Program, Runtime, Template
from cloudfn.errors import (
    ConnectionError,  # noqa: A004 - ours
    NotFoundError,
    PermissionDeniedError,
    ServiceError,
)
from cloudfn.model.call import ContainerLost, Crashed
from cloudfn.model.function import FunctionSpec, Resources

PATIENCE = 20.0
RUNS = State(running=True, over_memory=False, exit_code=0, error="")
GONE = ConnectionError("No Docker engine answers at unix:///x.")


@dataclass
class FakeEngine:
    """An engine that does what it is told to."""

    problem: Exception | None = None
    now: State = RUNS
    text: str = ""
    known: dict[str, str] = field(default_factory=dict)
    helped: list[list[str]] = field(default_factory=list)
    #: create waits for it
    gate: threading.Event | None = None
    networks: set[str] = field(default_factory=set)
    orders: list[DockerOrder] = field(default_factory=list)

    def create(self, order: DockerOrder) -> str:
        self.orders.append(order)
        if self.gate is not None:
            assert self.gate.wait(PATIENCE)
        if self.problem is not None:
            raise self.problem
        self.known[f"docker-{order.container_id}"] = order.instance
        return f"docker-{order.container_id}"

    def start(self, docker_id: str) -> None:
        assert docker_id in self.known

    def state(self, docker_id: str) -> State:
        if docker_id not in self.known:
            raise NotFoundError("no such container")
        return self.now

    def output(self, docker_id: str) -> str:
        return self.text

    def remove(self, docker_id: str) -> None:
        self.known.pop(docker_id, None)

    def containers(self, marker: str) -> list[tuple[str, str]]:
        return list(self.known.items())

    def ensure_network(self, name: str, bridge: str, marker: str) -> None:
        self.networks.add(name)

    def remove_network(self, name: str) -> None:
        self.networks.discard(name)

    def run_helper(self, image: str, command: list[str]) -> None:
        if self.problem is not None:
            raise self.problem
        self.helped.append(command)


class NoPayloads:
    def show(self, payload: bytes) -> None: ...

    def hide(self, payload: bytes) -> None: ...

    def owns(self, payload: bytes) -> bool:
        return True


@dataclass
class World:
    """Cells with fakes around them; it furnishes, and owns the templates, too."""

    folder: Path
    engine: FakeEngine
    cells: Cells = field(init=False)
    closed: list[Template] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def furnish(self, spec: PoolSpec, container_id: str) -> Furnishing:
        path = self.folder / container_id
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        return Furnishing(listener, path, "1:1", NoPayloads(), lambda: (Bind("/a", "/b"),))

    def clear(self, container_id: str) -> None:
        self.cleared.append(container_id)

    def on_template_event(self, template: Template, event: dict[str, Any]) -> None: ...

    def on_template_output(self, template: Template, data: bytes) -> None: ...

    def on_template_closed(self, template: Template) -> None:
        self.closed.append(template)

    async def until(self, look: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            # What is looked at tells nobody when it changes.
            while not look():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def closing(self, container_id: str = "ta-1") -> Template:
        self.cells.start(SPEC, container_id, (), self)
        before = len(self.closed)
        await self.until(lambda: len(self.closed) > before)
        return self.closed[-1]


FUNCTION = FunctionSpec("f", "m", "f", resources=Resources(memory=128, memory_limit=256))
PROGRAM = Program(Runtime("python3", (), "sha256:1"), "/bundle", "m", ())
SPEC = PoolSpec("fu-1@1", "ap-1", "fu-1", 1, FUNCTION, PROGRAM)


def tried(folder: Path, engine: FakeEngine, scenario: Callable[[World], Any]) -> World:
    async def run() -> World:
        world = World(folder, engine)
        world.cells = Cells(
            asyncio.get_running_loop(),
            engine,
            world,
            Site("main", "abcdef", "da-new", Machine(2.0, 1_000)),
            Networks(engine, "abcdef", allow_metadata=True),
            lambda _spec, text: world.complaints.append(text),
        )
        try:
            await scenario(world)
        finally:
            world.cells.close()
        return world

    return asyncio.run(run())


def test_an_engine_that_is_away_is_nobodys_fault_and_told_once(tmp_path):
    endings = []

    async def scenario(world: World) -> None:
        endings.extend([(await world.closing("ta-1")).ending, (await world.closing("ta-2")).ending])
        await world.until(lambda: len(world.cleared) == 2)

    world = tried(tmp_path, FakeEngine(GONE), scenario)

    assert endings == [ContainerLost(GONE.message, counted=False)] * 2
    assert len(world.complaints) == 1
    assert GONE.message in world.complaints[0]


def test_what_the_engine_refuses_is_a_failed_start_that_says_why(tmp_path):
    endings = []

    async def scenario(world: World) -> None:
        endings.append((await world.closing()).ending)

    world = tried(tmp_path, FakeEngine(ServiceError("Docker says: no such image")), scenario)

    assert isinstance(endings[0], Crashed)
    assert "no such image" in endings[0].reason
    assert world.complaints == []


def test_a_container_that_ends_before_it_connects_says_what_it_printed(tmp_path):
    ended = State(running=False, over_memory=False, exit_code=2, error="")
    endings = []

    async def scenario(world: World) -> None:
        endings.append((await world.closing()).ending)
        await world.until(lambda: world.cleared)

    engine = FakeEngine(now=ended, text="usage\nunknown option -P")
    tried(tmp_path, engine, scenario)

    assert "unknown option -P" in endings[0].reason
    assert "Python 3.11" in endings[0].reason
    assert engine.known == {}


def test_a_container_gets_the_devices_that_it_was_given(tmp_path):
    engine = FakeEngine()

    async def scenario(world: World) -> None:
        world.cells.start(SPEC, "ta-1", ("GPU-b", "GPU-a"), world)
        await world.until(lambda: engine.orders)

    tried(tmp_path, engine, scenario)

    assert engine.orders[0].gpus == ("GPU-b", "GPU-a")


def test_one_that_is_given_up_while_it_is_created_is_removed(tmp_path):
    engine = FakeEngine(gate=threading.Event())

    async def scenario(world: World) -> None:
        template = world.cells.start(SPEC, "ta-1", (), world)
        template.close()
        assert world.cleared == []
        assert engine.gate is not None
        engine.gate.set()
        await world.until(lambda: world.cleared == ["ta-1"])

    tried(tmp_path, engine, scenario)

    assert engine.known == {}


@pytest.mark.parametrize(
    ("after", "kind", "text"),
    [
        (State(False, True, 137, ""), Crashed, "its memory limit of 256 MiB"),
        (State(False, False, 0, ""), ContainerLost, "ended from outside"),
        (None, ContainerLost, "removed from outside"),
    ],
)
def test_how_a_connected_one_ended_is_asked_of_the_engine(tmp_path, after, kind, text):
    engine, endings = FakeEngine(), []

    async def scenario(world: World) -> None:
        world.cells.start(SPEC, "ta-1", (), world)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as zygote:
            zygote.connect(str(tmp_path / "ta-1"))
            await world.until(lambda: not (tmp_path / "ta-1").exists())
            await world.until(lambda: engine.known)
            if after is None:
                engine.known.clear()
            else:
                engine.now = after
        await world.until(lambda: world.closed)
        endings.append(world.closed[0].ending)

    tried(tmp_path, engine, scenario)

    assert isinstance(endings[0], kind)
    assert text in endings[0].reason


def test_leftovers_of_other_daemons_go_and_its_own_stay(tmp_path):
    engine = FakeEngine(known={"docker-old": "da-old", "docker-unknown": "None"})

    async def scenario(world: World) -> None:
        world.cells.start(SPEC, "ta-1", (), world)
        await world.until(lambda: "docker-ta-1" in engine.known)
        world.cells.end_leftovers()
        await world.until(lambda: set(engine.known) == {"docker-ta-1"})

    tried(tmp_path, engine, scenario)

    assert engine.known == {}


def test_a_rule_that_cannot_be_set_keeps_containers_from_starting(tmp_path):
    engine = FakeEngine(problem=ServiceError("no rights"))
    networks = Networks(engine, "abcdef", allow_metadata=False)

    with pytest.raises(PermissionDeniedError, match="metadata") as told:
        networks.ensure(networks.name, "sha256:1")

    assert "CLOUDFN_DOCKER_ALLOW_METADATA" in (told.value.hint or "")


def test_where_the_bridge_is_elsewhere_a_helper_sets_the_rule_once():
    engine = FakeEngine()
    networks = Networks(engine, "abcdef", allow_metadata=False)

    for _ in range(2):
        networks.ensure(networks.name, "sha256:1")
    networks.ensure("none", "sha256:1")

    (command,) = engine.helped
    assert command[-2:] == ["refuse", "cfn-abcdef"]
    compile(command[command.index("-c") + 1], "script", "exec")
