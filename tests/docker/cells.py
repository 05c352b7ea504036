"""A daemon whose containers are Docker's, and one program in it that tests send code to."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cloudfn import Secret
from cloudfn.sdk.client import using
from tests.docker.engine import Engine
from tests.failure.conftest import Machine, is_gone, write_program
from tests.failure.conftest import _imported as imported

#: for code that is sent
HEAD = "import ctypes, json, os, resource, signal, socket, subprocess, sys, time\n"

SOURCE = """
from collections.abc import Iterator

volume = cloudfn.Volume.from_name("shared", create_if_missing=True)
secret = cloudfn.Secret.from_name("mine")


def obey(code):
    names = {}
    exec(code, names)
    return names.get("result")


@app.function(max_containers=1)
def run(code):
    return obey(code)


@app.function(max_containers=1)
def other(code):
    return obey(code)


@app.function(max_containers=1, secrets=[secret], volumes={"/data": volume})
def rich(code):
    return obey(code)


@app.function(max_containers=1, volumes={"/data": volume.read_only()})
def reader(code):
    return obey(code)


@app.function(max_containers=1, memory=(64, 192), retries=0, timeout=60)
def hungry(code):
    return obey(code)


@app.function(max_containers=1, fork=False)
def unforked(code):
    return obey(code)


@app.function(max_containers=1, block_network=True)
def cut_off(code):
    return obey(code)


if cloudfn.is_local():
    (HERE / "attached").mkdir()
    (HERE / "attached" / "file").write_text("attached")
image = cloudfn.Image.debian_slim().env({"MODE": "fast"}).workdir("/srv")
attached = image.add_local_dir(HERE / "attached", "/opt/attached")


@app.function(max_containers=1, image=attached)
def furnished(code):
    return obey(code)


@app.function()
@cloudfn.wsgi_app()
def site():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [os.environ["CLOUDFN_CONTAINER_ID"].encode(), b" ", environ["PATH_INFO"].encode()]

    return application


@app.function()
def echo(value):
    return value


@app.function()
def count(number):
    for each in range(number):
        yield each, os.getpid()


@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=4)
async def together(number):
    import asyncio
    global inside, most
    inside = globals().get("inside", 0) + 1
    most = max(globals().get("most", 0), inside)
    while most < number:
        await asyncio.sleep(0.01)
    return os.environ["CLOUDFN_CONTAINER_ID"]
"""


class DockerMachine(Machine):
    """One environment whose containers are Docker's."""

    engine: Engine

    def docker(self, *arguments: str) -> str:
        return self.engine.docker(*arguments)

    def docker_containers(self, *filters: str) -> list[str]:
        """Return the ids of its Docker containers, in any state."""
        label = f"label=cloudfn.marker={self.marker}"
        words = [word for each in (label, *filters) for word in ("--filter", each)]
        return self.docker("ps", "--all", "--quiet", "--no-trunc", *words).split()

    def docker_container(self, container_id: str) -> str:
        """Return what Docker calls a container."""
        (found,) = self.docker_containers(f"label=cloudfn.container={container_id}")
        return found


class Cells:
    """The program, deployed; its functions are attributes."""

    def __init__(self, machine: DockerMachine, module: ModuleType, here: Path) -> None:
        self.machine = machine
        self.here = here
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def ask(self, code: str, function: str = "run") -> Any:
        """Run code in a container; return what it puts into `result`."""
        return getattr(self._module, function).remote(HEAD + code)

    def container(self, function: str = "run") -> str:
        """Return the id of the container that runs code for a function."""
        found: str = self.ask("result = os.environ['CLOUDFN_CONTAINER_ID']", function)
        return found


@pytest.fixture(scope="module")
def docker_environ(docker_engine: Engine) -> Iterator[Engine]:
    """What a daemon that is started here finds in its environment."""
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("DOCKER_HOST", docker_engine.host)
        environ.setenv("CLOUDFN_BASE_IMAGE", docker_engine.base)
        yield docker_engine


@pytest.fixture(scope="module")
def cells(docker_environ: Engine) -> Iterator[Cells]:
    """The program, deployed on a machine of its own, which leaves nothing behind."""
    # Not under pytest's tmp_path: the path of a Unix socket has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="cfa-"))
    machine = DockerMachine(home)
    machine.engine = docker_environ
    path = write_program(home, SOURCE)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.callback(sys.modules.pop, path.stem, None)
        stack.callback(machine.end)
        with using(machine.client):
            Secret.objects.create("mine", {"MINE": "treasure"})
            Secret.objects.create("theirs", {"THEIRS": "hoard"})
        module = imported(path)
        module.app.deploy(name="cells", client=machine.client, runtime="docker")
        yield Cells(machine, module, home)
        daemon = machine.daemon
        machine.ask("shutdown", mode="now")
        machine.client.close()
        machine.wait_for(lambda: is_gone(daemon), "the daemon's end")
        assert machine.docker_containers() == []
        assert f"cloudfn-{machine.marker}" not in machine.docker("network", "ls")
        assert not machine.processes()
