"""The program of `make gpu-check`, with drivers that pretend to have devices.

It shows that the check itself is right as far as that is possible without a device: kernels, memory
and what a real driver does in a fork are not shown here.
"""
# ruff: noqa: TID251 - asks whether this is continuous integration

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudfn.sdk.client import using
from tests.gpu import checks, program
from tests.integration.conformance_world import World, opened_world

pytestmark = pytest.mark.integration


def compiled(source: str, path: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        text = "there is no C compiler to make a pretended driver with: 'apt install gcc'"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)
    file = Path(checks.__file__).with_name(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, file], check=True)
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(compiled("fake_cuda.c", tmp_path_factory.mktemp("cuda") / "libcuda.so.1"))


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


ASK = """
import sys
from pathlib import Path
from cloudfn.agent.gpus import found_gpus, memory_in_use
for gpu in found_gpus(Path(sys.argv[1])):
    print(gpu.index, gpu.device_id, gpu.name, gpu.memory, memory_in_use().get(gpu.device_id))
"""


def ask_nvml(root: Path, libraries: Path) -> list[str]:
    command = [sys.executable, "-c", ASK, str(root)]
    variables = {"LD_LIBRARY_PATH": str(libraries), "PATH": os.defpath}
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def test_nvml_is_asked_where_there_is_a_driver(tmp_path: Path) -> None:
    compiled("fake_nvml.c", tmp_path / "libnvidia-ml.so.1")
    assert ask_nvml(tmp_path, tmp_path) == []

    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()

    assert ask_nvml(tmp_path, tmp_path) == [
        "0 GPU-a NVIDIA A10G 23028 512",
        "1 MIG-0 NVIDIA A100-SXM4-40GB MIG 3g.20gb 19968 1",
        "1 MIG-1 NVIDIA A100-SXM4-40GB MIG 3g.20gb 19968 0",
    ]


def test_a_driver_whose_nvml_does_not_answer_is_counted_by_its_devices(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").touch()  # is found first, and no library
    (tmp_path / "dev").mkdir()
    for name in ("nvidiactl", "nvidia0"):
        (tmp_path / "dev" / name).touch()

    assert ask_nvml(tmp_path, tmp_path) == ["0 0  0 None"]
