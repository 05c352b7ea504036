"""What containers are made of: which image a function needs in which runtime. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cloudfn.errors import InvalidError
from cloudfn.model.image import BASES, ImageSpec, Layer

#: what containers can be: processes of this machine, or containers of Docker
RUNTIMES = ("process", "docker")
#: the oldest Python that cloudfn runs under, and so its containers
OLDEST_PYTHON = (3, 11)


def check_runtime(runtime: str, where: str) -> str:
    """Return the name of a runtime; raises InvalidError if there is none of that name."""
    if runtime not in RUNTIMES:
        raise InvalidError(
            f"{where} must be one of {', '.join(RUNTIMES)}, not {runtime!r}.",
            hint="'process' needs nothing, 'docker' needs a Docker engine on this machine.",
        )
    return runtime


def environment_of(
    image: ImageSpec | None, runtime: str, python: str, platform: str = ""
) -> ImageSpec | None:
    """Return the image that the containers of a function are made of, with a base.

    Args:
        image: What the function asks for, resolved.
        runtime: One of `RUNTIMES`.
        python: The version of the deploying interpreter, `3.11.7`.
        platform: What the function's machines are, `linux/arm64`; empty: this one.

    Returns:
        None where containers run under the deploying interpreter and have its packages.
    """
    needed = image is not None and image.needs_environment
    if not needed and runtime == "process":
        return None
    layers = () if image is None else image.layers
    if not layers or layers[0].method not in BASES:
        layers = (Layer("debian_slim", {"python_version": _minor(python)}), *layers)
    return ImageSpec(layers, platform)


def check_python(version: str | None) -> None:
    """Raise InvalidError where an image asks for a Python that cloudfn does not run under."""
    if version is None:
        return
    parts = tuple(int(each) for each in version.split(".")[:2] if each.isdecimal())
    if len(parts) < 2 or parts < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise InvalidError(
            f"Containers need Python {oldest} or newer; an image asks for {version!r}.",
            hint=f'Name a newer one, for example python_version="{oldest}".',
        )


def check_minor(
    ours: str, theirs: str, functions: Sequence[str], by_value: Collection[str]
) -> str | None:
    """Compare the deploying Python with that of an image: code by value is for one minor version.

    Args:
        ours: The version of the deploying Python, `3.11.7`.
        theirs: That of the image's.
        functions: Names of the functions that have the image.
        by_value: Those of them that do not go by the name of their module.

    Returns:
        What to warn of; None where they understand each other.

    Raises:
        InvalidError: A function could not be read there.
    """
    here, there = _minor(ours), _minor(theirs)
    if here == there:
        return None
    if by_value:
        raise InvalidError(
            f"{', '.join(sorted(by_value))} goes by value, from Python {here} to an image with "
            f"Python {there}, which cannot read it.",
            hint=f'Give the image python_version="{here}", or put the function into a file that '
            "can be imported.",
        )
    return (
        f"The image of {', '.join(functions)} has Python {there}, and this is {here}: lambdas, "
        "and functions and classes of a notebook, cannot travel between the two."
    )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
