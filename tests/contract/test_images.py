"""What every adapter of `Images` promises, and what environments on disk promise beyond.

Nothing is downloaded: what is installed are wheels that the tests write.
"""

import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloudfn.errors import ImageBuildError
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.model.secret import SecretRef
from cloudfn.providers.aws.ecr import EcrRepository, RegistryLogin
from cloudfn.providers.aws.images import EcrImages
from cloudfn.providers.local.environments import VenvImages
from cloudfn.testing.aws import FakeAws
from cloudfn.testing.aws.ecr_docker import EcrDocker
from cloudfn.testing.memory_images import MemoryImages

OWN = "{}.{}".format(*sys.version_info[:2])
BASE = Layer("debian_slim", {"python_version": OWN})
PLAIN = ImageSpec((BASE,))
PATIENCE = 60.0


def quiet(_line: str) -> None:
    pass


def write_wheel(folder: Path, name: str) -> None:
    """Write a package with a module and a command of its name, which prints where Python is."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "import sys\ndef main():\n    print(sys.prefix)\n")
        wheel.writestr(f"{info}/METADATA", METADATA.format(name=name))
        wheel.writestr(f"{info}/WHEEL", WHEEL)
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}={name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], VenvImages]:
    """Open the images of one environment; a second time as the next daemon does."""
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251
    return lambda: VenvImages(
        tmp_path / "images", tmp_path / "bundles", environ, lambda: tmp_path / "runtime", uv=""
    )


@pytest.fixture(params=["process", "memory", "aws"])
def images(request, opened):
    if request.param == "aws":
        return images_in_ecr()
    return MemoryImages() if request.param == "memory" else opened()


def images_in_ecr() -> EcrImages:
    aws = FakeAws()
    aws.client("ecr").create_repository(
        repositoryName="cloudfn/main", imageTagMutability="IMMUTABLE"
    )
    clients, docker = aws.clients(), MemoryImages()
    return EcrImages(
        EcrRepository(clients, f"{aws.ecr.registry}/cloudfn/main", "linux/arm64"),
        RegistryLogin(clients, aws.clock),
        docker,
        EcrDocker(aws.ecr, docker),
    )


@pytest.fixture
def environments(opened) -> VenvImages:
    return opened()


def installing(tmp_path: Path, *names: str) -> ImageSpec:
    arguments = {
        "packages": list(names),
        "find_links": str(tmp_path / "wheels"),
        "extra_options": "--no-index",
    }
    return ImageSpec((BASE, Layer("pip_install", arguments)))


def is_first(line):
    """Whether a line is of the first step; a builder may share it with a build of more steps."""
    return re.match(r"\[1/\d+\] ", line)


def test_an_image_is_there_once_it_was_built(images):
    assert images.find(PLAIN) is None
    assert images.list() == []
    lines = []

    built = images.build(PLAIN, lines.append)

    assert built.digest == PLAIN.digest
    assert built.python.startswith("3.")
    assert built.size > 0
    assert is_first(lines[0])
    assert images.find(PLAIN) == built
    assert images.list() == [built]


def test_a_second_build_does_nothing_and_one_anew_does(images):
    first = images.build(PLAIN, quiet)
    lines = []

    assert images.build(PLAIN, lines.append) == first
    assert lines == []
    images.build(PLAIN, lines.append, anew=True)
    assert lines != []
    assert len(images.list()) == 1


def test_several_at_once_end_as_one_build(images):
    lines = []
    with ThreadPoolExecutor(4) as threads:
        built = list(threads.map(lambda _: images.build(PLAIN, lines.append), range(4)))

    assert len({image.created for image in built}) == 1
    assert len([line for line in lines if is_first(line)]) == 1


def test_what_is_removed_is_gone(images):
    images.build(PLAIN, quiet)

    assert images.remove(PLAIN.digest)
    assert images.find(PLAIN) is None
    assert images.list() == []
    assert not images.remove(PLAIN.digest)


def test_the_plan_names_what_a_build_would_do_and_does_nothing(images):
    assert images.plan(PLAIN) != ""
    assert images.find(PLAIN) is None
    assert images.unmet(PLAIN) == ()


def test_cancelling_what_is_not_built_is_harmless(images):
    images.cancel(PLAIN.digest)

    images.build(PLAIN, quiet)


# ------------------------------------------------------------------------- environments on disk


def test_packages_and_their_commands_are_there_and_the_machines_are_not(tmp_path, environments):
    write_wheel(tmp_path / "wheels", "here")

    built = environments.build(installing(tmp_path, "here"), quiet)

    python = Path(built.reference)
    prefix = str(python.parents[1])
    ran = subprocess.run([python.with_name("here")], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == prefix
    script = (
        "import here, importlib.util as u; print(u.find_spec('cloudpickle'), u.find_spec('typer'))"
    )
    ran = subprocess.run([python, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["None", "None"]


def test_a_step_that_fails_leaves_nothing_and_tells_the_end_of_its_output(tmp_path, environments):
    (tmp_path / "wheels").mkdir()
    lines = []

    with pytest.raises(ImageBuildError) as caught:
        environments.build(installing(tmp_path, "nowhere"), lines.append)

    told = str(caught.value)
    assert "The step pip_install of the image failed (exit code 1)" in told
    assert " -m pip " in told
    assert "No matching distribution found for nowhere" in told.splitlines()[-2]
    assert any("No matching distribution" in line for line in lines)
    assert environments.list() == []
    assert list((tmp_path / "images").iterdir()) == []


def test_a_cancelled_build_ends_at_once_with_all_its_processes(tmp_path, environments):
    spec, slow = _slow(tmp_path)
    failed = []

    def build():
        try:
            environments.build(spec, quiet)
        except ImageBuildError as error:
            failed.append(str(error))

    thread = threading.Thread(target=build)
    thread.start()
    pid = _read_when_there(slow)
    environments.cancel(spec.digest)
    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert "was cancelled" in failed[0]
    assert _is_over(pid)
    assert list((tmp_path / "images").iterdir()) == []
    # What was cancelled once can be built the next time.
    slow.with_name("go").touch()
    environments.build(spec, quiet)


def test_the_next_process_removes_what_was_half_built_and_keeps_what_was_whole(tmp_path, opened):
    built = opened().build(PLAIN, quiet)
    root = tmp_path / "images"
    for leftover in ("abc-123", "abc-123.scratch"):
        (root / leftover / "bin").mkdir(parents=True)
    (root / f".{PLAIN.digest}.json.12").write_text("{")

    images = opened()

    folder = Path(built.reference).parents[1].name
    assert {path.name for path in root.iterdir()} == {f"{PLAIN.digest}.json", folder}
    assert images.find(PLAIN) == built


@pytest.mark.parametrize("damage", ["no python", "no record", "half a record"])
def test_what_is_not_whole_is_not_found_and_built_again(tmp_path, opened, damage):
    built = opened().build(PLAIN, quiet)
    record = tmp_path / "images" / f"{PLAIN.digest}.json"
    if damage == "no python":
        Path(built.reference).unlink()
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text(record.read_text()[:40])

    images = opened()

    assert images.find(PLAIN) is None
    again = images.build(PLAIN, quiet)
    assert images.find(PLAIN) == again != built


def test_what_is_built_anew_leaves_the_old_environment_to_what_runs_in_it(environments, opened):
    first = environments.build(PLAIN, quiet)
    second = environments.build(PLAIN, quiet, anew=True)

    assert first.reference != second.reference
    assert Path(first.reference).exists()
    assert environments.find(PLAIN) == second
    opened()
    assert not Path(first.reference).exists()
    assert Path(second.reference).exists()


def test_another_python_is_used_where_it_is_and_said_to_be_missing_where_not(tmp_path, opened):
    spec = ImageSpec((Layer("debian_slim", {"python_version": "3.99"}),))

    assert opened().unmet(spec) == ("debian_slim: Python 3.99 is not on this machine",)
    # A name that leads to another version does not count: it may be a stand-in.
    stand_in = tmp_path / "bin" / "python3.99"
    stand_in.parent.mkdir()
    stand_in.symlink_to(sys.executable)
    images = VenvImages(
        tmp_path / "images", tmp_path, {"PATH": str(stand_in.parent)}, lambda: tmp_path, uv=""
    )
    assert images.unmet(spec) != ()


def test_what_cannot_be_kept_is_an_error_that_says_where_and_why(tmp_path):
    (tmp_path / "file").write_text("")
    images = VenvImages(tmp_path / "file" / "images", tmp_path, {}, lambda: tmp_path, uv="")

    with pytest.raises(ImageBuildError, match=r"cannot be kept in .*/images: Not a directory"):
        images.build(PLAIN, quiet)


def test_secrets_reach_their_step_and_neither_record_nor_output(tmp_path, environments):
    write_wheel(tmp_path / "wheels", "here")
    ref = SecretRef("index")
    lines = []
    where = str(tmp_path / "wheels")

    # pip expands variables in requirements alone, so that the secret has to come by its environment
    requirements = {
        "requirements": "here\n",
        "extra_options": "--no-index",
        "secrets": [{"name": "index"}],
    }
    spec = ImageSpec((BASE, Layer("pip_install_from_requirements", requirements)))
    environments.build(spec, lines.append, {ref: {"PIP_FIND_LINKS": where}}.__getitem__)

    kept = json.loads((tmp_path / "images" / f"{spec.digest}.json").read_text())
    assert where not in json.dumps(kept)
    assert where not in "\n".join(lines)
    assert any("***" in line for line in lines)
    assert where not in environments.plan(spec)


def test_variables_of_the_client_reach_the_build(tmp_path, environments):
    write_wheel(tmp_path / "wheels", "here")
    spec = ImageSpec((BASE, Layer("pip_install", {"packages": ["here"]})))
    environ = {"PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_NO_INDEX": "1"}

    built = environments.build(spec, quiet, environ=environ)

    assert Path(built.reference).with_name("here").exists()


METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
BACKEND = """
import os, pathlib, time, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    told = pathlib.Path({told!r})
    told.with_name("part").write_text(str(os.getpid()))
    told.with_name("part").rename(told)
    while not told.with_name("go").exists():
        time.sleep(0.01)
    name, info = "slowly-1.0-py3-none-any.whl", "slowly-1.0.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr(info + "/METADATA", {metadata!r})
        wheel.writestr(info + "/WHEEL", {wheel!r})
        wheel.writestr(info + "/RECORD", "")
    return name
"""


def _slow(tmp_path: Path) -> tuple[ImageSpec, Path]:
    """Return an image whose build waits for a file `go`, and the file that will hold its pid."""
    told = tmp_path / "pid"
    project = tmp_path / "project"
    project.mkdir()
    (project / "setup.py").write_text("")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbackend-path = ["."]\nbuild-backend = "slow"\n'
    )
    (project / "slow.py").write_text(
        BACKEND.format(told=str(told), metadata=METADATA.format(name="slowly"), wheel=WHEEL)
    )
    layer = Layer("pip_install", {"packages": [str(project)], "extra_options": "--no-index"})
    return ImageSpec((BASE, layer)), told


def _read_when_there(path: Path) -> int:
    _wait_for(path.exists)
    return int(path.read_text())


def _is_over(pid: int) -> bool:
    """Wait until a process is gone, or a zombie that its new parent has not looked at yet."""
    command = Path(f"/proc/{pid}/cmdline")
    _wait_for(lambda: not command.exists() or not command.read_bytes())
    return True


def _wait_for(look: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if look():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come")
