"""What roles ask of AWS, written down as IAM sees it: action, resource, context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any, NamedTuple

from cloudfn.providers.aws.actions import needed_action
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.testing.aws import models

ACCOUNT, REGION = "123456789012", "eu-central-1"
_GROUP_ID = "0a1b2c3d-0000-0000-0000-000000000000"
_NOTHING: Mapping[str, str] = {}


class Need(NamedTuple):
    """What a call has to be allowed."""

    action: str
    resource: str
    #: what the request says, for conditions
    context: tuple[tuple[str, str], ...] = ()


class Recorded:
    """Clients of one role, whose calls are noted before they are made.

    Args:
        clients: Who makes them.
        groups: Gives the group of an instance.
    """

    def __init__(self, clients: ClientSource, groups: Callable[[str], str]) -> None:
        self._clients = clients
        self._groups = groups
        self._lock = Lock()
        self.needs: set[Need] = set()

    def of(self, service: str) -> Any:
        """Return the client of a service."""
        if service == "ec2-instance-connect":
            # There is no fake of it; that it is asked is enough.
            return _Silent(lambda operation, params: self._note(service, operation, params))
        return _Client(self, service, self._clients.of(service))

    def _note(self, service: str, operation: str, params: Mapping[str, Any]) -> None:
        found = set(needs(service, operation, params, self._groups))
        with self._lock:
            self.needs |= found


class _Silent:
    def __init__(self, note: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._note = note

    def __getattr__(self, method: str) -> Callable[..., Any]:
        operation = models.operations("ec2-instance-connect")[method]
        return lambda **params: self._note(operation, params)


class _Client:
    def __init__(self, recorded: Recorded, service: str, client: Any) -> None:
        self._recorded = recorded
        self._service = service
        self._client = client

    def get_paginator(self, name: str) -> Any:
        operation = models.operations(self._service)[name]
        return models.paginator(self._service, operation, getattr(self, name))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        operation = models.operations(self._service).get(name)
        if operation is None:
            return found

        def call(**params: Any) -> Any:
            self._recorded._note(self._service, operation, params)
            return found(**params)

        return call


def needs(
    service: str, operation: str, params: Mapping[str, Any], groups: Callable[[str], str]
) -> Iterator[Need]:
    """Yield what IAM asks about a call, by the Service Authorization Reference."""
    action = needed_action(service, operation)
    if action == "sts:GetCallerIdentity":
        return  # anybody may ask who he is
    if service in _OF_SERVICE:
        yield from _OF_SERVICE[service](operation, action, params)
    elif service == "autoscaling" and not operation.startswith("Describe"):
        instances = params.get("InstanceIds") or [params.get("InstanceId", "")]
        group = params.get("AutoScalingGroupName") or groups(instances[0])
        name = f"autoScalingGroup:{_GROUP_ID}:autoScalingGroupName/{group}"
        tag = (("autoscaling:ResourceTag/cloudfn:environment", "main"),)
        yield Need(action, arn("autoscaling", name), tag)
    else:
        yield Need(action, "*")


def arn(service: str, rest: str) -> str:
    """Return a name in this account and region."""
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"


def _of_dynamodb(operation: str, action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    tables = [params["TableName"]] if "TableName" in params else []
    actions = [action]
    if operation == "TransactWriteItems":
        parts = [part for item in params["TransactItems"] for part in item.items()]
        names = {"ConditionCheck": "ConditionCheckItem"}
        actions = [f"dynamodb:{names.get(kind, f'{kind}Item')}" for kind, _ in parts]
        tables = [each["TableName"] for _, each in parts]
    elif operation == "TransactGetItems":
        tables = [each["Get"]["TableName"] for each in params["TransactItems"]]
    tables += params.get("RequestItems", {})
    key = (("dynamodb:LeadingKeys", prefix) for prefix in sorted(_prefixes(params)))
    contexts = [(each,) for each in key]
    for each in actions:
        for table in tables:
            for context in contexts:
                yield Need(each, arn("dynamodb", f"table/{table}"), context)


def _prefixes(params: Any) -> set[str]:
    """Return what partition keys of a request begin with, up to and with the first #."""
    if isinstance(params, Mapping):
        found = set().union(*(_prefixes(each) for each in params.values()))
        key = params.get("pk") or params.get(":pk")
        if key:
            head, mark, _ = key["S"].partition("#")
            found.add(head + mark)
        return found
    if isinstance(params, list | tuple):
        return set().union(*(_prefixes(each) for each in params))
    return set()


def _of_sqs(operation: str, action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    if operation == "ListQueues":
        yield Need(action, "*")
        return
    name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
    yield Need(action, arn("sqs", name))
    if params.get("tags"):
        yield Need("sqs:TagQueue", arn("sqs", name))


def _of_s3(operation: str, action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    bucket = f"arn:aws:s3:::{params['Bucket']}"
    if operation.startswith("List"):
        yield Need(action, bucket, (("s3:prefix", params["Prefix"]),))
        return
    objects = params.get("Delete", {}).get("Objects", [params])
    for each in objects:
        yield Need(action, f"{bucket}/{each['Key']}")


def _of_ssm(operation: str, action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    if operation == "DescribeParameters":
        yield Need(action, "*")
        return
    if operation == "GetParametersByPath":
        path = arn("ssm", f"parameter{params['Path']}")
        yield Need(action, path)
        yield Need(action, f"{path}/fu-1")
        return
    for name in params.get("Names", [params.get("Name")]):
        yield Need(action, arn("ssm", f"parameter{name}"))
        if params.get("Tags"):
            yield Need("ssm:AddTagsToResource", arn("ssm", f"parameter{name}"))


def _of_scheduler(_operation: str, action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    yield Need(action, arn("scheduler", f"schedule/{params['GroupName']}/{params['Name']}"))
    if "Target" in params:
        passed = (("iam:PassedToService", "scheduler.amazonaws.com"),)
        yield Need("iam:PassRole", params["Target"]["RoleArn"], passed)


def _of_logs(_operation: str, action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    stream = f"log-stream:{params.get('logStreamName', '')}"
    yield Need(action, arn("logs", f"log-group:{params['logGroupName']}:{stream}"))


def _of_ecr(_operation: str, action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    name = params.get("repositoryName")
    yield Need(action, arn("ecr", f"repository/{name}") if name else "*")


def _of_lambda(_operation: str, action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    yield Need(action, arn("lambda", f"function:{params['FunctionName']}"))


def _of_instance_connect(_operation: str, action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    tag = (("aws:ResourceTag/cloudfn:environment", "main"),)
    yield Need(action, arn("ec2", f"instance/{params['InstanceId']}"), tag)


_OF_SERVICE = {
    "dynamodb": _of_dynamodb,
    "sqs": _of_sqs,
    "s3": _of_s3,
    "ssm": _of_ssm,
    "scheduler": _of_scheduler,
    "logs": _of_logs,
    "ecr": _of_ecr,
    "lambda": _of_lambda,
    "ec2-instance-connect": _of_instance_connect,
}
