"""What `.map` and its relatives give back: an iterator of results, nothing, or a call's handle."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from cloudfn import errors
from cloudfn.clock import Clock, SystemClock
from cloudfn.model.call import CallKind
from cloudfn.model.terms import Terms
from cloudfn.sdk.calls import Submission
from cloudfn.sdk.client import Client
from cloudfn.sdk.maps import WARN_EVERY, Mapping, MapRequest, warn_limited
from cloudfn.sdk.payloads import Packer
from cloudfn.sdk.sources import source_of
from cloudfn.sdk.twins import Blocking, IsAsync, Steps, in_event_loop, run, run_async

#: inputs of a spawn_map that are sent and not acknowledged
_SPAWN_WINDOW = 2048


class MapResult:
    """The results of a map: an iterator for `for` and `async for`. Nothing runs before that."""

    def __init__(self, request: MapRequest, clock: Clock | None = None) -> None:
        self._mapping = Mapping(request, clock)
        self._started = False

    def __iter__(self) -> MapResult:
        self._begin()
        return self

    def __next__(self) -> Any:
        mapping = self._mapping
        ready = mapping.ready
        if ready and mapping.now() < mapping.service_at:
            return ready.popleft()
        self._begin()
        run(mapping.advance())
        if ready:
            return ready.popleft()
        self._raise_failure()
        raise StopIteration

    def __aiter__(self) -> MapResult:
        self._started = True
        return self

    async def __anext__(self) -> Any:
        mapping = self._mapping
        ready = mapping.ready
        if ready and mapping.now() < mapping.service_at:
            return ready.popleft()
        self._started = True
        await run_async(mapping.advance())
        if ready:
            return ready.popleft()
        self._raise_failure()
        raise StopAsyncIteration

    def close(self) -> None:
        """Want no more results; inputs that are not finished are cancelled."""
        self._started = True
        self._mapping.close()

    def __del__(self) -> None:
        if not hasattr(self, "_started"):
            return
        if self._started:
            self._mapping.close()
            return
        request = self._mapping.request
        warnings.warn(
            f"The results of a call to {request.name}.{request.method} were not consumed, so the "
            "call will never be executed. Iterate over them, or use `.for_each` if you do not "
            "need them.",
            errors.UserWarning,
            stacklevel=2,
        )

    def _begin(self) -> None:
        self._started = True
        if in_event_loop():
            request = self._mapping.request
            raise errors.InvalidError(
                f"`.{request.method}` cannot be iterated over with `for` inside an event loop.",
                hint=f"Use `async for … in {request.name}.{request.method}.aio(…)`.",
            )

    def _raise_failure(self) -> None:
        failure = self._mapping.failure
        if failure is not None:
            self._mapping.failure = None
            raise failure


def consume(request: MapRequest) -> Steps[None]:
    """Carry a map out and drop its results."""
    mapping = Mapping(request)
    try:
        while not mapping.done:
            yield from mapping.advance()
            mapping.ready.clear()
            if mapping.failure is not None:
                raise mapping.failure
    finally:
        mapping.close()


def spawn_all(request: MapRequest, terms: Terms | None = None) -> Steps[tuple[Client, str, int]]:
    """Send all inputs as one call that outlives us; return client, call and number of inputs."""
    target = yield from request.target()
    client = target.client
    welcome = yield from client.ready()
    is_async = yield IsAsync()
    call = Submission(client, target.function_id, CallKind.SPAWN_MAP, target.parent, terms=terms)
    source = source_of(
        request.iterables, call.box, SystemClock(), star=request.star, prefer_async=is_async
    )
    packer = Packer(target.context, welcome, call.call_id, durable=True)
    warned = 0
    try:
        while not (source.exhausted and call.acknowledged):
            if not source.exhausted and call.sent - call.known < _SPAWN_WINDOW and not call.refused:
                got = source.read(256)
                items = got if isinstance(got, list) else (yield got)
                payloads = yield Blocking(_packed, packer, items, request)
                if payloads or source.exhausted:
                    call.send(payloads, sealed=source.exhausted)
                    client.poll()
                    if not source.exhausted:
                        for _ in call.mail():
                            pass
                        continue
            yield client.arrival(call.box)
            for _ in call.mail():
                pass
            if call.refusals >= warned + WARN_EVERY:
                warned = call.refusals - call.refusals % WARN_EVERY
                warn_limited(request)
    except BaseException:
        client.release(call.ref, tell=True)
        raise
    finally:
        source.close()
    call.close(finished=False)
    return client, call.call_id, call.sent


def _packed(packer: Packer, items: Sequence[tuple[Any, ...]], request: MapRequest) -> list[bytes]:
    payloads: list[bytes] = []
    for each in packer.pack_many(items, request.kwargs):
        if not isinstance(each, bytes):
            raise each
        payloads.append(each)
    return payloads
