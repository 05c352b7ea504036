"""A cloud in memory, and machines of it that run real containers in threads of tests."""

import asyncio
import shutil
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from cloudfn.agent.zygotes import MARKER, Zygotes
from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import ConnectionError  # noqa: A004 - ours
from cloudfn.machine.__main__ import Root, put_together, return_to_queue
from cloudfn.machine.config import MachineConfig, Timing
from cloudfn.machine.host import Host
from cloudfn.machine.metadata import Identity, Notice
from cloudfn.model import ids
from cloudfn.model.call import CallKind, Status
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.base import Cloud, Place
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.ledger import CallSpec
from cloudfn.providers.machines import Orders
from cloudfn.providers.shared_ledger import SharedLedger
from cloudfn.sdk.bundle import BundleFile, digest_of
from cloudfn.settings import container_environ, load
from cloudfn.testing.cloud import MemoryCloud
from cloudfn.wire import codec
from cloudfn.wire.messages import INLINE_LIMIT, BlobRef, is_blob

#: seconds after which a wait is a failure; generous, since the machine may be busy
PATIENCE = 40.0
CLOCK = SystemClock()
CTX = codec.PickleContext("program", ())
TIMING = Timing(beat=0.2, lease=30.0, orders=0.05, look=0.05, refresh=0.5, drain=20.0, led=0.5)


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Wait for something; return what the condition came to."""
    late = CLOCK.monotonic() + PATIENCE
    while not (found := condition()):
        assert CLOCK.monotonic() < late, what or "it did not happen in time"
        CLOCK.sleep(0.01)
    return found


def function(name: str, **options: Any) -> FunctionSpec:
    """Return a function of a program."""
    return FunctionSpec(name, "program", name, **options)


class Flaky:
    """A ledger that is out of reach while its holder is among `outages`."""

    def __init__(self, ledger: SharedLedger, holder: str, outages: set[str]) -> None:
        self._ledger = ledger
        self._holder = holder
        self._outages = outages

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ledger, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            if self._holder in self._outages:
                raise ConnectionError("The ledger is out of reach.")
            return method(*args, **kwargs)

        return ask


class Fleet:
    """As much of the `Fleet` port as machines use."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        #: whether it waits for machines that it takes away
        self.waits = False

    def joined(self, machine_id: str) -> None:
        self.told.append(("joined", machine_id))

    def hold(self, machine_id: str) -> bool:
        self.told.append(("hold", machine_id))
        return self.waits

    def drained(self, machine_id: str) -> None:
        self.told.append(("drained", machine_id))


class World:
    """One environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.memory = MemoryCloud(root / "cloud")
        #: holders for whom the ledger is out of reach
        self.outages: set[str] = set()
        self.fleet = Fleet()
        self.epoch = 1
        self.running: list[Machine] = []
        self.client = self.cloud("client")
        self.ledger, self.machines = self.client.ledger, self.client.machines
        self.catalog, self.doorbells = self.client.catalog, self.client.doorbells
        self.leadership, self.streams = self.client.leadership, self.client.streams
        self.logs, self.depot = self.client.logs, self.memory.depot
        self.reply = self.client.wakeups.open()

    def cloud(self, holder: str) -> Cloud:
        """Return the cloud as somebody sees it."""
        cloud = self.memory.open(holder)
        ledger = cast(SharedLedger, Flaky(cloud.ledger, holder, self.outages))
        return replace(cloud, ledger=ledger, fleet=cast(Any, self.fleet))

    # Programs

    def deploy(self, source: str, *functions: FunctionSpec) -> list[str]:
        """Deploy an app; return the pools of its functions."""
        folder = self.root / ids.mint("src")
        folder.mkdir(parents=True)
        program = textwrap.dedent(source).encode()
        (folder / "program.py").write_bytes(program)
        file = BundleFile("program.py", folder / "program.py", executable=False)
        digest = digest_of([file], {file.path: (len(program), sha256(program).digest())})
        self.depot.store_bundle(digest, folder)
        spec = RevisionSpec(digest, "program", functions, sys.executable, tuple(sys.path))
        app = self.catalog.create_app("app", "deployed", spec, CLOCK.wall())
        known = {each.name: each.function_id for each in self.catalog.functions(app.app_id)}
        for function_id in known.values():
            self.doorbells.open(function_id)
        return [ids.pool_name(known[each.name], app.revision) for each in functions]

    def order(self, machine_id: str, quotas: dict[str, int], **more: Any) -> None:
        """Give a machine orders, as a new leader would."""
        self.epoch += 1
        self.machines.order({machine_id: Orders(self.epoch, quotas, **more)})

    # Calls

    def map(self, pool: str, items: Sequence[Any], kind: CallKind = CallKind.MAP) -> str:
        """Submit a call with one input for each item; return its id."""
        call_id = ids.mint("fc")
        spec = CallSpec(
            call_id,
            pool.partition("@")[0],
            pool,
            kind,
            CLOCK.wall(),
            durable=kind.durable,
            reply=self.reply,
        )
        payloads = [self._payload(call_id, item) for item in items]
        self.ledger.submit(spec, 0, payloads, sealed=True, now=CLOCK.wall())
        self.doorbells.ring(self.ledger.rings())
        return call_id

    def _payload(self, call_id: str, item: Any) -> bytes:
        data = codec.dumps(((item,), {}), CTX)
        if len(data) < INLINE_LIMIT:
            return data
        ref = BlobRef(f"{call_id}/{ids.mint('in')}", len(data), durable=False)
        file = self.root / ids.mint("payload")
        file.write_bytes(data)
        self.depot.store(ref, file)
        return ref.encode()

    def statuses(self, call_id: str) -> list[Status]:
        """Return how its inputs are."""
        return cast(list[Status], self.ledger.statuses(call_id))

    def results(self, call_id: str) -> list[Any]:
        """Wait for all results of a call."""
        statuses = until(
            lambda: (
                (found := self.statuses(call_id)) and all(each.terminal for each in found) and found
            ),
            "not all inputs have ended",
        )
        outcomes = self.ledger.outcomes(call_id)
        assert set(statuses) == {Status.RETURNED}, [each.payload for each in outcomes]
        return [self.load(each.payload) for each in outcomes]

    def load(self, payload: bytes) -> Any:
        """Return what a payload stands for."""
        if is_blob(payload):
            target = self.root / ids.mint("fetched")
            self.depot.fetch(BlobRef.decode(payload), target)
            payload = target.read_bytes()
        return codec.loads(payload)

    # Machines

    def machine(self, machine_id: str = "i-1", timing: Timing = TIMING) -> "Machine":
        """Start a machine, with an order row that allows nothing yet."""
        machine = Machine(self, machine_id, timing)
        self.running.append(machine)
        until(lambda: machine_id in [row.report.machine_id for row in self.machines.list()])
        return machine

    def close(self) -> None:
        """End all machines."""
        for machine in self.running:
            machine.leave()


class Machine:
    """One machine, in a thread.

    Args:
        world: Where it is.
        machine_id: Its id.
        timing: How often it does what.
        clock: The time.
        state: What an earlier process of the same machine left; None: it boots.
        machine_class: What it is.
    """

    def __init__(
        self,
        world: World,
        machine_id: str,
        timing: Timing,
        clock: Clock = CLOCK,
        state: Path | None = None,
        machine_class: str = "small",
    ) -> None:
        self._world = world
        self.machine_id = machine_id
        # Not under pytest's tmp_path: the path of a Unix socket has at most 107 bytes.
        self.state = state or Path(tempfile.mkdtemp(prefix="cfm-"))
        config = MachineConfig(
            "main",
            machine_class,
            state_dir=self.state,
            heard=self.state / "heard",
            machine_id=machine_id,
            runtimes=("process",),
            timing=timing,
        )
        cloud = world.cloud(machine_id)
        place = Place(
            load({}, environment="main"), machine_id, self.state / "cache", on_machine=True
        )
        self._root = Root(config, Identity(machine_id), cloud, clock, place)
        self.host: Host | None = None
        self._dead = False
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        assert self._failure is None, self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - for the thread that waits
            self._failure = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        marker = f"test-{self.state.name}"
        environ = container_environ()
        zygotes = Zygotes(self._loop, {**environ, MARKER: marker}, 1024, self.state / "zygote.log")
        try:
            self.host = put_together(self._loop, self._root, marker, environ, zygotes)
            await self._loop.run_in_executor(None, return_to_queue, self._root)
            self.host.start()
            self._ready.set()
            await self.host.done
            if self._dead:
                return
            await self._loop.run_in_executor(None, self.host.heart.stop)
            self.host.close()
        finally:
            zygotes.close()

    def on_loop(self, work: Callable[[], Any]) -> Any:
        """Have something done on its loop; return what came of it."""

        async def do() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE)

    def containers(self) -> int:
        """Return how many containers there are."""
        assert self.host is not None
        return len(self.on_loop(self.host._engine.agent.containers))

    @property
    def gone(self) -> bool:
        """Whether it has died or left."""
        return self._dead or not self._thread.is_alive()

    def tell(self, notice: Notice) -> None:
        """Tell it what the metadata service says."""
        assert self.host is not None
        self._loop.call_soon_threadsafe(self.host.noticed, notice)

    def die(self) -> None:
        """Let the machine vanish: no word to anybody, and all its containers with it."""
        self.crash()
        self._clear_up()

    def crash(self) -> None:
        """Let the process vanish, and leave its state for the next one."""

        def vanish() -> None:
            assert self.host is not None
            self._world.outages.add(self.machine_id)
            self.host.heart._over = True
            self.host._engine.planner.stop()  # or it starts containers while the loop ends
            self.host._engine.outbox.close()
            self.host._engine._listeners.close()
            self.host._engine.agent.close()
            self.host._sockets.close()
            if not self.host.done.done():
                self.host.done.set_result(None)

        self._dead = True
        with suppress(RuntimeError):  # it has left by itself
            self._loop.call_soon_threadsafe(vanish)
        self._thread.join(PATIENCE)

    def _clear_up(self) -> None:
        assert self.host is not None
        for folder in (self.state, self.host._engine.blobs.fast):
            shutil.rmtree(folder, ignore_errors=True)

    def leave(self) -> None:
        """Tell it to end, and wait. Idempotent."""
        if self._dead:
            return
        if self._thread.is_alive():
            assert self.host is not None
            self._loop.call_soon_threadsafe(self.host.leave)
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive(), "the machine does not leave"
        self._clear_up()
        if self._failure is not None:
            raise self._failure


def quick(**changes: Any) -> Timing:
    """Return the usual times of tests, with changes."""
    return replace(TIMING, **changes)
