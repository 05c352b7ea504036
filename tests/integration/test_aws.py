"""Programs on AWS, from the client to the container and back, on strict fakes."""

import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import cloudfn
from cloudfn import errors
from cloudfn.machine.metadata import Notice
from cloudfn.rehearsal.site import MachineClass
from cloudfn.sdk.client import using
from cloudfn.testing.aws import Knobs
from tests.integration.aws_world import FLEET, AwsWorld, wait

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

#: seconds that pass in one of this machine's: most of what happens here is waited for
PACE = 4.0

_PROGRAM = """
import os, time
from pathlib import Path
import cloudfn

app = cloudfn.App("demo")

@app.function(scaledown_window=2)
def square(number):
    return number * number
"""
_NUMBERS = count(1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AwsWorld]:
    with AwsWorld(tmp_path, pace=PACE).running() as made:
        yield made


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return write_program(tmp_path, monkeypatch, _PROGRAM)


def write_program(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Any:
    """Return a module that was written just now."""
    name = f"aws_program_{next(_NUMBERS)}"
    (folder / "programs").mkdir(exist_ok=True)
    (folder / "programs" / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(folder / "programs"))
    module = import_module(name)
    del sys.modules[name]
    monkeypatch.setitem(sys.modules, name, module)  # until the end of the test
    return module


def test_a_program_runs_and_leaves_nothing_running(world: AwsWorld, program: Any) -> None:
    with using(world.client()), program.app.run(runtime="docker"):
        assert program.square.remote(7) == 49
        assert list(program.square.map(range(300))) == [n * n for n in range(300)]
        calls = [program.square.spawn(n) for n in range(3)]
        assert [call.get(timeout=30) for call in calls] == [0, 1, 4]
    world.wait_for_no_machines()


def test_a_burst_is_served_by_warm_machines_and_none_is_left_in_service(
    tmp_path: Path, program: Any
) -> None:
    world = AwsWorld(tmp_path, warm=2, pace=8)

    def put_aside() -> set[str]:
        states = world.instances()
        return set(states) if set(states.values()) == {"Warmed:Stopped"} else set()

    with world.running():
        warm = wait(put_aside, "machines are put aside")
        with using(world.client()), program.app.run(runtime="docker"):
            assert list(program.square.map(range(300))) == [n * n for n in range(300)]
        served = set(world.machines)
        assert served & warm
        assert not wait(put_aside, "machines in service are left") & served


_TWO_SIZES = """
import cloudfn

app = cloudfn.App("demo")

@app.function()
def small(number):
    return number + 1

@app.function(memory=12_000)
def large(number):
    return number + 2
"""


def test_a_function_runs_on_machines_of_the_platform_that_its_image_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_program(tmp_path, monkeypatch, _TWO_SIZES)
    classes = {
        "arm": MachineClass(("m7g.large",), 2, architecture="arm64"),
        "amd": MachineClass(("m7i.xlarge",), 2),
    }
    with (
        AwsWorld(tmp_path, classes=classes).running() as world,
        using(world.client()),
        program.app.run(runtime="docker"),
    ):
        # One image for each platform, although both functions ask for the same.
        assert len(world.open("looker", world.clients).images.list()) == 2
        assert program.small.remote(1) == 2
        assert {world.class_of(each) for each in world.machines} == {"arm"}
        assert program.large.remote(1) == 3
        assert {world.class_of(each) for each in world.machines} == {"arm", "amd"}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """Give a file; inputs of `slow` wait while it is there."""
    path = tmp_path / "hold"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


_SLOW = """
import time
from pathlib import Path
import cloudfn

app = cloudfn.App("demo")
HOLD, TRACE = Path({hold!r}), Path({trace!r})

@app.function(scaledown_window=2, max_containers=4)
def slow(number):
    with TRACE.open("a") as trace:
        trace.write(f"{{number}}\\n")
    while HOLD.exists():
        time.sleep(0.01)
    return {version!r}, number

@app.function()
def steps(count):
    for number in range(count):
        yield number * 10
"""


class Slow:
    """A program whose inputs wait."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: Path) -> None:
        self._folder, self._monkeypatch, self._held = tmp_path, monkeypatch, held
        self.trace = tmp_path / "trace"

    def version(self, version: str) -> Any:
        text = _SLOW.format(hold=str(self._held), trace=str(self.trace), version=version)
        return write_program(self._folder, self._monkeypatch, text)

    def begun(self) -> list[str]:
        return self.trace.read_text().split() if self.trace.exists() else []

    def release(self) -> None:
        self._held.unlink()


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: Path) -> Slow:
    return Slow(tmp_path, monkeypatch, held)


def in_background(work: Callable[[], Any]) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - for who waits for it
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def test_a_machine_that_dies_loses_nothing(world: AwsWorld, slow: Slow) -> None:
    with using(world.client()), slow.version("one").app.run(runtime="docker") as app:
        mapped = in_background(lambda: list(app.registered_functions["slow"].map(range(20))))
        wait(lambda: len(slow.begun()) >= 2, "nothing runs")
        world.unplug(world.alive()[0])
        slow.release()
        assert mapped.result(60) == [("one", number) for number in range(20)]
    world.wait_for_no_machines()


def test_a_spot_machine_that_is_taken_away_gives_back_what_it_has(
    world: AwsWorld, slow: Slow
) -> None:
    with using(world.client()), slow.version("one").app.run(runtime="docker") as app:
        mapped = in_background(lambda: list(app.registered_functions["slow"].map(range(8))))
        wait(lambda: len(slow.begun()) >= 2, "nothing runs")
        [first] = world.alive()[:1]
        world.notice(first, Notice(ends=world.clock.wall() + 120))
        wait(lambda: len(world.machines) >= 2, "no machine takes its place")
        slow.release()
        assert mapped.result(60) == [("one", number) for number in range(8)]
    world.aws.fleet.kill(first)
    world.wait_for_no_machines()


def test_inputs_run_the_revision_that_they_were_submitted_to(world: AwsWorld, slow: Slow) -> None:
    with using(world.client()):
        slow.version("one").app.deploy(runtime="docker")
        function = cloudfn.Function.from_name("demo", "slow")
        mapped = in_background(lambda: list(function.map(range(10))))
        wait(slow.begun, "nothing runs")
        slow.version("two").app.deploy(runtime="docker")
        slow.release()
        assert mapped.result(60) == [("one", number) for number in range(10)]
        assert cloudfn.Function.from_name("demo", "slow").remote(1) == ("two", 1)


def test_a_deploy_that_recreates_ends_what_runs_which_runs_again_as_it_was(
    world: AwsWorld, slow: Slow
) -> None:
    with using(world.client()) as client:
        slow.version("one").app.deploy(runtime="docker")
        function = cloudfn.Function.from_name("demo", "slow")
        mapped = in_background(lambda: list(function.map([1])))
        wait(slow.begun, "nothing runs")
        wait(lambda: client.request("container_list")["containers"], "no machine says what it has")
        slow.version("two").app.deploy(runtime="docker", strategy="recreate")
        wait(lambda: len(slow.begun()) == 2, "it does not run again")
        slow.release()
        assert mapped.result(60) == [("one", 1)]
        assert cloudfn.Function.from_name("demo", "slow").remote(1) == ("two", 1)


def test_a_map_of_5000_runs_the_revision_that_it_began_with(tmp_path: Path, slow: Slow) -> None:
    numbers = range(5_000)
    with AwsWorld(tmp_path, pace=PACE).running() as world, using(world.client()):
        slow.version("one").app.deploy(runtime="docker")
        function = cloudfn.Function.from_name("demo", "slow")
        # More than may be under way at once: most of it is submitted after the deploy.
        mapped = in_background(lambda: list(function.map(numbers)))
        wait(slow.begun, "nothing runs")
        slow.version("two").app.deploy(runtime="docker")
        later = in_background(lambda: list(function.map(numbers[:500])))
        slow.release()
        assert later.result(80) == [("two", number) for number in numbers[:500]]
        assert mapped.result(80) == [("one", number) for number in numbers]
        world.wait_for_no_machines()
    begun = Counter(slow.begun())
    assert begun == Counter(map(str, numbers)) + Counter(map(str, numbers[:500]))


def test_a_planner_that_starts_in_the_middle_of_a_drain_ends_the_machine(
    tmp_path: Path, slow: Slow
) -> None:
    with AwsWorld(tmp_path, pace=PACE).running() as world, using(world.client()):
        slow.version("one").app.deploy(runtime="docker")
        function = cloudfn.Function.from_name("demo", "slow")
        mapped = in_background(lambda: list(function.map(range(20))))
        wait(lambda: len(slow.begun()) >= 2, "nothing runs")
        [first] = world.alive()
        wait(lambda: world.drains(first), "it does not drain")

        world.planners[0].die()
        world.planner()
        wait(lambda: len(world.alive()) == 2, "nothing takes its place")
        assert world.drains(first), "it is told to go on"
        slow.release()

        assert mapped.result(60) == [("one", number) for number in range(20)]
        world.wait_for_no_machines()
    assert Counter(slow.begun()) == Counter(map(str, range(20)))


def test_a_planner_takes_over_from_one_that_died(world: AwsWorld, slow: Slow) -> None:
    first = world.planners[0]
    with using(world.client()), slow.version("one").app.run(runtime="docker") as app:
        mapped = in_background(lambda: list(app.registered_functions["slow"].map(range(10))))
        wait(slow.begun, "nothing runs")
        first.die()
        world.planner()
        slow.release()
        assert mapped.result(60) == [("one", number) for number in range(10)]
    world.wait_for_no_machines()


def test_two_planners_are_as_good_as_one(world: AwsWorld, program: Any) -> None:
    world.planner()
    with using(world.client()), program.app.run(runtime="docker"):
        assert list(program.square.map(range(300))) == [n * n for n in range(300)]
    world.wait_for_no_machines()
    assert len(world.machines) <= world.most_machines


def test_a_laptop_that_went_away_finds_its_results(world: AwsWorld, slow: Slow) -> None:
    first = world.client()
    with using(first):
        slow.version("one").app.deploy(runtime="docker")
        call = cloudfn.Function.from_name("demo", "slow").spawn_map(range(5))
        wait(slow.begun, "nothing runs")
    world.vanish(first)
    slow.release()
    with using(world.client()):
        found = cloudfn.FunctionCall.from_id(call.object_id)
        assert [found.get(timeout=40, index=n) for n in range(5)] == [("one", n) for n in range(5)]


def test_calls_of_a_laptop_that_vanished_end(world: AwsWorld, slow: Slow) -> None:
    first = world.client()
    with using(first):
        slow.version("one").app.deploy(runtime="docker")
        function = cloudfn.Function.from_name("demo", "slow")
        in_background(lambda: list(function.map(range(20))))
        wait(slow.begun, "nothing runs")
    world.vanish(first)
    with using(world.client()):
        function = cloudfn.Function.from_name("demo", "slow")
        wait(lambda: function.get_current_stats().backlog == 0, "its inputs wait for ever")
        wait(lambda: not world.busy(), "its inputs run for ever")


def test_an_update_is_acted_on(world: AwsWorld, slow: Slow) -> None:
    with using(world.client()):
        slow.version("one").app.deploy(runtime="docker")
        function = cloudfn.Function.from_name("demo", "slow")
        function.update_autoscaler(min_containers=2)
        wait(lambda: world.containers() == 2, "no two containers")
        function.update_autoscaler(min_containers=0)
        world.wait_for_no_machines()


def test_a_cancelled_call_stops_what_runs(world: AwsWorld, slow: Slow) -> None:
    with using(world.client()):
        slow.version("one").app.deploy(runtime="docker")
        call = cloudfn.Function.from_name("demo", "slow").spawn(1)
        wait(slow.begun, "nothing runs")
        call.cancel()
        with pytest.raises(errors.RemoteError, match="cancelled"):
            call.get(timeout=20)
        wait(lambda: not world.busy(), "it runs for ever")


def test_a_generator_yields_as_it_goes(world: AwsWorld, slow: Slow) -> None:
    with using(world.client()), slow.version("one").app.run(runtime="docker") as app:
        steps = app.registered_functions["steps"]
        assert list(steps.remote_gen(150)) == [10 * n for n in range(150)]


@pytest.mark.parametrize("service", ["dynamodb", "sqs", "s3", "ssm", "autoscaling"])
def test_a_service_that_fails_for_a_while_loses_nothing(
    world: AwsWorld, slow: Slow, service: str
) -> None:
    with using(world.client()), slow.version("one").app.run(runtime="docker") as app:
        mapped = in_background(lambda: list(app.registered_functions["slow"].map(range(40))))
        wait(slow.begun, "nothing runs")
        world.aws.faults.fail(service, "*", "InternalError", times=None, until=world.soon(4 * PACE))
        slow.release()
        assert mapped.result(80) == [("one", number) for number in range(40)]
    world.wait_for_no_machines()


def test_credentials_that_expire_for_a_moment_lose_nothing(world: AwsWorld, slow: Slow) -> None:
    expired = Event()

    def numbers() -> Iterator[int]:
        yield from range(40)
        assert expired.wait(80)
        yield from range(40, 80)

    with using(world.client()), slow.version("one").app.run(runtime="docker") as app:
        mapped = in_background(lambda: list(app.registered_functions["slow"].map(numbers())))
        wait(slow.begun, "nothing runs")
        world.aws.faults.fail(
            "*", "*", "ExpiredTokenException", times=None, until=world.soon(3 * PACE)
        )
        expired.set()
        slow.release()
        assert mapped.result(80) == [("one", number) for number in range(80)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_where_everything_is_as_nasty_as_aws_says(
    tmp_path: Path, program: Any, seed: int
) -> None:
    knobs = replace(Knobs(), fleet=FLEET)
    with (
        AwsWorld(tmp_path, knobs, seed, pace=PACE).running() as world,
        using(world.client()),
        program.app.run(runtime="docker"),
    ):
        assert list(program.square.map(range(500))) == [n * n for n in range(500)]
        assert [program.square.remote(n) for n in range(10)] == [n * n for n in range(10)]
    # A description may be old, so that nobody can be sure at once.


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_answers_that_get_lost_lose_nothing(tmp_path: Path, program: Any, seed: int) -> None:
    with (
        AwsWorld(tmp_path, seed=seed, pace=PACE).running() as world,
        using(world.client()),
        program.app.run(runtime="docker"),
    ):
        assert program.square.remote(2) == 4
        world.lost_answers = 0.05
        for _ in range(8):
            assert list(program.square.map(range(60))) == [n * n for n in range(60)]
        world.lost_answers = 0
        wait(lambda: not world.busy(), "inputs run for ever")
