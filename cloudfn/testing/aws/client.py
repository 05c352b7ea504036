"""Clients that answer like boto3's: the same methods, shapes, checks and exceptions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

from botocore import exceptions

from cloudfn.testing.aws import models
from cloudfn.testing.aws.faults import STATUS, Fault, Faults
from cloudfn.testing.aws.service import Answer, Refused, Request, Service

_REQUESTS = count(1)
#: what botocore's standard mode tries again, as far as the fakes say it
_AGAIN = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
_LONGEST_WAIT = 20.0


class FakeClient:
    """What `boto3.client(…)` returns, in front of a fake service. Thread-safe.

    Args:
        service: Who carries requests out.
        faults: What befalls them.
        reader: Which client this is.
        attempts: Tries in all, as botocore's standard retry mode makes them, waiting on the clock;
            1 shows every failure.
    """

    def __init__(self, service: Service, faults: Faults, reader: int, attempts: int) -> None:
        self._service = service
        self._faults = faults
        self._reader = reader
        self._attempts = attempts
        self.exceptions = models.exceptions(service.name)
        self.meta = SimpleNamespace(
            service_model=models.model(service.name),
            region_name=service.region,
            endpoint_url=_endpoint(service),
            partition="aws",
        )

    def __getattr__(self, name: str) -> Callable[..., Answer]:
        operation = models.operations(self._service.name).get(name)
        if operation is None:
            raise AttributeError(f"{self._service.name} has no {name}")

        def call(**params: Any) -> Answer:
            return self._call(operation, name, params)

        return call

    def close(self) -> None:
        """As boto3's; there is nothing to close."""

    def can_paginate(self, name: str) -> bool:
        """Say whether an operation has pages."""
        return models.operations(self._service.name).get(name) in models.pages(self._service.name)

    def get_paginator(self, name: str) -> Any:
        """Return botocore's own paginator."""
        operation = models.operations(self._service.name)[name]
        return models.paginator(self._service.name, operation, getattr(self, name))

    def generate_presigned_url(
        self,
        client_method: str,
        Params: dict[str, Any] | None = None,  # noqa: N803 - boto3's names
        ExpiresIn: int = 3600,  # noqa: N803
        HttpMethod: str | None = None,  # noqa: N803
    ) -> str:
        """Return an opaque URL; `S3.open_url` follows it."""
        presign = getattr(self._service, "presign", None)
        if presign is None:
            raise NotImplementedError(f"The fake of {self._service.name} presigns nothing.")
        return cast("str", presign(client_method, Params or {}, ExpiresIn))

    def _operation(self, operation: str) -> Any:
        return self.meta.service_model.operation_model(operation)

    def _call(self, operation: str, method: str, params: dict[str, Any]) -> Answer:
        params = _copied(self._service.prepared(params))
        if complaint := models.complaint(params, self._operation(operation).input_shape):
            raise exceptions.ParamValidationError(report=complaint)
        for attempt in range(1, self._attempts + 1):
            try:
                return self._try(operation, method, params)
            except (
                exceptions.ClientError,
                exceptions.ConnectionError,
                exceptions.HTTPClientError,
            ) as error:
                if attempt == self._attempts or not _again(error):
                    raise
                wait = self._service.random.uniform(0, min(2.0 ** (attempt - 1), _LONGEST_WAIT))
                self._service.clock.sleep(wait)
        raise AssertionError("attempts are at least 1")

    def _try(self, operation: str, method: str, params: dict[str, Any]) -> Answer:
        service = self._service
        fault = self._faults.met(service.name, operation, service.clock.wall())
        if fault is not None:
            self._befall(fault, operation)
        answer = self._carry_out(operation, method, params)
        if fault is not None and fault.what == "lose the answer":
            raise exceptions.ReadTimeoutError(endpoint_url=_endpoint(service))
        return answer

    def _befall(self, fault: Fault, operation: str) -> None:
        """Let happen what happens before a request arrives."""
        match fault.what:
            case "fail":
                refused = Refused(fault.code, fault.message, STATUS.get(fault.code, 400))
                raise self._error(operation, refused)
            case "unreachable":
                raise exceptions.EndpointConnectionError(endpoint_url=_endpoint(self._service))
            case "delay":
                self._service.clock.sleep(fault.seconds)
            case "lose the answer":
                pass

    def _carry_out(self, operation: str, method: str, params: dict[str, Any]) -> Answer:
        now = self._service.clock.wall()
        request = Request(operation, params, self._reader, now, now)
        try:
            answer = self._service.carry_out(request, method)
        except Refused as refused:
            raise self._error(operation, refused) from None
        # The fake's own answers are held against the model, too.
        shape = self._operation(operation).output_shape
        if complaint := models.complaint(answer, shape, answer=True):
            raise AssertionError(f"the fake of {operation} answers wrongly: {complaint}")
        return {**_copied(answer), "ResponseMetadata": _metadata(200)}

    def _error(self, operation: str, refused: Refused) -> exceptions.ClientError:
        kind = self.exceptions.from_code(refused.code)
        shape = getattr(kind, "__name__", "")
        if shape == "ClientError" and hasattr(self.exceptions, refused.code):
            kind = getattr(self.exceptions, refused.code)
        code = self._service.codes.get(refused.code, refused.code)
        response = {
            "Error": {"Code": code, "Message": refused.message},
            "ResponseMetadata": _metadata(refused.status),
            **_copied(dict(refused.more)),
        }
        return cast("exceptions.ClientError", kind(response, operation))


def _copied(value: Any) -> Any:
    """Return what a wire would carry: nothing is shared by the two sides but bytes and streams."""
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(each) for each in value]
    return value


def _again(error: Exception) -> bool:
    if not isinstance(error, exceptions.ClientError):
        return True
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return error.response["Error"]["Code"] in _AGAIN or status in {500, 502, 503, 504}


def _metadata(status: int) -> dict[str, Any]:
    return {
        "RequestId": f"fake-{next(_REQUESTS)}",
        "HTTPStatusCode": status,
        "HTTPHeaders": {},
        "RetryAttempts": 0,
    }


def _endpoint(service: Service) -> str:
    return f"https://{service.name}.{service.region}.amazonaws.com"
