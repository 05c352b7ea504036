"""botocore's own models of the services: names, shapes, exceptions, paginators.

Importing the parts of botocore that know them opens a socket, so it happens at their first use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def model(service: str) -> Any:
    """Return the `ServiceModel` of a service."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


@cache
def operations(service: str) -> dict[str, str]:
    """Return AWS's name of each method."""
    from botocore import xform_name

    return {xform_name(name): name for name in model(service).operation_names}


@cache
def exceptions(service: str) -> Any:
    """Return what a client of the service has as `exceptions`."""
    from botocore.errorfactory import ClientExceptionsFactory

    return ClientExceptionsFactory().create_client_exceptions(model(service))


@cache
def pages(service: str) -> dict[str, Any]:
    """Return how operations are paged, by AWS's name."""
    from botocore.loaders import Loader

    found: dict[str, Any] = Loader().load_service_model(service, "paginators-1")["pagination"]
    return found


def paginator(service: str, operation: str, method: Callable[..., Any]) -> Any:
    """Return botocore's own paginator of an operation."""
    from botocore.paginate import Paginator

    return Paginator(method, pages(service)[operation], model(service).operation_model(operation))


def complaint(values: dict[str, Any], shape: Any, *, answer: bool = False) -> str:
    """Return what botocore finds wrong with parameters, or with an answer; empty if nothing.

    In answers services keep their models less strictly: an empty list may be there where one
    element is the least, and may be left out where it is required.
    """
    from botocore.validate import ParamValidator

    if shape is None:
        return ""
    if answer:
        required = {name: shape.members[name].type_name for name in shape.required_members}
        values = {name: [] for name, kind in required.items() if kind == "list"} | values
    report = str(ParamValidator().validate(values, shape).generate_report())
    if not answer:
        return report
    return "\n".join(line for line in report.splitlines() if "value: 0, valid min" not in line)
