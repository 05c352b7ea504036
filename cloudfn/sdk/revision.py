"""Turns an App as it stands into the revision that the engine keeps."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudfn import errors
from cloudfn.sdk import interpreter
from cloudfn.sdk.web import check_installed

if TYPE_CHECKING:
    from cloudfn.model.function import FunctionSpec
    from cloudfn.model.image import ImageSpec
    from cloudfn.sdk.function import Function
    from cloudfn.sdk.patterns import Ignore
    from cloudfn.sdk.program import Program

_LARGE_CLOSURE = 256 << 10
_LARGEST_CLOSURE = 16 << 20


def revision_of(
    functions: Iterable[Function],
    module: str,
    bundles: Path,
    *,
    runtime: str,
    durable: bool,
    labels: bool,
    tag: str,
) -> dict[str, Any]:
    """Store the sources of an App and return its revision as plain data.

    Args:
        functions: The App's functions.
        module: The module that defines the App.
        bundles: Where the engine keeps source bundles.
        runtime: What containers are, "process" or "docker".
        durable: The bundle has to survive a power cut.
        labels: Collect the facts for the history.
        tag: The user's own mark for the history.

    Raises:
        InvalidError: A source cannot be brought along.
        SerializationError: A function that goes by value cannot be pickled.
    """
    program = _program(module)
    root = program.root if program else None
    specs = [_final_spec(function, program) for function in functions]
    check_installed(specs)
    specs, modules = _with_images(specs, bundles, root, durable=durable)
    return {
        "bundle": _stored(program, modules, bundles, durable=durable),
        "module": program.module_name if program else "",
        "functions": [spec.to_json() for spec in specs],
        "interpreter": sys.executable,
        "import_paths": interpreter.import_paths(root),
        "python_version": interpreter.python_version(),
        "runtime": runtime,
        "labels": interpreter.labels(root, tag) if labels else {},
    }


def _program(module: str) -> Program | None:
    """Return the program around the App's module; None in notebooks and the REPL."""
    from cloudfn.sdk.program import imported_program, main_program

    main = main_program()
    if module == "__main__" or (main is not None and main.module_name == module):
        return main
    return imported_program(module)


def _with_images(
    specs: list[FunctionSpec], bundles: Path, root: Path | None, *, durable: bool
) -> tuple[list[FunctionSpec], dict[str, Ignore | None]]:
    """Resolve images, each once.

    Returns:
        The specs, and the modules that travel with the program, with what of each to leave out.
    """
    if all(spec.image is None for spec in specs):
        return specs, {}
    from cloudfn.sdk.images.recording import objects_of
    from cloudfn.sdk.imaging import resolve

    known: dict[int, ImageSpec] = {}
    modules: dict[str, Ignore | None] = {}
    resolved = []
    for spec in specs:
        if spec.image is None:
            resolved.append(spec)
            continue
        image = known.get(id(spec.image))
        if image is None:
            image = known[id(spec.image)] = resolve(spec.image, bundles, root, durable=durable)
            for layer in spec.image.layers:
                if layer.method == "add_local_python_source" and layer.attaches:
                    ignore = objects_of(layer).get("ignore")
                    modules.update(dict.fromkeys(layer.arguments["modules"], ignore))
        resolved.append(replace(spec, image=image))
        _check_places(resolved[-1])
    return resolved, dict(sorted(modules.items()))


def _check_places(spec: FunctionSpec) -> None:
    """Raise InvalidError where a volume and an attached file hide each other."""
    for attached in spec.image.attachments(copied=True) if spec.image is not None else ():
        for mount in spec.volumes:
            places = f"{attached.remote_path}/", f"{mount.path}/"
            if places[0].startswith(places[1]) or places[1].startswith(places[0]):
                raise errors.InvalidError(
                    f"The function {spec.name} has a volume at {mount.path} and local files of its "
                    f"image at {attached.remote_path}: one would hide the other.",
                    hint="Give each a place outside the other.",
                )


def _stored(
    program: Program | None, modules: Mapping[str, Ignore | None], bundles: Path, *, durable: bool
) -> str:
    from cloudfn.sdk.bundle import empty, store, warn_if_large
    from cloudfn.sdk.collecting import collect

    if program is None:
        bundle = empty()
    else:
        bundle = collect(program.module_name, program.root, program.entry, modules)
    store(bundle, bundles, durable=durable)
    warn_if_large(bundle, "The program", "Keep data out of packages, or in a volume.")
    return bundle.digest


def _final_spec(function: Function, program: Program | None) -> FunctionSpec:
    spec = function.spec
    assert spec is not None
    module = spec.module
    if module == "__main__":
        module = program.module_name if program else ""
    if function.serialized or not module:
        return replace(spec, module=module, serialized=_by_value(function, program))
    return replace(spec, module=module)


def _by_value(function: Function, program: Program | None) -> str:
    from cloudfn.wire import codec

    name = program.module_name if program else None
    what = f"the function {function.name}"
    data = codec.dumps(function.get_raw_f(), codec.PickleContext(name, by_value=True), what)
    if len(data) > _LARGEST_CLOSURE:
        raise errors.InvalidError(
            f"The function {function.name} and what it refers to take {len(data) >> 20} MiB "
            f"as a pickle; at most {_LARGEST_CLOSURE >> 20} MiB can be sent.",
            hint="Pass large objects as arguments, or load them inside the function.",
        )
    if len(data) > _LARGE_CLOSURE:
        import warnings

        warnings.warn(
            f"The function {function.name} and what it refers to take {len(data) >> 10} KiB "
            "as a pickle. Pass large objects as arguments, or load them inside the function.",
            errors.UserWarning,
            stacklevel=2,
        )
    return b64encode(data).decode("ascii")
