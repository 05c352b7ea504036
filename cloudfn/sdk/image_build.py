"""Has the images of a revision built before the engine gets it, and says what they will lack."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudfn import errors, settings
from cloudfn.model.cls import shown_name
from cloudfn.model.image import ImageSpec
from cloudfn.model.runtime import check_minor, check_python, environment_of
from cloudfn.sdk.client import current_settings
from cloudfn.sdk.interpreter import python_version
from cloudfn.sdk.twins import Blocking

if TYPE_CHECKING:
    from cloudfn.sdk.client import Client
    from cloudfn.sdk.twins import Steps

Sink = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that functions of a revision need."""

    spec: ImageSpec
    functions: list[str] = field(default_factory=list)
    #: those of them that travel as bytecode, which other versions of Python cannot read
    by_value: list[str] = field(default_factory=list)

    @property
    def users(self) -> str:
        """The functions, for people."""
        return ", ".join(self.functions)


def images_of(revision: Mapping[str, Any]) -> dict[str, Wanted]:
    """Return the images that a revision needs, by their digests.

    Raises:
        InvalidError: One asks for a Python that containers cannot have.
    """
    wanted: dict[str, Wanted] = {}
    for function in revision["functions"]:
        layers = function["image"]["layers"] if function["image"] else None
        image = None if layers is None else ImageSpec(tuple(layers))
        python, platform = revision["python_version"], function["platform"]
        spec = environment_of(image, revision["runtime"], python, platform)
        if spec is None:
            continue
        check_python(spec.python)
        each = wanted.setdefault(spec.digest, Wanted(spec))
        name = shown_name(function["name"])
        each.functions.append(name)
        if function["serialized"] is not None:
            each.by_value.append(name)
    return wanted


def have_built(
    engine: Client,
    wanted: Mapping[str, Wanted],
    runtime: str,
    python: str,
    *,
    allow_unmet: bool,
    anew: bool = False,
    sink: Sink | None = None,
) -> Steps[list[dict[str, Any]]]:
    """Have images built that are not there yet; nothing is asked where none is wanted.

    Args:
        engine: Where.
        wanted: The images, by digest.
        runtime: What containers are.
        python: The version of this interpreter, `3.11.7`.
        allow_unmet: Go on, with a warning, where an image will lack something.
        anew: Build those that are there, too.
        sink: Gets messages of progress, with `"event": "image"`.

    Returns:
        Facts of the images, in the order of `wanted`.

    Raises:
        InvalidError: The runtime does not exist there, or cannot do what an image asks for.
        ImageBuildError: A step failed.
    """
    if not wanted:
        return []
    specs = [asdict(each.spec) for each in wanted.values()]
    told = yield from engine.ask("image_find", runtime=runtime, specs=specs)
    for each, found in zip(wanted.values(), told["images"], strict=True):
        _check_unmet(each, found["unmet"], allowed=allow_unmet)
    images = []
    for each, found in zip(wanted.values(), told["images"], strict=True):
        image = found["image"]
        if image is None or anew or each.spec.force_build:
            image = yield from _built(engine, each, runtime, sink, anew=image is not None)
        gap = check_minor(python, image["python"], each.functions, each.by_value)
        if gap is not None:
            warnings.warn(gap, errors.UserWarning, stacklevel=2)
        images.append(image)
    return images


def foreseen_images(
    engine: Client, wanted: Mapping[str, Wanted], runtime: str, *, allow_unmet: bool
) -> Steps[list[dict[str, Any]]]:
    """Return which images would be built, and which are there; raises as `have_built` does."""
    if not wanted:
        return []
    specs = [asdict(each.spec) for each in wanted.values()]
    told = yield from engine.ask("image_find", runtime=runtime, specs=specs)
    images = []
    for each, found in zip(wanted.values(), told["images"], strict=True):
        _check_unmet(each, found["unmet"], allowed=allow_unmet)
        image = found["image"]
        builds = image is None or each.spec.force_build
        images.append(
            {
                "action": "build" if builds else "keep",
                "image_id": each.spec.image_id,
                "platform": each.spec.platform or None,
                "functions": each.functions,
                "reference": None if image is None else image["reference"],
            }
        )
    return images


def build_alone(engine: Client, spec: ImageSpec) -> Steps[None]:
    """Resolve an image and have it built, as the settings say; for no function in particular.

    Raises:
        InvalidError: A local file is missing, or the runtime cannot do what the image asks for.
        ImageBuildError: A step failed.
    """
    from cloudfn.sdk.context import wanted_sink
    from cloudfn.sdk.imaging import resolve

    welcome = yield from engine.ready()
    resolved = yield Blocking(resolve, spec, Path(welcome.bundles))
    chosen, python = current_settings(), python_version()
    image = environment_of(resolved, chosen.runtime, python)
    if image is not None:
        wanted = {image.digest: Wanted(image, ["Image.build"])}
        yield from have_built(
            engine,
            wanted,
            chosen.runtime,
            python,
            allow_unmet=chosen.allow_unmet,
            sink=wanted_sink(),
        )


def _built(
    engine: Client, wanted: Wanted, runtime: str, sink: Sink | None, *, anew: bool
) -> Steps[dict[str, Any]]:
    spec, listening = wanted.spec, None
    facts = {"event": "image", "image_id": spec.image_id}
    where = {"runtime": runtime, "digest": spec.digest}
    began = engine.clock.monotonic()
    if sink is not None:
        sink({**facts, "state": "building", "functions": wanted.functions})
        listening = engine.listen("image_watch", where, sink)
    try:
        told = yield from engine.ask(
            "image_build",
            runtime=runtime,
            spec=asdict(spec),
            environ=settings.build_environ(),
            anew=anew,
        )
    except errors.Error:
        if sink is not None:
            sink({**facts, "state": "failed"})
        raise
    except GeneratorExit:
        raise
    except BaseException:
        # Interrupted: the build ends unless others wait for it, too.
        with suppress(errors.Error):
            yield from engine.ask("image_leave", **where)
        raise
    finally:
        if listening is not None:
            engine.release(listening, tell=True)
    image: dict[str, Any] = told["image"]
    if sink is not None:
        seconds = engine.clock.monotonic() - began
        sink({**facts, "state": "built", "seconds": seconds, "size": image["size"]})
    return image


def _check_unmet(wanted: Wanted, unmet: list[str], *, allowed: bool) -> None:
    if not unmet:
        return
    lacks = "; ".join(
        f"`{method}` ({why})" for method, _, why in (e.partition(": ") for e in unmet)
    )
    if not allowed:
        raise errors.InvalidError(
            f"The image of {wanted.users} cannot have all that it asks for in this runtime: "
            f"{lacks}.",
            hint="Use --runtime docker (CLOUDFN_RUNTIME=docker), or go without with --allow-unmet "
            "(CLOUDFN_IMAGE_UNMET=warn).",
        )
    warnings.warn(
        f"The image of {wanted.users} goes without what this runtime cannot give it: {lacks}.",
        errors.UserWarning,
        stacklevel=2,
    )
