"""`cloudfn container` where machines report containers, and are told to stop them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloudfn.clock import SystemClock
from cloudfn.providers.machines import (
    ContainerReport,
    ContainerState,
    MachineReport,
    MachineState,
    PoolReport,
    Stop,
)
from tests.cli.cloud_line import CloudLine

NOW = SystemClock().wall()
REPORT = MachineReport("i-7", "cpu", MachineState.READY, 2.0, 4_096)
NAMED = (
    ContainerReport("ta-1", ContainerState.BUSY, int(NOW) - 90, 12),
    ContainerReport("ta-2", ContainerState.IDLE, int(NOW) - 60),
)


@pytest.fixture
def line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], docker_runtime: None
) -> Iterator[CloudLine]:
    made = CloudLine(tmp_path, capsys)
    made("deploy", str(made.program))
    yield made
    made.world.close()


def join(line: CloudLine, report: PoolReport) -> None:
    [app] = line.world.cloud.open("test").catalog.apps()
    [function] = line.world.cloud.open("test").catalog.functions(app.app_id)
    pools = {f"{function.function_id}@1": report}
    machines = line.world.cloud.open("test").machines
    machines.join(replace(REPORT, pools=pools), NOW, 3_600.0)


def test_containers_of_machines_are_listed_by_their_ids(line: CloudLine) -> None:
    join(line, PoolReport(idle=1, busy=1, containers=NAMED))

    first, *rows = line("container", "list").splitlines()
    listed = line.document("container", "list", "--app", "primes")

    assert " ".join(first.split()) == "ID APP FUNCTION REVISION STATE STARTED INPUTS MACHINE"
    assert rows[0].split()[:5] == ["ta-1", "primes", "count", "v1", "busy"]
    assert rows[0].split()[-2:] == ["12", "i-7"]
    assert isinstance(listed, list)
    assert [(each["container_id"], each["state"]) for each in listed] == [
        ("ta-1", "busy"),
        ("ta-2", "idle"),
    ]
    assert {each["machine_id"] for each in listed} == {"i-7"}


def test_containers_without_a_name_are_counted_all_the_same(line: CloudLine) -> None:
    join(line, PoolReport(idle=3, busy=1, containers=NAMED))

    listed = line.document("container", "list")

    assert isinstance(listed, list)
    assert [each["container_id"] for each in listed] == ["ta-1", "ta-2", None, None]
    assert "do not name all" in line("container", "stop", "ta-3", code=1)


@pytest.mark.parametrize("graceful", [True, False])
def test_the_machine_of_a_container_is_told_to_stop_it(line: CloudLine, graceful: bool) -> None:
    join(line, PoolReport(busy=1, idle=1, containers=NAMED))

    line("container", "stop", "ta-1", *(["--graceful"] if graceful else []))

    assert line.world.cloud.open("test").machines.orders("i-7").stops == (
        Stop("ta-1", graceful=graceful),
    )


def test_a_container_that_nobody_reports_is_one_error_with_a_way_out(line: CloudLine) -> None:
    join(line, PoolReport(busy=1, idle=1, containers=NAMED))

    for command in (["stop", "ta-9"], ["exec", "ta-9", "--", "ls"]):
        shown = line("container", *command, code=1)
        assert shown.startswith("error: There is no container ta-9.\nhint: See `cloudfn container")
