"""`cloudfn machine shell|exec|logs`: through a scripted reach to an SSH server in this process."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from dataclasses import replace

import pytest

from cloudfn.cli.root import main
from cloudfn.providers.machines import MachineReport, MachineState
from cloudfn.providers.reach import Way
from cloudfn.testing.cloud import MemoryCloud
from tests.cli.conftest import NOW
from tests.cli.ssh_server import SshServer

REPORT = MachineReport("i-1", "small", MachineState.READY, 2.0, 4_096, address="127.0.0.1")


class ScriptedReach:
    """Leads to a server of these tests, and notes what it was asked."""

    def __init__(self, server):
        self.server = server
        self.asked = []

    def way(self, machine_id, address=""):
        self.asked.append((machine_id, address))
        return Way(address="127.0.0.1", port=self.server.port)

    def admit(self, machine_id, public_key):
        self.server.admitted.append(public_key)
        return "ec2-user"


@pytest.fixture
def server():
    made = SshServer()
    yield made
    made.close()


@pytest.fixture
def reach(cli, server, tmp_path):
    memory = MemoryCloud(tmp_path)
    scripted = ScriptedReach(server)
    cli.cloud = replace(memory.open("cl-1"), reach=scripted)
    memory.machines.join(replace(REPORT, host_keys=(server.host_key,)), NOW, 30.0)
    return scripted


def test_a_command_says_and_ends_as_it_does_there(cli, reach, server):
    done = cli("machine", "exec", "i-1", "--", "sh", "-c", "echo 'a  b'; echo there >&2; exit 3")

    assert (done.code, done.out, done.err) == (3, "a  b\n", "there\n")
    assert reach.asked == [("i-1", "")]


def test_words_of_a_command_arrive_as_they_are(cli, reach):
    assert cli("machine", "exec", "i-1", "printf", "%s|", "a b", "$HOME", "*").out == "a b|$HOME|*|"


def test_a_program_in_a_container_is_run_by_docker_on_its_machine(
    cli, reach, tmp_path, monkeypatch
):
    cli.client.answers["container_exec"] = {"machine": "i-1"}
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\n[ "$2" = ps ] && echo abc && exit; printf "%s|" "$@"; exit 3\n')
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    done = cli("container", "exec", "ta-1", "--", "ls", "a b")

    assert done.code == 3
    assert done.out == "docker|exec|--interactive|--workdir|/run/cloudfn/source|abc|ls|a b|"


def test_a_container_that_is_gone_from_its_machine_is_said(cli, reach, tmp_path, monkeypatch):
    cli.client.answers["container_exec"] = {"machine": "i-1"}
    (tmp_path / "sudo").write_text("#!/bin/sh\n")
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    done = cli("container", "exec", "ta-1", "ls")

    assert (done.code, done.err) == (1, "The container does not run on this machine.\n")


def test_output_that_nobody_reads_ends_the_command(cli, reach, server, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as gone, contextlib.redirect_stdout(gone):
        assert main(["machine", "exec", "i-1", "echo", "much"], cli.host()) == 141
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # what is left goes somewhere


@pytest.mark.parametrize(
    "words",
    [
        ["--direct", "i-1", "-e", "other", "--", "echo", "-e", "x"],
        ["i-1", "--direct", "--env=other", "echo", "-e", "x"],
        ["-e", "other", "i-1", "--direct", "--", "echo", "-e", "x"],
    ],
)
def test_options_stand_before_or_behind_the_machine_and_those_of_the_program_are_its_own(
    cli, reach, words
):
    assert cli("machine", "exec", *words).out == "-e x\n"
    assert reach.asked == [("i-1", "127.0.0.1")]


@pytest.mark.parametrize("words", [["i-1", "--provder", "x", "--", "ls"], ["--provder", "i-1"]])
def test_an_option_that_there_is_not_is_said_to_be_none(cli, reach, words):
    shown = cli("machine", "exec", *words)

    assert (shown.code, reach.asked) == (2, [])
    assert "No such option: --provder" in shown.err


@pytest.mark.parametrize(
    "words", [[], ["i-1"], ["i-1", "--"], ["i-1", "-e"], ["-e"], ["--", "i-1"]]
)
def test_a_machine_and_a_program_are_needed(cli, reach, words):
    assert cli("machine", "exec", *words).code == 2


def test_direct_is_the_private_address(cli, reach):
    assert cli("machine", "exec", "--direct", "i-1", "true").code == 0
    assert reach.asked == [("i-1", "127.0.0.1")]


def test_without_a_private_address_there_is_no_direct_way(cli, reach, server):
    told = replace(REPORT, address="", host_keys=(server.host_key,))
    cli.cloud.machines.join(told, NOW, 30.0)

    shown = cli("machine", "exec", "--direct", "i-1", "true")

    assert (shown.code, shown.out) == (1, "")
    assert "private address" in shown.err
    assert "hint: Leave --direct away." in shown.err


def test_logs_are_those_of_the_agent(cli, reach, server):
    server.answers["journalctl --unit cloudfn-agent --no-pager --lines 5"] = "echo so far; exit 0"

    assert cli("machine", "logs", "i-1", "-n", "5").out == "so far\n"


def test_logs_are_followed_as_they_come(cli, reach, server):
    asked = "journalctl --unit cloudfn-agent --no-pager --lines 100 --follow"
    server.answers[asked] = "echo more; exit 1"

    shown = cli("machine", "logs", "--follow", "i-1")

    assert (shown.code, shown.out) == (1, "more\n")


def test_a_machine_with_another_host_key_than_its_agent_told_is_not_entered(cli, reach):
    other = SshServer()
    other.close()
    told = replace(REPORT, host_keys=(other.host_key,))
    cli.cloud.machines.join(told, NOW, 30.0)

    shown = cli("machine", "exec", "i-1", "true")

    assert shown.code == 1
    assert "host key that its agent does not have" in shown.err


def test_a_machine_that_is_not_there_is_said_to_be_so(cli, reach):
    shown = cli("machine", "logs", "i-9")

    assert shown.code == 1
    assert "There is no machine i-9" in shown.err
    assert "`cloudfn machine list`" in shown.err


def test_where_nobody_gets_in_that_is_said(cli, reach):
    cli.cloud = replace(cli.cloud, reach=None)

    shown = cli("machine", "shell", "i-1")

    assert shown.code == 1
    assert "lets nobody in" in shown.err


# ------------------------------------------------------------------------------- a terminal

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path

from cloudfn import settings
from cloudfn.cli.root import main
from cloudfn.cli.session import Host
from cloudfn.providers.machines import MachineReport, MachineState
from cloudfn.providers.reach import Way
from cloudfn.testing.cloud import MemoryCloud

port, host_key = int(sys.argv[1]), sys.argv[2]

class Reach:
    def way(self, machine_id, address=""):
        return Way(address="127.0.0.1", port=port)

    def admit(self, machine_id, public_key):
        print(public_key, flush=True)
        sys.stdin.readline()
        return "me"

memory = MemoryCloud(Path("/nowhere"))
report = MachineReport("i-1", "small", MachineState.READY, 1.0, 1_024, host_keys=(host_key,))
memory.machines.join(report, 0.0, 30.0)
cloud = replace(memory.open("cl-1"), reach=Reach())
host = Host(
    connect=None, prestart=None, open_program=None, execute=None, get_result=None,
    load_settings=lambda name: settings.load({}, environment=name),
    open_cloud=lambda chosen, holder: cloud,
)
sys.exit(main(["machine", "shell", "i-1"], host))
"""


class Terminal:
    """A terminal with a program in it."""

    def __init__(self, server):
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        self.shown = b""
        self.process = subprocess.Popen(
            [
                "env", "-u", "LINES", "-u", "COLUMNS",
                sys.executable, "-c", PROGRAM, str(server.port), server.host_key,
            ],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        line = self.until(b" cloudfn").splitlines()[-1]
        server.admitted.append(line.decode())
        self.type(b"\n")

    def type(self, data):
        os.write(self.master, data)

    def until(self, wanted):
        while wanted not in self.shown:
            ready, _, _ = select.select([self.master], [], [], 30)
            assert ready, f"{wanted!r} is not shown, but {self.shown!r}"
            self.shown += os.read(self.master, 4096)
        return self.shown

    @property
    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ECHO | termios.ICANON)

    def end(self):
        code = self.process.wait(30)
        assert termios.tcgetattr(self.slave) == self.before
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(server):
    made = Terminal(server)
    yield made
    made.close()


def test_a_shell_ends_with_its_status_and_the_terminal_is_as_before(terminal):
    terminal.until(b"ready 80 24")
    assert terminal.is_raw
    terminal.type(b"exit 5\r")

    assert terminal.end() == 5


def test_keys_of_control_are_for_the_machine(terminal):
    terminal.until(b"ready")
    terminal.type(b"a\x03b\x1ac")

    terminal.until(b"a\x03b\x1ac")


def test_the_shell_hears_of_new_sizes(terminal):
    terminal.until(b"ready 80 24")
    termios.tcsetwinsize(terminal.slave, (50, 132))
    terminal.process.send_signal(signal.SIGWINCH)

    terminal.until(b"size 132 50")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_that_ends_the_command_leaves_the_terminal_as_before(terminal, number):
    terminal.until(b"ready")
    terminal.process.send_signal(number)

    assert terminal.end() != 0


def test_a_connection_that_is_lost_ends_the_shell_and_leaves_the_terminal_as_before(terminal):
    terminal.until(b"ready")
    terminal.type(b"vanish\r")

    assert terminal.end() == 255
