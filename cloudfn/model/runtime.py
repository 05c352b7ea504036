"""What containers are made of: which image a function needs in which runtime. Pure."""

from __future__ import annotations

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


def environment_of(image: ImageSpec | None, runtime: str, python: str) -> ImageSpec | None:
    """Return the image that the containers of a function are made of, with a base.

    Args:
        image: What the function asks for, resolved.
        runtime: One of `RUNTIMES`.
        python: The version of the deploying interpreter, `3.11.7`.

    Returns:
        None where containers run under the deploying interpreter and have its packages.
    """
    needed = image is not None and image.needs_environment
    if not needed and runtime == "process":
        return None
    layers = () if image is None else image.layers
    if layers and layers[0].method in BASES:
        return image
    version = ".".join(python.split(".")[:2])
    return ImageSpec((Layer("debian_slim", {"python_version": version}), *layers))


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
