"""Containers, templates and zygotes die by kill -9 at every step of an input's life."""

import os
import signal

import pytest

from cloudfn.exception import InputLost

pytestmark = pytest.mark.integration

WORK = """
@app.function(max_containers=1)
def work(item=0):
    note("began", os.getpid())
    wait_for("go")
    return item
"""


def test_a_container_that_dies_before_it_is_ready_costs_the_input_nothing(running):
    program = running(
        """
        if not cloudfn.is_local():
            note("importing", os.getpid())
            wait_for("import")

        @app.function(max_containers=1, fork=False)
        def work(item):
            note("began")
            return item
        """
    )
    call = program.work.spawn(7)
    first = program.await_notes("importing")[0]

    program.machine.kill(first)
    program.allow("import")

    assert call.get(timeout=30) == 7
    assert len(program.notes("began")) == 1
    assert program.machine.scars() == []


def test_a_container_that_dies_idle_harms_nobody(running):
    program = running("@app.function(max_containers=1)\ndef work(item): return item, os.getpid()")
    _, first = program.work.remote(1)

    program.machine.kill(first)

    item, second = program.work.remote(2)
    assert item == 2
    assert second != first


def test_an_input_that_its_dead_container_never_read_was_never_begun(running):
    program = running(
        "@app.function(max_containers=1)\ndef work(item):\n  note('began')\n  return item"
    )
    program.work.remote(1)
    idle = program.machine.container("idle")["pid"]
    program.machine.pause(idle)
    call = program.work.spawn(2)
    program.machine.container("busy")

    program.machine.kill(idle)

    assert call.get(timeout=30) == 2
    assert len(program.notes("began")) == 2
    assert program.machine.scars() == []


STEPS = """
class Slow:
    def __init__(self, step):
        self.step = step

    def __reduce__(self):
        if not cloudfn.is_local():
            reached("pickling")
        return rebuilt, (self.step,)

def rebuilt(step):
    if not cloudfn.is_local() and step == "unpickling":
        reached(step)
    return Slow(step)

def reached(step):
    note(step, os.getpid())
    wait_for("go")

@app.function(max_containers=1)
def work(item):
    note("began")
    if item.step == "running":
        reached("running")
    if item.step == "pickling":
        return item
    if item.step == "writing":
        return [b"x" * (1 << 20), item.__class__("pickling")]
    return "done"
"""


@pytest.mark.parametrize("step", ["unpickling", "running", "pickling", "writing"])
def test_an_input_whose_container_dies_runs_again_and_counts_one_loss(running, step):
    program = running(STEPS)
    call = program.work.spawn(program.Slow(step))
    first = program.await_notes("pickling" if step == "writing" else step)[0]

    program.machine.kill(first)
    program.machine.await_scar(losses=1)
    program.allow("go")

    call.get(timeout=30)
    assert len(program.notes("began")) == (1 if step == "unpickling" else 2)


def test_an_outcome_that_was_sent_counts_although_its_container_died(running):
    program = running(WORK)
    call = program.work.spawn(3)
    worker = int(program.await_notes("began")[0])
    machine = program.machine

    machine.pause(machine.daemon)
    try:
        program.allow("go")
        machine.wait_for(lambda: _waits_for_packets(worker), "the container to be done")
        machine.kill(worker)
    finally:
        machine.resume(machine.daemon)

    assert call.get(timeout=30) == 3
    assert len(program.notes("began")) == 1


def _waits_for_packets(pid):
    """Whether the main thread waits in a recv, as it does between inputs."""
    with open(f"/proc/{pid}/syscall") as file:
        number = file.read().split()[0]
    return number == {"x86_64": "45", "aarch64": "207"}[os.uname().machine]


def test_half_a_frame_of_a_dead_container_is_no_outcome(running):
    program = running(
        """
        @app.function(max_containers=1)
        def work():
            note("began", os.getpid())
            if not (HERE / "go").exists():
                wait_for("flood")
                for line in range(1_000_000):
                    print("x" * 5000)
            return "done"
        """
    )
    call = program.work.spawn()
    worker = int(program.await_notes("began")[0])
    machine = program.machine

    machine.pause(machine.daemon)
    try:
        program.allow("flood")
        machine.wait_for(lambda: _waits_to_send(worker), "a full socket")
        machine.kill(worker)
        program.allow("go")
    finally:
        machine.resume(machine.daemon)

    assert call.get(timeout=30) == "done"
    assert len(program.notes("began")) == 2


def _waits_to_send(pid):
    with open(f"/proc/{pid}/syscall") as file:
        number = file.read().split()[0]
    return number == {"x86_64": "44", "aarch64": "206"}[os.uname().machine]


def test_an_input_that_is_lost_ten_times_is_given_up(running):
    program = running(WORK)
    call = program.work.spawn()

    for times in range(1, 11):
        program.machine.kill(program.await_notes("began", times)[-1])

    with pytest.raises(InputLost, match=r"lost 10 times.*SIGKILL"):
        call.get(timeout=30)
    assert len(program.notes("began")) == 10


def test_only_the_input_of_the_container_that_died_runs_again(running):
    program = running(
        """
        @app.function(max_containers=3)
        def work(item):
            note("began", item)
            note(f"pid-{item}", os.getpid())
            wait_for("go")
            return item
        """
    )
    results = program.later(lambda: list(program.work.map(range(9))))
    program.await_notes("began", 3)
    unlucky = program.notes("began")[1]

    program.machine.kill(program.notes(f"pid-{unlucky}")[0])
    program.await_notes(f"pid-{unlucky}", 2)
    program.allow("go")

    assert results.result() == list(range(9))
    began = program.notes("began")
    assert sorted(began) == sorted([*map(str, range(9)), unlucky])


@pytest.mark.parametrize("victim", ["cf-template", "cf-zygote"])
def test_containers_go_with_their_template_and_their_inputs_run_again(running, victim):
    program = running(
        """
        @app.function(max_containers=2)
        def work(item):
            note("began", os.getpid())
            wait_for("go")
            return item
        """
    )
    call = program.work.spawn_map(range(2))
    first = [int(pid) for pid in program.await_notes("began", 2)]
    machine = program.machine

    machine.kill(machine.named(victim)[0])
    program.await_notes("began", 4)
    program.allow("go")

    assert list(call.iter()) == [0, 1]
    assert len(program.notes("began")) == 4
    assert [pid for pid in first if pid in machine.processes()] == []


def test_a_template_that_dies_while_nothing_runs_is_replaced(running):
    program = running("@app.function(max_containers=1)\ndef work(item): return item")
    assert program.work.remote(1) == 1
    machine = program.machine

    machine.kill(machine.named("cf-template")[0])
    assert program.work.remote(2) == 2
    machine.kill(machine.named("cf-zygote")[0])

    assert program.work.remote(3) == 3


def test_a_template_that_dies_during_the_import_is_replaced(running):
    program = running(
        """
        if not cloudfn.is_local():
            note("importing", os.getpid())
            wait_for("import")

        @app.function()
        def work(item):
            return item
        """
    )
    call = program.work.spawn(1)
    importing = program.await_notes("importing")[0]

    program.machine.kill(importing)
    program.allow("import")

    assert call.get(timeout=30) == 1


def test_a_container_stopped_by_a_signal_from_outside_is_a_loss(running):
    program = running(WORK)
    call = program.work.spawn()
    worker = int(program.await_notes("began")[0])

    program.machine.kill(worker, signal.SIGTERM)
    program.machine.await_scar(losses=1)
    program.allow("go")

    assert call.get(timeout=30) == 0


def test_deployed_functions_survive_the_death_of_everything_below_them(deployed):
    program = deployed(WORK)
    call = program.work.spawn(5)
    program.await_notes("began")
    machine = program.machine

    for pid, name in machine.processes().items():
        if name.startswith("cf-"):
            os.kill(pid, signal.SIGKILL)
    program.await_notes("began", 2)
    program.allow("go")

    assert call.get(timeout=30) == 5
