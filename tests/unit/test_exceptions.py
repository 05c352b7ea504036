"""Exceptions across processes: what comes back of good ones, and what is said of nasty ones."""

# ruff: noqa: BLE001, N818 - nasty exceptions are the subject, and are named for what they do

import asyncio
import json
import linecache
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import ExecutionError, InvalidError, RemoteError
from cloudfn.wire.codec import PickleContext
from cloudfn.wire.exceptions import pack_exception, text_of_exception, unpack_exception

PROGRAM = PickleContext("shop")
NOTEBOOK = PickleContext(None)
HERE = __file__


def raised(exc: BaseException, cause: BaseException | None = None) -> BaseException:
    """Raise and catch, so that there is a traceback."""
    try:
        if cause is None:
            raise exc
        raise exc from cause
    except BaseException as caught:
        return caught


def there_and_back(exc: BaseException, **options: Any) -> BaseException:
    return unpack_exception(pack_exception(exc, PROGRAM, **options), label="in-1")


def printed(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))


class NeedsArguments(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Decorates(Exception):
    """Unpickled in the ordinary way, its message grows."""

    def __init__(self, message: str) -> None:
        super().__init__(f"sorry, {message}")


class HoldsALock(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message, threading.Lock())
        self.lock = threading.Lock()
        self.code = 7


class Slots(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__("slots", "more")
        self.code = code


class FileProblem(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "No such file", path)


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Keeps(Exception):
    def __init__(self, original: BaseException) -> None:
        super().__init__("kept")
        self.original = original


class StrRaises(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class ReprRaises(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no text")


class StrIsNoStr(Exception):
    def __str__(self) -> Any:
        return 5  # noqa: PLE0307


class StrExits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class ReduceRaises(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


class ReduceExits(Exception):
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


class ReducesToSomethingElse(Exception):
    def __reduce__(self) -> Any:
        return str, ("gotcha",)


class Endless(Exception):
    def __str__(self) -> str:
        return "x" * 50_000_000


class Hangs(Exception):
    gate = threading.Event()

    def __str__(self) -> str:
        self.gate.wait(60)
        return "at last"


class AttributesRaise(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class LiesAboutItself(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("who am I")

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("why")

    @property
    def args(self) -> Any:  # type: ignore[override]
        raise RuntimeError("what")


class MyGroup(ExceptionGroup[Exception]):
    def derive(self, excs: Any) -> "MyGroup":  # type: ignore[override]
        return MyGroup(self.message, excs)


class BadNotes(Exception):
    def __init__(self) -> None:
        super().__init__("bad notes")
        self.__notes__: Any = 5


ZOO: list[Callable[[], BaseException]] = [
    lambda: NeedsArguments(1, reason="r"),
    lambda: Decorates("x"),
    lambda: HoldsALock("x"),
    lambda: Slots(3),
    lambda: FileProblem("/x"),
    lambda: Frozen(4),
    lambda: StrRaises("x"),
    lambda: ReprRaises("x"),
    lambda: StrIsNoStr("x"),
    lambda: StrExits("x"),
    lambda: ReduceRaises("x"),
    lambda: ReduceExits("x"),
    lambda: ReducesToSomethingElse("x"),
    lambda: AttributesRaise("x"),
    lambda: LiesAboutItself("x"),
    BadNotes,
    lambda: Keeps(raised(StrRaises("inner"))),
    lambda: ValueError("x" * 5_000_000),
    lambda: ValueError(b"x" * 5_000_000, threading.Lock()),
    lambda: ValueError("\ud800 \x00 🎉"),
    lambda: ValueError(10**6000),
    KeyError,
    lambda: SystemExit(3),
    KeyboardInterrupt,
    GeneratorExit,
    lambda: asyncio.CancelledError("x"),
    lambda: StopIteration(5),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
    lambda: SyntaxError("bad", ("f.py", 1, 2, "x y", 1, 3)),
    lambda: ImportError("no", name="n", path="p"),
    lambda: InvalidError("wrong", hint="do it right"),
    lambda: ExceptionGroup("several", [ValueError("x"), HoldsALock("y")]),
    lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), ReduceRaises("z")]),
    lambda: MyGroup("mine", [ValueError("x"), MyGroup("inner", [KeyError("y")])]),
]

zoo = st.sampled_from(range(len(ZOO)))


# ------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("x", 3),
        KeyError("k"),
        NeedsArguments(5, reason="because"),
        Decorates("x"),
        Slots(3),
        FileProblem("/nowhere"),
        FileNotFoundError(2, "No such file", "/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
        SystemExit(3),
        StopIteration(5),
        ImportError("no", name="n", path="p"),
        InvalidError("wrong", hint="do it right"),
        asyncio.CancelledError("x"),
        Frozen(4),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_type_text_and_attributes_survive(exc: BaseException) -> None:
    back = there_and_back(raised(exc))
    assert type(back) is type(exc)
    assert str(back) == str(exc)
    assert back.args == exc.args
    assert vars(back) == vars(exc)
    for name in ("code", "errno", "filename", "value", "name", "path", "object"):
        assert getattr(back, name, None) == getattr(exc, name, None)


@given(st.lists(st.text(max_size=20), max_size=3), st.text(max_size=50))
def test_notes_survive(notes: list[str], message: str) -> None:
    exc = ValueError(message)
    for note in notes:
        exc.add_note(note)
    back = there_and_back(raised(exc))
    assert getattr(back, "__notes__", []) == notes
    assert str(back) == message


def test_what_cannot_be_sent_is_replaced_by_its_text_and_noted() -> None:
    back = there_and_back(raised(HoldsALock("broken")))
    assert type(back) is HoldsALock
    assert back.code == 7
    assert back.args[0] == "broken"
    assert "lock" in back.args[1]
    assert "args[1] (a 'lock'), .lock (a 'lock')" in back.__notes__[-1]


def test_an_explicit_cause_survives_with_its_frames() -> None:
    back = there_and_back(raised(KeyError("k"), cause=raised(ValueError("v"))))
    cause = back.__cause__
    assert type(cause) is ValueError
    assert cause.__traceback__ is not None
    assert "direct cause" in printed(back)


def test_an_implicit_context_survives_and_stays_suppressed() -> None:
    def fails(*, suppressed: bool) -> None:
        try:
            raise ValueError("v")
        except ValueError:
            if suppressed:
                raise KeyError("k") from None
            raise KeyError("k")  # noqa: B904 - that is the point

    for suppressed in (False, True):
        back = there_and_back(caught(lambda kind: fails(suppressed=kind), suppressed))
        assert type(back.__context__) is ValueError
        assert back.__cause__ is None
        assert back.__suppress_context__ is suppressed


def test_what_the_exceptions_of_a_chain_share_stays_shared() -> None:
    original = raised(ValueError("v"))
    back = there_and_back(raised(Keeps(original), cause=original))
    assert isinstance(back, Keeps)
    assert back.original is back.__cause__


def test_a_cycle_of_causes_comes_back_as_a_cycle() -> None:
    first, second = raised(ValueError(1)), raised(ValueError(2))
    first.__cause__, second.__cause__ = second, first
    back = there_and_back(first)
    assert back.__cause__ is not None
    assert back.__cause__.__cause__ is back
    assert "ValueError: 2" in printed(back)


def test_a_very_long_chain_is_cut() -> None:
    exc: BaseException | None = None
    for number in range(5000):
        exc = raised(ValueError(number), cause=exc)
    assert exc is not None
    back = there_and_back(exc)
    assert str(back) == "4999"
    assert str(back.__cause__) == "4998"


@pytest.mark.parametrize("second", [KeyError("b"), HoldsALock("b"), ReduceRaises("b")])
def test_a_group_keeps_its_exceptions_with_their_frames_and_causes(second: Exception) -> None:
    first = raised(ValueError("a"), cause=raised(TypeError("why")))
    assert isinstance(first, ValueError)
    back = there_and_back(raised(ExceptionGroup("several", [first, raised(second)])))  # type: ignore[type-var]
    assert isinstance(back, ExceptionGroup)
    assert back.message == "several"
    assert [type(inner) for inner in back.exceptions] == [ValueError, type(second)]
    assert all(inner.__traceback__ is not None for inner in back.exceptions)
    assert type(back.exceptions[0].__cause__) is TypeError
    assert "several (2 sub-exceptions)" in printed(back)


def test_a_group_of_a_subclass_keeps_its_class() -> None:
    back = there_and_back(raised(MyGroup("mine", [ValueError("x"), MyGroup("in", [KeyError(1)])])))
    assert type(back) is MyGroup
    assert type(back.exceptions[1]) is MyGroup


# ---------------------------------------------------------------------------------------- frames


def fails_deep_inside(depth: int) -> None:
    if depth:
        fails_deep_inside(depth - 1)
    raise ValueError("the bottom")


def caught(function: Callable[..., object], *args: object) -> BaseException:
    try:
        function(*args)
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def test_the_callers_and_the_remote_frames_are_shown_with_their_source() -> None:
    data = pack_exception(caught(fails_deep_inside, 1), PROGRAM)

    def the_caller() -> None:
        raise unpack_exception(data, label="in-1")

    shown = printed(caught(the_caller))
    first_line = fails_deep_inside.__code__.co_firstlineno
    assert "raise unpack_exception(data" in shown
    assert f'File "<in-1>:{HERE}", line {first_line + 2}, in fails_deep_inside' in shown
    assert "    fails_deep_inside(depth - 1)\n" in shown
    assert '    raise ValueError("the bottom")\n' in shown
    assert shown.index("the_caller") < shown.index("in fails_deep_inside")
    assert "^" not in shown.split("<in-1>", 1)[1]


def test_frames_know_their_function_and_module() -> None:
    back = there_and_back(caught(fails_deep_inside, 0))
    frames = list(traceback.walk_tb(back.__traceback__))
    assert [frame.f_code.co_name for frame, _ in frames] == ["caught", "fails_deep_inside"]
    assert frames[-1][0].f_globals["__name__"] == __name__


def test_hidden_files_are_left_out_of_frames_and_text() -> None:
    data = pack_exception(caught(json.loads, "{"), PROGRAM, strip=lambda name: "json" in name)
    back = unpack_exception(data, label="in-1")
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(back.__traceback__)]
    assert names == ["caught"]
    assert "json" not in text_of_exception(data).split("json.decoder.JSONDecodeError")[0]


def test_lines_are_shown_although_lines_of_the_same_file_were_printed_before() -> None:
    first = there_and_back(raised(ValueError("first")))
    printed(first)
    second = there_and_back(caught(fails_deep_inside, 0))
    assert 'raise ValueError("the bottom")' in printed(second)


def test_nothing_is_kept_of_exceptions_that_nobody_prints() -> None:
    data = pack_exception(caught(fails_deep_inside, 0), PROGRAM)
    for number in range(100):
        unpack_exception(data, label=f"in-{number}")
    assert not [name for name in linecache.cache if "in-99" in name]


def test_of_a_deep_recursion_both_ends_are_shown() -> None:
    data = pack_exception(caught(fails_deep_inside, 800), PROGRAM)
    shown = printed(unpack_exception(data, label="in-1"))
    assert "602 more frames" in shown
    assert "in caught" in shown
    assert "the bottom" in shown
    assert "[Previous line repeated" in text_of_exception(data)


def test_an_exception_that_went_through_two_containers_shows_both() -> None:
    inner = unpack_exception(pack_exception(caught(fails_deep_inside, 0), PROGRAM), label="in-2")
    outer = there_and_back(raised(inner))
    shown = printed(outer)
    assert f"<in-1>:<in-2>:{HERE}" in shown
    assert 'raise ValueError("the bottom")' in shown


def test_the_interpreters_own_report_shows_remote_frames() -> None:
    program = (
        "from cloudfn.wire.codec import PickleContext as C\n"
        "from cloudfn.wire.exceptions import *\n"
        "def remote(): raise ValueError('far away')\n"
        "try: remote()\n"
        "except ValueError as exc: data = pack_exception(exc, C(None))\n"
        "raise unpack_exception(data, label='in-1')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "in remote" in done.stderr
    assert "in-1" in done.stderr
    assert done.stderr.endswith("ValueError: far away\n")


# --------------------------------------------------------------------------------- nasty exceptions


@given(zoo, zoo | st.none(), st.integers(6_000, 1 << 20))
def test_every_exception_is_packed_within_the_limit_and_can_be_raised(
    which: int, which_cause: int | None, limit: int
) -> None:
    exc = raised(ZOO[which]())
    if which_cause is not None:
        BaseException.__dict__["__cause__"].__set__(exc, raised(ZOO[which_cause]()))
    data = pack_exception(exc, PROGRAM, limit=limit)
    assert len(data) <= limit
    back = unpack_exception(data, label="in-1")
    assert type(back) in (type(exc), RemoteError, ExceptionGroup, BaseExceptionGroup)
    assert type(exc).__name__ in text_of_exception(data)
    assert raised(back) is back


@pytest.mark.parametrize(
    "exc",
    [
        ReduceRaises("the reason"),
        ReducesToSomethingElse("the reason"),
        type("Local", (ReduceRaises,), {})("the reason"),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_what_cannot_be_pickled_as_it_is_is_rebuilt_from_its_parts(exc: BaseException) -> None:
    back = there_and_back(raised(exc))
    assert type(back) is type(exc)
    assert str(back) == "the reason"


def unpicklable_class() -> type[Exception]:
    lock = threading.Lock()

    class Hopeless(ValueError):
        held = lock

        def __str__(self) -> str:
            return "the reason"

    return Hopeless


def test_what_cannot_be_carried_at_all_is_told() -> None:
    exc = raised(unpicklable_class()("x"), cause=raised(KeyError("k")))
    exc.add_note("a note")
    back = there_and_back(exc)
    assert type(back) is RemoteError
    text = str(back)
    assert "Hopeless: the reason" in text
    assert "a note" in text
    assert f'File "{HERE}"' in text
    assert "KeyError: 'k'" in text
    assert type(back.__cause__) is KeyError


def test_a_cause_that_cannot_be_carried_is_told_with_its_frames() -> None:
    back = there_and_back(raised(KeyError("k"), cause=raised(unpicklable_class()("x"))))
    assert type(back) is KeyError
    cause = back.__cause__
    assert type(cause) is RemoteError
    assert "Hopeless: the reason" in str(cause)
    assert cause.__traceback__ is not None


def packed_with_a_missing_module(monkeypatch: pytest.MonkeyPatch, *, as_cause: bool) -> bytes:
    module = ModuleType("only_remote")
    exec("class Special(Exception): pass", vars(module))
    monkeypatch.setitem(sys.modules, "only_remote", module)
    special = raised(module.Special("far"))
    data = pack_exception(raised(KeyError("k"), cause=special) if as_cause else special, PROGRAM)
    monkeypatch.delitem(sys.modules, "only_remote")
    return data


def test_a_type_that_is_missing_here_is_an_execution_error_with_the_remote_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = packed_with_a_missing_module(monkeypatch, as_cause=False)
    back = unpack_exception(data, label="in-1")
    assert type(back) is ExecutionError
    assert str(back).startswith("Could not deserialize remote exception due to local error: ")
    assert "needs the module 'only_remote'" in str(back)
    assert "Here is the remote traceback:" in str(back)
    assert "only_remote.Special: far" in str(back)
    assert f'File "{HERE}"' in str(back)


def test_a_cause_whose_type_is_missing_here_does_not_spoil_the_exception(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = packed_with_a_missing_module(monkeypatch, as_cause=True)
    back = unpack_exception(data, label="in-1")
    assert type(back) is KeyError
    assert str(back.__cause__) == "only_remote.Special: far"


def test_code_of_the_exception_that_hangs_is_given_up_on() -> None:
    try:
        back = there_and_back(raised(Hangs("x")), patience=0.05)
    finally:
        Hangs.gate.set()
    assert type(back) is RemoteError
    assert "Hangs" in str(back)
    assert f'File "{HERE}"' in str(back)


def test_when_a_cause_hangs_the_exception_itself_survives() -> None:
    Hangs.gate.clear()
    try:
        back = there_and_back(raised(KeyError("k"), cause=raised(Hangs("x"))), patience=0.5)
    finally:
        Hangs.gate.set()
    assert type(back) is KeyError
    assert type(back.__cause__) is RemoteError


def test_endless_text_is_cut() -> None:
    data = pack_exception(raised(Endless("x")), PROGRAM)
    assert len(data) < 1 << 20
    assert type(unpack_exception(data, label="in-1")) is Endless
    assert "more characters" in text_of_exception(data)


def test_large_arguments_give_way_and_the_type_stays() -> None:
    back = there_and_back(raised(ValueError("head " + "x" * 5_000_000)))
    assert type(back) is ValueError
    assert str(back).startswith("head x")


def test_exceptions_of_a_notebook_come_back_as_their_own_class() -> None:
    class Mine(Exception):
        pass

    back = unpack_exception(pack_exception(raised(Mine("x")), NOTEBOOK), label="in-1")
    assert type(back) is Mine


def test_a_relative_import_without_a_package_gets_a_hint() -> None:
    exc = caught(exec, "from . import x", {"__name__": "script", "__package__": ""})
    assert isinstance(exc, ImportError)
    back = there_and_back(exc)
    assert str(back).startswith("attempted relative import")
    assert str(back).endswith("`cloudfn run -m package.module`")
    assert "hint" in printed(back)


def test_other_import_errors_get_no_hint() -> None:
    assert not hasattr(there_and_back(raised(ImportError("no module"))), "__notes__")


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x80\x05N."])
def test_damaged_bytes_are_an_execution_error(data: bytes) -> None:
    back = unpack_exception(data, label="in-1")
    assert type(back) is ExecutionError
    assert "Could not deserialize remote exception" in str(back)


def test_packing_leaves_the_exception_as_it_was() -> None:
    exc = raised(HoldsALock("x"), cause=raised(ValueError("v")))
    before = (exc.__traceback__, exc.__cause__, exc.__context__, dict(vars(exc)))
    pack_exception(exc, PROGRAM)
    assert (exc.__traceback__, exc.__cause__, exc.__context__, dict(vars(exc))) == before
