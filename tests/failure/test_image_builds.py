"""What a full disk does to builds of images."""

from dataclasses import asdict

import pytest

from cloudfn import errors
from cloudfn.model.image import ImageSpec, Layer
from tests.failure.daemon_fixtures import World, world
from tests.failure.test_disk import fill, small_disk

__all__ = ["small_disk", "world"]
pytestmark = pytest.mark.integration


def test_an_image_that_finds_no_room_is_refused_and_leaves_nothing(small_disk: World) -> None:
    world = small_disk
    world.deploy()
    spec = asdict(ImageSpec((Layer("debian_slim"),)))
    wanted = {"runtime": "process", "spec": spec, "environ": {}, "anew": False}
    filler = fill(world.state)

    with pytest.raises(errors.Error, match="No space left on device") as caught:
        world.ask("image_build", **wanted)
    assert isinstance(caught.value, errors.ImageBuildError | errors.ResourceExhaustedError)
    assert world.is_up()
    assert list((world.state / "images").rglob("*/bin/python")) == []

    filler.unlink()
    built = world.ask("image_build", **wanted)["image"]
    (listed,) = world.ask("image_list")["images"]
    assert listed["reference"] == built["reference"]

    other = ImageSpec((Layer("debian_slim"), Layer("env", {"vars": {"A": "1"}})))
    filler = fill(world.state)
    with pytest.raises(errors.ImageBuildError, match="No space left on device"):
        world.ask("image_build", **{**wanted, "spec": asdict(other)})
    filler.unlink()
    assert world.ask("image_list")["images"] == [listed]
