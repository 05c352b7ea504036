"""What programs do, on a machine of strict fakes of AWS: one environment for all of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cloudfn
from cloudfn.clock import SystemClock
from cloudfn.exception import RemoteError
from cloudfn.sdk.client import using
from tests.integration.aws_world import AwsWorld, wait
from tests.integration.test_aws import write_program

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PROGRAM = """
import time
import cloudfn

app = cloudfn.App("programs")

@app.function()
def square(number):
    return number * number

@app.function()
def fail(number):
    raise LookupError(f"no {number}")

@app.function()
def double(data):
    return data + data

@app.function()
def count_to(number):
    yield from range(number)

@app.function()
def wait_for(seconds):
    time.sleep(seconds)
    return seconds

@app.function()
def nested(number):
    return [square.remote(number), *square.map(range(number)), *count_to.remote_gen(3)]

@app.function()
def spawning(number):
    return square.spawn(number)

@app.function()
def shared(name):
    store = cloudfn.Dict.from_name(name, create_if_missing=True)
    store["big"] = bytes(100_000)
    queue = cloudfn.Queue.from_name(name, create_if_missing=True)
    queue.put("from a container")
    return queue.get(timeout=20)

@app.cls()
class Adder:
    start: int = cloudfn.parameter()

    @cloudfn.enter()
    def begin(self):
        self.offset = self.start * 10

    @cloudfn.method()
    def add(self, number):
        return self.offset + number
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AwsWorld, Any]]:
    folder: Path = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch, AwsWorld(folder).running() as world:
        program = write_program(folder, patch, PROGRAM)
        with using(world.client()), program.app.run(runtime="docker"):
            yield world, program


@pytest.fixture
def program(environment: tuple[AwsWorld, Any]) -> Any:
    return environment[1]


@pytest.fixture
def world(environment: tuple[AwsWorld, Any]) -> AwsWorld:
    return environment[0]


def test_exceptions_come_back_as_they_were_raised(program: Any) -> None:
    with pytest.raises(LookupError, match="no 3"):
        program.fail.remote(3)


def test_big_payloads_travel_both_ways(program: Any) -> None:
    data = bytes(200_000)
    assert program.double.remote(data) == data + data
    assert list(program.double.map([data] * 4)) == [data + data] * 4


def test_items_of_generators_are_streamed(program: Any) -> None:
    assert list(program.count_to.remote_gen(200)) == list(range(200))


def test_instances_of_classes_have_their_parameters(program: Any) -> None:
    assert program.Adder(start=2).add.remote(1) == 21
    assert list(program.Adder(start=3).add.map([1, 2])) == [31, 32]


def test_functions_call_functions(program: Any) -> None:
    assert program.nested.remote(4) == [16, 0, 1, 4, 9, 0, 1, 2]


def test_what_a_container_spawned_is_found_outside(program: Any) -> None:
    call = program.spawning.remote(6)

    assert cloudfn.FunctionCall.from_id(call.object_id).get(timeout=60) == 36


def test_containers_share_dicts_and_queues_with_clients(program: Any) -> None:
    assert program.shared.remote("notes") == "from a container"
    assert cloudfn.Dict.from_name("notes")["big"] == bytes(100_000)


def test_what_runs_is_stopped_when_its_call_is_cancelled(program: Any, world: AwsWorld) -> None:
    call = program.wait_for.spawn(100)
    ledger = world.open("test", world.clients).ledger
    wait(lambda: ledger.held(call.object_id), "the input runs")
    began = SystemClock().monotonic()

    call.cancel()

    with pytest.raises(RemoteError, match="cancelled"):
        call.get(timeout=60)
    assert program.wait_for.remote(0) == 0
    assert SystemClock().monotonic() - began < 90


def test_a_map_is_left_early_and_nothing_of_it_stays(program: Any, world: AwsWorld) -> None:
    ledger = world.open("test", world.clients).ledger
    results = iter(program.wait_for.map([0, 100, 100]))
    assert next(results) == 0

    results.close()

    wait(lambda: not ledger.open_calls(), "all of it is forgotten")
