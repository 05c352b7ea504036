"""A function that runs while an image is built: what of it travels, and what its digest covers."""

from __future__ import annotations

import inspect
from base64 import b64encode
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from cloudfn.errors import InvalidError, SerializationError
from cloudfn.sdk.bundle import Bundle, empty
from cloudfn.sdk.images.contexts import Contexts
from cloudfn.sdk.program import Program, imported_program, main_program
from cloudfn.wire import codec

#: names of files in the context of a call, which `worker/building.py` reads
CALL_FILE = "call.pickle"
_WHAT = "`Image.run_function`"


def resolved_call(given: Mapping[str, Any], objects: Mapping[str, Any], contexts: Contexts) -> Any:
    """Return the arguments of a resolved `run_function` layer.

    Raises:
        InvalidError: The function or its arguments cannot be brought along.
    """
    if "function" not in objects:
        raise InvalidError(
            f"{_WHAT} has lost its function: the Image came from another process.",
            hint="Make the Image in the program that is run or deployed.",
        )
    function, (args, kwargs) = objects["function"], objects["arguments"]
    program = _program_of(function)
    name = program.module_name if program else None
    reference = _reference(function, program)
    context = codec.PickleContext(name, by_value=False)
    by_value = codec.PickleContext(name, by_value=reference is None)
    try:
        call = codec.dumps((reference, None if reference else function), by_value, "the function")
        arguments = codec.dumps((args, kwargs), context, "the arguments")
    except SerializationError as error:
        raise InvalidError(f"{_WHAT} cannot bring {error.message}", hint=error.hint) from error
    kept = {k: v for k, v in given.items() if k not in ("raw_f", "args", "kwargs")}
    return {
        **kept,
        "function": f"{function.__module__}:{_name_of(function)}",
        "source": source_of(function),
        "arguments": b64encode(arguments).decode("ascii") if args or kwargs else "",
        "program": contexts.bundle(_bundle(program)),
        "call": contexts.texts({CALL_FILE: call, "arguments.pickle": arguments}),
    }


def source_of(function: Any) -> str:
    """Return the text by which a change of a function is seen.

    It has the function's source, those of functions of its module that it names, and the plain
    values of the module that they name, each once.
    """
    return "\n".join(_sources(inspect.unwrap(function), set()))


def _sources(function: Any, seen: set[str]) -> Iterator[str]:
    name = _name_of(function)
    if not isinstance(function, FunctionType):
        yield name
        return
    seen.add(name)
    try:
        yield inspect.getsource(function)
    except (OSError, TypeError):
        # Typed in, where nobody keeps the text: the code says as much.
        yield f"{name} {function.__code__.co_code.hex()} {function.__code__.co_consts!r}"
    for each in sorted(_names(function.__code__)):
        value = function.__globals__.get(each)
        if isinstance(value, FunctionType) and value.__module__ == function.__module__:
            if _name_of(value) not in seen:
                yield from _sources(value, seen)
        elif isinstance(value, str | int | float | bool | bytes | tuple) and each not in seen:
            seen.add(each)
            yield f"{each} = {value!r}"


def _names(code: CodeType) -> set[str]:
    """Return the names that code, and code within it, looks up."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def _program_of(function: Any) -> Program | None:
    module = function.__module__
    main = main_program()
    if module == "__main__" or (main is not None and main.module_name == module):
        return main
    if not isinstance(function, FunctionType):
        return main
    return imported_program(module)


def _reference(function: Any, program: Program | None) -> str | None:
    """Return `module:name` for what an import finds; None for what has to go by value."""
    module, name = function.__module__, _name_of(function)
    if "<" in name or (module == "__main__" and program is None):
        return None
    return f"{program.module_name if program and module == '__main__' else module}:{name}"


def _bundle(program: Program | None) -> Bundle:
    from cloudfn.sdk.collecting import collect

    if program is None:
        return empty()
    return collect(program.module_name, program.root, program.entry)
