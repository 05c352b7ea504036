"""Real zygotes, templates and containers, driven over their sockets as an agent would."""

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
from cloudfn.errors import DataLossError, DeserializationError, NotFoundError, SerializationError
from cloudfn.model.call import Status
from cloudfn.model.ids import mint
from cloudfn.wire import codec
from cloudfn.wire.exceptions import unpack_exception
from cloudfn.wire.frames import Decoder
from cloudfn.wire.messages import (
    INLINE_LIMIT,
    BlobRef,
    ContainerKind,
    ContainerOutcome,
    Log,
    LogSource,
    Run,
    is_blob,
)
from cloudfn.worker.process import MARKER, kill_marked, marked

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="the local engine is Linux first"),
]

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
        _send(self.control, order, descriptors)
        theirs.close()
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        started = _event(self.control, "template")
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
        return _event(self.control, "imported")

    def container(self, function: str, *, concurrency: int = 1, **env: str) -> "Container":
        container = self.order(function, concurrency=concurrency, **env)
        container.pid = _event(self.control, "started")["pid"]
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
        _send(self.control, order, ends)
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
        return _event(self.control, "exited")


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


def _send(control: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
    control.sendmsg([json.dumps(message).encode()], [rights])


def _event(control: socket.socket, kind: str) -> dict[str, Any]:
    control.settimeout(PATIENCE)
    packet = control.recv(1 << 20)
    assert packet, "the other side closed its control socket"
    event: dict[str, Any] = json.loads(packet)
    assert event["event"] == kind, event
    return event


def _read(descriptor: int, *, until: str = "") -> str:
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


def _await_end(pid: int) -> None:
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


def _is_alive(pid: int) -> bool:
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


# ------------------------------------------------------------------------------ what runs


def test_a_container_runs_inputs_one_after_the_other_and_keeps_its_globals(start):
    container = start("""
        seen = []
        def f(x, *, y=0):
            seen.append(x)
            return (x + y, list(seen))
    """)

    assert container.run(1) == (1, [1])
    assert container.run(2, y=40) == (42, [1, 2])


def test_an_outcome_names_its_claim_and_how_long_it_took(start):
    container = start("def f(): return 5")

    container.send(3)

    outcome = container.outcome()
    assert (outcome.seq, outcome.fence, outcome.status) == (3, 1, Status.RETURNED)
    assert outcome.micros < 10_000_000


def test_an_input_that_waits_in_the_socket_can_be_taken_back_while_one_runs(start):
    container = start("""
        def f(x):
            print("begun", x)
            if x == 1: open("gate").read()
            return x
    """)
    os.mkfifo(container.template.bundle / "gate")
    container.send(1, 1)
    container.send(2, 2)
    container.until("begun 1")

    taken = Run.decode(container.packets_end.recv(1 << 20, socket.MSG_DONTWAIT))
    (container.template.bundle / "gate").write_text("go")

    assert taken.seq == 2
    assert container.result(1) == 1
    assert container.run(3, seq=3) == 3


def test_an_async_function_runs_on_one_loop_on_the_main_thread(start):
    container = start("""
        import asyncio, threading
        loops = []
        async def f():
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            return len(set(map(id, loops))), threading.current_thread() is threading.main_thread()
    """)

    assert container.run() == (1, True)
    assert container.run() == (1, True)


def test_user_code_runs_on_the_main_thread_and_imports_there_as_well(start):
    container = start("""
        import threading
        at_import = threading.current_thread() is threading.main_thread()
        def f(): return at_import, threading.current_thread() is threading.main_thread()
    """)

    assert container.run() == (True, True)


def test_main_is_another_name_for_the_program(start):
    container = start("""
        import sys
        class Point: ...
        def f(): return sys.modules["__main__"].Point is Point, Point.__module__, __name__
    """)

    assert container.run() == (True, "program", "program")


def test_the_environment_is_the_one_that_was_ordered(start):
    container = start(
        """
        import os
        def f(): return dict(os.environ), os.getcwd(), os.getpriority(os.PRIO_PROCESS, 0)
        """,
        env={"COLOR": "green"},
    )

    environ, cwd, nice = container.run()

    assert environ.pop("COLOR") == "green"
    assert environ.pop("CLOUDFN_CONTAINER_ID") == container.name
    assert set(environ) == {"CLOUDFN_MARKER", "CLOUDFN_BLOBS_FAST", "CLOUDFN_BLOBS_DURABLE"}
    assert cwd == str(container.template.bundle)
    assert nice == 1


def test_the_bundle_comes_first_on_the_path_and_then_the_import_paths(zygote, tmp_path):
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "beside.py").write_text("WHERE = 'extra'")
    (extra / "program.py").write_text("raise RuntimeError('not this one')")
    template = zygote.template(
        "import beside\ndef f(): return beside.WHERE", "f", import_paths=[str(extra)]
    )

    assert template.imported()["ok"]
    assert template.container("f").ready().run() == "extra"


def test_the_raw_function_behind_a_function_object_is_called(start):
    container = start("""
        class Function:
            def __init__(self, raw): self.__cloudfn_raw__ = raw
            def __call__(self, *args): raise RuntimeError("the wrong one")
        f = Function(lambda x: x * 2)
    """)

    assert container.run(4) == 8


def test_a_serialized_function_needs_no_module(zygote):
    import base64

    import cloudpickle

    pickled = base64.b64encode(cloudpickle.dumps(lambda x: x + 1)).decode()
    order = {"name": "f", "module": "", "qualname": "<lambda>", "serialized": pickled}
    template = zygote.template("raise RuntimeError", module="", functions=[order])

    assert template.imported()["ok"]
    assert template.container("f").ready().run(1) == 2


def test_an_order_that_is_too_big_for_a_packet_comes_in_a_file(zygote):
    template = zygote.template(
        "import os\ndef f(): return len(os.environ['BIG'])",
        "f",
        attach=True,
        env={"BIG": "x" * 100_000, "MORE": "y" * 100_000, "MOST": "z" * 100_000},
    )

    assert template.imported()["ok"]
    assert template.container("f").ready().run() == 100_000


def test_containers_draw_different_random_numbers(zygote):
    template = zygote.template(
        "import random\nrandom.seed(1)\ndef f(): return random.random()", "f"
    )
    template.imported()

    first, second = (template.container("f").ready().run() for _ in range(2))

    assert first != second


# ---------------------------------------------------------------------------- what fails


def test_an_exception_comes_back_with_its_type_and_without_our_frames(start):
    container = start("""
        def f(x):
            return {}[x]
    """)

    with pytest.raises(KeyError) as caught:
        container.run("absent")

    frames = [entry.name for entry in caught.traceback[-1:]]
    assert frames == ["f"]
    printed = container.printed(LogSource.STDERR)
    assert "KeyError: 'absent'" in printed
    assert "cloudfn/worker" not in printed
    assert {log.seq for log in container.logs} == {7}


def test_a_container_outlives_exits_exceptions_and_bad_arguments(start):
    container = start("""
        import sys
        def f(what):
            if what == "exit": sys.exit(3)
            if what == "base": raise BaseException("all the way")
            return what
    """)

    with pytest.raises(SystemExit):
        container.run("exit")
    with pytest.raises(BaseException, match="all the way"):
        container.run("base")
    container.send_payload(8, b"\x80\x05no pickle")
    with pytest.raises(DeserializationError):
        container.result(8)
    assert container.run("still here") == "still here"


def test_a_result_that_cannot_be_pickled_fails_only_its_input(start):
    container = start("""
        import threading
        def f(x): return (i for i in range(3)) if x else threading.Lock()
    """)

    with pytest.raises(SerializationError, match="generator"):
        container.run(True)
    with pytest.raises(SerializationError, match="lock"):
        container.run(False)


def test_a_keyboard_interrupt_of_user_code_is_an_outcome_and_the_container_leaves(start):
    container = start("def f(): raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        container.run()

    assert container.template.exited()["status"] == 0


def test_an_interrupted_container_leaves_without_an_outcome(start):
    container = start("import time\ndef f(): print('begun'); time.sleep(600)")
    container.send(1)
    container.until("begun")

    os.kill(container.pid, signal.SIGINT)

    assert container.frame()[0] == ContainerKind.LEAVING
    with pytest.raises(EOFError):
        container.frame()
    assert container.template.exited()["status"] == 0


def test_an_idle_container_leaves_when_it_is_interrupted(start):
    container = start("def f(): ...")

    os.kill(container.pid, signal.SIGINT)

    assert container.template.exited()["status"] == 0


HOOKED = """
import os, time
import cloudfn
class C:
    @cloudfn.enter()
    def start(self):
        print("entering", flush=True)
        while os.path.exists("slow start"):
            time.sleep(0.005)
    @cloudfn.exit()
    def stop(self):
        print("leaving", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.005)
        print("left", flush=True)
    @cloudfn.method()
    def f(self):
        return "done"
"""


@pytest.fixture
def hooked(zygote) -> Template:
    """A program with a class whose hooks wait."""
    methods = {"methods": {"f": {}}, "parameters": {}}
    spec = {"name": "C.*", "module": "program", "qualname": "C", "cls": methods}
    template = zygote.template(HOOKED, functions=[spec])
    assert template.imported()["ok"]
    return template


def test_an_interrupted_start_runs_no_exit_hook_and_ends_with_0(hooked):
    """C118."""
    (hooked.bundle / "slow start").touch()
    container = hooked.container("C.*")
    container.until("entering")

    os.kill(container.pid, signal.SIGINT)

    assert hooked.exited()["status"] == 0
    assert set(container.last_frames()) <= {ContainerKind.LEAVING}
    assert "leaving" not in container.printed()
    assert "Traceback" not in container.printed()


def test_an_interrupted_exit_hook_goes_on_to_its_end_with_0(hooked):
    """C118."""
    container = hooked.container("C.*").ready()
    os.kill(container.pid, signal.SIGINT)
    assert container.frame()[0] == ContainerKind.LEAVING
    container.until("leaving")

    os.kill(container.pid, signal.SIGINT)
    (hooked.bundle / "go").touch()

    assert hooked.exited()["status"] == 0
    with pytest.raises(EOFError):
        container.frame()
    assert container.printed().endswith("left\n")
    assert "Traceback" not in container.printed()


def test_a_failed_import_is_told_with_its_exception_and_its_text(zygote):
    template = zygote.template("print('on its way')\nimport nowhere_to_be_found", "f")

    event = template.imported()

    assert not event["ok"]
    assert "import nowhere_to_be_found" in event["text"]
    assert "cloudfn" not in event["text"]
    import base64

    error = unpack_exception(base64.b64decode(event["error"]), label="remote")
    assert isinstance(error, ModuleNotFoundError)
    assert "on its way" in _read(template.output)
    assert _event(zygote.control, "exited")["pid"] == template.pid


def test_a_relative_import_gets_a_hint(zygote):
    event = zygote.template("from . import sibling", "f").imported()

    assert "hint: relative imports need a package" in event["text"]


def test_a_huge_import_error_still_fits_into_its_event(zygote):
    event = zygote.template("raise ValueError('ü' * 10_000_000)", "f").imported()

    assert not event["ok"]


def test_a_function_that_is_not_there_breaks_its_container_only(zygote):
    template = zygote.template("def f(): return 1", "f", "absent")
    template.imported()
    broken = template.container("absent")

    kind, body = broken.frame()

    import base64

    assert kind == ContainerKind.BROKEN
    error = unpack_exception(base64.b64decode(json.loads(body)["error"]), label="remote")
    assert isinstance(error, NotFoundError)
    assert os.waitstatus_to_exitcode(template.exited()["status"]) == 1
    assert template.container("f").ready().run() == 1


# --------------------------------------------------------------------------------- blobs


def test_big_arguments_and_results_go_through_blobs(start, tmp_path):
    container = start("def f(data): return data[::-1]")
    data = bytes(range(256)) * 1024
    payload = codec.dumps(((data,), {}), CTX)
    (tmp_path / "fast" / "fc-1").mkdir()
    (tmp_path / "fast" / "fc-1" / "a").write_bytes(payload)

    container.send_payload(1, BlobRef("fc-1/a", len(payload), durable=False).encode())

    outcome = container.outcome()
    assert is_blob(outcome.payload)
    ref = BlobRef.decode(outcome.payload)
    assert ref.name.startswith(f"results-{container.name}/")
    stored = (tmp_path / "fast" / ref.name).read_bytes()
    assert len(stored) == ref.size
    assert codec.loads(stored) == data[::-1]


def test_a_result_goes_to_the_durable_folder_when_the_fast_one_takes_none(start, tmp_path):
    container = start("def f(n): return 'x' * n")
    (tmp_path / "fast").rmdir()

    container.send(1, INLINE_LIMIT)

    ref = BlobRef.decode(container.outcome().payload)
    assert ref.durable
    assert (tmp_path / "durable" / ref.name).stat().st_size == ref.size


def test_a_result_without_any_room_fails_only_its_input(start, tmp_path):
    container = start("def f(n): return 'x' * n")
    for name in ("fast", "durable"):
        (tmp_path / name).rmdir()

    with pytest.raises(Exception, match="no room for the result"):
        container.run(INLINE_LIMIT)
    assert container.run(1) == "x"


def test_a_missing_blob_fails_only_its_input(start):
    container = start("def f(n): return n")
    container.send_payload(1, BlobRef("fc-1/gone", 100_000, durable=False).encode())

    with pytest.raises(DataLossError):
        container.result(1)
    assert container.run(1) == 1


# -------------------------------------------------------------------------------- output


def test_output_keeps_its_order_carries_its_input_and_comes_before_the_outcome(start):
    container = start("""
        import sys
        print("imported")
        def f(x):
            print("a", x)
            print("b", file=sys.stderr)
            sys.stdout.write("no newline")
            sys.stdout.buffer.write(b" raw")
    """)

    container.run(1, seq=11)

    assert [(log.seq, log.source, log.data) for log in container.logs] == [
        (11, LogSource.STDOUT, b"a 1\n"),
        (11, LogSource.STDERR, b"b\n"),
        (11, LogSource.STDOUT, b" raw"),
        (11, LogSource.STDOUT, b"no newline"),
    ]
    assert _read(container.template.output, until="imported\n") == "imported\n"


def test_a_logger_that_was_set_up_during_the_import_writes_frames(start):
    container = start("""
        import logging
        logging.basicConfig(level="INFO", format="%(message)s")
        def f(): logging.info("hello")
    """)

    container.run(seq=5)

    assert [(log.seq, log.data) for log in container.logs] == [(5, b"hello\n")]


def test_output_below_python_and_of_children_goes_through_the_pipes(start):
    container = start("""
        import os, subprocess, sys
        def f():
            os.write(1, b"below ")
            subprocess.run(["echo", "child"], check=True)
            subprocess.run(["cat"], check=True)
            os.write(2, b"end")
    """)

    container.run()

    assert _read(container.out, until="child\n") == "below child\n"
    assert _read(container.err, until="end") == "end"
    assert container.logs == []


def test_a_hundred_megabytes_of_output_arrive_while_the_reader_is_slow(start):
    container = start("""
        def f():
            print("x" * 100_000_000)
            return "done"
    """)

    assert container.run() == "done"
    assert sum(len(log.data) for log in container.logs) == 100_000_001
    assert max(len(log.data) for log in container.logs) <= 64 << 10


def test_threads_print_whole_lines_at_the_same_time(start):
    container = start("""
        from concurrent.futures import ThreadPoolExecutor
        def f():
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda i: print("line", i), range(2000)))
    """)

    container.run()

    assert container.printed().count("line") == 2000


def test_strange_text_and_closed_streams_do_no_harm(start):
    container = start("""
        import sys
        def f(what):
            if what == "surrogate": print("\\udc80")
            if what == "close": sys.stdout.close()
            if what == "detach": sys.stdout.detach()
            if what == "print": print("here again")
    """)

    for what in ("surrogate", "close", "print", "detach", "print"):
        container.run(what)

    assert container.printed() == "\\udc80\nhere again\nhere again\n"


# -------------------------------------------------------------------------- cancellation


def test_a_cancelled_input_ends_and_the_next_one_runs(start):
    """C119."""
    container = start("""
        import time
        def f(seconds):
            print("begun", seconds)
            try:
                time.sleep(seconds)
            except Exception:
                print("swallowed")
            return seconds
    """)
    container.send(1, 600)
    container.until("begun 600")

    container.cancel(1)

    outcome = container.outcome()
    assert outcome.status == Status.CANCELLED
    assert "cancelled" in json.loads(outcome.payload)["message"]
    assert container.run(0) == 0
    assert container.printed(LogSource.STDERR) == "Successfully canceled input\n"
    assert container.leave()["status"] == 0


def test_a_cancelled_coroutine_sees_its_cancellation(start):
    """C119."""
    container = start("""
        import asyncio
        async def f(seconds):
            print("begun")
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                print("noticed")
                raise
    """)
    container.send(1, 600)
    container.until("begun")

    container.cancel(1)

    assert container.outcome().status == Status.CANCELLED
    assert "noticed" in container.printed()
    assert container.run(0) is None
    assert container.printed(LogSource.STDERR) == "Successfully canceled input\n"


def test_the_cancellation_of_a_finished_input_does_nothing(start):
    """C119."""
    container = start("def f(x): return x")
    assert container.run(1, seq=1) == 1

    container.cancel(1)

    assert container.run(2, seq=2) == 2
    assert container.logs == []


def test_a_container_with_several_threads_leaves_with_0_for_one_that_is_cancelled(zygote):
    """C121."""
    template = zygote.template(
        "import time\ndef f(x): print('begun', x, flush=True); time.sleep(600)", "f"
    )
    assert template.imported()["ok"]
    container = template.container("f", concurrency=3).ready()
    for seq in (1, 2, 3):
        container.send(seq, seq)
        container.until(f"begun {seq}")

    container.cancel(2)

    assert ContainerKind.LEAVING in container.last_frames()
    assert template.exited()["status"] == 0
    assert "Traceback" not in container.printed()


def test_a_cancellation_that_comes_before_its_input_begins_is_kept_for_it(start):
    container = start("""
        def f(x):
            print("begun", x)
            if x == 1: open("gate").read()
            return x
    """)
    os.mkfifo(container.template.bundle / "gate")
    container.send(1, 1)
    container.send(2, 2)
    container.until("begun 1")

    container.cancel(2)
    (container.template.bundle / "gate").write_text("go")

    assert container.outcome().status == Status.RETURNED
    assert container.outcome().status == Status.CANCELLED
    assert "begun 2" not in container.printed()


def test_a_cancellation_amid_a_blocked_print_leaves_the_stream_whole(start):
    container = start("""
        import os
        def f(x):
            if x:
                os.write(1, b"begun")
                while True: print("y" * 1_000_000)
            return x
    """)
    container.send(1, 1)
    _read(container.out, until="begun")

    container.cancel(1)

    assert container.outcome().status == Status.CANCELLED
    assert container.run(0) == 0


def test_a_handler_of_user_code_that_raises_amid_a_print_leaves_the_stream_whole(start):
    container = start("""
        import signal
        class Alarm(Exception): ...
        def ring(*_): raise Alarm
        def f(x):
            signal.signal(signal.SIGALRM, ring)
            if x:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                while True: print("y" * 1_000_000)
            return x
    """)

    with pytest.raises(Exception, match="Alarm"):
        container.run(1)
    assert container.run(0) == 0


# --------------------------------------------------------------------------------- forks


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "import threading\nthreading.Thread(target=threading.Event().wait, name='idler', "
            "daemon=True).start()",
            "Python thread (idler)",
        ),
        ("import socket\nkept = socket.socket()", "1 socket"),
    ],
)
def test_what_a_fork_would_lose_means_fresh_interpreters(zygote, source, why):
    template = zygote.template(
        source + "\nimport os\ndef f(): return os.getppid(), kept_by()\n"
        "def kept_by(): return 'kept' in globals() or threading.active_count()",
        "f",
    )

    event = template.imported()

    assert event["ok"]
    assert not event["fork_safe"]
    assert why in event["why"]
    parent, kept = template.container("f").ready().run()
    assert parent == template.pid
    assert kept in (True, 2)


def test_fork_false_means_fresh_interpreters(zygote):
    template = zygote.template(
        "import os\nimported_in = os.getpid()\ndef f(): return imported_in == os.getpid()",
        "f",
        fork=False,
    )
    event = template.imported()

    assert (event["ok"], event["fork_safe"], event["why"]) == (True, False, "fork=False")
    assert template.container("f").ready().run() is True


def test_a_fresh_interpreter_that_cannot_import_says_so(zygote):
    template = zygote.template("raise RuntimeError('no way')", "f", fork=False)
    template.imported()

    kind, body = template.container("f").frame()

    assert kind == ContainerKind.BROKEN
    assert "RuntimeError: no way" in json.loads(body)["text"]


def test_files_opened_by_the_import_stay_open(start):
    container = start("""
        kept = open(__file__)
        def f(): return kept.readline()
    """)

    assert container.run() == "\n"


def test_forked_children_of_user_code_keep_off_the_channels(start):
    container = start("""
        import os
        def f():
            pid = os.fork()
            if pid == 0:
                print("child")
                return "child"
            os.waitpid(pid, 0)
            return "parent"
    """)

    assert container.run() == "parent"
    assert container.run() == "parent"
    assert container.logs == []
    assert _read(container.out, until="child\nchild\n") == "child\nchild\n"


def test_multiprocessing_works_inside_of_a_container(start):
    container = start("""
        import multiprocessing
        def double(x): return 2 * x
        def f(method):
            with multiprocessing.get_context(method).Pool(2) as pool:
                return pool.map(double, range(4))
    """)

    assert container.run("fork") == [0, 2, 4, 6]
    assert container.run("spawn") == [0, 2, 4, 6]


# ---------------------------------------------------------------------------------- ends


def test_an_empty_read_means_leave_and_exit_handlers_run(start):
    container = start("""
        import atexit, threading
        def f():
            atexit.register(print, "at exit")
            threading.Thread(target=lambda: print("thread ended")).start()
    """)
    container.run()

    exited = container.leave()

    assert exited["status"] == 0
    assert exited["container"] == container.name
    assert exited["max_rss"] > 1000
    assert "thread ended" in container.printed()
    assert container.printed().endswith("at exit\n")


@pytest.mark.slow
def test_a_thread_that_never_ends_delays_the_leave_for_a_bounded_time(start):
    container = start("""
        import threading
        def f(): threading.Thread(target=threading.Event().wait).start()
    """)
    container.run()

    assert container.leave()["status"] == 0


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import os; os._exit(0)", 0),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("import ctypes; ctypes.string_at(0)", -11),
        ("import os; os.abort()", -6),
    ],
)
def test_the_end_of_a_container_is_told_with_its_status(start, code, status):
    container = start(f"def f():\n    {code}")

    container.send(1)

    assert os.waitstatus_to_exitcode(container.template.exited()["status"]) == status
    with pytest.raises(EOFError):
        container.frame()


def test_a_segmentation_fault_leaves_a_stack_on_stderr(start):
    container = start("def f():\n    import ctypes\n    ctypes.string_at(0)")

    container.send(1)

    assert "Segmentation fault" in _read(container.err)


def test_a_container_whose_descriptors_were_closed_ends_at_once(start):
    container = start("import os\ndef f(): os.closerange(0, 4096)")

    container.send(1)

    assert os.waitstatus_to_exitcode(container.template.exited()["status"]) == 70


@pytest.mark.parametrize(
    "leftover",
    [
        "subprocess.Popen(['sleep', '600'])",
        "subprocess.Popen(['sleep', '600'], start_new_session=True)",
        "daemon(lambda: os.execvp('sleep', ['sleep', '600']))",
        "daemon(lambda: time.sleep(600))",
        "daemon(lambda: (os.closerange(0, 4096), os.environ.clear(), time.sleep(600)))",
        "daemon(lambda: daemon(lambda: time.sleep(600)))",
    ],
)
@pytest.mark.parametrize("fork", [True, False])
def test_what_a_container_leaves_behind_is_killed_with_it(zygote, leftover, fork):
    template = zygote.template(
        f"""
        import os, subprocess, time
        told = []
        def daemon(work):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.write(told[1], b"%d\\n" % os.getpid())
                    work()
                os._exit(0)
            os.wait()
        def f():
            told[:] = os.pipe()
            started = {leftover}
            lines = b""
            while lines.count(b"\\n") < {leftover.count("daemon")}:
                lines += os.read(told[0], 100)
            return started.pid if started else int(lines.split()[-1])
        def g():
            return "innocent"
    """,
        "f",
        "g",
        fork=fork,
    )
    template.imported()
    guilty, innocent = (template.container(name).ready() for name in "fg")
    left = guilty.run()
    assert _is_alive(left)

    os.kill(guilty.pid, signal.SIGKILL)

    assert template.exited()["pid"] == guilty.pid
    _await_end(left)
    assert innocent.run() == "innocent"


def test_a_container_leaves_the_daemons_of_others_alone(zygote):
    template = zygote.template(
        """
        import subprocess
        def f():
            shell = "sleep 600 & echo $!"
            return int(subprocess.run(["setsid", "sh", "-c", shell], stdout=-1).stdout or 0)
    """.replace("stdout=-1", "stdout=subprocess.PIPE").replace("& echo", ">/dev/null 2>&1 & echo"),
        "f",
    )
    template.imported()
    stays, goes = (template.container("f").ready() for _ in range(2))
    kept, lost = stays.run(), goes.run()

    os.kill(goes.pid, signal.SIGKILL)
    template.exited()
    _await_end(lost)

    assert _is_alive(kept)


def test_a_daemon_that_hides_whose_it_is_goes_with_the_last_container(zygote):
    template = zygote.template(
        """
        import os, shutil
        def f():
            told = os.pipe()
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.write(told[1], b"%d" % os.getpid())
                    os.execve(shutil.which("sleep"), ["sleep", "600"], {})
                os._exit(0)
            os.wait()
            return int(os.read(told[0], 100))
        """,
        "f",
    )
    template.imported()
    first, last = (template.container("f").ready() for _ in range(2))
    left = [each.run() for each in (first, last)]

    for each in (first, last):
        os.kill(each.pid, signal.SIGKILL)
        template.exited()

    for pid in left:
        _await_end(pid)


def test_the_death_of_a_template_takes_its_containers_and_their_daemons_along(zygote):
    template = zygote.template(
        """
        import subprocess
        def f(): return subprocess.Popen(["sleep", "600"], start_new_session=True).pid
    """,
        "f",
    )
    template.imported()
    container = template.container("f").ready()
    left = container.run()

    os.kill(template.pid, signal.SIGKILL)

    exited = _event(zygote.control, "exited")
    assert (exited["pid"], exited["status"]) == (template.pid, 9)
    _await_end(container.pid)
    _await_end(left)


def test_a_template_that_is_let_go_ends_with_all_that_it_started(zygote):
    template = zygote.template(
        """
        import subprocess
        def f(): return subprocess.Popen(["sleep", "600"], start_new_session=True).pid
    """,
        "f",
    )
    template.imported()
    container = template.container("f").ready()
    left = container.run()

    template.control.close()

    assert _event(zygote.control, "exited")["status"] == 0
    assert not any(map(_is_alive, (container.pid, left, template.pid)))


@pytest.mark.parametrize("fork", [True, False])
def test_the_death_of_the_agent_leaves_nothing_behind(zygote, fork):
    template = zygote.template(
        """
        import subprocess, os
        def f():
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    while True: os.read(os.pipe()[0], 1)
                os._exit(0)
            return subprocess.Popen(["sleep", "600"], start_new_session=True).pid
    """,
        "f",
        fork=fork,
    )
    template.imported()
    container = template.container("f").ready()
    container.run()

    zygote.close()

    assert zygote.process.returncode == 0
    assert marked(MARKER, zygote.marker) == []


def test_the_death_of_the_zygote_takes_templates_and_containers_along(zygote):
    template = zygote.template("def f(): ...", "f")
    template.imported()
    container = template.container("f").ready()

    zygote.process.kill()

    _await_end(template.pid)
    _await_end(container.pid)


def test_fourteen_containers_start_from_one_template(zygote):
    template = zygote.template("import os\ndef f(): return os.getpid()", "f")
    template.imported()
    containers = [template.order("f") for _ in range(14)]

    pids = {_event(template.control, "started")["pid"] for _ in containers}

    assert {container.ready().run() for container in containers} == pids
