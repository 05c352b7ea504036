"""Makes a container of a process: loads the program, enters what it runs, and serves."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

from cloudfn.clock import Clock
from cloudfn.errors import NotFoundError
from cloudfn.wire.current import current
from cloudfn.wire.messages import ContainerKind, encode_json
from cloudfn.worker import fresh, loader, service
from cloudfn.worker.blobs import Blobs
from cloudfn.worker.capture import SeparateStream, Standard, Stream
from cloudfn.worker.container import Container, abort
from cloudfn.worker.mounts import mount_all
from cloudfn.worker.orders import Channels, ContainerOrder, Launch, TemplateOrder
from cloudfn.worker.process import set_name, wear_tag
from cloudfn.worker.streaming import Streamer, Windows


def run(launch: Launch, standard: Standard, clock: Clock) -> None:
    """Be a container until it is told to leave, or cannot start."""
    with wear_tag(launch.container.container):
        _be_container(launch, standard, clock)


def _be_container(launch: Launch, standard: Standard, clock: Clock) -> None:
    program, order = launch.program, launch.container
    kind = SeparateStream if order.concurrency > 1 else Stream
    channel = socket.socket(fileno=launch.channels.stream)
    stream = kind(channel)
    standard.connect(stream)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _signal, _frame: abort(stream, standard))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # Not before: what a process is started with, all processes of its user can read.
    os.environ.update({**order.secrets, **order.env})
    try:
        _set_up()
        mount_all(order.mounts)
        if not launch.imported:
            loader.import_program(program)
        if order.function not in program.functions:
            raise NotFoundError(
                f"The program has no function {order.function!r}.",
                hint="It has to be there whenever the program is imported, not under a condition.",
            )
        container = current.controls = _container(launch, channel, stream, standard, clock)
        container.listen()
        container.enter()
    except BaseException as error:
        told = loader.failure(error, loader.context_of(program), 1 << 20)
        standard.complain(told["text"])
        stream.tell(ContainerKind.BROKEN, encode_json(dict(told)))
        os._exit(1)
    standard.flush()
    stream.tell(ContainerKind.READY)
    container.serve()
    container.leave()


def _container(
    launch: Launch, channel: socket.socket, stream: Stream, standard: Standard, clock: Clock
) -> Container:
    """Return the run loop for what was ordered: one input at a time, one batch, or several."""
    program, order = launch.program, launch.container
    ordered = program.functions[order.function]
    ctx, blobs = loader.context_of(program), Blobs.from_environ(os.environ)
    windows = Windows(channel)
    streamer = Streamer(windows, stream, standard, blobs, ctx)
    entered = service.load(ordered, order.parameters, streamer.streamed)
    parts = entered, ctx, launch.channels, stream, standard, blobs, clock
    kind: Callable[..., Container] = Container
    if ordered.web:
        kind = partial(_web_container(order.concurrency), ordered)
    elif order.concurrency > 1:
        from cloudfn.worker.concurrent import ConcurrentContainer as kind  # noqa: N813
    elif order.batched:
        from cloudfn.worker.batched import BatchedContainer as kind  # noqa: N813
    container = kind(*parts, retries=ordered.retries)
    container.concurrency, container.windows = order.concurrency, windows
    return container


def _web_container(concurrency: int) -> Callable[..., Container]:
    from cloudfn.worker.web.container import ConcurrentWebContainer, WebContainer

    return ConcurrentWebContainer if concurrency > 1 else WebContainer


def inherited(descriptor: int) -> Launch:
    """Return the launch of a container that is a fresh interpreter."""
    state = fresh.inherited(descriptor, Channels._fields)
    channels = Channels(*(state[name] for name in Channels._fields))
    program = TemplateOrder.from_json(state["program"])
    sys.argv[:] = [program.module]
    set_name("cf-container")
    return Launch(program, ContainerOrder.from_json(state["container"]), channels, imported=False)


def _set_up() -> None:
    import faulthandler

    faulthandler.enable(2)
    if (random := sys.modules.get("random")) is not None:
        random.seed()
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()
