"""Objects to bytes and back: round trips, modules, blame, and bytes that cannot be read."""

import io
import pickle
import subprocess
import sys
import threading
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import DeserializationError, SerializationError
from cloudfn.wire.codec import PickleContext, dump_to, dumps, dumps_within, loads, size_hint
from cloudfn.wire.culprits import find

PROGRAM = PickleContext("shop")
NOTEBOOK = PickleContext(None)
FOREIGN = PickleContext("shop", by_value=True)

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
calls = st.tuples(
    st.lists(values, max_size=3).map(tuple), st.dictionaries(st.text(max_size=5), values)
)

SHOP = """
class Order:
    def __init__(self, number):
        self.number = number

    class Line:
        pass

def price(order):
    return order.number * 2
"""


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The user's file, run as a program: one module under two names."""
    module = ModuleType("__main__")
    exec(SHOP, vars(module))
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setitem(sys.modules, "shop", module)
    return module


@pytest.fixture
def imported_shop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The user's file as a container imports it: its objects carry the module's name."""
    module = ModuleType("shop")
    exec(SHOP, vars(module))
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setitem(sys.modules, "shop", module)
    return module


def elsewhere(data: bytes, expression: str) -> str:
    """Evaluate an expression about the object in a fresh interpreter."""
    program = (
        "import sys; from cloudfn.wire.codec import loads;"
        f"it = loads(bytes.fromhex(sys.stdin.read())); print({expression})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=data.hex(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


class Array:
    """Pickles as numpy's arrays do: with a buffer, and a size that it knows."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def nbytes(self) -> int:
        return len(self.data)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (pickle.PickleBuffer(self.data),)


class Trickle(io.RawIOBase):
    """A raw file that takes a little at a time, as pipes and very large writes do."""

    def __init__(self, most: int) -> None:
        self.file = io.BytesIO()
        self.most = most

    def write(self, data: Any) -> int:
        return self.file.write(memoryview(data)[: self.most])

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def truncate(self, size: int | None = None) -> int:
        return self.file.truncate(size)


class Model:
    def __init__(self) -> None:
        self.name = "m"
        self._lock = threading.Lock()


class Careful(Model):
    def __getstate__(self) -> dict[str, object]:
        return {"name": self.name, "inner": self.__dict__.get("inner")}


class Slotted:
    __slots__ = ("stream",)

    def __init__(self, stream: object) -> None:
        self.stream = stream


class Raises:
    def __reduce__(self) -> Any:
        raise RuntimeError("not today")


class Bomb:
    """Raises while it is unpickled."""

    def __reduce__(self) -> Any:
        return explode, ()


def explode() -> None:
    raise RuntimeError("boom")


# ------------------------------------------------------------------------------------ round trips


@given(calls, st.sampled_from([PROGRAM, NOTEBOOK, FOREIGN]))
def test_what_is_dumped_is_loaded(call: Any, ctx: PickleContext) -> None:
    assert loads(dumps(call, ctx)) == call
    assert loads(memoryview(dumps(call, ctx))) == call


@given(calls, st.integers(1, 50), st.binary(max_size=10))
def test_a_file_receives_the_same_object_after_what_it_holds(
    call: Any, most: int, before: bytes
) -> None:
    file = Trickle(most)
    file.file.write(before)
    size = dump_to(call, file, NOTEBOOK)
    written = file.file.getvalue()
    assert written[: len(before)] == before
    assert len(written) == len(before) + size
    assert loads(written[len(before) :]) == call


def test_a_file_that_takes_part_of_large_bytes_receives_all_of_them() -> None:
    file, payload = Trickle(100_000), bytes(range(256)) * 2000
    dump_to(((payload,), {}), file, PROGRAM)
    assert loads(file.file.getvalue()) == ((payload,), {})


@pytest.mark.parametrize("size", [10, 300_000])
def test_an_array_that_pickles_as_a_buffer_is_written_whole(size: int) -> None:
    file = Trickle(50_000)
    dump_to(Array(b"x" * size), file, FOREIGN)
    assert bytes(loads(file.file.getvalue()).data) == b"x" * size


def test_a_lambda_that_uses_a_local_goes_by_value() -> None:
    factor = 3
    assert loads(dumps(lambda x: x * factor, PROGRAM))(5) == 15


def test_a_lambda_is_written_to_a_file_over_what_the_fast_pickler_left() -> None:
    file = io.BytesIO()
    size = dump_to((b"x" * 200_000, lambda x: x + 1), file, PROGRAM)
    assert size == len(file.getvalue())
    assert loads(file.getvalue())[1](1) == 2


# --------------------------------------------------------------------------------- the user's file


def test_objects_of_the_program_go_by_reference(shop: Any) -> None:
    data = dumps(((shop.Order(7),), {}), PROGRAM)
    assert type(loads(data)[0][0]) is shop.Order
    assert b"number * 2" not in data


def test_beside_a_lambda_objects_of_the_program_go_by_the_modules_name(shop: Any) -> None:
    order, line, price = shop.Order(7), shop.Order.Line, shop.price
    data = dumps(((lambda: (order, line, price),), {}), PROGRAM)
    del sys.modules["__main__"]
    ((function,), _) = loads(data)
    found_order, found_line, found_price = function()
    assert type(found_order) is shop.Order
    assert found_line is shop.Order.Line
    assert found_price is shop.price


def test_a_class_that_its_module_no_longer_names_goes_by_value(shop: Any) -> None:
    hidden = shop.Order
    shop.Order = "something else"
    data = dumps(hidden(3), PROGRAM)
    assert elsewhere(data, "it.number") == "3"


def test_objects_of_a_notebook_go_by_value(shop: Any) -> None:
    data = dumps((shop.Order(7), shop.price), NOTEBOOK)
    assert elsewhere(data, "it[1](it[0])") == "14"


def test_objects_of_a_notebook_come_back_as_the_same_class(shop: Any) -> None:
    assert type(loads(dumps(shop.Order(7), NOTEBOOK))) is shop.Order


def test_objects_of_the_program_go_by_value_to_another_app(imported_shop: Any) -> None:
    data = dumps((imported_shop.Order(7), imported_shop.price), FOREIGN)
    assert elsewhere(data, "it[1](it[0])") == "14"


def test_objects_of_the_program_go_by_value_into_a_file(shop: Any) -> None:
    file = io.BytesIO()
    dump_to((b"x" * 200_000, shop.Order(7)), file, NOTEBOOK)
    assert elsewhere(file.getvalue(), "it[1].number") == "7"


def test_cloudpickles_registry_is_left_as_it_was(imported_shop: Any) -> None:
    import cloudpickle

    before = cloudpickle.list_registry_pickle_by_value()
    dumps(imported_shop.Order(7), FOREIGN)
    with pytest.raises(SerializationError):
        dumps((imported_shop.Order(7), threading.Lock()), FOREIGN)
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_plain_values_need_no_cloudpickle() -> None:
    program = (
        "import sys; from cloudfn.wire.codec import *;"
        "[loads(dumps(((17, '__main', [b'x']), {}), PickleContext(name))) for name in ('a', None)];"
        "print('cloudpickle' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


# ------------------------------------------------------------------------------------------- blame


def generator() -> Any:
    yield 1


def uses_a_lock() -> Any:
    lock = threading.Lock()
    return lambda: lock


def deep() -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("call", "path", "kind", "hint"),
    [
        (((1, {"model": Model()}), {}), "args[1]['model']._lock:", "_thread.lock", "inside"),
        (((), {"model": Model()}), "kwargs['model']._lock:", "_thread.lock", "inside"),
        (((generator(),), {}), "args[0]:", "generator", "list first"),
        ((([0] * 100_000 + [generator()],), {}), "args[0][100000]:", "generator", "list"),
        (((Slotted(generator()),), {}), "args[0].stream:", "generator", "list"),
        (((partial(print, generator()),), {}), "args[0].", "generator", "list"),
        (((Raises(),), {}), "args[0]:", "not today", ""),
        (((uses_a_lock(),), {}), "'lock' in the closure of args[0]:", "_thread.lock", "inside"),
        ((({generator()},), {}), "an element of args[0]:", "generator", "list"),
        ((({generator(): 1},), {}), "a key of args[0]:", "generator", "list"),
        ((({Model: (generator(),)},), {}), "args[0][<type>][0]:", "generator", "list"),
        (((ValueError(threading.Lock()),), {}), "args[0].args[0]:", "_thread.lock", "inside"),
        (((Model().__init__,), {}), "args[0].__self__._lock:", "_thread.lock", "inside"),  # type: ignore[misc]
        (((deep(),), {}), "args[0]", "nested too deeply", "flatten"),
    ],
)
def test_the_error_names_the_part_that_cannot_be_pickled(
    call: Any, path: str, kind: str, hint: str
) -> None:
    with pytest.raises(SerializationError) as caught:
        dumps(call, PROGRAM)
    assert f"cannot serialize {path}" in caught.value.message
    assert kind in caught.value.message
    assert caught.value.hint is not None
    assert hint in caught.value.hint
    assert caught.value.__cause__ is not None


def test_what_an_object_does_not_send_is_not_blamed() -> None:
    assert loads(dumps(Careful(), PROGRAM)).name == "m"
    careful = Careful()
    careful.__dict__["inner"] = generator()
    with pytest.raises(SerializationError, match=r"args\[0\]\.inner"):
        dumps(((careful,), {}), PROGRAM)


def test_a_result_is_called_what_the_caller_calls_it() -> None:
    with pytest.raises(SerializationError, match=r"cannot serialize result\['m'\]\._lock: it is a"):
        dumps({"m": Model()}, PROGRAM, "the result")
    with pytest.raises(SerializationError, match="cannot serialize the result: it is a"):
        dumps(threading.Lock(), PROGRAM, "the result")


def test_an_object_that_contains_itself_and_a_culprit_is_searched_once() -> None:
    loop: list[Any] = [generator()]
    loop.append(loop)
    with pytest.raises(SerializationError, match=r"args\[0\]\[0\]"):
        dumps(((loop,), {}), PROGRAM)


class CountingProbe:
    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, value: object) -> Exception | None:
        self.asked += 1
        return TypeError("no") if "culprit" in repr(value) else None


class FastClock:
    """A clock on which a minute passes each time that it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        self.now += 60
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_long_list_is_searched_by_halves() -> None:
    probe = CountingProbe()
    culprit = find((([0] * 10_000 + ["culprit"],), {}), "it", TypeError("no"), probe)
    assert culprit.path == "args[0][10000]"
    assert probe.asked < 40


def test_a_search_that_takes_too_long_ends_with_what_is_known() -> None:
    probe = CountingProbe()
    culprit = find((["culprit"],), "it", TypeError("no"), probe, FastClock())
    assert culprit.path == "it"
    assert probe.asked == 0


def test_after_an_error_the_file_is_as_long_as_before() -> None:
    file = io.BytesIO()
    file.write(b"before")
    with pytest.raises(SerializationError):
        dump_to((b"x" * 200_000, threading.Lock()), file, PROGRAM)
    assert file.getvalue() == b"before"
    assert file.tell() == len(b"before")


def test_a_full_disk_is_not_blamed_on_the_object() -> None:
    class FullDisk(Trickle):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        dump_to([1], FullDisk(1), PROGRAM)


def test_an_oserror_of_the_object_is_blamed_on_the_object() -> None:
    class Unreadable:
        def __reduce__(self) -> Any:
            raise FileNotFoundError("gone")

    with pytest.raises(SerializationError, match="gone"):
        dump_to([Unreadable()], io.BytesIO(), PROGRAM)


@pytest.mark.parametrize("obj", [[b"x" * 1000], [lambda: 1, b"x" * 1000], threading.Lock(), deep()])
def test_within_a_limit_what_is_too_large_or_cannot_be_pickled_is_none(obj: Any) -> None:
    assert dumps_within(obj, PROGRAM, 500) is None


def test_within_a_limit_what_fits_is_dumped() -> None:
    data = dumps_within([b"x" * 1000], PROGRAM, 1100)
    assert data is not None
    assert loads(data) == [b"x" * 1000]


# --------------------------------------------------------------------------------- unreadable bytes


def test_a_missing_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch_of_the_other_side")
    exec("class Tensor: pass", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    data = dumps(module.Tensor(), PROGRAM)
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(DeserializationError, match="not available in this environment") as caught:
        loads(data)
    assert "'torch_of_the_other_side'" in str(caught.value)
    assert "the result needs" in str(caught.value)


def test_a_missing_name_is_named(shop: Any) -> None:
    data = dumps(shop.Order(7), PROGRAM)
    del shop.Order
    with pytest.raises(DeserializationError, match=r"the arguments refers to a name .*Order"):
        loads(data, "the arguments")


def test_bytes_of_a_newer_pickle_say_so() -> None:
    with pytest.raises(DeserializationError, match="newer Python than this one"):
        loads(b"\x80\x63" + dumps(1, PROGRAM)[2:])


def test_code_of_another_python_says_so() -> None:
    class Code:
        def __reduce__(self) -> Any:
            return type(explode.__code__), (1, 2, 3)

    data = dumps(Code(), PROGRAM)
    with pytest.raises(DeserializationError, match="another version of Python"):
        loads(data)


@given(calls, st.data())
def test_bytes_that_are_cut_off_raise_one_kind_of_error(call: Any, data: Any) -> None:
    whole = dumps(call, PROGRAM)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(DeserializationError):
        loads(cut)


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def fail_mutely() -> None:
    raise MuteError


class MuteBomb:
    def __reduce__(self) -> Any:
        return fail_mutely, ()


def test_an_error_without_a_text_is_reported_by_its_type() -> None:
    with pytest.raises(DeserializationError, match="MuteError: no text"):
        loads(dumps(MuteBomb(), PROGRAM))


def test_an_object_that_raises_while_it_is_unpickled_is_reported_with_its_error() -> None:
    with pytest.raises(DeserializationError, match="RuntimeError: boom"):
        loads(dumps(Bomb(), PROGRAM))


# ------------------------------------------------------------------------------------------- sizes


@given(calls)
def test_the_hint_is_never_above_the_size(call: Any) -> None:
    assert size_hint(call) <= len(dumps(call, PROGRAM))


@given(values)
def test_the_hint_counts_what_occurs_often_once(value: Any) -> None:
    often = ([value] * 300, {"again": value})
    assert size_hint(often) <= len(dumps(often, PROGRAM))


@pytest.mark.parametrize(
    "value",
    [b"x" * 99, bytearray(99), "x" * 99, memoryview(b"x" * 99), Array(b"x" * 99), [b"x" * 99]],
    ids=lambda value: type(value).__name__,
)
def test_the_hint_sees_the_large_values_of_a_call(value: object) -> None:
    assert size_hint(((value,), {})) >= 99
    assert size_hint(((), {"x": value})) >= 99
    assert size_hint(value) >= 99


def test_the_hint_does_not_ask_instances_that_answer_to_any_name() -> None:
    class Proxy:
        def __getattr__(self, name: str) -> int:
            raise AssertionError(name)

    assert size_hint(Proxy()) == 0


def test_the_hint_looks_at_the_beginning_of_a_long_list_only() -> None:
    assert size_hint([0] * 1_000_000) >= 1_000_000
    assert size_hint(["x" * 10] * 256 + ["y" * 1000]) < 1000


def test_functions_are_no_surprise_to_the_hint() -> None:
    assert isinstance(explode, FunctionType)
    assert size_hint(((explode,), {})) <= len(dumps(((explode,), {}), PROGRAM))
