"""Errors: Modal's names and tree, hints, and the way through pickles and copies."""

import builtins
import copy
import pickle
import re

import pytest

from cloudfn import errors
from cloudfn.errors import Error, InputCancellation, InvalidError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BaseException)
]
OURS = [kind for kind in KINDS if issubclass(kind, Error)]


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (errors.ConflictError, errors.InvalidError),
        (errors.FunctionTimeoutError, errors.TimeoutError),
        (errors.OutputExpiredError, errors.TimeoutError),
        (errors.StartupTimeoutError, errors.TimeoutError),
        (errors.ExecTimeoutError, errors.TimeoutError),
        (errors.InteractiveTimeoutError, errors.TimeoutError),
        (errors.ImageBuildError, errors.RemoteError),
        (errors.InputLost, errors.RemoteError),
        (errors.ContainerCrashed, errors.RemoteError),
        (errors.NotFoundError, Error),
        (errors.ResourceExhaustedError, Error),
        (errors.ServerWarning, builtins.UserWarning),
        (errors.DeprecationError, builtins.UserWarning),
        (InputCancellation, BaseException),
    ],
    ids=lambda kind: kind.__name__,
)
def test_the_tree(kind, parent):
    assert issubclass(kind, parent)


@pytest.mark.parametrize(
    ("kind", "stranger"),
    [
        pytest.param(errors.FunctionTimeoutError, builtins.TimeoutError, id="our timeouts"),
        pytest.param(errors.OutputExpiredError, builtins.TimeoutError, id="expired outputs"),
        pytest.param(errors.ConnectionError, builtins.ConnectionError, id="our connections"),
        pytest.param(InputCancellation, Exception, id="cancellations"),
        pytest.param(errors.UserCodeException, Error, id="wrapped user exceptions"),
    ],
)
def test_some_are_not_what_their_names_suggest(kind, stranger):
    assert not issubclass(kind, stranger)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_drawing_in_the_docstring_has_every_error(kind):
    drawing = (errors.__doc__ or "").partition("`TimeoutError` here")[0]

    assert kind.__name__ in re.findall(r"\w+", drawing)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_an_error_without_words_says_what_its_class_means(kind):
    error = kind()

    assert str(error) == error.message == (kind.__doc__ or "").strip()
    assert error.hint is None


def test_a_hint_stands_below_the_message():
    error = InvalidError("That is wrong.", hint="Do it right.")

    assert str(error) == "That is wrong.\nhint: Do it right."
    assert error.message == "That is wrong."
    assert error.args == ("That is wrong.",)


@pytest.mark.parametrize(
    "clone",
    [
        pytest.param(lambda error: pickle.loads(pickle.dumps(error)), id="a pickle"),
        pytest.param(copy.copy, id="a copy"),
        pytest.param(copy.deepcopy, id="a deep copy"),
    ],
)
@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_after(kind, clone):
    error = kind("Wrong.", hint="Look.")
    error.add_note("by the way")
    error.place = "here"

    again = clone(error)

    assert type(again) is kind
    assert (again.message, again.hint, again.args) == ("Wrong.", "Look.", ("Wrong.",))
    assert (again.__notes__, again.place) == (["by the way"], "here")


def test_an_empty_message_stays_empty():
    assert str(Error("")) == ""
