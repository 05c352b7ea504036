"""GPUs that are declared, given to real containers: who sees which, who waits, what becomes free.

No device is needed: a container sees its GPUs by a variable, and that is what is looked at here.
`make gpu-check` runs kernels.
"""
# ruff: noqa: TID251 - this is user code as well

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cloudfn
from cloudfn.exception import ExecutionError, InvalidError
from cloudfn.sdk.client import using
from tests.integration.conformance_world import World, opened_world, wait_for

pytestmark = pytest.mark.integration

DEVICES = [{"type": "NVIDIA A10G", "memory": 24_576}, {"type": "NVIDIA A10G", "memory": 24_576}]

app = cloudfn.App("gpus")


def seen() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


#: what a module sees while it is imported
AT_IMPORT = seen()


def hold(folder: str) -> tuple[str | None, int]:
    """Say in a folder what this container sees, and wait until the folder has a file `go`."""
    report = Path(folder, str(os.getpid()))
    report.write_text(str(seen()))
    report.rename(f"{report}.sees")  # whole, or not there
    while not os.path.exists(f"{folder}/go"):
        time.sleep(0.01)
    return seen(), os.getpid()


@app.function(gpu="A10G", scaledown_window=300)
def whole(folder: str) -> tuple[str | None, int]:
    return hold(folder)


@app.function(gpu="a10g", scaledown_window=300)
def rival(folder: str) -> tuple[str | None, int]:
    return hold(folder)


@app.function(gpu="any", gpu_memory=10_000, scaledown_window=300)
def part(folder: str) -> tuple[str | None, int]:
    return hold(folder)


@app.function(gpu=["H100", "A10G:2"], scaledown_window=2)
def pair() -> tuple[str | None, str | None]:
    return seen(), os.environ.get("CUDA_DEVICE_ORDER")


@app.function(gpu="any", scaledown_window=2)
def at_import() -> tuple[str | None, str | None]:
    return seen(), AT_IMPORT


@app.function(gpu="any", fork=False, scaledown_window=2)
def fresh() -> str | None:
    return seen()


@app.function(scaledown_window=2)
def without() -> tuple[str | None, str | None]:
    return seen(), AT_IMPORT


@app.function(env={"CUDA_VISIBLE_DEVICES": "0,1"}, scaledown_window=2)
def insisting() -> str | None:
    return seen()


@app.cls(gpu="A10G", scaledown_window=2)
class Model:
    @cloudfn.enter()
    def load(self) -> None:
        self.seen = seen()

    @cloudfn.method()
    def where(self) -> tuple[str | None, str | None]:
        return self.seen, seen()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """An environment whose machine is said to have two GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUDFN_GPUS", json.dumps(DEVICES))
        with opened_world() as opened, using(opened.client):
            opened.variables["CLOUDFN_GPUS"] = json.dumps(DEVICES)
            yield opened


@pytest.fixture(autouse=True)
def running(world: World) -> Iterator[None]:
    """The app runs for each test anew, so that no device is taken before."""
    with app.run():
        yield
    wait_for("all devices are free", lambda: not any(holders(world).values()))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    (tmp_path / "go").touch()


def holders(world: World) -> dict[int, list[str]]:
    """Return the containers that have a device, or a part of it, by its number."""
    return {gpu["index"]: gpu["containers"] for gpu in world.ask("status")["gpus"]}


def reports(folder: str) -> list[str]:
    """Return what the containers see that are at work in a folder."""
    return sorted(file.read_text() for file in Path(folder).glob("*.sees"))


def at_work(folder: str, number: int) -> Callable[[], bool]:
    return lambda: len(reports(folder)) == number


def reasons(world: World, function: Any) -> list[str]:
    decisions = world.ask("decisions", function_id=function.object_id)["decisions"]
    return [each["reason"] for each in decisions]


def test_containers_see_different_devices_and_the_third_waits_for_one(world, folder):
    calls = [whole.spawn(folder) for _ in range(3)]
    wait_for("two containers work", at_work(folder, 2))
    wait_for("the planner says why", lambda: "no GPU is free" in reasons(world, whole)[-1])

    assert reports(folder) == ["0", "1"]
    assert len(world.containers("whole")) == 2
    assert [len(ids) for ids in holders(world).values()] == [1, 1]
    assert whole.get_current_stats().backlog == 1

    Path(folder, "go").touch()
    results = [call.get(timeout=30) for call in calls]
    assert sorted(device for device, _ in results[:2]) == ["0", "1"]
    assert results[2][0] in ("0", "1")


def test_parts_share_a_device_as_long_as_its_memory_lasts(world, folder):
    calls = [part.spawn(folder) for _ in range(5)]
    wait_for("four containers work", at_work(folder, 4))

    assert reports(folder) == ["0", "0", "1", "1"]
    assert [len(ids) for ids in holders(world).values()] == [2, 2]
    listed = world.containers("part")
    assert sorted((each["gpus"], each["gpu_memory"]) for each in listed) == [
        ([0], 10_000), ([0], 10_000), ([1], 10_000), ([1], 10_000)
    ]  # fmt: skip

    Path(folder, "go").touch()
    assert len([call.get(timeout=30) for call in calls]) == 5


def test_a_killed_container_leaves_its_device_to_the_next_one(world, folder):
    calls = [whole.spawn(folder) for _ in range(3)]
    wait_for("two containers work", at_work(folder, 2))
    victim = int(next(Path(folder).glob("*.sees")).stem)

    os.kill(victim, signal.SIGKILL)
    wait_for("another one works", at_work(folder, 3))

    Path(folder, "go").touch()
    assert {device for device, _ in (call.get(timeout=30) for call in calls)} == {"0", "1"}


def test_a_pool_that_has_all_devices_gives_one_to_another_after_its_input(world, folder, tmp_path):
    (other := tmp_path / "rival").mkdir()
    calls = [whole.spawn(folder) for _ in range(4)]
    wait_for("two containers work", at_work(folder, 2))

    late = rival.spawn(str(other))
    wait_for("one leaves", lambda: "draining" in {c["state"] for c in world.containers("whole")})
    assert reports(str(other)) == []
    Path(folder, "go").touch()
    wait_for("the other pool works", at_work(str(other), 1))

    (other / "go").touch()
    assert late.get(timeout=30)[0] in ("0", "1")
    assert len([call.get(timeout=30) for call in calls]) == 4


def test_an_idle_container_gives_its_device_up_when_somebody_needs_it(world, folder, tmp_path):
    (other := tmp_path / "rival").mkdir()
    Path(folder, "go").touch()
    assert len(list(whole.map([folder] * 2))) == 2
    wait_for("both are idle", lambda: {c["state"] for c in world.containers("whole")} == {"idle"})
    both = len(world.containers("whole"))

    late = [rival.spawn(str(other)) for _ in range(2)]
    wait_for("the other pool works", at_work(str(other), 2))

    assert len(world.containers("whole")) <= both - 1
    (other / "go").touch()
    assert sorted(call.get(timeout=30)[0] for call in late) == ["0", "1"]


def test_a_list_takes_the_first_that_the_machine_has():
    assert pair.remote() == ("0,1", "PCI_BUS_ID")


def test_a_module_sees_while_it_is_imported_as_many_devices_as_its_functions():
    device, early = at_import.remote()

    assert device in ("0", "1")
    assert early in ("0", "1")


def test_fresh_interpreters_and_instances_of_classes_see_their_device():
    assert fresh.remote() in ("0", "1")
    loaded, served = Model().where.remote()
    assert loaded == served
    assert loaded in ("0", "1")


def test_who_asks_for_no_gpu_sees_none_unless_it_insists():
    assert without.remote() == ("", "")
    assert insisting.remote() == "0,1"


def test_variants_may_ask_for_other_devices(folder):
    Path(folder, "go").touch()

    assert whole.with_options(gpu="A10G:2").remote(folder)[0] in ("0,1", "1,0")
    assert part.with_options(gpu_memory=20_000).remote(folder)[0] in ("0", "1")
    with pytest.raises(InvalidError, match=r"asks for a GPU \(T4\).*2 × NVIDIA A10G"):
        whole.with_options(gpu="T4").remote(folder)
    with pytest.raises(InvalidError, match=r"30000 MiB of a GPU .* with 24576 MiB"):
        part.with_options(gpu_memory=30_000).remote(folder)


def test_what_the_machine_does_not_have_is_an_error_at_deploy():
    greedy = cloudfn.App("greedy-for-gpus")
    greedy.function(gpu=["A10G:3", "H100"])(whole.get_raw_f())

    with pytest.raises(InvalidError, match=r"\(A10G:3 or H100\), .*has 2 × NVIDIA A10G"):
        greedy.deploy()


def test_programs_that_look_into_a_container_see_its_device(world, folder):
    call = whole.spawn(folder)
    wait_for("it works", at_work(folder, 1))
    (container,) = world.containers("whole")

    shown = world.cli("container", "exec", container["container_id"], "env").stdout

    assert f"CUDA_VISIBLE_DEVICES={container['gpus'][0]}\n" in shown
    assert "given to " + container["container_id"] in world.cli("doctor").stdout
    Path(folder, "go").touch()
    call.get(timeout=30)


def test_a_deployed_app_whose_machine_lost_its_gpus_says_so(world):
    source = """
        import cloudfn

        app = cloudfn.App("stranded")

        @app.function(gpu="A10G")
        def there():
            return 1
    """
    world.cli("deploy", world.write(source, "stranded.py"), "--env", "lossy")
    world.cli("daemon", "stop", "--env", "lossy")
    bare = {"CLOUDFN_GPUS": "none"}
    world.cli("daemon", "start", "--env", "lossy", variables=bare)

    call = "import cloudfn; cloudfn.Function.from_name('stranded', 'there').remote()"
    failed = world.python("-c", call, code=1, variables={"CLOUDFN_ENVIRONMENT": "lossy", **bare})

    assert ExecutionError.__name__ in failed.stderr
    assert "it asks for A10G, and this machine has none" in failed.stderr
