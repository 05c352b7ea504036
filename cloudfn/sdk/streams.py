"""Carries out `.remote_gen`: one input, whose items are handed out as they arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudfn import errors
from cloudfn.model.call import CallKind, Status
from cloudfn.sdk.calls import Submission, refusal
from cloudfn.sdk.client import Client, Welcome
from cloudfn.sdk.payloads import Packer, failure_of, is_big, result_of
from cloudfn.sdk.twins import Blocking, Steps, run, run_async, warn_in_event_loop
from cloudfn.wire.messages import (
    WINDOW_BYTES,
    WINDOW_ITEMS,
    Items,
    Kind,
    StreamEnd,
    is_blob,
    payload_size,
)

if TYPE_CHECKING:
    from cloudfn.sdk.target import Target

#: taken items and bytes that the engine is not told of while others are there
_MOST_UNTOLD = WINDOW_ITEMS // 4
_MOST_BYTES_UNTOLD = WINDOW_BYTES // 4
_RETURNED = int(Status.RETURNED)
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What a `.remote_gen` asks for.

    Attributes:
        target: Tells what is called; asked when the first item is wanted.
        name: The function's name, for messages.
        args: Its arguments.
        kwargs: Its keyword arguments.
    """

    target: Callable[[], Steps[Target]]
    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


class StreamSubmission(Submission):
    """A call whose input yields: `arrived` are the payloads of items that nobody took yet."""

    def __init__(self, client: Client, function_id: str, parent: int | None) -> None:
        self.arrived: deque[bytes] = deque()
        #: how many items were read out of `arrived`
        self.taken = 0
        super().__init__(client, function_id, CallKind.REMOTE_GEN, parent)

    def resumption(self) -> dict[str, Any]:
        """Ask on a new connection for what we lack; see `Stream`."""
        # First what is read: it grows into what is there, not the other way round.
        taken = self.taken
        return super().resumption() | {"items": [taken + len(self.arrived), taken]}

    def take_message(self, kind: int, body: Any) -> None:
        """Put items beside those that we have; an attempt that ran again yields them again."""
        if kind != Kind.ITEMS:
            return
        items = Items.decode(body)
        have = self.taken + len(self.arrived) - items.first
        if have < 0:
            raise errors.DataLossError(f"Items of {self.call_id} are missing before {items.first}.")
        self.arrived.extend(items.payloads[have:])

    def _resume(self, told: dict[str, Any]) -> None:
        super()._resume(told)
        if self.taken:
            # An engine that had forgotten the call runs it from the start.
            self._client.taken(self.ref, self.taken)


class RemoteGenerator:
    """The items of a generator in a container, for `for` and `async for`.

    Nothing runs before the first item is asked for. Whoever leaves the loop early, or drops this
    object, ends the generator.
    """

    def __init__(self, request: StreamRequest) -> None:
        self._request = request
        self._client: Client | None = None
        self._welcome: Welcome | None = None
        self._call: StreamSubmission | None = None
        #: status and payload, once it has ended
        self._ending: tuple[int, bytes] | None = None
        self._told = 0
        self._untold_bytes = 0
        self._over = False

    def __iter__(self) -> RemoteGenerator:
        warn_in_event_loop("remote_gen", "async for … in")
        return self

    def __next__(self) -> Any:
        item = run(self._next())
        if item is _NOTHING:
            raise StopIteration
        return item

    def __aiter__(self) -> RemoteGenerator:
        return self

    async def __anext__(self) -> Any:
        item = await run_async(self._next())
        if item is _NOTHING:
            raise StopAsyncIteration
        return item

    def close(self) -> None:
        """Want no more items; a generator that still runs is closed. Idempotent."""
        self._over = True
        call, self._call = self._call, None
        if call is not None:
            call.close(finished=False)

    async def aclose(self) -> None:
        """Do the same as `close`, which does not block."""
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_over"):
            self.close()

    def __repr__(self) -> str:
        return f"<items of {self._request.name}>"

    def _next(self) -> Steps[Any]:
        if self._over:
            return _NOTHING
        try:
            if self._call is None:
                yield from self._start()
            while not (yield from self._has_item()):
                if self._ending is not None:
                    self._finish(*self._ending)
                    return _NOTHING
            return (yield from self._take())
        except BaseException:
            self.close()
            raise

    def _start(self) -> Steps[None]:
        request = self._request
        target = yield from request.target()
        self._client = target.client
        self._welcome = yield from target.client.ready()
        call = StreamSubmission(target.client, target.function_id, target.parent)
        self._call = call
        packer = Packer(
            target.context, self._welcome, call.call_id, durable=False, method=target.method
        )
        if is_big(request.args, request.kwargs):
            payload = yield Blocking(packer.pack, request.args, request.kwargs)
        else:
            payload = packer.pack(request.args, request.kwargs)
        call.send([payload], sealed=True)

    def _has_item(self) -> Steps[bool]:
        """Return whether an item is there; without one and without an end, wait for mail first."""
        client, call = self._client, self._call
        assert client is not None
        assert call is not None
        self._absorb(call)
        if not call.arrived and self._ending is None:
            # The generator may be held back by what we have taken, and its end by the last item.
            self._tell(client, call)
            yield client.arrival(call.box)
            self._absorb(call)
        return bool(call.arrived)

    def _absorb(self, call: StreamSubmission) -> None:
        for outcomes in call.mail():
            self._ending = outcomes.statuses[0], outcomes.payloads[0]
        if call.refused:
            raise refusal(self._request.name)

    def _take(self) -> Steps[Any]:
        client, call = self._client, self._call
        assert client is not None
        assert call is not None
        payload = call.arrived[0]
        if is_blob(payload):
            item = yield Blocking(result_of, payload, self._welcome)
        else:
            assert self._welcome is not None
            item = result_of(payload, self._welcome)
        call.taken += 1
        call.arrived.popleft()
        self._untold_bytes += payload_size(payload)
        many = call.taken - self._told >= _MOST_UNTOLD
        if many or self._untold_bytes >= _MOST_BYTES_UNTOLD:
            self._tell(client, call)
        return item

    def _tell(self, client: Client, call: StreamSubmission) -> None:
        """Tell the engine what is taken, so that the generator can go on."""
        if call.taken > self._told:
            self._told, self._untold_bytes = call.taken, 0
            client.taken(call.ref, call.taken)

    def _finish(self, status: int, payload: bytes) -> None:
        """All items were handed out: raise the failure, if it ended with one."""
        client, call, welcome = self._client, self._call, self._welcome
        assert client is not None
        assert call is not None
        assert welcome is not None
        client.delivered(call.ref, (0,), now=True)
        call.close(finished=True)
        self._over, self._call = True, None
        if status != _RETURNED:
            raise failure_of(status, payload, welcome)
        if not isinstance(result_of(payload, welcome), StreamEnd):
            raise errors.InvalidError(
                f"{self._request.name} is no generator function any more.",
                hint="It was deployed anew since it was looked up: call it with `.remote(…)`.",
            )
