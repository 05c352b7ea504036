"""Images of the docker runtime: built by the docker command with BuildKit, kept by the engine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import Error, NotFoundError
from cloudfn.model.image import ImageSpec
from cloudfn.providers.builds import Builds
from cloudfn.providers.docker.building import SCRATCH, Order, carry_out
from cloudfn.providers.docker.command import find_builder
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.docker.labels import DIGEST_LABEL, ENVIRONMENT_LABEL, MARKER_LABEL
from cloudfn.providers.docker.python import python_of
from cloudfn.providers.docker.reach import reach
from cloudfn.providers.image_records import ImageRecords
from cloudfn.providers.images import BuildSecrets, BuiltImage, no_secrets
from cloudfn.providers.recipes.dockerfile import Dockerfile, dockerfile

#: characters of the owner that its images' tags end with
_OWNER = 8
#: what Docker takes for a part of an image's name
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Site:
    """Where images of an environment come from and go.

    Attributes:
        environment: Its name.
        root: The folder of records.
        bundles: The folder of source bundles, where contexts are.
        runtime: Gives the folder with cloudfn and cloudpickle.
        base_image: Name of images with a Python, with `{version}` in it.
        environ: Variables of the docker command: PATH, HOME and DOCKER_*.
        owner: The environment's marker; tells it from others of its name that share the engine.
        platform: What to build for, `linux/arm64`; empty for what the engine is.
    """

    environment: str
    root: Path
    bundles: Path
    runtime: Callable[[], Path]
    base_image: str
    environ: Mapping[str, str]
    owner: str
    platform: str = ""

    @property
    def repository(self) -> str:
        """The name of the environment's images; their tags begin with digests."""
        name = self.environment
        if _NAME.fullmatch(name) is None:
            name = f"env-{sha256(name.encode()).hexdigest()[:12]}"
        return f"cloudfn/{name}"


class DockerImages:
    """The `Images` port as images of a Docker engine, for the one process that owns the records.

    A record is written once an image is whole, and says what is in it. The engine is asked whether
    it still has the image.
    """

    def __init__(self, site: Site, engine: DockerEngine, clock: Clock | None = None) -> None:
        self._site = site
        self._engine = engine
        self._clock = clock or SystemClock()
        self._builds = Builds()
        self._records = ImageRecords(site.root)
        for folder in site.root.glob(f"{SCRATCH}*"):
            shutil.rmtree(folder, ignore_errors=True)

    # The port

    def find(self, spec: ImageSpec) -> BuiltImage | None:
        image = self._records.read(spec.digest)
        if image is None:
            return None
        try:
            with self._engine.asked() as api:
                api.inspect_image(image.reference)
        except NotFoundError:
            return None
        except Error:
            # Who is away may be back when a container is to start, with its images.
            return image
        return image

    def build(
        self,
        spec: ImageSpec,
        report: Callable[[str], None],
        secrets: BuildSecrets = no_secrets,
        environ: Mapping[str, str] = MappingProxyType({}),
        *,
        anew: bool = False,
    ) -> BuiltImage:
        site = self._site
        with self._builds.turn(spec.digest) as build:
            found = self.find(spec)
            # Who waited for the build of another has it as new as can be.
            if found is not None and not (anew and build.users == 1):
                return found
            with self._engine.asked() as api:
                api.ping()
            known = reach(environ)
            recipe = dockerfile(spec, site.base_image, reach=bool(known))
            order = Order(
                spec,
                recipe,
                self._bundles(recipe),
                {DIGEST_LABEL: spec.digest, ENVIRONMENT_LABEL: site.environment},
                site.platform,
                secrets,
                known,
                anew,
            )
            command = find_builder(site.environ)
            reference = carry_out(order, command, site.environ, site.root, build, report)
            build.check()
            return self.keep(spec.digest, reference)

    def cancel(self, digest: str) -> None:
        self._builds.cancel(digest)

    def plan(self, spec: ImageSpec) -> str:
        return str(dockerfile(spec, self._site.base_image))

    def unmet(self, spec: ImageSpec) -> tuple[str, ...]:
        return ()

    def list(self) -> list[BuiltImage]:
        images = self._records.all()
        if not images:
            return []
        with self._engine.asked() as api:
            there = {each["Id"] for each in api.images(name=self._site.repository)}
        return [image for image in images if image.reference in there]

    def remove(self, digest: str) -> bool:
        gone = False
        try:
            # What containers run on loses its name, and Docker keeps the rest for them.
            with self._engine.asked() as api:
                api.remove_image(self._tag(digest), force=True)
        except NotFoundError:
            gone = True
        return self._records.forget(digest) and not gone

    # For registries

    def keep(self, digest: str, reference: str) -> BuiltImage:
        """Take an image of the engine for that of a digest, in place of an older one; return it.

        Raises:
            InvalidError: It has no Python that containers could use; it is removed.
        """
        try:
            python = python_of(self._engine, reference, {MARKER_LABEL: self._site.owner})
        except Error:
            self._discard(reference)
            raise
        with self._engine.asked() as api:
            api.tag(reference, *self._tag(digest).rsplit(":", 1))
            size = int(api.inspect_image(reference)["Size"])
        image = BuiltImage(digest, reference, python, size, self._clock.wall())
        older = self._records.read(digest)
        self._records.write(image)
        if older is not None and older.reference != reference:
            self._discard(older.reference)
        return image

    def _discard(self, reference: str) -> None:
        """Remove an image without a name; Docker keeps it while containers run on it."""
        with suppress(Error), self._engine.asked() as api:
            if not api.inspect_image(reference)["RepoTags"]:
                api.remove_image(reference)

    def _tag(self, digest: str) -> str:
        """Return the name that an image has in the engine."""
        return f"{self._site.repository}:{digest}-{self._site.owner[:_OWNER]}"

    def _bundles(self, recipe: Dockerfile) -> dict[str, Path]:
        found = {f"context/{each}": self._site.bundles / each for each in recipe.contexts}
        if recipe.runtime:
            found["runtime"] = self._site.runtime()
        return found
