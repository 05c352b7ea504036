"""What every register of machines promises, and what the one on DynamoDB promises beyond."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from zlib import crc32

import pytest

from cloudfn.errors import ConflictError, ResourceExhaustedError
from cloudfn.model.gpu import Gpu
from cloudfn.providers.aws.machines import PARTITIONS, DynamoMachines
from cloudfn.providers.machines import (
    ContainerReport,
    ContainerState,
    MachineReport,
    MachineRow,
    MachineState,
    Orders,
    PoolReport,
    Stop,
)
from cloudfn.testing import FakeAws
from cloudfn.testing.aws import Knobs
from cloudfn.testing.memory_machines import MemoryMachines

A = MachineReport("i-a", "small", MachineState.READY, 4.0, 16_384)
RICH = MachineReport(
    "i-b",
    "gpu",
    MachineState.DRAINING,
    7.5,
    31_000,
    gpus=(Gpu(0, "GPU-1", "NVIDIA L4", 23_034), Gpu(1)),
    host_keys=("ssh-ed25519 AAAA machine",),
    zone="eu-central-1a",
    spot=True,
    version="0.1.0",
    address="10.0.0.7",
    joined=12.5,
    epoch=3,
    pools={
        "fu-1": PoolReport(1, 2, 3, 4, 5, 0.25, 2.0, 17.5, "no image"),
        "fu-2": PoolReport(),
        "fu-3": PoolReport(
            idle=1,
            containers=tuple(
                ContainerReport(f"ta-{state}", state, 11, n)
                for n, state in enumerate(ContainerState)
            ),
        ),
    },
    ends=99.0,
)


@pytest.fixture
def aws():
    return FakeAws()


@pytest.fixture(params=["dynamodb", "memory"])
def machines(request, aws):
    if request.param == "memory":
        return MemoryMachines()
    return on_dynamodb(aws)


def on_dynamodb(aws, attempts=8):
    return DynamoMachines(aws.clients(attempts), aws.make_table(), aws.clock)


def test_a_machine_that_joined_is_listed_as_it_reported_itself(machines):
    machines.join(A, 10.0, 30.0)
    machines.join(RICH, 11.0, 30.0)

    assert machines.list() == [MachineRow(A, 10.0, 40.0), MachineRow(RICH, 11.0, 41.0)]


def test_a_heartbeat_renews_the_lease_and_replaces_the_report(machines):
    machines.join(RICH, 10.0, 30.0)
    later = replace(RICH, state=MachineState.EMPTY, pools={}, gpus=(), ends=None)

    machines.beat(later, 15.0, 30.0)

    assert machines.list() == [MachineRow(later, 15.0, 45.0)]


def test_a_heartbeat_of_a_machine_that_was_removed_is_refused_until_it_joins_anew(machines):
    machines.join(A, 10.0, 30.0)
    machines.order({"i-a": Orders(2, {"fu-1": 1})})
    machines.remove("i-a")
    machines.remove("i-a")

    with pytest.raises(ConflictError, match="i-a"):
        machines.beat(A, 15.0, 30.0)

    assert machines.list() == []
    assert machines.join(A, 20.0, 30.0) == Orders()
    assert machines.beat(A, 25.0, 30.0) == Orders()


def test_orders_come_with_each_heartbeat_and_on_demand(machines):
    wanted = Orders(1, {"fu-1": 3, "fu-2": 0}, {"fu-1": 2}, drain=True)
    assert machines.join(A, 1.0, 30.0) == Orders()

    machines.order({"i-a": wanted})

    assert machines.beat(A, 2.0, 30.0) == wanted
    assert machines.orders("i-a") == wanted


def test_orders_of_a_machine_that_is_not_there_are_empty_and_make_none(machines):
    machines.order({"i-a": Orders(1, {"fu-1": 3})})
    machines.cancel("i-a", [(1, 1)])
    machines.cancelled("i-a", [(1, 1)])

    assert machines.orders("i-a") == Orders()
    assert machines.list() == []


def test_orders_outlive_a_new_start_of_the_agent(machines):
    machines.join(A, 1.0, 30.0)
    machines.order({"i-a": Orders(4, {"fu-1": 2}, drain=True)})

    assert machines.join(A, 2.0, 30.0) == Orders(4, {"fu-1": 2}, drain=True)


def test_the_latest_orders_replace_earlier_ones_but_for_those_of_a_higher_epoch(machines):
    machines.join(A, 1.0, 30.0)
    machines.join(RICH, 1.0, 30.0)
    machines.order({"i-a": Orders(2, {"fu-1": 1}), "i-b": Orders(1)})
    machines.order({"i-a": Orders(1, {"fu-1": 9}), "i-b": Orders(1, {"fu-2": 2})})

    assert machines.orders("i-a") == Orders(2, {"fu-1": 1})
    assert machines.orders("i-b") == Orders(1, {"fu-2": 2})
    machines.order({"i-a": Orders(2, drain=True)})
    assert machines.orders("i-a") == Orders(2, drain=True)


def test_inputs_to_stop_are_named_until_the_machine_says_that_it_has_whatever_else_it_is_told(
    machines,
):
    machines.join(A, 1.0, 30.0)
    machines.cancel("i-a", [(7, 1), (2**60, 3)])
    machines.cancel("i-a", [(7, 1)])
    machines.order({"i-a": Orders(1, {"fu-1": 1}, cancelled=((8, 1),))})

    assert machines.beat(A, 2.0, 30.0).cancelled == ((7, 1), (8, 1), (2**60, 3))
    machines.cancelled("i-a", [(7, 1), (8, 1)])
    machines.cancelled("i-a", [(7, 1)])
    assert machines.orders("i-a") == Orders(1, {"fu-1": 1}, cancelled=((2**60, 3),))
    machines.cancelled("i-a", [(2**60, 3)])
    assert machines.orders("i-a").cancelled == ()


def test_nobody_loses_what_others_cancel_at_the_same_time(machines):
    machines.join(A, 1.0, 30.0)

    with ThreadPoolExecutor(8) as threads:
        for n in range(8):
            threads.submit(machines.cancel, "i-a", [(n * 10 + k, 1) for k in range(10)])

    assert machines.orders("i-a").cancelled == tuple((n, 1) for n in range(80))


def test_containers_to_stop_are_named_until_the_machine_says_that_it_has_seen_to_them(machines):
    one, pool = Stop("ta-1", graceful=True), Stop("fu-1@1")
    machines.join(A, 1.0, 30.0)
    machines.stop("i-a", [one])
    machines.stop("i-a", [one, pool])
    machines.order({"i-a": Orders(1, {"fu-1@1": 1}, stops=(Stop("ta-2"),))})
    machines.order({"i-a": Orders(2, {"fu-1@1": 1})})

    assert machines.beat(A, 2.0, 30.0).stops == (pool, one, Stop("ta-2"))
    machines.stopped("i-a", [one, pool])
    machines.stopped("i-a", [one])
    assert machines.orders("i-a") == Orders(2, {"fu-1@1": 1}, stops=(Stop("ta-2"),))
    machines.stop("i-b", [one])
    machines.stopped("i-b", [one])
    assert machines.orders("i-b") == Orders()


# On DynamoDB


def test_a_heartbeat_is_one_request_and_changes_nothing_else(aws):
    machines = on_dynamodb(aws)
    machines.join(A, 1.0, 30.0)
    aws.faults.calls.clear()

    machines.beat(A, 2.0, 30.0)

    assert dict(aws.faults.calls) == {("dynamodb", "UpdateItem"): 1}


def test_requests_whose_answers_are_lost_have_their_effect_once(aws):
    machines = on_dynamodb(aws)
    aws.faults.lose_answer("dynamodb", "*", times=1)
    machines.join(A, 1.0, 30.0)
    aws.faults.lose_answer("dynamodb", "*", times=1)
    machines.cancel("i-a", [(1, 1)])
    aws.faults.lose_answer("dynamodb", "*", times=1)
    machines.order({"i-a": Orders(1, {"fu-1": 1})})
    aws.faults.lose_answer("dynamodb", "*", times=1)

    assert machines.beat(A, 2.0, 30.0) == Orders(1, {"fu-1": 1}, cancelled=((1, 1),))
    aws.faults.lose_answer("dynamodb", "*", times=1)
    machines.remove("i-a")
    assert machines.list() == []


def test_many_machines_are_listed_page_by_page(aws):
    machines = DynamoMachines(aws.clients(), aws.make_table(), aws.clock)
    trouble = {f"fu-{n}": PoolReport(trouble="x" * 1_000) for n in range(100)}
    names = [name for n in range(400) if partition(name := f"i-{n:03}") == 3][:12]
    wanted = [replace(A, machine_id=name, pools=trouble) for name in names]
    for report in wanted:
        machines.join(report, 1.0, 30.0)
        aws.clock.advance(1.0)
    aws.faults.calls.clear()

    assert [row.report for row in machines.list()] == wanted
    assert aws.faults.calls["dynamodb", "Query"] > PARTITIONS


def test_machines_are_spread_over_partitions_as_one_takes_the_beats_of_few(aws):
    shares = Counter(partition(f"i-{n:017x}") for n in range(10_000))

    assert len(shares) == PARTITIONS
    # Each beats once in 5 s and takes 2 units; a partition has 1,000 a second.
    assert max(shares.values()) * 2 / 5 < 600


def partition(machine_id):
    return crc32(machine_id.encode()) % PARTITIONS


def test_orders_for_many_machines_reach_all_of_them(aws):
    machines = on_dynamodb(aws)
    names = [f"i-{n}" for n in range(40)]
    for name in names:
        machines.join(replace(A, machine_id=name), 1.0, 30.0)

    machines.order({name: Orders(1, {"fu-1": n}) for n, name in enumerate(names)})

    assert [machines.orders(name).quotas["fu-1"] for name in names] == list(range(40))


def test_a_machine_that_never_stops_what_it_should_is_not_told_without_end(aws):
    machines = on_dynamodb(aws)
    machines.join(A, 1.0, 30.0)
    machines.cancel("i-a", [(n, 1) for n in range(2_000)])

    machines.cancel("i-a", [(n, 1) for n in range(2_000)])
    with pytest.raises(ResourceExhaustedError, match="2000 inputs"):
        machines.cancel("i-a", [(2_000, 1)])

    assert len(machines.orders("i-a").cancelled) == 2_000


def test_a_machine_that_never_stops_containers_is_not_told_without_end(aws):
    machines = on_dynamodb(aws)
    machines.join(A, 1.0, 30.0)
    machines.stop("i-a", [Stop(f"ta-{n}") for n in range(500)])

    with pytest.raises(ResourceExhaustedError, match="500 containers"):
        machines.stop("i-a", [Stop("ta-500")])

    assert len(machines.orders("i-a").stops) == 500


def test_the_row_of_a_dead_machine_goes_by_itself_long_after_its_lease(aws):
    machines = on_dynamodb(aws)
    machines.join(A, aws.clock.wall(), 30.0)

    aws.clock.advance(86_000)
    assert len(machines.list()) == 1
    aws.clock.advance(3 * 86_400)
    assert machines.list() == []


def test_a_report_of_a_newer_version_is_read_as_far_as_it_is_known(aws):
    machines = DynamoMachines(aws.clients(), aws.make_table(), aws.clock)
    machines.join(A, 1.0, 30.0)
    text = '{"machine_class":"small","state":"ready","cores":4.0,"memory":16384,"mood":"good"}'
    aws.client("dynamodb").update_item(
        TableName="cloudfn-main",
        Key={"pk": {"S": f"M#{partition('i-a'):x}"}, "sk": {"S": "i-a"}},
        UpdateExpression="SET #report = :report",
        ExpressionAttributeNames={"#report": "report"},
        ExpressionAttributeValues={":report": {"S": text}},
    )

    assert [row.report for row in machines.list()] == [A]


def test_what_aws_refuses_comes_as_an_error_of_ours(aws):
    machines = on_dynamodb(aws, attempts=1)
    aws.faults.fail("dynamodb", "UpdateItem", "ThrottlingException")

    with pytest.raises(ResourceExhaustedError, match="dynamodb:UpdateItem of table cloudfn-main"):
        machines.join(A, 1.0, 30.0)


def test_all_of_it_is_possible_on_a_calm_table(aws):
    machines = on_dynamodb(FakeAws(knobs=Knobs.calm()), attempts=1)
    machines.join(A, 1.0, 30.0)
    machines.order({"i-a": Orders(1)})
    machines.remove("i-a")

    assert machines.list() == []
