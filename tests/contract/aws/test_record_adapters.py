"""The adapters of records with genuine boto3 clients, and moto behind them.

How they behave when AWS is nasty, and all that they promise, is asked of the fakes.
"""

import pytest
from moto import mock_aws

from cloudfn.clock import SystemClock
from cloudfn.errors import AlreadyExistsError, ConflictError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.variant import Variant
from cloudfn.providers.aws.catalog import DynamoCatalog
from cloudfn.providers.aws.clients import Access, Clients
from cloudfn.providers.aws.dicts import DynamoDicts
from cloudfn.providers.aws.leadership import DynamoLeadership
from cloudfn.providers.aws.machines import DynamoMachines
from cloudfn.providers.aws.objects import DynamoObjects
from cloudfn.providers.aws.overrides import SsmScheduledSettings
from cloudfn.providers.aws.queues import DynamoQueues
from cloudfn.providers.aws.streams import DynamoStreams
from cloudfn.providers.aws.volumes import S3Volumes
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.machines import MachineReport, MachineState, Orders
from cloudfn.providers.objects import ObjectKind, ObjectRecord
from cloudfn.providers.volumes import StagedFile

REGION, TABLE, BUCKET, POOLS = "eu-central-1", "cloudfn-main", "cloudfn-main", "/cloudfn/main/pools"
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def clients():
    keys = {"pk": "HASH", "sk": "RANGE"}
    with mock_aws():
        found = Clients(Access(region=REGION))
        found.of("dynamodb").create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        )
        found.of("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield found
        found.close()


def test_machines(clients):
    machines = DynamoMachines(clients, TABLE, CLOCK)
    report = MachineReport("i-a", "small", MachineState.READY, 4.0, 16_384)
    machines.join(report, 1.0, 30.0)
    machines.order({"i-a": Orders(2, {"fu-1": 3})})
    machines.order({"i-a": Orders(1, drain=True), "i-b": Orders(1)})
    machines.cancel("i-a", [(7, 1), (8, 1)])
    machines.cancelled("i-a", [(7, 1)])

    assert machines.beat(report, 2.0, 30.0) == Orders(2, {"fu-1": 3}, cancelled=((8, 1),))
    assert [row.report for row in machines.list()] == [report]
    machines.remove("i-a")
    with pytest.raises(ConflictError):
        machines.beat(report, 3.0, 30.0)


def test_leadership(clients):
    leadership = DynamoLeadership(clients, TABLE, CLOCK, lambda: None)

    told = [leadership.lead(who, at, 10.0) for who, at in (("a", 1.0), ("a", 5.0), ("b", 6.0))]
    leadership.resign("a")

    assert (told, leadership.lead("b", 7.0, 10.0), leadership.led(8.0)) == ([1, 1, None], 2, True)


def test_catalog(clients):
    catalog = DynamoCatalog(clients, TABLE, POOLS, CLOCK)
    functions = tuple(FunctionSpec(name, "jobs", name) for name in "fg")
    spec = RevisionSpec("b1", "jobs", functions, "/usr/bin/python3")
    app = catalog.create_app("jobs", "deployed", spec, 1.0)
    with pytest.raises(AlreadyExistsError):
        catalog.create_app("jobs", "deployed", spec, 2.0)
    f, g = catalog.functions(app.app_id)
    bound = catalog.bind(f.function_id, Variant({"x": 1}))
    for each in (f, g, bound):
        catalog.set_override(each.function_id, {"min_containers": 1}, expected=0, now=2.0, by="me")
    catalog.add_revision(
        app.app_id, RevisionSpec("b2", "jobs", functions[:1], "/usr/bin/python3"), 3.0
    )
    catalog.set_tags(app.app_id, {"a": "b"})

    fresh = DynamoCatalog(clients, TABLE, POOLS, CLOCK)
    assert fresh.deployed("jobs").revision == 2
    assert [each.spec.bundle for each in fresh.revisions(app.app_id)] == ["b1", "b2"]
    assert fresh.variants(app.app_id) == [bound]
    assert [fresh.override(each.function_id) is None for each in (f, g, bound)] == [
        False, True, False,
    ]  # fmt: skip
    clients.of("ssm").put_parameter(
        Name=f"{POOLS}/{f.function_id}/scheduled", Value='{"min_containers": 2}', Type="String"
    )
    found = SsmScheduledSettings(clients, POOLS).read()
    assert {name: each.changes for name, each in found.items()} == {
        f.function_id: {"min_containers": 2}
    }
    fresh.stop_app(app.app_id, 4.0)
    assert fresh.deployed("jobs") is None


def test_objects(clients):
    objects = DynamoObjects(clients, TABLE, CLOCK)
    record = ObjectRecord("di-1", ObjectKind.DICT, "old", 1.0)
    objects.create(record)
    objects.create(record)
    objects.rename("di-1", "new")

    assert objects.find(ObjectKind.DICT, "new") == objects.get("di-1")
    objects.delete("di-1")
    assert objects.list(ObjectKind.DICT) == []


def test_dicts(clients):
    dicts = DynamoDicts(clients, TABLE, CLOCK, 100.0)
    entries = [(b"%d" % n, b"\0%d" % n) for n in range(30)]
    keys = [key for key, _ in entries]
    for _ in range(2):
        assert dicts.put("di-1", entries, skip_existing=True, request="a", now=1.0) == [True] * 30
    dicts.get("di-1", keys[:1], 90.0)

    assert [each.key for each in dicts.scan("di-1", 0, 99, 999, 2.0)] == keys
    assert dicts.count("di-1", 120.0) == 1
    assert dicts.pop("di-1", keys[:2], request="b", now=120.0) == [b"\x000", None]
    dicts.pop("di-1", None, request="c", now=2.0)
    assert dicts.count("di-1", 2.0) == 0


def test_queues(clients):
    queues = DynamoQueues(clients, TABLE, CLOCK, 500, 3)
    items = [b"%03d" % n * (1 if n % 3 else 400) for n in range(40)]
    for _ in range(2):
        assert queues.put("qu-1", "", items, request="a", ttl=100.0, now=1.0)

    assert queues.take("qu-1", "", 999, 10**6, request="b", now=2.0) == items
    assert queues.settle(["b"], keep=False, now=3.0) == [True]
    assert [item for _, item in queues.peek("qu-1", "", 0, 2, 10**6, 3.0)] == items[:2]
    assert queues.take("qu-1", "", 39, 10**6, request="c", now=4.0) == items[:39]
    assert queues.settle(["c"], keep=True, now=5.0) == [True]
    assert queues.counts("qu-1", 6.0) == {"": 1}


def test_streams(clients):
    streams = DynamoStreams(clients, TABLE, CLOCK)
    items = [b"%d" % n for n in range(5)]
    assert streams.append("fc-1", 1, 0, items).known == 5
    assert streams.append("fc-1", 1, 3, [b"3", b"4", b"5"]).dropped == (b"3", b"4")

    assert streams.acknowledge("fc-1", 2) == items[:2]
    assert streams.read("fc-1", 2) == [*items[2:], b"5"]
    streams.forget(["fc-1"])
    assert streams.read("fc-1", 0) == []


def test_volumes(clients, tmp_path):
    one, two = (
        S3Volumes(clients, TABLE, BUCKET, tmp_path / each, CLOCK) for each in ("one", "two")
    )
    puts = []
    for name in ("a", "empty"):
        source = one.stage("vo-1") / name
        source.write_text("" if name == "empty" else "text")
        puts.append(StagedFile(name, source, 5, 0o640))
    one.commit("vo-1", puts, [], request="r", now=1.0)
    two.commit("vo-1", [], ["never"], request="s", now=2.0)

    files = two.files("vo-1")
    assert [two.content("vo-1", each.key).read_text() for each in files] == ["text", ""]
    two.wipe("vo-1")
    assert one.files("vo-1") == []
