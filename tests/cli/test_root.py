"""The command as a whole: help, usage errors, environments, exit codes, how errors look."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.cli.root import main
from cloudfn.providers.machines import MachineReport, MachineState
from tests.unit.planner_cloud import World

COMMANDS = (
    "run",
    "deploy",
    "app",
    "container",
    "call",
    "update-autoscaler",
    "stats",
    "daemon",
    "doctor",
)


def test_help_lists_every_command(cli):
    shown = cli("--help")

    assert shown.code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in shown.out] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_takes_an_environment(cli, name):
    shown = cli(name, "--help")
    if "COMMAND [ARGS]" in shown.out:
        return

    assert shown.code == 0
    assert "--env" in shown.out


def test_a_mistyped_command_is_a_usage_error_with_a_suggestion(cli):
    shown = cli("deplyo")

    assert shown.code == 2
    assert "Did you mean 'deploy'?" in shown.err
    assert shown.out == ""


def test_an_unknown_option_is_a_usage_error(cli):
    assert cli("app", "list", "--nope").code == 2


def test_the_version_is_one_line_on_stdout(cli):
    shown = cli("--version")

    assert shown.code == 0
    assert shown.out.startswith("cloudfn ")
    assert shown.out.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--env", "blue", "app", "list"),
        ("app", "list", "--env", "blue"),
        ("-e", "green", "app", "list", "-e", "blue"),
    ],
)
def test_the_environment_may_stand_before_or_after_the_command_and_the_last_counts(cli, words):
    cli.client.answers["app_list"] = {"apps": []}

    assert cli(*words).code == 0
    assert cli.environments == ["blue"]


def test_an_environment_whose_name_makes_no_sense_is_refused_before_anything_happens(cli):
    shown = cli("app", "list", "--env", "../etc")

    assert shown.code == 1
    assert "error: Invalid environment name" in shown.err
    assert cli.environments == []


def test_an_error_says_what_and_a_hint_and_exits_with_1(cli):
    cli.client.answers["app_list"] = errors.ServiceError("The ledger is full.", hint="Make room.")

    shown = cli("app", "list")

    assert shown.code == 1
    assert shown.err == "error: The ledger is full.\nhint: Make room.\n"
    assert shown.out == ""


def test_our_own_frames_are_shown_to_those_who_ask(cli):
    cli.environ["CLOUDFN_TRACEBACK"] = "1"
    cli.client.answers["app_list"] = errors.ServiceError("The ledger is full.", hint="Make room.")

    shown = cli("app", "list").err

    assert shown.startswith("Traceback")
    assert "cloudfn/cli/app.py" in shown
    assert shown.endswith("error: The ledger is full.\nhint: Make room.\n")


def test_the_connection_is_closed_also_after_an_error(cli):
    cli.client.answers["app_list"] = errors.ServiceError("no")

    cli("app", "list")

    assert cli.client.closed


def test_ctrl_c_exits_with_130_and_without_a_traceback(cli):
    def interrupted(**_fields):
        raise KeyboardInterrupt

    cli.client.answers["app_list"] = interrupted

    shown = cli("app", "list")

    assert shown.code == 130
    assert "Traceback" not in shown.err
    assert cli.client.closed


def test_main_returns_the_exit_code_of_the_command(cli, capsys):
    cli.client.answers["app_list"] = {"apps": []}

    assert main(["app", "list", "--json"], cli.host()) == 0
    assert main(["nope"], cli.host()) == 2
    assert capsys.readouterr().out == "[]\n"


def test_python_m_cloudfn_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "cloudfn", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("cloudfn ")


def test_a_reader_that_left_is_no_traceback():
    script = (
        "import os, sys\n"
        "from cloudfn.cli.main import run\n"
        "sys.argv = ['cloudfn', '--help']\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "os.dup2(write, 1)\n"
        "run()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_signal_while_the_command_starts_up_is_no_traceback(tmp_path: Path):
    # The program interrupts itself while the command's modules are being imported.
    script = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cloudfn.cli.doctor':\n"
        f"            os.kill(os.getpid(), {int(signal.SIGINT)})\n"
        "from cloudfn.cli.main import run\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.argv = ['cloudfn', 'doctor']\n"
        "run()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_completion_offers_apps_and_their_functions_of_a_running_daemon(cli, monkeypatch):
    cli.client.answers |= {
        "app_list": {
            "apps": [{"name": "primes", "functions": ["count", "sum"]}, {"name": "hello"}]
        },
        "container_list": {"containers": [{"container_id": "ta-1"}, {"container_id": "ta-2"}]},
    }

    def offered(line):
        monkeypatch.setenv("_CLOUDFN_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        return cli().out.split()

    assert offered("cloudfn ap") == ["app"]
    assert offered("cloudfn stats pri") == ["primes"]
    assert offered("cloudfn stats primes s") == ["sum"]
    assert offered("cloudfn app logs primes --function c") == ["count"]
    assert offered("cloudfn function info pri") == ["primes/"]
    assert offered("cloudfn function variants primes/s") == ["primes/sum"]
    assert offered("cloudfn container stop ta-") == ["ta-1", "ta-2"]
    assert offered("cloudfn app logs primes --container ta-2") == ["ta-2"]


def test_completion_without_a_daemon_offers_nothing_and_starts_none(cli, monkeypatch):
    cli.daemon_runs = False
    monkeypatch.setenv("_CLOUDFN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "cloudfn stats ")
    monkeypatch.setenv("COMP_CWORD", "2")

    assert cli().out.strip() == ""


def completed(cli, monkeypatch, line):
    monkeypatch.setenv("_CLOUDFN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    return cli().out.split()


def test_completion_on_a_cloud_offers_what_its_ports_tell(cli, monkeypatch):
    world = World()
    cli.cloud = world.cloud
    world.cloud.machines.join(MachineReport("i-1", "s", MachineState.READY, 1.0, 1), 0.0, 30.0)
    cli.client.answers["app_list"] = {"apps": [{"name": "local"}]}

    assert completed(cli, monkeypatch, "cloudfn stats --provider aws ") == ["jobs"]
    assert completed(cli, monkeypatch, "cloudfn stats --provider aws jobs ") == ["f"]
    assert completed(cli, monkeypatch, "cloudfn machine shell --provider aws ") == ["i-1"]
    assert completed(cli, monkeypatch, "cloudfn container stop --provider aws ") == []
    assert completed(cli, monkeypatch, "cloudfn stats ") == ["local"]


@pytest.mark.parametrize("trouble", ["refuses", "hangs"])
def test_completion_does_not_wait_for_a_cloud_that_does_not_answer(cli, monkeypatch, trouble):
    over = threading.Event()

    class Absent:
        @property
        def catalog(self):
            if trouble == "hangs":
                over.wait()
            raise errors.AuthError("there are no AWS credentials")

    cli.cloud = Absent()
    try:
        assert completed(cli, monkeypatch, "cloudfn stats --provider aws ") == []
    finally:
        over.set()


def test_the_daemon_is_this_machines_whatever_the_environment_says(cli):
    cli.environ["CLOUDFN_PROVIDER"] = "aws"
    cli.client.answers["status"] = {"pid": 1, "version": "1"}

    cli("daemon", "status", "--json")

    assert cli.providers == ["local"]


@pytest.mark.parametrize(
    "words",
    [
        ["app", "list", "--provider", "aws"],
        ["doctor", "--provider", "aws"],
        ["environment", "list", "--provider", "aws"],
        ["machine", "list", "--provider", "aws"],
        ["infra", "outputs"],
    ],
    ids=" ".join,
)
def test_a_library_that_is_not_installed_is_named(words):
    program = (
        "import sys\n"
        "sys.modules['boto3'] = sys.modules['botocore'] = None\n"
        "from cloudfn.cli.main import run\n"
        f"sys.argv = ['cloudfn', *{words}]\n"
        "run()\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "botocore is not installed" in done.stderr + done.stdout
    assert "pip install 'cloudfn[aws]'" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
