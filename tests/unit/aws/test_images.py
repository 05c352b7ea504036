"""Images in ECR: who builds, what is pushed under which tags, and what machines pull."""

import threading
from dataclasses import replace

import pytest

from cloudfn.errors import (
    AuthError,
    ConnectionError,  # noqa: A004 - ours
    ImageBuildError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
)
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.providers.aws.ecr import EcrRepository, RegistryLogin
from cloudfn.providers.aws.images import (
    EcrImages,
    MachineImages,
    PlatformImages,
    deployed_images,
    machine_images,
)
from cloudfn.providers.docker.images import Site
from cloudfn.testing.aws import FakeAws
from cloudfn.testing.aws.ecr_docker import EcrDocker
from cloudfn.testing.memory_images import MemoryImages

SPEC = ImageSpec((Layer("debian_slim", {"python_version": "3.12"}),))
OTHER = SPEC.with_layer(Layer("pip_install", {"packages": ["here"]}))
DIGEST = SPEC.digest


def quiet(_line):
    pass


class Cloud:
    """A repository, and machines around it that each have a Docker of their own."""

    def __init__(self):
        self.aws = FakeAws()
        self.address = f"{self.aws.ecr.registry}/cloudfn/main"
        self.aws.client("ecr").create_repository(
            repositoryName="cloudfn/main", imageTagMutability="IMMUTABLE"
        )

    def laptop(self, platform="linux/amd64"):
        docker, carrier = self._docker()
        return EcrImages(*self._parts(platform), docker, carrier), docker, carrier

    def machine(self, platform="linux/amd64"):
        docker, carrier = self._docker()
        images = MachineImages(*self._parts(platform), docker, carrier, self.aws.clock)
        return images, docker, carrier

    def tags(self):
        return sorted(tag for tags in self.aws.ecr.truth("cloudfn/main").values() for tag in tags)

    def _docker(self):
        docker = MemoryImages()
        return docker, EcrDocker(self.aws.ecr, docker)

    def _parts(self, platform):
        clients = self.aws.clients()
        login = RegistryLogin(clients, self.aws.clock)
        return EcrRepository(clients, self.address, platform), login


@pytest.fixture
def cloud():
    return Cloud()


def test_an_image_is_pushed_under_its_digest_and_platform_and_named_by_what_it_holds(cloud):
    images, _, _ = cloud.laptop("linux/arm64")

    built = images.build(SPEC, quiet)

    [digest] = cloud.aws.ecr.truth("cloudfn/main")
    assert built.reference == f"{cloud.address}@{digest}"
    assert built.python == "3.12.0"
    assert cloud.tags() == [f"{DIGEST}-arm64", f"{DIGEST}-arm64-python-3.12.0"]


def test_what_one_built_nobody_builds_again(cloud):
    first, _, _ = cloud.laptop()
    second, docker, carrier = cloud.laptop()
    built = first.build(SPEC, quiet)

    assert second.build(SPEC, quiet) == built
    assert second.find(SPEC) == built
    assert docker.builds.total() == carrier.pushes == 0


def test_each_platform_has_an_image_of_its_own(cloud):
    amd, _, _ = cloud.laptop("linux/amd64")
    arm, _, _ = cloud.laptop("linux/arm64")
    amd.build(SPEC, quiet)

    assert arm.find(SPEC) is None
    assert arm.list() == []
    arm.build(SPEC, quiet)
    assert len(amd.list()) == len(arm.list()) == 1


def test_who_is_second_to_push_takes_what_the_first_one_pushed(cloud):
    first, docker, _ = cloud.laptop()
    second, _, _ = cloud.laptop()
    docker.gate.clear()
    found = []
    thread = threading.Thread(target=lambda: found.append(first.build(SPEC, quiet)))
    thread.start()
    built = second.build(SPEC, quiet)

    docker.keep(replace(built, reference="memory:another", created=7.0))
    docker.gate.set()
    thread.join(10.0)

    assert found == [built]


def test_an_image_built_anew_takes_the_place_of_the_old_one(cloud):
    images, docker, _ = cloud.laptop()
    first = images.build(SPEC, quiet)

    second = images.build(SPEC, quiet, anew=True)

    assert second.reference != first.reference
    assert images.find(SPEC) == second
    assert len(images.list()) == 1
    assert docker.builds[DIGEST] == 2


def test_an_image_without_a_note_of_its_python_is_as_good(cloud):
    images, _, _ = cloud.laptop()
    cloud.aws.faults.fail("ecr", "PutImage", "AccessDeniedException")

    built = images.build(SPEC, quiet)

    assert built.python == ""
    assert images.find(SPEC) == built


def test_other_tags_of_the_repository_are_nobodys_image(cloud):
    images, _, _ = cloud.laptop()
    images.build(SPEC, quiet)
    _, _, carrier = cloud.laptop()
    login = RegistryLogin(cloud.aws.clients()).variables()
    carrier.push(replace(images.list()[0], digest="latest", created=9.0), cloud.address, login)

    assert [each.digest for each in images.list()] == [DIGEST]


def test_many_images_are_all_listed(cloud):
    images, _, _ = cloud.laptop()
    for number in range(130):
        spec = SPEC.with_layer(Layer("run_commands", {"commands": [f"{number}"]}))
        images.build(spec, quiet)

    assert len(images.list()) == 130


def test_an_image_is_removed_for_all_also_where_docker_is_away(cloud):
    class Away(MemoryImages):
        def remove(self, digest):
            raise ConnectionError("No Docker engine answers.")

    laptop, _, _ = cloud.laptop()
    laptop.build(SPEC, quiet)
    other, _, carrier = cloud.laptop()
    other = EcrImages(other._repository, other._login, Away(), carrier)

    assert other.remove(DIGEST)
    assert cloud.tags() == []
    assert laptop.find(SPEC) is None
    assert not other.remove(DIGEST)


def test_a_cancelled_build_is_not_pushed(cloud):
    images, docker, carrier = cloud.laptop()
    docker.gate.clear()
    failed = []

    def build():
        try:
            images.build(SPEC, quiet)
        except ImageBuildError as error:
            failed.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    while not failed:
        images.cancel(DIGEST)
        thread.join(0.01)

    assert carrier.pushes == 0
    docker.gate.set()
    assert images.build(SPEC, quiet) == images.find(SPEC)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("exec /bin/sh: exec format error", "cannot run programs for linux/arm64"),
        ("no match for platform in manifest", "not there for linux/arm64"),
    ],
)
def test_what_docker_cannot_emulate_is_said_with_what_to_do(cloud, said, told):
    class Foreign(MemoryImages):
        def build(self, *args, **kwargs):
            raise ImageBuildError(f"The image could not be built.\n{said}")

    images, _, carrier = cloud.laptop("linux/arm64")
    images = EcrImages(images._repository, images._login, Foreign(), carrier)

    with pytest.raises(InvalidError, match=told) as caught:
        images.build(SPEC, quiet)

    assert "machine class" in caught.value.hint


@pytest.mark.parametrize(("platform", "address"), [("windows/amd64", "a/b"), ("linux/arm64", "b")])
def test_a_platform_or_an_address_that_makes_no_sense_is_refused(cloud, platform, address):
    with pytest.raises(InvalidError) as caught:
        EcrRepository(cloud.aws.clients(), address, platform)

    assert caught.value.hint


# ----------------------------------------------------------------------------------------- logins


def test_a_login_is_asked_for_once_and_again_before_it_expires(cloud):
    login = RegistryLogin(cloud.aws.clients(), cloud.aws.clock)
    first = login.variables()
    assert first["REGISTRY_USERNAME"] == "AWS"

    cloud.aws.clock.advance(11 * 3600.0)
    assert login.variables() == first
    cloud.aws.clock.advance(1800.0)
    assert login.variables() != first
    assert cloud.aws.faults.calls["ecr", "GetAuthorizationToken"] == 2
    assert first["REGISTRY_PASSWORD"] not in repr(login)


def test_a_login_that_is_not_known_any_more_is_renewed_once(cloud):
    images, _, carrier = cloud.laptop()
    carrier.trouble = ["denied: Your authorization token has expired."]
    images.build(SPEC, quiet)
    assert carrier.pushes == 2

    carrier.trouble = ["denied: not authorized"] * 2
    with pytest.raises(PermissionDeniedError, match="denied") as caught:
        images.build(OTHER, quiet)
    assert "ecr:InitiateLayerUpload" in caught.value.hint


def test_credentials_that_expired_are_not_taken_for_a_missing_permission(cloud):
    images, _, _ = cloud.laptop()
    cloud.aws.faults.fail("ecr", "GetAuthorizationToken", "ExpiredTokenException", times=None)

    with pytest.raises(AuthError):
        images.build(SPEC, quiet)


def test_a_repository_that_is_missing_is_named(cloud):
    repository = EcrRepository(
        cloud.aws.clients(), f"{cloud.aws.ecr.registry}/cloudfn/other", "linux/amd64"
    )

    with pytest.raises(NotFoundError, match="cloudfn/other") as caught:
        repository.find(DIGEST)
    assert caught.value.hint


# --------------------------------------------------------------------------------------- machines


def test_a_machine_pulls_an_image_once_and_runs_the_engines_own(cloud):
    laptop, _, _ = cloud.laptop()
    machine, docker, carrier = cloud.machine()
    assert machine.find(SPEC) is None
    laptop.build(SPEC, quiet)

    found = machine.find(SPEC)

    assert found == docker.find(SPEC)
    assert found.digest == DIGEST
    assert found.reference == f"memory:{DIGEST}"
    assert machine.find(SPEC) == found
    assert carrier.pulls == 1
    assert machine.list() == [found]


def test_a_machine_may_pull_alone(cloud):
    laptop, _, _ = cloud.laptop()
    laptop.build(SPEC, quiet)
    asked = cloud.aws.faults.calls["ecr", "DescribeImages"]
    machine, _, _ = cloud.machine()

    assert machine.find(SPEC) is not None
    assert cloud.aws.faults.calls["ecr", "DescribeImages"] == asked


def test_a_machine_takes_what_was_built_anew_after_a_minute(cloud):
    laptop, _, _ = cloud.laptop()
    machine, _, carrier = cloud.machine()
    laptop.build(SPEC, quiet)
    machine.find(SPEC)
    laptop.build(SPEC, quiet, anew=True)

    machine.find(SPEC)
    assert carrier.pulls == 1
    cloud.aws.clock.advance(60.0)
    machine.find(SPEC)
    machine.find(SPEC)
    assert carrier.pulls == 2


def test_a_machine_goes_on_with_what_it_has_while_ecr_is_away(cloud):
    laptop, _, _ = cloud.laptop()
    machine, _, _ = cloud.machine()
    laptop.build(SPEC, quiet)
    found = machine.find(SPEC)
    cloud.aws.clock.advance(120.0)
    cloud.aws.faults.cut("ecr")

    assert machine.find(SPEC) == found
    with pytest.raises(ConnectionError):
        machine.find(OTHER)


def test_a_machine_pulls_again_what_its_engine_lost(cloud):
    laptop, _, _ = cloud.laptop()
    machine, docker, carrier = cloud.machine()
    laptop.build(SPEC, quiet)
    machine.find(SPEC)
    docker.remove(DIGEST)

    assert machine.find(SPEC) is not None
    assert carrier.pulls == 2


def test_several_starts_of_one_image_are_one_pull(cloud):
    laptop, _, _ = cloud.laptop()
    machine, _, carrier = cloud.machine()
    laptop.build(SPEC, quiet)
    threads = [threading.Thread(target=machine.find, args=(SPEC,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)

    assert carrier.pulls == 1


def test_a_machine_of_another_architecture_says_what_is_there(cloud):
    laptop, _, _ = cloud.laptop("linux/amd64")
    machine, _, _ = cloud.machine("linux/arm64")
    laptop.build(SPEC, quiet)

    with pytest.raises(InvalidError, match="there for linux/amd64, and this machine is linux/arm"):
        machine.find(SPEC)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("write /var/lib/docker/x: no space left on device", ResourceExhaustedError),
        ("exec format error", InvalidError),
        ("manifest unknown: image not found", NotFoundError),
        ("net/http: TLS handshake timeout", ConnectionError),
    ],
)
def test_what_keeps_a_machine_from_an_image_is_said(cloud, said, kind):
    laptop, _, _ = cloud.laptop()
    machine, _, carrier = cloud.machine()
    laptop.build(SPEC, quiet)
    carrier.trouble = [said]

    with pytest.raises(kind):
        machine.find(SPEC)
    assert machine.find(SPEC) is not None


def test_a_machine_builds_nothing(cloud):
    laptop, _, _ = cloud.laptop()
    machine, docker, _ = cloud.machine()

    with pytest.raises(InvalidError, match="do not build") as caught:
        machine.build(SPEC, quiet)
    assert "Deploy" in caught.value.hint
    laptop.build(SPEC, quiet)
    assert machine.build(SPEC, quiet) == docker.find(SPEC)


def test_each_spec_is_built_for_its_platform_and_those_without_for_the_usual_one(cloud):
    laptops = {each: cloud.laptop(each) for each in ("linux/amd64", "linux/arm64")}
    parts = {name: images for name, (images, _, _) in laptops.items()}
    images = PlatformImages(parts, "linux/amd64")
    arm = replace(SPEC, platform="linux/arm64")
    assert arm.digest != SPEC.digest

    for spec in (arm, SPEC):
        assert images.find(spec) is None
        built = images.build(spec, quiet)
        assert images.find(spec) == built

    built = {name: set(docker.builds) for name, (_, docker, _) in laptops.items()}
    assert built == {"linux/amd64": {SPEC.digest}, "linux/arm64": {arm.digest}}
    assert f"{arm.digest}-arm64" in cloud.tags()
    assert f"{SPEC.digest}-amd64" in cloud.tags()
    assert {each.digest for each in images.list()} == {SPEC.digest, arm.digest}
    machine, _, _ = cloud.machine("linux/arm64")
    assert machine.find(arm) is not None
    assert images.remove(arm.digest)
    assert not images.remove(arm.digest)
    assert images.find(SPEC) is not None
    images.cancel(SPEC.digest)
    assert images.plan(arm) == images.plan(SPEC)
    assert images.unmet(arm) == ()


def test_opening_images_asks_nobody_and_platforms_do_not_share_a_folder(cloud, tmp_path):
    site = Site("main", tmp_path, tmp_path, lambda: tmp_path, "", {}, "", "linux/arm64")

    for opened in (deployed_images, machine_images):
        images = opened(cloud.aws.clients(), cloud.address, site)
        assert images.find(SPEC) is None
        assert images.unmet(SPEC) == ()
    assert cloud.aws.faults.calls["ecr", "GetAuthorizationToken"] == 0
