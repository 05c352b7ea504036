"""How an App is opened at the engine: with what settings, and what has to be there before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudfn import errors
from cloudfn.model.cls import shown_name
from cloudfn.model.names import check_characters
from cloudfn.model.runtime import check_runtime
from cloudfn.sdk.client import Client, current_settings
from cloudfn.sdk.twins import Blocking, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cloudfn.sdk.function import Function
    from cloudfn.sdk.image_build import Wanted

#: bytes of sources from which on people may want to know
_WORTH_A_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Opening:
    """How an App is to be opened; what is None follows the settings."""

    #: ephemeral | detached | deployed
    state: str
    runtime: str | None = None
    allow_unmet: bool | None = None
    tag: str = ""
    strategy: str = "rolling"
    keep_overrides: bool = False
    #: path of the terminal that its containers read from
    terminal: str | None = None
    #: the App that runs and gets a new revision
    app_id: str | None = None

    @property
    def decided_runtime(self) -> str:
        """The runtime; raises InvalidError if there is none of that name."""
        return check_runtime(self.runtime or current_settings().runtime, "`runtime`")

    @property
    def allows_unmet(self) -> bool:
        """Whether images may lack what the runtime cannot give them."""
        return current_settings().allow_unmet if self.allow_unmet is None else self.allow_unmet


def deployed_name(wanted: str | None) -> str:
    """Return the name that an App is deployed under; raises InvalidError where it has none."""
    if not wanted:
        raise errors.InvalidError(
            "You need to either supply an explicit deployment name to the deploy command, or "
            "have a name set on the app.",
            hint='Write `app = cloudfn.App("some-name")`, or app.deploy(name="some-name").',
        )
    check_characters("App", wanted)
    return wanted


def open_app(
    engine: Client,
    name: str,
    how: Opening,
    module: str,
    functions: Mapping[str, Function],
    tags: Mapping[str, str],
) -> Steps[dict[str, Any]]:
    """Store an App's sources, have its images built, and register it with the engine."""
    from cloudfn.sdk.context import wanted_sink
    from cloudfn.sdk.image_build import have_built, images_of

    revision = yield from _declared(engine, how, module, functions)
    sink = wanted_sink()
    if sink is not None:
        yield from _tell_sizes(engine, revision, sink)
    yield from have_built(
        engine,
        images_of(revision),
        revision["runtime"],
        revision["python_version"],
        allow_unmet=how.allows_unmet,
        sink=sink,
    )
    told = yield from engine.ask(
        "app_open",
        name=name,
        state=how.state,
        revision=revision,
        strategy=how.strategy,
        keep_overrides=how.keep_overrides,
        terminal=how.terminal,
        tags=dict(tags),
        app_id=how.app_id,
    )
    for text in told.get("warnings", ()):
        _warn(text)
    return {**told, "module": revision["module"]}


def _tell_sizes(
    engine: Client, revision: Mapping[str, Any], sink: Callable[[dict[str, Any]], None]
) -> Steps[None]:
    """Say how much of this machine goes to the containers, where that is worth a line."""
    from cloudfn.model.image import ImageSpec
    from cloudfn.sdk.bundle import stored_size

    bundles = Path((yield from engine.ready()).bundles)
    images = [each["image"] for each in revision["functions"] if each["image"]]
    attached = {
        each.context for image in images for each in ImageSpec(tuple(image["layers"])).attachments()
    }
    for what, digests in (("sources", {revision["bundle"]}), ("attached", attached)):
        found = [stored_size(each, bundles) for each in digests]
        files, size = sum(count for count, _ in found), sum(size for _, size in found)
        if size >= _WORTH_A_LINE or (files and what == "attached"):
            sink({"event": "files", "what": what, "files": files, "size": size})


def foreseen(
    engine: Client,
    name: str,
    how: Opening,
    module: str,
    functions: Mapping[str, Function],
) -> Steps[dict[str, Any]]:
    """Return what opening an App would do; nothing is stored, built or registered.

    Returns:
        What `app_plan` answers, with `images` and `objects` that would be made.
    """
    from tempfile import TemporaryDirectory

    from cloudfn.sdk.image_build import foreseen_images, images_of
    from cloudfn.sdk.onlooker import Onlooker

    with TemporaryDirectory(prefix="cloudfn-") as folder:
        onlooker = Onlooker(engine, Path(folder))
        revision = yield from _declared(onlooker, how, module, functions)
    wanted = images_of(revision)
    images = yield from foreseen_images(
        engine, wanted, revision["runtime"], allow_unmet=how.allows_unmet
    )
    told = yield from engine.ask(
        "app_plan",
        name=name,
        state=how.state,
        revision=revision,
        strategy=how.strategy,
        keep_overrides=how.keep_overrides,
        app_id=how.app_id,
    )
    objects = [{"kind": kind, "name": name} for kind, name in dict.fromkeys(onlooker.missing)]
    return {**told, "images": images, "objects": objects}


def declared_images(
    engine: Client, how: Opening, module: str, functions: Mapping[str, Function]
) -> Steps[tuple[str, str, dict[str, Wanted]]]:
    """Return the runtime, the version of this Python, and the images that functions need."""
    from cloudfn.sdk.image_build import images_of

    revision = yield from _declared(engine, how, module, functions)
    return revision["runtime"], revision["python_version"], images_of(revision)


def _declared(
    engine: Client, how: Opening, module: str, functions: Mapping[str, Function]
) -> Steps[dict[str, Any]]:
    """Store the sources of functions, and return the revision that they make up."""
    from cloudfn.sdk.revision import revision_of

    runtime = how.decided_runtime
    for function in functions.values():
        check_characters("Function", shown_name(function.name))
        if function.spec is not None:
            function.spec = yield from function.supplies.named(function.spec, engine)
    welcome = yield from engine.ready()
    deployed = how.state == "deployed"
    # Classes of the user's program that live here must be the ones that containers import.
    revision: dict[str, Any] = yield Blocking(
        lambda: revision_of(
            list(functions.values()),
            module,
            Path(welcome.bundles),
            runtime=runtime,
            durable=deployed,
            labels=deployed,
            tag=how.tag,
        )
    )
    if welcome.places:
        told = yield from engine.ask("app_place", revision=revision)
        for each in revision["functions"]:
            each["platform"] = told["platforms"][each["name"]]
    return revision


def _warn(text: str) -> None:
    import warnings

    warnings.warn(text, errors.ServerWarning, stacklevel=2)
