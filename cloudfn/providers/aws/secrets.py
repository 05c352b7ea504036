"""Secrets as SecureStrings of SSM's Parameter Store, one for each secret, encrypted by KMS."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from json import dumps, loads
from re import compile as pattern
from typing import Any

from cloudfn.clock import Clock
from cloudfn.errors import DataLossError, InvalidError, NotFoundError, RequestSizeError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.aws.retries import conflicts

#: characters of a parameter's value; above 4 KiB it costs some cents a month
LARGEST = 8_192
#: parameters of one request
_BATCH = 10
_PAGE = 50
#: how the values are written: compressed JSON as base64, in which nothing means anything to SSM
_FORM = "z1."
_WRITTEN = "written "
_ID = pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class SsmSecrets:
    """The `Secrets` port on Parameter Store.

    Args:
        clients: Where the client comes from.
        environment: Its name.
        clock: Waits between two tries.
        kms_key: What encrypts; None: AWS's own key for SSM.
    """

    def __init__(
        self, clients: ClientSource, environment: str, clock: Clock, kms_key: str | None = None
    ) -> None:
        self._clients = clients
        self._path = f"/cloudfn/{environment}/secrets/"
        self._clock = clock
        self._with_key = {} if kms_key is None else {"KeyId": kms_key}

    def write(self, secret_id: str, values: Mapping[str, str], now: float) -> None:
        """See the port.

        Raises:
            RequestSizeError: The variables are too large together.
        """
        name = self._name(secret_id)
        packed = zlib.compress(dumps(dict(values)).encode(), 9)
        value = _FORM + b64encode(packed).decode()
        if len(value) > LARGEST:
            raise RequestSizeError(
                f"The variables of secret {secret_id} take {len(value)} bytes, compressed; an SSM"
                f" parameter holds {LARGEST}.",
                hint="Make two secrets of it: a function can name several.",
            )
        try:
            self._put(name, value, now, "Intelligent-Tiering")
        except InvalidError:
            # What was large once stays in its tier: there is no way back, and SSM may say so.
            self._put(name, value, now, "Advanced")

    def read(self, secret_ids: Sequence[str]) -> list[dict[str, str] | None]:
        names = [self._name(each) for each in secret_ids]
        wanted = list(dict.fromkeys(names))
        found: dict[str, dict[str, str]] = {}
        for at in range(0, len(wanted), _BATCH):
            with explained("ssm", "GetParameters", f"parameters {self._path}*"):
                answer = self._client.get_parameters(
                    Names=wanted[at : at + _BATCH], WithDecryption=True
                )
            for each in answer["Parameters"]:
                found[each["Name"]] = _values(each["Name"], each["Value"])
        return [found.get(name) for name in names]

    def delete(self, secret_ids: Sequence[str]) -> None:
        for secret_id in secret_ids:
            name = self._name(secret_id)
            try:
                with explained("ssm", "DeleteParameter", f"parameter {name}"):
                    self._client.delete_parameter(Name=name)
            except NotFoundError:
                continue

    def list(self) -> dict[str, float]:
        found: dict[str, float] = {}
        with explained("ssm", "DescribeParameters", f"parameters {self._path}*"):
            pages = self._client.get_paginator("describe_parameters").paginate(
                ParameterFilters=[
                    {"Key": "Path", "Option": "OneLevel", "Values": [self._path.rstrip("/")]}
                ],
                PaginationConfig={"PageSize": _PAGE},
            )
            for page in pages:
                for each in page["Parameters"]:
                    found[each["Name"].removeprefix(self._path)] = _written(each)
        return found

    def close(self) -> None:
        """See the port; the clients are not ours to close."""

    @property
    def _client(self) -> Any:
        return self._clients.of("ssm")

    def _put(self, name: str, value: str, now: float, tier: str) -> None:
        put = conflicts(self._clock).wraps(self._client.put_parameter)
        with explained("ssm", "PutParameter", f"parameter {name}"):
            put(
                Name=name,
                Value=value,
                Type="SecureString",
                Tier=tier,
                Overwrite=True,
                Description=f"{_WRITTEN}{now!r}",
                **self._with_key,
            )

    def _name(self, secret_id: str) -> str:
        if not _ID.fullmatch(secret_id):
            raise InvalidError(f"{secret_id!r} is no id of a secret.")
        return f"{self._path}{secret_id}"


def _values(name: str, value: str) -> dict[str, str]:
    try:
        if not value.startswith(_FORM):
            raise ValueError
        packed = b64decode(value.removeprefix(_FORM), validate=True)
        values: dict[str, str] = loads(zlib.decompress(packed))
    except (ValueError, zlib.error):
        # Without its cause, which may quote the value.
        raise DataLossError(
            f"The SSM parameter {name} is no secret of cloudfn's.", hint="Create the secret again."
        ) from None
    return values


def _written(parameter: Mapping[str, Any]) -> float:
    """Return when a secret was written, as its writer said, or else as SSM says."""
    try:
        return float(parameter.get("Description", "").removeprefix(_WRITTEN))
    except ValueError:
        at: float = parameter["LastModifiedDate"].timestamp()
        return at
