"""Modal's place for the exceptions: `cloudfn.exception.NotFoundError` and all others."""

from __future__ import annotations

from cloudfn.errors import (
    AlreadyExistsError,
    AsyncUsageWarning,
    AuthError,
    ClientClosed,
    ConflictError,
    ConnectionError,
    ContainerCrashed,
    DataLossError,
    DeadlineExceededError,
    DeprecationError,
    DeserializationError,
    Error,
    ExecTimeoutError,
    ExecutionError,
    FunctionTimeoutError,
    ImageBuildError,
    InputCancellation,
    InputLost,
    InteractiveTimeoutError,
    InternalAPIWarning,
    InternalError,
    InternalFailure,
    InvalidError,
    LogsFetchError,
    ModuleNotMountable,
    MountUploadTimeoutError,
    NotFoundError,
    OutputExpiredError,
    PermissionDeniedError,
    RemoteError,
    RequestSizeError,
    ResourceExhaustedError,
    SandboxFilesystemError,
    SandboxTerminatedError,
    SandboxTimeoutError,
    SerializationError,
    ServerWarning,
    ServiceError,
    SnapshotCreationError,
    StartupTimeoutError,
    TimeoutError,
    UnimplementedError,
    UserCodeException,
    UserWarning,
    VersionError,
    VolumeUploadTimeoutError,
    WorkspaceManagementError,
)

__all__ = [
    "AlreadyExistsError",
    "AsyncUsageWarning",
    "AuthError",
    "ClientClosed",
    "ConflictError",
    "ConnectionError",
    "ContainerCrashed",
    "DataLossError",
    "DeadlineExceededError",
    "DeprecationError",
    "DeserializationError",
    "Error",
    "ExecTimeoutError",
    "ExecutionError",
    "FunctionTimeoutError",
    "ImageBuildError",
    "InputCancellation",
    "InputLost",
    "InteractiveTimeoutError",
    "InternalAPIWarning",
    "InternalError",
    "InternalFailure",
    "InvalidError",
    "LogsFetchError",
    "ModuleNotMountable",
    "MountUploadTimeoutError",
    "NotFoundError",
    "OutputExpiredError",
    "PermissionDeniedError",
    "RemoteError",
    "RequestSizeError",
    "ResourceExhaustedError",
    "SandboxFilesystemError",
    "SandboxTerminatedError",
    "SandboxTimeoutError",
    "SerializationError",
    "ServerWarning",
    "ServiceError",
    "SnapshotCreationError",
    "StartupTimeoutError",
    "TimeoutError",
    "UnimplementedError",
    "UserCodeException",
    "UserWarning",
    "VersionError",
    "VolumeUploadTimeoutError",
    "WorkspaceManagementError",
    "simulate_preemption",
]

#: seconds that exit hooks have after a preemption
_GRACE = 30


def simulate_preemption(wait_seconds: int, jitter_seconds: int = 0) -> None:
    """Have this container interrupted as if its machine were taken away; for trying that out.

    The input that runs gets a KeyboardInterrupt, exit hooks run, and the input runs again in
    another container. After 30 seconds more the container is killed.

    Args:
        wait_seconds: Seconds until then.
        jitter_seconds: Up to so many more, at random.

    Raises:
        InvalidError: It would be before now.
    """
    import os
    import signal
    from random import SystemRandom

    if wait_seconds <= 0 or jitter_seconds < 0:
        raise InvalidError("`wait_seconds` must be above 0, and `jitter_seconds` not below it.")

    def preempt(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.alarm(_GRACE)
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGALRM, preempt)
    signal.setitimer(signal.ITIMER_REAL, wait_seconds + jitter_seconds * SystemRandom().random())
