"""`cloudfn run` with a real engine: arguments, choices, results, exit codes, Ctrl-C."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios

import pytest

import cloudfn
from tests.integration.conformance_world import PATIENCE, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

ARGUMENTS = """
import datetime
from typing import Literal, Optional

import cloudfn

app = cloudfn.App("arguments")

@app.local_entrypoint()
def all_kinds(
    dt: datetime.datetime, i: int, x: float = 1.5, flag: bool = False, text: str = "t",
    maybe: Optional[int] = None, other: int | None = None, choice: Literal["a", "b"] = "a",
    number: Literal[1, 2] = 1, plain_default=10, long_name: str = "n",
):
    print(dt.day, repr(i), repr(x), flag, text, maybe, other, choice, repr(number),
          repr(plain_default), long_name)

@app.local_entrypoint()
def unannotated(value):
    print(repr(value))

@app.local_entrypoint()
def rest(*args):
    print(args)

@app.local_entrypoint()
def unparseable(i: int | str):
    print(i)

@app.local_entrypoint()
def a_list(i: list[int]):
    print(i)

@app.local_entrypoint()
def default_on(flag: bool = True):
    print(flag)

@app.local_entrypoint()
async def later(n: int = 1):
    print(await twice.remote.aio(n))

@app.function()
def twice(i: int, text: str = "x"):
    return f"{i * 2} {text}"

@app.function()
def generator():
    yield 1
"""


@pytest.fixture(scope="module")
def arguments(world: World) -> str:
    return str(world.write(ARGUMENTS, "arguments.py"))


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["--dt", "2022-10-31", "--i=200"], "31 200 1.5 False t None None a 1 10 n"),
        (
            ["--dt", "2022-10-31T10:00:00", "--i", "-3", "--x", "2", "--flag", "--text", "a b",
             "--maybe", "4", "--other", "5", "--choice", "b", "--number", "2",
             "--plain-default", "11", "--long-name", "m"],
            "31 -3 2.0 True a b 4 5 b 2 11 m",
        ),
        (["--dt", "2022-10-31", "--i", "1", "--no-flag"], "31 1 1.5 False t None None a 1 10 n"),
    ],
)  # fmt: skip
def test_each_type_of_argument_is_read(world: World, arguments, words, out):
    """C148."""
    assert world.cli("run", f"{arguments}::all_kinds", *words).stdout == out + "\n"


@pytest.mark.parametrize(
    ("name", "words", "out"),
    [
        ("unannotated", ["--value", "200"], "'200'"),
        ("rest", ["--a", "b", "3"], "('--a', 'b', '3')"),
        ("default_on", ["--no-flag"], "False"),
        ("default_on", [], "True"),
        ("later", ["--n", "4"], "8 x"),
        ("twice", ["--i", "3", "--text", "y"], "6 y"),
        ("app.twice", ["--i", "3"], "6 x"),
    ],
)
def test_entry_points_and_functions_take_arguments(world: World, arguments, name, words, out):
    """C148."""
    assert world.cli("run", f"{arguments}::{name}", *words).stdout == out + "\n"


@pytest.mark.parametrize(
    ("name", "words", "code", "said"),
    [
        ("all_kinds", ["--dt", "2022-10-31"], 2, "--i"),
        ("all_kinds", ["--dt", "yesterday", "--i", "1"], 2, "yesterday"),
        ("all_kinds", ["--dt", "2022-10-31", "--i", "x"], 2, "x"),
        ("all_kinds", ["--dt", "2022-10-31", "--i", "1", "--choice", "c"], 2, "c"),
        ("all_kinds", ["--dt", "2022-10-31", "--i", "1", "--nope", "c"], 2, "--nope"),
        ("unparseable", ["--i", "1"], 1, "unparseable annotation"),
        ("a_list", ["--i", "1"], 1, "unparseable annotation"),
        ("generator", [], 1, "generator"),
        ("missing", [], 1, "all_kinds"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(world: World, arguments, name, words, code, said):
    """C148."""
    done = world.cli("run", f"{arguments}::{name}", *words, code=code)
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_several_things_to_run_are_listed(world: World, arguments):
    """C149."""
    done = world.cli("run", arguments, code=1)
    assert "Specify" in done.stderr
    for name in ("all_kinds", "unannotated", "twice"):
        assert name in done.stderr


def test_a_single_function_runs_without_its_name(world: World):
    """C149."""
    path = world.write(
        """
        import cloudfn
        app = cloudfn.App("single")

        @app.function()
        def f(n: int = 2):
            print("in the container", n)
            return n + 1
        """
    )
    done = world.cli("run", path, "--n", "5")
    assert sorted(done.stdout.splitlines()) == ["6", "in the container 5"]
    assert "1 input" in done.stderr
    assert "1 container at the peak" in done.stderr


def test_an_entry_point_of_the_module_wins_over_others(world: World):
    """C149."""
    world.write(
        """
        import cloudfn
        other = cloudfn.App("library")

        @other.local_entrypoint()
        def other_main():
            print("other")

        @other.function()
        def other_f():
            return "other"
        """,
        "library_of_apps.py",
    )
    path = world.write(
        """
        import cloudfn
        from library_of_apps import other
        app = cloudfn.App("prefers").include(other)

        @app.local_entrypoint()
        def main():
            print("mine")
        """
    )
    assert world.cli("run", path).stdout == "mine\n"


RESULTS = """
import cloudfn
app = cloudfn.App("results")

@app.function()
def text():
    return "words"

@app.function()
def data():
    return b"\\x00\\xff"

@app.function()
def number():
    return 3

@app.local_entrypoint()
def main():
    print("printed")
    return "from the entry point"
"""


def test_a_result_is_written_to_a_file(world: World, tmp_path):
    """C151."""
    path, out = world.write(RESULTS, "results.py"), tmp_path / "out"
    for name, expected in (("text", b"words"), ("data", b"\x00\xff")):
        world.cli("run", "--write-result", out, f"{path}::{name}")
        assert out.read_bytes() == expected
    world.cli("run", "-w", out, f"{path}::main")
    assert out.read_bytes() == b"from the entry point"
    done = world.cli("run", "-w", out, f"{path}::number", code=1)
    assert "int" in done.stderr
    assert "Traceback" not in done.stderr


def test_quiet_leaves_the_programs_own_output_alone(world: World):
    path = world.write(RESULTS, "results.py")
    done = world.cli("run", "-q", f"{path}::main")
    assert (done.stdout, done.stderr) == ("printed\n", "")


def test_an_exception_of_the_entry_point_ends_with_1_and_the_users_frames_alone(world: World):
    """C152."""
    path = world.write(
        """
        import cloudfn
        app = cloudfn.App("failing")

        @app.function()
        def f():
            raise LookupError("deep inside")

        @app.local_entrypoint()
        def main(where: str = "here"):
            if where == "here":
                raise KeyError("mine")
            f.remote()
        """
    )
    here = world.cli("run", path, code=1)
    assert "KeyError: 'mine'" in here.stderr
    assert str(path) in here.stderr
    assert "/cloudfn/" not in here.stderr
    there = world.cli("run", path, "--where", "there", code=1)
    assert "LookupError: deep inside" in there.stderr
    assert 'raise LookupError("deep inside")' in there.stderr
    assert "f.remote()" in there.stderr
    assert "/cloudfn/sdk/" not in there.stderr
    everything = world.cli("run", path, code=1, variables={"CLOUDFN_TRACEBACK": "1"})
    assert "/cloudfn/cli/" in everything.stderr


def test_output_of_containers_goes_to_the_stream_that_it_was_written_to(world: World):
    path = world.write(
        """
        import sys
        import cloudfn
        app = cloudfn.App("streams")

        @app.function(max_containers=1)
        def f(n):
            print("out", n)
            print("err", n, file=sys.stderr)

        @app.local_entrypoint()
        def main():
            f.for_each(range(3))
        """
    )
    done = world.cli("run", path)
    assert sorted(done.stdout.splitlines()) == ["out 0", "out 1", "out 2"]
    assert {"err 0", "err 1", "err 2"} <= set(done.stderr.splitlines())


def test_a_missing_file_a_file_without_an_app_and_a_broken_one_are_errors(world: World):
    missing = world.cli("run", "nowhere.py", code=1)
    assert "nowhere.py" in missing.stderr
    without = world.cli("run", world.write("x = 1\n"), code=1)
    assert "no App" in without.stderr
    broken = world.cli(
        "run", world.write("import cloudfn\nraise ValueError('at import')\n"), code=1
    )
    assert "at import" in broken.stderr
    wrong = world.cli("run", world.write("def f(:\n"), code=1)
    assert "SyntaxError" in wrong.stderr
    assert world.cli("run", code=None).returncode == 2


def test_an_exit_code_of_the_program_is_that_of_the_command(world: World):
    path = world.write(
        """
        import sys
        import cloudfn
        app = cloudfn.App("exits")

        @app.local_entrypoint()
        def main():
            sys.exit(7)
        """
    )
    world.cli("run", path, code=7)


def test_help_of_a_program_lists_its_arguments(world: World, arguments):
    done = world.cli("run", f"{arguments}::all_kinds", "--help")
    assert "--long-name" in done.stdout
    assert "--dt" in done.stdout


WAITING = """
import os
import time
import cloudfn

app = cloudfn.App("waiting")

@app.function()
def wait(path):
    print("container waits", flush=True)
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return "done"

@app.local_entrypoint()
def main(path: str):
    print("entry point runs", flush=True)
    print(wait.remote(path))
"""


def read_until(child: subprocess.Popen, words: str) -> str:
    """Read lines of a process's stdout up to one with these words."""
    assert child.stdout is not None
    seen = ""
    while words not in seen:
        ready, _, _ = select.select([child.stdout], [], [], PATIENCE)
        assert ready, f"{words!r} did not come; there was: {seen}"
        line = child.stdout.readline()
        assert line, f"{words!r} did not come; there was: {seen}"
        seen += line
    return seen


def test_ctrl_c_ends_the_app_with_130_and_without_a_traceback(world: World, tmp_path):
    """C139."""
    path = world.write(WAITING, "waiting.py")
    child = world.start(sys.executable, "-m", "cloudfn", "run", path, "--path", tmp_path / "gate")
    read_until(child, "container waits")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Disconnecting" in err
    assert "App aborted." in err
    assert "Traceback" not in err
    wait_for("no container", lambda: not world.containers())
    assert not any(each["name"] == "waiting" for each in world.ask("app_list")["apps"])


def test_ctrl_c_of_a_detached_run_lets_the_app_go_on(world: World, tmp_path):
    """C140."""
    path, gate = world.write(WAITING, "waiting.py"), tmp_path / "gate"
    command = [sys.executable, "-m", "cloudfn", "run", "--detach", f"{path}::wait", "--path", gate]
    child = world.start(*command)
    read_until(child, "container waits")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Shutting down" in err
    assert "app logs" in err
    assert "app stop" in err
    assert "Traceback" not in err
    assert len(world.containers("wait")) == 1
    gate.touch()
    calls = world.ask("call_list", limit=20, app=None, function=None)["calls"]
    call = next(each for each in calls if each["function_name"] == "wait")["call"]
    assert world.cli("call", "get", call, "--timeout", "30").stdout == "done\n"


def test_ctrl_c_while_the_program_is_imported_aborts(world: World):
    """C139."""
    path = world.write(
        """
        import time
        print("importing", flush=True)
        time.sleep(60)
        import cloudfn
        """
    )
    child = world.start(sys.executable, "-m", "cloudfn", "run", path)
    read_until(child, "importing")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Aborting app initialization..." in err
    assert "Traceback" not in err


def test_ctrl_c_of_a_script_ends_its_app(world: World, tmp_path):
    path = world.write(
        WAITING
        + """
if __name__ == "__main__":
    with cloudfn.enable_output(), app.run():
        try:
            wait.remote(os.environ["GATE"])
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            raise
"""
    )
    child = world.start(sys.executable, path, variables={"GATE": str(tmp_path / "gate")})
    read_until(child, "container waits")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == -signal.SIGINT
    assert "interrupted" in out
    assert err.count("Traceback") <= 1
    wait_for("no container", lambda: not world.containers())


@pytest.mark.parametrize("words", [["call", "get"], ["call", "get", "--timeout", "50"]])
def test_ctrl_c_while_a_result_is_awaited_is_no_traceback(world: World, tmp_path, words):
    path, gate = world.write(WAITING, "waiting.py"), tmp_path / "gate"
    world.cli("deploy", path)
    call = cloudfn.Function.from_name("waiting", "wait").spawn(str(gate))
    child = world.start(sys.executable, "-v", "-m", "cloudfn", *words, call.object_id)
    assert child.stderr is not None
    # When it imports this, it is about to wait.
    while "cloudfn.sdk.reading" not in child.stderr.readline():
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Traceback" not in err
    gate.touch()
    assert call.get(timeout=30) == "done"
    world.cli("app", "stop", "waiting", "--yes")


def test_two_ctrl_c_end_it_too(world: World, tmp_path):
    path = world.write(WAITING, "waiting.py")
    child = world.start(sys.executable, "-m", "cloudfn", "run", path, "--path", tmp_path / "gate")
    read_until(child, "container waits")
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Traceback" not in err
    wait_for("no container", lambda: not world.containers())


def test_a_terminated_run_leaves_no_container(world: World, tmp_path):
    path = world.write(WAITING, "waiting.py")
    child = world.start(sys.executable, "-m", "cloudfn", "run", path, "--path", tmp_path / "gate")
    read_until(child, "container waits")
    child.terminate()
    child.communicate(timeout=PATIENCE)
    wait_for("no container", lambda: not world.containers())


def on_a_terminal(world: World, *words: object, columns: int = 60, **variables: str) -> str:
    """Run a command whose streams are a terminal; return what was shown."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, columns))
    child = subprocess.Popen(
        [sys.executable, "-m", "cloudfn", *map(str, words)], cwd=world.folder,
        env={**world.variables, "TERM": "xterm-256color", **variables},
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    try:
        while select.select([leader], [], [], PATIENCE)[0]:
            try:
                data = os.read(leader, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            shown += data
        assert child.wait(PATIENCE) == 0, shown
    finally:
        child.kill()
        child.wait()
        os.close(leader)
    return shown.decode()


def test_a_terminal_shows_progress_output_and_the_summary(world: World):
    path = world.write(
        """
        import time
        import cloudfn
        app = cloudfn.App("progress")

        @app.function(max_containers=2)
        def f(n):
            time.sleep(0.1)
            print("from the container", n)
            return n

        @app.local_entrypoint()
        def main():
            print(sum(f.map(range(12))))
        """
    )
    shown = on_a_terminal(world, "run", path)
    assert "from the container 3" in shown
    assert "66" in shown
    assert "12 inputs · 0 failed" in shown
    assert "/12 inputs" in shown


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_none_are_wanted(world: World, variables):
    shown = on_a_terminal(world, "app", "list", "--all", **variables)
    assert "\x1b[3" not in shown
    assert "\x1b[1m" not in shown


def test_a_narrow_terminal_gets_no_line_that_is_too_long(world: World):
    world.cli("deploy", "--name", "with-a-name-of-some-length", world.write(RESULTS, "results.py"))
    shown = on_a_terminal(world, "app", "list", "--all", columns=40)
    lines = [line.rstrip("\r") for line in shown.split("\n")]
    assert max(map(len, lines)) <= 40


def test_warnings_of_ours_are_sentences_and_those_of_programs_stay_as_they_are(world: World):
    path = world.write(
        """
        import warnings

        import cloudfn

        app = cloudfn.App("greedy")

        @app.function(cpu=4096)
        def f():
            return 1

        @app.local_entrypoint()
        def main():
            warnings.warn("of the program", stacklevel=1)
        """,
        "greedy.py",
    )

    shown = world.cli("run", path).stderr

    assert "warning: f asks for 4096 cores" in shown.splitlines()[0]
    assert f"{path}:14: UserWarning: of the program" in shown
