"""Programs with images, run by a user with Docker: packages, attached files, no needless builds."""

from pathlib import Path

import pytest

from cloudfn import settings
from tests.docker.engine import Engine
from tests.integration.conformance_world import World, world

__all__ = ["world"]
pytestmark = [pytest.mark.integration, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAM = """
import os
from pathlib import Path
import cloudfn

image = (
    cloudfn.Image.debian_slim()
    .run_commands("mkdir /srv/made && echo built > /srv/made/a")
    .workdir("/srv/made")
    .add_local_dir("data", "/srv/data")
    .add_local_file("data/a.txt", "/srv/made/b")
)
app = cloudfn.App("attached", image=image)
WHEN_IMPORTED = Path("/srv/data/a.txt").read_text() if not cloudfn.is_local() else ""


@app.function()
def look():
    try:
        Path("/srv/data/new").write_text("")
    except OSError as error:
        refused = error.strerror
    return WHEN_IMPORTED, Path("a").read_text(), Path("b").read_text(), os.getcwd(), refused


@app.local_entrypoint()
def main():
    print(look.remote())
"""


@pytest.fixture
def docker_world(world: World, docker_engine: Engine) -> World:
    """A world whose containers are Docker's, with the client's way to packages."""
    base = docker_engine.base.replace(docker_engine.base_python, "{version}")
    world.variables |= {
        **settings.build_environ(),
        "DOCKER_HOST": docker_engine.host,
        "CLOUDFN_RUNTIME": "docker",
        "CLOUDFN_BASE_IMAGE": base,
    }
    return world


def test_an_example_with_packages_runs_in_docker(docker_world: World):
    told = docker_world.cli("run", "-q", EXAMPLES / "third_party.py")

    assert told.stdout.splitlines() == ["512 Bytes", "1.0 MiB", "5.0 GiB"]


def test_attached_files_are_seen_in_docker_and_a_change_of_code_or_files_builds_nothing(
    docker_world: World,
):
    world = docker_world
    data = world.folder / "data" / "a.txt"
    data.parent.mkdir()
    data.write_text("one")
    program = world.write(PROGRAM)

    def seen(text: str) -> str:
        return str((text, "built\n", text, "/srv/made", "Read-only file system"))

    first = world.cli("run", program)
    assert first.stdout.splitlines()[-1] == seen("one")
    assert "Building image" in first.stderr
    data.write_text("two")
    program.write_text(program.read_text() + "\n# changed\n")
    second = world.cli("run", program)
    assert second.stdout.splitlines()[-1] == seen("two")
    assert "Building image" not in second.stderr
