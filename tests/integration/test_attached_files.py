"""Local files that an image attaches: containers see them at their paths, and nobody else does."""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from tests.integration.conformance_world import world

__all__ = ["world"]
pytestmark = pytest.mark.integration

PROGRAM = """
    import os
    import subprocess
    import cloudfn

    image = (
        cloudfn.Image()
        .workdir("{here}/work")
        .add_local_dir("{local}", "{here}/data", ignore=["*.log"])
        .add_local_file("{local}/a.txt", "copy.txt")
        .add_local_file("{local}/a.txt", "{here}/data/deep/a.txt")
    )
    app = cloudfn.App("attached", image=image)
    FILE = "{here}/data/a.txt"
    WHEN_IMPORTED = open(FILE).read() if os.path.exists(FILE) else ""


    @app.function(fork={fork})
    def look():
        try:
            open("{here}/data/new", "w")
        except OSError as error:
            refused = error.strerror
        child = subprocess.run(["cat", "copy.txt"], capture_output=True, text=True)
        seen = sorted(os.listdir("{here}/data"))
        return WHEN_IMPORTED, child.stdout, os.getcwd(), refused, seen


    @app.function(image=cloudfn.Image().env({{"A": "1"}}))
    def elsewhere():
        return os.listdir("{here}/data")


    @app.local_entrypoint()
    def main():
        print(look.remote(), elsewhere.remote())
"""


@pytest.fixture
def here():
    """A folder that is no part of pytest's, as an ordinary user would have it."""
    folder = Path(tempfile.mkdtemp(prefix="cfa-"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("fork", [True, False])
def test_containers_see_attached_files_and_a_change_of_them_builds_nothing(
    world, here, tmp_path, fork
):
    local = tmp_path / "local"
    local.mkdir()
    (local / "a.txt").write_text("one")
    (local / "b.log").write_text("")
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM.format(here=here, local=local, fork=fork)))

    def seen(text):
        work = str(here / "work")
        return str((text, text, work, "Read-only file system", ["a.txt", "deep"])) + " []"

    assert world.cli("run", "-q", str(program)).stdout.splitlines()[-1] == seen("one")
    (local / "a.txt").write_text("two")
    told = world.cli("run", str(program))
    assert told.stdout.splitlines()[-1] == seen("two")
    assert "Attached: 3 files, 9 B." in told.stderr
    assert os.listdir(here / "data") == []


def test_a_volume_and_attached_files_never_hide_each_other(world, tmp_path):
    program = world.write(f"""
    import cloudfn
    volume = cloudfn.Volume.from_name("v", create_if_missing=True)
    image = cloudfn.Image().add_local_dir({str(tmp_path)!r}, "/tmp/cf-data/deep")
    app = cloudfn.App("hidden", image=image)

    @app.function(volumes={{"/tmp/cf-data": volume}})
    def look(): ...
    """)

    told = world.cli("run", program, code=1)

    assert "one would hide the other" in told.stderr
    assert "/tmp/cf-data/deep" in told.stderr


def attach(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    begin = "import os, sys\nfrom cloudfn.worker import mounts\n"
    return subprocess.run(
        [sys.executable, "-c", begin + textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_namespaces_links_lead_each_process_to_its_own_files(here):
    for name in ("one", "two"):
        (here / name).mkdir()
        (here / name / "a").write_text(name)
    script = """
        mounts._enter_namespace = lambda: False
        here, name = sys.argv[1:]
        mounts.attach_all([(f"{here}/{name}", f"{here}/seen"), (f"{here}/{name}/a", f"{here}/b/c")])
        print(open(f"{here}/seen/a").read(), open(f"{here}/b/c").read())
    """

    assert attach(script, str(here), "one").stdout == "one one\n"
    assert attach(script, str(here), "two").stdout == "two two\n"
    (here / "seen").unlink()
    (here / "seen").mkdir()
    assert "cannot be mounted" in attach(script, str(here), "one").stderr


@pytest.mark.parametrize("what", ["prefix", "base_prefix"])
def test_files_never_hide_the_python_that_containers_run_under(here, what):
    script = f"""
        mounts.attach_all([(sys.argv[1], os.path.dirname(sys.{what}))])
    """

    assert "that would hide" in attach(script, str(here)).stderr
