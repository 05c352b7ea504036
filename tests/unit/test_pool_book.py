"""What the planner knows of pools: settings, and what schedules of the provider wrote of them."""

import pytest

from cloudfn.control.planner.fleet_decide import decide_fleet
from cloudfn.control.planner.pool_book import PoolBook
from cloudfn.errors import ResourceExhaustedError
from cloudfn.model.function import AutoscalerSettings, FunctionSpec
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.scheduled import Scheduled
from cloudfn.testing.memory_catalog import MemoryCatalog
from tests.unit.fleet_worlds import a_snapshot

SETTINGS = AutoscalerSettings(min_containers=1, max_containers=4)


class Schedules:
    """What schedules wrote, or why it cannot be read."""

    def __init__(self):
        self.wrote = {}
        self.error = None
        self.reads = 0

    def read(self):
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.wrote


@pytest.fixture
def catalog():
    return MemoryCatalog()


@pytest.fixture
def schedules():
    return Schedules()


@pytest.fixture
def pool(catalog):
    spec = FunctionSpec("f", "jobs", "f", autoscaler=SETTINGS)
    revision = RevisionSpec("b1", "jobs", (spec,), "/usr/bin/python3")
    app = catalog.create_app("jobs", "deployed", revision, 1.0)
    (function,) = catalog.functions(app.app_id)
    return f"{function.function_id}@1"


def view(book, pool, now):
    book.refresh(now)
    return book.view(pool, None, now)


def test_what_a_schedule_wrote_is_in_force_within_half_a_minute(catalog, schedules, pool):
    book = PoolBook(catalog, schedules)
    assert view(book, pool, 100.0).settings == SETTINGS

    schedules.wrote = {pool.partition("@")[0]: Scheduled({"min_containers": 3}, "mornings", 101.0)}

    assert view(book, pool, 125.0).settings == SETTINGS
    assert view(book, pool, 131.0).settings == AutoscalerSettings(3, 4)
    assert schedules.reads == 2


def test_nonsense_and_silence_change_nothing(catalog, schedules, pool):
    function_id = pool.partition("@")[0]
    schedules.wrote = {function_id: Scheduled({"min_containers": 3}, "", 101.0)}
    book = PoolBook(catalog, schedules)
    view(book, pool, 100.0)

    schedules.error = ResourceExhaustedError("throttled")
    assert view(book, pool, 150.0).settings == AutoscalerSettings(3, 4)
    schedules.error, schedules.wrote = None, {function_id: Scheduled({}, "", 160.0, "no JSON")}
    found = view(book, pool, 200.0)

    assert found.settings == SETTINGS
    assert "no JSON" in found.remark


def test_what_was_clamped_is_part_of_the_reason(catalog, schedules, pool):
    schedules.wrote = {pool.partition("@")[0]: Scheduled({"min_containers": 9}, "", 50.0)}
    seen = view(PoolBook(catalog, schedules), pool, 100.0)

    (fate,) = decide_fleet(a_snapshot([seen])).pools

    assert fate.desired == 4
    assert "min_containers would be 9; 4, the maximum, counts" in fate.reason
