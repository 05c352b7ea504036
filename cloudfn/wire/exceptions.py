"""Exceptions across processes: type, attributes, notes, causes, frames; text where those fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cloudfn.errors import ExecutionError, RemoteError
from cloudfn.wire import codec
from cloudfn.wire.bodies import LONGEST_MESSAGE, Body, body_of, is_plain, revive, together
from cloudfn.wire.records import (
    Record,
    chain_of,
    from_plain,
    headline,
    smaller,
    to_plain,
    told,
    type_name,
)
from cloudfn.wire.traces import Sources, rebuild

_LIMIT = 1 << 20
# The bytes of the exceptions themselves are inside: nothing here belongs to the user.
_BUILTINS_ALONE = codec.PickleContext("builtins")
_PATIENCE = 5.0
_RELATIVE_IMPORT = "attempted relative import"
_RELATIVE_IMPORT_HINT = (
    "hint: relative imports need a package; name the program as a module, as in "
    "`cloudfn run -m package.module`"
)


def pack_exception(
    exc: BaseException,
    ctx: codec.PickleContext,
    *,
    limit: int = _LIMIT,
    strip: Callable[[str], bool] = lambda _filename: False,
    patience: float = _PATIENCE,
) -> bytes:
    """Turn an exception into bytes, whatever its own code does; never raises an `Exception`.

    Args:
        exc: The exception, with traceback and causes.
        ctx: How objects of the user's own file travel.
        limit: Most bytes; frames, causes and then the exception itself give way to text.
        strip: Whether the frames of a file are hidden.
        patience: Seconds that the exception's own code may take before it is given up on. It goes
            on then in a thread of its own.
    """
    try:
        chain, records = chain_of(exc, strip)
        for each in chain:
            # Raises for one whose own code breaks `isinstance`: nobody could handle that one.
            _hint_at_package(each)
        bodies, whole = _asked(chain, ctx, limit, patience)
        records = [_with_body(*known) for known in zip(records, bodies, strict=True)]
        return _fitted(records, whole, limit)
    except Exception as error:
        return _bare(exc, error)


def unpack_exception(data: bytes | memoryview, *, label: str) -> BaseException:
    """Return the exception to raise: of its own type where possible, with the remote frames.

    Args:
        data: What `pack_exception` returned.
        label: Where it was raised; remote files are shown as `<label>:/path`.

    Returns:
        The exception; a `RemoteError` when it could not be carried, an `ExecutionError` when it
        cannot be read here. The text of both contains the remote traceback.
    """
    try:
        packed = codec.loads(data, "the exception")
        records = [from_plain(plain) for plain in packed["nodes"]]
        return _Rebuilding(records, packed["text"], packed["whole"], label).root()
    except Exception as error:
        return ExecutionError(f"Could not deserialize remote exception due to local error: {error}")


def text_of_exception(data: bytes | memoryview) -> str:
    """Return the traceback of a packed exception as text, without making the exception."""
    text: str = codec.loads(data, "the exception")["text"]
    return text


def headline_of_exception(data: bytes | memoryview) -> str:
    """Return type and message of a packed exception, without making the exception."""
    nodes = codec.loads(data, "the exception")["nodes"]
    return headline(from_plain(nodes[0]))


class _Rebuilding:
    """One chain of exceptions on its way back to objects."""

    def __init__(self, records: list[Record], text: str, whole: bytes | None, label: str) -> None:
        self._records = records
        self._text = text
        self._sources = Sources(label, [frame for record in records for frame in record.frames])
        self._built: dict[int, BaseException] = {}
        if whole is not None:
            self._read_whole(whole)

    def root(self) -> BaseException:
        """Return the first exception, linked with the others."""
        record = self._records[0]
        if 0 not in self._built:
            if not record.kind and not record.children:
                self._built[0] = RemoteError(self._with_text(headline(record)))
            else:
                try:
                    self._build(0)
                except Exception as error:
                    return ExecutionError(
                        self._with_text(
                            "Could not deserialize remote exception due to local error: "
                            f"{type(error).__name__}: {error}"
                        )
                    )
        for index in range(len(self._records)):
            self._built_or_told(index)
        for index, exc in self._built.items():
            self._link(exc, self._records[index])
        return self._built[0]

    def _with_text(self, first_line: str) -> str:
        return f"{first_line}\nHere is the remote traceback:\n\n{self._text}"

    def _read_whole(self, whole: bytes) -> None:
        try:
            excs = codec.loads(whole, "the exception")
        except Exception:  # then one by one: only some of the types may be missing here
            return
        self._built = dict(enumerate(excs))

    def _built_or_told(self, index: int) -> BaseException:
        if index not in self._built:
            try:
                self._build(index)
            except Exception:
                self._built[index] = RemoteError(headline(self._records[index]))
        return self._built[index]

    def _build(self, index: int) -> None:
        record = self._records[index]
        if record.kind:
            exc = self._built[index] = revive(record.kind, record.content)
            if isinstance(exc, BaseExceptionGroup):
                for child, inner in zip(record.children, exc.exceptions, strict=False):
                    self._built.setdefault(child, inner)
            return
        children: list[Any] = [self._built_or_told(child) for child in record.children]
        # Without children this raises, and the exception is told instead.
        self._built[index] = BaseExceptionGroup(record.group_message, children)

    def _link(self, exc: BaseException, record: Record) -> None:
        # An exception may forbid `exc.x = y`; a frozen dataclass does.
        put = BaseException.__setattr__
        # The text of a root that could not be carried contains frames and notes.
        is_text = isinstance(exc, RemoteError) and exc is self._built[0] and not record.kind
        if not is_text:
            put(exc, "__traceback__", rebuild(record.frames, self._sources))
        if record.notes and not is_text:
            put(exc, "__notes__", list(record.notes))
        if record.cause is not None:
            put(exc, "__cause__", self._built[record.cause])
        if record.context is not None:
            put(exc, "__context__", self._built[record.context])
        put(exc, "__suppress_context__", record.suppress)


def _asked(
    chain: Sequence[BaseException], ctx: codec.PickleContext, limit: int, patience: float
) -> tuple[list[Body], bytes | None]:
    """Ask each exception for itself; in a thread when that runs the user's code."""
    bodies: list[Body] = []
    whole: list[bytes | None] = []

    def ask() -> None:
        for i, exc in enumerate(chain):
            bodies.append(body_of(exc, ctx, limit // (8 if i else 2)))
        if len(chain) > 1 and all(body.is_pickled for body in bodies):
            whole.append(together(chain, ctx, limit // 4))

    if all(is_plain(exc) for exc in chain):
        ask()
    else:
        _run_for(patience, ask)
    answered = list(bodies)  # the thread may go on
    untold = [Body("<its text cannot be told>")] * (len(chain) - len(answered))
    return answered + untold, whole[0] if whole and not untold else None


def _run_for(seconds: float, work: Callable[[], None]) -> None:
    """Run code that may hang; it is left behind in its thread then."""
    import threading  # most exceptions do not need it

    def guarded() -> None:
        try:
            work()
        except BaseException:  # raised by the exception's own code
            return

    thread = threading.Thread(target=guarded, daemon=True, name="cloudfn-exception")
    try:
        thread.start()
    except RuntimeError:  # the interpreter is on its way out
        guarded()
        return
    thread.join(seconds)


def _with_body(record: Record, body: Body) -> Record:
    return replace(
        record, message=body.message, notes=body.notes, kind=body.kind, content=body.content
    )


def _hint_at_package(exc: BaseException) -> None:
    """End the message of a relative import that has no package with what to do."""
    if isinstance(exc, ImportError) and _RELATIVE_IMPORT in str(exc) and "hint:" not in str(exc):
        exc.msg = f"{exc.msg}\n{_RELATIVE_IMPORT_HINT}"
        exc.args = (exc.msg,)


@dataclass(frozen=True, slots=True)
class _Size:
    """How much of a chain is sent: records, frames of each, characters, and the objects."""

    records: int
    frames: int
    message: int
    text: int
    contents: int
    whole: bool = False


_ALL = 1000
_SIZES = (
    _Size(_ALL, _ALL, 2 * LONGEST_MESSAGE, 64 << 10, _ALL, whole=True),
    _Size(_ALL, _ALL, LONGEST_MESSAGE, 64 << 10, _ALL),
    _Size(_ALL, 20, 4 << 10, 32 << 10, _ALL),
    _Size(8, 20, 4 << 10, 16 << 10, 1),
    _Size(2, 10, 1 << 10, 4 << 10, 1),
    _Size(2, 10, 1 << 10, 4 << 10, 0),
    _Size(1, 4, 200, 1 << 10, 0),
    _Size(1, 0, 200, 200, 0),
)


def _fitted(records: list[Record], whole: bytes | None, limit: int) -> bytes:
    """Return the largest form that fits."""
    data = b""
    for size in _SIZES:
        kept = smaller(
            records,
            records_kept=size.records,
            frames=size.frames,
            message=size.message,
            contents=size.contents,
        )
        data = _encoded(kept, _cut(told(kept), size.text), whole if size.whole else None)
        if len(data) <= limit:
            break
    return data


def _cut(text: str, most: int) -> str:
    """Leave out the middle of a long text: its end says what happened."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _encoded(records: list[Record], text: str, whole: bytes | None) -> bytes:
    nodes = [to_plain(record) for record in records]
    return codec.dumps({"nodes": nodes, "text": text, "whole": whole}, _BUILTINS_ALONE)


def _bare(exc: BaseException, error: Exception) -> bytes:
    """Return what can be said of an exception that breaks even the walk over its chain."""
    try:
        name = type_name(type(exc))
    except Exception:
        name = "an exception without a name"
    record = Record(type=name, message=f"<cannot be described: {type(error).__name__}>")
    return _encoded([record], headline(record), None)
