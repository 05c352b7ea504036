"""A memory limit ends the container that breaks it, and nothing else, with cgroups and without."""

import subprocess
import sys

import pytest

from cloudfn.exception import ContainerCrashed

pytestmark = pytest.mark.integration

PROGRAM = """
import subprocess

@app.function(max_containers=2, memory=(128, 256))
def work(mebibytes):
    note("began", mebibytes)
    data = [b"x" * (1 << 20) for _ in range(mebibytes)]
    if mebibytes > 256:
        wait_for("go")  # whoever only looks now and then sees it, too
    return len(data)

@app.function(max_containers=1, memory=(128, 256))
def child_of(mebibytes):
    code = f"data = [b'x' * (1 << 20) for _ in range({mebibytes})]"
    return subprocess.call([sys.executable, "-S", "-c", code], stderr=subprocess.DEVNULL)

@app.function(max_containers=1)
def free(mebibytes):
    return len([b"x" * (1 << 20) for _ in range(mebibytes)])

@app.function(max_containers=1, memory=(128, 256))
def wide():
    import mmap
    return len(mmap.mmap(-1, 1 << 32))
"""

#: starts the daemon where no cgroup can be made, so that it has to look at resident sets
WITHOUT_GROUPS = """
import os, sys
from cloudfn.sdk.connection import connect
from cloudfn.settings import load
connect(load()).close()
"""


def start_without_groups(home):
    """Start a daemon in a mount namespace without cgroups; skip where that is not possible."""
    command = f'umount -l -a -t cgroup,cgroup2 && exec {sys.executable} -c "$CODE"'
    unshared = ["unshare", "--mount", "sh", "-c", command]
    done = subprocess.run(
        ["env", f"CLOUDFN_HOME={home}", f"CODE={WITHOUT_GROUPS}", *unshared],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no mount namespace of our own: {done.stderr}")


@pytest.fixture(scope="module", params=["as the machine allows", "without cgroups"])
def machine(request, open_machine):
    """Machines with both kinds of guards."""
    bare = request.param == "without cgroups"
    with open_machine(start_without_groups if bare else lambda _home: None) as found:
        assert not (bare and found.has_groups)
        yield found


@pytest.fixture
def program(running):
    return running(PROGRAM)


def test_an_input_that_breaks_its_limit_is_told_which(program):
    with pytest.raises(ContainerCrashed, match=r"3 times.*memory limit of 256 MiB"):
        program.work.remote(2000)

    assert program.notes("began") == ["2000"] * 3
    assert program.work.remote(10) == 10


def test_inputs_beside_one_that_breaks_its_limit_are_not_harmed(program):
    items = [*range(10), 2000, *range(10)]

    results = list(program.work.map(items, return_exceptions=True))

    assert [r for r in results if isinstance(r, int)] == [i for i in items if i != 2000]
    assert isinstance(results[10], ContainerCrashed)
    assert len(program.notes("began")) == len(items) + 2


def test_address_space_is_not_memory(program):
    assert program.wide.remote() == 1 << 32


def test_a_function_without_a_limit_has_none(program):
    assert program.free.remote(400) == 400


def test_a_child_that_is_killed_for_memory_is_no_failure_by_itself(program):
    # Who only looks at resident sets looks at the container's own.
    limited = program.machine.has_groups

    assert program.child_of.remote(600) == (-9 if limited else 0)
    assert program.child_of.remote(10) == 0
