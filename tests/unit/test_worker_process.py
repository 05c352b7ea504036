"""Finding and ending processes by what /proc says about them."""

import os
import subprocess
import sys

import pytest

from cloudfn.clock import SystemClock
from cloudfn.model.ids import mint
from cloudfn.worker.process import (
    children_of,
    kill_marked,
    kill_tree,
    marked,
    parent_of,
    tag_of,
    variable_of,
    wear_tag,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def sleeper():
    """Return a shell that is marked, and that has a marked child; both sleep."""
    mark = mint("mk")
    command = ["sh", "-c", "sleep 600 & echo $!; wait"]
    environ = {"PATH": os.defpath, "MARK": mark}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        child = int(shell.stdout.readline())
        yield shell, child, mark
        kill_marked("MARK", mark, clock=SystemClock())


def test_marked_processes_and_their_relations_are_found(sleeper):
    shell, child, mark = sleeper

    assert set(marked("MARK", mark)) == {shell.pid, child}
    assert marked("MARK", mark, spare={child}) == [shell.pid]
    assert children_of(shell.pid) == [child]
    assert parent_of(child) == shell.pid
    assert variable_of(child, "MARK") == mark
    assert variable_of(child, "MARKER") is None


def test_marked_processes_are_killed_until_none_is_left(sleeper):
    shell, _, mark = sleeper

    assert kill_marked("MARK", mark, clock=SystemClock())

    assert marked("MARK", mark) == []
    assert shell.wait(10) == -9


def test_a_tree_is_killed_from_its_root(sleeper):
    shell, child, mark = sleeper

    kill_tree(shell.pid)
    shell.wait(10)
    handle_gone = kill_marked("MARK", mark, clock=SystemClock())

    assert handle_gone
    assert child not in marked("MARK", mark)


def test_a_tag_is_inherited_by_forks_and_taken_off():
    with wear_tag("ct-tag"):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        tags = tag_of(os.getpid()), tag_of(child)
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)

    assert tags == ("ct-tag", "ct-tag")
    assert tag_of(os.getpid()) is None


def test_a_process_that_is_gone_has_no_relations():
    with subprocess.Popen(["true"]) as gone:
        gone.wait(10)

    assert parent_of(gone.pid) is None
    assert children_of(gone.pid) == []
    assert variable_of(gone.pid, "PATH") is None
    assert tag_of(gone.pid) is None
