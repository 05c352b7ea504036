"""Blobs on one machine: private directories, validated names, moves that lose nothing."""

import os
import stat
from pathlib import Path

import pytest

from cloudfn.errors import DataLossError, InvalidError, PermissionDeniedError
from cloudfn.providers.local.blobs import LocalBlobs, memory_root
from cloudfn.wire.messages import BlobRef

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def state(tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return state


@pytest.fixture
def blobs(state, tmp_path):
    memory = tmp_path / "memory"
    memory.mkdir()
    return LocalBlobs.open(state, memory=memory)


def put(blobs, name, data=b"payload", *, durable=False):
    path = blobs.root(durable=durable) / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(data)
    return BlobRef(name, len(data), durable)


def age(path, mtime):
    for each in (*path.iterdir(), path):
        os.utime(each, (mtime, mtime))


# The directories


@pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="there is no shared memory")
def test_the_fast_directory_lies_in_memory_and_is_private(state):
    blobs = LocalBlobs.open(state, enough=1)
    try:
        assert blobs.fast == memory_root(state)
        assert blobs.fast.parent == SHARED_MEMORY
        assert blobs.durable == state / "blobs"
        for directory in (blobs.fast, blobs.durable):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert LocalBlobs.open(state, enough=1) == blobs
    finally:
        blobs.close()
    assert not blobs.fast.exists()


def test_environments_have_directories_of_their_own(tmp_path):
    assert memory_root(tmp_path / "a") != memory_root(tmp_path / "b")


@pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="there is no shared memory")
def test_memory_without_enough_room_is_not_used(state):
    blobs = LocalBlobs.open(state, enough=1 << 60)

    assert blobs.fast == state / "blobs-fast"
    assert not memory_root(state).exists()


@pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="there is no shared memory")
def test_a_directory_with_blobs_in_it_stays_the_one(state):
    first = LocalBlobs.open(state, enough=1)
    put(first, "fc-1/a")
    try:
        assert LocalBlobs.open(state, enough=1 << 60).fast == first.fast
    finally:
        first.delete_call("fc-1")
        first.close()
    second = LocalBlobs.open(state, enough=1 << 60)
    put(second, "fc-1/a")
    assert LocalBlobs.open(state, enough=1).fast == second.fast == state / "blobs-fast"


def test_a_place_that_is_no_memory_or_is_not_there_is_not_used(state, tmp_path):
    assert LocalBlobs.open(state, memory=tmp_path / "none").fast == state / "blobs-fast"
    assert LocalBlobs.open(state, memory=Path("/proc"), enough=1).fast == state / "blobs-fast"


@pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="there is no shared memory")
@pytest.mark.parametrize("squat", ["link", "file", "open"])
def test_a_name_in_memory_that_somebody_sits_on_is_not_used(state, tmp_path, squat):
    place = memory_root(state)
    if squat == "link":
        place.symlink_to(tmp_path)
    elif squat == "file":
        place.write_text("")
    else:
        place.mkdir(mode=0o777)
        place.chmod(0o777)
    try:
        assert LocalBlobs.open(state, enough=1).fast == state / "blobs-fast"
    finally:
        place.rmdir() if squat == "open" else place.unlink()


@pytest.mark.parametrize("name", ["blobs", "blobs-fast"])
def test_directories_on_disk_that_are_not_private_are_refused(state, tmp_path, name):
    (state / name).mkdir(mode=0o755)
    (state / name).chmod(0o755)
    with pytest.raises(PermissionDeniedError, match=name):
        LocalBlobs.open(state, memory=tmp_path / "none")
    (state / name).rmdir()
    (state / name).symlink_to(tmp_path)
    with pytest.raises(PermissionDeniedError, match=name):
        LocalBlobs.open(state, memory=tmp_path / "none")


# Reading


@pytest.mark.parametrize("durable", [False, True])
def test_a_blob_is_found_in_its_directory(blobs, durable):
    ref = put(blobs, "fc-1/a9", b"x" * 10, durable=durable)

    assert blobs.path(ref).read_bytes() == b"x" * 10
    with pytest.raises(DataLossError, match="fc-1/a9"):
        blobs.path(ref._replace(durable=not durable))


def test_a_blob_of_another_size_is_damaged(blobs):
    ref = put(blobs, "fc-1/a")

    with pytest.raises(DataLossError, match="fc-1/a"):
        blobs.path(ref._replace(size=ref.size + 1))


BAD_NAMES = [
    "", "a", "fc-1", "/etc", "fc-1/", "/a", "fc-1/a/b", "../a", "fc-1/..", "./a", "fc-1/.", ".a/b",
    "fc-1/a\0", "fc-1/a\n", "fc-1/ä", "fc-1/a b", "fc-1\\a/b", "-a/b", "x" * 200 + "/a",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_could_lead_elsewhere_are_refused(blobs, name):
    ref = BlobRef(name, 1, durable=False)

    with pytest.raises(InvalidError):
        blobs.path(ref)
    with pytest.raises(InvalidError):
        blobs.delete(ref)
    with pytest.raises(InvalidError):
        blobs.adopt(ref, "fc-1", durable=False)


def test_links_are_not_followed(blobs, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret!")
    ref = put(blobs, "fc-1/a")
    blobs.path(ref).unlink()
    (blobs.fast / "fc-1" / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(DataLossError):
        blobs.path(ref)

    (blobs.fast / "fc-2").symlink_to(tmp_path)
    with pytest.raises(DataLossError):
        blobs.path(BlobRef("fc-2/secret", 7, durable=False))


# Adopting


@pytest.mark.parametrize("was_durable", [False, True])
@pytest.mark.parametrize("durable", [False, True])
def test_a_result_becomes_a_blob_of_its_call(blobs, was_durable, durable):
    ref = put(blobs, "results-co-1/r1", b"r" * 100_000, durable=was_durable)

    adopted = blobs.adopt(ref, "fc-1", durable=durable)

    assert adopted == BlobRef("fc-1/r1", 100_000, durable=durable or was_durable)
    assert blobs.path(adopted).read_bytes() == b"r" * 100_000
    assert stat.S_IMODE(blobs.path(adopted).parent.stat().st_mode) == 0o700
    with pytest.raises(DataLossError):
        blobs.path(ref)


@pytest.mark.parametrize("durable", [False, True])
def test_adopting_again_changes_nothing(blobs, durable):
    ref = put(blobs, "results-co-1/r1")

    first = blobs.adopt(ref, "fc-1", durable=durable)

    assert blobs.adopt(ref, "fc-1", durable=durable) == first
    assert blobs.adopt(first, "fc-1", durable=durable) == first
    assert blobs.path(first).read_bytes() == b"payload"


def test_several_results_share_the_directory_of_their_call(blobs):
    refs = [put(blobs, f"results-co-{n}/r{n}", b"%d" % n) for n in range(3)]

    adopted = [blobs.adopt(ref, "fc-1", durable=n == 1) for n, ref in enumerate(refs)]

    assert [blobs.path(ref).read_bytes() for ref in adopted] == [b"0", b"1", b"2"]


def test_a_partial_copy_of_a_crash_is_written_anew(blobs):
    ref = put(blobs, "results-co-1/r1", b"whole")
    put(blobs, "fc-1/r1", b"wh", durable=True)

    adopted = blobs.adopt(ref, "fc-1", durable=True)

    assert blobs.path(adopted).read_bytes() == b"whole"


def test_a_result_that_is_missing_or_damaged_is_named(blobs):
    ref = put(blobs, "results-co-1/r1")
    with pytest.raises(DataLossError, match="results-co-1/r1"):
        blobs.adopt(ref._replace(size=1), "fc-1", durable=False)
    blobs.delete(ref)
    with pytest.raises(DataLossError, match="results-co-1/r1"):
        blobs.adopt(ref, "fc-1", durable=True)


def test_a_container_cannot_hand_over_what_belongs_to_another_call(blobs):
    ref = put(blobs, "fc-2/a")

    with pytest.raises(InvalidError, match="fc-2/a"):
        blobs.adopt(ref, "fc-1", durable=False)

    assert blobs.path(ref).exists()


def test_a_link_cannot_be_handed_over(blobs, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret!")
    ref = put(blobs, "results-co-1/r1")
    blobs.path(ref).unlink()
    (blobs.fast / "results-co-1" / "r1").symlink_to(tmp_path / "secret")

    with pytest.raises(DataLossError):
        blobs.adopt(ref, "fc-1", durable=True)


@pytest.mark.parametrize("call_id", ["", "..", "a/b", ".x"])
def test_a_call_needs_a_name(blobs, call_id):
    ref = put(blobs, "results-co-1/r1")

    with pytest.raises(InvalidError):
        blobs.adopt(ref, call_id, durable=False)
    with pytest.raises(InvalidError):
        blobs.delete_call(call_id)


@pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="there is no shared memory")
def test_a_result_travels_from_memory_to_disk(state):
    blobs = LocalBlobs.open(state, enough=1)
    try:
        ref = put(blobs, "results-co-1/r1", os.urandom(3 << 20))
        data = blobs.path(ref).read_bytes()

        put(blobs, "fc-1/r1", b"cut short by a crash", durable=True)

        adopted = blobs.adopt(ref, "fc-1", durable=True)

        assert blobs.path(adopted).is_relative_to(state)
        assert blobs.path(adopted).read_bytes() == data
        assert blobs.usage().fast_blobs == 0
    finally:
        blobs.delete_results("co-1")
        blobs.close()
    assert not blobs.fast.exists()


# Deleting


def test_deleting_is_idempotent(blobs):
    gone, kept = put(blobs, "fc-1/a"), put(blobs, "fc-1/b")

    blobs.delete(gone)
    blobs.delete(gone)
    assert blobs.path(kept).exists()

    put(blobs, "fc-1/c", durable=True)
    other = put(blobs, "fc-2/a")
    blobs.delete_call("fc-1")
    blobs.delete_call("fc-1")

    assert not (blobs.fast / "fc-1").exists()
    assert not (blobs.durable / "fc-1").exists()
    assert blobs.path(other).exists()


def test_what_a_dead_container_wrote_can_be_deleted(blobs):
    put(blobs, "results-co-1/a")
    kept = put(blobs, "results-co-2/a")

    blobs.delete_results("co-1")

    assert not (blobs.fast / "results-co-1").exists()
    assert blobs.path(kept).exists()


def test_a_sweep_deletes_what_is_old_and_unknown(blobs):
    for name in ("fc-known", "fc-unknown", "results-co-alive", "results-co-dead"):
        put(blobs, f"{name}/a")
        age(blobs.fast / name, 1_000.0)
    put(blobs, "fc-lost/a", durable=True)
    age(blobs.durable / "fc-lost", 1_000.0)
    (blobs.durable / "stray").write_text("")
    os.utime(blobs.durable / "stray", (1_000.0, 1_000.0))
    asked = []

    def known(name):
        asked.append(name)
        return name in ("fc-known", "co-alive")

    assert blobs.sweep(known, older_than=60.0, now=1_100.0) == 4

    assert sorted(path.name for path in blobs.fast.iterdir()) == ["fc-known", "results-co-alive"]
    assert list(blobs.durable.iterdir()) == []
    assert set(asked) == {
        "fc-known", "fc-unknown", "co-alive", "co-dead", "fc-lost", "stray",
    }  # fmt: skip


def test_a_sweep_spares_what_is_being_written(blobs):
    put(blobs, "fc-young/a")
    age(blobs.fast / "fc-young", 1_090.0)
    put(blobs, "fc-growing/a")
    age(blobs.fast / "fc-growing", 1_000.0)
    os.utime(blobs.fast / "fc-growing" / "a", (1_095.0, 1_095.0))
    os.utime(blobs.fast / "fc-growing", (1_000.0, 1_000.0))

    assert blobs.sweep(lambda _: False, older_than=60.0, now=1_100.0) == 0

    assert len(list(blobs.fast.iterdir())) == 2


def test_a_sweep_does_not_follow_links(blobs, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (blobs.fast / "fc-link").symlink_to(outside)

    blobs.sweep(lambda _: False, older_than=0.0, now=1e12)

    assert (outside / "file").read_text() == "kept"
    assert list(blobs.fast.iterdir()) == []


def test_usage_counts_both_directories(blobs):
    put(blobs, "fc-1/a", b"12345")
    put(blobs, "fc-1/b", b"12345", durable=True)
    put(blobs, "fc-2/a", b"123", durable=True)

    found = blobs.usage()

    assert (found.fast_bytes, found.fast_blobs) == (5, 1)
    assert (found.durable_bytes, found.durable_blobs) == (8, 2)


def test_closing_leaves_blobs_and_takes_empty_directories(blobs):
    ref = put(blobs, "fc-1/a")
    (blobs.fast / "fc-2").mkdir()

    blobs.close()
    blobs.close()

    assert blobs.path(ref).exists()
    assert not (blobs.fast / "fc-2").exists()


def test_a_copy_outlives_what_it_was_made_of(blobs):
    ref = put(blobs, "fc-1/a9", b"x" * 10, durable=True)

    copy = blobs.copy(ref, "fc-2")
    assert blobs.copy(ref, "fc-2") == copy
    blobs.delete_call("fc-1")
    assert blobs.path(copy).read_bytes() == b"x" * 10
    with pytest.raises(DataLossError):
        blobs.copy(ref, "fc-3")
    with pytest.raises(InvalidError):
        blobs.copy(copy, "../fc-3")
