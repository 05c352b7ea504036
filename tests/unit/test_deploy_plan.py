"""What deploys, rollbacks and stops come to: the plan, and the same end however often applied."""

from dataclasses import replace

import pytest

from cloudfn.control.deploy.apply import apply, observe
from cloudfn.control.deploy.plan import (
    AddRevision,
    ClearOverrides,
    CreateApp,
    DeployRequest,
    Nothing,
    RollbackRequest,
    StopApp,
    StopRequest,
    SwitchPools,
    plan,
    render,
)
from cloudfn.errors import ConflictError, InvalidError, NotFoundError
from cloudfn.model.function import AutoscalerSettings, FunctionSpec
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.testing.memory_catalog import MemoryCatalog


def spec(*names, bundle="b1", labels=(), **settings):
    functions = tuple(
        FunctionSpec(name=name, module="jobs", qualname=name, **settings) for name in names
    )
    return RevisionSpec(bundle, "jobs", functions, "/usr/bin/python3", labels=labels)


class Pools:
    """Remembers what was asked of it."""

    def __init__(self):
        self.asked = []

    def switch(self, app_id, revision, strategy):
        self.asked.append((app_id, revision, strategy))

    def stop(self, app_id):
        self.asked.append((app_id, "stop"))


class World:
    """One environment with what deploys act on."""

    def __init__(self):
        self.catalog = MemoryCatalog()
        self.pools = Pools()

    def plan(self, request):
        return plan(request, observe(self.catalog, request))

    def do(self, request):
        return apply(self.plan(request), self.catalog, self.pools, 1.0)

    def deploy(self, *names, **arguments):
        return self.do(DeployRequest("jobs", spec(*names, **arguments)))

    def override(self, name, **changes):
        (found,) = [f for f in self.functions() if f.name == name]
        self.catalog.set_override(found.function_id, changes, expected=0, now=1.0, by="me")

    def functions(self):
        app = self.catalog.deployed("jobs")
        assert app is not None
        return self.catalog.functions(app.app_id)

    def overridden(self):
        return [f.name for f in self.functions() if self.catalog.override(f.function_id)]


@pytest.fixture
def world():
    return World()


def kinds(plan):
    return [type(step) for step in plan.steps]


# Deploying


def test_a_first_deploy_creates_the_app_and_starts_it(world):
    request = DeployRequest("jobs", spec("f"))

    found = world.plan(request)
    result = world.do(request)

    assert kinds(found) == [CreateApp, SwitchPools]
    assert result.changed
    assert (result.app.name, result.app.state, result.app.revision) == ("jobs", "deployed", 1)
    assert world.pools.asked == [(result.app.app_id, 1, "rolling")]


def test_an_unchanged_deploy_keeps_version_overrides_and_pools(world):
    world.deploy("f", labels=(("commit", "abc"),))
    world.override("f", min_containers=2)
    asked = list(world.pools.asked)

    request = DeployRequest("jobs", spec("f", labels=(("commit", "def"),)))
    found = world.plan(request)
    result = world.do(request)

    assert kinds(found) == [Nothing]
    assert not found.changed
    assert not result.changed
    assert result.app.revision == 1
    assert world.overridden() == ["f"]
    assert world.pools.asked == asked


def test_the_order_of_functions_is_no_change(world):
    world.deploy("f", "g")

    assert kinds(world.plan(DeployRequest("jobs", spec("g", "f")))) == [Nothing]


@pytest.mark.parametrize(
    "change",
    [
        {"bundle": "b2"},
        {"module": "other"},
        {"interpreter": "/usr/bin/python3.12"},
        {"import_paths": ("/lib/a",)},
        {"python_version": "3.12.1"},
        {"functions": spec("f", timeout=7).functions},
        {"functions": spec("f", "g").functions},
        {"functions": ()},
    ],
    ids=["bundle", "module", "interpreter", "paths", "python", "setting", "more", "none"],
)
def test_any_change_but_labels_is_a_new_version(world, change):
    world.deploy("f")

    result = world.do(DeployRequest("jobs", replace(spec("f"), **change)))

    assert result.changed
    assert result.app.revision == 2


def test_a_change_drops_overrides_before_the_version_is_added(world):
    world.deploy("f", "g")
    world.override("f", min_containers=2)

    found = world.plan(DeployRequest("jobs", spec("f", "g", bundle="b2")))

    assert kinds(found) == [ClearOverrides, AddRevision, SwitchPools]
    assert found.steps[0].functions == ("f",)
    apply(found, world.catalog, world.pools, 1.0)
    assert world.overridden() == []


def test_overrides_are_kept_on_demand(world):
    world.deploy("f")
    world.override("f", min_containers=2)

    request = DeployRequest("jobs", spec("f", bundle="b2"), keep_overrides=True)
    assert kinds(world.plan(request)) == [AddRevision, SwitchPools]
    world.do(request)

    assert world.overridden() == ["f"]


def test_overrides_that_do_not_fit_the_new_settings_are_not_kept(world):
    world.deploy("f")
    world.override("f", min_containers=5)
    tight = spec("f", autoscaler=AutoscalerSettings(max_containers=3))

    with pytest.raises(InvalidError, match=r"'f'.*min_containers") as caught:
        world.plan(DeployRequest("jobs", tight, keep_overrides=True))

    assert "--keep-overrides" in str(caught.value)
    assert world.do(DeployRequest("jobs", tight)).app.revision == 2


def test_functions_that_the_new_version_lacks_vanish(world):
    world.deploy("f", "g")

    found = world.plan(DeployRequest("jobs", spec("g", "h")))
    apply(found, world.catalog, world.pools, 1.0)

    add = found.steps[0]
    assert (add.added, add.changed, add.removed) == (("h",), (), ("f",))
    assert [f.name for f in world.functions()] == ["g", "h"]


def test_the_strategy_reaches_the_pools(world):
    app = world.deploy("f").app

    world.do(DeployRequest("jobs", spec("f", bundle="b2"), strategy="recreate"))

    assert world.pools.asked[-1] == (app.app_id, 2, "recreate")


def test_a_strategy_that_is_none_is_refused():
    with pytest.raises(InvalidError, match="sideways"):
        DeployRequest("jobs", spec("f"), strategy="sideways")
    with pytest.raises(InvalidError, match="sideways"):
        RollbackRequest("jobs", strategy="sideways")


def test_two_functions_of_one_name_are_refused(world):
    with pytest.raises(InvalidError, match="'f'"):
        world.deploy("f", "g", "f")


def test_an_ephemeral_app_lives_beside_a_deployed_one_of_its_name(world):
    deployed = world.deploy("f").app

    request = DeployRequest("jobs", spec("f"), state="ephemeral")
    result = apply(plan(request, None), world.catalog, world.pools, 1.0)

    assert result.app.state == "ephemeral"
    assert result.app.app_id != deployed.app_id
    assert world.pools.asked[-1] == (result.app.app_id, 1, "rolling")


# Rolling back


def test_a_rollback_is_a_new_version_with_the_old_ones_spec(world):
    world.deploy("f", bundle="b1", labels=(("commit", "abc"),))
    world.deploy("f", bundle="b2")
    world.override("f", min_containers=2)

    result = world.do(RollbackRequest("jobs"))

    live = world.catalog.revision(result.app.app_id, 3)
    assert result.app.revision == 3
    assert live.rollback_of == 1
    assert live.spec == spec("f", bundle="b1", labels=(("commit", "abc"),))
    assert world.overridden() == []
    assert world.pools.asked[-1] == (result.app.app_id, 3, "rolling")


def test_a_second_rollback_goes_one_version_further_back(world):
    for bundle in ("b1", "b2", "b3"):
        world.deploy("f", bundle=bundle)

    world.do(RollbackRequest("jobs"))
    result = world.do(RollbackRequest("jobs"))

    history = world.catalog.revisions(result.app.app_id)
    assert [r.rollback_of for r in history] == [None, None, None, 2, 1]
    assert history[-1].spec.bundle == "b1"


def test_a_deploy_after_a_rollback_is_compared_with_what_is_live(world):
    world.deploy("f", bundle="b1")
    world.deploy("f", bundle="b2")
    world.do(RollbackRequest("jobs"))

    assert not world.deploy("f", bundle="b1").changed
    assert world.deploy("f", bundle="b2").app.revision == 4


def test_a_rollback_to_a_named_version(world):
    for bundle in ("b1", "b2", "b3"):
        world.deploy("f", bundle=bundle)

    result = world.do(RollbackRequest("jobs", 1, strategy="recreate"))

    assert world.catalog.revision(result.app.app_id, 4).spec.bundle == "b1"
    assert world.pools.asked[-1] == (result.app.app_id, 4, "recreate")


def test_a_rollback_to_a_version_that_never_was_is_refused(world):
    world.deploy("f")

    with pytest.raises(NotFoundError, match="version 7"):
        world.plan(RollbackRequest("jobs", 7))


def test_a_rollback_beyond_the_first_version_is_refused(world):
    world.deploy("f")
    with pytest.raises(NotFoundError, match="before version 1"):
        world.plan(RollbackRequest("jobs"))
    world.deploy("f", bundle="b2")
    world.do(RollbackRequest("jobs"))

    with pytest.raises(NotFoundError, match="before version 1"):
        world.plan(RollbackRequest("jobs"))


# Stopping


def test_stopping_ends_the_app_and_frees_its_name(world):
    app = world.deploy("f").app

    found = world.plan(StopRequest("jobs"))
    result = apply(found, world.catalog, world.pools, 9.0)

    assert kinds(found) == [StopApp]
    assert (result.app.state, result.app.stopped) == ("stopped", 9.0)
    assert world.pools.asked[-1] == (app.app_id, "stop")
    assert world.deploy("f").app.app_id != app.app_id


@pytest.mark.parametrize("request_of", [RollbackRequest, StopRequest])
def test_an_app_that_is_not_deployed_cannot_be_stopped_or_rolled_back(world, request_of):
    with pytest.raises(NotFoundError, match="'jobs'"):
        world.plan(request_of("jobs"))


# Applying again


@pytest.mark.parametrize(
    "request_",
    [
        DeployRequest("jobs", spec("f", bundle="b3")),
        DeployRequest("jobs", spec("f", bundle="b2")),
        RollbackRequest("jobs"),
        StopRequest("jobs"),
    ],
    ids=["deploy", "unchanged", "rollback", "stop"],
)
def test_a_plan_applied_twice_comes_to_the_same_end(world, request_):
    app_id = world.deploy("f", bundle="b1").app.app_id
    world.deploy("f", bundle="b2")
    world.override("f", min_containers=2)
    found = world.plan(request_)

    first = apply(found, world.catalog, world.pools, 5.0)
    history, overridden = world.catalog.revisions(app_id), _overridden(world, app_id)
    second = apply(found, world.catalog, world.pools, 6.0)

    assert second == first
    assert world.catalog.revisions(app_id) == history
    assert _overridden(world, app_id) == overridden


def _overridden(world, app_id):
    return [world.catalog.override(f.function_id) for f in world.catalog.functions(app_id)]


def test_a_first_deploy_applied_twice_makes_one_app(world):
    found = world.plan(DeployRequest("jobs", spec("f")))

    first = apply(found, world.catalog, world.pools, 5.0)
    second = apply(found, world.catalog, world.pools, 6.0)

    assert second == first
    assert len(world.catalog.apps(stopped=True)) == 1


def test_settings_made_for_the_new_version_survive_a_repeated_plan(world):
    world.deploy("f")
    world.override("f", min_containers=2)
    found = world.plan(DeployRequest("jobs", spec("f", bundle="b2")))
    apply(found, world.catalog, world.pools, 5.0)
    world.override("f", min_containers=4)

    apply(found, world.catalog, world.pools, 6.0)

    assert world.overridden() == ["f"]


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_deploy_cut_short_anywhere_is_finished_by_the_next_one(world, done):
    world.deploy("f")
    world.override("f", min_containers=2)
    request = DeployRequest("jobs", spec("f", bundle="b2"))
    found = world.plan(request)
    assert len(found.steps) == 3
    if done:
        apply(replace(found, steps=found.steps[:done]), world.catalog, world.pools, 5.0)

    result = world.do(request)

    assert result.app.revision == 2
    assert world.overridden() == []


def test_a_plan_that_was_overtaken_is_refused(world):
    world.deploy("f")
    late = world.plan(DeployRequest("jobs", spec("f", bundle="late")))
    app = world.deploy("f", bundle="b2").app

    with pytest.raises(ConflictError, match="jobs"):
        apply(late, world.catalog, world.pools, 5.0)

    assert world.catalog.app(app.app_id) == app


def test_a_first_deploy_that_was_overtaken_is_refused(world):
    late = world.plan(DeployRequest("jobs", spec("f", bundle="late")))
    world.deploy("f")

    with pytest.raises(ConflictError, match="jobs"):
        apply(late, world.catalog, world.pools, 5.0)


# Showing


def test_a_plan_reads_as_numbered_sentences(world):
    world.deploy("f", "g")
    world.override("f", min_containers=2)

    text = render(world.plan(DeployRequest("jobs", spec("f", "h", timeout=9))))

    assert text.splitlines() == [
        "1. Drop the dynamic settings of function f.",
        "2. Add version 2 (new: h; changed: f; gone: g).",
        "3. Send new inputs to version 2; the other containers finish what they have.",
    ]


def test_every_step_has_a_sentence(world):
    first = render(world.plan(DeployRequest("jobs", spec("f", "g"))))
    world.deploy("f")
    unchanged = render(world.plan(DeployRequest("jobs", spec("f"))))
    world.deploy("f", bundle="b2")
    back = render(world.plan(RollbackRequest("jobs", strategy="recreate")))
    stop = render(world.plan(StopRequest("jobs")))

    assert first.startswith("1. Create the app 'jobs' with functions f, g.\n2. Send inputs to")
    assert unchanged == "Nothing to do: version 1 is live and unchanged."
    assert "version 3, which is version 1 again" in back
    assert "run their inputs again" in back
    assert stop.startswith("1. Stop the app 'jobs'")
