"""Commands against a cloud in memory: the front answers them, in the command's own process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import cloudfn
from cloudfn.clock import SystemClock
from cloudfn.model import ids
from cloudfn.providers.machines import ContainerReport, ContainerState, PoolReport, Stop
from tests.cli.cloud_line import CloudLine


def spawn(cloud: CloudLine, n: int = 1) -> str:
    with cloud.world.program():
        call = cloudfn.Function.from_name("primes", "count").spawn(n)
        call.get(timeout=20)
        return call.object_id


def test_the_provider_and_region_can_stand_before_and_after_the_command(cloud: CloudLine) -> None:
    cloud("app", "list", "--provider", "aws", "--region", "eu-west-1")
    cloud("--provider", "aws", "app", "list")
    cloud("app", "list")

    chosen = [(each.provider, each.region, each.runtime) for each in cloud.chosen]
    assert chosen == [
        ("aws", "eu-west-1", "docker"),
        ("aws", None, "docker"),
        ("local", None, "process"),
    ]


def test_a_file_is_deployed_changed_and_rolled_back(deployed: CloudLine) -> None:
    deployed.program.write_text(deployed.program.read_text().replace("n + 1", "n + 2"))
    deployed("deploy", str(deployed.program), "--runtime", "docker", "--tag", "second")
    deployed("app", "rollback", "primes")

    history = deployed.document("app", "history", "primes")
    assert [each["number"] for each in history] == [3, 2, 1]
    assert history[0]["rollback_of"] == 1


def test_an_app_is_listed_until_it_is_stopped(deployed: CloudLine) -> None:
    (app,) = deployed.document("app", "list")
    assert (app["name"], app["state"]) == ("primes", "deployed")

    deployed("app", "stop", "primes", "--yes")

    assert deployed.document("app", "list") == []


def test_a_local_entry_point_runs_and_its_functions_elsewhere(cloud: CloudLine) -> None:
    shown = cloud("run", "--runtime", "docker", str(cloud.program), "--n", "6")

    assert "counted 7" in shown
    assert "from a container" in shown
    assert cloud.document("app", "list") == []


def test_calls_are_listed_and_their_results_fetched(deployed: CloudLine) -> None:
    call = spawn(deployed, 5)

    (listed,) = deployed.document("call", "list")
    assert (listed["call"], listed["function_name"]) == (call, "count")
    assert "6" in deployed("call", "get", call)


def test_settings_change_now_and_say_who_changed_them(deployed: CloudLine) -> None:
    told = deployed("update-autoscaler", "primes", "count", "--max-containers", "7")
    assert "by ada@laptop" in told

    shown = deployed.document("function", "autoscaler", "settings", "primes/count")
    assert shown["settings"]["max_containers"] == 7
    assert "ada@laptop" in shown["updated_by"]


def test_settings_that_make_no_sense_are_refused(deployed: CloudLine) -> None:
    words = ("--min-containers", "9", "--max-containers", "2")
    shown = deployed("update-autoscaler", "primes", "count", *words, code=1)
    assert "error:" in shown


def test_figures_come_from_the_ledger(deployed: CloudLine) -> None:
    deployed.world.machine.gate.clear()
    with deployed.world.program():
        for number in range(3):
            cloudfn.Function.from_name("primes", "count").spawn(number)

    assert deployed.document("stats", "primes", "count")["backlog"] == 3


def test_schedules_are_listed_paused_and_run_by_hand(deployed: CloudLine) -> None:
    (schedule,) = deployed.document("schedule", "list")
    assert schedule["when"] == "0 3 * * *"

    deployed("schedule", "pause", schedule["schedule_id"])
    assert deployed.document("schedule", "list")[0]["paused"]

    deployed("schedule", "run-now", schedule["schedule_id"])
    assert deployed.document("call", "list")[0]["function_name"] == "count"


def test_images_are_listed_with_their_apps_and_removed_when_none_has_them(
    deployed: CloudLine,
) -> None:
    (image,) = deployed.document("image", "list")
    assert image["apps"] == ["primes"]
    assert "in use by primes" in deployed("image", "rm", image["image_id"], code=1)

    deployed("app", "stop", "primes", "--yes")
    deployed("image", "prune", "--yes")

    assert deployed.document("image", "list") == []


@pytest.mark.parametrize("noun", ["dict", "queue", "volume"])
def test_objects_are_made_listed_and_deleted(cloud: CloudLine, noun: str) -> None:
    cloud(noun, "create", "shared")
    assert [each["name"] for each in cloud.document(noun, "list")] == ["shared"]

    cloud(noun, "delete", "shared", "--yes")
    assert cloud.document(noun, "list") == []


def test_files_go_into_a_volume_and_come_out(cloud: CloudLine, tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("hello")
    cloud("volume", "create", "files")

    cloud("volume", "put", "files", str(source), "/a.txt")
    cloud("volume", "get", "files", "/a.txt", str(target))

    assert target.read_text() == "hello"


def test_volumes_without_addresses_say_what_to_do_instead(cloud: CloudLine, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("hello")
    cloud("volume", "create", "files")
    cloud("volume", "put", "files", str(source), "/sub/a.txt")

    assert "cloudfn volume get" in cloud("volume", "link", "files", "/sub/a.txt", code=1)
    assert "is a directory" in cloud("volume", "link", "files", "/sub", code=1)
    assert "no such file" in cloud("volume", "link", "files", "/b", code=1)
    assert "'soon' is no time" in cloud("volume", "link", "files", "/b", "--for", "soon", code=2)
    assert "a second at least" in cloud("volume", "link", "files", "/b", "--for", "0s", code=1)


def test_a_secret_is_kept_and_never_shown(cloud: CloudLine) -> None:
    shown = cloud("secret", "create", "token", "KEY=hidden") + cloud("secret", "list")

    assert "token" in shown
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("words", "why", "instead"),
    [
        (("container", "exec", "ta-1", "ls"), "no container ta-1", "cloudfn container list"),
        (("container", "stop", "ta-1"), "no container ta-1", "cloudfn container list"),
        (("image", "push", "im-1", "registry/x"), "its own registry", "cloudfn image list"),
        (("image", "pull", "registry/x@sha256:1"), "its own registry", "cloudfn image build"),
        (("environment", "create", "x", "--provider", "aws"), "by Terraform", "cloudfn infra"),
        (("environment", "delete", "x", "--yes", "--provider", "aws"), "by Ter", "cloudfn destroy"),
    ],
)
def test_what_makes_no_sense_there_is_refused_with_a_way_out(
    deployed: CloudLine, words: tuple[str, ...], why: str, instead: str
) -> None:
    error, _, hint = deployed(*words, code=1).partition("hint: ")

    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert why in error
    assert instead in hint


def test_a_daemon_is_of_this_machine(cloud: CloudLine) -> None:
    shown = cloud("--provider", "aws", "daemon", "status", code=1)

    assert "there is none for aws" in shown
    assert "hint:" in shown


def test_containers_are_listed_by_name_and_stopped(
    deployed: CloudLine, report: Callable[[CloudLine], None]
) -> None:
    report(deployed)

    (container,) = deployed.document("container", "list")
    assert (container["app_name"], container["state"]) == ("primes", "idle")
    assert container["container_id"] == "ta-1"
    assert container["machine_id"] == "i-1"

    deployed("container", "stop", "ta-1")
    assert deployed.world.cloud.machines.orders("i-1").stops == (Stop("ta-1"),)


@pytest.fixture
def report() -> Callable[[CloudLine], None]:
    """Have the machine say that it has one idle container of each pool."""
    named = (ContainerReport("ta-1", ContainerState.IDLE, started=1),)

    def say(cloud: CloudLine) -> None:
        ports = cloud.world.cloud
        (app,) = ports.ports["catalog"].apps()
        pools = {
            ids.pool_name(each.function_id, 1): PoolReport(idle=1, containers=named)
            for each in ports.ports["catalog"].functions(app.app_id)
        }
        (row,) = ports.machines.list()
        ports.machines.beat(replace(row.report, pools=pools), SystemClock().wall(), 60.0)

    return say
