"""`cloudfn image`: build, list, show, rm, prune; push and pull are in `image_registry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import image_registry, moments, terminal
from cloudfn.cli.objects import confirm
from cloudfn.cli.options import (
    AllowUnmetOption,
    EnvironmentOption,
    JsonOption,
    RuntimeOption,
    YesOption,
    check_runtime,
    command_group,
    complete_image,
    complete_runtime,
)
from cloudfn.cli.run import ModuleOption
from cloudfn.cli.session import session_of
from cloudfn.cli.sizes import size

if TYPE_CHECKING:
    from cloudfn.sdk.client import Client
    from cloudfn.sdk.function import Function
    from cloudfn.sdk.image_build import Wanted
    from cloudfn.sdk.program import Program

_KEYS = ("image_id", "runtime", "python", "size", "created", "apps", "reference")

ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="Id of an image, im-…, or its beginning.",
        autocompletion=complete_image,
    ),
]

WhichOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="process|docker",
        help="Of which runtime, where both have an image of that id.",
        show_default=False,
        callback=check_runtime,
        autocompletion=complete_runtime,
    ),
]


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("Build images, and look after them.")
    app.command("build", no_args_is_help=True)(build_images)
    app.command("list")(list_images)
    app.command("show")(show)
    app.command("rm")(remove)
    app.command("prune")(prune)
    app.command("push", no_args_is_help=True)(image_registry.push)
    app.command("pull", no_args_is_help=True)(image_registry.pull)
    return app


def build_images(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE[::FUNCTION]", help="A file, and whose image of it.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the steps, and carry out none.")
    ] = False,
    runtime: RuntimeOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Build anew what is there already.")
    ] = False,
    allow_unmet: AllowUnmetOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no output of the build.")
    ] = False,
    module: ModuleOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Build the images of a file's functions, or of one of them, unless they are there."""
    from cloudfn.cli.display import RunDisplay
    from cloudfn.cli.loading import ABORTING, open_program
    from cloudfn.sdk.app_opening import Opening, declared_images
    from cloudfn.sdk.image_build import have_built
    from cloudfn.sdk.twins import run

    session = session_of(context, env)
    clock = session.host.clock
    program, client = open_program(session, file, module=module)
    functions = _functions(program)
    how = Opening("ephemeral", runtime, allow_unmet or None)
    display = RunDisplay(clock, started=clock.monotonic(), quiet=quiet or as_json, only_builds=True)
    built: set[str] = set()

    def take(message: dict[str, Any]) -> None:
        display.take(message)
        if message.get("state") == "built":
            built.add(message["image_id"])

    try:
        chosen, python, wanted = run(
            declared_images(client, how, program.module.__name__, functions)
        )
        if dry_run:
            _show_plans(client, chosen, list(wanted.values()), as_json=as_json)
            return
        with display:
            images = run(
                have_built(
                    client,
                    wanted,
                    chosen,
                    python,
                    allow_unmet=how.allows_unmet,
                    anew=force,
                    sink=take,
                )
            )
    except KeyboardInterrupt:
        terminal.say(ABORTING)
        raise
    told = list(zip(wanted.values(), images, strict=True))
    if as_json:
        terminal.print_json([_document(each, image, chosen) for each, image in told])
        return
    for each, image in told:
        if quiet or each.spec.image_id not in built:
            terminal.say(f"✓ Image {each.spec.image_id} of {each.users}: {size(image['size'])}.")
    if not told:
        terminal.say(_NO_IMAGES)


def _functions(program: Program) -> dict[str, Function]:
    """Return the functions of a program's apps, or the one that was named."""
    from cloudfn.cli.runnables import apps_of
    from cloudfn.model.cls import shown_name

    known = {
        shown_name(name): function
        for app in apps_of(program.module).values()
        for name, function in app.declared_functions.items()
    }
    if program.name is None:
        return known
    if program.name not in known:
        raise errors.InvalidError(
            f"The file has no function {program.name!r}.",
            hint=f"It has: {', '.join(known) or 'none'}.",
        )
    return {program.name: known[program.name]}


def _show_plans(client: Client, runtime: str, wanted: list[Wanted], *, as_json: bool) -> None:
    from dataclasses import asdict

    from cloudfn.sdk.twins import run

    plans = []
    for each in wanted:
        told = run(client.ask("image_plan", runtime=runtime, spec=asdict(each.spec)))
        plans.append({"image_id": each.spec.image_id, "functions": each.functions, **told})
    if as_json:
        terminal.print_json(plans)
        return
    for plan in plans:
        terminal.print_text(f"# {plan['image_id']} of {', '.join(plan['functions'])}")
        terminal.print_text(plan["plan"].rstrip("\n"))
    if not plans:
        terminal.say(_NO_IMAGES)


def _document(wanted: Wanted, image: dict[str, Any], runtime: str) -> dict[str, Any]:
    keys = ("python", "size", "created", "reference")
    return {
        "image_id": wanted.spec.image_id,
        "runtime": runtime,
        "functions": wanted.functions,
        **{key: image[key] for key in keys},
    }


def list_images(
    context: typer.Context, as_json: JsonOption = False, env: EnvironmentOption = None
) -> None:
    """List the images that are built, the newest first."""
    session = session_of(context, env)
    told = session.request("image_list")
    for runtime, why in told.get("trouble", {}).items():
        terminal.say(f"Images of {runtime} cannot be listed: {why}")
    images = terminal.choose_keys(told["images"], _KEYS)
    now = session.host.clock.wall()
    terminal.print_listing(
        images,
        ("IMAGE ID", "RUNTIME", "PYTHON", "SIZE", "CREATED", "APPS"),
        lambda each: (
            each["image_id"],
            each["runtime"],
            each["python"],
            size(each["size"]),
            moments.ago(each["created"], now),
            ", ".join(each["apps"]),
        ),
        as_json=as_json,
        empty="There are no images. `cloudfn image build FILE` makes some.",
    )


def show(
    context: typer.Context,
    image: ImageArgument,
    runtime: WhichOption = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show one image."""
    session = session_of(context, env)
    found = session.request("image_show", image=image, runtime=runtime)
    told = terminal.choose_keys([found], _KEYS)[0]
    if as_json:
        terminal.print_json(told)
        return
    shown = {
        **told,
        "size": size(told["size"]),
        "created": moments.stamp(told["created"]),
        "apps": ", ".join(told["apps"]) or "-",
    }
    for key, value in shown.items():
        terminal.print_text(f"{key:<10} {value}")


def remove(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE…", help="Ids of images, im-….", autocompletion=complete_image
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Also one that an app or a container uses.")
    ] = False,
    runtime: WhichOption = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Remove images."""
    session = session_of(context, env)
    removed = [
        session.request("image_remove", image=each, force=force, runtime=runtime) for each in images
    ]
    _tell_removed(removed, as_json=as_json)


def prune(
    context: typer.Context,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also those of apps, where no container runs on one; deploy them again."
        ),
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Remove the images that no app uses as it is deployed now."""
    session = session_of(context, env)
    if everything and not yes:
        confirm("Remove all images that no container runs on, those of deployed apps as well?")
    told = session.request("image_prune", all=everything)
    _tell_removed(told["removed"], as_json=as_json)


def _tell_removed(removed: list[dict[str, Any]], *, as_json: bool) -> None:
    freed = sum(each["size"] for each in removed)
    if as_json:
        terminal.print_json({"removed": removed, "freed": freed})
        return
    for each in removed:
        terminal.say(f"✓ {each['image_id']} removed, {size(each['size'])} freed.")
    if len(removed) != 1:
        terminal.say(f"{len(removed)} images removed, {size(freed)} freed.")


_NO_IMAGES = "No function there needs an image: they run under the Python that deploys them."
