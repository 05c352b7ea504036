"""ministack, and what its EventBridge Scheduler leaves out: targets that are calls of an API."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ministack import app
from ministack.services import eventbridge, ssm

_log = logging.getLogger("ministack")

_PUT_PARAMETER = "arn:aws:scheduler:::aws-sdk:ssm:putParameter"
_REFUSED = 400


def run() -> None:
    """Be ministack until somebody ends it."""
    # The one place where it tells targets apart.
    eventbridge._invoke_target = invoking(eventbridge._invoke_target)  # noqa: SLF001
    sys.argv = ["ministack"]  # it reads options there
    app.main()


def invoking(others: Callable[..., None]) -> Callable[..., None]:
    """Return what invokes targets.

    Args:
        others: Invokes those that ministack knows.
    """

    def invoke(target: Mapping[str, Any], *rest: Any) -> None:
        if target["Arn"] == _PUT_PARAMETER:
            put_parameter(target["Input"])
        else:
            others(target, *rest)

    return invoke


def put_parameter(text: str) -> None:
    """Do what a schedule says; what SSM refuses is logged, as nobody waits for it."""
    status, _, body = ssm._put_parameter(json.loads(text))  # noqa: SLF001
    if status >= _REFUSED:
        _log.warning("a schedule's ssm:PutParameter is refused: %s", body.decode())
