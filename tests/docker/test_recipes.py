"""Images as the builder records them, resolved and built by a real engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cloudfn
from cloudfn import settings
from cloudfn.providers import runtime_folder
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.docker.images import DockerImages, Site
from cloudfn.sdk import imaging
from tests.docker.engine import Engine

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LOOK = """
import getpass, humanize, inflection, json, local_module, os, pathlib, six
read = lambda path: pathlib.Path(path).read_text().strip()
print(json.dumps([
    humanize.naturalsize(2**20, binary=True), inflection.pluralize("octopus"), six.__name__,
    local_module.NAME, read("/from-the-context"), read("/from-a-line"), read("/made-by-a-function"),
    read("/srv/data/deep/a.txt"), os.environ["WHO"], os.environ["LINES"], os.getcwd(),
    getpass.getuser(),
]))
"""
PROGRAM = """
from pathlib import Path
import cloudfn

def leave(name, *, where):
    Path(where).write_text(f"{name} {cloudfn.is_local()}")
"""
FILES = {
    "Dockerfile": "# syntax=docker/dockerfile:1\nFROM {base}\nCOPY --chmod=644 note.txt \\\n"
    "  /from-the-context\nUSER nobody\n",
    "note.txt": "a note",
    "requirements.txt": "-r more.txt\n-c limits.txt\n",
    "more.txt": "inflection  # small\n",
    "limits.txt": "inflection==0.5.1\n",
    "data/deep/a.txt": "deep",
    "project/pyproject.toml": "[project]\nname='p'\nversion='1'\nrequires-python='>=3.11'\n"
    "dependencies=['six==1.17.0']\n",
    "local_module.py": "NAME = 'local'\n",
    "recipe_program.py": PROGRAM,
}


@pytest.fixture
def folder(tmp_path, monkeypatch, docker_engine: Engine):
    for name, text in FILES.items():
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{base}", docker_engine.base))
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(str(tmp_path / "work"))
    return tmp_path


def test_what_the_builder_records_is_what_a_container_has(docker_engine: Engine, folder: Path):
    import recipe_program  # type: ignore[import-not-found]

    image = (
        cloudfn.Image.from_dockerfile("Dockerfile")
        .uv_pip_install("humanize==4.13.0")
        .pip_install_from_requirements("requirements.txt")
        .uv_sync("project", frozen=False)
        .run_function(recipe_program.leave, args=("me",), kwargs={"where": "/made-by-a-function"})
        .dockerfile_commands("COPY /line /from-a-line", context_files={"/line": "note.txt"})
        .add_local_dir("data", "/srv/data", copy=True)
        .add_local_python_source("local_module", copy=True)
        .run_commands('test "$ONLY" = "it\'s here"', env={"ONLY": "it's here"})
        .run_commands('test -z "$ONLY"', "cat <<END >/dev/null\n[ x ]\nEND")
        .env({"WHO": 'a "b" $c', "LINES": "one\ntwo $c"})
        .workdir("/srv/work")
    )
    site = Site(
        environment=f"T-{folder.name}",
        root=folder / "images",
        bundles=folder / "bundles",
        runtime=lambda: runtime_folder.make(folder / "runtime"),
        base_image="python:{version}-slim",
        environ={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder),
                 "DOCKER_HOST": docker_engine.host},
        owner=folder.name.rjust(8, "0"),
    )  # fmt: skip
    engine = DockerEngine(site.environ)
    try:
        built = DockerImages(site, engine).build(
            imaging.resolve(image.spec, site.bundles, folder / "work"),
            lambda _line: None,
            environ=settings.build_environ(),
        )
    finally:
        engine.close()

    told = docker_engine.docker(
        "run", "--rm", "--network=none", built.reference, "python3", "-c", LOOK
    )
    assert json.loads(told) == [
        "1.0 MiB", "octopi", "six", "local", "a note", "a note", "me False", "deep",
        'a "b" $c', "one\ntwo $c", "/srv/work", "root",
    ]  # fmt: skip
