"""Which image a function needs in which runtime, and what its containers are made of then."""

import os
from pathlib import Path

import pytest

from cloudfn.agent.zygotes import Runtime
from cloudfn.daemon.runtimes import Runtimes
from cloudfn.errors import ConflictError, InvalidError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.model.runtime import check_python, check_runtime, environment_of
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.images import BuiltImage
from cloudfn.sdk.context import write_through
from cloudfn.sdk.image_build import images_of

BASE = Layer("debian_slim", {"python_version": "3.12"})
INSTALL = Layer("pip_install", {"packages": ["numpy"]})
ENV = Layer("env", {"vars": {"A": "1"}})


@pytest.mark.parametrize(
    ("layers", "process", "docker"),
    [
        (None, None, "debian_slim 3.11"),
        ((), None, "debian_slim 3.11"),
        ((ENV,), None, "debian_slim 3.11, env"),
        ((INSTALL,), "debian_slim 3.11, pip_install", "debian_slim 3.11, pip_install"),
        ((BASE,), "debian_slim 3.12", "debian_slim 3.12"),
        ((BASE, INSTALL), "debian_slim 3.12, pip_install", "debian_slim 3.12, pip_install"),
    ],
)
def test_what_needs_an_image_gets_one_with_a_base(layers, process, docker):
    image = None if layers is None else ImageSpec(layers)

    assert _shown(environment_of(image, "process", "3.11.7")) == process
    assert _shown(environment_of(image, "docker", "3.11.7")) == docker


def _shown(spec: ImageSpec | None) -> str | None:
    if spec is None:
        return None
    return ", ".join(
        " ".join([each.method, *each.arguments.get("python_version", "").split()])
        for each in spec.layers
    )


@pytest.mark.parametrize("version", ["3.10", "2.7", "3", "slim"])
def test_an_image_with_a_python_that_is_too_old_is_refused(version):
    with pytest.raises(InvalidError, match=r"need Python 3\.11 or newer"):
        check_python(version)


@pytest.mark.parametrize("version", [None, "3.11", "3.13.1", "4.0"])
def test_a_python_that_is_new_enough_passes(version):
    check_python(version)


def test_there_are_two_runtimes():
    assert check_runtime("docker", "it") == "docker"
    with pytest.raises(InvalidError, match="it must be one of process, docker, not 'podman'"):
        check_runtime("podman", "it")


def test_functions_that_need_the_same_image_share_it():
    functions = [
        FunctionSpec("f", "m", "f", image=ImageSpec((BASE, INSTALL))),
        FunctionSpec("g", "m", "g", image=ImageSpec((BASE, INSTALL)), serialized="x"),
        FunctionSpec("h", "m", "h"),
    ]
    revision = RevisionSpec("b", "m", tuple(functions), "python", python_version="3.11.7")

    (wanted,) = images_of(revision.to_json()).values()

    assert (wanted.users, wanted.by_value) == ("f, g", ["g"])
    assert [name for name, _ in revision.environments()] == ["f", "g"]


class Desk:
    """Knows images as the desk does."""

    def __init__(self, *images: BuiltImage) -> None:
        self.images = {image.digest: image for image in images}

    def known(self, _runtime: str, spec: ImageSpec) -> BuiltImage | None:
        return self.images.get(spec.digest)


def revision(runtime: str, image: ImageSpec | None) -> RevisionSpec:
    function = FunctionSpec("f", "m", "f", image=image)
    return RevisionSpec(
        "b", "m", (function,), "/usr/bin/python", ("/more",), "3.11.7", runtime=runtime
    )


def runtimes(*images: BuiltImage) -> Runtimes:
    return Runtimes(Desk(*images), lambda: Path("/runtime"), {"PATH": "/bin"})


def test_without_an_image_containers_run_under_the_deploying_interpreter():
    assert runtimes().of(revision("process", None), "f") == Runtime("/usr/bin/python", ("/more",))


def test_with_one_they_run_in_its_environment_and_see_nothing_of_the_deploying_one():
    spec = ImageSpec((BASE, INSTALL))
    image = BuiltImage(spec.digest, "/images/x/bin/python", "3.12.1", 1, 1.0)

    runtime = runtimes(image).of(revision("process", spec), "f")

    assert (runtime.interpreter, runtime.import_paths) == ("/images/x/bin/python", ())
    assert dict(runtime.environ) == {
        "PATH": os.pathsep.join(["/images/x/bin", "/bin"]),
        "PYTHONPATH": "/runtime",
        "VIRTUAL_ENV": "/images/x",
    }


def test_in_docker_they_are_made_of_the_image_itself():
    spec = environment_of(None, "docker", "3.11.7")
    image = BuiltImage(spec.digest, "sha256:abc", "3.11.7", 1, 1.0)

    runtime = runtimes(image).of(revision("docker", None), "f")

    assert runtime == Runtime("python3", (), "sha256:abc")


def test_what_is_not_built_cannot_be_opened_and_names_the_function():
    wanted = revision("process", ImageSpec((BASE,)))

    with pytest.raises(ConflictError, match=r"The image im-\w+ of f is not built"):
        runtimes().check(wanted)
    runtimes().check(revision("process", None))
    # Its pool exists all the same, after a restart, and says so when a container is wanted.
    assert runtimes().of(wanted, "f").interpreter.startswith("im-")


def test_enabled_output_shows_what_builds_print(capsys):
    write_through({"event": "image", "image_id": "im-1", "state": "building", "functions": ["f"]})
    write_through({"event": "image", "image_id": "im-1", "lines": ["[1/2] debian_slim", "made"]})
    write_through({"event": "containers", "containers": 1})

    assert capsys.readouterr() == ("", "[1/2] debian_slim\nmade\n")
