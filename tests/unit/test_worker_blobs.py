"""Payloads in files."""

import pytest

from cloudfn.errors import DataLossError, ResourceExhaustedError, SerializationError
from cloudfn.wire.codec import PickleContext
from cloudfn.wire.messages import BlobRef
from cloudfn.worker.blobs import Blobs

CTX = PickleContext(main_module="program")


@pytest.fixture
def folders(tmp_path):
    for name in ("fast", "durable"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def blobs(folders):
    return Blobs("ct-1", str(folders / "fast"), str(folders / "durable"))


def test_an_object_comes_back_from_its_blob(blobs):
    value = {"data": bytes(100_000)}

    assert blobs.load(blobs.dump(value, CTX, "it"), "it") == value


def test_bytes_are_stored_as_they_are(blobs, folders):
    ref = BlobRef.decode(blobs.store(b"abc", "it"))

    assert (ref.size, ref.durable) == (3, False)
    assert (folders / "fast" / ref.name).read_bytes() == b"abc"


def test_nothing_is_left_of_an_object_that_cannot_be_pickled(blobs, folders):
    with pytest.raises(SerializationError):
        blobs.dump([bytes(100_000), (i for i in range(3))], CTX, "it")

    assert [path for path in folders.rglob("*") if path.is_file()] == []


def test_the_durable_folder_takes_what_the_fast_one_cannot(blobs, folders):
    (folders / "fast").rmdir()

    assert BlobRef.decode(blobs.store(b"abc", "it")).durable


@pytest.mark.parametrize("blobs", [Blobs("ct-1", None, None), Blobs("ct-1", "/nowhere", None)])
def test_no_room_anywhere_is_said(blobs):
    with pytest.raises(ResourceExhaustedError, match="no room for the result"):
        blobs.store(b"abc", "the result")


@pytest.mark.parametrize("ref", [BlobRef("gone", 3, durable=False), BlobRef("a", 9, durable=True)])
def test_a_blob_that_is_missing_or_has_another_size_is_lost_data(blobs, folders, ref):
    (folders / "durable" / "a").write_bytes(b"abc")

    with pytest.raises(DataLossError):
        blobs.load(ref.encode(), "the arguments")


def test_the_environment_names_the_folders(folders):
    environ = {"CLOUDFN_CONTAINER_ID": "ct-2", "CLOUDFN_BLOBS_DURABLE": str(folders / "durable")}

    ref = BlobRef.decode(Blobs.from_environ(environ).store(b"abc", "it"))

    assert ref.durable
    assert ref.name.startswith("results-ct-2/")
