"""Images on their way through real registries: by digest, with a password, and when one is away."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cloudfn.clock import SystemClock
from cloudfn.errors import (
    AuthError,
    ConnectionError,  # noqa: A004 - ours
    ImageBuildError,
    InvalidError,
    NotFoundError,
)
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.docker.registry import DockerRegistry
from cloudfn.providers.images import BuiltImage
from tests.docker.image_world import images, nothing, opened, site, spec_of

__all__ = ["images", "opened", "site"]
pytestmark = pytest.mark.integration

PATIENCE = 20.0
#: "ada" and "s3cret", as the registry keeps them
_HTPASSWD = "ada:$2b$04$McG1NMwlcLcoFOLy3B1nj.Fkcz5utPTe6RgntYn3mI0gIAOASTNtC\n"
LOGIN = {"REGISTRY_USERNAME": "ada", "REGISTRY_PASSWORD": "s3cret"}
CLOCK = SystemClock()


class Interrupted(SystemClock):
    """Does something instead of waiting."""

    def __init__(self, instead: Callable[[], object]) -> None:
        super().__init__()
        self.waits = 0
        self._instead = instead

    def sleep(self, seconds: float) -> None:
        self.waits += 1
        self._instead()


@pytest.fixture
def spec() -> ImageSpec:
    return spec_of(("run_commands", {"commands": ["echo content > /content"]}))


@pytest.fixture
def tiny(docker_engine, tmp_path) -> BuiltImage:
    """An image that is quick to push; it has no Python."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    reference = docker_engine.docker("build", "--quiet", str(tmp_path))
    return BuiltImage("d" * 22, reference, "", 1, 0.0)


@pytest.fixture
def registry(images, site) -> Iterator[DockerRegistry]:
    with closing(DockerEngine(site.environ)) as engine:
        yield DockerRegistry(images, engine)


@contextmanager
def _running(folder: Path, port: int, *, password: bool = False) -> Iterator[None]:
    """Run a registry of the test's own."""
    auth = f"auth: {{htpasswd: {{realm: r, path: '{folder}/htpasswd'}}}}\n" if password else ""
    (folder / "htpasswd").write_text(_HTPASSWD)
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder}/registry'}}}}\n{auth}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve",
             str(folder / "registry.yml")],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = CLOCK.monotonic() + PATIENCE
        while not _listens(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert CLOCK.monotonic() < deadline
            CLOCK.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_image_goes_to_a_registry_and_comes_back_elsewhere(
    docker_engine, images, registry, site, spec, opened
):
    image = images.build(spec, nothing)
    repository = f"{docker_engine.registry}/team/images"

    reference = registry.push(image, repository, {})
    assert registry.push(image, repository, {}) == reference
    images.remove(spec.digest)
    docker_engine.docker("image", "prune", "--force")
    assert image.reference not in docker_engine.docker("images", "--no-trunc", "--all", "--quiet")
    elsewhere = replace(site, root=site.root.with_name("elsewhere"), owner="elsewhere")
    other = opened(elsewhere)
    with closing(DockerEngine(site.environ)) as engine:
        pulled = DockerRegistry(other, engine).pull(reference, {})

    assert reference.startswith(f"{repository}@sha256:")
    assert pulled.digest == spec.digest
    assert pulled.python == image.python
    assert other.find(spec) == pulled
    content = docker_engine.docker(
        "run", "--rm", "--network=none", pulled.reference, "cat", "/content"
    )
    assert content == "content"


def test_no_names_of_a_transfer_stay_in_the_engine(docker_engine, images, registry, spec):
    image = images.build(spec, nothing)

    reference = registry.push(image, f"{docker_engine.registry}/team/names", {})
    registry.pull(reference, {})

    assert "team/names" not in docker_engine.docker("images", "--digests")


def test_a_registry_with_a_password_wants_it(docker_engine, images, registry, spec, tmp_path):
    image = images.build(spec, nothing)
    port = _free_port()
    repository = f"127.0.0.1:{port}/closed/images"
    secret = {"name": "registry", "object_id": "", "required_keys": []}
    lines: list[str] = []

    with _running(tmp_path, port, password=True):
        with pytest.raises(AuthError, match=f"im-{spec.digest} cannot be pushed") as caught:
            registry.push(image, repository, {})
        with pytest.raises(AuthError):
            registry.push(image, repository, {**LOGIN, "REGISTRY_PASSWORD": "wrong"})
        reference = registry.push(image, repository, LOGIN)
        with pytest.raises(AuthError):
            registry.pull(reference, {})
        assert registry.pull(reference, LOGIN).digest == spec.digest
        # And as a base of another image.
        images.remove(spec.digest)
        docker_engine.docker("image", "prune", "--force")
        layer = Layer("from_registry", {"tag": reference, "secret": secret})
        other = ImageSpec((layer, Layer("run_commands", {"commands": ["cat /content"]})))
        with pytest.raises(ImageBuildError, match="closed/images"):
            images.build(other, nothing, lambda _ref: {**LOGIN, "REGISTRY_PASSWORD": "wrong"})
        images.build(other, lines.append, lambda _ref: LOGIN)

    assert "docker login" in str(caught.value.hint)
    assert "  content" in lines


def test_a_registry_that_is_away_is_asked_again(images, site, tiny, tmp_path):
    port = _free_port()

    with ExitStack() as stack:
        clock = Interrupted(lambda: stack.enter_context(_running(tmp_path, port)))
        engine = stack.enter_context(closing(DockerEngine(site.environ)))
        reference = DockerRegistry(images, engine, clock).push(
            tiny, f"127.0.0.1:{port}/late/images", {}
        )

    assert clock.waits == 1
    assert "@sha256:" in reference


def test_a_registry_that_stays_away_is_given_up(images, site, tiny):
    clock = Interrupted(lambda: None)

    with closing(DockerEngine(site.environ)) as engine, pytest.raises(ConnectionError):
        DockerRegistry(images, engine, clock).push(tiny, f"127.0.0.1:{_free_port()}/no/images", {})

    assert clock.waits == 3


def test_what_is_not_there_is_not_asked_for_again(docker_engine, images, site):
    clock = Interrupted(lambda: None)
    reference = f"{docker_engine.registry}/no/images@sha256:{'0' * 64}"

    with closing(DockerEngine(site.environ)) as engine, pytest.raises(NotFoundError):
        DockerRegistry(images, engine, clock).pull(reference, {})

    assert clock.waits == 0


def test_an_image_that_no_cloudfn_made_is_not_taken(docker_engine, registry):
    name = f"{docker_engine.registry}/foreign/base"
    docker_engine.docker("tag", docker_engine.base, name)
    docker_engine.docker("push", "--quiet", name)
    reference = docker_engine.docker("inspect", "--format", "{{index .RepoDigests 0}}", name)

    with pytest.raises(InvalidError, match="No cloudfn made"):
        registry.pull(reference, {})


@pytest.mark.parametrize("name", ["", "UPPER/case", "a/b:tag", "a b", "-x", "a@sha256:0"])
def test_what_is_no_repository_is_refused(registry, tiny, name):
    with pytest.raises(InvalidError, match="no name of a repository"):
        registry.push(tiny, name, {})


@pytest.mark.parametrize("name", ["a/b", "a/b:tag", "a/b@sha256:00"])
def test_an_image_is_pulled_by_its_digest_alone(registry, name):
    with pytest.raises(InvalidError, match="by its digest"):
        registry.pull(name, {})
