"""What every store of schedules promises."""

from dataclasses import replace

import pytest

from cloudfn.model.function import FunctionSpec
from cloudfn.model.schedule import Cron, Period, ScaleAt
from cloudfn.providers.aws.schedule_records import ScheduleRecords
from cloudfn.providers.aws.schedules import Aims, AwsSchedules
from cloudfn.providers.aws.table import Table
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.local.catalog import SqliteCatalog
from cloudfn.providers.local.schedules import SqliteSchedules
from cloudfn.providers.schedules import HISTORY, Fire, ScheduleRecord
from cloudfn.testing.aws import FakeAws
from cloudfn.testing.memory_catalog import MemoryCatalog
from cloudfn.testing.memory_schedules import MemorySchedules


@pytest.fixture(params=["sqlite", "memory", "aws"])
def stores(request, tmp_path):
    if request.param == "aws":
        yield MemoryCatalog(), schedules_on_aws()
        return
    if request.param == "memory":
        yield MemoryCatalog(), MemorySchedules()
        return
    catalog = SqliteCatalog(tmp_path / "catalog.db")
    yield catalog, SqliteSchedules(catalog.file)
    catalog.close()


def schedules_on_aws() -> AwsSchedules:
    aws = FakeAws()
    aws.client("scheduler").create_schedule_group(Name="cloudfn-main")
    clients = aws.clients()
    records = ScheduleRecords(Table(clients, aws.make_table(), aws.clock), aws.clock)
    aims = Aims(
        "cloudfn-main",
        "arn:aws:iam::123456789012:role/cloudfn-main-scheduler",
        "arn:aws:lambda:eu-central-1:123456789012:function:cloudfn-main-planner",
        "/cloudfn/main/pools",
    )
    return AwsSchedules(clients, records, aims, aws.clock)


@pytest.fixture
def app_id(stores):
    function = FunctionSpec(name="f", module="jobs", qualname="f")
    spec = RevisionSpec("b1", "jobs", (function,), "/usr/bin/python3")
    return stores[0].create_app("jobs", "deployed", spec, 10.0).app_id


@pytest.fixture
def store(stores):
    return stores[1]


@pytest.fixture
def hourly(app_id, store):
    record = ScheduleRecord("sc-1", app_id, "fu-1", Period(hours=1), 100.0, 100.0)
    store.put([record])
    return record


def test_schedules_come_back_as_they_were_put(app_id, store):
    records = [
        ScheduleRecord("sc-1", app_id, "fu-1", Cron("0 6 * * *", "Asia/Tokyo"), 1.5, 2.5),
        ScheduleRecord("sc-2", app_id, "fu-2", Period(seconds=0.5, overlap=False), 1.0, 1.0, True),
        ScheduleRecord(
            "sc-3", app_id, "fu-1", ScaleAt("0 6 * * *", min_containers=4), 0.0, 0.0, dynamic=True
        ),
    ]

    store.put(records)
    store.put(records[:1])

    assert store.schedules() == records


def test_a_schedule_that_is_put_again_keeps_its_fires(store, hourly):
    store.record([Fire("sc-1", 3700.0, 3700.0, "fc-1")])
    changed = replace(hourly, rule=Period(hours=2), anchor=4000.0, cursor=4000.0, paused=True)

    store.put([changed])

    assert store.schedules() == [changed]
    assert store.history("sc-1", 5) == [Fire("sc-1", 3700.0, 3700.0, "fc-1")]


def test_what_is_removed_is_gone_with_its_fires(store, hourly):
    store.record([Fire("sc-1", 3700.0, 3700.0, "fc-1")])

    store.remove(["sc-1", "sc-never-there"])

    assert store.schedules() == []
    assert store.history("sc-1", 5) == store.unfinished() == []
    store.record([Fire("sc-1", 3700.0, 3700.0, "fc-1", outcome="returned")])
    assert store.history("sc-1", 5) == []


def test_a_fire_moves_the_cursor_up_and_never_down(store, hourly):
    store.record([Fire("sc-1", 7300.0, 7301.0, "fc-2")])
    store.record([Fire("sc-1", 3700.0, 7302.0, "fc-1", late=True)])

    assert store.schedules() == [replace(hourly, cursor=7300.0)]
    assert [fire.due for fire in store.history("sc-1", 5)] == [7300.0, 3700.0]


def test_a_fire_by_hand_leaves_the_cursor(store, hourly):
    store.record([Fire("sc-1", 500.0, 500.0, "fc-1", manual=True)])

    assert store.schedules() == [hourly]
    assert store.history("sc-1", 1)[0].manual


def test_a_due_time_is_noted_once_and_the_first_outcome_stays(store, hourly):
    store.record([Fire("sc-1", 3700.0, 3701.0, "fc-1", late=True)])
    store.record([Fire("sc-1", 3700.0, 9999.0, "fc-other", outcome="returned")])
    store.record([Fire("sc-1", 3700.0, 3701.0, "fc-1")])
    store.record([Fire("sc-1", 3700.0, 3701.0, "fc-1", outcome="raised")])

    assert store.history("sc-1", 5) == [
        Fire("sc-1", 3700.0, 3701.0, "fc-1", late=True, outcome="returned")
    ]


def test_what_is_unfinished_is_listed_until_it_has_an_outcome(store, hourly):
    first, second = Fire("sc-1", 3700.0, 3700.0, "fc-1"), Fire("sc-1", 7300.0, 7300.0, "fc-2")
    store.record([second, first])

    assert store.unfinished() == [first, second]

    store.record([replace(first, outcome="returned")])

    assert store.unfinished() == [second]


def test_the_latest_fires_are_kept(store, hourly):
    store.record([
        Fire("sc-1", float(due), float(due), outcome="returned") for due in range(HISTORY + 5)
    ])  # fmt: skip

    kept = store.history("sc-1", 2 * HISTORY)

    assert [fire.due for fire in kept] == [float(due) for due in range(HISTORY + 4, 4, -1)]
    assert [fire.due for fire in store.history("sc-1", 2)] == [HISTORY + 4.0, HISTORY + 3.0]


def test_schedules_on_disk_are_there_again_and_go_with_their_app(tmp_path):
    catalog = SqliteCatalog(tmp_path / "catalog.db")
    function = FunctionSpec(name="f", module="jobs", qualname="f")
    spec = RevisionSpec("b1", "jobs", (function,), "/usr/bin/python3")
    app_id = catalog.create_app("jobs", "ephemeral", spec, 10.0).app_id
    record = ScheduleRecord("sc-1", app_id, "fu-1", Period(hours=1), 100.0, 100.0)
    fire = Fire("sc-1", 3700.0, 3700.0, "fc-1")
    SqliteSchedules(catalog.file).put([record])
    SqliteSchedules(catalog.file).record([fire])
    catalog.close()

    catalog = SqliteCatalog(tmp_path / "catalog.db")
    store = SqliteSchedules(catalog.file)
    assert store.schedules() == [replace(record, cursor=3700.0)]
    assert store.unfinished() == [fire]
    catalog.stop_app(app_id, 20.0)
    catalog.forget_app(app_id)

    assert store.schedules() == store.unfinished() == []
    catalog.close()
