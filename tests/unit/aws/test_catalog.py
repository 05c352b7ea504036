"""The catalog on DynamoDB: many at once, answers that are lost, work that is left undone."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudfn.errors import AlreadyExistsError, DataLossError, RequestSizeError, ServiceError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.variant import Variant
from cloudfn.providers.aws.catalog import DynamoCatalog
from cloudfn.providers.aws.table import Table, update
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.testing import FakeAws

POOLS = "/cloudfn/main/pools"


def revision(*names, bundle="b1", **changes):
    functions = tuple(FunctionSpec(name, "jobs", name, **changes) for name in names)
    return RevisionSpec(bundle, "jobs", functions, "/usr/bin/python3")


@pytest.fixture
def aws():
    aws = FakeAws()
    aws.make_table()
    return aws


def process(aws, attempts=8):
    return DynamoCatalog(aws.clients(attempts), "cloudfn-main", POOLS, aws.clock)


def test_what_one_process_writes_another_one_reads_at_once(aws):
    app = process(aws).create_app("jobs", "deployed", revision("f"), 1.0)
    other = process(aws)

    assert other.deployed("jobs") == app
    (f,) = other.functions(app.app_id)
    assert other.function(f.function_id) == f
    process(aws).add_revision(app.app_id, revision("g"), 2.0)
    assert [each.name for each in other.functions(app.app_id)] == ["g"]


def test_of_many_who_deploy_a_name_at_once_one_does(aws):
    def deploy(_):
        try:
            return process(aws).create_app("jobs", "deployed", revision("f"), 1.0)
        except AlreadyExistsError:
            return None

    with ThreadPoolExecutor(8) as threads:
        made = [app for app in threads.map(deploy, range(8)) if app]

    assert process(aws).apps(stopped=True) == made
    assert len(made) == 1


def test_revisions_that_are_added_at_once_all_get_numbers_of_their_own(aws):
    app = process(aws).create_app("jobs", "deployed", revision("f"), 1.0)

    def add(n):
        return process(aws).add_revision(app.app_id, revision("f", bundle=f"b{n}"), 2.0).number

    with ThreadPoolExecutor(4) as threads:
        numbers = sorted(threads.map(add, range(6)))

    assert numbers == [2, 3, 4, 5, 6, 7]
    assert [each.number for each in process(aws).revisions(app.app_id)] == [1, *numbers]


def test_changes_whose_answers_are_lost_happen_once(aws):
    catalog = process(aws)
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    assert catalog.add_revision(app.app_id, revision("f", bundle="b2"), 2.0).number == 2
    aws.faults.lose_answer("dynamodb", "UpdateItem")
    catalog.set_tags(app.app_id, {"a": "b"})
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    catalog.stop_app(app.app_id, 3.0)

    (found,) = catalog.apps(stopped=True)
    assert (found.revision, found.tags, found.stopped) == (2, {"a": "b"}, 3.0)
    assert catalog.create_app("jobs", "deployed", revision("f"), 4.0) == catalog.deployed("jobs")


def test_functions_and_revisions_are_read_once_for_all(aws):
    catalog = process(aws)
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    reader = process(aws)
    (f,) = reader.functions(app.app_id)
    reader.function(f.function_id)
    aws.faults.calls.clear()

    for _ in range(3):
        assert reader.function(f.function_id) == f
        assert reader.revision(app.app_id, 1).spec == revision("f")
    assert not aws.faults.calls


def test_an_app_of_many_functions_fits(aws):
    names = [f"f{n}" for n in range(300)]
    catalog = process(aws)

    app = catalog.create_app("jobs", "deployed", revision(*names), 1.0)

    assert [each.name for each in process(aws).functions(app.app_id)] == names
    for function in catalog.functions(app.app_id)[:120]:
        changes = {"min_containers": 1}
        catalog.set_override(function.function_id, changes, expected=0, now=2.0, by="me")
    catalog.add_revision(app.app_id, revision("f299"), 3.0)
    assert not any(catalog.override(each.function_id) for each in catalog.functions(app.app_id))


def test_a_revision_that_no_item_can_hold_is_refused_with_what_helps(aws):
    catalog = process(aws)
    noise = random.Random(1).randbytes(500_000).hex()

    with pytest.raises(RequestSizeError, match="compressed; at most 380") as refused:
        catalog.create_app("jobs", "deployed", revision("f", serialized=noise), 1.0)

    assert "serialized=True" in refused.value.hint
    assert catalog.apps() == []
    assert catalog.create_app("jobs", "deployed", revision("f", serialized="x" * 900_000), 1.0)


def test_a_revision_that_cannot_be_read_is_named(aws):
    app = process(aws).create_app("jobs", "deployed", revision("f"), 1.0)
    table = Table(aws.clients(), "cloudfn-main", aws.clock)
    table.write(update(f"APP#{app.app_id}", "REV#00000001", "SET #spec = :spec", spec=b"?"))

    with pytest.raises(DataLossError, match=f"Version 1 of app {app.app_id} in DynamoDB"):
        process(aws).revisions(app.app_id)


def test_who_forgets_an_app_finishes_what_another_one_began(aws):
    catalog = process(aws)
    app = catalog.create_app("jobs", "ephemeral", revision("f"), 1.0)
    (f,) = catalog.functions(app.app_id)
    bound = catalog.bind(f.function_id, Variant({"x": 1}))
    catalog.set_override(bound.function_id, {"min_containers": 1}, expected=0, now=2.0, by="me")
    catalog.stop_app(app.app_id, 3.0)
    aws.faults.fail("dynamodb", "DeleteItem", "InternalServerError")
    with pytest.raises(ServiceError):
        process(aws, attempts=1).forget_app(app.app_id)

    process(aws).forget_app(app.app_id)

    assert aws.dynamodb.truth("cloudfn-main") == []
    assert aws.ssm.truth() == {}
