"""The port for images: what a function asked for, made into something that containers run in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from cloudfn.model.image import ImageSpec
from cloudfn.model.secret import SecretRef

#: gives the variables of a secret that a step of a build names
BuildSecrets = Callable[[SecretRef], Mapping[str, str]]


def no_secrets(_ref: SecretRef) -> Mapping[str, str]:
    """Give nothing: for builds that name no secrets."""
    return {}


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is whole and ready to run containers."""

    #: of the `ImageSpec` that it was made from
    digest: str
    #: path of its Python in the process runtime, `sha256:…` of the image in the docker runtime
    reference: str
    #: version of its Python, `3.11.7`
    python: str
    #: bytes on disk
    size: int
    #: seconds since the epoch
    created: float


class Images(Protocol):
    """Images of one runtime, idempotent by digest. Methods block; call them in a thread.

    A spec has to be resolved: its layers hold what their files said, not the files' paths. What an
    earlier process left half built is never used, and cleared away by the next one.
    """

    def find(self, spec: ImageSpec) -> BuiltImage | None:
        """Return the image of a spec if it was built and is whole. Quick: starts wait for it."""
        ...

    def build(
        self,
        spec: ImageSpec,
        report: Callable[[str], None],
        secrets: BuildSecrets = no_secrets,
        environ: Mapping[str, str] = MappingProxyType({}),
        *,
        anew: bool = False,
    ) -> BuiltImage:
        """Build an image unless it is there; several at once for one digest end as one build.

        Args:
            spec: What to build.
            report: Gets each line of the build's output, from any thread.
            secrets: Gives the variables of secrets; they are in no plan, record or output of ours.
            environ: What the client's environment says of package indexes, proxies and
                certificates; they are no part of the image, and kept as secret.
            anew: Build it although it is there, without what builds keep for each other.
                Containers that run keep what they have.

        Raises:
            InvalidError: The spec asks for what this runtime cannot give.
            ImageBuildError: A step failed; the message ends with the tail of the output. Or it was
                cancelled.
        """
        ...

    def cancel(self, digest: str) -> None:
        """End a build under way, which raises ImageBuildError. Idempotent, from any thread."""
        ...

    def plan(self, spec: ImageSpec) -> str:
        """Return what `build` would do, as text for people; touches nothing."""
        ...

    def unmet(self, spec: ImageSpec) -> tuple[str, ...]:
        """Return what of the image this runtime cannot do, each as `method: why`, each once."""
        ...

    def list(self) -> list[BuiltImage]:
        """Return all images that are whole, the newest first."""
        ...

    def remove(self, digest: str) -> bool:
        """Remove an image; return whether there was one. Containers that run keep running."""
        ...


class Registry(Protocol):
    """Where images are kept for other machines. Methods block; call them in a thread.

    Those of cloudfn alone: an image knows the digest of its spec. Names that registries answer to
    say which registry it is, as in `registry.example:5000/team/images`.
    """

    def push(self, image: BuiltImage, repository: str, login: Mapping[str, str]) -> str:
        """Send an image; return what names it from now on, `repository@sha256:…`. Idempotent.

        Args:
            image: The image.
            repository: Where to.
            login: Variables that open the registry; without any, what this machine knows.

        Raises:
            InvalidError: That is no name of a repository, or the variables open nothing.
            NotFoundError: The image or the repository is gone.
            AuthError: The registry does not let us in.
            ConnectionError: It does not answer, also not when asked again.
            ServiceError: It refuses.
        """
        ...

    def pull(self, reference: str, login: Mapping[str, str]) -> BuiltImage:
        """Bring an image, so that `Images` finds it. Idempotent.

        Args:
            reference: What `push` returned.
            login: See there.

        Raises:
            InvalidError: See `push`; or no cloudfn made that image.
            NotFoundError: There is no such image.
            AuthError: See `push`.
            ConnectionError: See `push`.
            ServiceError: See `push`.
        """
        ...
