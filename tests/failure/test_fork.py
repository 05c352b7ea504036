"""Templates that may not be forked, and what user code forks itself."""

import pytest

pytestmark = pytest.mark.integration

UNSAFE = {
    "thread": """
def idle():
    threading.Event().wait()

if not cloudfn.is_local():
    threading.Thread(target=idle, daemon=True, name="poller").start()
""",
    "socket": """
import socket
connection, _other = socket.socketpair() if not cloudfn.is_local() else (None, None)
""",
}

LOOK = """
if not cloudfn.is_local():
    note("imported", os.getpid())

@app.function(max_containers=3{more})
def look(item=0):
    note("pids", os.getpid())
    wait_for("go")
    return os.getpid(), threading.active_count()
"""


@pytest.mark.parametrize("what", UNSAFE)
def test_a_module_that_no_fork_carries_over_gets_fresh_interpreters_and_that_is_said_once(
    running, what
):
    program = running(UNSAFE[what] + LOOK.format(more=""))
    call = program.look.spawn_map(range(3))
    program.await_notes("pids", 3)
    program.allow("go")

    answers = list(call.iter())

    # Once in the template, and once in each container.
    assert len(program.notes("imported")) == 4
    assert len({pid for pid, _ in answers}) == 3
    assert {count for _, count in answers} == {2 if what == "thread" else 1}
    said = program.text()
    assert said.count("started afresh") == 1
    assert {"thread": "poller", "socket": "2 sockets"}[what] in said


def test_a_module_that_may_be_forked_is_imported_once(running):
    program = running(LOOK.format(more=""))
    call = program.look.spawn_map(range(3))
    program.await_notes("pids", 3)
    program.allow("go")

    assert len({pid for pid, _ in call.iter()}) == 3
    assert len(program.notes("imported")) == 1
    assert "afresh" not in program.text()


def test_fork_false_imports_in_each_container(running):
    program = running(LOOK.format(more=", fork=False"))
    call = program.look.spawn_map(range(3))
    program.await_notes("pids", 3)
    program.allow("go")

    pids = {str(pid) for pid, _ in call.iter()}
    assert set(program.notes("imported")) == pids
    assert len(pids) == 3


@pytest.mark.parametrize("how", ["", ", fork=False"])
def test_random_numbers_differ_between_containers(running, how):
    program = running(
        f"""
        import random
        import types

        # Stands in for NumPy, which is asked for only where a program has imported it.
        numpy_random = types.ModuleType("numpy.random")
        numpy_random.seed = lambda: note("seeded", os.getpid())
        if not cloudfn.is_local():
            sys.modules["numpy.random"] = numpy_random

        random.random()  # from here on the numbers would be the same in all forks

        @app.function(max_containers=3{how})
        def draw(item):
            note("drawing")
            wait_for("go")
            return os.getpid(), random.random()
        """
    )
    call = program.draw.spawn_map(range(3))
    program.await_notes("drawing", 3)
    program.allow("go")

    drawn = list(call.iter())

    assert len({number for _, number in drawn}) == 3
    if not how:
        assert sorted(program.notes("seeded")) == sorted(str(pid) for pid, _ in drawn)


def test_user_code_runs_on_the_main_thread(running):
    program = running(
        """
        @app.function()
        def work():
            signal.signal(signal.SIGALRM, lambda *_: None)
            return threading.current_thread() is threading.main_thread()
        """
    )

    assert program.work.remote() is True


CHILDREN = """
import subprocess

def wait_for_ever():
    note("children", os.getpid())
    while True:
        signal.pause()

def plain():
    if os.fork() == 0:
        wait_for_ever()

def setsid():
    if os.fork() == 0:
        os.setsid()
        wait_for_ever()

def double():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            wait_for_ever()
        os._exit(0)

def ignoring():
    if os.fork() == 0:
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        wait_for_ever()

def unmarked():
    pid = subprocess.Popen(["/bin/sleep", "600"], env={}, start_new_session=True).pid
    note("children", pid)

def orphan():
    command = "['/bin/sleep', '600'], env={}, stdout=-3, stderr=-3"
    code = f"import subprocess; print(subprocess.Popen({command}).pid)"
    pid = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    note("children", int(pid))

KINDS = {name: value for name, value in globals().items() if callable(value)}

@app.function(max_containers=1)
def leave(kind):
    KINDS[kind]()
    return os.getpid()

@app.function(max_containers=1)
def crash(kind):
    KINDS[kind]()
    wait_for("go")
    os.abort()
"""
KINDS = ["plain", "setsid", "double", "ignoring", "unmarked", "orphan"]


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("kind", KINDS)
def test_children_that_stay_go_with_their_container(running, kind):
    program = running(CHILDREN)
    container = program.leave.remote(kind)
    child = int(program.await_notes("children")[0])
    assert not is_gone(child)

    program.machine.kill(container)

    program.machine.wait_for(lambda: is_gone(child), "the child's end")


def test_children_of_all_kinds_go_when_their_app_ends(running, baseline):
    program = running(CHILDREN)
    for kind in KINDS:
        program.leave.remote(kind)
    children = [int(pid) for pid in program.await_notes("children", len(KINDS))]

    baseline.ask("app_close", app_id=program.app.app_id)

    baseline.wait_for(lambda: all(map(is_gone, children)), "the end of all children")


def test_children_of_one_container_do_not_go_with_another(running):
    program = running(
        CHILDREN
        + """
@app.function(max_containers=2)
def both(kind):
    note("holders", os.getpid())
    wait_for("two")
    KINDS[kind]()
    wait_for("go")
    return os.getpid()
"""
    )
    call = program.both.spawn_map(["double", "double"])
    holders = [int(pid) for pid in program.await_notes("holders", 2)]
    program.allow("two")
    children = [int(pid) for pid in program.await_notes("children", 2)]

    program.machine.kill(holders[0])
    program.machine.wait_for(lambda: any(map(is_gone, children)), "the end of one child")
    program.await_notes("children", 3)

    assert [is_gone(pid) for pid in children].count(True) == 1
    program.allow("go")
    list(call.iter())


def test_user_code_that_forks_and_returns_twice_has_one_outcome(running):
    program = running(
        """
        @app.function(max_containers=1)
        def work(item):
            pid = os.fork()
            note("returning", os.getpid())
            print("from", "the child" if pid == 0 else "the parent")
            return item, pid != 0

        @app.function(max_containers=1)
        def fail(item):
            pid = os.fork()
            if pid == 0:
                raise ValueError("from the child")
            os.waitpid(pid, 0)
            return item
        """
    )

    assert list(program.work.map(range(10))) == [(item, True) for item in range(10)]
    program.await_notes("returning", 20)
    assert [program.fail.remote(item) for item in range(5)] == list(range(5))
    program.machine.wait_for(lambda: "the child" in program.text(), "what the child printed")


def test_a_thread_that_outlives_its_input_harms_no_later_one(running):
    program = running(
        """
        @app.function(max_containers=1)
        def work(item):
            def go_on():
                note("threads")
                wait_for("go")
                print("late words of", item)
                note("ended", item)
            thread = threading.Thread(target=go_on)
            thread.start()
            return item, os.getpid()
        """
    )
    answers = [program.work.remote(item) for item in range(5)]

    program.await_notes("threads", 5)
    program.allow("go")

    assert [item for item, _ in answers] == list(range(5))
    assert len({pid for _, pid in answers}) == 1
    program.await_notes("ended", 5)
    program.machine.wait_for(
        lambda: all(f"late words of {item}" in program.text() for item in range(5)), "late words"
    )


def test_user_code_may_use_processes_of_its_own(running):
    program = running(
        """
        import multiprocessing
        import subprocess
        from concurrent.futures import ProcessPoolExecutor

        def double(n):
            return 2 * n

        @app.function(max_containers=1)
        def work():
            with multiprocessing.get_context("fork").Pool(2) as pool:
                doubled = pool.map(double, range(5))
            with ProcessPoolExecutor(2) as executor:
                again = list(executor.map(double, range(5)))
            said = subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout
            return doubled, again, said
        """
    )

    for _ in range(2):
        doubled, again, said = program.work.remote()
        assert doubled == again == [0, 2, 4, 6, 8]
        assert said == "hello\n"
