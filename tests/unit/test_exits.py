"""Whose fault the end of a container is, and whether it broke its memory limit."""

import os
import signal
from pathlib import Path

import pytest

from cloudfn.agent.exits import explain_exit
from cloudfn.agent.memory import _V1_FILES, _V2_FILES, CgroupGuard, ResidentGuard
from cloudfn.model.call import ContainerLost, Crashed
from cloudfn.model.function import Resources

LIMITED = Resources(memory=16, memory_limit=64)


def exited(code: int) -> int:
    return code << 8


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        pytest.param(
            exited(0),
            Crashed("the container exited with code 0 without a result"),
            id="success without an outcome is a crash",
        ),
        pytest.param(
            exited(3),
            Crashed("the container exited with code 3 without a result"),
            id="an exit code is a crash",
        ),
        pytest.param(
            int(signal.SIGSEGV),
            Crashed("the container was ended by SIGSEGV (signal 11)"),
            id="a segmentation fault is a crash",
        ),
        pytest.param(
            int(signal.SIGABRT) | 0x80,
            Crashed("the container was ended by SIGABRT (signal 6)"),
            id="an abort that dumped core is a crash",
        ),
        pytest.param(
            int(signal.SIGKILL),
            ContainerLost("its container was killed from outside by SIGKILL (signal 9)"),
            id="a kill comes from outside",
        ),
        pytest.param(
            int(signal.SIGTERM),
            ContainerLost("its container was killed from outside by SIGTERM (signal 15)"),
            id="a request to end comes from outside",
        ),
        pytest.param(
            int(signal.SIGRTMIN) + 5,
            ContainerLost(
                f"its container was killed from outside by signal {int(signal.SIGRTMIN) + 5}"
            ),
            id="a signal without a name has its number",
        ),
        pytest.param(
            None, ContainerLost("its container disappeared"), id="an end that nobody saw is a loss"
        ),
    ],
)
def test_the_end_of_a_container(status, ending):
    assert explain_exit(status) == ending


@pytest.mark.parametrize(
    "status", [int(signal.SIGKILL), exited(1), None], ids=["killed", "exited", "unseen"]
)
def test_a_broken_memory_limit_explains_every_end(status):
    assert explain_exit(status, over_memory="64 MiB") == Crashed(
        "it exceeded its memory limit of 64 MiB"
    )


@pytest.mark.parametrize(
    "name", ["SEGV", "ABRT", "BUS", "ILL", "FPE", "SYS", "TRAP", "XCPU", "XFSZ", "PIPE"]
)
def test_what_only_a_program_does_to_itself_is_a_crash(name):
    assert isinstance(explain_exit(int(signal.Signals[f"SIG{name}"])), Crashed)


# ---------------------------------------------------------------------------------- memory limits


def test_a_container_within_its_limit_is_left_alone():
    guard = ResidentGuard()
    guard.watch("ta-1", os.getpid(), Resources(memory=16, memory_limit=1 << 20))

    assert not guard.exceeded("ta-1")
    assert guard.release("ta-1") is None


def test_a_container_over_its_limit_is_found_and_the_limit_named_once():
    guard = ResidentGuard()
    guard.watch("ta-1", os.getpid(), Resources(memory=16, memory_limit=16))

    # No Python of this size fits into 16 MiB.
    assert guard.exceeded("ta-1")
    assert guard.release("ta-1") == "16 MiB"
    assert guard.release("ta-1") is None


@pytest.mark.parametrize(
    ("pid", "resources"),
    [
        pytest.param(os.getpid(), Resources(memory=16), id="without a limit"),
        pytest.param(2**22 + 1, LIMITED, id="that is gone"),
    ],
)
def test_nothing_is_held_against_a_container(pid, resources):
    guard = ResidentGuard()
    guard.watch("ta-1", pid, resources)

    assert not guard.exceeded("ta-1")
    assert not guard.exceeded("ta-2")


@pytest.mark.parametrize(
    ("files", "written"),
    [
        pytest.param(
            _V1_FILES,
            {"memory.limit_in_bytes": 64 << 20, "memory.memsw.limit_in_bytes": 64 << 20},
            id="version 1",
        ),
        pytest.param(_V2_FILES, {"memory.max": 64 << 20, "memory.swap.max": 0}, id="version 2"),
    ],
)
@pytest.mark.parametrize(
    ("kills", "verdict"), [(0, None), (2, "64 MiB")], ids=["that was not killed", "that was killed"]
)
def test_a_group_limits_a_container(tmp_path: Path, files, written, kills, verdict):
    guard = CgroupGuard(tmp_path, files)
    guard.watch("ta-1", 4711, LIMITED)
    group = tmp_path / "ta-1"
    assert {name: int((group / name).read_text()) for name in written} == written
    assert (group / "cgroup.procs").read_text() == "4711"

    (group / files.events).write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n")

    assert guard.release("ta-1") == verdict


def test_groups_that_somebody_else_removed_are_no_obstacle_at_the_end(tmp_path: Path):
    CgroupGuard(tmp_path / "taken away", _V2_FILES).close()


def test_a_container_without_a_limit_gets_no_group(tmp_path: Path):
    guard = CgroupGuard(tmp_path, _V2_FILES)
    guard.watch("ta-1", 4711, Resources())

    assert list(tmp_path.iterdir()) == []
    assert guard.release("ta-1") is None


def test_a_container_whose_group_cannot_be_made_is_watched(tmp_path: Path):
    guard = CgroupGuard(tmp_path / "taken away", _V2_FILES)
    guard.watch("ta-1", os.getpid(), Resources(memory=16, memory_limit=16))

    assert guard.exceeded("ta-1")
    assert guard.release("ta-1") == "16 MiB"
