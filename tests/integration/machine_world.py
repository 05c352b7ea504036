"""A cloud in memory, and machines of it that run real containers in threads of tests."""

import asyncio
import shutil
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from cloudfn.agent.zygotes import MARKER, Zygotes
from cloudfn.clock import SystemClock
from cloudfn.errors import ConnectionError  # noqa: A004 - ours
from cloudfn.machine.__main__ import Root, put_together
from cloudfn.machine.config import MachineConfig, Timing
from cloudfn.machine.host import Host
from cloudfn.machine.metadata import Identity, Notice
from cloudfn.model import ids
from cloudfn.model.call import CallKind, ContainerLost, Status, settle
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.base import Cloud, Place
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import Admission, CallSpec, Claim, Entry
from cloudfn.providers.machines import Orders
from cloudfn.providers.presence import ClientRow
from cloudfn.providers.shared_ledger import Held, Repairs
from cloudfn.sdk.bundle import BundleFile, digest_of
from cloudfn.settings import container_environ, load
from cloudfn.testing.memory_catalog import MemoryCatalog
from cloudfn.testing.memory_depot import MemoryDepot
from cloudfn.testing.memory_dicts import MemoryDicts
from cloudfn.testing.memory_doorbells import MemoryDoorbells
from cloudfn.testing.memory_images import MemoryImages
from cloudfn.testing.memory_leadership import MemoryLeadership
from cloudfn.testing.memory_ledger import MemoryLedger
from cloudfn.testing.memory_machines import MemoryMachines
from cloudfn.testing.memory_objects import MemoryObjects
from cloudfn.testing.memory_queues import MemoryQueues
from cloudfn.testing.memory_secrets import MemorySecrets
from cloudfn.testing.memory_streams import MemoryStreams
from cloudfn.testing.memory_volumes import MemoryVolumes
from cloudfn.testing.memory_wakeups import MemoryWakeups, Post
from cloudfn.testing.provider import MemoryLogs
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


class Store:
    """What all ledgers of an environment share."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.holders: dict[int, tuple[Claim, str]] = {}
        self.lock = threading.RLock()
        #: ledgers that are out of reach, by holder
        self.outages: set[str] = set()


class SharedLedger:
    """The `SharedLedger` port of one holder, over a ledger in memory."""

    def __init__(self, store: Store, holder: str) -> None:
        self._store = store
        self._holder = holder
        self._rings: list[Ring] = []

    def __getattr__(self, name: str) -> Any:
        return partial(self._ask, getattr(self._store.ledger, name))

    def _ask(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._store.lock:
            if self._holder in self._store.outages:
                raise ConnectionError("The ledger is out of reach.")
            return method(*args, **kwargs)

    def submit(self, call: CallSpec, *args: Any, **kwargs: Any) -> Admission:
        admission = self._ask(self._store.ledger.submit, call, *args, **kwargs)
        self._rings.append(Ring(call.function_id, call.pool, "page"))
        return cast(Admission, admission)

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        with self._store.lock:
            claims: list[Claim] = self._ask(self._store.ledger.claim, pool, limit, now)
            self._store.holders |= {each.seq: (each, self._holder) for each in claims}
            return claims

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        return self._free([seq for seq, _ in claims], self._store.ledger.give_back, claims)

    def retry(self, seq: int, *args: Any, **kwargs: Any) -> bool:
        return self._free([seq], self._store.ledger.retry, seq, *args, **kwargs)

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        with self._store.lock:
            return self._ask(self._store.ledger.record, entries)

    def _free(self, seqs: list[int], method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._store.lock:
            answer = self._ask(method, *args, **kwargs)
            for seq in seqs:
                claim, _ = self._store.holders.get(seq, (None, ""))
                if claim is not None:
                    self._rings.append(Ring(claim.pool.partition("@")[0], claim.pool, "page"))
            return answer

    def rings(self) -> list[Ring]:
        rings, self._rings = self._rings, []
        return rings

    def hear(self, ring: Ring) -> None: ...

    def held(self, call_id: str) -> list[Held]:
        with self._store.lock:
            return [
                Held(claim.seq, claim.fence, call_id, claim.index, holder)
                for claim, holder in self._store.holders.values()
                if claim.call_id == call_id
            ]

    def repair(self, alive: Callable[[str], bool], now: float) -> Repairs:
        returned = 0
        rings = []
        with self._store.lock:
            for claim, holder in list(self._store.holders.values()):
                if alive(holder):
                    continue
                del self._store.holders[claim.seq]
                verdict = settle(claim.counters, ContainerLost("its machine is gone"), None)
                if self._store.ledger.retry(claim.seq, claim.fence, verdict.counters, 0.0):
                    returned += 1
                    rings.append(Ring(claim.pool.partition("@")[0], claim.pool, "page"))
        return Repairs(returned, 0, tuple(rings))

    def reply_to(self, call_id: str) -> str:
        record = self._ask(self._store.ledger.call, call_id)
        return record.spec.reply if record else ""


class Presence:
    """The `Presence` port as a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[str, ClientRow] = {}

    def beat(self, row: ClientRow) -> None:
        self.rows[row.client_id] = row

    def list(self) -> list[ClientRow]:
        return list(self.rows.values())

    def remove(self, client_id: str, lease_until: float | None = None) -> bool:
        return self.rows.pop(client_id, None) is not None


class Fleet:
    """As much of the `Fleet` port as machines use."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def joined(self, machine_id: str) -> None:
        self.told.append(("joined", machine_id))

    def drained(self, machine_id: str) -> None:
        self.told.append(("drained", machine_id))


@dataclass
class World:
    """One environment."""

    root: Path
    store: Store = field(default_factory=Store)
    catalog: MemoryCatalog = field(default_factory=MemoryCatalog)
    doorbells: MemoryDoorbells = field(default_factory=MemoryDoorbells)
    machines: MemoryMachines = field(default_factory=MemoryMachines)
    leadership: MemoryLeadership = field(default_factory=MemoryLeadership)
    post: Post = field(default_factory=Post)
    logs: MemoryLogs = field(default_factory=MemoryLogs)
    streams: MemoryStreams = field(default_factory=MemoryStreams)
    secrets: MemorySecrets = field(default_factory=MemorySecrets)
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    depot: MemoryDepot = field(default_factory=MemoryDepot)
    presence: Presence = field(default_factory=Presence)
    dicts: MemoryDicts = field(default_factory=lambda: MemoryDicts(1_000.0))
    queues: MemoryQueues = field(default_factory=lambda: MemoryQueues(1_000, 100))
    fleet: Fleet = field(default_factory=Fleet)
    epoch: int = 1
    running: list["Machine"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.volumes = MemoryVolumes(self.root / "volumes")
        self.client = self.cloud("client")
        self.ledger = self.client.ledger
        self.reply = self.client.wakeups.open()

    def cloud(self, holder: str) -> Cloud:
        """Return the cloud as somebody sees it."""
        nothing = cast(Any, None)
        return Cloud(
            name="memory",
            ledger=SharedLedger(self.store, holder),
            doorbells=self.doorbells,
            wakeups=MemoryWakeups(self.post),
            depot=self.depot,
            machines=self.machines,
            presence=self.presence,
            fleet=cast(Any, self.fleet),
            leadership=self.leadership,
            catalog=self.catalog,
            logs=self.logs,
            schedules=nothing,
            objects=self.objects,
            dicts=self.dicts,
            queues=self.queues,
            streams=self.streams,
            secrets=self.secrets,
            volumes=self.volumes,
            images=MemoryImages(),
            reach=None,
            key=lambda: bytes(32),
            close=lambda: None,
        )

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
    """One machine, in a thread."""

    def __init__(self, world: World, machine_id: str, timing: Timing) -> None:
        self._world = world
        self.machine_id = machine_id
        # Not under pytest's tmp_path: the path of a Unix socket has at most 107 bytes.
        self.state = Path(tempfile.mkdtemp(prefix="cfm-"))
        config = MachineConfig(
            "main",
            "small",
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
        self._root = Root(config, Identity(machine_id), cloud, CLOCK, place)
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
        """Let the process vanish: no word to anybody, and all its containers with it."""

        def vanish() -> None:
            assert self.host is not None
            self._world.store.outages.add(self.machine_id)
            self.host.heart._over = True
            self.host._engine.outbox.close()
            self.host._engine._listeners.close()
            self.host._engine.agent.close()
            self.host._sockets.close()
            self.host.done.set_result(None)

        self._dead = True
        self._loop.call_soon_threadsafe(vanish)
        self._thread.join(PATIENCE)

    def leave(self) -> None:
        """Tell it to end, and wait. Idempotent."""
        if self._dead:
            return
        if self._thread.is_alive():
            assert self.host is not None
            self._loop.call_soon_threadsafe(self.host.leave)
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive(), "the machine does not leave"
        shutil.rmtree(self.state, ignore_errors=True)
        if self._failure is not None:
            raise self._failure


def quick(**changes: Any) -> Timing:
    """Return the usual times of tests, with changes."""
    return replace(TIMING, **changes)
