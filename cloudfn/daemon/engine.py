"""The engine: puts ledger, agent, planner, apps, calls and output together, and lets them talk."""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cloudfn.agent.agent import Agent
from cloudfn.agent.memory import memory_guard
from cloudfn.agent.pool import Pool, PoolSpec
from cloudfn.agent.zygotes import Zygotes
from cloudfn.clock import Clock
from cloudfn.control.deploy.directory import Directory
from cloudfn.control.planner.loop import PlannerLoop
from cloudfn.control.schedules.agenda import Agenda
from cloudfn.daemon.apps import Apps
from cloudfn.daemon.calls import Calls
from cloudfn.daemon.dead import DeadLetters
from cloudfn.daemon.desk import CellDesk, worker_ids
from cloudfn.daemon.images import ImageDesk
from cloudfn.daemon.journal import Journal
from cloudfn.daemon.output import Output
from cloudfn.daemon.place import Place, agent_config, open_cells
from cloudfn.daemon.runtimes import Runtimes
from cloudfn.daemon.scaling import Scaling
from cloudfn.daemon.schedules import Scheduler
from cloudfn.daemon.session import Session
from cloudfn.daemon.stores import SharedState
from cloudfn.daemon.streams import Streams
from cloudfn.daemon.watches import Call, Watch
from cloudfn.daemon.web.doors import Door, Doors
from cloudfn.daemon.web.gateway import Gateway
from cloudfn.daemon.web.requests import parameters_in
from cloudfn.daemon.workspaces import Workspaces
from cloudfn.errors import NotFoundError
from cloudfn.providers.base import Provider
from cloudfn.providers.ledger import Claim, Entry
from cloudfn.settings import Settings
from cloudfn.wire.messages import BlobRef, LogSource, is_blob

if TYPE_CHECKING:
    from cloudfn.daemon.web.proxy import Proxy


class Engine:
    """The working parts of one environment on one machine. Single-threaded."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        settings: Settings,
        place: Place,
        provider: Provider,
        zygotes: Zygotes,
        clock: Clock,
    ) -> None:
        self.clock = clock
        self.settings = settings
        self.place = place
        self._loop = loop
        self.ledger = provider.ledger
        self.catalog = provider.catalog
        self.directory = Directory(self.catalog)
        self.blobs = provider.blobs
        self.logs = provider.logs
        self.journal = Journal(loop, self.ledger)
        self.app_names: dict[str, str] = {}
        self.output = Output(loop, self.logs, clock, self)
        self.stores = SharedState(loop, provider, settings, clock, place.key)
        folder = place.state_dir / "workspaces"
        self.workspaces = Workspaces(loop, self.stores.volumes, folder, clock)
        self.desk = CellDesk(
            loop,
            place.state_dir,
            place.runtime_folder,
            self.blobs,
            self.workspaces,
            worker_ids(),
        )
        self.cells = open_cells(loop, settings, place, self.desk, self._complain)
        config = agent_config(
            settings, place, zygotes, self.cells, self.desk, self.blobs, self._supplies
        )
        guard = memory_guard(place.marker)
        self.agent = Agent(loop, self.journal, self, clock, config, guard)
        scaling = Scaling(self.agent, self.ledger, self.output, clock, place.machine)
        self.planner = PlannerLoop(loop, scaling, clock)
        bundles = str(place.state_dir / "bundles")
        self.gateway = Gateway(place.state_dir, settings.web, self._proxy)
        self.doors = Doors(self.gateway.listen)
        self.calls = Calls(loop, self.journal, self.ledger, self, clock)
        self.dead = DeadLetters(self.journal, self.ledger, self.blobs, self, clock)
        self.streams = Streams(loop, provider.streams, self)
        self.schedules = Scheduler(
            loop,
            Agenda(provider.schedules),
            self,
            self.journal,
            self.ledger,
            self.calls,
            clock,
        )
        self.open_registry = provider.registry
        self.images = ImageDesk(
            loop, provider.images, self.stores.secrets.of_image, self._image_built
        )
        self.runtimes = Runtimes(self.images, place.runtime_folder, place.environ)
        self.apps = Apps(
            self.catalog,
            self.directory,
            self.runtimes,
            self.agent,
            clock,
            bundles,
            self.app_names,
            self.planner.poke,
            self._end_inputs,
            self.schedules,
            self.doors,
        )
        self._due: TimerHandle | None = None

    def _complain(self, pool: PoolSpec, reason: str) -> None:
        """A container of Docker cannot be started now; write it into the log of its app."""
        text = f"No container can be started now: {reason}"
        self.output.write(pool, "docker", None, LogSource.SYSTEM, text.encode())
        self.output.changed()

    def close(self) -> None:
        """Stop everything; what ran goes back to the ledger without blame."""
        self.schedules.stop()
        self.planner.stop()
        self.gateway.close()
        self.images.close()
        self.agent.hand_back()
        self.journal.close()
        self.agent.close()
        self.output.close()
        self.ledger.close()
        self.catalog.close()
        self.workspaces.close()
        self.desk.close()
        self.stores.close()
        self.blobs.close()

    # What the agent tells (AgentEvents)

    def recorded(self, ended: Sequence[tuple[Claim, Entry]]) -> None:
        """Inputs have outcomes: arguments are needed no more, but for those of dead letters."""
        for call_id, group in groupby(ended, _call_of):
            claims, entries = zip(*group, strict=True)
            _, _, statuses, payloads = zip(*entries, strict=True)
            self.calls.recorded(call_id, [claim.index for claim in claims], statuses, payloads)
        for claim, entry in ended:
            if is_blob(claim.payload) and not (claim.durable and entry.status.dead):
                self.delete_blob(BlobRef.decode(claim.payload))

    def adopt(self, claim: Claim, payload: bytes) -> bytes:
        """A container's result lies in a blob: make it the call's."""
        ref = self.blobs.adopt(BlobRef.decode(payload), claim.call_id, durable=claim.durable)
        return ref.encode()

    def yielded(self, claim: Claim, position: int, payload: bytes) -> int:
        """A generator yielded; return how many of its items are wanted no more."""
        return self.streams.yielded(claim, position, payload)

    def take_in(self, call_id: str, payload: bytes, *, durable: bool) -> bytes:
        """A Docker container calls something, with arguments in a blob: make it the call's."""
        return self.blobs.adopt(BlobRef.decode(payload), call_id, durable=durable).encode()

    def gave_up(self, pool: PoolSpec, reason: str, packed: bytes) -> None:
        """No container of a pool can start: nothing of it waits any more."""

    def discarded(self, payload: bytes) -> None:
        """A result came too late: its call has an outcome already, or is gone."""
        self.delete_blob(BlobRef.decode(payload))

    def delayed(self) -> None:
        """Inputs wait for a time, or may be too late after one: look when the first comes."""
        due = self.ledger.next_due(self.clock.wall())
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if due is not None:
            self._due = self._loop.call_later(max(0.0, due - self.clock.wall()), self._on_due)

    def _on_due(self) -> None:
        self._due = None
        self.ring_due()
        self.delayed()

    def ring_due(self) -> None:
        """End what is overdue; hand over what became due, or was left by anything that failed."""
        self.agent.end_overdue(self.journal.overdue(self.clock.wall()))
        for pool in self.agent.pools():
            if self.ledger.counts(pool.spec.pool).pending:
                self.inputs_arrived(pool.spec.pool)

    def ended(self, container_id: str) -> None:
        """A container is gone, and whatever results it had not delivered with it."""
        if self.desk.view(container_id) is None:
            self.blobs.delete_results(container_id)
        self.workspaces.ended(container_id)

    def changed(self) -> None:
        """Containers came, went or changed state."""
        self.planner.poke()
        self.output.changed()

    def print(
        self,
        pool: PoolSpec,
        container_id: str,
        claim: Claim | None,
        source: LogSource,
        data: bytes,
    ) -> None:
        """A container printed something."""
        self.output.write(pool, container_id, claim, source, data)

    # What calls need

    def pool_for(self, function_id: str) -> str:
        """Return the pool that new calls of a function go to."""
        return self.apps.pool_for(function_id)

    def full_name(self, function_id: str, name: str) -> str:
        """Return the name under which a function's call is kept, whatever its app's life.

        Raises:
            InvalidError: Its app has no name.
            NotFoundError: There is no such function.
        """
        return self.directory.full_name(function_id, name)

    def has_pool(self, pool: str) -> bool:
        """Whether a pool is there."""
        return self.agent.pool(pool) is not None

    def inputs_arrived(self, pool: str) -> None:
        """Inputs wait in a pool: hand over what fits, and let the planner see to the rest."""
        self.agent.kick(pool)
        if self.ledger.counts(pool).pending:
            self.planner.poke()

    def delivering(self) -> None:
        """Outcomes are about to go out: what their inputs printed goes first."""
        self.streams.flush()
        self.output.flush()
        self.output.changed()

    def when_quiet(self, app_id: str, patience: float, hook: Callable[[], object]) -> None:
        """Call `hook` when an app that was closed prints nothing more, or after some seconds."""

        def told() -> None:
            self.output.flush()
            hook()

        if patience <= 0:
            hook()
            return
        self.agent.departures.when_quiet(app_id, told)
        self._loop.call_later(patience, told)

    # What streams need of the rest (Readers)

    def find_call(self, call_id: str) -> Call | None:
        """Return a call under way."""
        return self.calls.find(call_id)

    def find_owner(self, session: Session, ref: int) -> Watch | None:
        """Return a client's watch of a call of its own."""
        return self.calls.owner(session, ref)

    def printed_before(self) -> None:
        """Items are about to go out: what was printed goes first."""
        self.output.flush()

    def taken(self, call_id: str, end: int) -> None:
        """A client has items 0 … end − 1 of a call."""
        self.agent.streams.taken(call_id, end)

    def waits(self, seq: int, change: int) -> None:
        """A running input began or ended to wait for a nested call."""
        if self.agent.waits(seq, change):
            self.planner.poke()

    def running(self, seq: int) -> tuple[str, int] | None:
        """Return (call id, index) of an input that a container holds."""
        claim = self.agent.running(seq)
        return None if claim is None else (claim.call_id, claim.index)

    def holds(self, container_id: str | None, seq: int) -> bool:
        """Whether a container is the one that holds an input."""
        container = self.agent.container(container_id or "")
        return container is not None and container.held.find(seq) is not None

    def stop_input(self, seq: int, fence: int, *, terminate: bool) -> None:
        """Stop an input that runs and whose outcome is recorded."""
        self.agent.cancel(seq, fence, terminate=terminate)

    def lives(self, container_id: str) -> bool:
        """Whether there is such a container."""
        return self.agent.container(container_id) is not None

    def is_detached(self, function_id: str) -> bool:
        """Whether a function's app goes on without its client."""
        return self.directory.is_detached(function_id)

    def delete_blob(self, ref: BlobRef) -> None:
        """Delete a payload that nobody needs, once the ledger says so for good."""
        self.journal.after_commit(lambda: self.blobs.delete(ref))

    def delete_blobs_of(self, call_id: str) -> None:
        """Delete all payloads of a call, once the ledger has forgotten it for good."""
        self.streams.forget(call_id)
        self.agent.streams.forget(call_id)
        self.journal.after_commit(lambda: self.blobs.delete_call(call_id))

    def discard_blobs_of(self, call_id: str) -> None:
        """Delete all payloads of a call that the ledger never had: at once, as there is no room."""
        self.blobs.delete_call(call_id)

    def _end_inputs(self, function_id: str) -> None:
        """Cancel everything unfinished of a function whose app is stopped."""
        for record in self.ledger.open_calls(function_id):
            if record.finished < record.known or not record.sealed:
                self.calls.cancel(record.spec.call_id, terminate=False)

    def _image_built(self) -> None:
        """Pools whose image was gone have one again, or a newer one."""
        self.apps.renew_runtimes()

    # Web functions

    def _proxy(self) -> Proxy:
        from cloudfn.daemon.web.proxy import Proxy

        return Proxy(
            self.doors,
            self.agent.visits,
            self._pool_behind,
            self._tell_of_request,
            self.clock,
            self.settings.web,
        )

    def _pool_behind(self, door: Door, query: bytes) -> Pool:
        """Return the pool that a request goes to: of a class, by the parameters in its query."""
        if not door.parameters:
            return self.apps.pool_of(door.function_id)
        values = parameters_in(query, door.parameters)
        check = self.place.machine.check_gpus
        return self.apps.pool_of(self.apps.instance(door.function_id, values, check))

    def _tell_of_request(self, pool: Pool, container_id: str, text: str) -> None:
        self.output.write(pool.spec, container_id, None, LogSource.SYSTEM, text.encode())
        self.output.changed()

    def urls(self, app_id: str) -> dict[str, str]:
        """Return the addresses of an app's web functions, by their names."""
        return {door.name: self.gateway.url(door) for door in self.doors.of_app(app_id)}

    # What schedules need (Surroundings)

    def update_settings(self, function_id: str, changes: dict[str, int | None], by: str) -> None:
        """Merge changes onto a function's settings, whole or not at all."""
        self.apps.update_settings(function_id, changes, by)

    def note(self, function_id: str, text: str) -> None:
        """Write a line of the engine's into the log of a function's app."""
        try:
            pool = self.agent.pool(self.pool_for(function_id))
        except NotFoundError:
            return  # its app is gone
        if pool is not None:
            self.output.write(pool.spec, "schedules", None, LogSource.SYSTEM, text.encode())

    # What watchers of an app see (ProgressSource)

    def progress(self, app_id: str) -> dict[str, Any]:
        """Return how an app is doing."""
        totals = dict.fromkeys(("containers", "peak", "pending", "running", "done", "failed"), 0)
        for pool in self.agent.pools():
            if pool.spec.app_id != app_id:
                continue
            counts = self.ledger.counts(pool.spec.pool)
            totals["containers"] += sum(c.ready for c in pool.containers.values())
            totals["peak"] += pool.peak
            visits = sum(len(c.visits) for c in pool.containers.values())
            totals["pending"] += counts.pending + counts.delayed + len(pool.visitors)
            totals["running"] += counts.running + visits
            totals["done"] += pool.done
            totals["failed"] += pool.failed
        return {"event": "containers", **totals}

    def _supplies(self, pool: PoolSpec, container_id: str) -> dict[str, Any]:
        """Return what a container gets beside its orders; raises an Error without it."""
        secrets = self.stores.secrets.variables(pool.function.secrets)
        supplies: dict[str, Any] = {"secrets": secrets} if secrets else {}
        if pool.function.volumes and self.desk.view(container_id) is None:
            supplies["mounts"] = self.workspaces.prepare(container_id, pool.function.volumes)()
        return supplies


def _call_of(ended: tuple[Claim, Entry]) -> str:
    return ended[0].call_id
