"""Programs of the real SDK against a cloud in memory: no daemon, no socket."""

import asyncio
import builtins
import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cloudfn
from cloudfn.clock import SystemClock
from cloudfn.errors import ServiceError
from cloudfn.exception import (
    ClientClosed,
    ConflictError,
    DataLossError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    RemoteError,
    ResourceExhaustedError,
    UnimplementedError,
)
from cloudfn.model.log import LogEntry
from cloudfn.providers.machines import PoolReport
from cloudfn.providers.presence import ClientRow
from cloudfn.settings import Limits
from cloudfn.testing.cloud_machine import CloudMachine
from cloudfn.testing.memory_presence import MemoryPresence
from cloudfn.wire.messages import BlobRef
from tests.unit.cloud_world import World

app = cloudfn.App("cloud-tests")


@app.function()
def double(x):
    return 2 * x


@app.function()
def fail(x):
    raise ValueError(f"no {x}")


@app.function()
def large(data):
    return data + data


@app.function()
def count_to(n):
    yield from range(n)


@app.cls()
class Adder:
    start: int = cloudfn.parameter(default=1)

    @cloudfn.method()
    def add(self, x):
        return self.start + x


site = cloudfn.App("site")


@site.function()
@cloudfn.fastapi_endpoint()
def page():
    return "hello"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def small_world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, Limits(pending=3, total=5, spawn_pending=3))
    yield world
    world.close()


def wait_until(condition: Callable[[], bool]) -> None:
    event, clock = threading.Event(), SystemClock()
    end = clock.monotonic() + 20
    while not condition():
        assert clock.monotonic() < end, "nothing happened"
        event.wait(0.01)


def test_a_function_is_called_and_its_value_comes_back(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        assert double.remote(21) == 42


def test_an_exception_of_user_code_is_raised_where_it_was_called(world: World) -> None:
    with world.program(), app.run(runtime="docker"), pytest.raises(ValueError, match="no 7"):
        fail.remote(7)


def test_results_of_a_map_come_in_the_order_of_its_inputs(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        assert list(double.map(range(300))) == [2 * x for x in range(300)]


def test_a_map_of_tiny_inputs_takes_few_requests(world: World) -> None:
    world.machine.gate.clear()
    with world.program(), app.run(runtime="docker"):
        results = double.map(range(2_000), order_outputs=False)
        opened = threading.Thread(target=world.machine.gate.set)
        opened.start()
        assert sum(results) == sum(2 * x for x in range(2_000))
        opened.join()
    assert world.calls("submit") < 200


def test_failures_of_a_map_are_results_where_that_is_wanted(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        found = list(fail.map([1, 2], return_exceptions=True))
    assert [str(each) for each in found] == ["no 1", "no 2"]


def test_big_arguments_and_results_travel_through_the_depot_and_leave_nothing(
    world: World,
) -> None:
    data = bytes(100_000)
    with world.program(), app.run(runtime="docker"):
        assert large.remote(data) == data + data
        assert list(large.map([data] * 3)) == [data + data] * 3
    assert not world.cloud.depot.payloads
    assert not list(world.folder.glob("payloads-*"))


def test_awaiting_works_as_well(world: World) -> None:
    async def program() -> tuple[int, list[int]]:
        async with app.run(runtime="docker"):
            mapped = [value async for value in double.map.aio(range(50))]
            return await double.remote.aio(4), mapped

    with world.program():
        assert asyncio.run(program()) == (8, [2 * x for x in range(50)])


def test_calls_of_several_threads_do_not_disturb_each_other(world: World) -> None:
    found: dict[int, int] = {}
    with world.program(), app.run(runtime="docker"):

        def call(number: int) -> None:
            found[number] = double.remote(number)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {number: 2 * number for number in range(8)}


def test_methods_of_a_class_with_parameters_have_a_pool_of_their_own(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        assert Adder(start=5).add.remote(1) == 6
        assert Adder().add.remote(1) == 2


def test_items_of_a_generator_come_as_they_are_yielded(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        assert list(count_to.remote_gen(200)) == list(range(200))


def test_a_spawned_call_is_found_by_a_later_process(world: World) -> None:
    with world.program():
        app.deploy(runtime="docker")
        call_id = cloudfn.Function.from_name("cloud-tests", "double").spawn(4).object_id
    with world.program():
        assert cloudfn.FunctionCall.from_id(call_id).get(timeout=20) == 8


def test_a_client_that_nobody_tells_looks_itself(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.machine.close()
    world.machine = CloudMachine(world.cloud, "i-2", tmp_path / "quiet", quiet=True)
    with world.program(), app.run(runtime="docker"):
        assert double.remote(1) == 2
        assert list(count_to.remote_gen(3)) == [0, 1, 2]
    world.close()


def test_an_app_that_was_looked_up_with_a_client_is_used_through_it(world: World) -> None:
    with world.program():
        app.deploy(runtime="docker")
    client = world.client()
    found = cloudfn.App.lookup("cloud-tests", client=client)

    assert found.registered_functions["double"].remote(2) == 4
    found.stop()

    assert [each["name"] for each in client.request("app_list")["apps"]] == []


def test_a_cancelled_call_raises_and_its_machine_is_told(world: World) -> None:
    world.machine.gate.clear()
    with world.program():
        app.deploy(runtime="docker")
        call = cloudfn.Function.from_name("cloud-tests", "double").spawn(4)
        pool = world.machine.cloud.ledger.pools()[0]
        (claim,) = world.machine.claim(pool)
        call.cancel()
        with pytest.raises(RemoteError, match="cancelled"):
            call.get(timeout=20)
    assert world.cloud.machines.orders("i-1").cancelled == ((claim.seq, claim.fence),)


def test_a_map_that_is_left_early_is_cancelled_and_forgotten(world: World) -> None:
    world.machine.gate.clear()
    with world.program(), app.run(runtime="docker"):
        results = iter(double.map(range(10)))
        started = threading.Thread(target=lambda: next(results, None))
        started.start()
        wait_until(lambda: bool(world.machine.cloud.ledger.pools()))
        world.machine.gate.set()
        started.join()
        results.close()
        wait_until(lambda: not world.machine.cloud.ledger.calls(limit=10))


def test_a_limit_holds_a_map_up_and_refuses_a_single_input(small_world: World) -> None:
    world = small_world
    world.machine.gate.clear()
    with world.program():
        app.deploy(runtime="docker")
        handle = cloudfn.Function.from_name("cloud-tests", "double")
        for number in range(3):
            handle.spawn(number)
        with pytest.raises(ResourceExhaustedError, match="as many waiting inputs"):
            handle.spawn(3)
        world.machine.gate.set()
        assert list(handle.map(range(12))) == [2 * x for x in range(12)]


def test_where_nobody_plans_a_planner_is_woken(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        before = world.cloud.woken
        assert before > 0
        assert double.remote(1) == 2


def test_a_network_that_fails_for_a_moment_is_tried_again(world: World) -> None:
    with world.program() as client, app.run(runtime="docker"):
        client._front.cloud.ledger.fail_next("submit", cloudfn.exception.ConnectionError("down"))
        assert double.remote(1) == 2


def test_a_store_that_refuses_for_good_says_so(world: World) -> None:
    refusal = PermissionDeniedError("not allowed")
    with world.program() as client, app.run(runtime="docker"):
        client._front.cloud.ledger.fail_next("submit", refusal)
        with pytest.raises(PermissionDeniedError, match="not allowed"):
            double.remote(1)


def test_a_client_is_there_while_its_app_lives_and_says_what_ends_with_it(world: World) -> None:
    with world.program():
        with app.run(runtime="docker") as running:
            (row,) = world.cloud.presence.list()
            assert row.owned == (running.app_id,)
            double.remote(1)
            (row,) = world.cloud.presence.list()
            assert len(row.addresses) == 1
        (row,) = world.cloud.presence.list()
        assert row.owned == ()
    assert world.cloud.presence.list() == []


def test_web_functions_are_refused_with_a_way_out(world: World) -> None:
    with world.program(), pytest.raises(UnimplementedError, match="HTTP") as caught:
        site.deploy(runtime="docker")
    assert "--provider local" in caught.value.hint


def test_processes_are_refused_on_a_cloud(world: World) -> None:
    with world.program(), pytest.raises(InvalidError, match="Docker"):
        app.deploy(runtime="process")


def test_what_is_asked_of_an_app_that_was_stopped_is_not_found(world: World) -> None:
    with world.program():
        app.deploy(runtime="docker")
        handle = cloudfn.Function.from_name("cloud-tests", "double")
        assert handle.remote(1) == 2
        app.stop()
        with pytest.raises(NotFoundError):
            cloudfn.Function.from_name("cloud-tests", "double").remote(1)


def test_a_named_map_goes_on_and_belongs_to_one_client(world: World) -> None:
    with world.program():
        app.deploy(runtime="docker")
        handle = cloudfn.Function.from_name("cloud-tests", "double")
        assert list(handle.map(range(5), resume="numbers")) == [0, 2, 4, 6, 8]
    ran = len(world.machine.ran)
    with world.program():
        handle = cloudfn.Function.from_name("cloud-tests", "double")
        assert list(handle.map(range(5), resume="numbers")) == [0, 2, 4, 6, 8]
        assert len(world.machine.ran) == ran
        with pytest.raises(ConflictError, match="differ"):
            list(handle.map(range(1, 6), resume="numbers"))


class Noting(MemoryPresence):
    """Notes which calls had a client, each time that somebody asks."""

    def __init__(self) -> None:
        super().__init__()
        self.owned: list[set[str]] = []

    def list(self) -> builtins.list[ClientRow]:
        rows = super().list()
        self.owned.append({each for row in rows for each in row.owned})
        return rows


def test_of_two_clients_that_take_up_a_named_map_in_one_moment_none_misses_the_other(
    world: World,
) -> None:
    world.cloud.presence = presence = Noting()
    with world.program():
        app.deploy(runtime="docker")
        handle = cloudfn.Function.from_name("cloud-tests", "double")
        assert list(handle.map(range(5), resume="numbers")) == [0, 2, 4, 6, 8]
    (call,) = world.machine.cloud.ledger.names().values()
    presence.owned.clear()
    with world.program():
        handle = cloudfn.Function.from_name("cloud-tests", "double")
        assert list(handle.map(range(5), resume="numbers")) == [0, 2, 4, 6, 8]
    # Once when it is looked up, and once, for good, when it is ours.
    assert presence.owned == [set(), {call}]


def test_dicts_and_queues_are_shared(world: World) -> None:
    with world.program():
        shared = cloudfn.Dict.from_name("d", create_if_missing=True)
        shared["big"] = bytes(100_000)
        shared["small"] = 1
        queue = cloudfn.Queue.from_name("q", create_if_missing=True)
        queue.put_many([1, 2])
    with world.program():
        shared = cloudfn.Dict.from_name("d")
        assert shared["big"] == bytes(100_000)
        assert shared["small"] == 1
        queue = cloudfn.Queue.from_name("q")
        assert queue.get() == 1
        assert queue.get_many(5) == [2]
        assert queue.get(block=False) is None


def test_a_queue_is_waited_for(world: World) -> None:
    with world.program():
        queue = cloudfn.Queue.from_name("q", create_if_missing=True)
        found: list[object] = []
        getter = threading.Thread(target=lambda: found.append(queue.get(timeout=20)))
        getter.start()
        queue.put("late")
        getter.join()
    assert found == ["late"]


def test_executors_callbacks_and_gathering_need_no_daemon(world: World) -> None:
    with world.program():
        app.deploy(runtime="docker")
        handle = cloudfn.Function.from_name("cloud-tests", "double")
        with cloudfn.Executor(handle) as executor:
            assert executor.submit(5).result(timeout=20) == 10
        calls = [handle.spawn(number) for number in range(3)]
        assert cloudfn.FunctionCall.gather(*calls) == [0, 2, 4]
        told = threading.Event()
        calls[0].add_done_callback(lambda _call: told.set())
        assert told.wait(20)


def test_a_result_that_is_not_there_in_time_is_a_timeout(world: World) -> None:
    world.machine.gate.clear()
    with world.program():
        app.deploy(runtime="docker")
        call = cloudfn.Function.from_name("cloud-tests", "double").spawn(1)
        with pytest.raises(TimeoutError):
            call.get(timeout=0)


def test_a_run_that_is_over_before_machines_told_of_it_had_a_container(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        double.remote(1)

    assert app.summary == {"containers_peak": 1, "done": 1, "failed": 0}


def test_a_run_counts_what_it_spawned_whoever_waited_for_it(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        first, second = double.spawn(1), double.spawn(2)
        assert [first.get(), first.get(), double.remote(3)] == [2, 2, 6]
        wait_until(lambda: second.get_call_graph()[0].status.name == "SUCCESS")

    assert (app.summary["done"], app.summary["failed"]) == (3, 0)


def test_a_run_had_as_many_containers_as_machines_say_at_its_end(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        assert list(double.map(range(3))) == [0, 2, 4]
        machines = world.machine.cloud.machines
        [row] = machines.list()
        pool = f"{double.object_id}@1"
        reported = replace(row.report, pools={pool: PoolReport(idle=2, starting=1)})
        machines.beat(reported, SystemClock().wall(), 60.0)

    assert app.summary["containers_peak"] == 3


def test_a_run_ends_although_its_containers_cannot_be_counted(world: World) -> None:
    def fail() -> None:
        raise ServiceError("DynamoDB is away")

    with world.program() as client, app.run(runtime="docker"):
        double.remote(1)
        client._front.fleet.containers = fail  # type: ignore[assignment]

    assert app.summary["containers_peak"] == 1


def test_a_run_ends_in_order_although_its_app_cannot_be_ended_at_once(world: World) -> None:
    with world.program(), app.run(runtime="docker"):
        double.remote(1)
        world.cloud.ports["catalog"].fail_next("stop_app", ServiceError("it is away"))
    assert app.summary["done"] == 1
    assert world.machine.cloud.catalog.apps(stopped=True) == []


def test_a_client_closes_although_an_object_of_it_cannot_be_deleted(world: World) -> None:
    with world.program() as client:
        block = cloudfn.Dict.ephemeral()
        block.__enter__().put("a", 1)
        world.cloud.ports["objects"].fail_next("delete", ServiceError("it is away"))
        client.close()
    (row,) = world.cloud.presence.list()
    assert row.owned, "nobody knows that it is to be deleted"


def test_who_waits_for_a_client_that_is_closed_is_told(world: World) -> None:
    world.machine.gate.clear()
    failures: list[BaseException] = []
    with world.program() as client:
        app.deploy(runtime="docker")
        handle = cloudfn.Function.from_name("cloud-tests", "double")

        def wait() -> None:
            try:
                handle.remote(1)
            except ClientClosed as error:
                failures.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: bool(world.machine.cloud.ledger.pools()))
        client.close()
        waiting.join()
    assert len(failures) == 1
    assert world.machine.cloud.ledger.open_calls() == []


def test_a_call_that_the_janitor_ended_fails_where_it_is_waited_for(world: World) -> None:
    world.machine.gate.clear()
    failures: list[BaseException] = []
    with world.program(), app.run(runtime="docker"):

        def wait() -> None:
            try:
                double.remote(1)
            except NotFoundError as error:
                failures.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: bool(world.machine.cloud.ledger.pools()))
        (record,) = world.machine.cloud.ledger.open_calls()
        world.machine.cloud.ledger.forget(record.spec.call_id)
        waiting.join()
    assert "is gone" in str(failures[0])


def test_who_waits_when_the_environment_is_destroyed_is_told(world: World) -> None:
    world.machine.gate.clear()
    with world.program() as client, app.run(runtime="docker"):
        gone = NotFoundError("there is no table")
        client._front.cloud.ledger.fail_next("call", gone)
        with pytest.raises(NotFoundError, match="is gone: there is no table"):
            double.remote(1)
        world.machine.gate.set()


def test_what_functions_print_is_read_and_followed(world: World) -> None:
    with world.program() as client:
        app.deploy(runtime="docker")
        (record,) = world.cloud.ports["catalog"].apps()

        def say(text: str) -> None:
            logs = world.cloud.ports["logs"]
            at = SystemClock().wall()
            logs.write(LogEntry(at, record.app_id, "a", "double", "", "", "", "stdout", text))
            logs.flush()

        say("one")
        told: list[str] = []
        heard = threading.Event()

        def hear(message: dict[str, Any]) -> None:
            told.extend(entry["text"] for entry in message.get("entries", ()))
            heard.set()

        listening = client.listen("events", {"app_id": record.app_id}, hear)
        past = list(client.subscribe("logs", app="cloud-tests"))
        assert [entry["text"] for page in past for entry in page["entries"]] == ["one"]
        following = client.subscribe("logs", app="cloud-tests", follow=True)
        assert next(following)["entries"][0]["text"] == "one"
        say("two")
        assert next(following)["entries"][0]["text"] == "two"
        following.close()
        assert heard.wait(20)
        assert told == ["two"]
        client.release(listening, tell=True)


def test_a_result_in_a_file_that_cannot_be_fetched_at_once_is_fetched_later(world: World) -> None:
    depot = world.cloud.depot
    fetch, failures = depot.fetch, [cloudfn.exception.ConnectionError("down")]

    def stumble(ref: BlobRef, target: Path) -> None:
        if failures and "payloads-" in str(target):
            raise failures.pop()
        fetch(ref, target)

    depot.fetch = stumble
    data = bytes(100_000)
    with world.program(), app.run(runtime="docker"):
        assert large.remote(data) == data + data
    assert failures == []


def test_a_result_that_this_machine_has_no_room_for_is_not_waited_for(world: World) -> None:
    depot = world.cloud.depot
    fetch = depot.fetch

    def full(ref: BlobRef, target: Path) -> None:
        if "payloads-" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        fetch(ref, target)

    depot.fetch = full
    with world.program():
        app.deploy(runtime="docker")
        call = cloudfn.Function.from_name("cloud-tests", "large").spawn(bytes(100_000))
        with pytest.raises(DataLossError):
            call.get(timeout=5)


def test_a_result_that_is_lost_is_said_to_be_lost(world: World) -> None:
    world.machine.gate.clear()
    with world.program():
        app.deploy(runtime="docker")
        call = cloudfn.Function.from_name("cloud-tests", "large").spawn(bytes(100_000))
        world.machine.gate.set()
        ledger = world.machine.cloud.ledger
        wait_until(lambda: ledger.call(call.object_id).finished == 1)
        world.cloud.depot.payloads.clear()
        with pytest.raises(DataLossError):
            call.get(timeout=20)
