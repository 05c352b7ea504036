"""Programs of the real SDK over all adapters of AWS, on fakes that are as strict as AWS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import cloudfn
from cloudfn.exception import RemoteError
from cloudfn.testing.aws import Knobs
from tests.unit.aws.client_world import AwsWorld

app = cloudfn.App("on-aws")


@app.function()
def double(x):
    return 2 * x


@app.function()
def large(data):
    return data + data


@app.function()
def count_to(n):
    yield from range(n)


@pytest.fixture(params=["calm", "nasty"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AwsWorld]:
    world = AwsWorld(tmp_path, Knobs.calm() if request.param == "calm" else Knobs())
    yield world
    world.close()


def test_functions_are_called_mapped_and_stream_their_items(world: AwsWorld) -> None:
    with world.program(), app.run(runtime="docker"):
        assert double.remote(21) == 42
        assert list(double.map(range(600))) == [2 * x for x in range(600)]
        assert list(count_to.remote_gen(70)) == list(range(70))


def test_big_payloads_travel_through_the_bucket_and_leave_nothing(world: AwsWorld) -> None:
    data = bytes(100_000)
    with world.program(), app.run(runtime="docker"):
        assert large.remote(data) == data + data
    kept = world.aws.client("s3").list_objects_v2(Bucket=world.outputs.bucket)
    assert {each["Key"].partition("/")[0] for each in kept["Contents"]} == {"bundles"}


def test_a_spawned_call_is_found_and_another_one_cancelled(world: AwsWorld) -> None:
    with world.program():
        app.deploy(runtime="docker")
        handle = cloudfn.Function.from_name("on-aws", "double")
        call_id = handle.spawn(4).object_id
        assert cloudfn.FunctionCall.from_id(call_id).get(timeout=60) == 8
        world.machine.gate.clear()
        call = handle.spawn(5)
        call.cancel()
        with pytest.raises(RemoteError, match="cancelled"):
            call.get(timeout=60)
        app.stop()


def test_dicts_queues_and_volumes_are_shared(world: AwsWorld, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with world.program():
        shared = cloudfn.Dict.from_name("d", create_if_missing=True)
        shared["big"] = bytes(100_000)
        cloudfn.Queue.from_name("q", create_if_missing=True).put_many([1, 2])
        volume = cloudfn.Volume.from_name("v", create_if_missing=True)
        with volume.batch_upload() as batch:
            batch.put_file(tmp_path / "a.txt", "/a.txt")
    with world.program():
        assert cloudfn.Dict.from_name("d")["big"] == bytes(100_000)
        assert cloudfn.Queue.from_name("q").get_many(5) == [1, 2]
        assert b"".join(cloudfn.Volume.from_name("v").read_file("/a.txt")) == b"hello"
