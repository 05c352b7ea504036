"""Each error of botocore in real shapes, and what users read."""

import pytest
from botocore import exceptions as botocore

from cloudfn import errors as ours
from cloudfn.providers.aws.actions import needed_action
from cloudfn.providers.aws.codes import Kind
from cloudfn.providers.aws.errors import (
    ConditionFailed,
    Where,
    explained,
    is_ambiguous,
    is_temporary,
    kind,
    translated,
)

WHERE = Where("sqs", "SendMessage", "queue cloudfn-main-f")


def answer(code, message="said AWS", status=400, operation="SendMessage", **more):
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "r-1"},
        **more,
    }
    return botocore.ClientError(response, operation)


ANSWERS = [
    ("ExpiredTokenException", 400, ours.AuthError, "sso login"),
    ("ExpiredToken", 403, ours.AuthError, "sso login"),
    ("RequestExpired", 400, ours.AuthError, "sso login"),
    ("UnrecognizedClientException", 400, ours.AuthError, "get-caller-identity"),
    ("InvalidClientTokenId", 403, ours.AuthError, "get-caller-identity"),
    ("SignatureDoesNotMatch", 403, ours.AuthError, "get-caller-identity"),
    ("RequestTimeTooSkewed", 403, ours.AuthError, "clock"),
    ("AccessDenied", 403, ours.PermissionDeniedError, "sqs:SendMessage"),
    ("AccessDeniedException", 400, ours.PermissionDeniedError, "sqs:SendMessage"),
    ("UnauthorizedOperation", 403, ours.PermissionDeniedError, "sqs:SendMessage"),
    ("ThrottlingException", 400, ours.ResourceExhaustedError, "minute"),
    ("ProvisionedThroughputExceededException", 400, ours.ResourceExhaustedError, "minute"),
    ("RequestLimitExceeded", 503, ours.ResourceExhaustedError, "minute"),
    ("SlowDown", 503, ours.ResourceExhaustedError, "minute"),
    ("OverLimit", 403, ours.ResourceExhaustedError, "minute"),
    ("VcpuLimitExceeded", 400, ours.ResourceExhaustedError, "Service Quotas"),
    ("LimitExceeded", 400, ours.ResourceExhaustedError, "Service Quotas"),
    ("InsufficientInstanceCapacity", 500, ours.ResourceExhaustedError, "instance types"),
    ("PermanentRedirect", 301, ours.InvalidError, "AWS_REGION"),
    ("AuthorizationHeaderMalformed", 400, ours.InvalidError, "AWS_REGION"),
    ("TransactionConflictException", 400, ours.ConflictError, "again"),
    ("TooManyUpdates", 400, ours.ConflictError, "again"),
    ("AWS.SimpleQueueService.BatchRequestTooLong", 400, ours.RequestSizeError, "blob"),
    ("AWS.SimpleQueueService.NonExistentQueue", 400, ours.NotFoundError, "environment"),
    ("AuthException", 400, ours.PermissionDeniedError, "sqs:SendMessage"),
    ("EC2InstanceNotFoundException", 400, ours.NotFoundError, "environment"),
    ("EC2InstanceUnavailableException", 400, ours.ExecutionError, "Wait"),
    ("KmsDisabled", 400, ours.ExecutionError, "Wait"),
    ("InvalidKeyId", 400, ours.InvalidError, "Correct"),
    ("NoSuchBucket", 404, ours.NotFoundError, "environment"),
    ("404", 404, ours.NotFoundError, "environment"),
    ("ParameterAlreadyExists", 400, ours.AlreadyExistsError, "another name"),
    ("AWS.SimpleQueueService.QueueDeletedRecently", 400, ours.ExecutionError, "Wait"),
    ("ValidationException", 400, ours.InvalidError, "bug"),
    ("InternalError", 500, ours.ServiceError, "health.aws"),
    ("SomethingNew", 503, ours.ServiceError, "health.aws"),
    ("SomethingNew", 418, ours.ServiceError, "Look the code up"),
]


@pytest.mark.parametrize(("code", "status", "expected", "advice"), ANSWERS)
def test_an_answer_becomes_an_error_with_where_what_and_what_to_do(code, status, expected, advice):
    error = translated(answer(code, status=status), WHERE)

    assert type(error) is expected
    assert error.message.startswith("sqs:SendMessage of queue cloudfn-main-f: ")
    assert "said AWS" in error.message
    assert advice in error.hint


LOCAL = [
    (botocore.NoCredentialsError(), ours.AuthError, "aws configure"),
    (botocore.PartialCredentialsError(provider="env", cred_var="x"), ours.AuthError, "identity"),
    (botocore.UnauthorizedSSOTokenError(), ours.AuthError, "sso login"),
    (botocore.SSOError(), ours.AuthError, "sso login"),
    (botocore.MetadataRetrievalError(error_msg="e"), ours.AuthError, "aws configure"),
    (botocore.InvalidDefaultsMode(mode="x", valid_modes="y"), ours.InvalidError, "AWS_…"),
    (botocore.InvalidIMDSEndpointError(endpoint="x"), ours.InvalidError, "AWS_…"),
    (botocore.MissingDependencyException(msg="crt"), ours.InvalidError, "AWS_…"),
    (botocore.NoRegionError(), ours.InvalidError, "AWS_REGION"),
    (botocore.ProfileNotFound(profile="x"), ours.InvalidError, "~/.aws/config"),
    (botocore.EndpointConnectionError(endpoint_url="u"), ours.ConnectionError, "AWS_ENDPOINT_URL"),
    (botocore.ConnectTimeoutError(endpoint_url="u"), ours.ConnectionError, "AWS_ENDPOINT_URL"),
    (botocore.ReadTimeoutError(endpoint_url="u"), ours.ConnectionError, "whether it was"),
    (botocore.ConnectionClosedError(endpoint_url="u"), ours.ConnectionError, "whether it was"),
    (botocore.SSLError(endpoint_url="u", error="e"), ours.ConnectionError, "proxy"),
    (botocore.ParamValidationError(report="Unknown parameter"), ours.InvalidError, "bug"),
]


@pytest.mark.parametrize(("error", "expected", "advice"), LOCAL, ids=lambda x: type(x).__name__)
def test_what_never_reached_aws_is_explained_too(error, expected, advice):
    found = translated(error, WHERE)

    assert type(found) is expected
    assert advice in found.hint


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than …"),
        ("SignatureDoesNotMatch", "Signature not yet current: 20260101T010000Z is still later …"),
    ],
)
def test_a_wrong_clock_is_not_taken_for_wrong_credentials(code, said):
    error = translated(answer(code, said, 403), WHERE)

    assert type(error) is ours.AuthError
    assert "Set the clock" in error.hint


def test_a_missing_permission_is_named_as_aws_names_it():
    said = (
        "User: arn:aws:sts::123456789012:assumed-role/agent/i-1 is not authorized to perform:"
        " sqs:sendmessage on resource: arn:aws:sqs:eu-central-1:123456789012:q because no"
        " identity-based policy allows the sqs:sendmessage action"
    )
    error = translated(answer("AccessDenied", said, 403), WHERE)

    assert "sqs:sendmessage on arn:aws:sqs:eu-central-1:123456789012:q" in error.hint
    assert "arn:aws:sts::123456789012:assumed-role/agent/i-1" in error.hint


def test_an_explicit_deny_is_no_missing_permission():
    said = "User: u is not authorized to perform: s3:PutObject with an explicit deny in a service"
    error = translated(answer("AccessDenied", said, 403), Where("s3", "PutObject"))

    assert "denies s3:PutObject outright" in error.hint


@pytest.mark.parametrize(
    ("service", "operation", "action"),
    [
        ("sqs", "SendMessageBatch", "sqs:SendMessage"),
        ("s3", "ListObjectsV2", "s3:ListBucket"),
        ("s3", "UploadPart", "s3:PutObject"),
        ("autoscaling", "SetDesiredCapacity", "autoscaling:SetDesiredCapacity"),
    ],
)
def test_a_permission_is_not_always_called_like_its_operation(service, operation, action):
    assert needed_action(service, operation) == action


def test_a_condition_that_did_not_hold_is_a_signal_with_what_is_there():
    item = {"state": {"S": "RUNNING"}}
    refused = answer("ConditionalCheckFailedException", operation="UpdateItem", Item=item)

    with pytest.raises(ConditionFailed) as found, explained("dynamodb", "UpdateItem", "page 3"):
        raise refused

    assert (found.value.held, found.value.items) == ((False,), (item,))
    assert found.value.__cause__ is refused
    assert not isinstance(found.value, ours.Error)


def test_a_precondition_of_s3_is_the_same_signal():
    with pytest.raises(ConditionFailed), explained("s3", "PutObject"):
        raise answer("PreconditionFailed", status=412, operation="PutObject")


def cancelled(*reasons):
    return answer(
        "TransactionCanceledException",
        operation="TransactWriteItems",
        CancellationReasons=[{"Code": code} for code in reasons],
    )


def test_a_cancelled_transaction_says_whose_condition_did_not_hold():
    with pytest.raises(ConditionFailed) as found, explained("dynamodb", "TransactWriteItems"):
        raise cancelled("None", "ConditionalCheckFailed", "TransactionConflict")

    assert found.value.held == (True, False, True)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["None", "TransactionConflict"], Kind.CONFLICT),
        (["ThrottlingError", "TransactionConflict"], Kind.THROTTLED),
        (["ValidationError", "ConditionalCheckFailed"], Kind.INVALID),
        (["ItemCollectionSizeLimitExceeded"], Kind.TOO_LARGE),
    ],
)
def test_a_cancelled_transaction_is_of_the_kind_of_its_gravest_reason(reasons, expected):
    assert kind(cancelled(*reasons)) is expected


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("ValidationException", "Item size has exceeded the maximum allowed size", Kind.TOO_LARGE),
        ("ValidationError", "AutoScalingGroup name not found - no such group", Kind.MISSING),
        ("ValidationException", "ExpressionAttributeNames unused", Kind.INVALID),
    ],
)
def test_codes_that_say_little_are_told_apart_by_their_words(code, message, expected):
    assert kind(answer(code, message)) is expected


def test_errors_of_ours_and_of_the_program_pass_unchanged():
    with pytest.raises(KeyError), explained("sqs", "SendMessage"):
        raise KeyError("x")


def test_what_may_have_been_done_is_told_apart_from_what_was_not():
    assert is_ambiguous(botocore.ReadTimeoutError(endpoint_url="u"))
    assert is_ambiguous(answer("InternalError", status=500))
    assert not is_ambiguous(botocore.EndpointConnectionError(endpoint_url="u"))
    assert not is_ambiguous(answer("ThrottlingException"))
    assert is_temporary(answer("ThrottlingException"))
    assert not is_temporary(answer("AccessDenied", status=403))
