"""What every store of volumes promises."""

import pytest

from cloudfn.errors import DataLossError
from cloudfn.providers.local.volumes import LocalVolumes
from cloudfn.providers.volumes import StagedFile
from cloudfn.testing.memory_volumes import MemoryVolumes

V = "vo-1"


@pytest.fixture(params=["local", "memory"])
def volumes(request, tmp_path):
    folder = tmp_path / "volumes"
    store = MemoryVolumes(folder) if request.param == "memory" else LocalVolumes(folder)
    yield store
    store.close()


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
