"""What Terraform says of an environment: one SSM parameter, read once and parsed strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cloudfn.errors import InvalidError, NotFoundError, VersionError
from cloudfn.providers.aws.errors import explained

#: the one form of outputs that is understood here
VERSION = 1


@dataclass(frozen=True, slots=True)
class QueueDefaults:
    """What every queue of an environment is given."""

    #: of the names of all queues, such as `cloudfn-main-`
    prefix: str
    #: as SQS names them, for queues of functions
    attributes: Mapping[str, str]
    #: JSON, with %s where a queue's ARN goes
    policy: str


@dataclass(frozen=True, slots=True)
class Group:
    """One machine class, which is one Auto Scaling Group."""

    #: name of the group
    group: str
    #: in order of preference
    instance_types: tuple[str, ...]
    #: x86_64 | arm64
    architecture: str
    gpu: bool
    spot: bool
    max_machines: int
    #: GiB of a machine's disk
    disk: int = 60


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where everything of an environment is. No secret is among it."""

    environment: str
    account_id: str
    region: str
    #: name of the DynamoDB table
    table: str
    #: name of the S3 bucket
    bucket: str
    #: of the cloudfn that new machines start, under agent/ in the bucket
    bundle_sha256: str
    log_group: str
    #: machine classes by name
    machines: Mapping[str, Group]
    #: name of the planner's Lambda function
    planner: str
    queues: QueueDefaults
    #: host and repository of images
    repository: str
    #: ARNs of agent, deployer, invoker and planner
    roles: Mapping[str, str]
    #: group of EventBridge Scheduler, and ARN of the role that its schedules act with
    schedule_group: str
    schedule_role: str
    #: ARN of a key of the user's for everything that is stored; None: AWS's own
    kms_key: str | None = None


def parameter(environment: str) -> str:
    """Return the name of the parameter."""
    return f"/cloudfn/{environment}/outputs"


def environments(ssm: Any) -> list[str]:
    """Return the names of the environments in a region of an account.

    Args:
        ssm: boto3's client, or one that behaves like it.

    Raises:
        Error: AWS refuses; see `explained`.
    """
    found = set()
    with explained("ssm", "DescribeParameters"):
        wanted = {"Key": "Name", "Option": "BeginsWith", "Values": ["/cloudfn/"]}
        pages = ssm.get_paginator("describe_parameters").paginate(ParameterFilters=[wanted])
        for page in pages:
            for each in page["Parameters"]:
                name = each["Name"].split("/")[2]
                if each["Name"] == parameter(name):
                    found.add(name)
    return sorted(found)


def read_outputs(ssm: Any, environment: str, region: str, account_id: str | None = None) -> Outputs:
    """Return where everything of an environment is.

    Args:
        ssm: boto3's client, or one that behaves like it.
        environment: Name of the environment.
        region: Where calls go to.
        account_id: Whose credentials they are; None: nobody asked.

    Raises:
        NotFoundError: There is no such environment in this region and account.
        InvalidError: It is written for another region or account, or not by our Terraform.
        VersionError: It is written by Terraform of another version of cloudfn.
        Error: AWS refuses; see `explained`.
    """
    name = parameter(environment)
    try:
        with explained("ssm", "GetParameter", f"parameter {name}"):
            answer = ssm.get_parameter(Name=name)
    except NotFoundError as error:
        raise NotFoundError(
            f"There is no environment {environment!r} in {region}: the SSM parameter {name} is not"
            " there.",
            hint="Make it with `cloudfn infra apply`, rehearse with `cloudfn rehearse up`, or name"
            " another --env, AWS_REGION or AWS_PROFILE.",
        ) from error
    outputs = parse_outputs(answer["Parameter"]["Value"], name)
    _check("environment", outputs.environment, environment, name)
    _check("region", outputs.region, region, name)
    if account_id is not None:
        _check("account", outputs.account_id, account_id, name)
    return outputs


def parse_outputs(text: str, name: str) -> Outputs:
    """Return outputs as they are written.

    Args:
        text: JSON.
        name: Of the parameter, for errors.

    Raises:
        InvalidError: It is no JSON, or something is missing, of another type, or empty.
        VersionError: It is of another version.
    """
    try:
        top = _Part(json.loads(text), "", name)
    except ValueError as error:
        raise _wrong(name, f"it is no JSON: {error}") from error
    if (version := top.number("version")) != VERSION:
        raise VersionError(
            f"The SSM parameter {name} has version {version}; this cloudfn reads {VERSION}.",
            hint="Update whichever is older: cloudfn here, or the environment by"
            " `cloudfn infra apply`.",
        )
    queues, schedules = top.part("queues"), top.part("schedules")
    return Outputs(
        environment=top.text("environment"),
        account_id=top.text("account_id"),
        region=top.text("region"),
        table=top.text("table"),
        bucket=top.text("bucket"),
        bundle_sha256=top.text("bundle_sha256"),
        log_group=top.text("log_group"),
        machines=MappingProxyType(
            {key: _group(each) for key, each in top.part("machines").parts()}
        ),
        planner=top.text("planner"),
        queues=QueueDefaults(
            queues.text("prefix"), queues.part("attributes").texts(), queues.text("policy")
        ),
        repository=top.text("repository"),
        roles=top.part("roles").texts(),
        schedule_group=schedules.text("group"),
        schedule_role=schedules.text("role_arn"),
        kms_key=top.text("kms_key") if top.value.get("kms_key") is not None else None,
    )


def _group(part: _Part) -> Group:
    return Group(
        group=part.text("group"),
        instance_types=part.list_of_texts("instance_types"),
        architecture=part.one_of("architecture", "x86_64", "arm64"),
        gpu=part.flag("gpu"),
        spot=part.one_of("purchase", "on-demand", "spot") == "spot",
        max_machines=part.number("max_machines"),
        disk=part.number("disk_gib"),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """One object of the JSON, and where it is."""

    value: Any
    path: str
    #: of the parameter
    name: str

    def part(self, key: str) -> _Part:
        return _Part(self._get(key, dict), f"{self.path}{key}.", self.name)

    def parts(self) -> list[tuple[str, _Part]]:
        return [(key, self.part(key)) for key in self.value]

    def text(self, key: str) -> str:
        found: str = self._get(key, str)
        if not found:
            raise _wrong(self.name, f"{self.path}{key} is empty")
        return found

    def texts(self) -> Mapping[str, str]:
        return MappingProxyType({key: self.text(key) for key in self.value})

    def list_of_texts(self, key: str) -> tuple[str, ...]:
        found = self._get(key, list)
        if not found or not all(isinstance(each, str) and each for each in found):
            raise _wrong(self.name, f"{self.path}{key} is no list of words")
        return tuple(found)

    def number(self, key: str) -> int:
        found: int = self._get(key, int)
        return found

    def flag(self, key: str) -> bool:
        found: bool = self._get(key, bool)
        return found

    def one_of(self, key: str, *choices: str) -> str:
        if (found := self.text(key)) not in choices:
            raise _wrong(
                self.name, f"{self.path}{key} is {found!r}, and none of {', '.join(choices)}"
            )
        return found

    def _get(self, key: str, kind: type) -> Any:
        if not isinstance(self.value, dict) or key not in self.value:
            raise _wrong(self.name, f"{self.path}{key} is missing")
        found = self.value[key]
        # For Python a bool is an int; for us it is none.
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise _wrong(self.name, f"{self.path}{key} is {found!r}, and no {kind.__name__}")
        return found


def _check(what: str, found: str, wanted: str, name: str) -> None:
    if found != wanted:
        raise InvalidError(
            f"The SSM parameter {name} is written for {what} {found}, and was read in {what}"
            f" {wanted}.",
            hint=f"Name the {what} that you mean, or write it anew with `cloudfn infra apply`.",
        )


def _wrong(name: str, what: str) -> InvalidError:
    return InvalidError(
        f"The SSM parameter {name} is not what cloudfn's Terraform writes: {what}.",
        hint="Write it anew with `cloudfn infra apply`.",
    )
