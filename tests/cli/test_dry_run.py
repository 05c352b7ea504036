"""`cloudfn deploy --dry-run`: says what a deploy would do, and does nothing."""

from tests.cli.cloud_line import CloudLine

CHANGED = """
import cloudfn

app = cloudfn.App("primes")
files = cloudfn.Volume.from_name("files", create_if_missing=True)
known = cloudfn.Secret.from_dict({"TOKEN": "hidden"})

@app.function(max_containers=3, schedule=cloudfn.Period(seconds=5))
def count(n: int = 10):
    return n + 2

@app.function(
    image=cloudfn.Image.debian_slim().pip_install("numpy"),
    volumes={"/files": files},
    secrets=[known],
    scaling=[cloudfn.ScaleAt("0 8 * * *", min_containers=2)],
)
def more():
    return 1
"""


def dry_run(line: CloudLine, *words: str) -> list[str]:
    return line(
        "deploy", str(line.program), "--runtime", "docker", "--dry-run", *words
    ).splitlines()


def state(line: CloudLine) -> list[object]:
    """What a deploy could have touched."""
    ports = line.world.cloud.ports
    return [
        ports["catalog"].apps(),
        ports["schedules"].schedules(),
        ports["secrets"].list(),
        line.document("volume", "list"),
        line.world.cloud.doorbells.functions(),
        line.document("image", "list"),
    ]


def test_of_a_new_app_everything_would_be_made_and_nothing_is(cloud: CloudLine) -> None:
    before = state(cloud)

    shown = dry_run(cloud)

    assert shown == [
        "1. Create the app 'primes' with function count.",
        "2. Send inputs to version 1.",
        "images:",
        shown[3],
        "queues:",
        "  + count",
        "schedules:",
        "  + count: 0 3 * * * UTC, by the planner",
        "Nothing was done: this was a dry run.",
    ]
    assert shown[3].startswith("  + im-")
    assert shown[3].endswith(" of count is built")
    assert state(cloud) == before


def test_of_a_deployed_app_the_differences_are_shown(deployed: CloudLine) -> None:
    deployed("update-autoscaler", "primes", "count", "--max-containers", "7")
    deployed.program.write_text(CHANGED)
    before = state(deployed)

    told = deployed.document("deploy", str(deployed.program), "--runtime", "docker", "--dry-run")

    assert [each["step"] for each in told["steps"]] == [
        "clear_overrides", "add_revision", "switch_pools"
    ]  # fmt: skip
    assert told["dropped_overrides"] == ["count"]
    assert [(each["action"], each["functions"]) for each in told["images"]] == [
        ("keep", ["count"]), ("build", ["more"])
    ]  # fmt: skip
    assert told["images"][0]["reference"]
    assert told["objects"] == [{"kind": "volume", "name": "files"}]
    assert told["queues"] == [{"action": "open", "function_name": "more"}]
    keys = ("action", "function_name", "when")
    assert [tuple(each[key] for key in keys) for each in told["schedules"]] == [
        ("put", "count", "every 5 seconds"), ("put", "more", "0 8 * * *")
    ]  # fmt: skip
    assert told["schedules"][1]["changes"] == {"min_containers": 2}
    assert state(deployed) == before


def test_schedules_and_functions_that_go_are_shown(deployed: CloudLine) -> None:
    deployed.program.write_text(CHANGED.replace("def count", "def counted"))

    shown = dry_run(deployed)

    assert "1. Add version 2 (new: counted, more; gone: count)." in shown
    assert "  - count: 0 3 * * * UTC, by the planner" in shown


def test_an_app_that_is_as_it_should_be_needs_nothing(deployed: CloudLine) -> None:
    shown = dry_run(deployed)

    assert shown[0] == "Nothing to do: version 1 is live and unchanged."
    assert shown[1] == "images:"
    assert "is there:" in shown[2]
    assert shown[3:] == ["Nothing was done: this was a dry run."]


def test_what_is_left_of_a_deploy_that_was_cut_short_is_shown(deployed: CloudLine) -> None:
    ports = deployed.world.cloud.ports
    [schedule] = ports["schedules"].schedules()
    [function] = deployed.world.cloud.doorbells.functions()
    ports["schedules"].remove([schedule.schedule_id])
    deployed.world.cloud.doorbells.remove(function)
    before = state(deployed)

    shown = dry_run(deployed)

    assert shown[0] == "1. Complete version 1, whose deploy ended in the middle."
    assert shown[3:7] == [
        "queues:",
        "  + count",
        "schedules:",
        "  + count: 0 3 * * * UTC, by the planner",
    ]
    assert state(deployed) == before
    deployed("deploy", str(deployed.program), "--runtime", "docker")
    assert dry_run(deployed)[0] == "Nothing to do: version 1 is live and unchanged."
    told = deployed.document("deploy", str(deployed.program), "--runtime", "docker", "--dry-run")
    assert (told["changed"], told["queues"], told["schedules"]) == (False, [], [])


def test_what_a_deploy_would_refuse_is_refused(cloud: CloudLine) -> None:
    given = 'cloudfn.Secret.from_dict({"TOKEN": "hidden"})'
    cloud.program.write_text(CHANGED.replace(given, 'cloudfn.Secret.from_name("absent")'))

    shown = cloud("deploy", str(cloud.program), "--runtime", "docker", "--dry-run", code=1)

    assert "absent" in shown
