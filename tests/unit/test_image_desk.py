"""Builds that clients wait for: one for all, ended by the last one to leave, and seen by all."""

import asyncio
from collections.abc import Callable

import pytest

from cloudfn.control.deploy.images import find_image
from cloudfn.control.stores.registry import Registry
from cloudfn.control.stores.secrets import SecretDesk
from cloudfn.daemon.images import ImageDesk
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.providers.images import BuiltImage
from cloudfn.testing.memory_images import MemoryImages
from cloudfn.testing.memory_objects import MemoryObjects
from cloudfn.testing.memory_secrets import MemorySecrets
from cloudfn.wire.messages import Kind

SPEC = ImageSpec((Layer("debian_slim", {"python_version": "3.11"}), Layer("pip_install")))
OTHER = ImageSpec((Layer("debian_slim", {"python_version": "3.12"}),))
WITH_SECRET = ImageSpec(
    (Layer("pip_install", {"secrets": [{"name": "token", "required_keys": ["TOKEN"]}]}),)
)
TOKEN = "st-1"
PATIENCE = 10.0


class Client:
    """What the desk sees of a client."""

    congested = False

    def __init__(self):
        self.events = []

    def send_json(self, kind: Kind, body: dict) -> None:
        assert kind is Kind.EVENT
        self.events.append(body)


class Desk:
    """A desk with images in memory, on the loop of the test."""

    def __init__(self):
        self.images = MemoryImages()
        self.secrets = MemorySecrets()
        secrets = SecretDesk(self.secrets, Registry(MemoryObjects(), {}), lambda: b"key")
        secrets.create({"name": "token", "object_id": TOKEN, "values": {"TOKEN": "1"}}, 0.0)
        self.built = 0
        loop = asyncio.get_running_loop()
        self.desk = ImageDesk(loop, {"process": self.images}, secrets.of_image, self._count)

    def _count(self):
        self.built += 1

    def build(self, client, spec=SPEC, *, anew=False):
        return told(self.desk.build(client, "process", spec, {}, anew=anew))


def told(later) -> asyncio.Future[dict]:
    future = asyncio.get_running_loop().create_future()
    later.then(future.set_result)
    return future


def run(test: Callable) -> None:
    async def whole():
        desk = Desk()
        try:
            async with asyncio.timeout(PATIENCE):
                await test(desk)
        finally:
            desk.images.gate.set()
            desk.desk.close()

    asyncio.run(whole())


def test_clients_that_want_the_same_wait_for_one_build():
    async def test(desk: Desk):
        desk.images.gate.clear()
        both = [desk.build(Client()), desk.build(Client())]
        desk.images.gate.set()
        first, second = [await each for each in both]

        assert first == second
        assert first["image"]["digest"] == SPEC.digest
        assert (desk.images.builds.total(), desk.built) == (1, 1)
        assert desk.desk.known("process", SPEC) == BuiltImage(**first["image"])

    run(test)


def test_the_last_one_to_leave_ends_a_build_and_the_next_begins_anew():
    async def test(desk: Desk):
        stays, leaves = Client(), Client()
        desk.images.gate.clear()
        waits = desk.build(stays)
        desk.build(leaves)
        desk.desk.closed(leaves)
        assert desk.desk.building() == {("process", SPEC.digest)}
        desk.desk.leave(stays, ("process", SPEC.digest))
        assert desk.desk.building() == set()
        again = desk.build(Client())
        desk.images.gate.set()

        assert (await again)["image"]["digest"] == SPEC.digest
        assert not waits.done()
        assert desk.images.builds.total() == 1

    run(test)


def test_who_watches_sees_the_steps_of_that_build_alone():
    async def test(desk: Desk):
        client, other = Client(), Client()
        desk.desk.watch(client, 7, "process", SPEC.digest)
        desk.desk.watch(other, 8, "process", OTHER.digest)
        await desk.build(client)

        lines = [line for event in client.events for line in event["lines"]]
        assert lines == ["[1/2] debian_slim", "[2/2] pip_install"]
        assert {(event["ref"], event["image_id"]) for event in client.events} == {
            (7, SPEC.image_id)
        }
        assert other.events == []
        desk.desk.unwatch(client, 7)
        client.events.clear()
        await desk.build(client, anew=True)
        assert client.events == []

    run(test)


def test_a_step_that_fails_is_told_to_all_who_wait():
    async def test(desk: Desk):
        desk.images.broken.add("pip_install")
        answer = await desk.build(Client())

        assert answer["error"]["type"] == "ImageBuildError"
        assert "pip_install is broken" in answer["error"]["message"]
        assert desk.desk.known("process", SPEC) is None
        assert desk.built == 0

    run(test)


def test_a_build_without_its_secret_is_refused_before_it_begins():
    async def test(desk: Desk):
        desk.secrets.write(TOKEN, {}, 0.0)
        with pytest.raises(InvalidError, match="lacks required keys: TOKEN"):
            desk.build(Client(), WITH_SECRET)
        desk.secrets.delete([TOKEN])
        with pytest.raises(NotFoundError, match="'token' is gone"):
            desk.build(Client(), WITH_SECRET)
        assert desk.desk.building() == set()

    run(test)


def test_what_is_missing_of_several_is_built_and_the_first_error_is_told():
    async def test(desk: Desk):
        client = Client()
        ensured = await told(desk.desk.ensure(client, "process", [SPEC, OTHER, SPEC], {}))
        assert ensured == {}
        assert desk.images.builds == {SPEC.digest: 1, OTHER.digest: 1}
        assert await told(desk.desk.ensure(client, "process", [SPEC, OTHER], {})) == {}
        assert desk.images.builds.total() == 2

        desk.secrets.delete([TOKEN])
        failed = await told(desk.desk.ensure(client, "process", [WITH_SECRET], {}))
        assert failed["error"]["type"] == "NotFoundError"

    run(test)


def test_an_image_that_was_removed_by_hand_is_forgotten_when_somebody_looks():
    async def test(desk: Desk):
        await desk.build(Client())
        desk.images.remove(SPEC.digest)
        assert desk.desk.known("process", SPEC) is not None  # nobody has looked
        (found,) = (await told(desk.desk.find("process", [SPEC])))["images"]

        assert (found["image"], found["unmet"]) == (None, [])
        assert desk.desk.known("process", SPEC) is None

    run(test)


def test_a_runtime_that_is_not_there_is_an_error_that_names_those_that_are():
    async def test(desk: Desk):
        with pytest.raises(InvalidError) as caught:
            desk.desk.find("podman", [SPEC])
        assert "There are: process." in str(caught.value)

    run(test)


def test_an_image_is_found_by_the_beginning_of_its_id():
    images = [
        ("process", BuiltImage(digest, "", "3.11.7", 1, 1.0)) for digest in ("abc1", "abc2", "def")
    ]

    assert find_image(images, "im-def") == images[2]
    assert find_image(images, "abc2") == images[1]
    with pytest.raises(InvalidError, match="2 images begin with im-abc"):
        find_image(images, "im-abc")
    for unknown in ("im-x", "im-", ""):
        with pytest.raises(NotFoundError):
            find_image(images, unknown)


def test_an_image_of_two_runtimes_is_found_by_its_runtime():
    image = BuiltImage("abc1", "", "3.11.7", 1, 1.0)
    images = [("process", image), ("docker", image)]

    assert find_image(images, "im-abc1", "docker") == images[1]
    with pytest.raises(InvalidError, match="for the runtimes docker and process") as caught:
        find_image(images, "im-abc1")
    assert "--runtime" in str(caught.value.hint)
    with pytest.raises(NotFoundError):
        find_image(images, "im-abc1", "other")
