"""botocore's errors as ours: where it happened, what happened, and what to do. Pure.

A condition that did not hold is no error: it is how two writers find out who was first. It becomes
`ConditionFailed`, which no caller of an adapter ever sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore import exceptions as botocore

from cloudfn import errors as ours
from cloudfn.providers.aws.actions import needed_action
from cloudfn.providers.aws.codes import Kind, kind_of_code


@dataclass(frozen=True, slots=True)
class Where:
    """What was asked of whom."""

    #: boto3's name, such as "sqs"
    service: str
    #: AWS's name, such as "SendMessage"; empty before there is a client
    operation: str
    #: what it was about, in words of ours or as an ARN; empty if nothing in particular
    resource: str = ""

    def __str__(self) -> str:
        place = f"{self.service}:{self.operation}" if self.operation else self.service
        return f"{place} of {self.resource}" if self.resource else place


class ConditionFailed(Exception):  # noqa: N818 - a signal
    """A conditional write was refused, because somebody else was first. A signal, not an error.

    Args:
        held: For each part of a transaction, whether its condition held; one for a single write.
        items: What is there instead, in DynamoDB's form, where the request asked for it.
    """

    def __init__(
        self,
        held: tuple[bool, ...] = (False,),
        items: tuple[Mapping[str, Any] | None, ...] = (None,),
    ) -> None:
        super().__init__("the condition did not hold")
        self.held = held
        self.items = items


@contextmanager
def explained(service: str, operation: str, resource: str = "") -> Iterator[None]:
    """Turn what botocore raises within into one of ours.

    Args:
        service: boto3's name.
        operation: AWS's name; what a `ClientError` says goes before it.
        resource: What it is about.

    Raises:
        ConditionFailed: A condition did not hold.
        Error: Anything else; the error of botocore is its cause.
    """
    try:
        yield
    except (botocore.BotoCoreError, botocore.ClientError) as error:
        if kind(error) is Kind.CONDITION:
            raise _signal(error) from error
        raise translated(error, Where(service, operation, resource)) from error


def kind(error: BaseException) -> Kind:
    """Return what sort of failure an error of botocore is."""
    if isinstance(error, botocore.ClientError):
        return _kind_of_answer(error.response)
    for kinds, sort in _LOCAL:
        if isinstance(error, kinds):
            return sort
    return Kind.UNKNOWN


def answer_of(error: BaseException) -> Mapping[str, Any]:
    """Return what AWS answered; empty where it did not: a `response` of a timeout is None."""
    return error.response if isinstance(error, botocore.ClientError) else {}


def error_code(error: BaseException) -> str:
    """Return the code that AWS answered; empty where it did not."""
    return str(answer_of(error).get("Error", {}).get("Code", ""))


def is_temporary(error: BaseException) -> bool:
    """Say whether the same request may well succeed later."""
    return kind(error) in {Kind.THROTTLED, Kind.CONFLICT}


def is_ambiguous(error: BaseException) -> bool:
    """Say whether AWS may have carried the request out although there is no good answer."""
    return kind(error) in {Kind.TIMED_OUT, Kind.FAULT, Kind.UNKNOWN}


def translated(error: Exception, where: Where) -> ours.Error:
    """Return an error of ours for one of botocore's.

    Args:
        error: A `ClientError` or a `BotoCoreError`.
        where: What was asked of whom.
    """
    if isinstance(error, botocore.ClientError):
        where = Where(where.service, error.operation_name, where.resource)
        code = error_code(error)
        text = str(answer_of(error).get("Error", {}).get("Message", "")).strip()
    else:
        code, text = type(error).__name__, str(error)
    sort = kind(error)
    if sort is Kind.DENIED:
        return _denied(where, text)
    meaning = _MEANINGS[sort]
    said = f" {code}: {text}" if text else f" {code}."
    hint = meaning.hint.format(service=where.service, operation=where.operation)
    return meaning.error(f"{where}: {meaning.what}.{said}", hint=hint)


@dataclass(frozen=True, slots=True)
class _Meaning:
    error: type[ours.Error]
    what: str
    hint: str


_MEANINGS: Mapping[Kind, _Meaning] = {
    Kind.EXPIRED: _Meaning(
        ours.AuthError,
        "the AWS credentials have expired",
        "Renew them, for example with `aws sso login`, and do it again: nothing is lost.",
    ),
    Kind.NO_CREDENTIALS: _Meaning(
        ours.AuthError,
        "there are no AWS credentials",
        "Run `aws configure` or `aws sso login`, or set AWS_PROFILE.",
    ),
    Kind.BAD_CREDENTIALS: _Meaning(
        ours.AuthError,
        "AWS does not know these credentials",
        "Look with `aws sts get-caller-identity` who you are; set AWS_PROFILE, or renew the keys.",
    ),
    Kind.SKEWED: _Meaning(
        ours.AuthError,
        "this machine's clock differs too much from AWS's",
        "Set the clock, for example with `timedatectl set-ntp true`.",
    ),
    Kind.SETTINGS: _Meaning(
        ours.InvalidError,
        "the AWS settings of this machine cannot be used",
        "Set AWS_REGION and AWS_PROFILE, or correct ~/.aws/config and what is set as AWS_….",
    ),
    Kind.THROTTLED: _Meaning(
        ours.ResourceExhaustedError,
        "AWS is asked more often than it allows, and went on refusing",
        "Try again in a minute; `cloudfn doctor` compares the account's quotas with what is used.",
    ),
    Kind.QUOTA: _Meaning(
        ours.ResourceExhaustedError,
        "a quota of the account is reached",
        "Remove what is not needed, or ask for more in Service Quotas, under {service}.",
    ),
    Kind.CAPACITY: _Meaning(
        ours.ResourceExhaustedError,
        "AWS has no such machine free",
        "Allow further instance types or zones in the machine class, or on-demand instead of Spot.",
    ),
    Kind.REGION: _Meaning(
        ours.InvalidError,
        "this is not in the region, or not in the account, that was asked",
        "Compare AWS_REGION with the region that `cloudfn infra outputs` names.",
    ),
    Kind.UNREACHABLE: _Meaning(
        ours.ConnectionError,
        "AWS cannot be reached",
        "Check network, proxy, AWS_REGION, and AWS_ENDPOINT_URL if it is set.",
    ),
    Kind.TIMED_OUT: _Meaning(
        ours.ConnectionError,
        "AWS did not answer in time; the request may have been carried out",
        "Look whether it was, or do it again if that is harmless.",
    ),
    Kind.CONDITION: _Meaning(
        ours.ConflictError,
        "somebody else changed it first",
        "Read it again, and decide anew.",
    ),
    Kind.CONFLICT: _Meaning(
        ours.ConflictError,
        "somebody else changes it at this moment",
        "Do it again.",
    ),
    Kind.TOO_LARGE: _Meaning(
        ours.RequestSizeError,
        "the request is larger than AWS accepts",
        "Send less at once, or put it into a blob.",
    ),
    Kind.MISSING: _Meaning(
        ours.NotFoundError,
        "there is no such thing",
        "Check name, environment and region; `cloudfn infra doctor` says what is missing.",
    ),
    Kind.EXISTS: _Meaning(
        ours.AlreadyExistsError,
        "it exists already",
        "Take another name, or remove what is there.",
    ),
    Kind.STATE: _Meaning(
        ours.ExecutionError,
        "it is not in a state that allows this",
        "Wait until what goes on there has ended, and do it again.",
    ),
    Kind.INVALID: _Meaning(
        ours.InvalidError,
        "AWS does not accept the request",
        "Correct what AWS names; if cloudfn made the request, this is a bug in cloudfn.",
    ),
    Kind.FAULT: _Meaning(
        ours.ServiceError,
        "AWS failed; the request may have been carried out",
        "Try again; https://health.aws.amazon.com says whether {service} has trouble.",
    ),
    Kind.UNKNOWN: _Meaning(
        ours.ServiceError,
        "AWS gave an answer that cloudfn does not know",
        "Look the code up in the documentation of {service}:{operation}.",
    ),
}

#: The first that fits counts: a read timeout is an HTTPClientError, too.
_LOCAL: tuple[tuple[tuple[type[Exception], ...], Kind], ...] = (
    (
        (
            botocore.SSOError,
            # Of `aws login`, which not every botocore knows.
            getattr(botocore, "LoginError", botocore.SSOError),
            botocore.TokenRetrievalError,
            botocore.CredentialRetrievalError,
            botocore.RefreshWithMFAUnsupportedError,
        ),
        Kind.EXPIRED,
    ),
    (
        (
            botocore.NoCredentialsError,
            botocore.NoAuthTokenError,
            botocore.MetadataRetrievalError,
        ),
        Kind.NO_CREDENTIALS,
    ),
    ((botocore.PartialCredentialsError, botocore.InvalidConfigError), Kind.BAD_CREDENTIALS),
    (
        (
            botocore.NoRegionError,
            botocore.InvalidRegionError,
            botocore.ProfileNotFound,
            botocore.ConfigParseError,
            botocore.ConfigNotFound,
            botocore.EndpointProviderError,
            botocore.EndpointVariantError,
            botocore.InvalidDefaultsMode,
            botocore.InvalidIMDSEndpointError,
            botocore.InvalidIMDSEndpointModeError,
            botocore.InvalidProxiesConfigError,
            botocore.InvalidRetryConfigurationError,
            botocore.MissingDependencyException,
            botocore.UnknownCredentialError,
            botocore.UnknownEndpointError,
        ),
        Kind.SETTINGS,
    ),
    ((botocore.ParamValidationError, botocore.ValidationError), Kind.INVALID),
    (
        (
            botocore.ConnectTimeoutError,
            botocore.EndpointConnectionError,
            botocore.ProxyConnectionError,
        ),
        Kind.UNREACHABLE,
    ),
    ((botocore.SSLError,), Kind.UNREACHABLE),
    (
        (
            botocore.ReadTimeoutError,
            botocore.ConnectionClosedError,
            botocore.IncompleteReadError,
            botocore.ResponseStreamingError,
            botocore.HTTPClientError,
        ),
        Kind.TIMED_OUT,
    ),
)


def _kind_of_answer(response: Mapping[str, Any]) -> Kind:
    code = str(response.get("Error", {}).get("Code", ""))
    if code == "TransactionCanceledException":
        return _kind_of_reasons(_reasons(response))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = str(response.get("Error", {}).get("Message", ""))
    return kind_of_code(code, message, status)


def _reasons(response: Mapping[str, Any]) -> list[str]:
    return [str(each.get("Code", "None")) for each in response.get("CancellationReasons", ())]


def _kind_of_reasons(reasons: list[str]) -> Kind:
    """Return the kind of a cancelled transaction.

    What no repetition helps goes first. A condition that did not hold is known for sure, whatever
    the other parts met.
    """
    kinds = {kind_of_code(code, "", 400) for code in reasons if code != "None"}
    for sort in (Kind.INVALID, Kind.TOO_LARGE, Kind.CONDITION, Kind.THROTTLED, Kind.CONFLICT):
        if sort in kinds:
            return sort
    return Kind.CONFLICT


def _signal(error: Exception) -> ConditionFailed:
    response = answer_of(error)
    if "CancellationReasons" not in response:
        return ConditionFailed(items=(response.get("Item"),))
    reasons = response["CancellationReasons"]
    return ConditionFailed(
        tuple(code != "ConditionalCheckFailed" for code in _reasons(response)),
        tuple(each.get("Item") for each in reasons),
    )


_PERFORM = re.compile(r"not authorized to perform:? ([\w-]+:\w+)")
_RESOURCE = re.compile(r"on resource:? (\S+?)(?:[,.]? |[,.]?$)")
_USER = re.compile(r"User: (\S+)")


def _denied(where: Where, text: str) -> ours.PermissionDeniedError:
    """Name the action and the resource, as AWS does, or as the operation needs it."""
    action = _PERFORM.search(text)
    resource = _RESOURCE.search(text)
    user = _USER.search(text)
    needed = action[1] if action else needed_action(where.service, where.operation)
    target = resource[1] if resource else where.resource
    who = user[1] if user else "these credentials"
    on = f" on {target}" if target else ""
    if "explicit deny" in text:
        hint = f"A policy denies {needed} outright, which no Allow overrules: change that policy."
    else:
        hint = f"Add {needed}{on} to a policy of {who}; `cloudfn infra apply` sets up the roles."
    return ours.PermissionDeniedError(
        f"{where}: {who} may not {needed}{on}. {text}".rstrip(), hint=hint
    )
