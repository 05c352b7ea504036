"""Conformance 1.11, 2.14: runs from stdin, with times, interactive ones; environments; rollover."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest

import cloudfn
from cloudfn.exception import AlreadyExistsError, InvalidError, NotFoundError
from tests.integration.conformance_world import PATIENCE, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

PROGRAM = """
import cloudfn
app = cloudfn.App("commands")

@app.function()
def square(x: int):
    print("squaring")
    return x * x

@app.local_entrypoint()
def main(x: int = 3):
    print(square.remote(x))
"""

ASKING = """
import cloudfn
app = cloudfn.App("asking")

@app.function()
def ask():
    cloudfn.interact()
    name = input("Who is there? ")
    breakpoint()
    return f"Hello, {name}!"
"""


def test_a_program_is_read_from_stdin(world: World):
    assert world.cli("run", "-q", "-", "--x", "5", text=PROGRAM).stdout.endswith("25\n")
    done = world.cli("run", "-q", "--", "-::app.square", "--x", "4", text=PROGRAM)
    assert done.stdout == "squaring\n16\n"


def test_lines_of_containers_carry_their_time_where_that_is_wanted(world: World):
    done = world.cli("run", "-q", "--timestamps", world.write(PROGRAM))

    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d  squaring", first)
    assert second == "9"


def test_a_container_of_an_interactive_run_reads_from_the_terminal(world: World):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cloudfn", "run", "-i", f"{world.write(ASKING)}::ask"]
    child = world.start(*command, stdin=theirs)
    assert child.stdout is not None

    assert _until(child, "Who is there? ").endswith("Who is there? ")
    os.write(ours, b"Ada\n")
    _until(child, "(Pdb) ")
    os.write(ours, b"p name\n")
    assert "'Ada'" in _until(child, "(Pdb) ")
    os.write(ours, b"c\n")
    out, err = child.communicate(timeout=PATIENCE)

    assert child.returncode == 0, err
    assert "Hello, Ada!" in out
    os.close(ours)
    os.close(theirs)


def test_interact_and_interactive_runs_need_each_other_and_a_terminal(world: World):
    path = world.write(ASKING)
    lone = world.cli("run", f"{path}::ask", code=1)
    assert "cloudfn run -i" in lone.stderr
    blind = world.cli("run", "-i", f"{path}::ask", code=1)
    assert "needs a terminal" in blind.stderr
    with pytest.raises(InvalidError, match="inside a container"):
        cloudfn.interact()


def test_a_rollover_replaces_containers_and_changes_nothing_else(world: World):
    program = """
    import os, cloudfn
    app = cloudfn.App("rolled")

    @app.function(scaledown_window=600)
    def where():
        return os.environ["CLOUDFN_CONTAINER_ID"]
    """
    world.cli("deploy", world.write(program, "rolled.py"))
    where = cloudfn.Function.from_name("rolled", "where")
    where.update_autoscaler(max_containers=7)
    first = where.remote()

    assert "v2" in world.cli("app", "rollover", "rolled").stderr

    assert where.remote() != first
    assert where.autoscaler.settings().max_containers == 7
    history = world.ask("app_history", name="rolled")["revisions"]
    assert [each["number"] for each in history] == [1, 2]
    assert "No app named 'nowhere'" in world.cli("app", "rollover", "nowhere", code=1).stderr


def test_environments_are_made_listed_and_deleted_with_all_that_is_in_them(
    world: World, monkeypatch
):
    monkeypatch.setenv("CLOUDFN_HOME", world.variables["CLOUDFN_HOME"])
    world.cli("environment", "create", "staging")
    world.cli("deploy", "--env", "staging", world.write(PROGRAM, "staged.py"))
    source = """
    import cloudfn
    f = cloudfn.Function.from_name("commands", "square", environment_name="staging")
    print(f.remote(6))
    """
    assert world.python(world.write(source)).stdout == "36\n"
    assert "staging" in world.cli("environment", "list").stdout.split()
    assert cloudfn.Environment.from_name("staging") in cloudfn.Environment.objects.list()
    assert "exists already" in world.cli("environment", "create", "staging", code=1).stderr
    with pytest.raises(AlreadyExistsError):
        cloudfn.Environment.objects.create("staging")

    world.cli("environment", "delete", "staging", code=2)  # nobody is there to ask
    world.cli("environment", "delete", "staging", "--yes")

    assert "staging" not in world.cli("environment", "list").stdout.split()
    assert not (world.settings.root / "staging").exists()
    with pytest.raises(NotFoundError):
        cloudfn.Environment.objects.delete("staging")
    cloudfn.Environment.objects.delete("staging", allow_missing=True)
    with pytest.raises(InvalidError):
        cloudfn.Environment.from_name("a b")


def test_a_detached_run_says_how_to_follow_and_outlives_ctrl_c(world: World, tmp_path):
    """C140, and `run -d` with an entry point: the last call goes on."""
    program = """
    import os, time, cloudfn
    app = cloudfn.App("detached")

    @app.function()
    def wait(folder):
        open(os.path.join(folder, "began"), "w").close()
        deadline = time.monotonic() + 60
        while not os.path.exists(os.path.join(folder, "gate")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        open(os.path.join(folder, "done"), "w").close()
    """
    path = world.write(program)
    child = world.start(
        sys.executable, "-m", "cloudfn", "run", "-d", f"{path}::wait", "--folder", tmp_path
    )
    wait_for("the call's begin", (tmp_path / "began").exists)
    child.send_signal(2)
    _, err = child.communicate(timeout=PATIENCE)

    assert child.returncode == 130
    assert "Traceback" not in err
    assert "Shutting down the client" in err
    assert "cloudfn app logs ap-" in err
    assert "cloudfn app stop ap-" in err
    (tmp_path / "gate").touch()
    wait_for("the call's end", (tmp_path / "done").exists)


def test_what_a_detached_run_waits_for_is_finished_when_its_client_is_gone(world: World, tmp_path):
    program = """
    import os, time, cloudfn
    app = cloudfn.App("abandoned")

    @app.function()
    def wait(folder):
        open(os.path.join(folder, "began"), "w").close()
        deadline = time.monotonic() + 60
        while not os.path.exists(os.path.join(folder, "gate")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        open(os.path.join(folder, "done"), "w").close()

    @app.local_entrypoint()
    def main(folder: str):
        wait.remote(folder)
    """
    path = world.write(program)
    # A daemon of their own, for which clients are gone after a moment.
    variables = {"CLOUDFN_ENVIRONMENT": "abandoned", "CLOUDFN_CLIENT_GRACE": "0.5"}
    runs = {}
    for name, options in (("kept", ["-d"]), ("ended", [])):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-m", "cloudfn", "run", *options, path, "--folder", folder]
        runs[name] = world.start(*command, variables=variables)
        wait_for("the call's begin", (folder / "began").exists)
    for child in runs.values():
        child.kill()

    def apps():
        listed = world.cli("app", "list", "--json", variables=variables).stdout
        return [each["state"] for each in json.loads(listed)]

    wait_for("the end of the other", lambda: apps() == ["detached"])
    (tmp_path / "kept" / "gate").touch()
    wait_for("the call's end", (tmp_path / "kept" / "done").exists)
    wait_for("the app's end", lambda: apps() == [])


def test_a_deploy_can_go_on_with_the_logs(world: World):
    path = world.write(PROGRAM.replace('"commands"', '"followed"'), "followed.py")
    child = world.start(sys.executable, "-m", "cloudfn", "deploy", "--stream-logs", path)
    assert child.stdout is not None
    wait_for("the deploy", lambda: _deployed(world, "followed"))
    cloudfn.Function.from_name("followed", "square").remote(2)

    assert child.stdout.readline() == "squaring\n"
    child.send_signal(2)
    assert child.wait(PATIENCE) == 130


def _deployed(world: World, name: str) -> bool:
    return name in [each["name"] for each in world.ask("app_list")["apps"]]


def _until(child: "subprocess.Popen[str]", text: str) -> str:
    """Return what a process prints up to a text, read as it comes."""
    assert child.stdout is not None
    read = b""
    descriptor = child.stdout.fileno()
    while text.encode() not in read:
        piece = os.read(descriptor, 4096)
        assert piece, f"it ended after {read!r}: {child.communicate(timeout=PATIENCE)}"
        read += piece
    return read.decode()


def test_a_version_can_be_pinned_with_a_pool_of_its_own(world: World):
    program = """
    import os, cloudfn
    app = cloudfn.App("pinned")

    @app.function(min_containers=1, scaledown_window=600)
    def f():
        return {value}, os.environ["CLOUDFN_CONTAINER_ID"]

    @app.cls()
    class C:
        size: int = cloudfn.parameter(default=1)

        @cloudfn.method()
        def which(self):
            return {value}, self.size
    """
    path = world.write(program.format(value=1), "pinned.py")
    world.cli("deploy", path)
    live = cloudfn.Function.from_name("pinned", "f")
    old = cloudfn.Function.from_name("pinned", "f", version=1)
    assert (live.remote()[0], old.remote()[0]) == (1, 1)
    assert live.remote()[1] != old.remote()[1]
    assert old.autoscaler.settings().min_containers == 0
    kept = old.remote()[1]

    world.write(program.format(value=2), "pinned.py")
    world.cli("deploy", "--strategy", "recreate", path)

    assert live.remote()[0] == 2
    # Its container is the one that it had before.
    assert old.remote() == (1, kept)
    assert cloudfn.Function.from_name("pinned", "f", version=2).remote()[0] == 2
    assert (old.info().version, live.info().version) == (1, 2)
    assert cloudfn.Cls.from_name("pinned", "C", version=1)(size=3).which.remote() == (1, 3)
    assert cloudfn.Cls.from_name("pinned", "C")(size=3).which.remote() == (2, 3)
    old.update_autoscaler(max_containers=2)
    assert old.with_options(timeout=10).remote()[0] == 1
    with pytest.raises(NotFoundError, match="no version 9"):
        cloudfn.Function.from_name("pinned", "f", version=9).remote()
    with pytest.raises(InvalidError, match="version"):
        cloudfn.Function.from_name("pinned", "f", version="v1")  # type: ignore[arg-type]
