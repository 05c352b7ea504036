"""Real zygotes, templates and containers, driven over their sockets as an agent would."""

import json
import os
import signal
import socket
import sys

import pytest

from cloudfn.errors import DataLossError, DeserializationError, NotFoundError, SerializationError
from cloudfn.model.call import Status
from cloudfn.wire import codec
from cloudfn.wire.exceptions import unpack_exception
from cloudfn.wire.messages import (
    INLINE_LIMIT,
    BlobRef,
    ContainerKind,
    LogSource,
    Run,
    is_blob,
)
from tests.integration.worker_processes import CTX, Template, next_event, read_pipe, start, zygote

__all__ = ["start", "zygote"]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="the local engine is Linux first"),
]


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
    assert "on its way" in read_pipe(template.output)
    assert next_event(zygote.control, "exited")["pid"] == template.pid


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
    assert read_pipe(container.template.output, until="imported\n") == "imported\n"


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

    assert read_pipe(container.out, until="child\n") == "below child\n"
    assert read_pipe(container.err, until="end") == "end"
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
