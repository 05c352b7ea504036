"""What every registry of named objects promises."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudfn.errors import AlreadyExistsError, NotFoundError
from cloudfn.providers.aws.objects import DynamoObjects
from cloudfn.providers.local.objects import SqliteObjects
from cloudfn.providers.objects import ObjectKind, ObjectRecord
from cloudfn.testing import FakeAws
from cloudfn.testing.memory_objects import MemoryObjects

DICT, QUEUE = ObjectKind.DICT, ObjectKind.QUEUE


@pytest.fixture(params=["sqlite", "memory", "aws"])
def objects(request, tmp_path):
    if request.param == "aws":
        store = on_aws(FakeAws())
    elif request.param == "memory":
        store = MemoryObjects()
    else:
        store = SqliteObjects(tmp_path / "objects.db")
    yield store
    store.close()


def on_aws(aws):
    return DynamoObjects(aws.clients(), aws.make_table(), aws.clock)


def record(number, name, kind=DICT, created=1.0):
    return ObjectRecord(f"{kind.value}-{number}", kind, name, created)


def test_an_object_is_found_by_id_and_by_name_of_its_kind(objects):
    objects.create(record(1, "jobs"))

    assert objects.get("di-1") == record(1, "jobs")
    assert objects.find(DICT, "jobs") == record(1, "jobs")
    assert objects.find(QUEUE, "jobs") is None
    assert objects.find(DICT, "") is None
    assert objects.get("di-2") is None


def test_a_name_is_taken_once_per_kind_and_creating_again_changes_nothing(objects):
    objects.create(record(1, "jobs"))
    objects.create(record(1, "jobs"))
    objects.create(record(1, "jobs", QUEUE))

    with pytest.raises(AlreadyExistsError, match="a dict named 'jobs'"):
        objects.create(record(2, "jobs"))
    assert [each.object_id for each in objects.list(DICT)] == ["di-1"]


def test_ephemeral_objects_have_no_name_and_are_listed(objects):
    objects.create(record(1, "", created=1.0))
    objects.create(record(2, "", created=2.0))

    assert [each.object_id for each in objects.list(DICT)] == ["di-2", "di-1"]
    assert objects.list(QUEUE) == []


def test_a_rename_frees_the_old_name_and_refuses_one_that_is_taken(objects):
    objects.create(record(1, "old"))
    objects.create(record(2, "other"))

    with pytest.raises(AlreadyExistsError):
        objects.rename("di-1", "other")
    objects.rename("di-1", "new")
    objects.rename("di-1", "new")

    assert objects.find(DICT, "old") is None
    assert objects.find(DICT, "new") == record(1, "new")
    with pytest.raises(NotFoundError):
        objects.rename("di-9", "x")


def test_a_deleted_object_is_gone_and_its_name_free(objects):
    objects.create(record(1, "jobs"))
    objects.delete("di-1")
    objects.delete("di-1")

    assert objects.get("di-1") is None
    objects.create(record(2, "jobs"))


def test_what_was_registered_is_there_after_a_restart(tmp_path):
    store = SqliteObjects(tmp_path / "objects.db")
    store.create(record(1, "jobs"))
    store.close()

    again = SqliteObjects(tmp_path / "objects.db")
    assert again.find(DICT, "jobs") == record(1, "jobs")
    again.close()


# On AWS


def test_changes_whose_answers_are_lost_happen_once():
    aws = FakeAws()
    objects = on_aws(aws)
    for change in (
        lambda: objects.create(record(1, "old")),
        lambda: objects.rename("di-1", "new"),
        lambda: objects.delete("di-1"),
    ):
        aws.faults.lose_answer("dynamodb", "TransactWriteItems")
        change()

    assert aws.dynamodb.truth("cloudfn-main") == []
    objects.create(record(2, "new"))


def test_of_many_who_want_a_name_at_once_one_gets_it():
    objects = on_aws(FakeAws())

    def create(number):
        try:
            objects.create(record(number, "jobs"))
        except AlreadyExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as threads:
        winners = [each for each in threads.map(create, range(8)) if each is not None]

    assert [objects.find(DICT, "jobs")] == objects.list(DICT) == [record(winners[0], "jobs")]
    assert len(winners) == 1
