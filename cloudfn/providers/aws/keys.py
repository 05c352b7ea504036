"""The key of an environment: a SecureString that all who may call or run its functions can read."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import AlreadyExistsError, DataLossError, NotFoundError
from cloudfn.providers.aws.errors import explained
from cloudfn.wire.frames import KEY_SIZE

#: reads of a key that somebody else has just made, and seconds between two: SSM shows it late
_READS = 10
_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Key:
    """An environment's key; what it is, neither `repr` nor an error shows."""

    #: 32 bytes
    secret: bytes = field(repr=False)


def parameter(environment: str) -> str:
    """Return the name of the parameter that holds the key."""
    return f"/cloudfn/{environment}/keys/main"


def load_key(ssm: Any, environment: str) -> Key:
    """Return the key of an environment.

    Args:
        ssm: boto3's client, or one that behaves like it.
        environment: Name of the environment.

    Raises:
        NotFoundError: There is none.
        DataLossError: What is there is no key.
        Error: AWS refuses; see `explained`.
    """
    name = parameter(environment)
    try:
        with explained("ssm", "GetParameter", f"parameter {name}"):
            answer = ssm.get_parameter(Name=name, WithDecryption=True)
    except NotFoundError as error:
        raise NotFoundError(
            f"The environment {environment!r} has no key: the SSM parameter {name} is not there.",
            hint="`cloudfn infra apply` makes it.",
        ) from error
    try:
        secret = b64decode(answer["Parameter"]["Value"], validate=True)
    except ValueError:
        secret = b""
    if len(secret) != KEY_SIZE:
        raise DataLossError(
            f"The SSM parameter {name} holds no key of {KEY_SIZE} bytes.",
            hint="Bring an earlier version of it back; what was sealed with it is lost without.",
        )
    return Key(secret)


def make_key(
    ssm: Any, environment: str, kms_key: str | None = None, clock: Clock | None = None
) -> Key:
    """Return the key of an environment, having made it if there was none.

    Of several that make it at once, one wins, and all return its key.

    Args:
        ssm: boto3's client, or one that behaves like it.
        environment: Name of the environment.
        kms_key: What encrypts it; None: AWS's own key for SSM.
        clock: Waits until a key that somebody else made can be seen.

    Raises:
        DataLossError: What is there is no key.
        Error: AWS refuses; see `explained`.
    """
    name = parameter(environment)
    key = Key(os.urandom(KEY_SIZE))
    with_key = {} if kms_key is None else {"KeyId": kms_key}
    try:
        with explained("ssm", "PutParameter", f"parameter {name}"):
            ssm.put_parameter(
                Name=name,
                Value=b64encode(key.secret).decode(),
                Type="SecureString",
                Overwrite=False,
                Description="Key of a cloudfn environment: what is sealed with it is lost without.",
                **with_key,
            )
    except AlreadyExistsError:
        # There before, or made by somebody else just now, or by us: the answer may have been lost.
        return _load_patiently(ssm, environment, clock or SystemClock())
    return key


def _load_patiently(ssm: Any, environment: str, clock: Clock) -> Key:
    for _ in range(_READS - 1):
        try:
            return load_key(ssm, environment)
        except NotFoundError:
            clock.sleep(_PAUSE)
    return load_key(ssm, environment)
