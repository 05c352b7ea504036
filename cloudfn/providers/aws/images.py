"""Images on AWS: built by the Docker engine of who deploys, kept in ECR, pulled by machines.

Whoever built an image first built it for all: it is found by its spec's digest, wherever it was
made, and pulled by what ECR says that it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import TypeVar

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import (
    AuthError,
    Error,
    InvalidError,
    PermissionDeniedError,
    ServiceError,
)
from cloudfn.model.image import ImageSpec
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.ecr import PLATFORMS, EcrRepository, RegistryLogin
from cloudfn.providers.builds import Builds
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.docker.images import DockerImages, Site
from cloudfn.providers.docker.registry import DockerRegistry
from cloudfn.providers.images import BuildSecrets, BuiltImage, Images, Registry, no_secrets

T = TypeVar("T")

#: seconds for which a machine believes what ECR said of an image
_BELIEVED = 60.0
_FOREIGN = re.compile("exec format error", re.IGNORECASE)
_NO_PLATFORM = re.compile("no match for platform|no matching manifest", re.IGNORECASE)
_PUSHING = (
    "ecr:BatchCheckLayerAvailability, ecr:InitiateLayerUpload, ecr:UploadLayerPart, "
    "ecr:CompleteLayerUpload and ecr:PutImage"
)
_PULLING = "ecr:BatchGetImage and ecr:GetDownloadUrlForLayer"


class EcrImages:
    """The `Images` port of who deploys. Docker is needed to build alone.

    Args:
        repository: Where images are kept.
        login: Opens it to Docker.
        docker: Builds, for the repository's platform.
        registry: Pushes what `docker` has built.
    """

    def __init__(
        self, repository: EcrRepository, login: RegistryLogin, docker: Images, registry: Registry
    ) -> None:
        self._repository = repository
        self._login = login
        self._docker = docker
        self._registry = registry
        self._builds = Builds()

    def find(self, spec: ImageSpec) -> BuiltImage | None:
        return self._repository.find(spec.digest)

    def build(
        self,
        spec: ImageSpec,
        report: Callable[[str], None],
        secrets: BuildSecrets = no_secrets,
        environ: Mapping[str, str] = MappingProxyType({}),
        *,
        anew: bool = False,
    ) -> BuiltImage:
        with self._builds.turn(spec.digest) as build:
            found = self.find(spec)
            # Who waited for the build of another has it as new as can be.
            anew = anew and build.users == 1
            if found is not None and not anew:
                return found
            with _on_platform(self._repository.platform):
                built = self._docker.build(spec, report, secrets, environ, anew=anew)
            build.check()
            if anew:
                self._repository.remove(spec.digest)
            report(f"pushing to {self._repository.address}")
            return self._push(built)

    def cancel(self, digest: str) -> None:
        self._builds.cancel(digest)
        self._docker.cancel(digest)

    def plan(self, spec: ImageSpec) -> str:
        return self._docker.plan(spec)

    def unmet(self, spec: ImageSpec) -> tuple[str, ...]:
        return self._docker.unmet(spec)

    def list(self) -> list[BuiltImage]:
        return self._repository.all()

    def remove(self, digest: str) -> bool:
        gone = self._repository.remove(digest)
        with suppress(Error):
            # Docker may be away, or never have had it.
            self._docker.remove(digest)
        return gone

    def _push(self, built: BuiltImage) -> BuiltImage:
        repository = self._repository
        # The tag that the image shall have is what the registry is told of its digest.
        named = replace(built, digest=repository.tag(built.digest))
        try:
            reference = _opened(
                self._login,
                _PUSHING,
                lambda login: self._registry.push(named, repository.address, login),
            )
        except ServiceError:
            # Tags are immutable: somebody else was first.
            found = repository.find(built.digest)
            if found is None:
                raise
            return found
        pushed = replace(built, reference=reference)
        with suppress(Error):
            # For people; it is as good without.
            repository.name_python(pushed)
        return repository.find(built.digest) or pushed


class PlatformImages:
    """The `Images` port of who deploys for machines of several platforms.

    Args:
        images: Those of each platform.
        usual: The platform of specs that name none.
    """

    def __init__(self, images: Mapping[str, Images], usual: str) -> None:
        self._images = images
        self._usual = usual

    def find(self, spec: ImageSpec) -> BuiltImage | None:
        return self._of(spec).find(spec)

    def build(
        self,
        spec: ImageSpec,
        report: Callable[[str], None],
        secrets: BuildSecrets = no_secrets,
        environ: Mapping[str, str] = MappingProxyType({}),
        *,
        anew: bool = False,
    ) -> BuiltImage:
        return self._of(spec).build(spec, report, secrets, environ, anew=anew)

    def cancel(self, digest: str) -> None:
        for images in self._images.values():
            images.cancel(digest)

    def plan(self, spec: ImageSpec) -> str:
        return self._of(spec).plan(spec)

    def unmet(self, spec: ImageSpec) -> tuple[str, ...]:
        return self._of(spec).unmet(spec)

    def list(self) -> list[BuiltImage]:
        found = [image for images in self._images.values() for image in images.list()]
        return sorted(found, key=lambda each: -each.created)

    def remove(self, digest: str) -> bool:
        gone = [images.remove(digest) for images in self._images.values()]
        return any(gone)

    def _of(self, spec: ImageSpec) -> Images:
        return self._images[spec.platform or self._usual]


class MachineImages:
    """The `Images` port of a machine: `find` pulls what ECR has, and gives the engine's own id.

    Args:
        repository: Where images are kept.
        login: Opens it to Docker.
        docker: Has what was pulled.
        registry: Pulls it, for `docker`.
        clock: The time.
    """

    def __init__(
        self,
        repository: EcrRepository,
        login: RegistryLogin,
        docker: Images,
        registry: Registry,
        clock: Clock | None = None,
    ) -> None:
        self._repository = repository
        self._login = login
        self._docker = docker
        self._registry = registry
        self._clock = clock or SystemClock()
        #: lets one pull at a time pull an image
        self._pulls = Builds()
        #: digest → (what ECR has, when it said so)
        self._told: dict[str, tuple[str, float]] = {}
        #: digest → what the engine's image was pulled by
        self._pulled: dict[str, str] = {}

    def find(self, spec: ImageSpec) -> BuiltImage | None:
        """Return the image of a spec, pulled if need be; None: nobody has built it.

        Raises:
            PermissionDeniedError: The machine's role may not pull it.
            ResourceExhaustedError: The machine's disk is full.
            InvalidError: It is for other processors, or no cloudfn made it.
            Error: AWS or Docker cannot be asked, and the image is not here.
        """
        with self._pulls.turn(spec.digest):
            here = self._docker.find(spec)
            try:
                reference = self._reference(spec.digest)
            except Error:
                if here is None:
                    raise
                return here
            if reference is None:
                self._check_others(spec.digest)
                return None
            if here is not None and self._pulled.get(spec.digest) == reference:
                return here
            with _on_platform(self._repository.platform):
                image = _opened(
                    self._login, _PULLING, lambda login: self._registry.pull(reference, login)
                )
            self._pulled[spec.digest] = reference
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
        found = self.find(spec)
        if found is None or anew:
            raise InvalidError(
                f"Machines do not build images, and im-{spec.digest} is not in "
                f"{self._repository.address}.",
                hint="Deploy the app again: that builds what is missing.",
            )
        return found

    def cancel(self, digest: str) -> None:
        """There are no builds."""

    def plan(self, spec: ImageSpec) -> str:
        return self._docker.plan(spec)

    def unmet(self, spec: ImageSpec) -> tuple[str, ...]:
        return self._docker.unmet(spec)

    def list(self) -> list[BuiltImage]:
        return self._docker.list()

    def remove(self, digest: str) -> bool:
        self._pulled.pop(digest, None)
        return self._docker.remove(digest)

    def _check_others(self, digest: str) -> None:
        """Raise InvalidError if an image is there for machines of another architecture alone."""
        others = self._repository.others(digest)
        if others:
            raise InvalidError(
                f"The image im-{digest} is there for {', '.join(others)}, and this machine is "
                f"{self._repository.platform}.",
                hint="Deploy the app again, for the architecture of its machine class.",
            )

    def _reference(self, digest: str) -> str | None:
        now = self._clock.monotonic()
        known, at = self._told.get(digest, ("", 0.0))
        if known and now < at + _BELIEVED:
            return known
        reference = self._repository.reference(digest)
        if reference is not None:
            self._told[digest] = reference, now
        return reference


def deployed_images(clients: ClientSource, address: str, site: Site) -> EcrImages:
    """Return the images of who deploys.

    Args:
        clients: Where clients come from.
        address: Host and name of the repository, as Terraform says.
        site: Where Docker builds; its `platform` is that of the machines, and its `owner` is not
            used.

    Raises:
        InvalidError: The address or the platform makes no sense.
    """
    return EcrImages(*_parts(clients, address, site))


def machine_images(clients: ClientSource, address: str, site: Site) -> MachineImages:
    """Return the images of a machine.

    Args:
        clients: Where clients come from.
        address: Host and name of the repository, as Terraform says.
        site: The environment and where its records are; nothing is built there. Its `platform` is
            the machine's own, and its `owner` is not used.

    Raises:
        InvalidError: The address or the platform makes no sense.
    """
    return MachineImages(*_parts(clients, address, site))


def _parts(
    clients: ClientSource, address: str, site: Site
) -> tuple[EcrRepository, RegistryLogin, Images, Registry]:
    repository = EcrRepository(clients, address, site.platform)
    # Records and local names of one platform are not those of another, nor of other providers.
    own = replace(
        site,
        root=site.root / PLATFORMS[site.platform],
        owner=sha256(f"{address} {site.platform}".encode()).hexdigest(),
    )
    engine = DockerEngine(site.environ)
    docker = DockerImages(own, engine)
    return repository, RegistryLogin(clients), docker, DockerRegistry(docker, engine)


def _opened(login: RegistryLogin, actions: str, transfer: Callable[[Mapping[str, str]], T]) -> T:
    """Do a transfer with the login, and once more with a new one: this one may be revoked."""
    known = login.variables()
    try:
        return transfer(known)
    except AuthError:
        login.forget()
    fresh = login.variables()
    try:
        return transfer(fresh)
    except AuthError as error:
        raise PermissionDeniedError(
            error.message,
            hint=f"Add {actions} on the repository to a policy of these credentials; `cloudfn infra"
            " apply` sets up the roles.",
        ) from error


@contextmanager
def _on_platform(platform: str) -> Iterator[None]:
    """Explain what Docker says of programs and images of another processor."""
    try:
        yield
    except Error as error:
        if _FOREIGN.search(error.message):
            raise InvalidError(
                f"Docker on this machine cannot run programs for {platform}: {error.message}",
                hint="Let it emulate them (Debian: apt install qemu-user-static binfmt-support), "
                "or take a machine class of this machine's own architecture.",
            ) from error
        if _NO_PLATFORM.search(error.message):
            raise InvalidError(
                f"The base of the image is not there for {platform}: {error.message}",
                hint="Take another base, or a machine class of another architecture.",
            ) from error
        raise
