"""Conformance 3.8: how containers of classes start, are interrupted, and end."""
# ruff: noqa: TID251 - this is user code as well

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

import cloudfn
from tests.integration.conformance_world import World, opened_world, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("lifecycle")


class Noted:
    #: where it notes what happens
    folder: str = cloudfn.parameter()

    def note(self, what):
        with open(f"{self.folder}/notes", "a") as file:
            file.write(f"{what}\n")

    def is_there(self, name):
        return os.path.exists(f"{self.folder}/{name}")

    @cloudfn.exit()
    def leave(self):
        self.note("exit")


@app.cls()
class Worker(Noted):
    @cloudfn.enter()
    def start(self):
        self.note(f"enter {os.getpid()}")
        while self.is_there("slow start"):
            time.sleep(0.005)

    @cloudfn.method()
    def work(self):
        self.note(f"work {os.getpid()}")
        try:
            while not self.is_there("go"):
                time.sleep(0.005)
        except KeyboardInterrupt:
            self.note("interrupted")
            raise
        return "done"

    @cloudfn.method()
    async def work_in_loop(self):
        self.note(f"work {os.getpid()}")
        try:
            # Another process makes the file.
            while not self.is_there("go"):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.note("interrupted")
            raise
        return "done"

    @cloudfn.method()
    def preempted(self):
        if not self.is_there("go"):
            Path(self.folder, "go").touch()
            cloudfn.exception.simulate_preemption(0.01)
            time.sleep(60)
        return "done"

    @cloudfn.method()
    def pid(self):
        return os.getpid()


@app.cls()
class Leaver(Noted):
    @cloudfn.method()
    def pid(self):
        return os.getpid()

    @cloudfn.exit()
    def linger(self):
        self.note("leaving")
        while not self.is_there("go"):
            time.sleep(0.005)
        self.note("left")


@app.cls(single_use_containers=True)
class Single(Noted):
    @cloudfn.method()
    def pid(self):
        return os.getpid()


@app.cls(startup_timeout=1, timeout=60)
class Late(Noted):
    @cloudfn.enter()
    def start(self):
        time.sleep(30)

    @cloudfn.method()
    def work(self):
        return "done"


@app.cls(startup_timeout=30, timeout=1)
class Slow(Noted):
    @cloudfn.enter()
    def start(self):
        time.sleep(1.2)

    @cloudfn.method()
    def work(self):
        return "done"


@app.cls()
class Broken(Noted):
    @cloudfn.enter()
    def start(self):
        self.note("enter")
        raise LookupError("there is no model")

    @cloudfn.method()
    def work(self):
        self.note("work")


ENDLESS = """
import os, time, cloudfn
app = cloudfn.App("endless")

@app.cls()
class Endless:
    @cloudfn.method()
    def pid(self, folder):
        self.notes = folder + "/notes"
        return os.getpid()

    @cloudfn.exit()
    def linger(self):
        with open(self.notes, "a") as file:
            file.write("leaving\\n")
        time.sleep(600)
        with open(self.notes, "a") as file:
            file.write("left\\n")
"""


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


def notes(folder):
    path = Path(folder, "notes")
    return path.read_text().splitlines() if path.exists() else []


def began(folder, what="work"):
    """Return the process that began something last, once one did."""
    found = wait_for(what, lambda: [line for line in notes(folder) if line.startswith(what)])
    return int(found[-1].split()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("method", ["work", "work_in_loop"])
def test_an_interrupted_input_runs_again_elsewhere_and_exit_hooks_run(
    folder, method, number, world: World
):
    call = getattr(Worker(folder=folder), method).spawn()
    first = began(folder)

    os.kill(first, number)
    wait_for("the exit hook", lambda: "exit" in notes(folder))
    Path(folder, "go").touch()

    assert call.get(timeout=60) == "done"
    assert notes(folder)[1:4] == [f"work {first}", "interrupted", "exit"]
    assert began(folder) != first
    logs = world.ask("container_list")["containers"]
    assert first not in [each["pid"] for each in logs]


def test_an_interruption_leaves_no_traceback(folder, capfd):
    with cloudfn.enable_output():
        other = cloudfn.App("quiet")
        cls = other.cls(serialized=True)(type("Quiet", (Worker.__cloudfn_raw__,), {}))
        with other.run():
            call = cls(folder=folder).work.spawn()
            os.kill(began(folder), signal.SIGINT)
            wait_for("the exit hook", lambda: "exit" in notes(folder))
            Path(folder, "go").touch()
            assert call.get(timeout=60) == "done"

    assert "Traceback" not in capfd.readouterr().err


def test_a_container_that_is_interrupted_while_it_starts_ends_without_exit_hooks(folder):
    """C118."""
    Path(folder, "slow start").touch()
    Path(folder, "go").touch()
    call = Worker(folder=folder).work.spawn()
    first = began(folder, "enter")

    os.kill(first, signal.SIGINT)
    wait_for("another start", lambda: began(folder, "enter") != first)
    Path(folder, "slow start").unlink()

    assert call.get(timeout=60) == "done"
    assert "exit" not in notes(folder)


def test_exit_hooks_are_not_interrupted(folder):
    """C118."""
    pid = Leaver(folder=folder).pid.remote()
    os.kill(pid, signal.SIGINT)
    wait_for("the exit hook", lambda: "leaving" in notes(folder))

    os.kill(pid, signal.SIGINT)
    Path(folder, "go").touch()

    wait_for("its end", lambda: "left" in notes(folder))


def test_exit_hooks_that_take_too_long_are_ended_with_their_container():
    """C128, with a grace of a second where there are 30."""
    with opened_world() as hasty:
        hasty.variables["CLOUDFN_EXIT_GRACE"] = "1"
        hasty.cli("deploy", hasty.write(ENDLESS, "endless.py"))
        endless = cloudfn.Cls.from_name("endless", "Endless", client=hasty.client)()
        folder = str(hasty.folder)
        pid = endless.pid.remote(folder)

        os.kill(pid, signal.SIGINT)
        wait_for("the exit hook", lambda: "leaving" in notes(folder))

        wait_for("its end", lambda: pid not in hasty.processes())
        assert notes(folder) == ["leaving"]
        assert endless.pid.remote(folder) != pid


def test_a_container_that_is_stopped_by_hand_runs_its_exit_hooks(folder, world: World):
    worker = Worker(folder=folder)
    call = worker.work.spawn()
    first = began(folder)
    listed = world.ask("container_list")["containers"]
    container = next(each["container_id"] for each in listed if each["pid"] == first)

    world.cli("container", "stop", container)
    wait_for("the exit hook", lambda: "exit" in notes(folder))
    Path(folder, "go").touch()

    assert call.get(timeout=60) == "done"
    assert "interrupted" in notes(folder)


def test_a_preemption_can_be_simulated(folder):
    assert Worker(folder=folder).preempted.remote() == "done"
    assert notes(folder).count("exit") == 1


def test_containers_for_one_input_exit_after_it(folder):
    single = Single(folder=folder)

    pids = {single.pid.remote() for _ in range(3)}

    assert len(pids) == 3
    wait_for("the exit hooks", lambda: notes(folder).count("exit") == 3)


def test_a_failing_enter_hook_fails_the_start_and_not_the_input(folder):
    with pytest.raises(LookupError, match="there is no model"):
        Broken(folder=folder).work.remote()

    assert notes(folder).count("enter") == 3
    assert "work" not in notes(folder)
    assert "exit" not in notes(folder)


def test_enter_hooks_have_to_end_within_the_startup_timeout_and_not_the_other_one(folder):
    """C083."""
    assert Slow(folder=folder).work.remote() == "done"
    with pytest.raises(cloudfn.exception.ExecutionError, match="startup_timeout of 1s"):
        Late(folder=folder).work.remote()


def test_exit_hooks_run_when_an_app_ends_with_inputs_that_run(folder):
    other = cloudfn.App("ends")
    cls = other.cls(serialized=True)(type("Ends", (Worker.__cloudfn_raw__,), {}))

    with other.run():
        cls(folder=folder).work.spawn()
        began(folder)

    wait_for("the exit hook", lambda: "exit" in notes(folder))


def test_a_new_version_with_recreate_interrupts_the_old_containers(folder, world: World):
    path = world.write(
        f"""
        import os, time, cloudfn
        app = cloudfn.App("recreated")
        @app.cls()
        class Worker:
            @cloudfn.method()
            def work(self):
                with open("{folder}/notes", "a") as file:
                    file.write(f"work {{os.getpid()}}\\n")
                while not os.path.exists("{folder}/go"):
                    time.sleep(0.005)
                return "first"
            @cloudfn.exit()
            def leave(self):
                with open("{folder}/notes", "a") as file:
                    file.write("exit\\n")
        """
    )
    world.cli("deploy", path)
    call = cloudfn.Cls.from_name("recreated", "Worker")().work.spawn()
    began(folder)
    path.write_text(path.read_text().replace("first", "second"))

    world.cli("deploy", "--strategy", "recreate", path)
    wait_for("the exit hook", lambda: "exit" in notes(folder))
    Path(folder, "go").touch()

    assert call.get(timeout=60) == "first"
