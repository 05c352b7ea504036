"""What the check looks at, with a device and, where there is none, with a driver that pretends."""

from collections.abc import Callable
from pathlib import Path

from tests.gpu import program
from tests.gpu.cuda import DRIVER
from tests.integration.conformance_world import World, wait_for


def reports(folder: Path) -> list[str]:
    """Return the devices of each container that is at work in a folder."""
    return sorted(file.read_text() for file in folder.glob("*.sees"))


def working(folder: Path, number: int) -> Callable[[], bool]:
    return lambda: len(reports(folder)) == number


def each_container_has_a_device_of_its_own(
    world: World, folder: Path, library: str = DRIVER
) -> None:
    """As many kernels run at once as there are devices, each on another one; the last waits."""
    number = len(world.ask("status")["gpus"])
    calls = [program.whole.spawn(str(folder), library) for _ in range(number + 1)]
    wait_for("all devices work", working(folder, number))
    wait_for("the planner says why", lambda: "no GPU is free" in reason(world, program.whole))

    seen = reports(folder)
    assert len(set(seen)) == number
    assert not any(" " in each for each in seen), "each sees one device"
    (folder / "go").touch()
    results = [call.get(timeout=120) for call in calls]
    assert all(right for right, _ in results)
    assert {" ".join(devices) for _, devices in results} == set(seen)


def parts_share_a_device(world: World, folder: Path, library: str = DRIVER) -> None:
    """Two containers run kernels on one device at the same time."""
    calls = [program.part.spawn(str(folder), library) for _ in range(2)]
    wait_for("both work", working(folder, 2))

    assert len(set(reports(folder))) == 1
    holders = [gpu["containers"] for gpu in world.ask("status")["gpus"] if gpu["containers"]]
    assert [len(ids) for ids in holders] == [2]
    (folder / "go").touch()
    assert all(call.get(timeout=120)[0] for call in calls)


def who_asks_for_none_sees_none(library: str = DRIVER) -> None:
    """CUDA finds no device in a container that did not ask for one."""
    assert program.without.remote(library)


def reason(world: World, function: object) -> str:
    decisions = world.ask("decisions", function_id=function.object_id)["decisions"]  # type: ignore[attr-defined]
    return str(decisions[-1]["reason"]) if decisions else ""
