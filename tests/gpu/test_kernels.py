"""`make gpu-check`: kernels really run, on the devices that containers were given."""

from pathlib import Path

import pytest

from cloudfn.agent.gpus import memory_in_use
from tests.gpu import checks, program
from tests.gpu.cuda import DRIVER, Cuda
from tests.integration.conformance_world import World, wait_for

pytestmark = pytest.mark.gpu

#: MiB that other programs may take or give back meanwhile
NOISE = 128


def test_each_container_has_a_device_of_its_own(world: World, tmp_path: Path) -> None:
    checks.each_container_has_a_device_of_its_own(world, tmp_path)


def test_parts_share_a_device(world: World, tmp_path: Path) -> None:
    checks.parts_share_a_device(world, tmp_path)


@pytest.mark.usefixtures("world")
def test_who_asks_for_none_sees_none() -> None:
    checks.who_asks_for_none_sees_none()


def test_a_container_sees_the_very_device_that_the_planner_gave_it(
    world: World, tmp_path: Path
) -> None:
    call = program.whole.spawn(str(tmp_path), DRIVER)
    wait_for("it works", checks.working(tmp_path, 1))
    (given,) = (gpu["uuid"] for gpu in world.ask("status")["gpus"] if gpu["containers"])

    assert given.partition("-")[2] == checks.reports(tmp_path)[0].partition("-")[2]
    (tmp_path / "go").touch()
    call.get(timeout=120)


def test_memory_is_returned_when_a_container_is_killed(world: World, tmp_path: Path) -> None:
    before = sum(memory_in_use().values())
    call = program.hold.spawn(str(tmp_path))
    wait_for("it has its memory", checks.working(tmp_path, 1))
    assert sum(memory_in_use().values()) >= before + program.TAKEN - NOISE

    call.cancel(terminate_containers=True)
    wait_for("the memory is free", lambda: sum(memory_in_use().values()) <= before + NOISE)


@pytest.mark.usefixtures("world")
def test_a_program_may_use_its_device_while_it_is_imported() -> None:
    with program.early.run():
        assert program.after_import.remote() == (True, True)


def test_the_driver_and_nvml_tell_of_the_same_devices(world: World) -> None:
    told = {gpu["uuid"].partition("-")[2] for gpu in world.ask("status")["gpus"]}

    assert {uuid.partition("-")[2] for uuid in Cuda().uuids()} == told
