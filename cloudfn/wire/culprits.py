"""Which part of an object cannot be pickled: a bounded search that pickles through a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, MethodType, NoneType

from cloudfn.clock import Clock, SystemClock

Probe = Callable[[object], Exception | None]

_DEEPEST = 32
_MOST_PROBES = 400
_LONGEST_SEARCH = 2.0
_LONGEST_TEXT = 300
_WITHOUT_PARTS = frozenset((str, bytes, bytearray, int, float, complex, bool, NoneType))


@dataclass(frozen=True, slots=True)
class Culprit:
    """The part that cannot be pickled.

    Attributes:
        path: Where it is, as one would write it in Python.
        reason: What it is and why that cannot be pickled.
        hint: What to do about it.
    """

    path: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class _Part:
    path: str
    value: object


def find(
    root: object, what: str, error: Exception, probe: Probe, clock: Clock | None = None
) -> Culprit:
    """Descend from an object that cannot be pickled to the part that is to blame.

    Args:
        root: The object; a pair of a tuple and a dict counts as the arguments of a call.
        what: What the object is.
        error: Why it could not be pickled.
        probe: Says why an object cannot be pickled, or None.
        clock: Ends a long search.
    """
    too_deep = _is_recursion(error)
    search = _Search(probe, clock or SystemClock())
    part, parts = _Part(what, root), _roots(root, what)
    for _ in range(2 if too_deep else _DEEPEST):
        found = search.first_failing(parts)
        if found is None:
            break
        part, error = found
        parts = _parts_of(part)
    if too_deep:
        return Culprit(part.path, "it is nested too deeply", "flatten it before you pass it")
    return Culprit(part.path, f"it is {_kind(part.value)} ({brief(error)})", _hint(part.value))


class _Search:
    def __init__(self, probe: Probe, clock: Clock) -> None:
        self._probe = probe
        self._clock = clock
        self._left = _MOST_PROBES
        self._end = clock.monotonic() + _LONGEST_SEARCH
        self._seen: set[int] = set()

    def first_failing(self, parts: list[_Part]) -> tuple[_Part, Exception] | None:
        """Bisect, so that a million items need twenty probes."""
        parts = [part for part in parts if id(part.value) not in self._seen]
        error = self._ask(parts)
        if error is None:
            return None
        while len(parts) > 1:
            half = parts[: len(parts) // 2]
            half_error = self._ask(half)
            if half_error is None:
                parts = parts[len(parts) // 2 :]
            else:
                parts, error = half, half_error
        error = self._ask(parts) or error
        self._seen.add(id(parts[0].value))
        return parts[0], error

    def _ask(self, parts: list[_Part]) -> Exception | None:
        if not parts or self._left <= 0 or self._clock.monotonic() > self._end:
            return None
        self._left -= 1
        values = [part.value for part in parts]
        return self._probe(values[0] if len(values) == 1 else values)


def _roots(root: object, what: str) -> list[_Part]:
    if type(root) is tuple and len(root) == 2:
        args, kwargs = root
        if type(args) is tuple and type(kwargs) is dict:
            return [
                *(_Part(f"args[{i}]", value) for i, value in enumerate(args)),
                *(_Part(f"kwargs[{_key(key)}]", value) for key, value in kwargs.items()),
            ]
    return _parts_of(_Part(what.removeprefix("the "), root))


def _parts_of(part: _Part) -> list[_Part]:
    path, value = part.path, part.value
    if type(value) in _WITHOUT_PARTS:
        return []
    if isinstance(value, MethodType):
        return [_Part(f"{path}.__self__", value.__self__)]
    if isinstance(value, FunctionType):
        return _parts_of_function(path, value)
    if isinstance(value, type):
        return [_Part(f"{path}.{name}", item) for name, item in vars(value).items()]
    if type(value) in (list, tuple):
        return [_Part(f"{path}[{i}]", item) for i, item in enumerate(value)]  # type: ignore[arg-type, var-annotated]
    if type(value) in (set, frozenset):
        return [_Part(f"an element of {path}", item) for item in value]  # type: ignore[attr-defined]
    if type(value) is dict:
        return _parts_of_dict(path, value)
    return _parts_of_instance(path, value)


def _parts_of_dict(path: str, value: dict[object, object]) -> list[_Part]:
    return [
        *(_Part(f"{path}[{_key(key)}]", item) for key, item in value.items()),
        *(_Part(f"a key of {path}", key) for key in value),
    ]


def _parts_of_function(path: str, function: FunctionType) -> list[_Part]:
    code, parts = function.__code__, []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            parts.append(_Part(f"{name!r} in the closure of {path}", cell.cell_contents))
        except ValueError:  # not yet assigned
            continue
    parts += [
        _Part(f"the global {name!r} that {path} uses", function.__globals__[name])
        for name in code.co_names
        if name in function.__globals__
    ]
    parts += [_Part(f"a default of {path}", value) for value in function.__defaults__ or ()]
    return parts


def _parts_of_instance(path: str, value: object) -> list[_Part]:
    """Follow what the object itself would hand to pickle, so that what it hides is not blamed."""
    try:
        reduced = value.__reduce_ex__(5)
    except Exception:
        return []
    if not isinstance(reduced, tuple) or len(reduced) < 2:
        return []
    parts = []
    if isinstance(value, dict):
        parts += _parts_of_dict(path, dict(value))
    elif isinstance(value, (list, tuple)):
        parts += [_Part(f"{path}[{i}]", item) for i, item in enumerate(value)]
    elif isinstance(value, BaseException):
        parts += [_Part(f"{path}.args[{i}]", item) for i, item in enumerate(value.args)]
    state = reduced[2] if len(reduced) > 2 else None
    for i, attributes in enumerate(state if isinstance(state, tuple) else (state,)):
        if isinstance(attributes, dict):
            parts += [_Part(f"{path}.{name}", item) for name, item in attributes.items()]
        elif attributes is not None:
            parts.append(_Part(f"{path}.<state {i}>", attributes))
    if isinstance(reduced[1], tuple):
        parts += [_Part(f"{path}.<part {i}>", item) for i, item in enumerate(reduced[1])]
    return parts


def _is_recursion(error: BaseException) -> bool:
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def _key(key: object) -> str:
    if type(key) in (str, int, bool, float, bytes):
        text = repr(key)
        return text if len(text) <= 60 else f"{text[:60]}…"
    return f"<{type(key).__name__}>"


def _kind(value: object) -> str:
    kind = type(value)
    module = getattr(kind, "__module__", "builtins")
    name = kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    return f"a {name!r}"


def brief(error: Exception) -> str:
    """Return the type and text of an error in a few hundred characters, whatever its `__str__`."""
    try:
        message = str(error)
    except Exception:
        message = "no text"
    if len(message) > _LONGEST_TEXT:
        message = f"{message[:_LONGEST_TEXT]}…"
    return f"{type(error).__name__}: {message}"


_HINTS = (
    (("generator", "iterator", "zip", "map", "filter"), "turn it into a list first"),
    (("coroutine", "Future", "Task"), "await it first, and pass what it returns"),
    (("lock", "RLock", "Condition", "Event", "Thread"), "create it inside the function"),
    (("TextIOWrapper", "BufferedReader", "BufferedWriter", "FileIO"), "pass its path or content"),
    (("socket", "Connection", "SSLContext"), "open it inside the function"),
    (("module",), "import it inside the function"),
)


def _hint(value: object) -> str:
    name = type(value).__name__
    for endings, hint in _HINTS:
        if name.endswith(endings):
            return hint
    return "pass what it is made from (plain values, a path), or create it inside the function"
