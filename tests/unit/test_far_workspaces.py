"""Working copies of volumes that are far away: the loop never waits for them."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudfn.control.stores.registry import Registry
from cloudfn.control.stores.volumes import VolumeDesk
from cloudfn.daemon.workspaces import Workspaces
from cloudfn.errors import ConnectionError as Unreachable
from cloudfn.model.volume import VolumeMount
from cloudfn.providers.objects import ObjectKind, ObjectRecord
from cloudfn.providers.volumes import StagedFile
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.memory_objects import MemoryObjects
from cloudfn.testing.memory_volumes import MemoryVolumes
from tests.unit.fake_loop import Loop

V = "vo-1"
MOUNTS = (VolumeMount("/data", "data", V),)


class Far:
    """A port that the loop's thread must not ask, and that can be out of reach."""

    def __init__(self, port):
        self._port = port
        self._loop = threading.get_ident()
        self.reachable = True

    def __getattr__(self, name):
        method = getattr(self._port, name)

        def asked(*args, **kwargs):
            assert name == "stage" or threading.get_ident() != self._loop, f"the loop waits: {name}"
            if not self.reachable and name != "stage":
                raise Unreachable("AWS cannot be reached.")
            return method(*args, **kwargs)

        return asked


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def volumes(tmp_path):
    kept = MemoryVolumes(tmp_path / "volumes")
    source = kept.stage(V) / "source"
    source.write_text("old")
    kept.commit(V, [StagedFile("a", source, 5, 0o644)], [], request="r", now=1.0)
    return Far(kept)


@pytest.fixture
def spaces(loop, volumes, tmp_path):
    objects = MemoryObjects()
    objects.create(ObjectRecord(V, ObjectKind.VOLUME, "data", 1.0))
    desk = VolumeDesk(volumes, Registry(Far(objects), {}))
    return Workspaces(loop, desk, tmp_path / "spaces", FakeClock(), far=True)


@pytest.fixture
def folder(spaces):
    """A container's copy, as it is when the container runs."""
    with ThreadPoolExecutor(1) as thread:
        (order,) = thread.submit(spaces.prepare("ta-1", MOUNTS)).result()
    found = spaces.mounts("ta-1", V)[0]["folder"]
    assert (order["folder"], order["path"]) == (found, "/data")
    path = spaces._root / "ta-1" / "0"
    path.mkdir()
    for name, source, _, _ in order["files"]:
        shutil.copyfile(source, path / name)
    path.with_name("0.ready").touch()
    return path


def committed(volumes):
    kept = volumes._port
    return {each.path: kept.content(V, each.key).read_text() for each in kept.files(V)}


def given(later, loop):
    told = []
    later.then(told.append)
    loop.turn_until(lambda: told)
    return told[0]


def test_a_commit_is_made_aside_and_told(spaces, folder, volumes, loop):
    (folder / "b").write_text("new")

    assert given(spaces.commit("ta-1", V), loop) == {}
    assert committed(volumes) == {"a": "old", "b": "new"}


def test_a_commit_that_fails_says_so_and_the_next_one_brings_all(spaces, folder, volumes, loop):
    (folder / "b").write_text("new")
    volumes.reachable = False
    told = given(spaces.commit("ta-1", V), loop)
    assert told["error"]["type"] == "ConnectionError"

    volumes.reachable = True
    assert given(spaces.commit("ta-1", V), loop) == {}
    assert committed(volumes)["b"] == "new"


def test_a_reload_brings_what_others_committed(spaces, folder, volumes, loop, tmp_path):
    source = tmp_path / "source"
    source.write_text("theirs")
    file = StagedFile("c", source, 5, 0o644)
    volumes._port.commit(V, [file], [], request="r2", now=2.0)

    assert given(spaces.reload("ta-1", V), loop) == {}
    assert (folder / "c").read_text() == "theirs"


def test_what_a_container_leaves_is_committed_once_its_volume_answers(
    spaces, folder, volumes, loop
):
    (folder / "b").write_text("last words")
    volumes.reachable = False
    spaces.ended("ta-1")
    loop.turn_until(lambda: len(loop.later) > 1)
    assert folder.exists()

    volumes.reachable = True
    loop.wait()
    loop.turn_until(lambda: not folder.exists())
    assert committed(volumes)["b"] == "last words"
