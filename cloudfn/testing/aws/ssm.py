"""Fake SSM Parameter Store: versions, tiers, limits, and readers that see the past.

From the API reference, "Managing parameter tiers", "Working with parameter versions in Parameter
Store" and "AWS Systems Manager endpoints and quotas".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import md5
from random import Random

from cloudfn.testing.aws.knobs import SsmKnobs
from cloudfn.testing.aws.service import Answer, Bucket, Refused, Request, Service
from cloudfn.testing.clock import FakeClock

#: bytes of a value, by tier
_LARGEST = {"Standard": 4_096, "Advanced": 8_192}
_MOST_VERSIONS = 100
_MOST_STANDARD = 10_000
_PAGE = 10
_DESCRIBED = 50
_MOST_LEVELS = 15
_NAME = re.compile(r"/?[\w.-]+(/[\w.-]+)*\Z", re.ASCII)
_LABEL = re.compile(r"[A-Za-z_][\w.-]{0,99}\Z", re.ASCII)


@dataclass(slots=True)
class _Version:
    number: int
    value: str
    kind: str
    tier: str
    at: float
    #: who put it, and so sees it at once
    by: int
    about: str = ""
    #: of KMS; empty where it is not encrypted
    key: str = ""
    labels: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Parameter:
    name: str
    versions: list[_Version] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


class Ssm(Service):
    """All parameters of an account and region.

    Args:
        clock: What time it is.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: In the names of things.
        knobs: How nasty.
    """

    name = "ssm"

    def __init__(
        self, clock: FakeClock, random: Random, region: str, account: str, knobs: SsmKnobs
    ) -> None:
        super().__init__(clock, random, region, account)
        self._knobs = knobs
        self._parameters: dict[str, _Parameter] = {}
        self._calls = Bucket(knobs.calls)
        self._puts = Bucket(knobs.puts)

    def truth(self) -> dict[str, str]:
        """Return what all parameters really are."""
        with self.changed:
            return {name: each.versions[-1].value for name, each in self._parameters.items()}

    # ---------------------------------------------------------------------------------- writing

    def put_parameter(self, request: Request) -> Answer:
        self._spend(self._puts, request)
        name, value = request["Name"], request["Value"]
        _check_name(name)
        known = self._parameters.get(name)
        if known is not None and not request.get("Overwrite", False):
            raise Refused(
                "ParameterAlreadyExists",
                "The parameter already exists. To overwrite this value, set the overwrite option in"
                " the request to true.",
            )
        last = known.versions[-1] if known else None
        kind = request.get("Type", last.kind if last else None)
        if kind is None:
            raise _invalid("A parameter type is required when you create a parameter.")
        tier = self._tier(request.get("Tier"), value, last)
        _check_value(value, tier)
        if known is None and tier == "Standard" and len(self._parameters) >= _MOST_STANDARD:
            raise Refused("ParameterLimitExceeded", "You have exceeded the number of parameters.")
        if known is not None and self.chance(self._knobs.conflicts):
            raise Refused("TooManyUpdates", "There are concurrent updates for a resource.")
        parameter = known or _Parameter(name)
        self._make_room(parameter)
        number = last.number + 1 if last else 1
        about = request.get("Description", last.about if last else "")
        key = request.get("KeyId", "alias/aws/ssm") if kind == "SecureString" else ""
        version = _Version(number, value, kind, tier, request.now, request.reader, about, key)
        parameter.versions.append(version)
        self._parameters[name] = parameter
        return {"Version": number, "Tier": tier}

    def delete_parameter(self, request: Request) -> None:
        self._spend(self._calls, request)
        if self._parameters.pop(request["Name"], None) is None:
            raise Refused("ParameterNotFound", "")

    def delete_parameters(self, request: Request) -> Answer:
        self._spend(self._calls, request)
        _check_number(request["Names"])
        gone = [name for name in request["Names"] if self._parameters.pop(name, None)]
        return {
            "DeletedParameters": gone,
            "InvalidParameters": [name for name in request["Names"] if name not in gone],
        }

    def label_parameter_version(self, request: Request) -> Answer:
        self._spend(self._calls, request)
        parameter = self._known(request["Name"])
        number = request.get("ParameterVersion", parameter.versions[-1].number)
        version = _numbered(parameter, number)
        labels = set(request["Labels"])
        bad = sorted(each for each in labels if not _LABEL.match(each))
        for other in parameter.versions:
            other.labels -= labels
        version.labels |= labels - set(bad)
        return {"InvalidLabels": bad, "ParameterVersion": number}

    # ---------------------------------------------------------------------------------- reading

    def get_parameter(self, request: Request) -> Answer:
        self._spend(self._calls, request)
        return {"Parameter": self._read(request["Name"], request)}

    def get_parameters(self, request: Request) -> Answer:
        self._spend(self._calls, request)
        _check_number(request["Names"])
        found: list[Answer] = []
        missing: list[str] = []
        for name in dict.fromkeys(request["Names"]):
            try:
                found.append(self._read(name, request))
            except Refused:
                missing.append(name)
        return {"Parameters": found, "InvalidParameters": missing}

    def get_parameters_by_path(self, request: Request) -> Answer:
        self._spend(self._calls, request)
        path = request["Path"].rstrip("/") + "/"
        if not path.startswith("/"):
            raise _invalid("The parameter path must begin with /.")
        limit = request.get("MaxResults", _PAGE)
        if not 1 <= limit <= _PAGE:
            raise _invalid(f"MaxResults must be between 1 and {_PAGE}.")
        deep = request.get("Recursive", False)
        names = [
            name
            for name in sorted(self._parameters)
            if name.startswith(path) and (deep or "/" not in name.removeprefix(path))
        ]
        start = request.get("NextToken", "")
        names = [name for name in names if name > start]
        answer: Answer = {"Parameters": list(self._readable(names[:limit], request))}
        if len(names) > limit:
            answer["NextToken"] = names[limit - 1]
        return answer

    def describe_parameters(self, request: Request) -> Answer:
        self._spend(self._calls, request)
        limit = request.get("MaxResults", _DESCRIBED)
        if not 1 <= limit <= _DESCRIBED:
            raise _invalid(f"MaxResults must be between 1 and {_DESCRIBED}.")
        filters = request.get("ParameterFilters", [])
        names = [each for each in sorted(self._parameters) if _passes(each, filters)]
        names = [each for each in names if each > request.get("NextToken", "")]
        found: list[Answer] = []
        for name in names[:limit]:
            try:
                version = self._seen(self._parameters[name], request)
            except Refused:
                continue
            shown = self._shown(self._parameters[name], version, request)
            del shown["Value"]
            about = {"Description": version.about} if version.about else {}
            key = {"KeyId": version.key} if version.key else {}
            found.append({**shown, "Tier": version.tier, **about, **key})
        more = {"NextToken": names[limit - 1]} if len(names) > limit else {}
        return {"Parameters": found, **more}

    def get_parameter_history(self, request: Request) -> Answer:
        self._spend(self._calls, request)
        parameter = self._known(request["Name"])
        return {
            "Parameters": [
                {**self._shown(parameter, each, request), "Labels": sorted(each.labels)}
                for each in parameter.versions
            ]
        }

    # ------------------------------------------------------------------------------------- tags

    def add_tags_to_resource(self, request: Request) -> None:
        tags = {each["Key"]: each["Value"] for each in request["Tags"]}
        self._known(request["ResourceId"]).tags.update(tags)

    def list_tags_for_resource(self, request: Request) -> Answer:
        tags = self._known(request["ResourceId"]).tags
        return {"TagList": [{"Key": key, "Value": value} for key, value in tags.items()]}

    # ------------------------------------------------------------------------------------ parts

    def _tier(self, asked: str | None, value: str, last: _Version | None) -> str:
        """Return the tier of a new version; there is no way back from Advanced."""
        if asked == "Intelligent-Tiering":
            asked = "Standard" if len(value.encode()) <= _LARGEST["Standard"] else "Advanced"
        before = last.tier if last else None
        if before == "Advanced" and asked == "Standard":
            raise _invalid("This parameter uses the advanced-parameter tier. It can't be changed.")
        return before if before == "Advanced" else (asked or "Standard")

    def _make_room(self, parameter: _Parameter) -> None:
        if len(parameter.versions) < _MOST_VERSIONS:
            return
        if parameter.versions[0].labels:
            raise Refused(
                "ParameterMaxVersionLimitExceeded",
                "The oldest version has a label, and 100 versions are kept: move the label first.",
            )
        del parameter.versions[0]

    def _readable(self, names: list[str], request: Request) -> Iterator[Answer]:
        for name in names:
            try:
                yield self._read(name, request)
            except Refused:
                continue

    def _read(self, name: str, request: Request) -> Answer:
        if name.startswith("arn:"):
            name = name.rpartition(":parameter")[2]
        plain, _, selector = name.partition(":")
        parameter = self._known(plain)
        if selector.isdecimal():
            version = _numbered(parameter, int(selector))
        elif selector:
            labelled = (each for each in parameter.versions if selector in each.labels)
            version = next(labelled, None) or _numbered(parameter, 0)
        else:
            version = self._seen(parameter, request)
        answer = self._shown(parameter, version, request)
        return answer | ({"Selector": f":{selector}"} if selector else {})

    def _seen(self, parameter: _Parameter, request: Request) -> _Version:
        """Return the version that this reader sees: a fresh one only if it is the reader's own."""
        old = parameter.versions
        for version in reversed(old):
            fresh = version.at > request.now - self._knobs.puts_lag and version.by != request.reader
            if not fresh or not self.chance(self._knobs.stale):
                return version
        if old[0].number == 1:
            raise Refused("ParameterNotFound", "")
        return old[0]

    def _shown(self, parameter: _Parameter, version: _Version, request: Request) -> Answer:
        hidden = version.kind == "SecureString" and not request.get("WithDecryption", False)
        separator = "" if parameter.name.startswith("/") else "/"
        return {
            "Name": parameter.name,
            "Type": version.kind,
            "Value": _encrypted(version.value) if hidden else version.value,
            "Version": version.number,
            "LastModifiedDate": datetime.fromtimestamp(version.at, UTC),
            **(
                {}
                if request.operation == "GetParameterHistory"
                else {"ARN": self.arn(f"parameter{separator}{parameter.name}"), "DataType": "text"}
            ),
        }

    def _known(self, name: str) -> _Parameter:
        if name not in self._parameters:
            raise Refused("ParameterNotFound", "")
        return self._parameters[name]

    def _spend(self, bucket: Bucket, request: Request) -> None:
        if not bucket.take(1, request.now):
            raise Refused("ThrottlingException", "Rate exceeded")


def _numbered(parameter: _Parameter, number: int) -> _Version:
    for version in parameter.versions:
        if version.number == number:
            return version
    raise Refused("ParameterVersionNotFound", "Systems Manager could not find the version.")


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise _invalid("Parameter name: can only consist of letters, digits, and . - _ /")
    if re.match(r"/?(aws|ssm)", name, re.IGNORECASE):
        raise _invalid('Parameter name: can\'t be prefixed with "aws" or "ssm"')
    if name.strip("/").count("/") >= _MOST_LEVELS:
        raise Refused("HierarchyLevelLimitExceededException", "A hierarchy has up to 15 levels.")


def _check_value(value: str, tier: str) -> None:
    if not value:
        raise _invalid("The parameter value must not be empty.")
    if "{{" in value:
        raise _invalid("Parameter value: can't nest another parameter, as {{ does.")
    if len(value.encode()) > _LARGEST[tier]:
        raise _invalid(
            f"{tier} tier parameters support a maximum parameter value of {_LARGEST[tier]}"
            " characters; the value is longer than that."
        )


def _check_number(names: list[str]) -> None:
    if not 1 <= len(names) <= _PAGE:
        raise _invalid(f"Member must have length less than or equal to {_PAGE}")


def _passes(name: str, filters: list[Answer]) -> bool:
    """Whether a parameter passes filters by its path or name; the fake has no others."""
    for each in filters:
        option, values = each.get("Option", "Equals"), each.get("Values", [])
        match each["Key"], option:
            case "Path", "OneLevel":
                passes = name.rpartition("/")[0] in values
            case "Path", "Recursive":
                passes = any(name.startswith(f"{path.rstrip('/')}/") for path in values)
            case "Name", "BeginsWith":
                passes = name.startswith(tuple(values))
            case "Name", "Equals":
                passes = name in values
            case _:
                raise NotImplementedError(f"The fake of ssm has no filter {each}.")
        if not passes:
            return False
    return True


def _encrypted(value: str) -> str:
    """Return something that does not tell the value."""
    return f"AQIC{md5(value.encode(), usedforsecurity=False).hexdigest()}"


def _invalid(message: str) -> Refused:
    return Refused("ValidationException", message)
