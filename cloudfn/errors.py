"""The exception tree, with Modal's names; every error may carry a hint that says what to do.

    BaseException
    ├─ InputCancellation            raised inside user code; an `except Exception` cannot swallow it
    └─ Exception
       ├─ Error
       │  ├─ AlreadyExistsError  AuthError  ClientClosed  ConnectionError  DataLossError
       │  ├─ DeserializationError  ExecutionError  InternalError  InternalFailure  LogsFetchError
       │  ├─ NotFoundError  PermissionDeniedError  RequestSizeError  ResourceExhaustedError
       │  ├─ SerializationError  ServiceError  UnimplementedError  VersionError
       │  ├─ SandboxFilesystemError  SandboxTerminatedError  SnapshotCreationError
       │  ├─ WorkspaceManagementError                     never raised, kept so that programs import
       │  ├─ InvalidError → ConflictError
       │  ├─ RemoteError → ImageBuildError, InputLost, ContainerCrashed
       │  └─ TimeoutError → FunctionTimeoutError, OutputExpiredError, ExecTimeoutError,
       │                    DeadlineExceededError, InteractiveTimeoutError, StartupTimeoutError,
       │                    MountUploadTimeoutError, SandboxTimeoutError, VolumeUploadTimeoutError
       ├─ UserCodeException  ModuleNotMountable
       └─ Warning → UserWarning → DeprecationError, ServerWarning, AsyncUsageWarning,
                                  InternalAPIWarning

`TimeoutError` here is not the builtin one: `FunctionCall.get(timeout=…)` raises the builtin, a
function that exceeds its `timeout` raises `FunctionTimeoutError`.
"""

from __future__ import annotations

import builtins


class Error(Exception):
    """Something went wrong in cloudfn.

    Args:
        message: What happened and where; the class's docstring when omitted.
        hint: What the reader can do about it, in one sentence.
    """

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message if message is not None else (type(self).__doc__ or "").strip()
        self.hint = hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint), self.__dict__


def _rebuild(kind: type[Error], message: str, hint: str | None) -> Error:
    return kind(message, hint=hint)


class AlreadyExistsError(Error):
    """The object exists already."""


class AuthError(Error):
    """The other side could not be authenticated."""


class ClientClosed(Error):  # noqa: N818 - Modal's name
    """The client was closed while the request was under way."""


class ConnectionError(Error):  # noqa: A001 - Modal's name
    """The engine cannot be reached."""


class DataLossError(Error):
    """Stored bytes are missing or damaged."""


class DeserializationError(Error):
    """Bytes from the other side cannot be turned back into objects."""


class ExecutionError(Error):
    """The operation cannot be carried out in the present state."""


class InternalError(Error):
    """The engine failed; this is a bug in cloudfn."""


class InternalFailure(Error):  # noqa: N818 - Modal's name
    """An input could not be carried out for reasons outside user code."""


class LogsFetchError(Error):
    """The logs cannot be read."""


class NotFoundError(Error):
    """There is no such object."""


class PermissionDeniedError(Error):
    """The caller may not do this."""


class RequestSizeError(Error):
    """The request is larger than the engine accepts."""


class ResourceExhaustedError(Error):
    """A limit is reached; retry later."""


class SandboxFilesystemError(Error):
    """A file of a sandbox cannot be used; never raised: there are no sandboxes."""


class SandboxTerminatedError(Error):
    """A sandbox was ended; never raised: there are no sandboxes."""


class SerializationError(Error):
    """An object cannot be turned into bytes."""


class ServiceError(Error):
    """The engine gave no usable answer."""


class SnapshotCreationError(Error):
    """A memory snapshot cannot be made; never raised: there are no snapshots."""


class UnimplementedError(Error):
    """The provider cannot do this."""


class VersionError(Error):
    """The versions of the two sides do not work together."""


class WorkspaceManagementError(Error):
    """A workspace cannot be managed; never raised: there are no workspaces."""


class InvalidError(Error):
    """The program asks for something that makes no sense."""


class ConflictError(InvalidError):
    """Someone else changed the object at the same time."""


class RemoteError(Error):
    """The input ended remotely without a result of its own."""


class ImageBuildError(RemoteError):
    """The image cannot be built."""


class InputLost(RemoteError):  # noqa: N818 - what happened to it
    """The input was lost with its container or machine too often."""


class ContainerCrashed(RemoteError):  # noqa: N818 - what happened
    """User code took its container down: a signal, an exit, or a limit."""


class TimeoutError(Error):  # noqa: A001 - Modal's name
    """Something took longer than it may."""


class FunctionTimeoutError(TimeoutError):
    """The function ran longer than its `timeout`."""


class DeadlineExceededError(TimeoutError):
    """The call's `deadline` passed before the input had ended."""


class StartupTimeoutError(TimeoutError):
    """The container was not ready within its `startup_timeout`."""


class OutputExpiredError(TimeoutError):
    """The result was kept for its time and is gone."""


class ExecTimeoutError(TimeoutError):
    """The command ran longer than it may."""


class InteractiveTimeoutError(TimeoutError):
    """Nobody answered in an interactive run."""


class MountUploadTimeoutError(TimeoutError):
    """Local files took too long to arrive."""


class SandboxTimeoutError(TimeoutError):
    """A sandbox ran longer than it may; never raised: there are no sandboxes."""


class VolumeUploadTimeoutError(TimeoutError):
    """Files of a volume took too long to arrive."""


class UserCodeException(Exception):  # noqa: N818 - Modal's name
    """Modal's old wrapper of user exceptions; never raised, kept so that programs import it."""


class ModuleNotMountable(Exception):  # noqa: N818 - Modal's name
    """A module has no source that could be brought into a container."""


class InputCancellation(BaseException):
    """Raised on the main thread of user code whose input was cancelled."""


class UserWarning(builtins.UserWarning):  # noqa: A001 - Modal's name
    """A warning about the program."""


class DeprecationError(UserWarning):
    """Something works still, and will not for ever."""


class ServerWarning(UserWarning):
    """A warning that the engine sent."""


class AsyncUsageWarning(UserWarning):
    """A blocking call was made inside an event loop."""


class InternalAPIWarning(UserWarning):
    """Something was used that is not part of the public interface."""
