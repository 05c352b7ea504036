"""A container that runs batches, one at a time, on this process's main thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from cloudfn.model.call import Status
from cloudfn.wire import codec
from cloudfn.wire.current import current
from cloudfn.wire.messages import CHANNEL_LOST
from cloudfn.worker.container import Container
from cloudfn.worker.inputs import Inputs, receive

_NONE = Inputs((), (), durable=False, batched=True)


class BatchedContainer(Container):
    """The run loop, with a batch in the place of an input."""

    _inputs = _NONE
    _callee: Callable[..., Any] | None = None
    _results: tuple[bytes, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pack = self._pack_each

    def serve(self) -> None:
        """Run batches until the agent has no more, or wants this container to leave."""
        while True:
            try:
                self._waits = True
                if self._leaves:
                    return
                inputs = receive(self._packets)
                self._waits = False
            except OSError:
                os._exit(CHANNEL_LOST)
            except BaseException as error:
                self._end_wait(error)
                continue
            if inputs is None:
                return
            self._blobs.durable = inputs.durable
            self._inputs = inputs
            try:
                self._run_batch(inputs)
            except BaseException as error:
                self._complain(error)
            self._inputs = _NONE
            current.seq = self._stream.seq = 0

    def _run_batch(self, inputs: Inputs) -> None:
        started = self._now()
        try:
            status, data = self._attempt(*inputs.claims[0], memoryview(b""))
        except BaseException as error:
            # A signal handler of user code raised after the user's function had ended.
            status, data = self._failed(error)
        if status < 0:
            return
        many = len(inputs.claims)
        payloads = self._results if status == Status.RETURNED else (data,) * many
        self._report(inputs.claims, status, payloads, self._now() - started)

    def _arguments(self, _payload: memoryview) -> Any:
        named: list[Any] = []

        def callee(call: Any) -> Callable[..., Any]:
            named[:] = call[2:]
            self._callee = self._function_for(call)
            return self._callee

        _, args, kwargs = self._inputs.arguments(super()._arguments, callee)
        return (args, kwargs, *named)

    def _pack_each(self, value: object, ctx: codec.PickleContext, what: str) -> bytes:
        """Pack the result of each input; there is none of the whole."""
        assert self._callee is not None
        results = self._inputs.results(self._callee, value)
        self._results = tuple([self._blobs.pack(each, ctx, what) for each in results])
        return b""

    def _cancelled_claims(self) -> list[tuple[int, int]]:
        """Return what is cancelled; one of the batch that runs, for its first."""
        ours = self._inputs.claims
        return [ours[0] if claim in ours else claim for claim in super()._cancelled_claims()]
