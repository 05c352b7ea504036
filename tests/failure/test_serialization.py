"""What cannot travel fails for its own input, with the name of the culprit, and nothing hangs."""

import threading

import pytest

from cloudfn.exception import DataLossError, DeserializationError, SerializationError

pytestmark = pytest.mark.integration

PROGRAM = """
import contextlib
import types

class Required(Exception):
    def __init__(self, code, *, reason):
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")
    __repr__ = __str__

class Unreducible(Exception):
    def __reduce__(self):
        raise RuntimeError("cannot be reduced")

class HoldsALock(Exception):
    def __init__(self):
        super().__init__("held")
        self.lock = threading.Lock()

class Hanging(Exception):
    def __reduce__(self):
        time.sleep(600)

class Huge(Exception):
    def __str__(self):
        return "x" * 200_000_000

class Poison:
    def __reduce__(self):
        return exploding, ()

def exploding():
    if not cloudfn.is_local():
        raise ValueError("exploded while it was unpickled")
    return Poison()

class Deadly:
    def __reduce__(self):
        return os.abort, ()

class Locked:
    def __init__(self):
        self.inner = {"lock": threading.Lock()}

def nested(depth):
    return [nested(depth - 1)] if depth else []

def deep():
    found = []
    for _ in range(100_000):
        found = [found]
    return found

def foreign():
    module = types.ModuleType("only_there")
    exec("class Thing:\\n  pass\\nclass Oops(Exception):\\n  pass", module.__dict__)
    sys.modules["only_there"] = module
    return module

RESULTS = {
    "lock": threading.Lock,
    "generator": lambda: (n for n in range(3)),
    "socket": lambda: __import__("socket").socket(),
    "inside": lambda: {"a": [1, threading.Lock()]},
    "deep": deep,
    "reduce": Unreducible,
}

@app.function(max_containers=2)
def give(what):
    note("began", what)
    return RESULTS[what]() if what in RESULTS else what

@app.function(max_containers=2)
def give_foreign():
    return foreign().Thing()

@app.function(max_containers=2)
def fail(what):
    note("failed")
    if what == "required":
        error = Required(7, reason="because")
        error.add_note("a note")
        raise error
    if what == "foreign":
        raise foreign().Oops("it is foreign")
    if what == "group":
        inner = ExceptionGroup("in", [Required(1, reason="two")])
        raise ExceptionGroup("both", [ValueError("one"), inner])
    if what == "chain":
        try:
            raise KeyError("cause")
        except KeyError as error:
            raise ValueError("effect") from error
    if what == "context":
        try:
            raise KeyError("context")
        except KeyError:
            raise ValueError("effect")
    if what == "cycle":
        first, second = ValueError("first"), ValueError("second")
        first.__cause__, second.__cause__ = second, first
        raise first
    raise globals()[what]()

@app.function(max_containers=2)
def take(*args, **kwargs):
    note("took")
    return len(args)
"""


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (threading.Lock, "lock"),
        (lambda: {"model": [1, threading.Lock()]}, "model"),
        (lambda: (n for n in range(3)), "generator"),
    ],
)
def test_arguments_that_cannot_travel_are_refused_before_anything_is_sent(running, make, culprit):
    program = running(PROGRAM)

    for method in (program.take.remote, program.take.spawn):
        with pytest.raises(SerializationError, match=culprit):
            method(make())

    assert program.notes("took") == []
    assert program.take.remote(1, 2) == 2


def test_an_argument_of_a_map_that_cannot_travel_fails_alone(running):
    program = running(PROGRAM)
    items = [1, threading.Lock(), 3]

    results = list(program.take.map(items, return_exceptions=True))

    assert (results[0], results[2]) == (1, 1)
    assert isinstance(results[1], SerializationError)


def test_an_argument_that_cannot_be_unpickled_fails_alone(running):
    program = running(PROGRAM)
    items = [1, program.Poison(), 3, program.Poison(), *range(20)]

    results = list(program.take.map(items, return_exceptions=True))

    for item, result in zip(items, results, strict=True):
        if isinstance(item, int):
            assert result == 1
        else:
            assert isinstance(result, DeserializationError)
            assert "exploded while it was unpickled" in str(result)
    assert len(program.notes("took")) == 22


def test_an_argument_whose_unpickling_kills_its_container_is_poison(running):
    program = running(PROGRAM)

    results = list(program.take.map([1, program.Deadly(), 2], return_exceptions=True))

    assert (results[0], results[2]) == (1, 1)
    assert "SIGABRT" in str(results[1])


@pytest.mark.parametrize("what", ["lock", "generator", "socket", "inside", "deep", "reduce"])
def test_a_result_that_cannot_travel_is_that_inputs_error(running, what):
    program = running(PROGRAM)

    before, result, after = program.give.map(["a", what, "b"], return_exceptions=True)

    assert (before, after) == ("a", "b")
    assert isinstance(result, SerializationError)
    assert program.notes("began").count(what) == 1


def test_a_result_of_a_class_that_only_the_container_has_is_that_inputs_error(running):
    program = running(PROGRAM)

    with pytest.raises(DeserializationError, match="only_there"):
        program.give_foreign.remote()

    assert program.give.remote("on") == "on"


def test_an_exception_with_required_arguments_arrives_whole(running):
    program = running(PROGRAM)

    with pytest.raises(program.Required) as caught:
        program.fail.remote("required")

    assert (caught.value.code, caught.value.reason) == (7, "because")
    assert "a note" in caught.value.__notes__


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("foreign", "it is foreign"),
        ("Unreducible", "Unreducible"),
        ("HoldsALock", "held"),
        ("Mute", "Mute"),
        ("Hanging", "Hanging"),
        ("Huge", "x"),
    ],
)
def test_an_exception_with_code_of_its_own_arrives_as_far_as_it_can(running, what, told):
    program = running(PROGRAM)

    before, error, after = program.fail.map(["chain", what, "group"], return_exceptions=True)

    assert isinstance(before, ValueError)
    assert isinstance(after, ExceptionGroup)
    assert isinstance(error, Exception)
    # Those whose class the client has are rebuilt, the others are told.
    assert type(error).__name__ == what or told in str(error)
    assert len(program.notes("failed")) == 3


def test_a_group_arrives_with_its_exceptions(running):
    program = running(PROGRAM)

    with pytest.raises(ExceptionGroup) as caught:
        program.fail.remote("group")

    one, inner = caught.value.exceptions
    assert repr(one) == "ValueError('one')"
    assert isinstance(inner.exceptions[0], program.Required)


def test_causes_arrive_and_cycles_end(running):
    program = running(PROGRAM)

    chain, context, cycle = program.fail.map(["chain", "context", "cycle"], return_exceptions=True)

    assert repr(chain.__cause__) == "KeyError('cause')"
    assert repr(context.__context__) == "KeyError('context')"
    assert str(cycle) == "first"
    assert str(cycle.__cause__) == "second"


def test_a_failure_names_the_line_of_the_users_file(running):
    program = running(PROGRAM)

    with pytest.raises(ValueError, match="effect") as caught:
        program.fail.remote("chain")

    files = [frame.path for frame in caught.traceback]
    assert any(program.__name__ in str(file) for file in files)


def test_a_big_argument_that_is_gone_fails_its_input_only(running):
    program = running(
        PROGRAM
        + """
@app.function(max_containers=1)
def hold(item):
    note("held")
    wait_for("go")
    return len(item)
"""
    )
    first = program.hold.spawn(b"x" * 1_000_000)
    program.await_notes("held")
    second = program.hold.spawn(b"y" * 1_000_000)
    third = program.hold.spawn(b"z" * 1_000_000)
    folder = program.machine.state / "blobs" / second.object_id
    for blob in folder.iterdir():
        blob.unlink()
    program.allow("go")

    assert (first.get(timeout=30), third.get(timeout=30)) == (1_000_000, 1_000_000)
    with pytest.raises(DataLossError, match=r"cannot be read|missing"):
        second.get(timeout=30)
