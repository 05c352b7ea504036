"""A zygote of its own for each test, and what it starts, driven over sockets as an agent would."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloudfn.clock import SystemClock
from cloudfn.model.call import Status
from cloudfn.model.ids import mint
from cloudfn.wire import codec
from cloudfn.wire.exceptions import unpack_exception
from cloudfn.wire.frames import Decoder
from cloudfn.wire.messages import (
    ContainerKind,
    ContainerOutcome,
    Log,
    Run,
)
from cloudfn.worker.process import MARKER, kill_marked, marked

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
CTX = codec.PickleContext(main_module="program")
CLOCK = SystemClock()


@dataclass
class Zygote:
    """A zygote, and what was received from it."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    marker: str
    folder: Path
    stack: ExitStack

    def template(self, source: str, *names: str, **changes) -> "Template":
        """Order a template of a program whose text is `source`."""
        bundle = self.folder / mint("bd")
        bundle.mkdir()
        (bundle / "program.py").write_text(textwrap.dedent(source))
        return self.template_in(bundle, *names, **changes)

    def template_in(self, bundle: Path, *names: str, attach=False, **changes) -> "Template":
        theirs, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        output, output_end = os.pipe()
        self.stack.callback(os.close, output)
        self.stack.enter_context(control)
        functions = [{"name": name, "module": "program", "qualname": name} for name in names]
        order = {
            "op": "template",
            "template": mint("te"),
            "bundle": str(bundle),
            "module": "program",
            "functions": functions,
            "env": {"PATH": os.defpath},
            "cwd": str(bundle),
            "fork": True,
        } | changes
        descriptors = [theirs.fileno(), output_end]
        if attach:
            attached = os.memfd_create("order")
            os.write(attached, json.dumps(order).encode())
            order, descriptors = {"attached": True}, [*descriptors, attached]
        send(self.control, order, descriptors)
        theirs.close()
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        started = next_event(self.control, "template")
        return Template(self, control, output, bundle, started["pid"])

    def close(self):
        self.control.close()
        self.process.wait(PATIENCE)


@dataclass
class Template:
    """A template, and what was received from it."""

    zygote: Zygote
    control: socket.socket
    output: int
    bundle: Path
    pid: int

    def imported(self) -> dict[str, Any]:
        return next_event(self.control, "imported")

    def container(self, function: str, *, concurrency: int = 1, **env: str) -> "Container":
        container = self.order(function, concurrency=concurrency, **env)
        container.pid = next_event(self.control, "started")["pid"]
        return container

    def order(self, function: str, *, concurrency: int = 1, **env: str) -> "Container":
        packets, packets_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stream, stream_end = socket.socketpair()
        pipes = [os.pipe() for _ in range(3)]
        (out, out_end), (err, err_end), (cancel_end, cancel) = pipes
        name = mint("ct")
        blobs = self.zygote.folder
        env = {
            "CLOUDFN_CONTAINER_ID": name,
            "CLOUDFN_BLOBS_FAST": str(blobs / "fast"),
            "CLOUDFN_BLOBS_DURABLE": str(blobs / "durable"),
        } | env
        order = {"op": "container", "container": name, "function": function, "env": env, "nice": 1,
                 "concurrency": concurrency}  # fmt: skip
        ends = [packets_end.fileno(), stream_end.fileno(), out_end, err_end, cancel_end]
        send(self.control, order, ends)
        stream_end.close()
        for end in (out_end, err_end, cancel_end):
            os.close(end)
        for end in (out, err, cancel):
            self.zygote.stack.callback(os.close, end)
        self.zygote.stack.enter_context(packets)
        self.zygote.stack.enter_context(packets_end)
        self.zygote.stack.enter_context(stream)
        stream.settimeout(PATIENCE)
        return Container(self, name, packets, packets_end, stream, out, err, cancel)

    def exited(self) -> dict[str, Any]:
        return next_event(self.control, "exited")


@dataclass
class Container:
    """A container, and what was received from it."""

    template: Template
    name: str
    packets: socket.socket
    packets_end: socket.socket
    stream: socket.socket
    out: int
    err: int
    cancel_pipe: int
    pid: int = 0
    decoder: Decoder = field(default_factory=Decoder)
    logs: list[Log] = field(default_factory=list)

    def ready(self) -> "Container":
        kind, body = self.frame()
        assert kind == ContainerKind.READY, body
        return self

    def send(self, seq: int, *args, **kwargs) -> None:
        self.send_payload(seq, codec.dumps((args, kwargs), CTX))

    def send_payload(self, seq: int, payload: bytes) -> None:
        self.packets.send(Run(seq, 1, payload).encode())

    def cancel(self, seq: int, fence: int = 1) -> None:
        os.write(self.cancel_pipe, seq.to_bytes(8, "little") + fence.to_bytes(4, "little"))
        os.kill(self.pid, signal.SIGUSR1)

    def outcome(self) -> ContainerOutcome:
        kind, body = self.frame()
        assert kind == ContainerKind.OUTCOME, (kind, body)
        return ContainerOutcome.decode(body)

    def run(self, *args, seq: int = 7, **kwargs) -> object:
        """Return the result of one input, or raise its exception."""
        self.send(seq, *args, **kwargs)
        return self.result(seq)

    def result(self, seq: int = 7) -> object:
        outcome = self.outcome()
        assert outcome.seq == seq
        if outcome.status == Status.RAISED:
            raise unpack_exception(outcome.payload, label="remote")
        assert outcome.status == Status.RETURNED
        return codec.loads(outcome.payload)

    def frame(self) -> tuple[int, bytes]:
        """Return the next frame that is no output; output is kept in `logs`."""
        while True:
            found = self.decoder.pop()
            if found is None:
                data = self.stream.recv(1 << 20)
                if not data:
                    raise EOFError("the container closed its stream")
                self.decoder.feed(data)
            elif found[0] == ContainerKind.LOG:
                self.logs.append(Log.decode(found[1]))
            else:
                return found

    def last_frames(self) -> list[int]:
        """Return the kinds of the frames up to the end of its stream."""
        kinds: list[int] = []
        with suppress(EOFError):
            while True:
                kinds.append(self.frame()[0])
        return kinds

    def until(self, text: str) -> None:
        """Wait for output that contains `text`."""
        while text not in self.printed():
            found = self.decoder.pop()
            if found is None:
                data = self.stream.recv(1 << 20)
                assert data, self.printed()
                self.decoder.feed(data)
                continue
            assert found[0] == ContainerKind.LOG
            self.logs.append(Log.decode(found[1]))

    def printed(self, source: int | None = None) -> str:
        return b"".join(
            log.data for log in self.logs if source is None or log.source == source
        ).decode()

    def leave(self) -> dict[str, Any]:
        """Tell the container to go, and return how it went."""
        self.packets.shutdown(socket.SHUT_WR)
        with suppress(EOFError):
            self.frame()
        return self.template.exited()


def send(control: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
    control.sendmsg([json.dumps(message).encode()], [rights])


def next_event(control: socket.socket, kind: str) -> dict[str, Any]:
    control.settimeout(PATIENCE)
    packet = control.recv(1 << 20)
    assert packet, "the other side closed its control socket"
    event: dict[str, Any] = json.loads(packet)
    assert event["event"] == kind, event
    return event


def read_pipe(descriptor: int, *, until: str = "") -> str:
    """Read a pipe until `until` was seen, or to its end."""
    data = b""
    while not until or until.encode() not in data:
        ready, _, _ = select.select([descriptor], [], [], PATIENCE)
        assert ready, data
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            break
        data += piece
    return data.decode()


def await_end(pid: int) -> None:
    """Wait until a process that need not be our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([handle], [], [], PATIENCE)
        assert ready, f"process {pid} goes on"
    finally:
        os.close(handle)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def zygote(tmp_path) -> Iterator[Zygote]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    marker = mint("mk")
    for name in ("fast", "durable"):
        (tmp_path / name).mkdir()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cloudfn.worker", "--control", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), MARKER: marker},
        cwd=tmp_path,
        start_new_session=True,
    )
    theirs.close()
    with ExitStack() as stack:
        stack.enter_context(process)
        stack.callback(kill_marked, MARKER, marker, clock=CLOCK)
        stack.enter_context(ours)
        zygote = Zygote(process, ours, marker, tmp_path, stack)
        yield zygote
        zygote.close()
        assert marked(MARKER, marker) == []


@pytest.fixture
def start(zygote) -> Callable[..., Container]:
    """Return what starts one ready container of the function `f` of a program."""

    def started(source: str, function: str = "f", **changes) -> Container:
        template = zygote.template(source, function, **changes)
        assert template.imported()["ok"]
        container: Container = template.container(function).ready()
        return container

    return started
