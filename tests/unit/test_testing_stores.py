"""Dicts and queues in offline runs: shared by functions, waiting on the fake clock."""

import io
import queue
import sys

import pytest

import cloudfn
from cloudfn import errors
from cloudfn.settings import StoreLimits
from cloudfn.testing import offline

app = cloudfn.App("offline-stores")
seen = cloudfn.Dict.from_name("seen", create_if_missing=True)
jobs = cloudfn.Queue.from_name("jobs", create_if_missing=True)


@app.function()
def consume(partition):
    item = jobs.get(partition=partition)
    seen[item] = True
    return item


@app.function()
def produce(item, partition):
    jobs.put(item, partition=partition)


@pytest.fixture(autouse=True)
def _module(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def test_a_function_that_waits_for_an_element_lets_the_one_run_that_puts_it():
    with offline(), app.run():
        consumer = consume.spawn("p")
        produce.spawn("job", "p")

        assert consumer.get() == "job"
        assert seen["job"] is True
        assert jobs.len(total=True) == 0


def test_every_run_has_a_world_of_its_own():
    with offline():
        seen["left"] = 1
    with offline():
        assert "left" not in seen


def test_waiting_takes_the_time_of_the_fake_clock():
    with offline() as world:
        before = world.clock.monotonic()
        with pytest.raises(queue.Empty):
            jobs.get(timeout=3600)

        assert world.clock.monotonic() - before == pytest.approx(3600)


def test_waiting_for_what_cannot_come_is_an_error():
    with offline(), pytest.raises(errors.ExecutionError, match="for ever"):
        jobs.get()


def test_limits_can_be_small():
    with offline(stores=StoreLimits(queue_items=1, dict_value_size=100)):
        jobs.put(1)
        with pytest.raises(queue.Full):
            jobs.put(2, block=False)
        with pytest.raises(errors.RequestSizeError):
            seen["k"] = "x" * 200


def test_a_store_can_fail_when_told():
    with offline() as world:
        world.fail_next("dicts.get", errors.ResourceExhaustedError("by script"))
        with pytest.raises(errors.ResourceExhaustedError, match="by script"):
            seen.get("k")


def test_entries_of_a_dict_vanish_a_week_after_their_last_use():
    with offline() as world:
        seen["k"] = 1
        world.clock.advance(6 * 86_400)
        assert seen["k"] == 1
        world.clock.advance(6 * 86_400)
        assert seen["k"] == 1
        world.clock.advance(8 * 86_400)
        assert "k" not in seen


def test_an_ephemeral_object_is_gone_after_its_block():
    with offline():
        with cloudfn.Queue.ephemeral() as mine:
            mine.put(1)
        with pytest.raises(errors.NotFoundError):
            mine.put(2)


def test_volumes_are_read_and_written_by_name():
    with offline(), cloudfn.Volume.ephemeral() as volume:
        with volume.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"text"), "dir/a")
        assert b"".join(volume.read_file("dir/a")) == b"text"
        assert [entry.path for entry in volume.iterdir("/")] == ["dir", "dir/a"]
        volume.remove_file("dir", recursive=True)
        assert volume.listdir("/") == []


def test_mounting_a_volume_offline_is_refused_with_what_to_do():
    other = cloudfn.App("mounts")
    volume = cloudfn.Volume.from_name("v", create_if_missing=True)
    other.function(volumes={"/data": volume}, serialized=True, name="f")(lambda: None)

    with offline(), pytest.raises(errors.UnimplementedError, match="mounts a volume"):
        other.deploy(name="mounts")
