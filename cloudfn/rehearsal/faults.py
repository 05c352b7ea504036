"""What befalls requests at the front: rules, and answers in AWS's forms. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from cloudfn.errors import NotFoundError

_SIGNED = re.compile(r"Credential=[^/,\s]+/\d{8}/[^/,\s]+/([a-z0-9-]+)/aws4_request")
#: where services differ in how they say that one asks too often: status, code
_THROTTLED = {
    "dynamodb": (400, "ThrottlingException"),
    "s3": (503, "SlowDown"),
    "ec2": (503, "RequestLimitExceeded"),
    "autoscaling": (400, "Throttling"),
    "sqs": (403, "RequestThrottled"),
    "iam": (400, "Throttling"),
    "sts": (400, "Throttling"),
}
_USUAL = (400, "ThrottlingException")
#: as signatures name them
_SERVICES = (
    "autoscaling", "dynamodb", "ec2", "ecr", "events", "iam", "lambda", "logs", "s3", "scheduler",
    "sqs", "ssm", "sts",
)  # fmt: skip
#: services that answer in XML; the others do in JSON
_XML = frozenset({"s3", "ec2", "autoscaling", "iam", "sts"})


class Kind(StrEnum):
    """What befalls a request."""

    #: refused: too many
    THROTTLE = "throttle"
    #: refused: the service is broken
    FAIL = "fail"
    #: answered late
    DELAY = "delay"
    #: done, and the answer is lost
    LOSE = "lose"


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault of one service, until a moment."""

    #: named as in signatures, such as `sqs`; `*` for all
    service: str
    kind: Kind
    #: seconds since the epoch
    until: float
    #: seconds by which answers are late
    delay: float = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that the front gives itself."""

    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def check_service(name: str) -> None:
    """See whether requests can be for a service; `*` is any.

    Raises:
        NotFoundError: There is none of that name.
    """
    if name not in ("*", *_SERVICES):
        raise NotFoundError(
            f"There is no service {name!r} in a rehearsal.",
            hint=f"There are: {', '.join(_SERVICES)}; '*' is all of them.",
        )


def rules_of(text: str) -> tuple[Rule, ...]:
    """Return the rules that a file holds."""
    return tuple(Rule(**{**each, "kind": Kind(each["kind"])}) for each in json.loads(text or "[]"))


def rules_text(rules: Iterable[Rule]) -> str:
    """Return rules as a file holds them."""
    fields = ("service", "kind", "until", "delay")
    return json.dumps([{name: getattr(rule, name) for name in fields} for rule in rules])


def rule_for(rules: Sequence[Rule], service: str, now: float) -> Rule | None:
    """Return the latest rule that befalls a service now."""
    for rule in reversed(rules):
        if rule.service in (service, "*") and now < rule.until:
            return rule
    return None


def service_of(target: str, headers: Mapping[str, str]) -> str:
    """Return the service that a request is signed for; empty if it is not signed.

    Args:
        target: Path and query of the request.
        headers: By small names.
    """
    found = _SIGNED.search(headers.get("authorization", ""))
    if found is None and "X-Amz-Credential=" in target:
        found = _SIGNED.search(unquote(target).replace("X-Amz-Credential=", "Credential="))
    return found.group(1) if found else ""


def refusal(service: str, kind: Kind) -> Refusal:
    """Return the answer of a service that is throttled or broken."""
    if kind is Kind.THROTTLE:
        status, code = _THROTTLED.get(service, _USUAL)
        message = "Rate exceeded"
    else:
        status, code, message = 500, "InternalFailure", "The service is broken, as rehearsed."
    if service in _XML:
        return Refusal(status, "text/xml", (), _xml(service, code, message))
    body = json.dumps({"__type": code, "message": message}).encode()
    kind_header = (("x-amzn-errortype", code),)
    return Refusal(status, "application/x-amz-json-1.0", kind_header, body)


def _xml(service: str, code: str, message: str) -> bytes:
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    if service == "ec2":
        error = f"<Response><Errors>{error}</Errors><RequestID>rehearsed</RequestID></Response>"
    elif service != "s3":
        error = f"<ErrorResponse>{error}<RequestId>rehearsed</RequestId></ErrorResponse>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{error}'.encode()
