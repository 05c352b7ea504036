"""Chooses what `cloudfn run` runs, and turns the words after it into the function's arguments.

Pure: candidates, signatures and words in; choices, values and texts out.
"""

from __future__ import annotations

import datetime
import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["entrypoint", "function", "method"]
ValueKind = Literal["text", "integer", "number", "flag", "moment", "choice"]

_EMPTY = inspect.Parameter.empty
_KINDS: dict[object, ValueKind] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "flag",
    datetime.datetime: "moment",
}
_SHOWN = {"text": "TEXT", "integer": "INTEGER", "number": "FLOAT", "moment": "DATETIME"}
_EXPECTED = {
    "integer": "a valid integer",
    "number": "a valid number",
    "moment": "a valid date and time; write 2022-10-31 or 2022-10-31T12:30:00",
}


class UsageError(Exception):
    """The command line does not fit the program.

    Args:
        message: What is wrong, for people.
        exit_code: 2 when other words would have fitted, 1 when the program has to change or a
            runnable has to be named.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        self.message = message
        self.exit_code = exit_code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that can be run: `name` as it stands after `::`, methods as `Cls.method`.

    `in_module` says whether the named module itself holds it, rather than only its app.
    """

    name: str
    kind: Kind
    in_module: bool
    target: object


@dataclass(frozen=True, slots=True)
class Option:
    """One parameter as an option of the command line.

    `default` is meaningless where `required`; `choices` is empty unless `kind` is "choice".
    """

    name: str
    kind: ValueKind
    required: bool
    default: object
    choices: tuple[str | int, ...] = ()
    positional: bool = False

    @property
    def flag(self) -> str:
        """What one writes: `--kebab-case`."""
        return "--" + self.name.replace("_", "-")

    @property
    def no_flag(self) -> str:
        """What turns a boolean off."""
        return "--no-" + self.name.replace("_", "-")


def choose(candidates: Sequence[Candidate], wanted: str | None) -> Candidate:
    """Pick what to run.

    Without a name: the only entry point of the module, else its only function, else the app's
    only entry point, else its only function; a method counts as a function.

    Raises:
        UsageError: There is no such name (1), several could be meant (1), or a class with several
            methods was named (2).
    """
    if not candidates:
        raise UsageError("The program has no function and no local entry point to run.", 1)
    return _inferred(candidates) if wanted is None else _named(candidates, wanted)


def parse_arguments(
    fn: Callable[..., Any], argv: Sequence[str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turn the words after a runnable into the positional and keyword arguments for `fn`.

    A function whose only parameter is `*args` gets the words as they are. Otherwise each parameter
    is an option, `--kebab-case VALUE` or `--kebab-case=VALUE`, read by its annotation: str, int,
    float, bool (`--flag` and `--no-flag`), datetime.datetime, a Literal of only strings or only
    whole numbers, any of them optional. Without one the default's type counts, else it is text.
    What is not given is left to the function's defaults; of an option given twice the last counts.

    Args:
        fn: The function to call.
        argv: The words after the runnable.

    Raises:
        UsageError: Words do not fit (2), or `fn` cannot be called from a command line (1).
    """
    if is_variadic(fn):
        return tuple(argv), {}
    options = options_of(fn)
    given = parse_options(options, argv)
    positional = tuple(given.pop(o.name, o.default) for o in options if o.positional)
    return positional, given


def parse_options(options: Sequence[Option], argv: Sequence[str]) -> dict[str, Any]:
    """Read `argv` by `options`; return the values that were given, by parameter name.

    Raises:
        UsageError: A word fits no option, a value does not fit its option, or one is missing (2).
    """
    switches = _switches(options)
    given: dict[str, Any] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--") or name == "--":
            raise UsageError(f"Got unexpected extra argument ({word}).")
        if name not in switches:
            raise UsageError(f"No such option: {name}.{_suggestion(name, switches)}")
        option, turned = switches[name]
        if turned is not None:
            if equals:
                raise UsageError(f"Option '{name}' does not take a value.")
            given[option.name] = turned
            continue
        if not equals:
            if not words or words[0].partition("=")[0] in switches:
                raise UsageError(f"Option '{name}' requires an argument.")
            value = words.pop(0)
        given[option.name] = _value(option, value)
    _check_required(options, given)
    return given


def options_of(fn: Callable[..., Any]) -> tuple[Option, ...]:
    """The options of `fn`, in the order of its parameters.

    Raises:
        UsageError: A parameter cannot be given on a command line (1).
    """
    return tuple(_option(fn, parameter) for parameter in _parameters(fn))


def is_variadic(fn: Callable[..., Any]) -> bool:
    """Whether `fn` takes `*args` and nothing else, so that it gets the raw words."""
    parameters = _parameters(fn)
    return len(parameters) == 1 and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL


def wants_help(fn: Callable[..., Any], argv: Sequence[str]) -> bool:
    """Whether `argv` asks for `fn`'s help; a function of raw words is asked by `--help` alone."""
    if is_variadic(fn):
        return list(argv) == ["--help"]
    names = {parameter.name for parameter in _parameters(fn)}
    return "--help" in argv and "help" not in names


def render_help(name: str, fn: Callable[..., Any], prog: str) -> str:
    """Return the text for `--help`: usage, what the docstring says, parameters, types and defaults.

    `prog` is what stands before `::name`, as in `cloudfn run primes.py`.

    Raises:
        UsageError: A parameter cannot be given on a command line (1).
    """
    variadic = is_variadic(fn)
    rows = [] if variadic else [_help_row(option) for option in options_of(fn)]
    rows.append(("--help", "Show this text and exit."))
    width = max(len(left) for left, _ in rows)
    about = inspect.getdoc(fn)
    lines = [f"Usage: {prog}::{name} {'[ARGS]...' if variadic else '[OPTIONS]'}", ""]
    if about:
        lines += [f"  {line}".rstrip() for line in about.splitlines()] + [""]
    lines.append("Options:")
    lines += [f"  {left:<{width}}  {right}".rstrip() for left, right in rows]
    return "\n".join(lines) + "\n"


def _inferred(candidates: Sequence[Candidate]) -> Candidate:
    for in_module in (True, False):
        for is_entrypoint in (True, False):
            group = [
                each
                for each in candidates
                if each.in_module is in_module and (each.kind == "entrypoint") is is_entrypoint
            ]
            if len(group) == 1:
                return group[0]
            if group:
                raise UsageError(
                    "Specify a function or local entry point to run, as in "
                    f"file.py::{group[0].name}. There are:\n{_listed(candidates)}",
                    1,
                )
    raise AssertionError("every candidate is in one of the groups")


def _named(candidates: Sequence[Candidate], wanted: str) -> Candidate:
    for each in candidates:
        if each.name == wanted:
            return each
    methods = [
        each
        for each in candidates
        if each.kind == "method" and each.name.rpartition(".")[0] == wanted
    ]
    if len(methods) == 1:
        return methods[0]
    if methods:
        raise UsageError(
            f"Please specify a specific method of {wanted}, as in file.py::{methods[0].name}. "
            f"There are:\n{_listed(methods)}"
        )
    raise UsageError(
        f"There is no {wanted!r} to run.{_suggestion(wanted, [each.name for each in candidates])} "
        f"There are:\n{_listed(candidates)}",
        1,
    )


def _listed(candidates: Sequence[Candidate]) -> str:
    kinds = {"entrypoint": "local entry point", "function": "function", "method": "method"}
    return "\n".join(f"  {each.name}  ({kinds[each.kind]})" for each in candidates)


def _suggestion(word: str, known: typing.Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word.replace("_", "-"), known, n=1) or get_close_matches(word, known)
    return f" Did you mean {near[0]}?" if near else ""


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(_signature(fn).parameters.values())


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        import annotationlib

        # Names that only a type checker knows must not keep the others from being read.
        return inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(fn)


def _option(fn: Callable[..., Any], parameter: inspect.Parameter) -> Option:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        raise UsageError(
            f"Parameter `*{parameter.name}` has to be the only one: it takes the raw words.", 1
        )
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        raise UsageError(f"Parameter `**{parameter.name}` cannot be given on a command line.", 1)
    kind, choices = _kind(_annotation(fn, parameter))
    if kind is None:
        raise UsageError(
            f"Parameter `{parameter.name}` has unparseable annotation: "
            f"{_written(fn, parameter)}. Use str, int, float, bool, datetime.datetime, a Literal "
            "of strings or of whole numbers, or one of them with None.",
            1,
        )
    required = parameter.default is _EMPTY
    return Option(
        name=parameter.name,
        kind=kind,
        required=required,
        default=None if required else parameter.default,
        choices=choices,
        positional=parameter.kind is inspect.Parameter.POSITIONAL_ONLY,
    )


def _annotation(fn: Callable[..., Any], parameter: inspect.Parameter) -> object:
    annotation = parameter.annotation
    if annotation is _EMPTY:
        has_type = parameter.default is not _EMPTY and parameter.default is not None
        return type(parameter.default) if has_type else str
    holder = types.SimpleNamespace(__annotations__={parameter.name: annotation})
    # One at a time, so that a name that only a type checker knows spoils no other parameter.
    try:
        return typing.get_type_hints(holder, _globals_of(fn))[parameter.name]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return annotation


def _globals_of(fn: Callable[..., Any]) -> dict[str, Any]:
    unwrapped = inspect.unwrap(fn)
    found: dict[str, Any] = getattr(unwrapped, "__globals__", {})
    return found


def _written(fn: Callable[..., Any], parameter: inspect.Parameter) -> str:
    annotation = _annotation(fn, parameter)
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _kind(annotation: object) -> tuple[ValueKind | None, tuple[str | int, ...]]:
    annotation = _without_none(annotation)
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        same = {type(choice) for choice in choices}
        return ("choice", choices) if same in ({str}, {int}) else (None, ())
    try:
        return _KINDS.get(annotation), ()
    except TypeError:
        return None, ()


def _without_none(annotation: object) -> object:
    if typing.get_origin(annotation) not in {typing.Union, types.UnionType}:
        return annotation
    others = [each for each in typing.get_args(annotation) if each is not types.NoneType]
    return others[0] if len(others) == 1 else annotation


def _switches(options: Sequence[Option]) -> dict[str, tuple[Option, bool | None]]:
    """What each written name sets: an option, and True or False where it takes no value."""
    switches: dict[str, tuple[Option, bool | None]] = {
        option.no_flag: (option, False) for option in options if option.kind == "flag"
    }
    # After those, so that a parameter called `no_x` wins over the opposite of `x`.
    for option in options:
        switches[option.flag] = (option, True if option.kind == "flag" else None)
    return switches


def _value(option: Option, text: str) -> object:
    if option.kind == "choice":
        for choice in option.choices:
            if str(choice) == text:
                return choice
        allowed = ", ".join(repr(str(choice)) for choice in option.choices)
        raise UsageError(f"Invalid value for '{option.flag}': {text!r} is not one of {allowed}.")
    try:
        return _READERS[option.kind](text)
    except ValueError:
        raise UsageError(
            f"Invalid value for '{option.flag}': {text!r} is not {_EXPECTED[option.kind]}."
        ) from None


_READERS: dict[ValueKind, Callable[[str], object]] = {
    "text": str,
    "integer": int,
    "number": float,
    "moment": datetime.datetime.fromisoformat,
}


def _check_required(options: Sequence[Option], given: dict[str, Any]) -> None:
    missing = [o for o in options if o.required and o.name not in given]
    if missing:
        names = [f"'{o.flag}'" + (f" / '{o.no_flag}'" if o.kind == "flag" else "") for o in missing]
        raise UsageError(f"Missing option{'s' if len(names) > 1 else ''} {', '.join(names)}.")


def _help_row(option: Option) -> tuple[str, str]:
    if option.kind == "flag":
        left = f"{option.flag} / {option.no_flag}"
    elif option.kind == "choice":
        left = f"{option.flag} [{'|'.join(map(str, option.choices))}]"
    else:
        left = f"{option.flag} {_SHOWN[option.kind]}"
    if option.required:
        return left, "[required]"
    if option.default is None:
        return left, ""
    if isinstance(option.default, bool):
        shown = (option.flag if option.default else option.no_flag).removeprefix("--")
        return left, f"[default: {shown}]"
    return left, f"[default: {option.default}]"
