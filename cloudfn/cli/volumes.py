"""`cloudfn volume`: create, list, ls, get, put, rm, cp, link, rename, delete."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import moments, objects, terminal
from cloudfn.cli.objects import NameArgument
from cloudfn.cli.options import EnvironmentOption, JsonOption
from cloudfn.cli.session import Session, session_of
from cloudfn.cli.sizes import size

if TYPE_CHECKING:
    from cloudfn.sdk.upload import Progress
    from cloudfn.sdk.volumes import Volume

#: seconds that an upload takes before its progress is shown
_PATIENCE = 1.0

PathArgument = Annotated[str, typer.Argument(metavar="[PATH]", help="Path in the volume.")]
RecursiveOption = Annotated[bool, typer.Option("--recursive", "-r", help="Directories too.")]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace what exists.")]


def build() -> typer.Typer:
    """Return the command group."""
    app = objects.group("volume", "vo", list_all=list_volumes)
    for name, command in (
        ("ls", list_files), ("get", get), ("put", put), ("rm", remove), ("cp", copy),
        ("link", link), ("rename", rename),
    ):  # fmt: skip
        app.command(name)(command)
    return app


def list_volumes(
    context: typer.Context, as_json: JsonOption = False, env: EnvironmentOption = None
) -> None:
    """List the volumes of the environment, with their sizes."""
    session = session_of(context, env)
    found = [
        {**each, **_usage(session, each["object_id"])}
        for each in session.request("object_list", kind="volume")["objects"]
    ]
    keys = ("name", "object_id", "created", "files", "bytes")
    if as_json:
        terminal.print_json(terminal.choose_keys(found, keys))
        return
    now = session.host.clock.wall()
    terminal.print_table(
        ("NAME", "ID", "FILES", "SIZE", "CREATED"),
        [
            (
                each["name"],
                each["object_id"],
                each["files"],
                size(each["bytes"]),
                moments.ago(each["created"], now),
            )
            for each in found
        ],
        empty="There are no volumes. `cloudfn volume create NAME` makes one.",
    )


def list_files(
    context: typer.Context,
    name: NameArgument,
    path: PathArgument = "/",
    recursive: RecursiveOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """List files and directories of a volume."""
    session = session_of(context, env)
    with _explained():
        found = _volume(session, name).listdir(path, recursive=recursive)
    kinds = {"FILE": "file", "DIRECTORY": "dir"}
    if as_json:
        terminal.print_json(
            [
                {"path": e.path, "type": kinds[e.type.name], "mtime": e.mtime, "size": e.size}
                for e in found
            ]
        )
        return
    now = session.host.clock.wall()
    terminal.print_table(
        ("PATH", "TYPE", "SIZE", "MODIFIED"),
        [
            (e.path, kinds[e.type.name], size(e.size), moments.ago(float(e.mtime), now))
            for e in found
        ],
        empty="There is nothing.",
    )


def get(
    context: typer.Context,
    name: NameArgument,
    remote: Annotated[str, typer.Argument(metavar="REMOTE", help="Path in the volume.")],
    local: Annotated[str, typer.Argument(metavar="[LOCAL]", help="Where to; - is stdout.")] = ".",
    force: ForceOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Copy a file or directory out of a volume."""
    volume = _volume(session_of(context, env), name)
    with _explained():
        entries = volume.listdir(remote, recursive=True)
        top = remote.strip("/")
        files = [entry.path for entry in entries if entry.type.name == "FILE"]
        if local == "-":
            if files != [top]:
                raise errors.InvalidError(
                    f"{remote} is a directory; only a file goes to stdout.",
                    hint="Name a directory here to copy it to.",
                )
            volume.read_file_into_fileobj(top, sys.stdout.buffer)
            return
        target = Path(local)
        if files == [top] and target.is_dir():
            target /= Path(top).name
        for path in files:
            place = target if path == top else target / path[len(top) :].lstrip("/")
            if place.exists() and not force:
                raise errors.AlreadyExistsError(f"{place} exists.", hint="Use --force.")
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                volume.read_file_into_fileobj(path, file)
    terminal.say(f"✓ {len(files)} files copied to {target}.")


def put(
    context: typer.Context,
    name: NameArgument,
    local: Annotated[Path, typer.Argument(metavar="LOCAL", help="A file or directory here.")],
    remote: Annotated[str, typer.Argument(metavar="[REMOTE]", help="Path in the volume.")] = "/",
    force: ForceOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Copy a file or directory into a volume."""
    session = session_of(context, env)
    volume = _volume(session, name)
    with (
        _explained(),
        _progress(session) as progress,
        volume.batch_upload(force, progress=progress) as batch,
    ):
        if local.is_dir():
            batch.put_directory(local, remote)
        else:
            batch.put_file(local, remote)
    terminal.say(f"✓ {local} copied to {name}.")


def remove(
    context: typer.Context,
    name: NameArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path in the volume.")],
    recursive: RecursiveOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Remove a file or directory from a volume."""
    with _explained():
        _volume(session_of(context, env), name).remove_file(path, recursive)


def copy(
    context: typer.Context,
    name: NameArgument,
    paths: Annotated[
        list[str], typer.Argument(metavar="SOURCE… TARGET", help="Paths in the volume.")
    ],
    recursive: RecursiveOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Copy files within a volume."""
    if len(paths) < 2:
        raise typer.BadParameter("Say at least one source, and the target.")
    with _explained():
        _volume(session_of(context, env), name).copy_files(paths[:-1], paths[-1], recursive)


def link(
    context: typer.Context,
    name: NameArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path of a file in the volume.")],
    lasting: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long, as 90s, 1h, 7d; 7d at most.")
    ] = "1h",
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Print an address at which anybody can read a file for a while, without credentials.

    It is of the file as it is now, and cannot be called back.
    """
    seconds = moments.parse_span(lasting)
    if seconds is None:
        raise typer.BadParameter(f"{lasting!r} is no time such as 90s, 1h or 7d.")
    session = session_of(context, env)
    volume = session.request("object_open", kind="volume", name=name)["object_id"]
    told = session.request("volume_link", volume=volume, path=path, seconds=int(seconds))
    with _explained():
        if told["url"] is None:
            raise FileNotFoundError(path)
    if as_json:
        terminal.print_json({key: told[key] for key in ("url", "until", "temporary")})
        return
    print(told["url"])
    terminal.say(f"✓ Whoever has it can read {path} until {moments.stamp(told['until'])[:16]}.")
    if told["temporary"]:
        terminal.say(
            "  It was made with temporary credentials, and ends with them where that is sooner."
        )


def rename(
    context: typer.Context,
    name: NameArgument,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    env: EnvironmentOption = None,
) -> None:
    """Give a volume another name."""
    session = session_of(context, env)
    object_id = session.request("object_open", kind="volume", name=name)["object_id"]
    session.request("object_rename", object_id=object_id, name=new_name)
    terminal.say(f"✓ Volume {name} is called {new_name} now.")


def _volume(session: Session, name: str) -> Volume:
    from cloudfn.sdk.volumes import Volume

    return Volume.from_name(name, client=session.program_client())


def _usage(session: Session, object_id: str) -> dict[str, Any]:
    told = session.request("volume_usage", volume=object_id)
    return {"files": told["files"], "bytes": told["bytes"]}


@contextmanager
def _explained() -> Iterator[None]:
    """Tell of files as a command does."""
    try:
        yield
    except FileExistsError as error:
        raise errors.AlreadyExistsError(str(error), hint="Use --force to replace.") from None
    except OSError as error:
        what = error.strerror or "There is no such file"
        raise errors.NotFoundError(
            f"{what}: {error.filename or error}.",
            hint="`cloudfn volume ls NAME` shows what is in a volume.",
        ) from None


@contextmanager
def _progress(session: Session) -> Iterator[Progress | None]:
    """Show how far an upload is, where somebody looks and it takes long."""
    if not terminal.is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    bar = Progress(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True),
        transient=True,
    )  # fmt: skip
    task = bar.add_task("upload")
    clock = session.host.clock
    began = clock.monotonic()

    def show(done: int, total: int) -> None:
        if clock.monotonic() - began >= _PATIENCE:
            bar.start()
            bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()
