"""Programs on an emulated AWS: from an empty environment to their results, and through a death."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.world import World

PROGRAM = """
import os
import time
import cloudfn

app = cloudfn.App("program")
storm = cloudfn.Queue.from_name("storm", create_if_missing=True)


@app.function(secrets=[cloudfn.Secret.from_dict({"POWER": "2"})])
def square(x):
    return x ** int(os.environ["POWER"])


@app.function()
def steady(x):
    if x == 0:
        storm.put(x)
    time.sleep(0.05)
    return x * x


@app.local_entrypoint()
def weather():
    print("right", list(steady.map(range(1000))) == [x * x for x in range(1000)])


@app.local_entrypoint()
def squares():
    print("remote", square.remote(3), "map", sum(square.map(range(100))))
"""


#: what everything says that lacks a permission
_NO = " may not "
FAULTS = (
    ("dynamodb", "throttle"),
    ("sqs", "lose"),
    ("dynamodb", "lose"),
    ("s3", "fail"),
    ("*", "delay"),
    ("dynamodb", "fail"),
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("program") / "program.py"
    file.write_text(PROGRAM)
    return file


def test_a_program_runs_on_machines_that_were_not_there_before(aws: World, program: Path):
    assert aws.machines() == []
    done = aws.cloudfn("run", f"{program}::squares")
    assert "remote 9 map 328350" in done.stdout
    assert aws.machines() != []
    assert [line for line in aws.lines() if _NO in line] == []


def test_a_map_comes_out_right_whatever_befalls_the_services(aws: World, program: Path):
    with aws.start("run", f"{program}::weather") as running:
        aws.until(lambda: _length(aws, "storm") == 1, "the map runs")
        for service, kind in FAULTS:
            aws.cloudfn("rehearse", "fault", service, kind, "2")
        told, _ = running.communicate(timeout=300)
    assert "right True" in told, told + aws.logs()


@pytest.fixture(scope="module")
def survivors(aws: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("survivors") / "survivors.py"
    file.write_text(Path(__file__).with_name("survivors.py").read_text())
    aws.cloudfn("deploy", str(file))
    # What it does is seen last: it comes with EventBridge's next look, and the planner's.
    aws.of("scheduler").create_schedule(
        Name="mornings",
        GroupName="cloudfn-main",
        ScheduleExpression="at(2020-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:ssm:putParameter",
            "RoleArn": "arn:aws:iam::000000000000:role/mornings",
            "Input": json.dumps(
                {
                    "Name": _scheduled(aws, "awake"),
                    "Type": "String",
                    "Overwrite": True,
                    "Value": json.dumps({"min_containers": 2, "by": "mornings"}),
                }
            ),
        },
    )
    return file


@pytest.mark.parametrize("part", ["containers", "agent", "machine"])
@pytest.mark.usefixtures("survivors")
def test_an_input_outlives_what_runs_it(aws: World, part: str):
    with aws.call("ask", part) as asking:
        machine = _machine_of(aws, part)
        aws.cloudfn("rehearse", "kill", machine, "--what", part)
        assert aws.end_of(asking) == "answer 2\n"
    assert (machine in aws.machines()) == (part != "machine")


def _machine_of(aws: World, queue: str) -> str:
    """Return the machine on which an input of `patient` runs, once it does."""
    aws.until(lambda: _length(aws, queue) == 1, "the input runs")

    def busy() -> list[str]:
        listed = json.loads(aws.cloudfn("machine", "list", "--json").stdout)
        # One that was killed is remembered for a while.
        serving = [each for each in listed if each["state"] == "serving"]
        return [each["machine_id"] for each in serving if each["inputs"]]

    (machine,) = aws.until(busy, "its machine has said so")
    return machine


@pytest.mark.usefixtures("survivors")
def test_a_call_is_found_again_by_another_laptop(aws: World):
    with aws.call("spawn", "lost") as spawning:
        assert spawning.stdout is not None
        call = spawning.stdout.readline().strip()
        aws.until(lambda: _length(aws, "lost") == 1, "the input runs")
        spawning.kill()
    with aws.call("again", call) as waiting:
        aws.told("put", "lost")
        assert aws.end_of(waiting) == "answer 2\n"


def test_a_map_stays_with_the_revision_that_it_began_with(aws: World, survivors: Path):
    with aws.call("map", "5000") as mapping:
        assert mapping.stdout is not None
        assert mapping.stdout.readline() == "begun\n"
        survivors.write_text(survivors.read_text().replace("REVISION = 1", "REVISION = 2"))
        aws.cloudfn("deploy", str(survivors))
        assert aws.told("one", "7") == "answer (2, 7)\n"
        aws.cloudfn("update-autoscaler", "survivors", "crunch", "--max-containers", "3")
        aws.told("put", "gate")
        assert aws.end_of(mapping) == "right True revisions {1}\n"


@pytest.mark.usefixtures("survivors")
def test_a_machine_drains_to_its_end_whoever_plans(aws: World):
    with aws.call("ask", "drained") as asking:
        machine = _machine_of(aws, "drained")
        aws.cloudfn("machine", "drain", machine)
        before = _epoch(aws)
        aws.cloudfn("rehearse", "kill", "planner")
        # Its lease ends; who waits for the call has another one come.
        aws.until(lambda: _epoch(aws) > before, "another planner leads")
        aws.told("put", "drained")
        assert aws.end_of(asking) == "answer 2\n"
    aws.until(lambda: machine not in aws.machines(), f"{machine} is gone")


def _epoch(aws: World) -> int:
    """Return how often a planner has begun to lead."""
    key = {name: {"S": "LEADER"} for name in ("pk", "sk")}
    item = aws.of("dynamodb").get_item(TableName="cloudfn-main", Key=key)["Item"]
    return int(item["epoch"]["N"])


@pytest.mark.usefixtures("survivors")
def test_pools_are_scaled_by_schedules_without_any_code(aws: World):
    ssm = aws.of("ssm")
    declared = aws.until(lambda: _written(ssm, _scheduled(aws, "ready")), "EventBridge has come")
    assert declared["min_containers"] == 1
    assert declared["by"].startswith("schedule sc-")
    kept = {"survivors/ready": 1, "survivors/awake": 2}
    aws.until(lambda: _containers(aws) == kept, "containers are kept")


def _written(ssm: Any, name: str) -> Any:
    try:
        return json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return None


def _scheduled(aws: World, function: str) -> str:
    """Return the parameter that schedules write for a function."""
    told = json.loads(aws.cloudfn("function", "info", f"survivors/{function}", "--json").stdout)
    return f"/cloudfn/main/pools/{told['function_id']}/scheduled"


def _containers(aws: World) -> dict[str, int]:
    """Return how many containers pools have that have any."""
    told = json.loads(aws.cloudfn("planner", "status", "--json").stdout)
    return {each["name"]: each["containers"] for each in told["pools"] if each["containers"]}


@pytest.mark.usefixtures("survivors")
def test_nothing_is_left_that_bills(aws: World):
    aws.cloudfn("app", "stop", "survivors", "--yes")
    aws.until(lambda: aws.machines() == [], "no machine is left")
    assert [line for line in aws.printed("/aws/lambda/cloudfn-main-planner") if _NO in line] == []


def _length(aws: World, queue: str) -> int:
    done = aws.cloudfn("queue", "len", queue, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def test_destroy_leaves_nothing_of_an_environment(aws: World):
    """The last test of this rehearsal: nothing works after it."""
    assert "made by `cloudfn rehearse up`" in aws.cloudfn("infra", "doctor").stdout
    assert "cloudfn-main-spot" in aws.cloudfn("infra", "outputs").stdout
    refused = aws.cloudfn("infra", "apply", "--yes", check=False)
    assert (refused.returncode, "has its base already" in refused.stderr) == (1, True)
    aws.cloudfn("secret", "create", "word", "WORD=x", "--provider", "aws")
    assert _listed(aws) >= {"queues", "parameters", "logs", "tables", "buckets", "images"}
    done = aws.cloudfn("destroy", "--yes")
    assert "Nothing of environment main is left" in done.stderr
    assert "cloudfn rehearse down" in done.stderr
    assert _listed(aws) == set()
    assert aws.status()["groups"] == {}
    aws.until(lambda: aws.machines() == [], "all machines are gone")


def _listed(aws: World) -> set[str]:
    """Return what kinds of things the emulated account has."""
    found = {
        "queues": aws.of("sqs").list_queues().get("QueueUrls"),
        "parameters": aws.of("ssm").describe_parameters()["Parameters"],
        "logs": aws.of("logs").describe_log_groups()["logGroups"],
        "tables": aws.of("dynamodb").list_tables()["TableNames"],
        "buckets": aws.of("s3").list_buckets()["Buckets"],
        "images": aws.of("ecr").describe_repositories()["repositories"],
        "functions": aws.of("lambda").list_functions()["Functions"],
        "schedules": aws.of("scheduler").list_schedules()["Schedules"],
        "groups": aws.of("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"],
    }
    return {kind for kind, things in found.items() if things}
