"""How inputs are cancelled, how containers fork, and how containers, templates and zygotes end."""

import json
import os
import signal
import sys

import pytest

from cloudfn.model.call import Status
from cloudfn.wire.messages import (
    ContainerKind,
    LogSource,
)
from cloudfn.worker.process import MARKER, marked
from tests.integration.worker_processes import (
    await_end,
    is_alive,
    next_event,
    read_pipe,
    start,
    zygote,
)

__all__ = ["start", "zygote"]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="the local engine is Linux first"),
]


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
    read_pipe(container.out, until="begun")

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
    assert read_pipe(container.out, until="child\nchild\n") == "child\nchild\n"


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
def test_a_container_that_is_interrupted_at_its_birth_leaves_without_a_word(zygote):
    template = zygote.template(
        """
        import os
        import signal

        def f():
            pass

        os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGINT))
        """,
        "f",
    )
    template.imported()

    container = template.container("f")

    assert container.last_frames() == [ContainerKind.LEAVING]
    assert template.exited()["status"] == 0
    assert (read_pipe(container.err), container.printed()) == ("", "")


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

    assert "Segmentation fault" in read_pipe(container.err)


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
    assert is_alive(left)

    os.kill(guilty.pid, signal.SIGKILL)

    assert template.exited()["pid"] == guilty.pid
    await_end(left)
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
    await_end(lost)

    assert is_alive(kept)


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
        await_end(pid)


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

    exited = next_event(zygote.control, "exited")
    assert (exited["pid"], exited["status"]) == (template.pid, 9)
    await_end(container.pid)
    await_end(left)


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

    assert next_event(zygote.control, "exited")["status"] == 0
    assert not any(map(is_alive, (container.pid, left, template.pid)))


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

    await_end(template.pid)
    await_end(container.pid)


def test_fourteen_containers_start_from_one_template(zygote):
    template = zygote.template("import os\ndef f(): return os.getpid()", "f")
    template.imported()
    containers = [template.order("f") for _ in range(14)]

    pids = {next_event(template.control, "started")["pid"] for _ in containers}

    assert {container.ready().run() for container in containers} == pids
