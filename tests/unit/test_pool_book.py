"""What the planner knows of pools: settings, and what schedules of the provider wrote of them."""

import pytest

from cloudfn.control.planner.fleet_decide import decide_fleet
from cloudfn.control.planner.pool_book import PoolBook
from cloudfn.errors import ResourceExhaustedError
from cloudfn.model.cls import ClsSpec, ParameterSpec
from cloudfn.model.function import AutoscalerSettings, FunctionSpec
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.ledger import PoolCounts
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
    return seen(book, pool, None, now)


def seen(book, pool, counts, now):
    book.refresh_settings([pool], now)
    return book.view(pool, counts, now)


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


# ----------------------------------------------------------------------------- what pools there are


def deployed(catalog, *functions):
    revision = RevisionSpec("b1", "jobs", functions, "/usr/bin/python3")
    return catalog.create_app("shop", "deployed", revision, 1.0)


def test_pools_of_the_live_revision_live_and_those_of_older_ones_do_not(catalog):
    spec = FunctionSpec("f", "jobs", "f", autoscaler=SETTINGS)
    app = deployed(catalog, spec)
    catalog.add_revision(app.app_id, RevisionSpec("b2", "jobs", (spec,), "/usr/bin/python3"), 2.0)
    (function,) = catalog.functions(app.app_id)
    book = PoolBook(catalog)

    book.refresh(10.0)

    assert book.live() == [f"{function.function_id}@2"]
    assert book.view(f"{function.function_id}@2", None, 10.0).live
    old = book.view(f"{function.function_id}@1", None, 10.0)
    assert (old.live, old.shown) == (False, "shop/f")


def test_pools_of_a_stopped_app_do_not_live(catalog):
    app = deployed(catalog, FunctionSpec("f", "jobs", "f"))
    (function,) = catalog.functions(app.app_id)
    book = PoolBook(catalog)
    book.refresh(10.0)
    catalog.stop_app(app.app_id, 11.0)

    book.refresh(20.0)

    assert book.live() == []
    assert not book.view(f"{function.function_id}@1", None, 20.0).live


@pytest.mark.parametrize("pool", ["fu-nobody@1", "nonsense", "fu-nobody@x"])
def test_a_pool_that_nobody_knows_is_none(catalog, pool):
    assert PoolBook(catalog).view(pool, None, 10.0) is None


def test_the_instance_of_a_class_that_is_kept_warm_is_there_before_anybody_asks_for_it(catalog):
    size = ParameterSpec("str", required=False, default="small")
    spec = FunctionSpec(
        "Model.*", "jobs", "Model", autoscaler=SETTINGS, cls=ClsSpec(parameters={"size": size})
    )
    app = deployed(catalog, spec)
    (function,) = catalog.functions(app.app_id)
    book = PoolBook(catalog)

    book.refresh(10.0)

    least = {pool: book.view(pool, None, 10.0).settings.min_containers for pool in book.live()}
    (variant,) = [pool for pool in least if "+" in pool]
    assert least == {f"{function.function_id}@1": 0, variant: 1}


@pytest.mark.parametrize("counts", [PoolCounts(1, 0, 0), None])
def test_an_override_is_seen_at_once_when_somebody_says_so_and_seconds_later_else(
    catalog, pool, counts
):
    books = PoolBook(catalog), PoolBook(catalog)
    assert [seen(book, pool, counts, 10.0).settings.min_containers for book in books] == [1, 1]
    changes = {"min_containers": 3}
    catalog.set_override(pool.partition("@")[0], changes, expected=0, now=11.0, by="ada")

    books[0].outdate()

    assert [seen(book, pool, counts, 12.0).settings.min_containers for book in books] == [3, 1]
    assert seen(books[1], pool, counts, 30.0).settings.min_containers == 3


def test_a_new_app_is_seen_at_once_when_somebody_says_so(catalog, pool):
    book = PoolBook(catalog)
    book.refresh(10.0)
    app = deployed(catalog, FunctionSpec("g", "jobs", "g"))
    (function,) = catalog.functions(app.app_id)
    book.outdate()

    book.refresh(10.5)

    assert set(book.live()) == {pool, f"{function.function_id}@1"}


def test_settings_of_many_pools_are_asked_for_at_once(catalog):
    specs = tuple(FunctionSpec(f"f{n}", "jobs", "f", autoscaler=SETTINGS) for n in range(20))
    app = catalog.create_app("jobs", "deployed", RevisionSpec("b1", "jobs", specs, ""), 1.0)
    pools = [f"{each.function_id}@1" for each in catalog.functions(app.app_id)]
    asked = []
    book = PoolBook(Asked(catalog, asked))
    book.refresh(10.0)

    book.refresh_settings(pools[3:], 10.0)
    book.refresh_settings(pools, 14.0)

    assert [len(each) for each in asked] == [17, 3]


class Asked:
    """A catalog that notes whose settings it is asked for."""

    def __init__(self, catalog, asked):
        self._catalog = catalog
        self._asked = asked

    def __getattr__(self, name):
        return getattr(self._catalog, name)

    def overrides(self, functions):
        self._asked.append(functions)
        return self._catalog.overrides(functions)
