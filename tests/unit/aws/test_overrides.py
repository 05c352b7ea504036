"""Overrides: their copies in Parameter Store, and what schedules wrote there."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudfn.errors import ConflictError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.variant import Variant
from cloudfn.providers.aws.catalog import DynamoCatalog
from cloudfn.providers.aws.overrides import SsmScheduledSettings
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.testing import FakeAws

POOLS = "/cloudfn/main/pools"
SPEC = RevisionSpec("b1", "jobs", (FunctionSpec("f", "jobs", "f"),), "/usr/bin/python3")


@pytest.fixture
def aws():
    aws = FakeAws()
    aws.make_table()
    return aws


@pytest.fixture
def catalog(aws):
    return process(aws)


@pytest.fixture
def app(catalog):
    return catalog.create_app("jobs", "deployed", SPEC, 1.0)


@pytest.fixture
def f(catalog, app):
    return catalog.functions(app.app_id)[0].function_id


def process(aws):
    return DynamoCatalog(aws.clients(), "cloudfn-main", POOLS, aws.clock)


def update(catalog, function_id, n, expected=0, by="ada"):
    return catalog.set_override(
        function_id, {"min_containers": n}, expected=expected, now=1e9, by=by
    )


def copy(aws, function_id):
    text = aws.ssm.truth().get(f"{POOLS}/{function_id}")
    return None if text is None else json.loads(text)


def test_people_see_a_copy_with_who_and_when(aws, catalog, f):
    update(catalog, f, 3)

    assert copy(aws, f) == {
        "changes": {"min_containers": 3},
        "by": "ada",
        "at": "2001-09-09T01:46:40+00:00",
        "version": 1,
    }


def test_the_copy_goes_with_the_override(aws, catalog, app, f):
    update(catalog, f, 3)

    catalog.clear_overrides(app.app_id)

    assert copy(aws, f) is None


def test_a_variant_has_a_copy_under_a_name_that_parameters_may_have(aws, catalog, f):
    bound = catalog.bind(f, Variant({"x": 1}))

    update(catalog, bound.function_id, 3)

    assert copy(aws, bound.function_id.replace("+", "."))["version"] == 1


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException"])
def test_an_override_is_in_force_without_its_copy_and_the_next_one_shows_it(aws, catalog, f, code):
    aws.faults.fail("ssm", "*", code, times=None)
    override = update(catalog, f, 3)
    assert copy(aws, f) is None
    assert catalog.override(f) == override
    aws.faults.heal()

    assert process(aws).override(f) == override

    assert copy(aws, f)["changes"] == {"min_containers": 3}


def test_a_dropped_override_whose_copy_stayed_is_cleaned_up_by_who_looks_next(aws, catalog, app, f):
    update(catalog, f, 3)
    aws.faults.cut("ssm")
    catalog.clear_overrides(app.app_id)
    assert copy(aws, f) is not None
    aws.faults.heal()

    assert process(aws).override(f) is None

    assert copy(aws, f) is None


def test_a_copy_that_cannot_be_written_is_tried_once_by_each_process(aws, catalog, f):
    aws.faults.fail("ssm", "*", "AccessDeniedException", times=None)
    update(catalog, f, 3)
    for _ in range(5):
        catalog.override(f)

    assert aws.faults.calls["ssm", "PutParameter"] == 1


def test_an_update_whose_answer_is_lost_is_no_conflict(aws, catalog, f):
    aws.faults.lose_answer("dynamodb", "UpdateItem")
    first = update(catalog, f, 3)
    aws.faults.lose_answer("dynamodb", "UpdateItem")
    second = update(catalog, f, 4, expected=1)

    assert (first.version, second.version) == (1, 2)
    assert process(aws).override(f) == second


def test_machines_write_no_copies_and_others_do_when_they_look(aws, catalog, f):
    machine = DynamoCatalog(aws.clients(), "cloudfn-main", POOLS, aws.clock, shows=False)

    update(machine, f, 3)
    machine.override(f)
    assert copy(aws, f) is None
    assert aws.faults.calls["ssm", "PutParameter"] == 0

    catalog.override(f)
    assert copy(aws, f)["changes"] == {"min_containers": 3}


def test_of_updates_at_once_each_sees_the_one_before_and_the_copy_is_of_the_last(aws, f):
    def add_one(by):
        catalog = process(aws)
        while True:
            known = catalog.override(f)
            now = dict(known.changes)["min_containers"] if known else 0
            try:
                return update(catalog, f, now + 1, known.version if known else 0, by)
            except ConflictError:
                continue

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add_one, "abcdefgh"))

    override = process(aws).override(f)
    assert (override.changes, override.version) == ((("min_containers", 8),), 8)
    assert copy(aws, f)["version"] == 8


# What schedules wrote


def test_all_scheduled_settings_of_an_environment_are_read_over_pages(aws):
    ssm = aws.client("ssm")
    for n in range(25):
        name = f"{POOLS}/fu-{n:02}.v"
        ssm.put_parameter(Name=name, Value="{}", Type="String")
        ssm.put_parameter(
            Name=f"{name}/scheduled", Value=f'{{"min_containers": {n}}}', Type="String"
        )
        aws.clock.advance(1)
    other = "/cloudfn/other/pools/fu-1/scheduled"
    ssm.put_parameter(Name=other, Value="{}", Type="String")
    aws.clock.advance(60)

    found = SsmScheduledSettings(aws.clients(), POOLS).read()

    assert {name: each.changes["min_containers"] for name, each in found.items()} == {
        f"fu-{n:02}+v": n for n in range(25)
    }
    assert found["fu-01+v"].written - found["fu-00+v"].written == pytest.approx(1.0)
