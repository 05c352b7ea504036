"""The program of `make gpu-check`, with a driver that pretends to have two devices.

It shows that the check itself is right as far as that is possible without a device: kernels, memory
and what a real driver does in a fork are not shown here.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudfn.sdk.client import using
from tests.gpu import checks, program
from tests.integration.conformance_world import World, opened_world

pytestmark = pytest.mark.integration

SOURCE = Path(checks.__file__).with_name("fake_cuda.c")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cuda") / "libcuda.so.1"
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler: on Debian and Ubuntu, 'apt install gcc' brings one"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, SOURCE], check=True)
    return str(path)


@pytest.fixture
def world() -> Iterator[World]:
    devices = [{"type": "NVIDIA A10G", "memory": 24_576}] * 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUDFN_GPUS", json.dumps(devices))
        with opened_world() as opened, using(opened.client), program.app.run():
            yield opened


def test_each_container_has_a_device_of_its_own(world: World, tmp_path: Path, library: str) -> None:
    checks.each_container_has_a_device_of_its_own(world, tmp_path, library)


def test_parts_share_a_device(world: World, tmp_path: Path, library: str) -> None:
    checks.parts_share_a_device(world, tmp_path, library)


@pytest.mark.usefixtures("world")
def test_who_asks_for_none_sees_none(library: str) -> None:
    checks.who_asks_for_none_sees_none(library)
