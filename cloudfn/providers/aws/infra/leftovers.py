"""What an environment has beside what Terraform made, and what would go on billing without it.

Queues, parameters and schedules come from deploys, machines from the planner. `quieten` has nothing
new appear, `sweep` removes what nothing else does, `remaining` looks whether anything is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cloudfn.errors import NotFoundError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.aws.outputs import parameter

Report = Callable[[str], None]

#: parameters that one request deletes
_PARAMETERS_AT_ONCE = 10
#: states in which an instance costs nothing, or soon will
_GONE = frozenset({"shutting-down", "terminated"})
#: what follows the environment in the name of a queue: of a function, of a client, of dead letters
_QUEUE = re.compile(r"fu-[0-9a-z]+|reply-[0-9a-f]{24}|dead")


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that is there."""

    #: queue, parameter, machine, …
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def quieten(clients: ClientSource, environment: str, report: Report) -> None:
    """Stop the planner for good, and end all machines at once. Idempotent."""
    _stop_planner(clients, f"cloudfn-{environment}-planner", report)
    for group in _groups(clients, environment):
        report(f"Ending the machines of {group}")
        with explained("autoscaling", "DeleteAutoScalingGroup", f"group {group}"):
            # With its machines, and without waiting for hooks: their agents are not asked.
            clients.of("autoscaling").delete_auto_scaling_group(
                AutoScalingGroupName=group, ForceDelete=True
            )
    # Those of the groups, and those that no group knows.
    if left := list(machines(clients, environment)):
        with explained("ec2", "TerminateInstances", ", ".join(left)):
            clients.of("ec2").terminate_instances(InstanceIds=left)


def sweep(clients: ClientSource, environment: str, report: Report) -> None:
    """Remove the queues and parameters of an environment. Idempotent."""
    queues = list(_queues(clients, environment))
    if queues:
        report(f"Removing {len(queues)} queues")
    for url in queues:
        # A client that leaves removes its own, and SQS lists for a while what is gone.
        with suppress(NotFoundError), explained("sqs", "DeleteQueue", f"queue {url}"):
            clients.of("sqs").delete_queue(QueueUrl=url)
    # Last of all, where everything was: who comes again after a failure needs it.
    last = parameter(environment)
    names = sorted(_parameters(clients, environment), key=lambda name: (name == last, name))
    if names:
        report(f"Removing {len(names)} parameters: settings, secrets and the environment's key")
    for start in range(0, len(names), _PARAMETERS_AT_ONCE):
        with explained("ssm", "DeleteParameters", f"/cloudfn/{environment}/"):
            clients.of("ssm").delete_parameters(Names=names[start : start + _PARAMETERS_AT_ONCE])


def remaining(
    clients: ClientSource, environment: str, outputs: Mapping[str, Any] | None = None
) -> list[Leftover]:
    """Return everything of an environment that is still there, by name and by tag.

    Args:
        clients: Of the account.
        environment: Its name.
        outputs: Where its base was; None: nobody said.
    """
    found = [Leftover("queue", url.rpartition("/")[2]) for url in _queues(clients, environment)]
    found += [Leftover("parameter", name) for name in _parameters(clients, environment)]
    found += [Leftover("machine", name) for name in machines(clients, environment)]
    found += [Leftover("disk", name) for name in _volumes(clients, environment)]
    found += [Leftover("group", name) for name in _groups(clients, environment)]
    return found if outputs is None else [*found, *_base(clients, outputs)]


def machines(clients: ClientSource, environment: str) -> Iterator[str]:
    """Yield the ids of instances that bear an environment's tag and are not ending."""
    with explained("ec2", "DescribeInstances"):
        pages = clients.of("ec2").get_paginator("describe_instances")
        for page in pages.paginate(Filters=_tagged(environment)):
            for reservation in page["Reservations"]:
                for instance in reservation["Instances"]:
                    if instance["State"]["Name"] not in _GONE:
                        yield instance["InstanceId"]


def orphans(clients: ClientSource, environment: str) -> list[str]:
    """Return the ids of machines of an environment that belong to none of its groups."""
    with explained("autoscaling", "DescribeAutoScalingInstances"):
        pages = clients.of("autoscaling").get_paginator("describe_auto_scaling_instances")
        owned = {
            each["InstanceId"] for page in pages.paginate() for each in page["AutoScalingInstances"]
        }
    return [each for each in machines(clients, environment) if each not in owned]


def _base(clients: ClientSource, outputs: Mapping[str, Any]) -> Iterator[Leftover]:
    """Yield what is there of a base that keeps data, or that could begin anything."""
    table, repository = outputs["table"], outputs["repository"].partition("/")[2]
    planner, schedules = outputs["planner"], outputs["schedules"]["group"]
    looks: tuple[tuple[str, str, str, str, Mapping[str, Any]], ...] = (
        ("table", table, "dynamodb", "describe_table", {"TableName": table}),
        ("images", repository, "ecr", "describe_repositories", {"repositoryNames": [repository]}),
        ("function", planner, "lambda", "get_function", {"FunctionName": planner}),
        ("schedules", schedules, "scheduler", "get_schedule_group", {"Name": schedules}),
    )
    for kind, name, service, operation, arguments in looks:
        with suppress(NotFoundError), explained(service, operation, name):
            getattr(clients.of(service), operation)(**arguments)
            yield Leftover(kind, name)
    with explained("s3", "ListBuckets"):
        buckets = {each["Name"] for each in clients.of("s3").list_buckets()["Buckets"]}
    if outputs["bucket"] in buckets:
        yield Leftover("bucket", outputs["bucket"])
    for group in (outputs["log_group"], f"/aws/lambda/{planner}"):
        with explained("logs", "DescribeLogGroups", group):
            told = clients.of("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        if any(each["logGroupName"] == group for each in told):
            yield Leftover("log group", group)


def _stop_planner(clients: ClientSource, function: str, report: Report) -> None:
    try:
        with explained("lambda", "PutFunctionConcurrency", f"function {function}"):
            clients.of("lambda").put_function_concurrency(
                FunctionName=function, ReservedConcurrentExecutions=0
            )
    except NotFoundError:
        return
    report("The planner is stopped")


def _groups(clients: ClientSource, environment: str) -> list[str]:
    with explained("autoscaling", "DescribeAutoScalingGroups"):
        pages = clients.of("autoscaling").get_paginator("describe_auto_scaling_groups")
        return [
            group["AutoScalingGroupName"]
            for page in pages.paginate(Filters=_tagged(environment))
            for group in page["AutoScalingGroups"]
            if group.get("Status") is None  # it is not being deleted
        ]


def _queues(clients: ClientSource, environment: str) -> Iterator[str]:
    prefix = f"cloudfn-{environment}-"
    with explained("sqs", "ListQueues"):
        pages = clients.of("sqs").get_paginator("list_queues")
        # Of more than 1,000 queues SQS gives the rest only where the size of a page is named.
        sizes = {"PageSize": 1_000}
        for page in pages.paginate(QueueNamePrefix=prefix, PaginationConfig=sizes):
            for url in page.get("QueueUrls", ()):
                # The environment main-2 begins like main.
                if _QUEUE.fullmatch(url.rpartition("/")[2].removeprefix(prefix)):
                    yield url


def _parameters(clients: ClientSource, environment: str) -> Iterator[str]:
    with explained("ssm", "GetParametersByPath", f"/cloudfn/{environment}/"):
        pages = clients.of("ssm").get_paginator("get_parameters_by_path")
        for page in pages.paginate(Path=f"/cloudfn/{environment}/", Recursive=True):
            yield from (each["Name"] for each in page["Parameters"])


def _volumes(clients: ClientSource, environment: str) -> Iterator[str]:
    with explained("ec2", "DescribeVolumes"):
        pages = clients.of("ec2").get_paginator("describe_volumes")
        unused = {"Name": "status", "Values": ["available"]}
        for page in pages.paginate(Filters=[*_tagged(environment), unused]):
            yield from (each["VolumeId"] for each in page["Volumes"])


def _tagged(environment: str) -> list[dict[str, Any]]:
    return [{"Name": "tag:cloudfn:environment", "Values": [environment]}]
