"""How Docker containers end, and what their inputs come to."""

import os
import signal
from pathlib import Path

import pytest

from cloudfn.errors import ExecutionError
from tests.docker.cells import Cells
from tests.failure.conftest import Later, is_gone, write_program
from tests.failure.conftest import _imported as imported

pytestmark = pytest.mark.integration


def test_too_much_memory_is_a_crash_that_names_the_limit(cells: Cells):
    with pytest.raises(Exception, match="memory limit of 192 MiB"):
        cells.ask("result = len(bytearray(400 << 20))", "hungry")

    assert cells.ask("result = 1", "hungry") == 1


def test_an_import_that_takes_too_much_memory_says_so(cells: Cells, tmp_path):
    source = """
    if not cloudfn.is_local():
        bytearray(400 << 20)

    @app.function(memory=(64, 192))
    def large():
        return 1
    """
    module = imported(write_program(tmp_path, source))

    how = {"client": cells.machine.client, "runtime": "docker"}
    with module.app.run(**how), pytest.raises(ExecutionError) as told:
        module.large.remote()

    assert "memory limit of 192 MiB" in str(told.value)


def test_a_full_scratch_is_an_error_of_that_input_alone(cells: Cells):
    code = (
        "try:\n    with open('/tmp/full', 'wb') as file:\n"
        "        while True: file.write(bytes(1 << 20))\n"
        "finally:\n    os.unlink('/tmp/full')"
    )
    before = cells.container("hungry")

    with pytest.raises(OSError, match="No space left"):
        cells.ask(code, "hungry")

    assert cells.container("hungry") == before


def test_an_exit_a_segfault_and_an_abort_are_crashes(cells: Cells):
    for code, named in (
        ("os._exit(3)", "exited with code 3"),
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
    ):
        with pytest.raises(Exception, match=named):
            cells.ask(code, "hungry")


def test_a_container_killed_from_outside_is_a_loss_and_its_input_runs_again(cells: Cells):
    flag = cells.ask("result = os.environ['CLOUDFN_CONTAINER_ID']")
    waiting = Later(
        lambda: cells.ask(
            f"me = os.environ['CLOUDFN_CONTAINER_ID']\n"
            f"if me == {flag!r}: time.sleep(100)\nresult = me"
        )
    )
    cells.machine.container("busy", "run")

    cells.machine.docker("kill", cells.machine.docker_container(flag))

    assert waiting.result() not in (flag, None)
    assert cells.machine.wait_for(
        lambda: not cells.machine.docker_containers(f"label=cloudfn.container={flag}"),
        "its removal",
    )


def test_processes_and_threads_without_end_meet_a_limit(cells: Cells):
    told = cells.ask(
        "import threading\nend, begun = threading.Event(), 0\ntry:\n"
        "    while True:\n        threading.Thread(target=end.wait).start()\n        begun += 1\n"
        "except RuntimeError as error:\n    result = str(error), begun\n"
        "finally:\n    end.set()",
        "other",
    )

    assert "start new thread" in told[0]
    assert 100 < told[1] < 4_096


def test_code_that_stops_its_template_is_ended_all_the_same(cells: Cells):
    container = cells.container("other")
    call = cells.other.spawn(
        "import os, signal, time\nos.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(100)"
    )
    # Not only handed over: an input that has not begun is taken back, and its container stays.
    cells.machine.wait_for(lambda: _stopped(cells), "the template's stop")

    call.cancel(terminate_containers=True)

    cells.machine.wait_for(
        lambda: not cells.machine.docker_containers(f"label=cloudfn.container={container}"),
        "its end",
    )
    assert cells.ask("result = 4", "other") == 4


def test_a_killed_daemon_takes_its_containers_along_and_the_next_removes_what_is_left(
    cells: Cells,
):
    machine = cells.machine
    cells.ask("result = 5")
    stubborn = cells.container("other")
    # Its zygote hears nothing of the daemon's end.
    cells.ask("os.kill(os.getppid(), signal.SIGSTOP)", "hungry")
    stuck = machine.docker_container(cells.container("hungry"))
    before = machine.docker_containers()
    created = machine.docker(
        "create", "--label", f"cloudfn.marker={machine.marker}", machine.engine.base, "true"
    )
    frozen = machine.docker_container(stubborn)
    zygote = int(machine.docker("inspect", "--format", "{{.State.Pid}}", frozen))
    daemon = machine.daemon

    os.kill(zygote, signal.SIGSTOP)
    machine.kill(daemon)

    assert len(before) >= 3
    machine.wait_for(
        lambda: set(machine.docker_containers("status=running")) <= {frozen, stuck},
        "the end of what hears of the daemon's end",
    )
    assert cells.ask("result = 6") == 6
    machine.wait_for(
        lambda: not {*before, created} & {*machine.docker_containers()}, "no leftovers"
    )
    assert is_gone(zygote)


def _stopped(cells: Cells) -> bool:
    states = [Path(f"/proc/{pid}/stat").read_text() for pid in cells.machine.named("cf-template")]
    return any(state.rpartition(")")[2].split()[0] == "T" for state in states)
