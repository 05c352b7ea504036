"""Builds one image with the docker command, in a folder that is gone afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudfn.errors import ImageBuildError
from cloudfn.model.image import ImageSpec
from cloudfn.model.secret import SecretRef
from cloudfn.providers.builds import Build
from cloudfn.providers.docker import credentials
from cloudfn.providers.docker.context import lay_out, write_private
from cloudfn.providers.docker.endpoint import config_folder, find_endpoint
from cloudfn.providers.docker.output import BuildOutput
from cloudfn.providers.docker.reach import Reach
from cloudfn.providers.images import BuildSecrets
from cloudfn.providers.recipes.dockerfile import FORCE, Dockerfile
from cloudfn.providers.recipes.lines import CERTIFICATES, REACH, secret_file

#: begins the names of the folders of builds
SCRATCH = ".build-"


@dataclass(frozen=True, slots=True)
class Order:
    """What to build, and how.

    Attributes:
        spec: The image.
        recipe: Its Dockerfile.
        bundles: path in the context → folder with what it holds.
        labels: Of the image.
        platform: What it is for, `linux/arm64`; empty for what the engine is.
        secrets: The variables of each secret.
        reach: How its steps reach packages.
        anew: Without what earlier builds left.
    """

    spec: ImageSpec
    recipe: Dockerfile
    bundles: Mapping[str, Path]
    labels: Mapping[str, str]
    platform: str
    secrets: BuildSecrets
    reach: Reach
    anew: bool


def carry_out(
    order: Order,
    command: str,
    environ: Mapping[str, str],
    root: Path,
    build: Build,
    report: Callable[[str], None],
) -> str:
    """Build an image; return its id, `sha256:…`.

    Args:
        order: What to build.
        command: A docker command with BuildKit.
        environ: Its variables.
        root: Where the folder of this build may be.
        build: Runs the command.
        report: Gets what people shall see of its output.

    Raises:
        ImageBuildError: A step failed, or the build was cancelled.
        InvalidError: The secret of the base does not open a registry.
    """
    variables = {ref: order.secrets(ref) for ref in order.spec.secrets}
    reach = order.reach
    hidden = [value for each in variables.values() for value in each.values()]
    output = BuildOutput([*hidden, *reach.hidden])

    def line(raw: str) -> None:
        shown = output.line(raw)
        if shown is not None:
            report(shown)

    with _scratch(root) as scratch:
        arguments = _arguments(order, scratch, variables)
        lay_out(scratch / "context", order.bundles, _files(order.recipe))
        environ = {**environ, **reach.proxies, **_buildkit(environ)}
        if (ref := order.recipe.credentials) is not None:
            environ["DOCKER_CONFIG"] = str(_login(order, variables[ref], environ, scratch))
        code = build.run([command, *arguments], environ, scratch, line)
        if code:
            raise ImageBuildError(
                f"The image im-{order.spec.digest} could not be built.\n{output.failure()}",
                hint="`cloudfn image build FILE --dry-run` shows the Dockerfile.",
            )
        return (scratch / "id").read_text().strip()


def _buildkit(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what has the engine itself build, with BuildKit, one image and no more about it."""
    builder = find_endpoint(environ).context
    return {
        "DOCKER_BUILDKIT": "1",
        "BUILDX_BUILDER": builder,
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
    }


def _files(recipe: Dockerfile) -> dict[str, str]:
    return {f"files/{name}": content for name, content in recipe.files.items()}


def _arguments(
    order: Order, scratch: Path, variables: Mapping[SecretRef, Mapping[str, str]]
) -> list[str]:
    recipe = order.recipe
    (scratch / "Dockerfile").write_text(recipe.text, encoding="utf-8")
    given = ["build", "--progress=plain", "--file", "Dockerfile", "--iidfile", "id"]
    given += [f"--label={name}={value}" for name, value in order.labels.items()]
    # A name alone: the value is in the command's environment, where other users cannot see it.
    given += [f"--build-arg={name}" for name in order.reach.proxies]
    given += [f"--build-arg={name}={value}" for name, value in recipe.build_args.items()]
    if recipe.force:
        given.append(f"--build-arg={FORCE}={os.urandom(8).hex()}")
    if order.platform:
        given.append(f"--platform={order.platform}")
    if order.anew:
        given.append("--no-cache")
    secrets = {name: variables[ref] for name, ref in recipe.secrets.items()}
    if order.reach:
        secrets[REACH] = order.reach.variables
    for number, (name, told) in enumerate(secrets.items()):
        path = scratch / f"secret-{number}"
        write_private(path, secret_file(told))
        given.append(f"--secret=id={name},src={path.name}")
    if order.reach.certificates is not None:
        given.append(f"--secret=id={CERTIFICATES},src={order.reach.certificates}")
    return [*given, "context"]


def _login(
    order: Order, variables: Mapping[str, str], environ: Mapping[str, str], scratch: Path
) -> Path:
    base = order.spec.layers[0]
    who = credentials.of_secret(variables, f"Image.{base.method}")
    # The base alone: other images of the recipe are nobody's secret.
    text = str(base.arguments.get("dockerfile") or f"FROM {base.arguments.get('tag')}")
    folder = scratch / "docker"
    own = config_folder(environ)
    credentials.write_config(folder, own, credentials.registries_of(text), who)
    return folder


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Nobody else may look into it: there are secrets.
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=root) as folder:
        yield Path(folder)
