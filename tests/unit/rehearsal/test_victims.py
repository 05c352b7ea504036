"""Which processes are killed: looked up among processes that are there."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudfn.rehearsal import victims

_SHIM = "printf containerd-shim > /proc/self/comm; sleep 60 & echo $!; wait"


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def waiting(file: Path) -> str:
    """Write a script that waits until it is killed."""
    file.parent.mkdir(exist_ok=True)
    file.write_text("echo begun; read line")
    return str(file)


def begun(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_an_agent_is_what_the_machine_runs_as_a_module(tmp_path):
    module = waiting(tmp_path / "agent")
    assert victims.agents(os.getpid(), module) == []
    with running("sh", "-m", module) as agent, running("sh", "-e", module) as other:
        assert begun(agent) == begun(other) == "begun"
        assert victims.agents(os.getpid(), module) == [agent.pid]


def test_containers_are_what_shims_run_however_deep():
    assert victims.containers(os.getpid()) == []
    with running("sh", "-c", f"sh -c '{_SHIM}'; true") as machine:
        container = int(begun(machine))
        assert victims.containers(os.getpid()) == [container]
        assert victims.kill([container]) == 1
        assert machine.wait(10) == 0
    assert victims.kill([container]) == 0


def test_an_invocation_is_of_one_function(tmp_path):
    planner = waiting(tmp_path / "ministack-lambda-cloudfn-main-planner-1" / "worker")
    other = waiting(tmp_path / "ministack-lambda-cloudfn-test-planner-1" / "worker")
    with running("sh", planner) as one, running("sh", other) as two:
        assert begun(one) == begun(two) == "begun"
        assert victims.invocations(os.getpid(), "cloudfn-main-planner") == [one.pid]
