"""Records calls of the Image builder's methods as layers, as plain data."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from cloudfn.errors import InvalidError, UnimplementedError
from cloudfn.model.gpu import parse_gpus
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.model.runtime import check_python

if TYPE_CHECKING:
    from cloudfn.sdk.image import Image

P = ParamSpec("P")
R = TypeVar("R", bound="Recorded")

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class LiveLayer(Layer):
    """A layer with objects of this process, which `imaging.resolve` turns into plain data."""

    __slots__ = ("objects",)

    objects: Mapping[str, Any]


def objects_of(layer: Layer) -> Mapping[str, Any]:
    """Return the objects of a layer: none where it is plain, or came by pickle."""
    return getattr(layer, "objects", {})


class Recorded:
    """What has layers, and can have one more."""

    __slots__ = ("spec",)

    def __init__(self, spec: ImageSpec | None = None) -> None:
        self.spec = spec or ImageSpec()

    def _with(
        self, method: str, given: Mapping[str, Any], objects: Mapping[str, Any] | None = None
    ) -> Image:
        """Return an Image with one more layer.

        Raises:
            InvalidError: Nothing can be built on top of attached files, or an argument that many
                methods have is not what it should be.
        """
        _check_shared(method, given)
        arguments = {name: _plain(value) for name, value in given.items()}
        layer = LiveLayer(method, arguments) if objects else Layer(method, arguments)
        if objects:
            object.__setattr__(layer, "objects", dict(objects))
        if self.spec.attaches and not layer.attaches:
            raise InvalidError(
                f"`Image.{method}` is a build step after `Image.add_local_*`, which attaches local "
                "files when containers start and has to come last.",
                hint="Move it before the `add_local_*` steps, or give those copy=True.",
            )
        from cloudfn.sdk.image import Image

        return Image(self.spec.with_layer(layer))


def layer(
    method: Callable[Concatenate[Any, P], Any],
) -> Callable[Concatenate[Any, P], Image]:
    """Make a method one that records its arguments as a layer on top of the Image's.

    The method's body checks them, and may return what to record instead of some.
    """
    signature = inspect.signature(method)

    @wraps(method)
    def add(image: Recorded, /, *args: P.args, **kwargs: P.kwargs) -> Image:
        bound = signature.bind(image, *args, **kwargs)
        given = dict(list(bound.arguments.items())[1:])
        given |= method(image, *args, **kwargs) or {}
        return image._with(method.__name__, given)  # noqa: SLF001

    return add


def base(method: Callable[P, Any]) -> Callable[P, Image]:
    """Make a function one that records its arguments as the first layer of an Image."""
    signature = inspect.signature(method)

    @wraps(method)
    def start(*args: P.args, **kwargs: P.kwargs) -> Image:
        given = dict(signature.bind(*args, **kwargs).arguments)
        given |= method(*args, **kwargs) or {}
        return Recorded()._with(method.__name__, given)  # noqa: SLF001

    return start


# ------------------------------------------------------------------------------------------ checks


def texts(method: str, what: str, *given: Any) -> list[str]:
    """Return what was given as texts and lists of texts, as one list.

    Raises:
        InvalidError: Something is neither, or empty.
    """
    found: list[str] = []
    for each in given:
        within = each if isinstance(each, list | tuple) else [each]
        for text in within:
            if not isinstance(text, str) or not text.strip():
                raise InvalidError(
                    f"`Image.{method}` takes {what} as text or lists of text, not {text!r}."
                )
            found.append(text)
    return found


def packages(method: str, given: Iterable[Any]) -> list[str]:
    """Return names of packages; raises InvalidError for what is none."""
    found = texts(method, "packages", *given)
    for each in found:
        if each.startswith("-"):
            raise InvalidError(
                f"`Image.{method}` takes names of packages, and {each!r} is an option.",
                hint="Use its arguments, `extra_options=` or `pip_install_from_requirements`.",
            )
    return found


def words(method: str, name: str, given: Any) -> list[str]:
    """Return a list of texts that is one argument; raises InvalidError for anything else."""
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise InvalidError(f"`{name}` of `Image.{method}` must be a list of text, not {given!r}.")
    return list(given)


def path(method: str, name: str, given: Any) -> str:
    """Return a local path as text; raises InvalidError for what is none."""
    text = str(given)
    if not isinstance(given, str | PurePath) or not text.strip() or not text.isprintable():
        raise InvalidError(f"`{name}` of `Image.{method}` must be a path, not {given!r}.")
    return Path(given).as_posix()


def python_version(method: str, given: Any) -> None:
    """Check which Python was asked for.

    Raises:
        InvalidError: It is no version, or one that containers cannot run under.
    """
    if given is None:
        return
    found = _VERSION.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise InvalidError(
            f"`Image.{method}` takes a version of Python as text, not {given!r}.",
            hint='Write it as "3.12".',
        )
    check_python(given)


def not_while_building(method: str, **given: Any) -> None:
    """Refuse what a build cannot have; raises UnimplementedError."""
    for name, value in given.items():
        if value:
            raise UnimplementedError(
                f"`{name}` of `Image.{method}` does not exist here: builds see no volumes.",
                hint="Bring files with `add_local_dir(…, copy=True)`, or fetch them in the step.",
            )


def _check_shared(method: str, given: Mapping[str, Any]) -> None:
    """Check the arguments that many methods have."""
    parse_gpus(given.get("gpu"))
    for name in ("env", "build_args"):
        variables(f"{name}` of `Image.{method}", given.get(name), nothing=name == "env")
    for name in ("secrets", "secret", "registry_secret"):
        secrets = given.get(name)
        _check_secrets(method, name, [secrets] if name != "secrets" and secrets else secrets)
    for name in ("force_build", "copy", "pre"):
        if not isinstance(given.get(name, False), bool):
            raise InvalidError(f"`{name}` of `Image.{method}` must be True or False.")
    for name in ("find_links", "index_url", "extra_index_url", "extra_options", "uv_version"):
        if not isinstance(given.get(name), str | None):
            raise InvalidError(f"`{name}` of `Image.{method}` must be text.")


def variables(what: str, given: Any, *, nothing: bool = False) -> None:
    """Check a mapping of names of variables to text, or to None where that is allowed.

    Raises:
        InvalidError: It is something else.
    """
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise InvalidError(f"`{what}` must map names to text, not be a {type(given).__name__}.")
    for name, value in given.items():
        text = isinstance(value, str) or (nothing and value is None)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not text or "\0" in str(value):
            raise InvalidError(f"`{what}` must map names to text, not {name!r} to {value!r}.")


def _check_secrets(method: str, argument: str, given: Any) -> None:
    from cloudfn.sdk.secrets import Secret

    if not given:
        return
    if isinstance(given, Secret | str) or not isinstance(given, Collection):
        raise InvalidError(f"`{argument}` of `Image.{method}` must be a list of Secrets.")
    for each in given:
        if not isinstance(each, Secret):
            raise InvalidError(
                f"`{argument}` of `Image.{method}` must be Secrets, not {type(each).__name__}.",
                hint="Use cloudfn.Secret.from_name.",
            )
        if each.build_ref is None:
            raise InvalidError(
                f"`{argument}` of `Image.{method}` must be Secrets with a name: a build may happen "
                "later, and elsewhere.",
                hint="Make one with `cloudfn secret create NAME`, and use Secret.from_name(NAME).",
            )


def _plain(value: Any) -> Any:
    """Return a value as JSON has it. Objects are named: what is in a secret is never recorded."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(_plain(name)): _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(each) for each in value]
    ref = getattr(value, "build_ref", None)
    if isinstance(ref, dict):
        return dict(ref)
    name = getattr(value, "__qualname__", None) or getattr(value, "name", None)
    return f"{type(value).__name__} {name}" if name else type(value).__name__
