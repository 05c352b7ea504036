"""Instances of classes that requests name: known as long as their pools, unless they are bound."""

from types import SimpleNamespace

import pytest

from cloudfn.agent.pool import Pool
from cloudfn.agent.zygotes import Runtime
from cloudfn.control.deploy.directory import Directory
from cloudfn.daemon.apps import Apps
from cloudfn.daemon.operations.functions import FunctionOperations
from cloudfn.daemon.web.doors import Doors
from cloudfn.errors import NotFoundError
from cloudfn.model.cls import ClsSpec, ParameterSpec
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.memory_catalog import MemoryCatalog


class Agent:
    """Knows pools, and starts nothing."""

    def __init__(self):
        self.known = {}
        self.visits = SimpleNamespace(redirect=self._redirect)

    def pools(self):
        return list(self.known.values())

    def pool(self, name):
        return self.known.get(name)

    def add_pool(self, spec, settings, *, live):
        pool = self.known.setdefault(spec.pool, Pool(spec, settings))
        pool.live = live

    def drop_pool(self, name):
        del self.known[name]

    def _redirect(self, old, name):
        self.known[name].visitors.extend(old.visitors)
        old.visitors.clear()


RUNTIMES = SimpleNamespace(of=lambda spec, _: Runtime(spec.interpreter, spec.import_paths))


class Engine:
    """A deployed class `C` with a parameter, and what a daemon knows of it."""

    def __init__(self):
        self.clock, self.catalog, self.agent = FakeClock(), MemoryCatalog(), Agent()
        self.app = self.catalog.create_app("app", "deployed", revision("b1"), self.clock.wall())
        (self.cls,) = self.catalog.functions(self.app.app_id)
        self.apps = Apps(
            self.catalog, Directory(self.catalog), RUNTIMES, self.agent, self.clock, "bundles", {},
            poke=lambda: None, end_inputs=lambda _: None,
            schedules=SimpleNamespace(revise=lambda _: None, drop=lambda _: None),
            doors=Doors(lambda: None),
        )  # fmt: skip
        self.apps.switch(self.app.app_id, 1, "rolling")

    def ask(self, size):
        """A request comes and goes; return the pool that it was in."""
        instance = self.apps.instance(self.cls.function_id, {"size": size}, lambda _: None)
        pool = self.apps.pool_of(instance)
        pool.last_active = self.clock.monotonic()
        return pool

    def bind(self, size):
        return self.apps.bind(self.cls.function_id, {"size": size}, {}, lambda _: None)

    def pools(self):
        self.apps.drop_finished(set())
        return {pool.spec.parameters.get("size") for pool in self.agent.pools()} - {None}

    def listed(self, **fields):
        """Return the variants as clients see them."""
        directory = Directory(self.catalog)
        ledger = SimpleNamespace(counts=lambda _: SimpleNamespace(pending=0, delayed=0, running=0))
        known = SimpleNamespace(
            agent=self.agent, apps=self.apps, directory=directory, ledger=ledger
        )
        fields["function_id"] = self.cls.function_id
        return FunctionOperations(known).op_function_variants(None, fields)["variants"]


def revision(bundle, kind="int"):
    cls = ClsSpec(parameters={"size": ParameterSpec(kind, required=True)})
    spec = FunctionSpec(name="C.*", module="jobs", qualname="C", cls=cls)
    return RevisionSpec(bundle, "jobs", (spec,), "/usr/bin/python3")


@pytest.fixture
def engine():
    return Engine()


def test_what_requests_name_is_written_nowhere_and_goes_after_a_minute(engine):
    for size in range(100):
        engine.ask(size)
    engine.clock.advance(59)
    assert engine.pools() == set(range(100))
    engine.ask(7)

    engine.clock.advance(2)

    assert engine.pools() == {7}
    assert engine.catalog.variants(engine.app.app_id) == []
    assert engine.ask(8).spec.parameters == {"size": 8}


def test_what_a_client_has_bound_shares_the_pool_and_stays(engine):
    asked = engine.ask(1)

    bound = engine.bind(1)

    assert engine.apps.pool_for(bound.function_id) == asked.spec.pool == engine.ask(1).spec.pool
    engine.clock.advance(61)
    assert engine.pools() == set()
    assert engine.catalog.variants(engine.app.app_id) == [bound]
    assert engine.apps.pool_for(bound.function_id) == asked.spec.pool


def test_what_is_called_by_its_id_is_written_down(engine):
    asked = engine.ask(1)

    assert engine.apps.pool_for(asked.spec.function_id) == asked.spec.pool

    (kept,) = engine.catalog.variants(engine.app.app_id)
    assert kept.function_id == asked.spec.function_id


def test_requests_that_wait_go_on_in_the_next_revision_and_the_others_are_forgotten(engine):
    waiting, idle = engine.ask(1), engine.ask(2)
    waiting.visitors.append(SimpleNamespace(done=lambda: False))

    engine.catalog.add_revision(engine.app.app_id, revision("b2"), engine.clock.wall())
    engine.apps.switch(engine.app.app_id, 2, "rolling")

    new = engine.ask(1)
    assert (new.spec.revision, len(new.visitors), len(waiting.visitors)) == (2, 1, 0)
    with pytest.raises(NotFoundError):
        engine.apps.pool_of(idle.spec.function_id)


def test_a_stopped_app_forgets_them(engine):
    asked = engine.ask(1)

    engine.apps.stop(engine.app.app_id)

    with pytest.raises(NotFoundError):
        engine.apps.pool_of(asked.spec.function_id)


def test_they_are_listed_with_those_that_are_bound_the_newest_first(engine):
    engine.bind(1)
    engine.bind(2)
    engine.ask(3)

    assert [each["name"] for each in engine.listed()] == ["C(size=3)", "C(size=2)", "C(size=1)"]
    (newest,) = engine.listed(limit=1)
    assert newest["parameters"] == {"size": 3}
    assert newest["settings"]["max_containers"] is None
    assert newest["stats"]["num_total_runners"] == 0


def test_what_does_not_fit_the_live_revision_is_listed_without_settings(engine):
    engine.bind(1)

    engine.catalog.add_revision(engine.app.app_id, revision("b2", "str"), engine.clock.wall())
    engine.apps.switch(engine.app.app_id, 2, "rolling")

    assert [(each["name"], each["settings"]) for each in engine.listed()] == [("C(size=1)", None)]
