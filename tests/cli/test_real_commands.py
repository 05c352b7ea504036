"""Every command against a real engine: listings, logs, exec, stop, history, the daemon."""

import json
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import cloudfn
from tests.integration.conformance_world import PATIENCE, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

PROGRAM = """
import os
import sys
import time
import cloudfn

app = cloudfn.App("served")
VERSION = 1

@app.function(min_containers=1, max_containers=3, scaledown_window=60)
def work(n):
    print("working on", n)
    print("warning about", n, file=sys.stderr)
    if n < 0:
        raise ValueError("negative")
    return n * 2

@app.function(max_containers=1, scaledown_window=60)
def wait(path):
    print("waiting", flush=True)
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return "waited"

@app.function(env={"GREETING": "hello"})
def other():
    print("from the other one")
    return {"list": [1, 2]}

@app.function()
def words():
    return "some words"
"""


@pytest.fixture(scope="module", autouse=True)
def served(world: World) -> World:
    world.cli("deploy", world.write(PROGRAM, "served.py"))
    return world


def handle(name: str) -> cloudfn.Function:
    return cloudfn.Function.from_name("served", name)


def document(world: World, *words: object, code: int = 0) -> Any:
    """Return the one JSON document that a command prints."""
    return json.loads(world.cli(*words, "--json", code=code).stdout)


def tail(child: subprocess.Popen) -> Callable[[], str]:
    """Return what reads the next line of a process's stdout, with a deadline."""
    stream = child.stdout
    assert stream is not None

    def read() -> str:
        ready, _, _ = select.select([stream], [], [], PATIENCE)
        assert ready, "no line came"
        return str(stream.readline())

    return read


def test_every_listing_has_json_and_nothing_else_on_stdout(world: World):
    handle("work").remote(1)
    call = handle("work").spawn(2)
    call.get()
    (app,) = [each for each in document(world, "app", "list") if each["name"] == "served"]
    assert app["state"] == "deployed"
    assert set(app["functions"]) == {"work", "wait", "other", "words"}
    (revision,) = document(world, "app", "history", "served")
    assert revision["number"] == 1
    assert revision["live"]
    containers = document(world, "container", "list")
    assert any(each["function_name"] == "work" for each in containers)
    calls = document(world, "call", "list", "--app", "served", "--function", "work")
    assert call.object_id in [each["call"] for each in calls]
    stats = document(world, "stats", "served", "work")
    assert stats["backlog"] == 0
    assert stats["num_total_runners"] >= 1
    status = document(world, "daemon", "status")
    assert status["running"]
    assert document(world, "doctor") is not None
    entries = document(world, "app", "logs", "served")
    assert any("working on 2" in each["text"] for each in entries)
    settings = document(world, "update-autoscaler", "served", "work", "--scaledown-window", 60)
    assert settings["max_containers"] == 3
    assert document(world, "call", "get", handle("other").spawn().object_id) == {"list": [1, 2]}


def test_calls_of_an_app_are_listed_however_many_newer_ones_others_have(world: World):
    mine = handle("other").spawn()
    world.cli("deploy", world.write(PROGRAM.replace("served", "beside"), "beside.py"))
    for _ in range(3):
        cloudfn.Function.from_name("beside", "words").spawn()
    (listed,) = document(world, "call", "list", "--app", "served", "-n", 1)
    assert listed["call"] == mine.object_id
    world.cli("app", "stop", "beside", "-y")


def test_tables_of_a_pipe_have_headings_and_a_row_each(world: World):
    listings = (
        "app list", "container list", "call list", "stats served work", "app history served",
        "daemon status", "doctor",
    )  # fmt: skip
    for listing in listings:
        lines = world.cli(*listing.split()).stdout.splitlines()
        assert len(lines) >= 2, listing
        assert "\x1b" not in "".join(lines)


def test_call_get_prints_results_and_failures(world: World, tmp_path):
    assert world.cli("call", "get", handle("work").spawn(4).object_id).stdout == "8\n"
    failed = world.cli("call", "get", handle("work").spawn(-1).object_id, code=1)
    assert "ValueError: negative" in failed.stderr
    out = tmp_path / "out"
    world.cli("call", "get", handle("words").spawn().object_id, "--write-result", out)
    assert out.read_text() == "some words"
    many = handle("work").spawn_map([1, 2, 3])
    assert world.cli("call", "get", many.object_id, "--index", 2).stdout == "6\n"
    unknown = world.cli("call", "get", "fc-" + "0" * 20, code=1)
    assert "error:" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_call_cancel_ends_a_call(world: World, tmp_path):
    call = handle("wait").spawn(str(tmp_path / "gate"))
    late = world.cli("call", "get", call.object_id, "--timeout", "0", code=1)
    assert "goes on" in late.stderr
    world.cli("call", "cancel", call.object_id)
    done = world.cli("call", "get", call.object_id, code=1)
    assert "cancel" in done.stderr.lower()
    (found,) = [each for each in document(world, "call", "list") if each["call"] == call.object_id]
    assert found["cancelled"]


def test_logs_are_filtered(world: World):
    """C160."""
    work, other = handle("work"), handle("other")
    call = work.spawn(71)
    call.get()
    work.remote(72)
    other.remote()

    def everything(*words: str) -> subprocess.CompletedProcess[str]:
        return world.cli("app", "logs", "served", *words)

    wait_for("the last line", lambda: "from the other one" in everything().stdout)
    assert "working on 71" in everything().stdout
    assert "warning about 71" in everything().stderr
    only_err = everything("--source", "stderr")
    assert "warning about 72" in only_err.stderr
    assert only_err.stdout == ""
    assert "working on" not in everything("--function", "other").stdout
    of_call = everything("--call", call.object_id).stdout
    assert of_call == "working on 71\n"
    assert everything("--search", "on 72").stdout == "working on 72\n"
    assert len(document(world, "app", "logs", "served", "--tail", "1")) == 1
    assert everything("--until", "1d", "--source", "stdout").stdout == ""
    assert "working on 72" in everything("--since", "1h").stdout
    stamped = everything("--timestamps", "--search", "on 72").stdout
    assert stamped.endswith("working on 72\n")
    assert stamped != "working on 72\n"
    everything_wrong = world.cli("app", "logs", "served", "-f", "--since", "1h", code=2)
    assert "--follow" in everything_wrong.stderr
    world.cli("app", "logs", "served", "--source", "nonsense", code=2)
    world.cli("app", "logs", "served", "--since", "nonsense", code=2)
    unknown = world.cli("app", "logs", "no-such-app", code=1)
    assert "no-such-app" in unknown.stderr


def test_the_last_100_entries_are_shown(world: World):
    """C160."""
    handle("work").for_each(range(120))
    wait_for("the last line", lambda: "working on 119" in world.cli(
        "app", "logs", "served", "--tail", "500").stdout)  # fmt: skip
    assert len(document(world, "app", "logs", "served")) == 100


def test_logs_can_be_followed_until_ctrl_c(world: World):
    child = world.start(sys.executable, "-m", "cloudfn", "app", "logs", "served", "--follow",
                        "--function", "other")  # fmt: skip
    read = tail(child)
    handle("other").remote()
    assert read() == "from the other one\n"
    handle("other").remote()
    assert read() == "from the other one\n"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Traceback" not in err


def test_container_logs_and_list_are_of_one_container(world: World):
    handle("work").remote(8181)
    (entry,) = wait_for(
        "its output",
        lambda: document(world, "app", "logs", "served", "--search", "working on 8181"),
    )
    container = entry["container"]
    listed = document(world, "container", "list", "--app", "served")
    assert container in [each["container_id"] for each in listed]
    assert "working on 8181" in world.cli("container", "logs", container).stdout
    assert "from the other one" not in world.cli("container", "logs", container).stdout
    unknown = world.cli("container", "logs", "ta-nonsense", code=None)
    assert "Traceback" not in unknown.stderr


def test_container_exec_runs_in_the_containers_world(world: World):
    handle("other").remote()
    listed = document(world, "container", "list")
    container = next(each for each in listed if each["function_name"] == "other")["container_id"]
    echoed = world.cli("container", "exec", container, "sh", "-c", "echo $GREETING; ls")
    assert echoed.stdout.splitlines()[0] == "hello"
    assert "served.py" in echoed.stdout
    assert world.cli("container", "exec", container, "sh", "-c", "exit 7", code=7)
    missing = world.cli("container", "exec", container, "no-such-program", code=1)
    assert "no-such-program" in missing.stderr
    gone = world.cli("container", "exec", "ta-nonsense", "true", code=1)
    assert "Traceback" not in gone.stderr


def test_container_stop_has_its_input_run_again_elsewhere(world: World, tmp_path):
    gate = tmp_path / "gate"
    call = handle("wait").spawn(str(gate))
    wait_for("it to run", lambda: handle("wait").get_current_stats().num_running_inputs)
    (before,) = world.containers("wait")
    world.cli("container", "stop", before["container_id"])
    wait_for("another container", lambda: [
        each for each in world.containers("wait")
        if each["container_id"] != before["container_id"] and each["state"] == "busy"
    ])  # fmt: skip
    gate.touch()
    assert call.get(timeout=30) == "waited"
    assert "ta-nonsense" in world.cli("container", "stop", "ta-nonsense", code=1).stderr


def test_a_graceful_stop_lets_a_container_finish_its_input(world: World, tmp_path):
    gate = tmp_path / "gate"
    call = handle("wait").spawn(str(gate))
    wait_for("it to run", lambda: handle("wait").get_current_stats().num_running_inputs)
    (container,) = [each for each in world.containers("wait") if each["state"] == "busy"]
    world.cli("container", "stop", "--graceful", "--yes", container["container_id"])
    left = {each["container_id"]: each["state"] for each in world.containers("wait")}
    assert left[container["container_id"]] == "draining"
    gate.touch()
    assert call.get(timeout=30) == "waited"
    wait_for("its end", lambda: container["container_id"] not in [
        each["container_id"] for each in world.containers("wait")
    ])  # fmt: skip
    assert "waiting\n" in world.cli("container", "logs", "--all", container["container_id"]).stdout
    # Once: nothing ran again elsewhere.
    assert world.cli("app", "logs", "served", "--call", call.object_id).stdout == "waiting\n"


def test_variants_their_calls_and_their_output_are_listed(world: World):
    base, variant = handle("other"), handle("other").with_options(max_containers=2)
    call = variant.spawn()
    assert call.get() == base.spawn().get()

    def calls(ref: str, *words: str) -> list[str]:
        return [each["call"] for each in document(world, "function", "calls", ref, *words)]

    (found,) = document(world, "function", "variants", "served/other")
    assert (found["function_id"], found["name"]) == (variant.object_id, "other[max_containers=2]")
    assert (found["options"], found["settings"]["max_containers"]) == ({"max_containers": 2}, 2)
    assert found["stats"]["num_total_runners"] == 1
    assert document(world, "function", "variants", "served/words") == []
    assert call.object_id not in calls("served/other")
    assert calls(variant.object_id) == [call.object_id]
    # The newest first, whichever variant it is of.
    both = calls("served/other", "--all-variants", "--since", "1h")
    assert both[1] == call.object_id
    assert both[0] in calls("served/other", "--since", "1h")
    assert calls("served/other", "--all-variants", "--until", "1h") == []

    def printed() -> list[str]:
        options = ("--call", call.object_id, "--show-container-id")
        return world.cli("function", "logs", "served/other", *options).stdout.splitlines()

    (line,) = wait_for("its output", printed)
    assert line.startswith("ta-")
    assert line.endswith("  from the other one")


def test_update_autoscaler_merges_and_refuses(world: World):
    """C092."""
    done = document(world, "update-autoscaler", "served", "other", "--min-containers", 1,
                    "--max-containers", 4)  # fmt: skip
    assert (done["min_containers"], done["max_containers"]) == (1, 4)
    done = document(world, "update-autoscaler", "served", "other", "--min-containers", 0)
    assert (done["min_containers"], done["max_containers"]) == (0, 4)
    refused = world.cli("update-autoscaler", "served", "other", "--min-containers", 9, code=1)
    assert "9" in refused.stderr
    assert "4" in refused.stderr
    world.cli("update-autoscaler", "served", "other", code=2)
    world.cli("update-autoscaler", "served", "no-such", "--min-containers", 1, code=1)
    world.cli("update-autoscaler", "served", "other", "--max-containers", "none")
    assert handle("other").autoscaler.settings().max_containers is None


def test_stats_watch_goes_on_until_ctrl_c(world: World):
    child = world.start(sys.executable, "-m", "cloudfn", "stats", "served", "work", "--watch",
                        "--interval", "0.1")  # fmt: skip
    read = tail(child)
    assert "waiting" in read()
    assert "waiting" in read()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Traceback" not in err


def test_history_rollback_and_stop_of_an_app(world: World):
    """C136, C137."""
    source = """
    import cloudfn
    app = cloudfn.App("changing")

    @app.function()
    def f():
        return {value}
    """
    path = world.write(source.format(value=1), "changing.py")
    first = document(world, "deploy", path, "--tag", "first")
    assert (first["revision"], first["changed"]) == (1, True)
    assert first["functions"] == ["f"]
    assert not document(world, "deploy", path, "--tag", "first")["changed"]
    world.write(source.format(value=2), "changing.py")
    assert document(world, "deploy", path)["revision"] == 2
    numbers = [each["number"] for each in document(world, "app", "history", "changing")]
    assert numbers == [2, 1]
    assert "first" in world.cli("app", "history", "changing").stdout
    rolled = world.cli("app", "rollback", "changing")
    assert "v3" in rolled.stdout + rolled.stderr
    latest = document(world, "app", "history", "changing")[0]
    assert (latest["number"], latest["rollback_of"], latest["live"]) == (3, 1, True)
    f = cloudfn.Function.from_name("changing", "f")
    assert f.remote() == 1
    world.cli("app", "rollback", "changing", "2", code=2)
    world.cli("app", "rollback", "changing", "v2")
    assert f.remote() == 2
    world.cli("app", "stop", "changing", code=2)
    world.cli("app", "stop", "changing", "--yes")
    world.cli("app", "history", "changing", code=1)
    world.cli("app", "rollback", "changing", code=1)
    assert "changing" not in [each["name"] for each in document(world, "app", "list")]
    assert "changing" in [each["name"] for each in document(world, "app", "list", "--all")]
    stopped = world.cli("app", "stop", "changing", "--yes", code=1)
    assert "changing" in stopped.stderr


def test_a_commit_and_its_changes_are_in_the_history(world: World):
    """C137."""
    folder = world.folder / "repository"
    folder.mkdir()
    path = world.write(PROGRAM.replace("served", "committed"), "repository/committed.py")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", folder]
    world.run(*git, "init", "-q")
    world.run(*git, "add", ".")
    world.run(*git, "commit", "-q", "-m", "first")
    commit = world.run(*git, "rev-parse", "HEAD").stdout.strip()
    world.cli("deploy", path)
    path.write_text(path.read_text() + "\n# changed\nADDED = 1\n")
    world.cli("deploy", path)
    dirty, clean = (each["labels"] for each in document(world, "app", "history", "committed"))
    assert commit.startswith(clean["commit"].rstrip("*"))
    assert not clean["commit"].endswith("*")
    assert dirty["commit"].endswith("*")
    world.cli("app", "stop", "committed", "--yes")


def test_environments_are_worlds_of_their_own(world: World):
    path = world.write(
        """
        import cloudfn
        app = cloudfn.App("of-staging")

        @app.function()
        def f():
            return "staging"

        @app.local_entrypoint()
        def main():
            print(cloudfn.Function.from_name("of-staging", "f").remote())
        """
    )
    world.cli("deploy", "--env", "staging", path)
    assert "of-staging" in world.cli("--env", "staging", "app", "list").stdout
    assert "of-staging" not in world.cli("app", "list").stdout
    assert "served" not in world.cli("app", "list", "-e", "staging").stdout
    by_variable = world.cli("app", "list", variables={"CLOUDFN_ENVIRONMENT": "staging"})
    assert "of-staging" in by_variable.stdout
    assert world.cli("run", "--env", "staging", path).stdout == "staging\n"
    missing = world.cli("run", path, code=1)
    assert "of-staging" in missing.stderr
    assert "hint:" in missing.stderr
    world.cli("app", "list", "--env", "no/way", code=1)
    world.cli("daemon", "stop", "--now", "--env", "staging")
    assert document(world, "daemon", "status", "--env", "staging", code=1) == {"running": False}


def test_the_daemon_starts_stops_and_tells_about_itself(world: World):
    words = ["--env", "lonely"]
    stopped = world.cli("daemon", "status", *words, code=1)
    assert "No daemon" in stopped.stderr
    assert "No daemon" in world.cli("daemon", "stop", *words).stderr
    assert "runs" in world.cli("daemon", "start", *words).stderr
    assert "runs" in world.cli("daemon", "start", *words).stderr
    status = document(world, "daemon", "status", *words)
    assert status["running"]
    assert status["pid"] > 0
    assert world.cli("daemon", "logs", *words).returncode == 0
    assert "stopped" in world.cli("daemon", "stop", *words).stderr
    world.cli("daemon", "status", *words, code=1)


def test_a_dry_run_of_a_deploy_does_nothing(world: World):
    source = PROGRAM.replace("VERSION = 1", "VERSION = 2")
    path = world.write(source.replace("def other", "def another"), "dry.py")

    told = document(world, "deploy", path, "--name", "served", "--dry-run")

    assert "new: another; changed: work, wait, words; gone: other" in told["steps"][-2]["does"]
    assert (told["images"], told["queues"], told["objects"]) == ([], [], [])
    assert handle("other").remote() == {"list": [1, 2]}
    with pytest.raises(cloudfn.exception.NotFoundError):
        handle("another").remote()


def test_deployed_apps_are_there_after_a_restart_of_the_daemon(world: World):
    world.cli("deploy", "--env", "again", world.folder / "served.py")
    world.cli("daemon", "stop", "--env", "again")
    source = """
import cloudfn
print(cloudfn.Function.from_name("served", "work", environment_name="again").remote(5))
"""
    assert world.python("-c", source).stdout == "10\n"
    world.cli("daemon", "stop", "--now", "--env", "again")


def test_daemon_install_prints_a_unit(world: World):
    unit = world.cli("daemon", "install", "--print").stdout
    assert "[Service]" in unit
    assert "ExecStart=" in unit
    assert sys.executable in unit
    assert not list(world.home.glob(".config/systemd/user/*"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_made(world: World, shell):
    script = world.cli(code=None, variables={"_CLOUDFN_COMPLETE": f"source_{shell}"}).stdout
    shown = world.cli("--show-completion", shell, code=None)
    assert "cloudfn" in script or "cloudfn" in shown.stdout


def test_exit_codes(world: World):
    assert world.cli("--version").stdout.startswith("cloudfn ")
    assert "run" in world.cli("--help").stdout
    world.cli("nonsense", code=2)
    world.cli("app", "list", "--nonsense", code=2)
    world.cli("app", "history", "no-such-app", code=1)
    world.cli("call", "cancel", "fc-" + "0" * 20, code=1)
    world.cli("deploy", "nowhere.py", code=1)


def test_a_name_that_is_missing_gets_a_hint(world: World):
    done = world.cli("stats", "served", "no-such", code=1)
    assert "no-such" in done.stderr
    assert "hint:" in done.stderr
    assert "work" in done.stderr
