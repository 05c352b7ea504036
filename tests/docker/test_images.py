"""Images of a real engine: what is built, what is found again, and what is said when it fails."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudfn.errors import (
    ConnectionError,  # noqa: A004 - ours
    ImageBuildError,
    InvalidError,
    PermissionDeniedError,
)
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.model.secret import SecretRef
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.docker.images import Site
from tests.docker.image_world import images, nothing, opened, site, spec_of

__all__ = ["images", "opened", "site"]
pytestmark = pytest.mark.integration
PATIENCE = 60.0


def _commands(*commands: str, **given: Any) -> tuple[str, dict[str, Any]]:
    return "run_commands", {"commands": list(commands), **given}


def _bundle(site: Site, digest: str, files: dict[str, str]) -> str:
    for name, content in files.items():
        path = site.bundles / digest / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return digest


def _wheel(folder: Path) -> str:
    """Write a wheel of a module that knows how to greet; return the name of its file."""
    name = "greeter-1.0-py3-none-any.whl"
    info = "greeter-1.0.dist-info"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("greeter.py", "greeting = 'hello'\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(
            f"{info}/RECORD", f"greeter.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return name


def test_an_image_holds_what_its_layers_say(docker_engine, images, site, tmp_path):
    wheels = site.bundles / "wheels"
    wheels.mkdir(parents=True)
    wheel = _wheel(wheels)
    context = _bundle(site, "code", {"data/table.csv": "1,2\n", "note.txt": "kept"})
    spec = spec_of(
        ("add_local_dir", {"context": "wheels", "remote_path": "/wheels", "copy": True}),
        ("pip_install", {"packages": [f"/wheels/{wheel}"]}),
        ("env", {"vars": {"WHO": "a 'b' \"$c\""}}),
        ("add_local_dir", {"context": context, "remote_path": "/srv/code", "copy": True}),
        ("workdir", {"path": "/srv/code"}),
        _commands("echo built > made.txt", "test -e data/table.csv"),
    )
    program = (
        "import greeter, os, pathlib; "
        "print(greeter.greeting, os.environ['WHO'], os.getcwd(), "
        "pathlib.Path('made.txt').read_text().strip(), pathlib.Path('note.txt').read_text())"
    )

    image = images.build(spec, nothing)

    out = docker_engine.docker(
        "run", "--rm", "--network=none", image.reference, "python3", "-c", program
    )
    assert out == "hello a 'b' \"$c\" /srv/code built kept"
    assert image.python.startswith("3.11.")
    assert image.digest == spec.digest
    assert image.size > 10_000_000


def test_an_image_that_is_there_is_not_built_again(images):
    spec = spec_of(_commands("date +%N > /when"))
    first = images.build(spec, nothing)
    lines: list[str] = []

    assert images.build(spec, lines.append) == first
    assert lines == []
    assert images.find(spec) == first


def test_a_process_that_comes_later_finds_it(images, site, opened):
    spec = spec_of(_commands("true"))

    assert opened(site).find(spec) is None
    assert images.build(spec, nothing) == opened(site).find(spec)


def test_an_image_that_the_engine_lost_is_built_again(docker_engine, images):
    spec = spec_of(_commands("date +%N > /when"))
    image = images.build(spec, nothing)
    docker_engine.docker("image", "rm", "--force", image.reference)

    assert images.find(spec) is None
    assert images.list() == []
    again = images.build(spec, nothing)
    assert images.find(spec) == again


def test_what_is_asked_for_anew_is_built_anew(docker_engine, images):
    spec = spec_of(_commands("date +%s%N > /when"))
    first = images.build(spec, nothing)

    second = images.build(spec, nothing, anew=True)

    assert second.reference != first.reference
    assert images.find(spec) == second
    assert first.reference not in docker_engine.docker("images", "--no-trunc", "--quiet")


def test_several_builds_of_one_image_end_as_one(images):
    spec = spec_of(_commands("date +%N > /when; sleep 0.5"))
    built: list[str] = []
    lines: list[str] = []

    def build() -> None:
        built.append(images.build(spec, lines.append).reference)

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert len(built) == 3
    assert len(set(built)) == 1
    assert len([line for line in lines if "RUN date" in line]) == 1


def test_images_are_listed_the_newest_first_and_those_of_others_are_not(images, site, opened):
    older, newer = (spec_of(_commands(f"echo {number}")) for number in (1, 2))
    images.build(older, nothing)
    images.build(newer, nothing)
    other = opened(replace(site, environment="other", root=site.root.with_name("other")))
    other.build(older, nothing)

    assert [each.digest for each in images.list()] == [newer.digest, older.digest]
    assert [each.digest for each in other.list()] == [older.digest]


def test_a_failed_step_is_named_with_its_output(images):
    spec = spec_of(_commands("echo fine"), _commands("echo about to fail; exit 3"))
    lines: list[str] = []

    with pytest.raises(ImageBuildError) as caught:
        images.build(spec, lines.append)

    message = caught.value.message
    assert "RUN echo about to fail; exit 3" in message
    assert "exit code: 3" in message
    assert message.endswith("  about to fail")
    assert "  about to fail" in lines
    assert images.find(spec) is None
    assert images.list() == []


def test_a_base_that_does_not_exist_is_named(images):
    spec = ImageSpec((Layer("from_registry", {"tag": "127.0.0.1:9/no/such:1"}),))

    with pytest.raises(ImageBuildError, match=r"127\.0\.0\.1:9/no/such"):
        images.build(spec, nothing)


@pytest.mark.parametrize(
    ("python", "told"),
    [
        ("echo 3.9.2", r"Python 3\.9\.2, which is too old"),
        ("exit 7", "no working `python3`"),
        (None, "no working `python3`: there is no such command"),
    ],
)
def test_an_image_whose_python_is_of_no_use_is_refused(docker_engine, images, python, told):
    remove = "rm /usr/bin/python3 /usr/local/bin/python"
    fake = f"printf '#!/bin/sh\\n{python}\\n' > /usr/bin/python3; chmod +x /usr/bin/python3"
    spec = spec_of(_commands(remove, *([fake] if python else [])))

    with pytest.raises(InvalidError, match=told) as caught:
        images.build(spec, nothing)

    assert "3.11 or newer" in str(caught.value.hint)
    assert images.find(spec) is None
    mine = f"label=cloudfn.digest={spec.digest}"
    assert docker_engine.docker("images", "--quiet", "--filter", mine) == ""
    assert docker_engine.docker("ps", "--all", "--quiet", "--filter", mine) == ""


def test_secrets_are_seen_by_the_step_that_names_them_and_stay_nowhere(docker_engine, images, site):
    value = "s3cret-of-this-test"
    secret = {"name": "token", "object_id": "", "required_keys": []}
    spec = spec_of(
        _commands('echo "length ${#TOKEN}, $TOKEN"', secrets=[secret]),
        _commands('test -z "$TOKEN"'),
    )
    asked: list[SecretRef] = []
    lines: list[str] = []

    def secrets(ref: SecretRef) -> dict[str, str]:
        asked.append(ref)
        return {"TOKEN": value}

    image = images.build(spec, lines.append, secrets)

    assert [str(ref) for ref in asked] == ["'token'"]
    assert f"  length {len(value)}, ***" in lines
    history = docker_engine.docker("history", "--no-trunc", image.reference)
    inspected = docker_engine.docker("inspect", image.reference)
    assert value not in history + inspected + images.plan(spec) + "".join(lines)
    assert [path.name for path in site.root.iterdir()] == [f"{spec.digest}.json"]
    assert value not in (site.root / f"{spec.digest}.json").read_text()


def test_a_cancelled_build_ends_and_leaves_nothing(images, site):
    spec = spec_of(_commands("echo begun; sleep 1000"))
    begun = threading.Event()
    errors: list[BaseException] = []

    def build() -> None:
        try:
            images.build(spec, lambda line: begun.set() if line == "  begun" else None)
        except ImageBuildError as error:
            errors.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    assert begun.wait(PATIENCE)
    images.cancel(spec.digest)
    thread.join(PATIENCE)

    assert "cancelled" in str(errors[0])
    assert images.find(spec) is None
    assert list(site.root.iterdir()) == []


def test_containers_go_on_when_their_image_is_removed(docker_engine, images):
    spec = spec_of(_commands("echo used"))
    image = images.build(spec, nothing)
    container = docker_engine.docker(
        "run", "--detach", "--init", "--network=none", image.reference, "sleep", "1000"
    )

    assert images.remove(spec.digest)

    assert images.find(spec) is None
    assert not images.remove(spec.digest)
    assert docker_engine.docker("exec", container, "echo", "here") == "here"
    docker_engine.docker("rm", "--force", container)


def test_what_a_killed_build_left_is_cleared_away(site, opened):
    left = site.root / ".build-x1"
    left.mkdir(parents=True)
    (left / "secret-0").write_text("export TOKEN=1")

    opened(site)

    assert not left.exists()


def test_an_engine_that_is_away_still_has_its_images(images, site, opened):
    spec = spec_of(_commands("true"))
    image = images.build(spec, nothing)
    away = opened(replace(site, environ={**site.environ, "DOCKER_HOST": "unix:///no/engine.sock"}))

    assert away.find(spec) == image
    with pytest.raises(ConnectionError, match=r"No Docker engine answers at unix:///no/engine"):
        away.build(spec_of(_commands("echo other")), nothing)


@pytest.mark.slow
def test_packages_of_the_system_are_installed(docker_engine, images):
    image = images.build(spec_of(("apt_install", {"packages": ["netcat-openbsd"]})), nothing)

    assert docker_engine.docker("run", "--rm", "--network=none", image.reference, "which", "nc")


def test_who_may_not_ask_the_engine_is_told_what_to_do(site):
    engine = DockerEngine(site.environ)

    with closing(engine), pytest.raises(PermissionDeniedError) as caught, engine.asked():
        raise PermissionError(13, "Permission denied")

    assert "group `docker`" in str(caught.value.hint)


def test_where_packages_are_is_known_to_their_steps_and_stays_nowhere(docker_engine, images, site):
    wheels = site.bundles / "wheels"
    wheels.mkdir(parents=True)
    _wheel(wheels)
    given = {"context": "wheels", "remote_path": "/wheels", "copy": True}
    spec = spec_of(("add_local_dir", given), ("pip_install", {"packages": ["greeter==1.0"]}))
    environ = {
        "PIP_NO_INDEX": "1",
        "PIP_EXTRA_INDEX_URL": "https://ada:s3cret@index.invalid/simple",
        "PIP_FIND_LINKS": "/only/here",
    }
    lines: list[str] = []

    with pytest.raises(ImageBuildError, match="No matching distribution"):
        images.build(spec, lines.append, environ=environ)
    image = images.build(
        spec_of(
            ("add_local_dir", given),
            ("pip_install", {"packages": ["greeter==1.0"], "find_links": "/wheels"}),
        ),
        lines.append,
        environ=environ,
    )

    told = docker_engine.docker("history", "--no-trunc", image.reference)
    told += docker_engine.docker("inspect", image.reference)
    assert "s3cret" not in told + "".join(lines)
    assert "index.invalid" not in told


def test_the_command_and_the_sdk_follow_the_same_context(docker_engine, site, opened, tmp_path):
    key = hashlib.sha256(b"mine").hexdigest()
    folder = tmp_path / ".docker" / "contexts" / "meta" / key
    folder.mkdir(parents=True)
    told = {"Name": "mine", "Endpoints": {"docker": {"Host": docker_engine.host}}}
    (folder / "meta.json").write_text(json.dumps(told))
    environ = {**site.environ, "DOCKER_CONTEXT": "mine"}
    del environ["DOCKER_HOST"]
    images = opened(replace(site, environ=environ))
    spec = spec_of(_commands("echo by context"))

    assert images.build(spec, nothing) == images.find(spec)


def test_a_build_is_for_the_processor_that_somebody_names(docker_engine, site, opened):
    own = docker_engine.docker("version", "--format", "{{.Server.Arch}}")
    images = opened(replace(site, platform=f"linux/{own}"))

    image = images.build(spec_of(_commands("echo for you")), nothing)

    told = docker_engine.docker("inspect", "--format", "{{.Os}}/{{.Architecture}}", image.reference)
    assert told == f"linux/{own}"


def test_an_image_that_two_environments_share_stays_for_the_other(images, site, opened):
    spec = spec_of(_commands("date +%s%N > /when"))
    other = opened(replace(site, root=site.root.with_name("other"), owner="other"))
    shared = images.build(spec, nothing)
    assert other.build(spec, nothing).reference == shared.reference

    images.build(spec, nothing, anew=True)
    assert other.find(spec) is not None
    images.remove(spec.digest)

    assert images.find(spec) is None
    found = other.find(spec)
    assert found is not None
    assert found.reference == shared.reference
