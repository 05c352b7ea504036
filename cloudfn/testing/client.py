"""The engine of an offline run as a `Client`: what the SDK asks is answered in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from cloudfn import errors
from cloudfn.control.stores.later import Later
from cloudfn.model import ids
from cloudfn.model.call import Status
from cloudfn.model.image import ImageSpec
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.ledger import CallRecord
from cloudfn.sdk.client import FAILED, RESUMED, Mailbox, Stream, Welcome
from cloudfn.sdk.interpreter import python_version
from cloudfn.sdk.twins import Steps
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.engine import CONTAINER, OfflineEngine, Went
from cloudfn.testing.provider import MemoryProvider
from cloudfn.testing.stores import OfflineStores
from cloudfn.wire.messages import Submit
from cloudfn.wire.version import VERSION

_BUILT = {"image": {"python": python_version(), "size": 0}}
#: seconds of real time between looks at what another thread does
_LOOK = 1.0


class OfflineClient:
    """The `Client` port without daemon and containers.

    Args:
        engine: Runs the inputs.
        provider: Where everything is kept.
        stores: What programs share.
        map_window: Inputs of a map that may be out.
    """

    def __init__(
        self,
        engine: OfflineEngine,
        provider: MemoryProvider,
        stores: OfflineStores,
        map_window: int,
    ) -> None:
        self._engine = engine
        self._stores = stores
        self._calls = engine.calls
        self._pools = engine.pools
        self._ledger = provider.ledger
        fast, durable, bundles = (
            str(provider.folder / name) for name in ("fast", "durable", "bundles")
        )
        self._welcome = Welcome(VERSION, fast, durable, bundles, map_window)
        self._refs = count(1)

    @property
    def clock(self) -> FakeClock:
        """See `Client`."""
        return self._engine.clock

    # ------------------------------------------------------------------------------- the port

    def ready(self) -> Steps[Welcome]:
        """See `Client`."""
        yield from ()
        return self._welcome

    def ask(self, op: str, **fields: Any) -> Steps[dict[str, Any]]:
        """See `Client`."""
        yield from ()
        operation = getattr(self, f"_op_{op}", None) or self._stores.operation(op)
        if operation is None:
            raise errors.UnimplementedError(f"Offline runs know no operation {op!r}.")
        with self._engine.changed:
            told: dict[str, Any] | Later = operation(fields)
            self._engine.changed.notify_all()
        self._engine.close_generators()
        if isinstance(told, Later):
            return (yield from self._awaited(told))
        return told

    def _awaited(self, later: Later) -> Steps[dict[str, Any]]:
        """Run what is wanted, and let time pass, until there is an answer."""
        box, broker = Mailbox(), self._stores.broker
        later.then(lambda fields: box.put(RESUMED, fields))
        while not box.messages:
            moment = broker.next_moment()
            yield Arrival(self, box, None if moment is None else moment - self.clock.wall())
            with self._engine.changed:
                broker.pass_time(self.clock.wall())
        answer: dict[str, Any] = box.messages.popleft()[1]
        return answer

    def open(self, stream: Stream) -> int:
        """See `Client`."""
        return next(self._refs)

    def submit(self, stream: Stream, body: bytes) -> None:
        """See `Client`."""
        stream.opened = True
        with self._engine.changed:
            try:
                self._calls.submit(stream.box, Submit.decode(body))
            except Exception as error:  # noqa: BLE001 - a scripted failure is any exception
                stream.box.put(FAILED, error)

    def attach(self, stream: Stream, ref: int, op: str, **fields: Any) -> None:
        """See `Client`."""
        assert op == "call_attach"
        stream.opened = True
        with self._engine.changed:
            try:
                self._calls.attach(stream.box, ref, fields["call"], fields["start"], fields["end"])
            except errors.Error as error:
                told = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
                stream.box.put(RESUMED, {"error": told})

    def release(self, ref: int, *, tell: bool) -> None:
        """See `Client`."""
        with self._engine.changed:
            self._engine.output.unlisten(ref)
            self._calls.release(ref, tell=tell)
        self._engine.close_generators()

    def delivered(self, ref: int, indices: Sequence[int], *, now: bool = False) -> None:
        """See `Client`."""
        with self._engine.changed:
            self._calls.delivered(ref, indices)

    def taken(self, ref: int, end: int) -> None:
        """See `Client`."""
        with self._engine.changed:
            self._calls.taken(ref, end)

    def arrival(self, box: Mailbox, timeout: float | None = None) -> Arrival:
        """See `Client`."""
        return Arrival(self, box, timeout)

    def poll(self) -> None:
        """See `Client`; nothing happens unless somebody waits for it."""

    def listen(
        self, op: str, fields: dict[str, Any], sink: Callable[[dict[str, Any]], None]
    ) -> int:
        """See `Client`."""
        ref = next(self._refs)
        self._engine.output.listen(ref, fields.get("app_id"), sink)
        return ref

    def keep(self, owned: str) -> None:
        """See `Client`; there is no connection that could break."""

    def unkeep(self, owned: str) -> None:
        """See `Client`."""

    # -------------------------------------------------------------------------------- waiting

    def wait_for(self, box: Mailbox, timeout: float | None) -> bool:
        """Run what is wanted until there is mail; False after `timeout` seconds of fake time."""
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        while not box.messages:
            match self._engine.go_on(box, deadline):
                case Went.BEYOND:
                    return False
                case Went.ELSEWHERE:
                    with self._engine.changed:
                        if not box.messages:
                            self._engine.changed.wait(_LOOK)
                case Went.ON:
                    continue
                case Went.NOWHERE:
                    raise errors.ExecutionError(
                        "This waits for ever: what it waits for is the input that waits, or has "
                        "been cancelled for want of its client.",
                        hint="A function cannot wait for the call that it is part of.",
                    )
        return True

    async def wait_in_loop(self, box: Mailbox, timeout: float | None) -> bool:
        """Do the same, and let the event loop run in between."""
        from asyncio import Event, get_running_loop, sleep

        loop, arrived = get_running_loop(), Event()
        deadline = None if timeout is None else self.clock.monotonic() + timeout

        def wake() -> None:
            loop.call_soon_threadsafe(arrived.set)

        box.waker = wake
        try:
            while not box.messages:
                went = self._engine.go_on(box, deadline)
                await sleep(0)
                if went is Went.BEYOND:
                    break
                if went is not Went.ON and not box.messages:
                    # Other tasks of this loop may be about to send inputs, or to outcomes.
                    await arrived.wait()
                arrived.clear()
            return bool(box.messages)
        finally:
            box.waker = None

    # ------------------------------------------------------------------- operations of `ask`

    def _op_app_open(self, fields: dict[str, Any]) -> dict[str, Any]:
        spec = RevisionSpec.from_json(fields["revision"])
        self._stores.secrets.check(spec.functions)
        mounting = next((each.name for each in spec.functions if each.volumes), None)
        if mounting is not None:
            raise errors.UnimplementedError(
                f"The function {mounting} mounts a volume, which offline runs cannot.",
                hint="Test what it does with files by `.local()` and a directory of the test's.",
            )
        return self._pools.open(fields)

    def _op_app_close(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._pools.close(fields["app_id"])
        return dict(self._engine.take_summary(fields["app_id"]))

    def _op_app_stop(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._pools.end(fields["name"])
        return {}

    def _op_app_list(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"apps": self._pools.list(stopped=bool(fields.get("all")))}

    def _op_app_tag(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._pools.set_tags(fields["app_id"], fields["tags"])
        return {}

    def _op_function_lookup(self, fields: dict[str, Any]) -> dict[str, Any]:
        if "function_id" in fields:
            return self._pools.describe(fields["function_id"])
        return self._pools.look_up(fields["app"], fields["name"])

    def _op_function_bind(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._pools.bind(fields["function_id"], fields["parameters"], fields["options"])

    def _op_settings_get(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._pools.settings(fields["function_id"])

    def _op_settings_update(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._pools.update_settings(fields["function_id"], fields["changes"])

    def _op_image_find(self, fields: dict[str, Any]) -> dict[str, Any]:
        # Functions run under this interpreter, whatever their images say.
        digests = [ImageSpec(tuple(each["layers"])).digest for each in fields["specs"]]
        return {"images": [{"digest": each, "unmet": [], **_BUILT} for each in digests]}

    def _op_image_build(self, _fields: dict[str, Any]) -> dict[str, Any]:
        return _BUILT

    def _op_web_url(self, _fields: dict[str, Any]) -> dict[str, Any]:
        return {"url": None}  # nothing listens

    def _op_stats(self, fields: dict[str, Any]) -> dict[str, Any]:
        pool = self._pools.live(fields["function_id"])
        counts = self._ledger.counts(pool.name)
        held = self._engine.held(pool.name)
        running = counts.running - held
        return {
            "backlog": counts.pending + counts.delayed + held,
            "num_total_runners": running,
            "num_running_inputs": running,
            "input_headroom": 0,
        }

    def _op_call_cancel(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._calls.record_of(fields["call"])
        self._calls.cancel(fields["call"])
        return {}

    def _op_call_info(self, fields: dict[str, Any]) -> dict[str, Any]:
        record = self._calls.record_of(fields["call"])
        return {
            "call": record.spec.call_id,
            "known": record.known,
            "sealed": record.sealed,
            "finished": record.finished,
            "failed": record.failed,
            "cancelled": record.cancelled,
        }

    def _op_call_name(self, fields: dict[str, Any]) -> dict[str, Any]:
        raise errors.UnimplementedError(
            f"Offline runs cannot resume the map {fields['name']!r}.",
            hint="Leave `resume` away in this test, or run it against a real daemon.",
        )

    def _op_call_graph(self, fields: dict[str, Any]) -> dict[str, Any]:
        nodes: list[dict[str, Any]] = []
        queue = deque([self._calls.record_of(fields["call"])])
        while queue:
            record = queue.popleft()
            nodes += self._nodes(record)
            queue += self._ledger.children(record.spec.call_id)
        return {"nodes": nodes}

    def _nodes(self, record: CallRecord) -> list[dict[str, Any]]:
        pool, parent = self._pools[record.spec.pool], record.spec.parent
        call_id = record.spec.call_id
        return [
            {
                "call": call_id,
                "index": index,
                "input_id": ids.input_id(call_id, index),
                "status": status.name,
                "function_name": pool.spec.name,
                "module_name": pool.spec.module,
                "container": CONTAINER if status == Status.RUNNING else "",
                "parent": ids.input_id(*parent) if parent else None,
            }
            for index, status in enumerate(self._ledger.statuses(call_id))
        ]

    def _op_input_current(self, fields: dict[str, Any]) -> dict[str, Any]:
        claim = self._engine.running.get(fields["seq"])
        if claim is None:
            raise errors.NotFoundError("That input does not run any more.")
        return {
            "call": claim.call_id,
            "index": claim.index,
            "input_id": ids.input_id(claim.call_id, claim.index),
            "attempt": claim.counters.attempt,
        }


class Arrival:
    """The step that waits for mail."""

    __slots__ = ("_box", "_client", "_timeout")

    def __init__(self, client: OfflineClient, box: Mailbox, timeout: float | None) -> None:
        self._client = client
        self._box = box
        self._timeout = timeout

    def block(self) -> bool:
        """Run what is wanted meanwhile."""
        return self._client.wait_for(self._box, self._timeout)

    async def wait(self) -> bool:
        """Do the same, and let the event loop run in between."""
        return await self._client.wait_in_loop(self._box, self._timeout)
