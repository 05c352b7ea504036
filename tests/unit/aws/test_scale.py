"""What cloudfn asks of AWS: counted on fakes, and held against the model on paper."""

import json

import pytest

from benchmarks.aws import counting, deciding, scale
from benchmarks.aws.account import Account, total
from benchmarks.aws.counting import Size
from cloudfn.control.planner.fleet_decide import decide_fleet
from cloudfn.control.planner.handler import open_planner
from cloudfn.machine.config import Timing
from cloudfn.model.call import CallKind, Status
from cloudfn.providers.ledger import Entry
from cloudfn.providers.machines import (
    ContainerReport,
    ContainerState,
    MachineReport,
    MachineState,
    Orders,
    PoolReport,
)
from cloudfn.providers.wakeups import Note


@pytest.fixture
def account(tmp_path):
    return Account(tmp_path)


def test_a_machine_asks_once_a_second_while_it_is_busy_and_writes_each_fifth_time(account):
    assert counting.beats(account) == {("dynamodb", "UpdateItem"): 12, ("dynamodb", "GetItem"): 48}
    assert (Timing().beat, Timing().orders) == (scale.BEAT, scale.ORDERS)


def test_rows_of_machines_are_no_larger_than_the_model_takes_them_for(account):
    cloud, keys = account.open("i-1"), tuple(f"ssh-ed25519 {'A' * 68} root@ip" for _ in range(2))
    containers = tuple(
        ContainerReport(f"ta-{n:020}", ContainerState.BUSY, 1_800_000_000, 123) for n in range(6)
    )
    pools = {
        f"fu-{'x' * 20}{n}@12": PoolReport(
            1, 2, 3, 4, 5, 0.123456, 2.5, 17.5, containers=containers
        )
        for n in range(4)
    }
    report = MachineReport(
        "i-0123456789abcdef0", "cpu", MachineState.READY, 15.5, 63_000, zone="eu-central-1a",
        version="0.1.0", address="10.0.0.7", joined=1_800_000_000.0, epoch=7, pools=pools,
        host_keys=keys,
    )  # fmt: skip
    cloud.machines.join(report, 1_800_000_000.123, 30.0)
    counts = dict.fromkeys(pools, 12)
    cloud.machines.order({report.machine_id: Orders(7, counts, counts)})
    (item,) = account.aws.dynamodb.truth("cloudfn-main")

    size = sum(
        len(name) + len(json.dumps(value)) - len('{"S": ""}') for name, value in item.items()
    )

    assert size <= scale.row_size(4, 24)


def test_a_map_of_tiny_inputs_takes_less_than_a_third_of_a_request_for_each(account):
    calls = counting.whole_way(account, 1_000, 128, 128)

    assert total(calls) / 1_000 <= 0.3


def test_inputs_that_are_run_one_by_one_take_few_requests_each(account):
    calls = counting.whole_way(account, 100, 1, 1)

    # A claim, an outcome (and a chunk for it, once its page is full of them), a note, and a tenth
    # of a receive and of an answer.
    assert total(calls) / 100 <= 4.2


def test_a_remote_call_on_a_warm_pool_takes_five_requests_one_after_the_other(account):
    client, machine = account.open("cl-1"), account.open("i-1", on_machine=True)
    (app,) = account.deploy(1, 1, client)
    (function,) = client.catalog.functions(app.app_id)
    address = client.wakeups.open()
    # Warm: both know where their queues are.
    machine.doorbells.ring([])
    client.doorbells.open(function.function_id)
    machine.doorbells.listen(function.function_id, 0, 1)
    machine.wakeups.tell(address, [Note("fc-0", (), ())])
    with account.counted() as calls:
        counting.submit(client, function.function_id, "fc-1", 1, CallKind.REMOTE, reply=address)
        asked = dict(calls)
        (heard,) = machine.doorbells.listen(function.function_id, 1, 10)
        machine.ledger.hear(heard.ring)
        (claim,) = machine.ledger.claim(heard.ring.pool, 1, account.clock.wall())
        machine.ledger.record([Entry(claim.seq, claim.fence, Status.RETURNED, b"r")])
        note = Note("fc-1", (0,), (Status.RETURNED,), (b"r",))
        machine.wakeups.tell(machine.ledger.reply_to("fc-1"), [note])

    assert asked == {}
    # Two more wait already when a message comes: those that listen.
    assert total(calls) - calls["sqs", "ReceiveMessage"] == 5


def test_a_look_of_the_planner_asks_little_more_for_many_functions_than_for_few(tmp_path):
    few = Account(tmp_path / "few")
    many = Account(tmp_path / "many")

    of_few = counting.planner_ticks(few, Size(1, 2, 2, 1, 2, 5), 12)
    of_many = counting.planner_ticks(many, Size(4, 10, 20, 2, 40, 5), 12)

    assert total(of_few) / 12 <= 60
    assert (total(of_many) - total(of_few)) / 12 <= 12


def test_the_first_look_after_an_input_asks_for_a_machine(account):
    client = account.open("cl-1")
    (app,) = account.deploy(1, 1, client)
    (function,) = client.catalog.functions(app.app_id)
    planner = open_planner(account.open("pl-1"), "pl-1", account.clock, account.settings)
    planner.tick()
    counting.submit(client, function.function_id, "fc-1", 1)
    account.clock.advance(1.0)

    with account.counted() as calls:
        planner.tick()

    assert calls["autoscaling", "LaunchInstances"] == 1


def test_ten_thousand_machines_and_a_thousand_functions_stay_within_all_limits():
    shares = {each.what: each.share for each in scale.demands(scale.Fleet())}

    assert {what: share for what, share in shares.items() if share > 1.0} == {}


def test_without_partitions_of_their_own_machines_and_pages_would_not():
    fleet = scale.Fleet()

    assert scale.beats(fleet) > scale.PARTITION_WRITES
    assert scale.reads_of_orders(fleet) + scale.lists(fleet) > scale.PARTITION_READS


def test_what_is_asleep_costs_less_than_a_cent_an_hour_and_what_is_busy_a_twentieth_of_machines():
    asleep = sum(each.dollars for each in scale.bill(scale.asleep()))
    busy = sum(each.dollars for each in scale.bill(scale.Fleet()))

    assert asleep < 0.01
    # m7i.large, on demand, in us-east-1.
    assert busy < 10_000 * 0.1008 / 20


def test_decisions_are_measured_for_machines_that_are_full():
    decision = decide_fleet(deciding.busy(8, 40))

    assert len(decision.pools) == 8
    assert sum(count for quota in decision.quotas.values() for count in quota.values()) >= 40
