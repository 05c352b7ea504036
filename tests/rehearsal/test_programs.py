"""Programs on an emulated AWS: from an empty environment to their results, and through a death."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rehearsal.world import World

PROGRAM = """
import time
import cloudfn

app = cloudfn.App("program")
begun = cloudfn.Queue.from_name("begun", create_if_missing=True)
storm = cloudfn.Queue.from_name("storm", create_if_missing=True)


@app.function()
def square(x):
    return x * x


@app.function()
def slow(x):
    begun.put(x)
    time.sleep(5)
    return x + 1


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


@app.local_entrypoint()
def patient():
    print("answer", slow.remote(41))
"""


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
    done = aws.cloudfn("run", "--provider", "aws", f"{program}::squares")
    assert "remote 9 map 328350" in done.stdout
    assert aws.machines() != []
    assert [line for line in aws.lines() if " may not " in line] == []


def test_an_input_outlives_its_machine(aws: World, program: Path):
    with aws.start("run", "--provider", "aws", f"{program}::patient") as running:
        aws.until(lambda: _length(aws, "begun") == 1, "the input runs")
        (machine,) = aws.machines()
        aws.cloudfn("rehearse", "kill", machine)
        told, _ = running.communicate(timeout=300)
    assert "answer 42" in told, told + aws.logs()
    assert _length(aws, "begun") == 2
    assert machine not in aws.machines()


def test_a_map_comes_out_right_whatever_befalls_the_services(aws: World, program: Path):
    with aws.start("run", "--provider", "aws", f"{program}::weather") as running:
        aws.until(lambda: _length(aws, "storm") == 1, "the map runs")
        for service, kind in FAULTS:
            aws.cloudfn("rehearse", "fault", service, kind, "2")
        told, _ = running.communicate(timeout=300)
    assert "right True" in told, told + aws.logs()


def _length(aws: World, queue: str) -> int:
    done = aws.cloudfn("queue", "len", queue, "--provider", "aws", check=False)
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
