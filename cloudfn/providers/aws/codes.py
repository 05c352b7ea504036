"""What AWS's error codes mean to us. Pure.

From the services' API references ("Common Errors" and each operation's "Errors") and botocore's
service models.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Kind(Enum):
    """What sort of failure it is, which says what to do."""

    EXPIRED = "expired credentials"
    NO_CREDENTIALS = "no credentials"
    BAD_CREDENTIALS = "unknown credentials"
    SKEWED = "a wrong clock"
    SETTINGS = "unusable settings"
    DENIED = "missing permission"
    THROTTLED = "throttled"
    QUOTA = "quota reached"
    CAPACITY = "no capacity"
    REGION = "wrong region"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "no answer"
    CONDITION = "condition did not hold"
    CONFLICT = "busy with another change"
    TOO_LARGE = "too large"
    MISSING = "not there"
    EXISTS = "there already"
    STATE = "in another state"
    INVALID = "invalid"
    FAULT = "AWS's failure"
    UNKNOWN = "unknown"


_CODES: Mapping[Kind, str] = {
    Kind.EXPIRED: "ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired",
    Kind.NO_CREDENTIALS: "MissingAuthenticationToken MissingAuthenticationTokenException",
    Kind.BAD_CREDENTIALS: (
        "InvalidClientTokenId UnrecognizedClientException InvalidAccessKeyId AuthFailure"
        " SignatureDoesNotMatch InvalidSignatureException InvalidToken IncompleteSignature"
        " OptInRequired InvalidSecurity"
    ),
    Kind.SKEWED: "RequestTimeTooSkewed",
    Kind.DENIED: (
        "AccessDenied AccessDeniedException UnauthorizedOperation NotAuthorized"
        " AuthorizationError AuthException KmsAccessDenied KMS.AccessDeniedException"
        " KMSAccessDeniedException"
    ),
    Kind.THROTTLED: (
        "Throttling ThrottlingException ThrottledException RequestThrottled"
        " RequestThrottledException RequestLimitExceeded TooManyRequestsException"
        " ProvisionedThroughputExceededException ProvisionedThroughputExceeded SlowDown"
        " PriorRequestNotComplete BandwidthLimitExceeded EC2ThrottledException KmsThrottled"
        " KMS.ThrottlingException ThrottlingError OverLimit TransactionInProgressException"
    ),
    Kind.QUOTA: (
        "LimitExceeded LimitExceededException VcpuLimitExceeded InstanceLimitExceeded"
        " MaxSpotInstanceCountExceeded ServiceQuotaExceededException ParameterLimitExceeded"
        " ParameterMaxVersionLimitExceeded AddressLimitExceeded VolumeLimitExceeded"
        " ItemCollectionSizeLimitExceededException TooManyBuckets"
        " HierarchyLevelLimitExceededException"
    ),
    Kind.CAPACITY: (
        "InsufficientInstanceCapacity InsufficientHostCapacity InsufficientCapacity"
        " UnfulfillableCapacity SpotMaxPriceTooLow InsufficientFreeAddressesInSubnet"
    ),
    Kind.REGION: (
        "PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException"
        " InvalidLocationConstraint"
    ),
    Kind.CONDITION: "ConditionalCheckFailedException ConditionalCheckFailed PreconditionFailed",
    Kind.CONFLICT: (
        "TransactionConflictException TransactionConflict ConditionalRequestConflict"
        " OperationAborted TooManyUpdates ResourceContention ScalingActivityInProgress"
        " InstanceRefreshInProgress IdempotentCallInProgress ConflictException"
        " ResourceConflictException ConcurrentModificationException DuplicateTransaction"
        " ReplicatedWriteConflictException ReplicatedWriteConflict"
    ),
    Kind.TOO_LARGE: (
        "BatchRequestTooLong EntityTooLarge RequestEntityTooLargeException RequestTooLong"
        " MaxMessageLengthExceeded ItemCollectionSizeLimitExceeded TooManyEntriesInBatchRequest"
    ),
    Kind.MISSING: (
        "QueueDoesNotExist NonExistentQueue NoSuchKey NoSuchBucket NoSuchUpload"
        " ParameterNotFound ParameterVersionNotFound ResourceNotFoundException ResourceNotFound"
        " TableNotFoundException RepositoryNotFoundException ImageNotFoundException"
        " InvalidInstanceID.NotFound NotFound 404 InvalidLaunchTemplateName.NotFoundException"
        " InvalidLaunchTemplateId.NotFound NoSuchEntity ActiveInstanceRefreshNotFound"
        " InvalidAMIID.NotFound InvalidSubnetID.NotFound EC2InstanceNotFoundException"
        " NoSuchResourceException KmsNotFound KMS.NotFoundException KMSNotFoundException"
    ),
    Kind.EXISTS: (
        "QueueNameExists QueueAlreadyExists ParameterAlreadyExists AlreadyExists"
        " BucketAlreadyExists BucketAlreadyOwnedByYou RepositoryAlreadyExistsException"
        " ResourceAlreadyExistsException EntityAlreadyExists ImageAlreadyExistsException"
        " TableAlreadyExistsException ImageTagAlreadyExistsException"
    ),
    Kind.STATE: (
        "ResourceInUse ResourceInUseException QueueDeletedRecently PurgeQueueInProgress"
        " MessageNotInflight IncorrectInstanceState IrreversibleInstanceRefresh"
        " InvalidObjectState BucketNotEmpty TableInUseException RepositoryNotEmptyException"
        " DeleteConflict EC2InstanceStateInvalidException EC2InstanceUnavailableException"
        " KmsDisabled KMS.DisabledException KMSDisabledException KmsInvalidState"
        " KMS.InvalidStateException KMSInvalidStateException"
    ),
    Kind.INVALID: (
        "ValidationError ValidationException InvalidParameterValue"
        " InvalidParameterValueException InvalidParameterCombination InvalidAttributeValue"
        " InvalidParameterException"
        " InvalidAttributeName InvalidMessageContents MissingParameter MissingRequiredParameter"
        " InvalidRequest InvalidArgument MalformedXML SerializationException InvalidAction"
        " UnsupportedOperation UnknownOperationException BatchEntryIdsNotDistinct"
        " EmptyBatchRequest InvalidBatchEntryId ReceiptHandleIsInvalid InvalidAddress"
        " UnsupportedParameterType InvalidRange InvalidPart InvalidPartOrder EntityTooSmall"
        " InvalidBucketName KeyTooLongError IdempotentParameterMismatch"
        " IdempotentParameterMismatchException InvalidAMIID.Malformed InvalidInstanceType"
        " InvalidInstanceID.Malformed InvalidQueryExpression ParameterPatternMismatchException"
        " MalformedPolicyDocument InvalidArgsException InvalidKeyId KmsInvalidKeyUsage InvalidInput"
    ),
    Kind.TIMED_OUT: "RequestTimeout RequestTimeoutException",
    Kind.FAULT: (
        "InternalError InternalFailure InternalServerError InternalServiceError"
        " InternalServerException ServerException ServiceUnavailable ServiceUnavailableException"
        " Unavailable ServiceFailure 500 502 503 504"
    ),
}
_KINDS: Mapping[str, Kind] = {
    code: kind for kind, codes in _CODES.items() for code in codes.split()
}

#: services that say most things with one code, and the rest in words
_WORDS: tuple[tuple[str, Kind], ...] = (
    ("item size has exceeded", Kind.TOO_LARGE),
    ("item size to update has exceeded", Kind.TOO_LARGE),
    ("message must be shorter than", Kind.TOO_LARGE),
    ("is longer than", Kind.TOO_LARGE),
    ("rate exceeded", Kind.THROTTLED),
    ("does not exist", Kind.MISSING),
    ("name not found", Kind.MISSING),
    ("no instance", Kind.MISSING),
)
#: what most services say of a signature, with the code of a wrong one, where clocks differ
_SKEWED = ("signature expired", "signature not yet current")
_STATUS: Mapping[int, Kind] = {
    301: Kind.REGION,
    403: Kind.DENIED,
    404: Kind.MISSING,
    409: Kind.CONFLICT,
    412: Kind.CONDITION,
    413: Kind.TOO_LARGE,
    429: Kind.THROTTLED,
}


def kind_of_code(code: str, message: str = "", status: int = 0) -> Kind:
    """Return what an error code means.

    Args:
        code: As AWS says it, with or without a prefix such as `AWS.SimpleQueueService.`.
        message: What AWS says beside it.
        status: Of HTTP; says what it is if the code does not.
    """
    short = code.rpartition("AWS.SimpleQueueService.")[2]
    found = _KINDS.get(short, _STATUS.get(status))
    if found is None:
        return Kind.FAULT if status >= 500 else Kind.UNKNOWN
    words = message.lower()
    if found is Kind.INVALID:
        return next((kind for said, kind in _WORDS if said in words), found)
    if found is Kind.BAD_CREDENTIALS and any(said in words for said in _SKEWED):
        return Kind.SKEWED
    return found
