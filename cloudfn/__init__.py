"""cloudfn: Modal's way of working on machines that you own.

Names are imported when they are first used, so that `import cloudfn` costs next to nothing.
"""

from __future__ import annotations

# The module `typing` takes longer to import than all that is below; type checkers know the name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloudfn import exception, experimental
    from cloudfn.errors import Error
    from cloudfn.model.retry import Retries
    from cloudfn.model.schedule import Cron, Period, ScaleAt
    from cloudfn.sdk.app import App
    from cloudfn.sdk.cls import Cls
    from cloudfn.sdk.context import (
        current_attempt,
        current_function_call_id,
        current_input_id,
        enable_output,
        is_local,
    )
    from cloudfn.sdk.dicts import Dict
    from cloudfn.sdk.environment import Environment
    from cloudfn.sdk.executor import Executor
    from cloudfn.sdk.function import Function
    from cloudfn.sdk.function_call import FunctionCall
    from cloudfn.sdk.image import Image
    from cloudfn.sdk.interaction import interact
    from cloudfn.sdk.joblib_backend import joblib_backend
    from cloudfn.sdk.lifecycle import enter, exit, method, parameter
    from cloudfn.sdk.logs import LogEntry
    from cloudfn.sdk.patterns import FilePatternMatcher
    from cloudfn.sdk.queues import Queue
    from cloudfn.sdk.records import (
        AppInfo,
        FunctionAutoscalerSettings,
        FunctionCurrentStats,
        FunctionInfo,
        FunctionStats,
        InputInfo,
        InputStatus,
    )
    from cloudfn.sdk.secrets import Secret
    from cloudfn.sdk.slots import batched, concurrent
    from cloudfn.sdk.volumes import Volume
    from cloudfn.sdk.web import asgi_app, fastapi_endpoint, web_server, wsgi_app
    from cloudfn.wire.version import VERSION as __version__  # noqa: N811

__all__ = [  # noqa: RUF022 - grouped by what they are for
    # declare
    "App",
    "Cls",
    "Cron",
    "Period",
    "Image",
    "FilePatternMatcher",
    "Retries",
    "ScaleAt",
    "batched",
    "concurrent",
    "enter",
    "exit",
    "method",
    "parameter",
    "asgi_app",
    "fastapi_endpoint",
    "web_server",
    "wsgi_app",
    # call
    "Function",
    "FunctionCall",
    "Executor",
    "joblib_backend",
    # share
    "Dict",
    "Queue",
    "Secret",
    "Volume",
    # look
    "AppInfo",
    "FunctionInfo",
    "LogEntry",
    "FunctionAutoscalerSettings",
    "FunctionCurrentStats",
    "FunctionStats",
    "InputInfo",
    "InputStatus",
    # where am I
    "current_attempt",
    "current_function_call_id",
    "current_input_id",
    "is_local",
    # the rest
    "Environment",
    "Error",
    "__version__",
    "enable_output",
    "exception",
    "interact",
    "experimental",
]

_PLACES = {
    "App": "cloudfn.sdk.app",
    "AppInfo": "cloudfn.sdk.records",
    "Cls": "cloudfn.sdk.cls",
    "Cron": "cloudfn.model.schedule",
    "Dict": "cloudfn.sdk.dicts",
    "Environment": "cloudfn.sdk.environment",
    "Error": "cloudfn.errors",
    "Executor": "cloudfn.sdk.executor",
    "FilePatternMatcher": "cloudfn.sdk.patterns",
    "Function": "cloudfn.sdk.function",
    "FunctionAutoscalerSettings": "cloudfn.sdk.records",
    "FunctionCall": "cloudfn.sdk.function_call",
    "FunctionCurrentStats": "cloudfn.sdk.records",
    "FunctionInfo": "cloudfn.sdk.records",
    "FunctionStats": "cloudfn.sdk.records",
    "Image": "cloudfn.sdk.image",
    "InputInfo": "cloudfn.sdk.records",
    "InputStatus": "cloudfn.sdk.records",
    "LogEntry": "cloudfn.sdk.logs",
    "Period": "cloudfn.model.schedule",
    "Queue": "cloudfn.sdk.queues",
    "Secret": "cloudfn.sdk.secrets",
    "Volume": "cloudfn.sdk.volumes",
    "Retries": "cloudfn.model.retry",
    "ScaleAt": "cloudfn.model.schedule",
    "asgi_app": "cloudfn.sdk.web",
    "batched": "cloudfn.sdk.slots",
    "concurrent": "cloudfn.sdk.slots",
    "current_attempt": "cloudfn.sdk.context",
    "current_function_call_id": "cloudfn.sdk.context",
    "current_input_id": "cloudfn.sdk.context",
    "enable_output": "cloudfn.sdk.context",
    "enter": "cloudfn.sdk.lifecycle",
    "exit": "cloudfn.sdk.lifecycle",
    "interact": "cloudfn.sdk.interaction",
    "method": "cloudfn.sdk.lifecycle",
    "parameter": "cloudfn.sdk.lifecycle",
    "fastapi_endpoint": "cloudfn.sdk.web",
    "is_local": "cloudfn.sdk.context",
    "joblib_backend": "cloudfn.sdk.joblib_backend",
    "web_server": "cloudfn.sdk.web",
    "wsgi_app": "cloudfn.sdk.web",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("exception", "experimental"):
        return import_module(f"cloudfn.{name}")
    if name == "__version__":
        from cloudfn.wire.version import VERSION

        return VERSION
    if name not in _PLACES:
        return import_module("cloudfn.sdk.absent").stand_in(name)
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
