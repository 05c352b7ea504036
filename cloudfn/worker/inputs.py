"""What a container runs in one call of user code: one input, or a batch; read from its socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cloudfn.wire.messages import INLINE_LIMIT, ContainerKind, Run, RunBatch
from cloudfn.worker import batches

#: of the packets; a batch brings its payloads in a file
_LONGEST_PACKET = INLINE_LIMIT + 1024
_SHORTEST_PACKET = len(Run(0, 0, b"").encode())

_Claim = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What runs in one call of user code.

    Attributes:
        claims: (seq, fence) of each input.
        payloads: Their arguments.
        durable: Results must survive a power cut.
        batched: User code gets lists, and returns one.
    """

    claims: Sequence[_Claim]
    payloads: Sequence[bytes]
    durable: bool
    batched: bool

    def arguments(
        self, load: Callable[[memoryview], Any], callee: Callable[[Any], Callable[..., Any]]
    ) -> tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]:
        """Return the function to call, and its arguments.

        Args:
            load: Unpickles the arguments of one input.
            callee: Returns the function that these are for.

        Raises:
            InvalidError: They do not make a batch.
        """
        calls = [load(memoryview(payload)) for payload in self.payloads]
        function = callee(calls[0])
        if not self.batched:
            return function, calls[0][0], calls[0][1]
        args, kwargs = batches.merged(function, calls)
        return function, args, kwargs

    def results(self, function: Callable[..., Any], result: object) -> Sequence[Any]:
        """Return the result of each input.

        Raises:
            InvalidError: What a batched function returned is not one result for each.
        """
        return batches.split(function, result, len(self.claims)) if self.batched else (result,)


def receive(packets: socket.socket) -> Inputs | None:
    """Read what is to be run next; None: nothing follows.

    Raises:
        BlockingIOError: There is nothing yet, and the socket does not wait.
        OSError: The socket is gone.
    """
    packet, files, _, _ = socket.recv_fds(packets, _LONGEST_PACKET, 1)
    return decoded(packet, files)


def decoded(packet: bytes, files: Sequence[int]) -> Inputs | None:
    """Return what a packet and its files say is to be run; None: nothing follows."""
    try:
        if len(packet) < _SHORTEST_PACKET:
            return None
        if packet[0] != ContainerKind.RUN_BATCH:
            run = Run.decode(packet)
            return Inputs([(run.seq, run.fence)], [run.payload], run.durable, batched=False)
        batch = RunBatch.decode(packet)
        payloads, start = [], 0
        for length in batch.lengths:
            payloads.append(_read(files[0], length, start))
            start += length
        claims = list(zip(batch.seqs, batch.fences, strict=True))
        return Inputs(claims, payloads, any(batch.durable), batched=True)
    finally:
        for file in files:
            os.close(file)


def _read(file: int, length: int, start: int) -> bytes:
    data = os.pread(file, length, start)
    while len(data) < length:
        more = os.pread(file, length - len(data), start + len(data))
        if not more:
            raise EOFError
        data += more
    return data
