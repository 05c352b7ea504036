"""A machine of a cloud: claims ahead, runs real containers, records behind, obeys, drains."""

import sys
import tempfile
from pathlib import Path

import pytest

from cloudfn.machine.metadata import Notice
from cloudfn.model.call import CallKind, Status
from cloudfn.model.function import AutoscalerSettings
from cloudfn.model.log import LogQuery
from cloudfn.model.retry import Retries
from cloudfn.model.secret import SecretRef
from cloudfn.model.volume import VolumeMount
from cloudfn.providers.machines import MachineState, Stop
from cloudfn.providers.objects import ObjectKind, ObjectRecord
from cloudfn.wire.messages import is_blob
from tests.integration.machine_world import CLOCK, World, function, quick, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="the local engine is Linux first"),
]

#: begins, says so, and goes on when there is a file `go`
HELD = """
import os, pathlib, time

HERE = pathlib.Path({here!r})

def work(item):
    (HERE / f"began-{{item}}-{{os.urandom(4).hex()}}").touch()
    while not (HERE / "go").exists():
        time.sleep(0.005)
    return item
"""


@pytest.fixture
def world():
    with tempfile.TemporaryDirectory(prefix="cfw-") as folder:
        world = World(Path(folder))
        yield world
        world.close()


@pytest.fixture
def held(world, tmp_path):
    """Return a pool of inputs that run until they are let go."""
    [pool] = world.deploy(HELD.format(here=str(tmp_path)), function("work"))
    return pool


def began(tmp_path):
    return sorted(path.name.split("-")[1] for path in tmp_path.glob("began-*"))


def report(world, machine_id="i-1"):
    found = [row.report for row in world.machines.list() if row.report.machine_id == machine_id]
    return found[0]


def busy(world, pool):
    there = report(world).pools.get(pool)
    return there.busy if there else 0


def test_inputs_of_a_map_run_on_a_machine_that_may_have_containers(world):
    [pool] = world.deploy("def double(x): return 2 * x", function("double"))
    machine = world.machine()
    world.order("i-1", {pool: 2})

    call = world.map(pool, range(50))

    assert world.results(call) == [2 * each for each in range(50)]
    assert machine.containers() >= 1


def test_containers_that_come_are_said_before_the_next_beat_is_due(world, held, tmp_path):
    machine = world.machine(timing=quick(beat=1_000.0))
    world.order("i-1", {held: 2})
    world.map(held, range(2))

    def said():
        there = report(world).pools.get(held)
        return there and there.starting + there.idle + there.busy == 2

    until(said, f"{machine.containers()} are there, {report(world)}")
    (tmp_path / "go").touch()


def test_a_client_is_told_of_outcomes_with_small_results_enclosed(world):
    [pool] = world.deploy("def double(x): return 2 * x", function("double"))
    world.machine()
    world.order("i-1", {pool: 1})
    call = world.map(pool, [21])

    [note] = until(lambda: world.client.wakeups.listen(1.0))

    assert (note.call_id, note.indices, note.statuses) == (call, (0,), (Status.RETURNED,))
    assert world.load(note.payloads[0]) == 42


def test_a_client_is_told_how_much_was_printed_until_an_outcome(world):
    [pool] = world.deploy("def greet(x): print('hello', x)", function("greet"))
    world.machine()
    world.order("i-1", {pool: 1})
    world.map(pool, [21])

    [note] = until(lambda: world.client.wakeups.listen(1.0))

    assert note.printed.size == len("hello 21\n")
    until(lambda: [each for each in world.logs.read(LogQuery()) if each.text == "hello 21\n"])


def test_large_arguments_come_from_the_depot_and_large_results_go_there(world):
    [pool] = world.deploy("def twice(x): return x + x", function("twice"))
    machine = world.machine()
    world.order("i-1", {pool: 1})

    call = world.map(pool, [b"x" * 200_000])

    assert world.results(call) == [b"x" * 400_000]
    assert is_blob(world.ledger.outcomes(call)[0].payload)
    folders = [machine.host._engine.blobs.fast, machine.host._engine.blobs.durable]
    until(lambda: not [p for folder in folders for p in folder.glob("fc-*/*")], "files are left")


def test_arguments_that_are_gone_end_their_input_and_no_other(world):
    [pool] = world.deploy("def size(x): return len(x)", function("size"))
    world.machine()
    call = world.map(pool, [b"x" * 200_000, b"y"])
    world.depot.payloads.clear()

    world.order("i-1", {pool: 1})

    until(lambda: all(each.terminal for each in world.statuses(call)))
    assert world.statuses(call) == [Status.LOST, Status.RETURNED]


def test_an_input_that_raises_runs_again_as_often_as_its_function_allows(world):
    source = """
        tries = []
        def third(x):
            tries.append(x)
            if len(tries) < 3:
                raise ValueError("not yet")
            return len(tries)
    """
    retries = Retries(max_retries=5, initial_delay=0.0)
    [pool] = world.deploy(source, function("third", retries=retries))
    world.machine()
    world.order("i-1", {pool: 1})

    call = world.map(pool, [0])

    assert world.results(call) == [3]


def test_no_more_containers_run_than_the_planner_allows(world, held, tmp_path):
    machine = world.machine()
    world.order("i-1", {held: 2})
    call = world.map(held, range(6))

    until(lambda: len(began(tmp_path)) == 2)
    assert busy(world, held) <= 2
    (tmp_path / "go").touch()

    assert world.results(call) == list(range(6))
    assert machine.containers() <= 2


def test_containers_leave_when_the_planner_allows_none_any_more(world):
    [pool] = world.deploy("def double(x): return 2 * x", function("double"))
    machine = world.machine()
    world.order("i-1", {pool: 1})
    world.results(world.map(pool, [1]))
    assert machine.containers() == 1

    world.order("i-1", {})

    until(lambda: machine.containers() == 0)
    until(lambda: pool not in report(world).pools)


def test_a_machine_keeps_the_containers_that_it_was_told_to_keep(world):
    settings = AutoscalerSettings(min_containers=3, scaledown_window=2)
    [pool] = world.deploy("def f(x): return x", function("f", autoscaler=settings))
    world.machine()

    world.order("i-1", {pool: 3}, kept={pool: 2})

    until(lambda: report(world).pools.get(pool) and report(world).pools[pool].idle == 2)


def test_a_cancelled_input_stops_and_its_row_names_it_no_more(world, held, tmp_path):
    world.machine()
    world.order("i-1", {held: 1})
    call = world.map(held, ["a"])
    until(lambda: busy(world, held))

    [running] = world.ledger.held(call)
    [(seq, fence, _)] = world.ledger.cancel(call)
    world.machines.cancel(running.holder, [(seq, fence)])

    until(lambda: not busy(world, held))
    until(lambda: not world.machines.orders("i-1").cancelled)


@pytest.mark.parametrize("by", ["container", "pool"])
def test_a_container_that_is_stopped_is_replaced_and_its_input_runs_again(
    world, held, tmp_path, by
):
    world.machine()
    world.order("i-1", {held: 1})
    call = world.map(held, ["a"])
    until(lambda: began(tmp_path))
    until(lambda: "busy" in dict(named(world, held)).values())
    [(container, _)] = named(world, held)

    world.machines.stop("i-1", [Stop(container if by == "container" else held)])

    until(lambda: len(began(tmp_path)) == 2, "it does not run again")
    until(lambda: not world.machines.orders("i-1").stops)
    (tmp_path / "go").touch()
    assert world.results(call) == ["a"]
    until(lambda: container not in dict(named(world, held)))


def test_a_container_that_is_stopped_gracefully_finishes_what_it_runs(world, held, tmp_path):
    world.machine()
    world.order("i-1", {held: 1})
    call = world.map(held, ["a"])
    until(lambda: began(tmp_path))
    [(container, _)] = until(lambda: named(world, held))

    world.machines.stop("i-1", [Stop(container, graceful=True), Stop("ta-unknown")])

    until(lambda: (container, "draining") in named(world, held))
    (tmp_path / "go").touch()
    assert world.results(call) == ["a"]
    assert began(tmp_path) == ["a"]


def named(world, pool):
    there = report(world).pools.get(pool)
    return [(each.container_id, each.state) for each in there.containers] if there else []


def test_a_machine_that_drains_gives_back_what_has_not_begun_and_finishes_the_rest(
    world, held, tmp_path
):
    machine = world.machine()
    world.order("i-1", {held: 1})
    call = world.map(held, range(3))
    until(lambda: len(began(tmp_path)) == 1)

    world.order("i-1", {held: 1}, drain=True)

    until(lambda: report(world).state is MachineState.DRAINING)
    until(lambda: world.ledger.counts(held).pending == 2)
    (tmp_path / "go").touch()
    until(lambda: report(world).state is MachineState.EMPTY)
    assert ("drained", "i-1") in until(lambda: [x for x in world.fleet.told if x[0] == "drained"])
    assert [each.terminal for each in world.statuses(call)].count(True) == 1
    assert machine.containers() == 0


def test_a_machine_that_was_to_drain_works_again_when_it_is_needed_after_all(world):
    [pool] = world.deploy("def double(x): return 2 * x", function("double"))
    world.machine()
    world.order("i-1", {}, drain=True)
    until(lambda: report(world).state is MachineState.EMPTY)

    world.order("i-1", {pool: 1})

    assert world.results(world.map(pool, [4])) == [8]
    until(lambda: report(world).state is MachineState.READY)


def test_a_machine_that_must_go_gives_back_what_runs_when_time_is_up(world, held, tmp_path):
    machine = world.machine(timing=quick(drain=0.3))
    world.order("i-1", {held: 1})
    call = world.map(held, ["a"])
    until(lambda: began(tmp_path))

    machine.leave()

    assert world.statuses(call) == [Status.PENDING]
    assert report(world).state is MachineState.EMPTY


def test_a_machine_that_its_group_ends_has_as_much_time_as_the_group_waits(world, held, tmp_path):
    machine = world.machine(timing=quick(drain=0.4))
    world.order("i-1", {held: 1})
    call = world.map(held, ["a"])
    until(lambda: began(tmp_path))
    world.fleet.waits = True

    machine.tell(Notice(leaving=True))

    # Twice as long as it has without being waited for.
    until(lambda: world.fleet.told.count(("hold", "i-1")) >= 8)
    assert world.statuses(call) == [Status.RUNNING]
    world.fleet.waits = False
    until(lambda: world.statuses(call) == [Status.PENDING])
    assert report(world).state is not MachineState.READY


def test_a_spot_notice_drains_the_machine_and_the_planner_hears_when_it_ends(world, held, tmp_path):
    machine = world.machine()
    world.order("i-1", {held: 1})
    world.map(held, ["a"])
    until(lambda: began(tmp_path))
    ends = CLOCK.wall() + 120

    machine.on_loop(lambda: machine.host.noticed(Notice(ends=ends)))

    until(lambda: report(world).state is MachineState.DRAINING)
    assert report(world).ends == ends
    (tmp_path / "go").touch()
    until(lambda: report(world).state is MachineState.EMPTY)


def test_a_machine_that_is_put_aside_drains_and_its_process_ends(world, held, tmp_path):
    machine = world.machine()
    world.order("i-1", {held: 1})
    world.map(held, ["a"])
    until(lambda: began(tmp_path))

    machine.on_loop(lambda: machine.host.noticed(Notice(aside=True)))
    until(lambda: report(world).state is MachineState.DRAINING)
    (tmp_path / "go").touch()

    until(machine.host.done.done)


def test_a_machine_that_was_given_up_stops_what_it_runs_and_joins_again(world, held, tmp_path):
    machine = world.machine()
    world.order("i-1", {held: 1})
    call = world.map(held, ["a"], CallKind.SPAWN_MAP)
    until(lambda: began(tmp_path))

    world.machines.remove("i-1")
    world.ledger.repair(lambda _: False, CLOCK.wall())

    until(world.machines.list, "it does not join again")
    until(lambda: machine.containers() == 0)
    (tmp_path / "go").touch()
    world.order("i-1", {held: 1})
    assert world.results(call) == ["a"]
    assert len(began(tmp_path)) == 2


def test_what_runs_goes_on_while_the_ledger_is_out_of_reach(world, held, tmp_path):
    world.machine()
    world.order("i-1", {held: 2})
    call = world.map(held, range(5))
    until(lambda: busy(world, held) == 2)

    world.outages.add("i-1")
    (tmp_path / "go").touch()
    until(lambda: not busy(world, held))
    assert not any(each.terminal for each in world.statuses(call))
    world.outages.clear()

    assert world.results(call) == list(range(5))
    assert len(began(tmp_path)) == 5


def test_another_machine_finishes_what_one_had_when_it_died(world, held, tmp_path):
    first = world.machine("i-1")
    world.order("i-1", {held: 2})
    call = world.map(held, range(6))
    until(lambda: len(began(tmp_path)) == 2)
    (tmp_path / "go").touch()
    until(lambda: any(each.terminal for each in world.statuses(call)))
    (tmp_path / "go").unlink()

    first.die()
    world.machine("i-2")
    world.order("i-2", {held: 2})
    repairs = world.ledger.repair(lambda holder: holder != "i-1", CLOCK.wall())
    world.doorbells.ring(repairs.rings)
    (tmp_path / "go").touch()

    assert world.results(call) == list(range(6))


def test_a_pool_that_cannot_be_opened_is_reported_with_the_reason(world):
    world.machine()

    world.order("i-1", {"fu-none@1": 1})

    until(lambda: "fu-none@1" in report(world).pools)
    assert "is gone" in report(world).pools["fu-none@1"].trouble


def test_people_are_told_why_a_function_cannot_be_run(world):
    secret = SecretRef(name="token", object_id="st-gone")
    [pool] = world.deploy("def tell(x): ...", function("tell", secrets=(secret,)))
    world.machine()
    world.order("i-1", {pool: 1})

    [told] = until(lambda: world.logs.read(LogQuery()))

    assert told.source == "system"
    assert told.text.startswith("No container can be started now: ")
    assert "token" in told.text


def test_all_inputs_of_a_program_that_cannot_be_imported_end_with_its_exception(world):
    source = """
        raise RuntimeError("no way")

        def never(x): ...
    """
    [pool] = world.deploy(source, function("never"))
    world.machine()
    world.order("i-1", {pool: 1})

    call = world.map(pool, range(40))

    until(lambda: set(world.statuses(call)) == {Status.RAISED})
    assert all(b"no way" in each.payload for each in world.ledger.outcomes(call))


def test_what_a_container_prints_goes_to_the_log_store(world):
    [pool] = world.deploy("def say(x): print('hello', x)", function("say"))
    world.machine()
    world.order("i-1", {pool: 1})

    world.results(world.map(pool, ["you"]))

    until(lambda: [each for each in world.logs.read(LogQuery()) if "hello you" in each.text])


def test_a_machine_says_that_it_is_of_use_when_a_new_leader_gives_it_orders(world):
    machine = world.machine(timing=quick(led=1_000.0))
    heard = machine.state / "heard"
    until(lambda: not world.leadership.led(CLOCK.wall()))
    heard.unlink(missing_ok=True)

    world.order("i-1", {})

    until(heard.exists)


# ------------------------------------------------------------------- what containers ask for


def test_a_container_calls_another_function_and_waits_for_it(world):
    source = """
        import cloudfn

        def outer(x):
            inner = cloudfn.Function.from_name("app", "inner")
            return inner.remote(x) + 1

        def inner(x):
            return 10 * x
    """
    outer, inner = world.deploy(source, function("outer"), function("inner"))
    world.machine()
    world.order("i-1", {outer: 1, inner: 1})

    assert world.results(world.map(outer, [1, 2])) == [11, 21]


def test_big_arguments_and_results_of_calls_in_containers_travel_through_the_depot(world):
    source = """
        import cloudfn

        def outer(x):
            inner = cloudfn.Function.from_name("app", "inner")
            return len(inner.remote(b"a" * 300_000))

        def inner(x):
            return x + b"b" * 100_000
    """
    outer, inner = world.deploy(source, function("outer"), function("inner"))
    world.machine()
    world.order("i-1", {outer: 1, inner: 1})

    assert world.results(world.map(outer, [1])) == [400_000]


def test_a_container_asks_which_input_it_runs_and_uses_a_dict(world):
    source = """
        import cloudfn

        def ask(x):
            with cloudfn.Dict.ephemeral() as d:
                d["x"] = x
                return d["x"], cloudfn.current_function_call_id()
    """
    [pool] = world.deploy(source, function("ask"))
    world.machine()
    world.order("i-1", {pool: 1})

    call = world.map(pool, [5])

    assert world.results(call) == [(5, call)]


COUNT = """
    def count(n):
        for each in range(n):
            yield each
"""


def test_items_of_a_generator_reach_their_reader_before_the_outcome(world):
    [pool] = world.deploy(COUNT, function("count", is_generator=True))
    world.machine()
    world.order("i-1", {pool: 1})
    call = world.map(pool, [5], CallKind.REMOTE_GEN)

    items = until(lambda: len(found := world.streams.read(call, 0)) == 5 and found)

    assert [world.load(each) for each in items] == [0, 1, 2, 3, 4]
    assert not world.statuses(call)[0].terminal
    world.streams.acknowledge(call, 5)
    until(lambda: world.statuses(call) == [Status.RETURNED])


def test_a_machine_drains_whose_generator_was_read_elsewhere(world):
    [pool] = world.deploy(COUNT, function("count", is_generator=True))
    world.machine()
    world.order("i-1", {pool: 1})
    call = world.map(pool, [5], CallKind.REMOTE_GEN)
    until(lambda: len(world.streams.read(call, 0)) == 5)

    # The janitor has given it to another one, meanwhile, which was as fast as its reader.
    [held] = world.ledger.held(call)
    world.ledger.repair(lambda holder: False, CLOCK.wall())
    world.ledger.cancel(call)
    world.ledger.forget(call)
    world.streams.forget([call])
    world.order("i-1", {}, drain=True)

    assert held.holder == "i-1"
    until(lambda: report(world).state is MachineState.EMPTY)


def test_what_a_container_writes_to_a_volume_is_committed_and_others_read_it(world):
    source = """
        import pathlib

        def write(x):
            pathlib.Path("/shared-volume/note").write_text(f"note {x}")

        def read(x):
            return pathlib.Path("/shared-volume/note").read_text()
    """
    world.client.objects.create(ObjectRecord("vo-1", ObjectKind.VOLUME, "notes", 0.0))
    mounts = (VolumeMount("/shared-volume", "notes", "vo-1"),)
    write, read = world.deploy(
        source, function("write", volumes=mounts), function("read", volumes=mounts)
    )
    world.machine()
    world.order("i-1", {write: 1})
    world.results(world.map(write, [7]))
    world.order("i-1", {})

    until(lambda: [each.path for each in world.client.volumes.files("vo-1")] == ["note"])
    world.order("i-1", {read: 1})

    assert world.results(world.map(read, [0])) == ["note 7"]


def test_containers_of_a_function_get_the_variables_of_its_secrets(world):
    source = """
        import os

        def tell(x):
            return os.environ["TOKEN"]
    """
    world.client.secrets.write("st-1", {"TOKEN": "abc"}, 0.0)
    secret = SecretRef(name="", object_id="st-1")
    [pool] = world.deploy(source, function("tell", secrets=(secret,)))
    world.machine()
    world.order("i-1", {pool: 1})

    assert world.results(world.map(pool, [0])) == ["abc"]
