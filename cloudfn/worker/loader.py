"""Imports the user's program under its one name, finds its functions, tells why that failed."""

from __future__ import annotations

import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module, invalidate_caches
from types import MethodType
from typing import Any

from cloudfn.errors import ExecutionError, NotFoundError
from cloudfn.wire import codec
from cloudfn.wire.exceptions import pack_exception, text_of_exception
from cloudfn.worker.mounts import attach_all
from cloudfn.worker.orders import FunctionOrder, TemplateOrder

OUR_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_OURS = os.path.join(OUR_ROOT, "cloudfn") + os.sep
_HIDDEN = (_OURS, "<frozen importlib")
_MAIN = "__main__"
_LONGEST_TEXT = 12_000


def is_hidden(filename: str) -> bool:
    """Whether frames of a file are of no use to the user: ours, and the import system's."""
    return filename.startswith(_HIDDEN)


def context_of(order: TemplateOrder) -> codec.PickleContext:
    """Return how the program's objects travel."""
    return codec.PickleContext(main_module=order.module or None)


def import_program(order: TemplateOrder) -> None:
    """Import the program in its working directory, and make `__main__` another name for it.

    Raises:
        BaseException: Whatever the program raises while it is imported.
    """
    attach_all(order.attached)
    # An image may ask for a directory that nothing else has made.
    os.makedirs(order.cwd, exist_ok=True)
    os.chdir(order.cwd)
    sys.path[:] = [order.bundle, *order.import_paths, *sys.path]
    invalidate_caches()
    if any(each.is_async or each.web or each.slots > 1 for each in order.functions.values()):
        import asyncio  # noqa: F401 - so that containers find it imported
    if any(web.kind == "endpoint" for each in order.functions.values() for web in each.web):
        # It takes a second; the container says what is wrong where it is missing.
        with suppress(ImportError):
            import_module("fastapi")
    if order.module and order.module != _MAIN:
        module = import_module(order.module)
        sys.modules[_MAIN] = sys.modules.get(order.module, module)
    others = {f.module for f in order.functions.values() if f.serialized is None}
    for name in sorted(others - {order.module, _MAIN, ""}):
        import_module(name)


def load_function(order: FunctionOrder) -> Callable[..., Any]:
    """Return the user's own function.

    Raises:
        NotFoundError: The module has no such name.
        DeserializationError: The function came by value and cannot be rebuilt here.
    """
    if order.serialized is not None:
        return _raw(codec.loads(b64decode(order.serialized), f"the function {order.name!r}"))
    found: Any = import_module(order.module or _MAIN)
    for part in order.qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NotFoundError(
                f"There is no {order.qualname!r} in the module {order.module!r}.",
                hint="Define the function at the top level of its module, outside of "
                "`if __name__ == '__main__'`, or give it serialized=True.",
            ) from None
    return _raw(found)


def failure(
    error: BaseException, ctx: codec.PickleContext, limit: int = 48 << 10
) -> dict[str, str]:
    """Return the packed exception, in base64, and its traceback's text; both bounded."""
    packed = pack_exception(error, ctx, limit=limit, strip=is_hidden)
    return {
        "error": b64encode(packed).decode("ascii"),
        "text": text_of_exception(packed)[-_LONGEST_TEXT:],
    }


def _raw(found: Any) -> Callable[..., Any]:
    """Return the user's function behind a Function of ours, or the function itself."""
    raw = getattr(found, "__cloudfn_raw__", None)
    if isinstance(raw, MethodType) and raw.__self__ is found:
        raw = raw()
    function = found if raw is None else raw
    if not callable(function):
        raise ExecutionError(
            f"{found!r} is not a function.",
            hint="Something of that name replaced it; rename one of them.",
        )
    return function  # type: ignore[no-any-return]
