"""What every store of volumes promises."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from cloudfn.errors import DataLossError, Error, InvalidError
from cloudfn.providers.aws.volumes import S3Volumes
from cloudfn.providers.local.volumes import LocalVolumes
from cloudfn.providers.volumes import StagedFile
from cloudfn.testing import FakeAws
from cloudfn.testing.aws import Knobs
from cloudfn.testing.memory_volumes import MemoryVolumes

V = "vo-1"


@pytest.fixture(params=["local", "memory", "aws"])
def volumes(request, tmp_path):
    folder = tmp_path / "volumes"
    if request.param == "aws":
        store = on_aws(new_account(), folder)
    elif request.param == "memory":
        store = MemoryVolumes(folder)
    else:
        store = LocalVolumes(folder)
    yield store
    store.close()


def new_account(**knobs):
    aws = FakeAws(**knobs)
    aws.make_table()
    aws.make_bucket()
    return aws


def on_aws(aws, folder, attempts=8):
    return S3Volumes(aws.clients(attempts), "cloudfn-main", "cloudfn-main", folder, aws.clock)


def staged(volumes, path, text, volume_id=V, mtime=5):
    source = volumes.stage(volume_id) / f"{path.replace('/', '-')}-{text}"
    source.write_text(text)
    return StagedFile(path, source, mtime, 0o640)


def commit(volumes, request, *puts, removes=(), now=1.0, volume_id=V):
    volumes.commit(volume_id, puts, removes, request=request, now=now)


def texts(volumes, volume_id=V):
    found = volumes.files(volume_id)
    return {file.path: volumes.content(volume_id, file.key).read_text() for file in found}


def test_a_commit_writes_and_removes_files_by_path(volumes):
    commit(volumes, "r1", staged(volumes, "b/c", "1"), staged(volumes, "a", "22"))
    commit(volumes, "r2", staged(volumes, "b/c", "3"), removes=["a", "never"])
    commit(volumes, "r3", staged(volumes, "a", "x", "vo-2"), volume_id="vo-2")

    assert texts(volumes) == {"b/c": "3"}
    assert texts(volumes, "vo-2") == {"a": "x"}
    (file,) = volumes.files(V)
    assert (file.size, file.mtime, file.mode) == (1, 5, 0o640)


def test_files_come_by_path(volumes):
    commit(volumes, "r1", *[staged(volumes, path, "x") for path in ("b", "a/z", "a")])

    assert [file.path for file in volumes.files(V)] == ["a", "a/z", "b"]
    assert volumes.files("vo-9") == []


def test_the_same_request_again_changes_nothing(volumes):
    first = staged(volumes, "a", "1")
    commit(volumes, "r1", first)
    commit(volumes, "r2", staged(volumes, "a", "2"))
    commit(volumes, "r1", first)

    assert texts(volumes) == {"a": "2"}


def test_what_is_replaced_stays_readable_for_a_while(volumes):
    commit(volumes, "r1", staged(volumes, "a", "1"), now=0.0)
    old = volumes.content(V, volumes.files(V)[0].key)
    commit(volumes, "r2", staged(volumes, "a", "2"), now=10.0)

    volumes.expire(15.0, 10.0)
    assert old.read_text() == "1"
    volumes.expire(20.0, 10.0)
    assert not old.exists()
    assert texts(volumes) == {"a": "2"}


def test_a_wiped_volume_is_empty(volumes):
    commit(volumes, "r1", staged(volumes, "a", "1"))
    volumes.wipe(V)
    volumes.wipe(V)

    assert volumes.files(V) == []
    commit(volumes, "r2", staged(volumes, "b", "2"))
    assert texts(volumes) == {"b": "2"}


def test_stores_on_one_machine_have_no_links(tmp_path):
    for store in (LocalVolumes(tmp_path / "local"), MemoryVolumes(tmp_path / "memory")):
        commit(store, "r1", staged(store, "a", "1"))

        assert store.link(V, store.files(V)[0], 60) is None


def test_a_commit_is_there_after_a_restart_and_one_that_fails_leaves_nothing(tmp_path):
    store = LocalVolumes(tmp_path / "v")
    good, bad = staged(store, "a", "1"), staged(store, "b", "2")
    commit(store, "r1", good)
    bad.source.unlink()
    with pytest.raises(DataLossError):
        commit(store, "r2", staged(store, "c", "3"), bad)
    store.close()

    again = LocalVolumes(tmp_path / "v")
    assert texts(again) == {"a": "1"}
    again.close()


# On AWS


def test_a_link_gives_a_file_as_it_is_to_whoever_has_it_and_ends(tmp_path):
    aws = new_account()
    store = on_aws(aws, tmp_path)
    commit(store, "r1", staged(store, "b/a", "first"))
    link = store.link(V, store.files(V)[0], 60)
    commit(store, "r2", staged(store, "b/a", "second"), now=2.0)

    assert aws.s3.open_url(link.url) == (200, b"first")
    aws.clock.advance(60)
    assert aws.s3.open_url(link.url) == (403, b"AccessDenied")


def test_a_link_lasts_for_seven_days_at_most(tmp_path):
    store = on_aws(new_account(), tmp_path)
    commit(store, "r1", staged(store, "a", "1"))
    (file,) = store.files(V)

    assert store.link(V, file, 7 * 86_400)
    with pytest.raises(InvalidError, match="7 days at most"):
        store.link(V, file, 7 * 86_400 + 1)


def test_what_one_process_commits_others_see_and_fetch(tmp_path):
    aws = new_account()
    one, two = on_aws(aws, tmp_path / "1"), on_aws(aws, tmp_path / "2")
    commit(one, "r1", staged(one, "a", "1"), staged(one, "empty", ""))
    assert texts(two) == {"a": "1", "empty": ""}

    commit(two, "r2", staged(two, "a", "2"), now=2.0)
    assert texts(one) == {"a": "2", "empty": ""}
    one.fetch(V, [file.key for file in two.files(V)])


def test_commits_at_once_all_count(tmp_path):
    aws = new_account()

    def work(n):
        volumes = on_aws(aws, tmp_path / str(n))
        for k in range(3):
            commit(volumes, f"r{n}-{k}", staged(volumes, f"{n}/{k}", "x"))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))

    found = [file.path for file in on_aws(aws, tmp_path / "x").files(V)]
    assert found == [f"{n}/{k}" for n in range(4) for k in range(3)]
    manifests = [item for item in aws.dynamodb.truth("cloudfn-main") if "packed" in item]
    assert len(manifests) == 1


def test_a_commit_whose_answers_are_lost_happens_once(tmp_path):
    aws = new_account()
    volumes = on_aws(aws, tmp_path)
    first = staged(volumes, "a", "1")
    aws.faults.lose_answer("s3", "PutObject")
    aws.faults.lose_answer("dynamodb", "PutItem")
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")

    commit(volumes, "r1", first)

    assert texts(volumes) == {"a": "1"}
    assert len(aws.s3.truth("cloudfn-main")) == 1


def test_a_commit_that_died_before_its_end_is_finished_by_the_next_try(tmp_path):
    aws = new_account(knobs=Knobs.calm())
    volumes = on_aws(aws, tmp_path, attempts=1)
    first = staged(volumes, "a", "1")
    for operation in ("PutItem", "TransactWriteItems"):
        aws.faults.lose_answer("dynamodb", operation)
        with pytest.raises(Error):
            commit(volumes, "r1", first)

    commit(volumes, "r2", staged(volumes, "a", "2"))
    commit(volumes, "r1", first)

    assert texts(volumes) == {"a": "2"}


def test_a_commit_that_fails_leaves_nothing_at_aws(tmp_path):
    aws = new_account()
    volumes = on_aws(aws, tmp_path)
    good, bad = staged(volumes, "a", "1"), staged(volumes, "b", "2")
    bad.source.unlink()

    with pytest.raises(DataLossError, match="'b'"):
        commit(volumes, "r1", good, bad)

    assert (volumes.files(V), aws.s3.truth("cloudfn-main")) == ([], {})


def test_a_wiped_volume_and_one_that_had_its_time_leave_nothing_at_aws(tmp_path):
    aws = new_account()
    volumes = on_aws(aws, tmp_path)
    commit(volumes, "r1", staged(volumes, "a", "1"), now=0.0)
    commit(volumes, "r2", staged(volumes, "a", "2"), now=1.0)
    assert len(aws.s3.truth("cloudfn-main")) == 2

    volumes.expire(20.0, 10.0)
    assert list(aws.s3.truth("cloudfn-main").values()) == [b"2"]
    volumes.wipe(V)
    assert (aws.s3.truth("cloudfn-main"), aws.dynamodb.truth("cloudfn-main")) == ({}, [])


def test_content_that_is_damaged_or_missing_is_not_given_out(tmp_path):
    aws = new_account()
    one, two = on_aws(aws, tmp_path / "1"), on_aws(aws, tmp_path / "2")
    commit(one, "r1", staged(one, "a", "1"))
    (key,) = aws.s3.truth("cloudfn-main")
    aws.client("s3").put_object(Bucket="cloudfn-main", Key=key, Body=b"evil")

    (file,) = two.files(V)
    with pytest.raises(DataLossError, match="damaged"):
        two.content(V, file.key)
    aws.client("s3").delete_object(Bucket="cloudfn-main", Key=key)
    with pytest.raises(DataLossError, match="not there"):
        two.content(V, file.key)
    assert list((tmp_path / "2" / V / "content").iterdir()) == []


def test_a_list_of_files_that_no_item_can_hold_lies_beside_them(tmp_path):
    aws = new_account()
    volumes = on_aws(aws, tmp_path)
    random = Random(1)
    names = sorted(random.randbytes(150).hex() for _ in range(2_500))
    source = volumes.stage(V) / "empty"
    source.touch()

    commit(volumes, "r1", *(StagedFile(name, source, 5, 0o640) for name in names))
    # To whoever may not list a bucket, S3 says of what is gone just now that it is forbidden.
    aws.faults.fail("s3", "GetObject", "AccessDenied")
    assert [file.path for file in on_aws(aws, tmp_path / "2").files(V)] == names
    assert len(aws.s3.truth("cloudfn-main")) == 1

    commit(volumes, "r2", removes=names[1:], now=2.0)
    volumes.expire(1e6, 1.0)
    assert [file.path for file in on_aws(aws, tmp_path / "3").files(V)] == names[:1]
    assert aws.s3.truth("cloudfn-main") == {}
